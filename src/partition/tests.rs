//! The partition's state against a naive oracle, over random schedules.
//!
//! The schedule runs under each policy. The breaker has a small window here, and the oracle counts the outcomes for itself: a
//! record that breaks the guest may be given up only while the breaker allows it, and must be given up then.
//!
//! The oracle is a list of records and what really happened to each: which of its outputs the broker has, and whether it was
//! handled. It knows nothing of assignments, runs or watermarks. A schedule is a list of steps that the harness carries out as far as they
//! make sense: receive, hand out, return in any split, acknowledge in any order, retry, fail, rewind, drain, crash. At
//! every `Store` the oracle is asked whether every record below the offset was really settled, and at the end, when everything is let
//! through, every record must have come out, in order.
//!
//! Long because the model is one value that every step acts on.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use proptest::prelude::*;

use super::Action;
use super::Breaker;
use super::Event;
use super::Flood;
use super::PartitionState;
use super::Policy;
use super::Retries;
use super::Then;
use super::Trip;
use super::watermark::Fate;
use super::watermark::Watermark;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::record::AssignmentId;
use crate::record::AssignmentIds;
use crate::record::Offset;
use crate::record::Seq;

/// The assignment of this number.
fn id(number: usize) -> AssignmentId {
    let mut ids = AssignmentIds::default();
    (0..number).for_each(|_| _ = ids.issue(|_| false));
    ids.issue(|_| false)
}

/// One step of a schedule. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Receive(usize),
    Dispatch(usize),
    /// The executor returns so many records; the one behind them fails so. Where records are given up alone, so do those of the
    /// records among them whose bit is set: a reject for an even place, a fault for an odd one.
    Return(usize, Fails, u8),
    /// The broker acknowledges one of the outputs under way.
    Acknowledge(usize),
    /// The broker acknowledges the oldest outputs under way.
    AcknowledgeMany(usize),
    /// The broker refuses one of the outputs under way.
    Refuse(usize),
    /// The broker refuses another record of the same request.
    RefuseBeside(usize),
    /// One of the outputs under way was never sent, as it can't be.
    Unsendable(usize),
    Rewind,
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The partition goes away within so many milliseconds, and comes back; nothing may answer any more meanwhile.
    Drain(u64, bool),
    /// The same at once, with nothing committed but what was.
    Crash,
    /// Another policy, if nothing is out.
    Policy(Then),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fails {
    No,
    Retry,
    Reject,
    Trap,
    /// The executor gives back what is left.
    GivesUp,
}

fn step() -> impl Strategy<Value = Step> {
    let fails = prop_oneof![
        20 => Just(Fails::No), 4 => Just(Fails::Retry), 1 => Just(Fails::Reject), 1 => Just(Fails::Trap), 3 => Just(Fails::GivesUp),
    ];
    prop_oneof![
        10 => (1_usize..6).prop_map(Step::Receive),
        10 => (1_usize..5).prop_map(Step::Dispatch),
        12 => (0_usize..5, fails, prop_oneof![3 => Just(0), 1 => any::<u8>()])
            .prop_map(|(n, fails, among)| Step::Return(n, fails, among)),
        12 => (0_usize..50).prop_map(Step::Acknowledge),
        6 => (1_usize..10).prop_map(Step::AcknowledgeMany),
        1 => (0_usize..50).prop_map(Step::Refuse),
        1 => (0_usize..50).prop_map(Step::RefuseBeside),
        1 => (0_usize..50).prop_map(Step::Unsendable),
        1 => Just(Step::Rewind),
        6 => (1_u64..3000).prop_map(Step::Wait),
        1 => (0_u64..500, prop::bool::ANY).prop_map(|(within, stuck)| Step::Drain(within, stuck)),
        1 => Just(Step::Crash),
        2 => prop_oneof![Just(Then::Stop), Just(Then::DeadLetter), Just(Then::Skip)].prop_map(Step::Policy),
    ]
}

/// A record of the log: its offset, and how many outputs it makes.
#[derive(Clone, Copy, Debug)]
struct Logged {
    offset: i64,
    outputs: u32,
}

/// Records handed out, and not yet returned.
#[derive(Clone, Debug)]
struct Out {
    run: u32,
    first: Seq,
    /// Places in the log.
    records: VecDeque<usize>,
}

/// An output under way.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sent {
    seq: Seq,
    record: usize,
    index: Part,
}

/// What an output under way is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    /// The output of this number.
    Output(u32),
    DeadLetter,
}

