//! PURE. A strand: records of a partition that run in order. It knows which record runs next, and how long a retry waits.
//!
//! Records of a strand get their outcomes in order: while one is retried, those after it wait. Records are handed out in runs.
//! When a run ends early, the rest of what was handed out in it is stale: it is returned and runs again in its turn. In a partition
//! of one strand the records' numbers are consecutive, else there are gaps. Invariant: what is out is before what waits.

use std::time::Duration;
use std::time::Instant;

use super::Retries;
use super::Rule;
use super::numbers::Numbers;
use crate::failure::Failure;
use crate::record::AssignmentId;
use crate::record::Seq;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Strand {
    assignment: AssignmentId,
    /// Incremented when records that were handed to an executor must run again: results of an earlier run are stale.
    run: u32,
    /// Records that were handed to an executor in this run and have no outcome.
    out: Numbers,
    /// Records that are to be handed out. Those that were handed out in an earlier run may not be returned yet.
    waiting: Numbers,
    retry: Option<RetryTimer>,
}

/// The retry of the record that is retried, or was the last to be.
#[derive(Clone, Debug)]
pub(super) struct RetryTimer {
    pub(super) seq: Seq,
    /// How often it was tried.
    pub(super) tries: u32,
    /// When it failed for the first time.
    pub(super) since: Instant,
    until: Instant,
    /// Why it failed the last time.
    pub(super) failure: Failure,
}

impl Strand {
    /// A strand without records.
    pub(super) fn new(assignment: AssignmentId) -> Strand {
        Strand { assignment, run: 0, out: Numbers::default(), waiting: Numbers::default(), retry: None }
    }

    /// The run in which records are handed out now.
    pub(super) fn run(&self) -> u32 {
        self.run
    }

    /// The next records, from number `n` on, belong to this strand.
    pub(super) fn receive(&mut self, n: u64, records: u64) {
        self.waiting.push(n..n + records);
    }

    /// The next record to get its outcome.
    pub(super) fn due(&self) -> Option<Seq> {
        self.out.first().or_else(|| self.waiting.first()).map(|n| self.seq(n))
    }

    /// Until when the strand waits for a retry.
    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.retry.as_ref().map(|retry| retry.until).filter(|&until| until > now)
    }

    /// Whether records from `first` on may be handed out: no retry is waiting, and all records before them are handed out.
    /// Records handed out in an earlier run may not be returned yet.
    pub(super) fn may_run(&self, now: Instant, first: Seq) -> bool {
        self.waiting.first() == Some(first.n()) && self.waits_until(now).is_none()
    }

    /// Hands out the next `records` records.
    pub(super) fn hand_out(&mut self, records: usize) {
        self.waiting.move_to(&mut self.out, records);
    }

    /// Whether a result of this run that begins with `first` is taken.
    pub(super) fn takes(&self, run: u32, first: Seq) -> bool {
        run == self.run && self.out.first() == Some(first.n())
    }

    /// The next `records` records, which were handed out, have their outcome.
    pub(super) fn pass(&mut self, records: usize) {
        self.out.remove(records);
    }

    /// Records that were handed out and have no outcome run again.
    pub(super) fn run_again(&mut self) {
        self.run += 1;
        self.waiting.prepend(&mut self.out);
    }

    /// Forgets the records from this one on: they get no outcome.
    pub(super) fn end_before(&mut self, seq: Seq) {
        self.out.end_before(seq.n());
        self.waiting.end_before(seq.n());
    }

    /// Forgets the records from this one on that wait.
    pub(super) fn forget_waiting(&mut self, seq: Seq) {
        self.waiting.end_before(seq.n());
    }

    /// Whether a record is at an executor or may be handed out without waiting for a retry.
    pub(super) fn is_busy(&self) -> bool {
        self.out.first().is_some() || (self.waiting.first().is_some() && self.retried().is_none())
    }

    /// The record that is due failed and asks for a retry. Returns the retry's number, from 1, and its time; `None` if no retries
    /// are left.
    pub(super) fn retry(&mut self, rule: Rule, now: Instant, failure: &Failure) -> Option<(u32, Instant)> {
        let due = self.due()?;
        let tries = self.tries(due) + 1;
        if let Retries::Times(limit) = rule.retries
            && tries > limit
        {
            return None;
        }
        let since = self.retried().map_or(now, |retry| retry.since);
        let wait = failure.delay.unwrap_or_else(|| rule.backoff(due, tries));
        // A wait longer than an `Instant` can hold becomes half a year.
        let until = now.checked_add(wait).unwrap_or(now + Duration::from_secs(15_552_000));
        self.retry = Some(RetryTimer { seq: due, tries, since, until, failure: failure.clone() });
        self.run_again();
        Some((tries, until))
    }

    /// How often a record was tried before.
    pub(super) fn tries(&self, seq: Seq) -> u32 {
        self.retry.as_ref().filter(|retry| retry.seq == seq).map_or(0, |retry| retry.tries)
    }

    /// The retry of the record that is due, if it has one, whether it waits or runs now.
    pub(super) fn retried(&self) -> Option<&RetryTimer> {
        self.retry.as_ref().filter(|retry| Some(retry.seq) == self.due())
    }

    /// The first invariant that is broken.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let is_ordered = match (self.out.last(), self.waiting.first()) {
            (Some(out), Some(waiting)) => out < waiting,
            (None, _) | (_, None) => true,
        };
        (!is_ordered).then_some("what is out is before what waits")
    }

    fn seq(&self, n: u64) -> Seq {
        Seq::first_of(self.assignment).plus(usize::try_from(n).unwrap_or(usize::MAX))
    }
}
