//! A process of the model: it does with one partition what the worker does, in a random order, until it crashes.
//!
//! Two executors have one job each and return in any order. With exactly once, outputs enter the open transaction; while it is being
//! committed they wait for the next one.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use super::broker::Broker;
use super::broker::Output;
use super::broker::Sent;
use super::input::Input;
use super::input::Kind;
use super::input::START;
use super::input::fold;
use super::random::Random;
use crate::state::Arrival;
use crate::state::Call;
use crate::state::CellValue;
use crate::state::Changes;
use crate::state::Control;
use crate::state::Delivery;
use crate::state::Fold;
use crate::state::Judged;
use crate::state::KeyHash;
use crate::state::NO_TIME;
use crate::state::NO_VALUE;
use crate::state::Phase;
use crate::state::RecordKey;
use crate::state::Restore;
use crate::state::Rewind;
use crate::state::SLOTS;
use crate::state::Settings;
use crate::state::Slot;
use crate::state::UNCHANGED;
use crate::state::WindowBatch;
use crate::state::WindowedPartition;
use crate::state::decode_key;

/// A rule that the process leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Nothing,
    /// Restored cells don't say which records they contain.
    Stamps,
    /// Tombstones are written before the control record.
    TombstonesFirst,
    /// Cells and control record are written before the outputs are acknowledged.
    ChangelogFirst,
    /// The clock closes windows while records are still to be read.
    IdleBehind,
    /// Windows that the clock closed are shown before the control record is durable.
    IdleFirst,
    /// A restore doesn't ignore the cells of windows that were shown.
    Removal,
    /// A cycle is cut before a late record that has its output in the transaction.
    CutInside,
}

/// See the head of the file.
pub(super) struct Process<'a> {
    settings: Settings,
    broken: Broken,
    log: &'a [Input],
    pub(super) state: WindowedPartition,
    /// The next record to judge.
    next: usize,
    /// Records that wait for a call, by slot, each with its slice.
    queues: [VecDeque<(usize, i64)>; SLOTS],
    /// Late records that aren't settled.
    late: Vec<usize>,
    /// Every late record that is settled is below this offset.
    handed: i64,
    /// Records that were judged and aren't settled.
    unsettled: BTreeSet<usize>,
    jobs: Vec<Job>,
    /// Exactly once: what is in the open transaction.
    open: Sent,
    /// Exactly once: what is in the transaction that is being committed.
    committing: Option<Sent>,
    /// At least once: how many outputs have to be acknowledged before cells are written.
    outputs_due: usize,
    is_written: bool,
}

enum Job {
    Call(Call, Vec<(usize, i64)>),
    Windows(WindowBatch),
}

const EXECUTORS: usize = 2;