struct World {
    then: Then,
    log: Vec<Logged>,
    state: PartitionState,
    ids: AssignmentIds,
    now: Instant,
    /// The place in the log of the next record to be fetched.
    next: usize,
    /// Records that wait, in order: number and place in the log.
    queue: VecDeque<(Seq, usize)>,
    out: VecDeque<Out>,
    sent: Vec<Sent>,
    /// The numbers given in this assignment.
    given: usize,
    /// What is committed: the oracle's own copy.
    committed: Offset,
    /// For each record the outputs that the broker has.
    delivered: Vec<BTreeSet<u32>>,
    /// Records whose plugin said that there is nothing to emit.
    handled: Vec<bool>,
    /// The order in which records were first sent.
    first_sent: Vec<usize>,
    /// Records that the policy gave up and the broker has as dead letters, or that it left out.
    given_up: Vec<bool>,
    /// The records that were dead-lettered in this assignment.
    letters: Vec<usize>,
    /// Records that broke the guest when their turn came, or not, in the order of their first outcome in this life or before what is
    /// committed.
    outcomes: Vec<(usize, bool)>,
    /// What is committed beside the offset.
    counts: String,
    /// The records of which the broker refused an output.
    refused: BTreeSet<usize>,
    /// The record at which it stopped.
    stopped: Option<i64>,
}

/// The breaker of the model: more than so many of the last so many.
const WINDOW: usize = 8;
const ALLOWED: usize = 2;

/// Records of an assignment are numbered below this: the longest log fits, and is numbered again from its second half on.
const NUMBERS: u64 = 44;

const RETRIES: u32 = 2;

fn policy(then: Then) -> Policy {
    Policy { retries: Retries::Times(RETRIES), then, ..Policy::default() }
}

fn state(then: Then, assignment: AssignmentId, start: Offset, commit_start: bool) -> PartitionState {
    let mut state = PartitionState::new(policy(then), assignment, start, commit_start);
    state.breaker = Breaker::of(WINDOW as u64, ALLOWED, None);
    state.numbers = NUMBERS;
    state
}

impl World {
    fn new(then: Then, outputs: &[u32], gaps: &[bool]) -> World {
        let mut offset = 3;
        let log: Vec<Logged> = outputs
            .iter()
            .zip(gaps)
            .map(|(&outputs, &gap)| {
                offset += if gap { 3 } else { 1 };
                Logged { offset, outputs }
            })
            .collect();
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let now = Instant::now();
        let start = Offset(3);
        let mut ids = AssignmentIds::default();
        World {
            then,
            state: state(then, ids.issue(|_| false), start, true),
            ids,
            now,
            next: 0,
            queue: VecDeque::new(),
            out: VecDeque::new(),
            sent: Vec::new(),
            given: 0,
            committed: start,
            delivered: vec![BTreeSet::new(); log.len()],
            handled: vec![false; log.len()],
            first_sent: Vec::new(),
            given_up: vec![false; log.len()],
            letters: Vec::new(),
            outcomes: Vec::new(),
            counts: String::new(),
            refused: BTreeSet::new(),
            stopped: None,
            log,
        }
    }

    fn is_settled(&self, record: usize) -> bool {
        if self.given_up[record] {
            return true;
        }
        match self.log[record].outputs {
            0 => self.handled[record],
            outputs => self.delivered[record].len() == outputs as usize,
        }
    }

