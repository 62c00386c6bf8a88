//! A random schedule of steps, which the harness carries out where they apply: receive, hand out, return in any split,
//! acknowledge in any order, retry, fail, rewind, drain, crash. It runs under each policy, with one strand and several, and with either
//! delivery: with transactions, what isn't committed is undone by a crash or a failed commit. In the end, when everything may
//! finish, every record must have settled, those of a strand in order.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::policy;
use super::state;
use super::world::Out;
use super::world::Part;
use super::world::Sent;
use super::world::World;
use super::world::numbers;
use super::world::seqs;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::partition::Event;
use crate::partition::OnFailure;
use crate::record::Offset;
use crate::record::Seq;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Receive(usize),
    /// How many, and of which strand.
    Dispatch(usize, u16),
    /// Another strand's executor is the next to return records.
    Rotate(usize),
    /// The executor returns this many records, and the one after them fails like this. Where the policy continues after failed
    /// records, the records among them whose bit is set fail too: by a reject at an even index, by a fault at an odd one.
    Return(usize, Fails, u8),
    /// The broker acknowledges one of the outputs in flight.
    Acknowledge(usize),
    /// The broker acknowledges the oldest outputs in flight.
    AcknowledgeMany(usize),
    /// The broker refuses one of the outputs in flight.
    Refuse(usize),
    /// An output is not delivered because the broker refused another one of the same batch.
    RefuseBeside(usize),
    /// One of the outputs in flight was never sent, because it can't be.
    Unsendable(usize),
    Rewind,
    /// The transaction is committed, if it may be; at least once nothing happens.
    Commit,
    /// The transaction is aborted, and the partition is read from the group's offset.
    Restart,
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The partition is revoked with a drain of at most this many milliseconds, and assigned again. If `true`, nothing answers
    /// meanwhile; after this many ticks the drain is ended by a release.
    Drain(u64, bool, usize),
    /// The process ends at once, without another commit, and starts again.
    Crash,
    /// The policy changes, if nothing is out.
    Policy(OnFailure),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fails {
    No,
    Retry,
    Reject,
    Trap,
    /// The executor returns the rest without running it.
    GivesUp,
}

fn step() -> impl Strategy<Value = Step> {
    let fails = prop_oneof![
        20 => Just(Fails::No), 4 => Just(Fails::Retry), 1 => Just(Fails::Reject), 1 => Just(Fails::Trap), 3 => Just(Fails::GivesUp),
    ];
    prop_oneof![
        10 => (1_usize..6).prop_map(Step::Receive),
        10 => (1_usize..5, any::<u16>()).prop_map(|(count, strand)| Step::Dispatch(count, strand)),
        3 => (1_usize..5).prop_map(Step::Rotate),
        12 => (0_usize..5, fails, prop_oneof![3 => Just(0), 1 => any::<u8>()])
            .prop_map(|(n, fails, among)| Step::Return(n, fails, among)),
        12 => (0_usize..50).prop_map(Step::Acknowledge),
        6 => (1_usize..10).prop_map(Step::AcknowledgeMany),
        1 => (0_usize..50).prop_map(Step::Refuse),
        1 => (0_usize..50).prop_map(Step::RefuseBeside),
        1 => (0_usize..50).prop_map(Step::Unsendable),
        1 => Just(Step::Rewind),
        4 => Just(Step::Commit),
        1 => Just(Step::Restart),
        6 => (1_u64..3000).prop_map(Step::Wait),
        1 => (0_u64..500, any::<bool>(), prop_oneof![Just(usize::MAX), 0_usize..30])
            .prop_map(|(within, stuck, looks)| Step::Drain(within, stuck, looks)),
        1 => Just(Step::Crash),
        2 => prop_oneof![Just(OnFailure::Stop), Just(OnFailure::DeadLetter), Just(OnFailure::Skip)].prop_map(Step::Policy),
    ]
}

