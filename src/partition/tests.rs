//! The partition's state against a naive oracle, over random schedules.
//!
//! The oracle is a list of records and what really happened to each: which of its outputs the broker has, and whether it was
//! handled. It knows nothing of epochs, runs or watermarks. A schedule is a list of steps that the harness carries out as far as they
//! make sense: receive, hand out, return in any split, acknowledge in any order, retry, fail, rewind, drain, crash. At
//! every `Store` the oracle is asked whether every record below the offset was really settled, and at the end, when everything is let
//! through, every record must have come out, in order.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use proptest::prelude::*;

use super::Action;
use super::Event;
use super::PartitionState;
use super::Policy;
use super::Retries;
use super::Then;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::record::Epoch;
use crate::record::Offset;
use crate::record::Seq;

/// One step of a schedule. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Receive(usize),
    Dispatch(usize),
    /// The executor returns so many records; the one behind them fails so.
    Return(usize, Fails),
    /// The broker acknowledges one of the outputs under way.
    Acknowledge(usize),
    /// The broker acknowledges the oldest outputs under way.
    AcknowledgeMany(usize),
    /// The broker refuses one of the outputs under way.
    Refuse(usize),
    Rewind,
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The partition goes away within so many milliseconds, and comes back; nothing may answer any more meanwhile.
    Drain(u64, bool),
    /// The same at once, with nothing committed but what was.
    Crash,
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
        12 => (0_usize..5, fails).prop_map(|(n, fails)| Step::Return(n, fails)),
        12 => (0_usize..50).prop_map(Step::Acknowledge),
        6 => (1_usize..10).prop_map(Step::AcknowledgeMany),
        1 => (0_usize..50).prop_map(Step::Refuse),
        1 => Just(Step::Rewind),
        6 => (1_u64..3000).prop_map(Step::Wait),
        1 => (0_u64..500, prop::bool::ANY).prop_map(|(within, stuck)| Step::Drain(within, stuck)),
        1 => Just(Step::Crash),
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
    epoch: Epoch,
    run: u32,
    first: Seq,
    /// Places in the log.
    records: VecDeque<usize>,
}

/// An output under way.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sent {
    epoch: Epoch,
    seq: Seq,
    record: usize,
    index: u32,
}

struct World {
    log: Vec<Logged>,
    state: PartitionState,
    now: Instant,
    /// The place in the log of the next record to be fetched.
    next: usize,
    /// Records that wait, in order: number and place in the log.
    queue: VecDeque<(Seq, usize)>,
    out: VecDeque<Out>,
    sent: Vec<Sent>,
    /// The numbers given in this epoch.
    given: u64,
    /// What is committed: the oracle's own copy.
    committed: Offset,
    /// For each record the outputs that the broker has.
    delivered: Vec<BTreeSet<u32>>,
    /// Records whose plugin said that there is nothing to emit.
    handled: Vec<bool>,
    /// The order in which records were first sent.
    first_sent: Vec<usize>,
    /// The record at which it stopped.
    stopped: Option<i64>,
}

const RETRIES: u32 = 2;

fn policy() -> Policy {
    Policy { retries: Retries::Times(RETRIES), then: Then::Stop, ..Policy::default() }
}

impl World {
    fn new(outputs: &[u32], gaps: &[bool]) -> World {
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
        World {
            state: PartitionState::new(policy(), Epoch(0), start, true),
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
            stopped: None,
            log,
        }
    }

    fn is_settled(&self, record: usize) -> bool {
        match self.log[record].outputs {
            0 => self.handled[record],
            outputs => self.delivered[record].len() == outputs as usize,
        }
    }