    /// Gives the state an event; `returned` are the records that come back with it.
    fn tell(&mut self, event: Event<'_>, returned: &[(Seq, usize)]) -> bool {
        let mut released = false;
        let is_late = event.assignment().is_some_and(|assignment| assignment != self.state.assignment());
        let before = is_late.then(|| format!("{:?}", self.state));
        let actions: Vec<Action> = self.state.handle(self.now, event).collect();
        assert!(
            before.is_none_or(|before| actions.is_empty() && before == format!("{:?}", self.state)),
            "what carries another number changed something: {actions:?}"
        );
        let given_up: Vec<(Seq, bool)> = actions
            .iter()
            .filter_map(|action| {
                let (Action::DeadLetter { seq, failure, .. } | Action::Skip { seq, failure, .. }) = action else {
                    return None;
                };
                Some((*seq, failure.kind == Kind::Trap))
            })
            .collect();
        // Dead letters come before the outputs of the same run, and the last record's behind them.
        let turn = |seq: Seq, upto: Option<Seq>| upto.is_none_or(|upto| seq >= upto);
        let upto = actions.iter().find_map(|action| {
            let Action::Send { upto } = action else { return None };
            Some(*upto)
        });
        for &(seq, record) in returned {
            let fate = given_up.iter().find(|(other, _)| *other == seq);
            if fate.is_some() || upto.is_some_and(|upto| seq < upto) {
                self.count(record, fate.is_some_and(|(_, is_fault)| *is_fault));
                assert!(self.faults() <= ALLOWED, "the breaker did not trip at {:?}", self.outcomes);
            }
        }
        for action in actions {
            match action {
                Action::Send { upto } => {
                    for &(seq, record) in returned.iter().filter(|&&(seq, _)| seq < upto) {
                        self.take_turn(record);
                        if given_up.iter().any(|(other, _)| *other == seq) {
                            continue;
                        }
                        self.handled[record] = true;
                        let offset = self.log[record].offset;
                        assert!(self.stopped.is_none_or(|at| offset < at), "{offset} was sent after the stop");
                        self.sent.extend((0..self.log[record].outputs).map(|index| Sent {
                            seq,
                            record,
                            index: Part::Output(index),
                        }));
                        assert!(
                            !self.refused.contains(&record),
                            "{offset} was sent again though the broker had refused it"
                        );
                    }
                }
                Action::DeadLetter { seq, .. } => {
                    assert_eq!(self.then, Then::DeadLetter);
                    let record = self.give_up(seq, returned);
                    if turn(seq, upto) {
                        self.take_turn(record);
                    }
                    assert!(self.letters.last().is_none_or(|&last| last < record), "dead letters are out of order");
                    self.letters.push(record);
                    self.sent.push(Sent { seq, record, index: Part::DeadLetter });
                }
                Action::Skip { seq, .. } => {
                    assert_eq!(self.then, Then::Skip);
                    let record = self.give_up(seq, returned);
                    if turn(seq, upto) {
                        self.take_turn(record);
                    }
                    self.given_up[record] = true;
                }
                Action::Trip { offset, .. } => {
                    assert_ne!(self.then, Then::Stop);
                    let record = self.log.iter().position(|logged| logged.offset == offset).unwrap();
                    self.count(record, true);
                    assert!(self.faults() > ALLOWED, "the breaker tripped at {:?}", self.outcomes);
                    assert!(self.stopped.is_none(), "it stopped twice");
                    self.stopped = Some(offset);
                }
                Action::RunAgain { from, attempt, at } => {
                    assert!(at > self.now, "a retry waits");
                    assert!(attempt <= RETRIES, "a record was tried more often than the policy allows");
                    assert!(!self.state.may_dispatch(self.now, from), "records behind a waiting one may not pass it");
                    self.requeue(from, returned);
                }
                Action::Requeue { from } => self.requeue(from, returned),
                Action::Store { offset, counts, .. } => {
                    self.counts = counts;
                    assert!(offset > self.committed || self.committed == Offset(3), "the stored offset went back");
                    for (record, logged) in self.log.iter().enumerate().filter(|(_, logged)| logged.offset < offset.0) {
                        assert!(self.is_settled(record), "{offset} was stored, but {} is not settled", logged.offset);
                    }
                    if let Some(stopped) = self.stopped {
                        assert!(offset.0 <= stopped, "{offset} was stored, above the record {stopped} that stopped it");
                    }
                    self.committed = self.committed.max(offset);
                }
                Action::Stop { offset, .. } => {
                    assert!(self.stopped.is_none(), "it stopped twice");
                    self.stopped = Some(offset);
                }
                Action::DropQueue => self.queue.clear(),
                Action::Rewind => {
                    let is_ours = |sent: &Sent| sent.seq.assignment() == self.state.assignment();
                    assert!(!self.sent.iter().any(is_ours), "what is on its way is sent again");
                    released |= self.rewind();
                }
                Action::Seek { offset } => {
                    self.next = self.log.iter().position(|logged| logged.offset >= offset.0).unwrap_or(self.log.len());
                    self.given = 0;
                    self.letters.clear();
                }
                Action::Released { settled } => {
                    released = true;
                    if settled && self.stopped.is_none() {
                        assert!(
                            self.out.iter().all(|out| out.first.assignment() != self.state.assignment()),
                            "released with records at an executor"
                        );
                        assert!(
                            self.sent.iter().all(|sent| sent.seq.assignment() != self.state.assignment()),
                            "released with outputs under way"
                        );
                    }
                }
            }
        }
        released
    }

    /// The partition is read again. `true` if this ended a drain.
    fn rewind(&mut self) -> bool {
        let assignment = self.ids.issue(|_| false);
        self.tell(Event::Rewind { assignment }, &[])
    }

    fn take_turn(&mut self, record: usize) {
        if !self.first_sent.contains(&record) {
            self.first_sent.push(record);
        }
    }