impl World {
    pub(super) fn receive(&mut self, count: usize) {
        if !self.state.may_receive() {
            return;
        }
        let upto = (self.next + count).min(self.log.len());
        let offsets: Vec<i64> = self.log[self.next..upto].iter().map(|logged| logged.offset).collect();
        for record in self.next..upto {
            self.queue.push_back((Seq::first_of(self.state.assignment()).plus(self.given), record));
            self.given += 1;
        }
        let strands: Vec<u16> = self.log[self.next..upto].iter().map(|logged| logged.strand).collect();
        self.next = upto;
        self.tell(Event::Received { offsets: &offsets, leader_epoch: 1, strands: &strands }, &[]);
    }

    /// Hands out records of every strand. `true` if a drain ended.
    pub(super) fn dispatch(&mut self, count: usize) -> bool {
        (0..self.strands).fold(false, |released, strand| released | self.dispatch_of(strand, count))
    }

    pub(super) fn dispatch_of(&mut self, strand: u16, count: usize) -> bool {
        let waiting: Vec<(Seq, usize)> =
            self.queue.iter().filter(|(_, record)| self.log[*record].strand == strand).copied().collect();
        let Some(&(first, _)) = waiting.first() else { return false };
        if !self.state.may_dispatch(self.now, strand, first) {
            return false;
        }
        let (assignment, run) = (self.state.assignment(), self.state.run(strand));
        let own = |out: &&Out| out.is_of(assignment) && out.strand == strand;
        if self.strands > 1 && self.out.iter().any(|out| own(&out)) {
            // It has one job at a time.
            return false;
        }
        assert!(
            self.out.iter().filter(own).all(|out| out.run == run || out.records[0].0 > first),
            "handed out past records that are on their way back"
        );
        // Of one strand a job's records are consecutive.
        let follows = waiting.iter().enumerate().take_while(|(n, (seq, _))| self.strands > 1 || *seq == first.plus(*n));
        let taken: VecDeque<(Seq, usize)> = follows.take(count).map(|(_, waiting)| *waiting).collect();
        self.queue.retain(|waiting| !taken.contains(waiting));
        self.given_out.extend(taken.iter().map(|(_, record)| record));
        let listed = numbers(&taken);
        let released = self.tell(Event::Dispatched { strand, seqs: seqs(&listed, &taken) }, &[]);
        self.out.push_back(Out { strand, run, records: taken });
        released
    }

    /// `true` if this ended a drain.
    pub(super) fn give_back(&mut self, count: usize, fails: Fails, among: u8) -> bool {
        let Some(mut out) = self.out.pop_front() else { return false };
        let done = count.min(out.records.len());
        let kind = match fails {
            Fails::No | Fails::GivesUp => None,
            Fails::Retry => Some(Kind::Retry),
            Fails::Reject => Some(Kind::Reject),
            Fails::Trap => Some(Kind::Trap),
        };
        let failure = kind.filter(|_| done < out.records.len()).map(|kind| Failure::new(kind, None, "planned"));
        // An executor returns everything after a failure, and otherwise either what was processed or all of it.
        let returned = if failure.is_some() || fails == Fails::GivesUp { out.records.len() } else { done };
        if returned == 0 {
            self.out.push_front(out);
            return false;
        }
        let numbered: VecDeque<(Seq, usize)> = out.records.drain(..returned).collect();
        let back: Vec<usize> = numbered.iter().map(|&(_, record)| record).collect();
        let continues = self.then != OnFailure::Stop;
        let mut outputs: Vec<u32> = back[..done].iter().map(|&record| self.log[record].outputs).collect();
        let mut failed: Vec<(usize, Failure)> = (0..done.min(8))
            .filter(|place| continues && among >> place & 1 == 1)
            .map(|place| (place, if place % 2 == 0 { Kind::Reject } else { Kind::Trap }))
            .map(|(place, kind)| (place, Failure::new(kind, None, "planned")))
            .collect();
        failed.iter().for_each(|(place, _)| outputs[*place] = 0);
        // Where the policy continues after failed records, only a retry ends a run.
        let failure = failure.filter(|failure| {
            let alone = continues && failure.kind != Kind::Retry;
            if alone {
                outputs.push(0);
                failed.push((done, failure.clone()));
            }
            !alone
        });
        let (strand, run, first) = (out.strand, out.run, numbered[0].0);
        if !out.records.is_empty() {
            self.out.push_front(out);
        }
        let listed = numbers(&numbered);
        let seqs = seqs(&listed, &numbered);
        let event = Event::Ran { strand, run, seqs, outputs: &outputs, failed: &failed, failure: failure.as_ref() };
        let mut numbered = Vec::from(numbered);
        // Records of an older assignment don't belong to this one.
        numbered.retain(|(seq, _)| seq.assignment() == self.state.assignment());
        let (is_taken, sent) = (self.state.takes(strand, run, first), self.sent.len());
        let told = self.tell(event, &numbered);
        // The worker keeps a run's metrics by what `takes` says before the run is handled.
        assert!(is_taken || self.sent.len() == sent, "a run that isn't taken was sent");
        told
    }

