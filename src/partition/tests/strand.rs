//! The strand against a naive oracle: an executor that returns runs whole or in part, stale ones in any order, and records that
//! fail.
//!
//! The oracle is the number of records that have their outcome: the next record must always be the next to get its outcome, and
//! each gets one.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use proptest::prelude::*;

use super::id;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::partition::Retries;
use crate::partition::Rule;
use crate::partition::strand::Strand;
use crate::record::Seq;

#[derive(Clone, Debug)]
enum Step {
    Receive(usize),
    HandOut(usize),
    /// The first run at the executor, or the last one if it is stale, returns `count` records and then ends in this way.
    Return {
        is_last: bool,
        count: usize,
        end: End,
    },
    /// Milliseconds.
    Wait(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Only processed records are returned.
    Goes,
    /// The rest is returned without being run.
    GivesUp,
    /// The next record asks for a retry, after its own delay or the policy's.
    Retry(Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![
        4 => Just(End::Goes), 1 => Just(End::GivesUp), 3 => Just(End::Retry(None)), 1 => (0_u64..50).prop_map(|ms| End::Retry(Some(ms))),
    ];
    prop_oneof![
        3 => (1_usize..5).prop_map(Step::Receive),
        6 => (1_usize..4).prop_map(Step::HandOut),
        8 => (prop::bool::weighted(0.15), 0_usize..4, end)
            .prop_map(|(is_last, count, end)| Step::Return { is_last, count, end }),
        4 => (1_u64..400).prop_map(Step::Wait),
    ]
}

const RETRIES: u32 = 3;

fn rule() -> Rule {
    let (backoff_from, backoff_to) = (Duration::from_millis(50), Duration::from_millis(150));
    Rule { retries: Retries::Times(RETRIES), backoff_from, backoff_to, ..Rule::default() }
}

/// Records that were handed out together: the run, the first record, and the end.
#[derive(Clone, Copy, Debug)]
struct Out {
    run: u32,
    from: usize,
    to: usize,
}

struct World {
    strand: Strand,
    now: Instant,
    received: usize,
    /// Records that wait, in order.
    queue: VecDeque<usize>,
    out: VecDeque<Out>,
    /// How many records have their outcome.
    passed: usize,
    /// For the next record: how often it failed, since when, and until when it waits.
    failed: Option<(u32, Instant, Instant)>,
}

/// The number of the strand's record `n`: other strands have the numbers between.
fn seq(n: usize) -> Seq {
    Seq::first_of(id(0)).plus(n + n / 3 * 2)
}

impl World {
    fn new() -> World {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let now = Instant::now();
        let strand = Strand::new(id(0));
        World { strand, now, received: 0, queue: VecDeque::new(), out: VecDeque::new(), passed: 0, failed: None }
    }

    fn carry_out(&mut self, step: &Step) {
        match *step {
            Step::Receive(count) => {
                for n in self.received..self.received + count {
                    self.strand.receive(seq(n).n(), 1);
                    self.queue.push_back(n);
                }
                self.received += count;
            }
            Step::HandOut(count) => self.hand_out(count),
            Step::Return { is_last, count, end } => self.give_back(is_last, count, end),
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
        }
        let waits = self.failed.map(|(_, _, until)| until).filter(|&until| until > self.now);
        assert_eq!(self.strand.waits_until(self.now), waits, "how long it waits");
        let retried = self.strand.retried().map(|retry| (retry.tries, retry.since));
        assert_eq!(retried, self.failed.map(|(tries, since, _)| (tries, since)), "what is tried again");
        for out in &self.out {
            let is_next = out.run == self.strand.run() && out.from == self.passed;
            assert_eq!(self.strand.takes(out.run, seq(out.from)), is_next, "whether {out:?} is taken");
        }
        let due = (self.passed < self.received).then(|| seq(self.passed));
        assert_eq!((self.strand.due(), self.strand.broken()), (due, None));
        let is_out = |out: &Out| out.run == self.strand.run() && out.to > self.passed;
        let waits = self.failed.is_some();
        let is_busy = self.out.iter().any(is_out) || (due.is_some() && !waits);
        assert_eq!(self.strand.is_busy(), is_busy, "whether it has something to do but for retries");
    }

    fn hand_out(&mut self, count: usize) {
        let Some(&first) = self.queue.front() else { return };
        let waits = self.failed.is_some_and(|(_, _, until)| until > self.now);
        let may_run = self.strand.may_run(self.now, seq(first));
        assert!(may_run || waits || !self.out.is_empty(), "{first} could run");
        if !may_run {
            return;
        }
        assert!(!waits, "{first} runs before its time");
        let run = self.strand.run();
        let is_stale = |out: &Out| out.run != run && out.from < first;
        assert!(!self.out.iter().any(is_stale), "{first} passes records that are on their way back");
        let follows = self.queue.iter().zip(first..).take_while(|(n, expected)| *n == expected).count();
        let count = count.min(follows);
        self.queue.drain(..count);
        self.out.push_back(Out { run, from: first, to: first + count });
        self.strand.hand_out(count);
    }

    fn give_back(&mut self, is_last: bool, count: usize, end: End) {
        let is_stale = |out: &mut Out| out.run != self.strand.run();
        let out = if is_last { self.out.pop_back_if(is_stale) } else { self.out.pop_front() };
        let Some(Out { run, from, to }) = out else { return };
        if !self.strand.takes(run, seq(from)) {
            return self.requeue(from, to);
        }
        let done = from + count.min(to - from);
        self.strand.pass(done - from);
        if done > from {
            (self.passed, self.failed) = (done, None);
        }
        match end {
            End::Goes | End::Retry(_) if done == to => {}
            // The executor continues with the rest.
            End::Goes => {
                self.out.push_front(Out { run, from: done, to });
            }
            End::GivesUp => {
                self.strand.run_again();
                self.requeue(done, to);
            }
            End::Retry(delay) => self.retry(done, to, delay),
        }
    }

    /// The record `at` fails, and the records after it up to `to` are returned with it.
    fn retry(&mut self, at: usize, to: usize, delay: Option<u64>) {
        let tries = self.failed.map_or(0, |(tries, _, _)| tries);
        assert_eq!(self.strand.tries(seq(at)), tries);
        let failure = Failure { delay: delay.map(Duration::from_millis), ..Failure::new(Kind::Retry, None, "planned") };
        let answer = self.strand.retry(rule(), self.now, &failure);
        if tries == RETRIES {
            assert_eq!(answer, None, "its tries are spent");
            self.strand.pass(1);
            self.strand.run_again();
            (self.passed, self.failed) = (at + 1, None);
            return self.requeue(at + 1, to);
        }
        let until = self.now + delay.map_or_else(|| rule().backoff(seq(at), tries + 1), Duration::from_millis);
        assert_eq!(answer, Some((tries + 1, until)));
        let since = self.failed.map_or(self.now, |(_, since, _)| since);
        self.failed = Some((tries + 1, since, until));
        self.requeue(at, to);
    }

    fn requeue(&mut self, from: usize, to: usize) {
        self.queue.extend(from..to);
        self.queue.make_contiguous().sort_unstable();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_of_a_strand_get_their_outcomes_in_order(steps in prop::collection::vec(step(), 0..100)) {
        let mut world = World::new();
        for step in &steps {
            world.carry_out(step);
        }
        for _ in 0..2 * world.received + 100 {
            world.carry_out(&Step::Wait(400));
            world.carry_out(&Step::HandOut(usize::MAX));
            world.carry_out(&Step::Return { is_last: false, count: usize::MAX, end: End::Goes });
        }
        prop_assert_eq!(world.passed, world.received, "everything comes out");
    }
}