    /// Checks that a record may be given up; its place in the log.
    fn give_up(&self, seq: Seq, about: &[(Seq, usize)]) -> usize {
        let record = about.iter().find(|(other, _)| *other == seq).expect("the record is at hand").1;
        let offset = self.log[record].offset;
        assert!(self.stopped.is_none_or(|at| offset < at), "{offset} was given up after the stop");
        record
    }

    /// A record got its outcome. What came before in this life counts once.
    fn count(&mut self, record: usize, is_fault: bool) {
        if self.outcomes.last().is_none_or(|&(last, _)| last < record) {
            self.outcomes.push((record, is_fault));
        }
    }

    fn faults(&self) -> usize {
        self.outcomes.iter().rev().take(WINDOW).filter(|(_, is_fault)| *is_fault).count()
    }

    fn requeue(&mut self, from: Seq, returned: &[(Seq, usize)]) {
        if self.state.may_receive() {
            self.queue.extend(returned.iter().filter(|&&(seq, _)| seq >= from));
            self.queue.make_contiguous().sort_unstable();
        }
    }

    fn receive(&mut self, count: usize) {
        if !self.state.may_receive() {
            return;
        }
        let upto = (self.next + count).min(self.log.len());
        let offsets: Vec<i64> = self.log[self.next..upto].iter().map(|logged| logged.offset).collect();
        for record in self.next..upto {
            self.queue.push_back((Seq::first_of(self.state.assignment()).plus(self.given), record));
            self.given += 1;
        }
        self.next = upto;
        self.tell(Event::Received { offsets: &offsets, leader_epoch: 1 }, &[]);
    }

    fn dispatch(&mut self, count: usize) {
        let Some(&(first, _)) = self.queue.front() else { return };
        if !self.state.may_dispatch(self.now, first) {
            return;
        }
        let (assignment, run) = (self.state.assignment(), self.state.run());
        assert!(
            self.out.iter().all(|out| out.first.assignment() != assignment || out.run == run || out.first > first),
            "handed out past records that are on their way back"
        );
        // A job's records follow each other.
        let follows = self.queue.iter().enumerate().take_while(|(n, (seq, _))| *seq == first.plus(*n)).count();
        let count = count.min(follows);
        let taken: Vec<(Seq, usize)> = self.queue.drain(..count).collect();
        self.out.push_back(Out {
            run: self.state.run(),
            first: taken[0].0,
            records: taken.iter().map(|&(_, record)| record).collect(),
        });
        self.tell(Event::Dispatched { records: count }, &[]);
    }

    /// `true` if this ended a drain.
    fn give_back(&mut self, count: usize, fails: Fails, among: u8) -> bool {
        let Some(mut out) = self.out.pop_front() else { return false };
        let done = count.min(out.records.len());
        let kind = match fails {
            Fails::No | Fails::GivesUp => None,
            Fails::Retry => Some(Kind::Retry),
            Fails::Reject => Some(Kind::Reject),
            Fails::Trap => Some(Kind::Trap),
        };
        let failure = kind.filter(|_| done < out.records.len()).map(|kind| Failure::new(kind, None, "planned"));
        // An executor gives everything back after a failure, and otherwise either what is done or all of it.
        let returned = if failure.is_some() || fails == Fails::GivesUp { out.records.len() } else { done };
        if returned == 0 {
            self.out.push_front(out);
            return false;
        }
        let back: Vec<usize> = out.records.drain(..returned).collect();
        let numbered: Vec<(Seq, usize)> =
            back.iter().enumerate().map(|(n, &record)| (out.first.plus(n), record)).collect();
        let goes_on = self.then != Then::Stop;
        let mut outputs: Vec<u32> = back[..done].iter().map(|&record| self.log[record].outputs).collect();
        let mut failed: Vec<(usize, Failure)> = (0..done.min(8))
            .filter(|place| goes_on && among >> place & 1 == 1)
            .map(|place| (place, if place % 2 == 0 { Kind::Reject } else { Kind::Trap }))
            .map(|(place, kind)| (place, Failure::new(kind, None, "planned")))
            .collect();
        failed.iter().for_each(|(place, _)| outputs[*place] = 0);
        // Only a retry ends a run where records are given up alone.
        let failure = failure.filter(|failure| {
            let alone = goes_on && failure.kind != Kind::Retry;
            if alone {
                outputs.push(0);
                failed.push((done, failure.clone()));
            }
            !alone
        });
        let (run, first) = (out.run, out.first);
        if !out.records.is_empty() {
            out.first = first.plus(returned);
            self.out.push_front(out);
        }
        let event = Event::Ran { run, first, outputs: &outputs, failed: &failed, failure: failure.as_ref(), returned };
        // What comes back of an older assignment isn't this partition's any more.
        let numbered = if first.assignment() == self.state.assignment() { numbered } else { Vec::new() };
        let (is_taken, sent) = (self.state.takes(run, first), self.sent.len());
        let told = self.tell(event, &numbered);
        // What a plugin counted in a run is told by that word, before the run is looked at.
        assert!(is_taken || self.sent.len() == sent, "a run that isn't taken was sent");
        told
    }