    pub(super) fn acknowledge(&mut self, which: usize) -> bool {
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

    pub(super) fn refuse(&mut self, which: usize) {
        if self.sent.is_empty() {
            return;
        }
        let sent = self.sent.remove(which % self.sent.len());
        let failure = Failure::new(Kind::Refused, None, "planned");
        let Sent { seq, record, index } = sent;
        if index == Part::DeadLetter {
            self.tell(Event::Unrecoverable { seq, failure: &failure }, &[]);
        } else {
            if seq.assignment() == self.state.assignment() && self.state.may_receive() {
                self.refused.insert(record);
            }
            self.tell(Event::Refused { seq, failure: &failure }, &[]);
        }
    }

    pub(super) fn refuse_beside(&mut self, which: usize) {
        if !self.sent.is_empty() {
            let sent = self.sent.remove(which % self.sent.len());
            self.tell(Event::Undelivered { seq: sent.seq }, &[]);
        }
    }

    /// The last outputs of a record can't be sent, and no later output was tried yet.
    pub(super) fn unsendable(&mut self, which: usize) {
        let assignment = self.state.assignment();
        let Some(&Sent { seq, record, .. }) = self.sent.iter().rev().find(|sent| sent.seq.assignment() == assignment)
        else {
            return;
        };
        let letter = |sent: &Sent| sent.seq == seq && sent.index == Part::DeadLetter;
        if self.sent.iter().any(letter) || !self.is_in_order(record, &self.letters) {
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

    /// Another process continues, and knows only what is committed.
    pub(super) fn take_over(&mut self) {
        if self.once {
            self.abort_transaction();
        }
        let (from, counts) = self.group.clone();
        self.committed = from;
        self.state = state(self.then, self.ids.issue(|_| false), from, false, self.strands).with_counts(&counts);
        let is_committed = |record: usize| self.log[record].offset < self.committed.0;
        self.outcomes.retain(|&(record, _)| is_committed(record));
        self.letters.clear();
        self.given_out.clear();
        self.refused.clear();
        self.next = self.log.iter().position(|logged| logged.offset >= self.committed.0).unwrap_or(self.log.len());
        self.queue.clear();
        self.out.clear();
        self.given = 0;
        self.stopped = None;
        // Outputs in flight may still arrive: the broker has them, but nothing is reported.
        for sent in std::mem::take(&mut self.sent) {
            match sent.index {
                Part::Output(index) if index % 2 == 0 => _ = self.delivered[sent.record].insert(index),
                Part::Output(_) => {}
                Part::DeadLetter => self.given_up[sent.record] = true,
            }
        }
    }

    pub(super) fn drain(&mut self, within: u64, stuck: bool, looks: usize) {
        let deadline = self.now + Duration::from_millis(within);
        let mut ends = self.stopped.is_some();
        let mut released = self.tell(Event::Drain { deadline }, &[]);
        for look in 0..200 {
            if released {
                break;
            }
            if look == looks {
                released |= self.tell(Event::Release, &[]);
                assert!(released, "it is waited for");
                break;
            }
            if self.stopped.is_some() && !ends {
                // A record that the broker had refused stops the pipeline, and the shutdown drains all partitions.
                ends = true;
                released |= self.tell(Event::Drain { deadline }, &[]);
                continue;
            }
            self.now += Duration::from_millis(7);
            if !stuck {
                released |= self.dispatch(2);
                released |= self.give_back(2, Fails::No, 0);
                released |= self.acknowledge(0);
            }
            if !released {
                released |= self.tell(Event::Tick, &[]);
            }
        }
        assert!(released, "a drain ends by its deadline");
        if self.once {
            self.commit();
        }
        self.take_over();
    }

    pub(super) fn carry_out(&mut self, step: &Step) {
        match *step {
            Step::Receive(count) => self.receive(count),
            Step::Dispatch(count, strand) => {
                self.dispatch_of(strand % self.strands, count);
            }
            Step::Rotate(count) => {
                if self.strands > 1 && !self.out.is_empty() {
                    self.out.rotate_left(count % self.out.len());
                }
            }
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
                // Reports of the old producer's outputs may still arrive, with their old numbers.
                self.rewind();
            }
            Step::Commit => {
                if self.once {
                    self.commit();
                }
            }
            Step::Restart => {
                if self.once {
                    self.restart();
                }
            }
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms);
                self.tell(Event::Tick, &[]);
            }
            Step::Drain(within, stuck, looks) => self.drain(within, stuck, looks),
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

    fn restart(&mut self) {
        // What is below was forgotten when the offset was stored, and is refused once more.
        self.refused.retain(|&record| self.log[record].offset >= self.committed.0);
        self.abort_transaction();
        self.stopped = None;
        let assignment = self.ids.issue(|_| false);
        self.tell(Event::Restart { assignment, offset: self.group.0, is_committed: true }, &[]);
    }

    /// A pipeline that stopped is drained, and started again with the problem fixed.
    pub(super) fn start_again(&mut self) {
        if self.stopped.is_some() {
            self.give_back(1, Fails::No, 0);
            self.drain(300, false, usize::MAX);
        }
    }

    /// Lets the received records finish.
    pub(super) fn finish_in_flight(&mut self) {
        while !self.queue.is_empty() {
            self.dispatch(usize::MAX / 2);
            while !self.out.is_empty() {
                self.give_back(usize::MAX / 2, Fails::No, 0);
            }
            while !self.sent.is_empty() {
                self.acknowledge(0);
            }
        }
        self.tell(Event::Tick, &[]);
    }

    /// Lets all records finish.
    pub(super) fn finish(&mut self) {
        for _ in 0..self.log.len() * 20 + 200 {
            self.now += Duration::from_secs(20);
            // Few records at a time: the number of those in flight is bounded well below the numbers of an assignment.
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
    #![proptest_config(ProptestConfig { cases: 20_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_committed_before_it_is_settled_and_every_record_settles(
        outputs in prop::collection::vec(prop_oneof![3 => Just(1_u32), 1 => Just(0), 1 => Just(3)], 1..40),
        gaps in prop::collection::vec(prop::bool::weighted(0.2), 40),
        steps in prop::collection::vec(step(), 0..120),
        then in prop_oneof![1 => Just(OnFailure::Stop), 2 => Just(OnFailure::DeadLetter), 1 => Just(OnFailure::Skip)],
        strands in prop_oneof![Just(1), Just(2), Just(5)],
        keys in prop::collection::vec(any::<u16>(), 40),
        once in any::<bool>(),
    ) {
        let mut world = World::of_strands(then, &outputs, &gaps, strands, &keys);
        world.once = once;
        for step in &steps {
            world.carry_out(step);
        }
        world.finish();
        for record in 0..world.log.len() {
            prop_assert!(world.is_settled(record), "record {} never came out", world.log[record].offset);
        }
        let end = world.log.last().map_or(3, |logged| logged.offset + 1);
        if once {
            world.commit();
        }
        prop_assert_eq!(world.group.0, Offset(end), "everything is settled, and not all of it committed");
        for strand in 0..strands {
            let first_sent = world.first_sent.iter().filter(|&&record| world.log[record].strand == strand);
            prop_assert!(first_sent.is_sorted(), "records were first sent out of order: {:?}", world.first_sent);
        }
        prop_assert_eq!(world.state.in_flight(), 0);
    }
}