impl<'a> Process<'a> {
    /// Starts: the changelog is read and the partition restored.
    pub(super) fn start(
        settings: Settings,
        broken: Broken,
        log: &'a [Input],
        broker: &Broker,
        now: i64,
    ) -> Process<'a> {
        let mut restore = Restore::new(settings);
        for (key, value) in &broker.changelog {
            let value = value.as_deref().map(|value| forget(broken, key, value));
            restore.read(key, value.as_deref()).unwrap();
        }
        let state = restore.finish(broker.committed, START, now).unwrap();
        let next = log.iter().position(|record| record.offset >= state.applied()).unwrap_or(log.len());
        Process {
            settings,
            broken,
            log,
            state,
            next,
            queues: Default::default(),
            late: Vec::new(),
            handed: START,
            unsettled: BTreeSet::new(),
            jobs: Vec::new(),
            open: Sent::default(),
            committing: None,
            outputs_due: 0,
            is_written: false,
        }
    }

    /// Whether everything is done and durable.
    pub(super) fn is_done(&self, broker: &Broker) -> bool {
        let is_read = self.next == self.log.len() && self.unsettled.is_empty() && self.jobs.is_empty();
        let is_durable = broker.sent.outputs.is_empty() && self.open.outputs.is_empty() && self.state.phase().is_none();
        is_read && self.state.cells() == 0 && is_durable
    }

    /// Does one thing.
    pub(super) fn step(&mut self, random: &mut Random, broker: &mut Broker, now: i64) {
        match random.below(15) {
            0..3 => (0..=random.below(4)).for_each(|_| self.judge(now)),
            3..5 => self.dispatch(random),
            5..7 => self.give_back(random, broker),
            7 => self.show(random),
            14 => self.send_late(random, broker),
            8 => self.close_idle(now),
            9 if self.state.needs_cut() || random.once_in(4) => self.cut(broker),
            10 if random.once_in(20) => self.state.cancel_cut(),
            10 | 11 => self.finish_cycle(random, broker),
            12 => broker.deliver(random),
            _ if random.once_in(25) => self.abort(random, broker, now),
            _ => {}
        }
        let end = self.log.last().map_or(START, |last| last.offset + 1);
        let position = self.log.get(self.next).map_or(end, |next| next.offset);
        self.state.advance(position);
        self.state.settle(self.unsettled.first().map_or(position, |&number| self.log[number].offset));
    }

    /// Judges the records of the next offset.
    fn judge(&mut self, now: i64) {
        let Some(offset) = self.log.get(self.next).filter(|next| next.clock <= now).map(|next| next.offset) else {
            return;
        };
        while self.state.may_judge()
            && let Some(record) = self.log.get(self.next).filter(|next| next.offset == offset)
        {
            let hash = KeyHash::of(record.key.as_deref());
            let arrival = Arrival { offset, time: record.time, key: record.key.as_deref(), hash };
            match self.state.judge(&arrival, now) {
                Judged::Fold { slice } => self.queues[hash.slot().index()].push_back((self.next, slice)),
                Judged::Late => self.late.push(self.next),
                Judged::Applied | Judged::Folded | Judged::Future | Judged::Untimed => {
                    self.next += 1;
                    continue;
                }
            }
            self.unsettled.insert(self.next);
            self.next += 1;
        }
    }

    /// Hands records of a slot to an executor, those of one offset together.
    fn dispatch(&mut self, random: &mut Random) {
        let slots: Vec<Slot> = Slot::all().filter(|slot| !self.queues[slot.index()].is_empty()).collect();
        if self.jobs.len() == EXECUTORS || slots.is_empty() {
            return;
        }
        let slot = random.pick(&slots);
        let (log, queue) = (self.log, &mut self.queues[slot.index()]);
        let (mut taken, wanted) = (Vec::<(usize, i64)>::new(), 1 + random.below(4));
        while let Some(&(number, slice)) = queue.front()
            && self.state.may_fetch(slot, log[number].offset)
            && (taken.len() < wanted || taken.last().is_some_and(|(last, _)| log[*last].offset == log[number].offset))
        {
            queue.pop_front();
            taken.push((number, slice));
        }
        if !taken.is_empty() {
            let records = taken.iter().map(|&(number, slice)| {
                let key = log[number].key.as_deref();
                Fold { offset: log[number].offset, slice, key, hash: KeyHash::of(key) }
            });
            let call = self.state.fetch(slot, records);
            self.jobs.push(Job::Call(call, taken));
        }
    }

    /// A late record is sent on, unless it belongs to the next cycle.
    fn send_late(&mut self, random: &mut Random, broker: &mut Broker) {
        let boundary = self.state.boundary().unwrap_or(i64::MAX);
        let may_send = |number: &usize| self.log[*number].offset < boundary;
        let late: Vec<usize> = self.late.iter().copied().filter(may_send).collect();
        if !late.is_empty() {
            let number = random.pick(&late);
            self.send(broker, [own_output(number)]);
            self.late.retain(|late| *late != number);
            self.unsettled.remove(&number);
            self.handed = self.handed.max(self.log[number].offset + 1);
        }
    }

    fn send(&mut self, broker: &mut Broker, outputs: impl IntoIterator<Item = Output>) {
        let sent = match self.settings.delivery {
            Delivery::AtLeastOnce => &mut broker.sent,
            Delivery::ExactlyOnce => &mut self.open,
        };
        sent.outputs.extend(outputs);
    }

    fn show(&mut self, random: &mut Random) {
        if self.jobs.len() < EXECUTORS
            && let Some(batch) = self.state.next_windows(1 + random.below(3))
        {
            self.jobs.push(Job::Windows(batch));
        }
    }

    /// An executor returns its job.
    fn give_back(&mut self, random: &mut Random, broker: &mut Broker) {
        if self.jobs.is_empty() {
            return;
        }
        match self.jobs.swap_remove(random.below(self.jobs.len())) {
            Job::Call(call, records) => {
                let (lengths, data) = self.run(&call, &records);
                // Sometimes the call asks for a retry, or its result is malformed.
                let is_retried = random.once_in(8);
                if is_retried {
                    self.state.give_back(&call);
                }
                let data = if random.once_in(8) { [data, vec![0]].concat() } else { data };
                if is_retried || self.state.apply(&call, Changes { lengths: &lengths, data: &data }).is_err() {
                    records.into_iter().rev().for_each(|record| self.queues[call.slot().index()].push_front(record));
                } else {
                    records.iter().for_each(|(number, _)| _ = self.unsettled.remove(number));
                    let failed = records.iter().filter(|(number, _)| self.log[*number].kind == Kind::Fail);
                    self.send(broker, failed.map(|(number, _)| own_output(*number)));
                }
            }
            Job::Windows(batch) => {
                let outputs = batch.iter().map(|(key, cells)| Output {
                    end: batch.end,
                    key: key.map(<[u8]>::to_vec),
                    result: cells.concat(),
                });
                self.send(broker, outputs);
                self.state.take_back_windows(batch.id);
            }
        }
    }

    /// What the plugin makes of the cells.
    fn run(&self, call: &Call, records: &[(usize, i64)]) -> (Vec<i32>, Vec<u8>) {
        let mut rest = &*call.data;
        let mut cells: Vec<Option<Vec<u8>>> = Vec::new();
        for &length in &call.lengths {
            cells.push(usize::try_from(length).ok().map(|length| rest.split_off(..length).unwrap().to_vec()));
        }
        let before = cells.clone();
        for (&cell, &(number, _)) in call.index.iter().zip(records) {
            fold(&mut cells[cell as usize], number, self.log[number].kind);
        }
        let length = |cell: &Option<Vec<u8>>| cell.as_ref().map_or(NO_VALUE, |cell| i32::try_from(cell.len()).unwrap());
        let changed = cells.iter().zip(&before);
        let lengths = changed.map(|(cell, before)| if cell == before { UNCHANGED } else { length(cell) }).collect();
        let changed = cells.iter().zip(&before).filter(|(cell, before)| cell != before);
        (lengths, changed.filter_map(|(cell, _)| cell.clone()).flatten().collect())
    }

    fn close_idle(&mut self, now: i64) {
        let is_at_end = self.log.get(self.next).is_none_or(|next| next.clock > now);
        if self.state.close_idle(now, is_at_end || self.broken == Broken::IdleBehind) {
            let position = self.log.get(self.next).map_or(i64::MAX, |next| next.offset);
            self.open.moved.push((position, self.state.reading()));
        }
        if self.broken == Broken::IdleFirst {
            self.state.cycles.end_hold();
        }
    }

    fn cut(&mut self, broker: &mut Broker) {
        let handed = if self.broken == Broken::CutInside { START } else { self.handed };
        if self.committing.is_none() && self.state.cut_behind(handed) {
            self.is_written = false;
            self.outputs_due = broker.outputs.len() + broker.sent.outputs.len();
            self.committing = match self.settings.delivery {
                Delivery::AtLeastOnce => None,
                Delivery::ExactlyOnce => Some(std::mem::take(&mut self.open)),
            };
        }
    }

    /// Brings the cycle that was cut a step further.
    fn finish_cycle(&mut self, random: &mut Random, broker: &mut Broker) {
        let Some(phase) = self.state.phase() else { return };
        if !self.is_written {
            if phase == Phase::Control && self.broken == Broken::TombstonesFirst {
                let mut ahead = self.state.clone();
                ahead.write(usize::MAX, |_| {});
                ahead.acknowledge();
                ahead.write(usize::MAX, |record| broker.sent.changelog.push_back((record.key.to_vec(), None)));
            }
            let to = self.committing.as_mut().unwrap_or(&mut broker.sent);
            self.is_written = self.state.write(random.below(60), |record| {
                to.changelog.push_back((record.key.to_vec(), record.value.map(<[u8]>::to_vec)));
            });
            return;
        }
        let is_acknowledged = match phase {
            Phase::Outputs => broker.outputs.len() >= self.outputs_due || self.broken == Broken::ChangelogFirst,
            Phase::Cells | Phase::Control | Phase::Tombstones => broker.sent.changelog.is_empty(),
            Phase::Offsets(offset) => {
                broker.sent.offset = Some(offset);
                true
            }
            Phase::Transaction(offset) => {
                let transaction = self.committing.take().unwrap();
                broker.commit(Sent { offset: Some(offset), ..transaction });
                true
            }
        };
        if is_acknowledged {
            self.is_written = false;
            self.state.acknowledge();
        }
    }

    /// A transaction is aborted, or an output isn't delivered.
    fn abort(&mut self, random: &mut Random, broker: &mut Broker, now: i64) {
        if self.settings.delivery == Delivery::AtLeastOnce {
            broker.lose(random);
        }
        let offset = match self.state.abort(now) {
            Rewind::From(offset) => offset,
            Rewind::Restore => {
                *self = Process::start(self.settings, self.broken, self.log, broker, now);
                return;
            }
        };
        // Jobs that are out return later, and change nothing.
        self.queues = Default::default();
        self.unsettled.clear();
        self.late.clear();
        self.handed = START;
        self.open = Sent::default();
        self.committing = None;
        self.is_written = false;
        self.jobs.retain(|job| match job {
            Job::Call(call, _) => self.state.apply(call, Changes { lengths: &[], data: &[] }).is_err(),
            Job::Windows(batch) => {
                self.state.take_back_windows(batch.id);
                false
            }
        });
        assert!(self.jobs.is_empty(), "stale jobs change nothing");
        self.next = self.log.iter().position(|record| record.offset >= offset).unwrap_or(self.log.len());
    }

    /// The process ends at once.
    pub(super) fn crash(self, random: &mut Random, broker: &mut Broker) {
        if let (Some(transaction), Some(Phase::Transaction(offset))) = (self.committing, self.state.phase())
            && self.is_written
            && random.once_in(2)
        {
            // The broker got the request for the commit, and its answer is lost.
            broker.commit(Sent { offset: Some(offset), ..transaction });
        }
        broker.lose(random);
    }
}

/// The output of a record that is late or failed.
fn own_output(number: usize) -> Output {
    Output { end: NO_TIME, key: Some(number.to_be_bytes().to_vec()), result: Vec::new() }
}

/// A value of the changelog as a restore with a missing rule sees it.
fn forget(broken: Broken, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    match (broken, decode_key(key).unwrap()) {
        (Broken::Stamps, RecordKey::Cell { .. }) => {
            CellValue { upto: 0, ..CellValue::decode(value).unwrap() }.encode(&mut encoded);
        }
        (Broken::Removal, RecordKey::Control) => {
            let mut control = Control::decode(value).unwrap();
            control.shown.end = NO_TIME;
            control.encode(&mut encoded);
        }
        _ => encoded.extend(value),
    }
    encoded
}