    fn acknowledge(&mut self, which: usize) -> bool {
        if self.sent.is_empty() {
            return false;
        }
        let sent = self.sent.remove(which % self.sent.len());
        match sent.index {
            Part::Output(index) => _ = self.delivered[sent.record].insert(index),
            Part::DeadLetter => self.given_up[sent.record] = true,
        }
        self.tell(Event::Delivered { first: sent.seq, last: sent.seq }, &[])
    }

    fn refuse(&mut self, which: usize) {
        if self.sent.is_empty() {
            return;
        }
        let sent = self.sent.remove(which % self.sent.len());
        let failure = Failure::new(Kind::Refused, None, "planned");
        let Sent { seq, record, index } = sent;
        if index == Part::DeadLetter {
            self.tell(Event::Hopeless { seq, failure: &failure }, &[]);
        } else {
            if seq.assignment() == self.state.assignment() && self.state.may_receive() {
                self.refused.insert(record);
            }
            self.tell(Event::Refused { seq, failure: &failure }, &[]);
        }
    }

    fn refuse_beside(&mut self, which: usize) {
        if !self.sent.is_empty() {
            let sent = self.sent.remove(which % self.sent.len());
            self.tell(Event::Undelivered { seq: sent.seq }, &[]);
        }
    }

    /// The last outputs of a record turn out not to be sendable, and no later one was tried yet.
    fn unsendable(&mut self, which: usize) {
        let assignment = self.state.assignment();
        let Some(&Sent { seq, record, .. }) = self.sent.iter().rev().find(|sent| sent.seq.assignment() == assignment)
        else {
            return;
        };
        let letter = |sent: &Sent| sent.seq == seq && sent.index == Part::DeadLetter;
        if self.sent.iter().any(letter) || self.letters.last().is_some_and(|&last| last >= record) {
            return;
        }
        let own = self.sent.iter().filter(|sent| sent.seq == seq).count();
        let unsent = which % own + 1;
        for _ in 0..unsent {
            let at = self.sent.iter().rposition(|sent| sent.seq == seq).unwrap();
            self.sent.remove(at);
        }
        let failure = Failure::new(Kind::TooLarge, None, "planned");
        let unsent = u32::try_from(unsent).unwrap();
        self.tell(Event::Unsendable { seq, unsent, failure: &failure }, &[(seq, record)]);
    }

    /// Another process takes over, with nothing but what is committed.
    fn take_over(&mut self) {
        self.state = state(self.then, self.ids.issue(|_| false), self.committed, false).with_counts(&self.counts);
        let is_committed = |record: usize| self.log[record].offset < self.committed.0;
        self.outcomes.retain(|&(record, _)| is_committed(record));
        self.letters.clear();
        self.refused.clear();
        self.next = self.log.iter().position(|logged| logged.offset >= self.committed.0).unwrap_or(self.log.len());
        self.queue.clear();
        self.out.clear();
        self.given = 0;
        self.stopped = None;
        // Outputs under way may still arrive: the broker has them, and nobody hears of it.
        for sent in std::mem::take(&mut self.sent) {
            match sent.index {
                Part::Output(index) if index % 2 == 0 => _ = self.delivered[sent.record].insert(index),
                Part::Output(_) => {}
                Part::DeadLetter => self.given_up[sent.record] = true,
            }
        }
    }

    fn drain(&mut self, within: u64, stuck: bool) {
        let deadline = self.now + Duration::from_millis(within);
        let mut ends = self.stopped.is_some();
        let mut released = self.tell(Event::Drain { deadline }, &[]);
        for _ in 0..200 {
            if released {
                break;
            }
            if self.stopped.is_some() && !ends {
                // A record that the broker had refused stops the pipeline, which drains all partitions.
                ends = true;
                released |= self.tell(Event::Drain { deadline }, &[]);
                continue;
            }
            self.now += Duration::from_millis(7);
            if !stuck {
                released |= self.give_back(2, Fails::No, 0);
                released |= self.acknowledge(0);
            }
            if !released {
                released |= self.tell(Event::Tick, &[]);
            }
        }
        assert!(released, "a drain ends by its deadline");
        self.take_over();
    }