    /// Gives the state an event; `returned` are the records that come back with it.
    fn tell(&mut self, event: Event<'_>, returned: &[(Seq, usize)]) -> bool {
        let mut released = false;
        let actions: Vec<Action> = self.state.handle(self.now, event).collect();
        for action in actions {
            match action {
                Action::Send { upto } => {
                    for &(seq, record) in returned.iter().filter(|&&(seq, _)| seq < upto) {
                        if !self.first_sent.contains(&record) {
                            self.first_sent.push(record);
                        }
                        self.handled[record] = true;
                        let offset = self.log[record].offset;
                        assert!(self.stopped.is_none_or(|at| offset < at), "{offset} was sent after the stop");
                        let epoch = self.state.epoch();
                        self.sent.extend((0..self.log[record].outputs).map(|index| Sent { epoch, seq, record, index }));
                    }
                }
                Action::RunAgain { from, attempt, at } => {
                    assert!(at > self.now, "a retry waits");
                    assert!(attempt <= RETRIES, "a record was tried more often than the policy allows");
                    assert!(!self.state.may_dispatch(self.now, from), "records behind a waiting one may not pass it");
                    self.requeue(from, returned);
                }
                Action::Requeue { from } => self.requeue(from, returned),
                Action::Store { offset, .. } => {
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
                Action::Seek { epoch, offset } => {
                    assert_eq!(epoch, self.state.epoch());
                    self.next = self.log.iter().position(|logged| logged.offset >= offset.0).unwrap_or(self.log.len());
                    self.given = 0;
                }
                Action::Released { settled } => {
                    released = true;
                    if settled && self.stopped.is_none() {
                        assert!(
                            self.out.iter().all(|out| out.epoch != self.state.epoch()),
                            "released with records at an executor"
                        );
                        assert!(
                            self.sent.iter().all(|sent| sent.epoch != self.state.epoch()),
                            "released with outputs under way"
                        );
                    }
                }
            }
        }
        released
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
            self.queue.push_back((Seq(self.given), record));
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
        let (epoch, run) = (self.state.epoch(), self.state.run());
        assert!(
            self.out.iter().all(|out| out.epoch != epoch || out.run == run || out.first > first),
            "handed out past records that are on their way back"
        );
        // A job's records follow each other.
        let follows = self.queue.iter().zip(first.0..).take_while(|((seq, _), expected)| seq.0 == *expected).count();
        let count = count.min(follows);
        let taken: Vec<(Seq, usize)> = self.queue.drain(..count).collect();
        self.out.push_back(Out {
            epoch: self.state.epoch(),
            run: self.state.run(),
            first: taken[0].0,
            records: taken.iter().map(|&(_, record)| record).collect(),
        });
        self.tell(Event::Dispatched { records: count }, &[]);
    }

    /// `true` if this ended a drain.
    fn give_back(&mut self, count: usize, fails: Fails) -> bool {
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
            back.iter().enumerate().map(|(n, &record)| (out.first.plus(n as u64), record)).collect();
        let outputs: Vec<u32> = back[..done].iter().map(|&record| self.log[record].outputs).collect();
        let (epoch, run, first) = (out.epoch, out.run, out.first);
        if !out.records.is_empty() {
            out.first = first.plus(returned as u64);
            self.out.push_front(out);
        }
        let event = Event::Ran { epoch, run, first, outputs: &outputs, failure: failure.as_ref(), returned };
        // What comes back of an older epoch isn't this partition's any more.
        let numbered = if epoch == self.state.epoch() { numbered } else { Vec::new() };
        self.tell(event, &numbered)
    }

    fn acknowledge(&mut self, which: usize) -> bool {
        if self.sent.is_empty() {
            return false;
        }
        let sent = self.sent.remove(which % self.sent.len());
        self.delivered[sent.record].insert(sent.index);
        self.tell(Event::Delivered { epoch: sent.epoch, first: sent.seq, last: sent.seq }, &[])
    }

    fn refuse(&mut self, which: usize) {
        if self.sent.is_empty() {
            return;
        }
        let sent = self.sent.remove(which % self.sent.len());
        let failure = Failure::new(Kind::Refused, None, "planned");
        self.tell(Event::Refused { epoch: sent.epoch, seq: sent.seq, failure: &failure }, &[]);
    }

    /// Another process takes over, with nothing but what is committed.
    fn take_over(&mut self) {
        let epoch = Epoch(self.state.epoch().0 + 100);
        self.state = PartitionState::new(policy(), epoch, self.committed, false);
        self.next = self.log.iter().position(|logged| logged.offset >= self.committed.0).unwrap_or(self.log.len());
        self.queue.clear();
        self.out.clear();
        self.given = 0;
        self.stopped = None;
        // Outputs under way may still arrive: the broker has them, and nobody hears of it.
        for sent in std::mem::take(&mut self.sent) {
            if sent.index % 2 == 0 {
                self.delivered[sent.record].insert(sent.index);
            }
        }
    }

    fn drain(&mut self, within: u64, stuck: bool) {
        let deadline = self.now + Duration::from_millis(within);
        let mut released = self.tell(Event::Drain { deadline }, &[]);
        for _ in 0..200 {
            if released {
                break;
            }
            self.now += Duration::from_millis(7);
            if !stuck {
                released |= self.give_back(2, Fails::No);
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
            Step::Return(count, fails) => {
                self.give_back(count, fails);
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
            Step::Rewind => {
                // Reports of the old producer's outputs may still come, with their old epoch.
                self.tell(Event::Rewind, &[]);
            }
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms);
                self.tell(Event::Tick, &[]);
            }
            Step::Drain(within, stuck) => self.drain(within, stuck),
            Step::Crash => self.take_over(),
        }
        if self.stopped.is_some() {
            // The pipeline ends: drained, and started again with what it needs mended.
            self.give_back(1, Fails::No);
            self.drain(300, false);
        }
    }

    /// Lets everything through.
    fn finish(&mut self) {
        for _ in 0..self.log.len() * 20 + 200 {
            self.now += Duration::from_secs(20);
            self.receive(usize::MAX / 2);
            self.dispatch(3);
            while !self.out.is_empty() {
                self.give_back(usize::MAX / 2, Fails::No);
            }
            while !self.sent.is_empty() {
                self.acknowledge(0);
            }
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
    ) {
        let mut world = World::new(&outputs, &gaps);
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

#[test]
fn a_start_that_is_not_committed_is_stored_at_once() {
    let mut world = World::new(&[], &[]);
    let actions: Vec<Action> = world.state.handle(world.now, Event::Tick).collect();
    assert_eq!(actions, [Action::Store { offset: Offset(3), leader_epoch: -1 }]);
    assert_eq!(world.state.handle(world.now, Event::Tick).count(), 0);
}

#[test]
fn control_markers_are_passed_only_with_nothing_in_flight() {
    let mut world = World::new(&[1, 1], &[false, false]);
    world.tell(Event::Tick, &[]);
    world.receive(1);
    let actions: Vec<Action> = world.state.handle(world.now, Event::Position { position: Offset(9) }).collect();
    assert_eq!(actions, [], "a record is on its way below the position");
    world.dispatch(1);
    world.give_back(1, Fails::No);
    world.acknowledge(0);
    let actions: Vec<Action> = world.state.handle(world.now, Event::Position { position: Offset(9) }).collect();
    assert_eq!(actions, [Action::Store { offset: Offset(9), leader_epoch: 1 }]);
}

#[test]
fn retries_are_spent_and_then_the_policy_decides() {
    let mut world = World::new(&[1, 1], &[false, false]);
    world.receive(2);
    for _ in 0..RETRIES {
        world.dispatch(2);
        world.give_back(0, Fails::Retry);
        assert_eq!(world.stopped, None);
        world.now += Duration::from_secs(11);
    }
    world.dispatch(2);
    world.give_back(0, Fails::Retry);
    assert_eq!(world.stopped, Some(world.log[0].offset));
    assert_eq!(
        world.committed,
        Offset(world.log[0].offset),
        "nothing is below the record, nothing above it is committed"
    );
}