    fn carry_out(&mut self, step: &Step) {
        match *step {
            Step::Receive(count) => self.receive(count),
            Step::Dispatch(count) => self.dispatch(count),
            Step::Return(count, fails, among) => {
                self.give_back(count, fails, among);
            }
            Step::Acknowledge(which) => {
                self.acknowledge(which);
            }
            Step::AcknowledgeMany(count) => {
                for _ in 0..count {
                    self.acknowledge(0);
                }
            }
            Step::Refuse(which) => self.refuse(which),
            Step::RefuseBeside(which) => self.refuse_beside(which),
            Step::Unsendable(which) => self.unsendable(which),
            Step::Rewind => {
                // Reports of the old producer's outputs may still come, with their old numbers.
                self.rewind();
            }
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms);
                self.tell(Event::Tick, &[]);
            }
            Step::Drain(within, stuck) => self.drain(within, stuck),
            Step::Crash => self.take_over(),
            Step::Policy(then) => {
                if self.out.is_empty() && self.sent.is_empty() {
                    self.then = then;
                    self.tell(Event::Policy(policy(then)), &[]);
                }
            }
        }
        self.start_again();
    }

    /// A pipeline that stopped ends: drained, and started again with what it needs mended.
    fn start_again(&mut self) {
        if self.stopped.is_some() {
            self.give_back(1, Fails::No, 0);
            self.drain(300, false);
        }
    }

    /// Lets what was received through.
    fn finish_in_flight(&mut self) {
        while !self.queue.is_empty() {
            self.dispatch(usize::MAX / 2);
            self.give_back(usize::MAX / 2, Fails::No, 0);
            while !self.sent.is_empty() {
                self.acknowledge(0);
            }
        }
        self.tell(Event::Tick, &[]);
    }

    /// Lets everything through.
    fn finish(&mut self) {
        for _ in 0..self.log.len() * 20 + 200 {
            self.now += Duration::from_secs(20);
            // No more than is in flight at most: an assignment has numbers for far more.
            self.receive(4);
            self.dispatch(3);
            while !self.out.is_empty() {
                self.give_back(usize::MAX / 2, Fails::No, 0);
            }
            while !self.sent.is_empty() {
                self.acknowledge(0);
            }
            self.tell(Event::Tick, &[]);
            self.start_again();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_committed_before_it_is_settled_and_everything_comes_out(
        outputs in prop::collection::vec(prop_oneof![3 => Just(1_u32), 1 => Just(0), 1 => Just(3)], 1..40),
        gaps in prop::collection::vec(prop::bool::weighted(0.2), 40),
        steps in prop::collection::vec(step(), 0..120),
        then in prop_oneof![1 => Just(Then::Stop), 2 => Just(Then::DeadLetter), 1 => Just(Then::Skip)],
    ) {
        let mut world = World::new(then, &outputs, &gaps);
        for step in &steps {
            world.carry_out(step);
        }
        world.finish();
        for record in 0..world.log.len() {
            prop_assert!(world.is_settled(record), "record {} never came out", world.log[record].offset);
        }
        let end = world.log.last().map_or(3, |logged| logged.offset + 1);
        prop_assert_eq!(world.committed, Offset(end), "everything is settled, and not all of it committed");
        prop_assert!(world.first_sent.is_sorted(), "records were first sent out of order: {:?}", world.first_sent);
        prop_assert_eq!(world.state.in_flight(), 0);
    }
}

/// The broker may be said to refuse two outputs of a record: it has one dead letter all the same.
#[test]
fn a_record_is_given_up_once() {
    let mut watermark = Watermark::new(id(0), Offset(0));
    watermark.receive(&[0], -1);
    watermark.send(&[2], &[]);
    assert!(watermark.give_up(Seq::first_of(id(0)), Fate::DeadLettered, 1));
    assert!(!watermark.give_up(Seq::first_of(id(0)), Fate::DeadLettered, 1));
    assert_eq!(watermark.low(), Offset(0), "its dead letter is not acknowledged");
    watermark.acknowledge(Seq::first_of(id(0)), Seq::first_of(id(0)));
    assert_eq!((watermark.low(), watermark.take_settled().dead_lettered), (Offset(1), 1));
}

/// A producer with room for larger records may have to take the place of the one that has what was sent below the record: that is found
/// out while the end is only about to begin.
#[test]
fn what_is_rewound_before_a_stop_is_carried_out_comes_to_that_record_again() {
    let mut world = World::new(Then::Stop, &[1, 1], &[false, false]);
    let fail = |state: &mut PartitionState, now| {
        let first = Seq::first_of(state.assignment());
        let _ = state.handle(now, Event::Received { offsets: &[3, 4], leader_epoch: 1 });
        let _ = state.handle(now, Event::Dispatched { records: 2 });
        let failure = Failure::new(Kind::Reject, None, "planned");
        let event = Event::Ran { run: 0, first, outputs: &[1], failed: &[], failure: Some(&failure), returned: 2 };
        state.handle(now, event).collect::<Vec<_>>()
    };
    let stops = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Stop { offset: 4, .. }));
    assert!(stops(&fail(&mut world.state, world.now)));
    let actions: Vec<Action> = world.state.handle(world.now, Event::Rewind { assignment: id(1) }).collect();
    assert!(actions.contains(&Action::Seek { offset: Offset(3) }), "{actions:?}");
    assert!(world.state.may_receive() && world.state.stops_at().is_none());
    assert!(stops(&fail(&mut world.state, world.now)));
}

#[test]
fn a_start_that_is_not_committed_is_stored_at_once() {
    let mut world = World::new(Then::Stop, &[], &[]);
    let actions: Vec<Action> = world.state.handle(world.now, Event::Tick).collect();
    assert_eq!(actions, [Action::Store { offset: Offset(3), leader_epoch: -1, counts: String::new() }]);
    assert_eq!(world.state.handle(world.now, Event::Tick).count(), 0);
}

#[test]
fn control_markers_are_passed_only_with_nothing_in_flight() {
    let mut world = World::new(Then::Stop, &[1, 1], &[false, false]);
    world.tell(Event::Tick, &[]);
    world.receive(1);
    let actions: Vec<Action> = world.state.handle(world.now, Event::Position { position: Offset(9) }).collect();
    assert_eq!(actions, [], "a record is on its way below the position");
    world.dispatch(1);
    world.give_back(1, Fails::No, 0);
    world.acknowledge(0);
    let actions: Vec<Action> = world.state.handle(world.now, Event::Position { position: Offset(9) }).collect();
    assert_eq!(actions, [Action::Store { offset: Offset(9), leader_epoch: 1, counts: String::new() }]);
}

#[test]
fn a_record_that_is_tried_again_has_a_name_until_it_has_an_outcome() {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    let start = Instant::now();
    let policy = Policy { retries: Retries::Forever, ..Policy::default() };
    let mut state = PartitionState::new(policy, id(0), Offset(100), false);
    let failure = Failure::new(Kind::Retry, None, "told to wait");
    let _ = state.handle(start, Event::Received { offsets: &[100, 105, 106], leader_epoch: 0 });
    let ran = |state: &mut PartitionState, at: u64, first: usize, outputs: &[u32], failure: Option<&Failure>| {
        let returned = 3 - first;
        let now = start + Duration::from_secs(at);
        let run = state.run();
        let _ = state.handle(now, Event::Dispatched { records: returned });
        let _ = state.handle(
            now,
            Event::Ran { run, first: Seq::first_of(id(0)).plus(first), outputs, failed: &[], failure, returned },
        );
    };
    assert!(state.retried().is_none());
    for tries in 1..=3 {
        let (first, outputs): (usize, &[u32]) = if tries == 1 { (0, &[1]) } else { (1, &[]) };
        ran(&mut state, 10 * tries, first, outputs, Some(&failure));
        let named = state.retried().expect("it is tried again");
        assert_eq!((named.offset, u64::from(named.tries), named.failure), (105, tries, &failure));
        assert_eq!(named.since, start + Duration::from_secs(10), "since it failed for the first time");
    }
    ran(&mut state, 60, 1, &[1, 1], None);
    assert!(state.retried().is_none());
}

#[test]
fn retries_are_spent_and_then_the_policy_decides() {
    let mut world = World::new(Then::Stop, &[1, 1], &[false, false]);
    world.receive(2);
    for _ in 0..RETRIES {
        world.dispatch(2);
        world.give_back(0, Fails::Retry, 0);
        assert_eq!(world.stopped, None);
        world.now += Duration::from_secs(11);
    }
    world.dispatch(2);
    world.give_back(0, Fails::Retry, 0);
    assert_eq!(world.stopped, Some(world.log[0].offset));
    assert_eq!(
        world.committed,
        Offset(world.log[0].offset),
        "nothing is below the record, nothing above it is committed"
    );
}

#[test]
fn what_is_behind_a_record_whose_retries_are_spent_goes_on_behind_it() {
    let mut world = World::new(Then::DeadLetter, &[1, 1, 1], &[false; 3]);
    world.receive(3);
    world.dispatch(3);
    world.give_back(1, Fails::No, 0);
    for _ in 0..=RETRIES {
        world.give_back(0, Fails::Retry, 0);
        world.now += Duration::from_secs(11);
        if world.letters.is_empty() {
            world.dispatch(2);
        }
    }
    assert_eq!(world.letters, [1], "the first went through, the second is given up");
    // The third came back with it, and is the next.
    assert_eq!(world.queue.iter().map(|&(_, record)| record).collect::<Vec<_>>(), [2]);
    world.finish();
    assert_eq!(world.first_sent, [0, 1, 2]);
    assert_eq!((world.given_up, world.state.in_flight()), (vec![false, true, false], 0));
}

#[test]
fn records_that_go_through_push_faults_out_of_the_breakers_window() {
    let mut world = World::new(Then::Skip, &[1; 40], &[false; 40]);
    for _ in 0..4 {
        // Two in eight is what the breaker allows: the first of the calls has both.
        for among in [0b1010, 0] {
            world.receive(4);
            world.dispatch(4);
            world.give_back(4, Fails::No, among);
        }
    }
    assert_eq!((world.stopped, world.faults()), (None, ALLOWED));
}

#[test]
fn more_rejects_than_their_share_stop_it_and_a_restart_stops_at_the_next() {
    let mut world = World::new(Then::Skip, &[1; 40], &[false; 40]);
    let allow = Policy { rejects_max: Some(2), ..policy(Then::Skip) };
    world.tell(Event::Policy(allow), &[]);
    world.receive(3);
    world.dispatch(3);
    // The rejects are at even places.
    world.give_back(3, Fails::No, 0b101);
    assert_eq!((world.committed, &*world.counts), (Offset(5), "1..1"), "the output in between is under way");
    world.acknowledge(0);
    assert_eq!((world.committed, &*world.counts), (Offset(7), "3..5"));
    world.state = PartitionState::new(allow, id(7), world.committed, false).with_counts(&world.counts);
    let offsets = [world.log[3].offset];
    world.tell(Event::Received { offsets: &offsets, leader_epoch: 1 }, &[]);
    world.tell(Event::Dispatched { records: 1 }, &[]);
    let reject = Failure::new(Kind::Error, None, "an error for one record is a reject");
    let event = Event::Ran {
        run: 0,
        first: Seq::first_of(id(7)),
        outputs: &[0],
        failed: &[(0, reject.clone())],
        failure: None,
        returned: 1,
    };
    let actions: Vec<Action> = world.state.handle(world.now, event).collect();
    let trip = Trip { flood: Flood::Rejects, failed: 3, records: 4, allowed: 2 };
    assert_eq!(actions, [Action::DropQueue, Action::Trip { offset: offsets[0], trip, failure: reject }]);
}

#[test]
fn an_assignment_that_nears_its_last_number_is_read_on_as_another_when_nothing_is_in_flight_or_at_last_anyhow() {
    let mut world = World::new(Then::Stop, &[1; 39], &[false; 39]);
    world.receive(21);
    world.finish_in_flight();
    assert_eq!(world.state.next(), Seq::first_of(id(0)).plus(21), "it has numbers for long");
    world.receive(1);
    world.tell(Event::Tick, &[]);
    assert_eq!(world.state.assignment(), id(0), "a record is in flight");
    world.finish_in_flight();
    assert_eq!(world.state.next(), Seq::first_of(id(1)));
    assert_eq!(world.next, 22, "nothing is read twice");
    // From here on something is in flight all the time.
    let mut state = state(Then::Stop, id(0), Offset(0), false);
    let offsets: Vec<i64> = (0..39).collect();
    state.handle(world.now, Event::Received { offsets: &offsets[..38], leader_epoch: 1 }).for_each(drop);
    assert_eq!(state.handle(world.now, Event::Tick).count(), 0);
    state.handle(world.now, Event::Received { offsets: &offsets[38..], leader_epoch: 1 }).for_each(drop);
    let actions: Vec<Action> = state.handle(world.now, Event::Tick).collect();
    assert_eq!(actions, [Action::Rewind]);
    let actions: Vec<Action> = state.handle(world.now, Event::Rewind { assignment: id(1) }).collect();
    assert_eq!(actions, [Action::DropQueue, Action::Seek { offset: Offset(0) }]);
    assert_eq!(state.next(), Seq::first_of(id(1)));
}
