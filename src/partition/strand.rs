//! PURE. A strand: records of a partition that run in order. It knows which record runs next, and how long a retry waits.
//!
//! Records of a strand get their outcomes in order: while one is retried, those after it wait. Records are handed out in runs.
//! When a run ends early, the rest of what was handed out in it is stale: it is returned and runs again in its turn. A partition
//! has one strand today. Invariant: `due <= next`.

use std::time::Duration;
use std::time::Instant;

use super::Policy;
use super::Retries;
use crate::failure::Failure;
use crate::record::Seq;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Strand {
    /// Incremented when records that were handed to an executor must run again: results of an earlier run are stale.
    run: u32,
    /// The next record to be handed to an executor.
    next: Seq,
    /// The next record to get its outcome.
    due: Seq,
    retry: Option<RetryTimer>,
}

/// The retry of the record that is retried, or was the last to be.
#[derive(Clone, Debug)]
pub(super) struct RetryTimer {
    seq: Seq,
    /// How often it was tried.
    pub(super) tries: u32,
    /// When it failed for the first time.
    pub(super) since: Instant,
    until: Instant,
    /// Why it failed the last time.
    pub(super) failure: Failure,
}

impl Strand {
    /// A strand of the records from `first` on.
    pub(super) fn new(first: Seq) -> Strand {
        Strand { run: 0, next: first, due: first, retry: None }
    }

    /// The run in which records are handed out now.
    pub(super) fn run(&self) -> u32 {
        self.run
    }

    /// The next record to get its outcome.
    pub(super) fn due(&self) -> Seq {
        self.due
    }

    /// Until when the strand waits for a retry.
    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.retry.as_ref().map(|retry| retry.until).filter(|&until| until > now)
    }

    /// Whether records from `first` on may be handed out: no retry is waiting, and all records before them are handed out.
    /// Records handed out in an earlier run may not be returned yet.
    pub(super) fn may_run(&self, now: Instant, first: Seq) -> bool {
        first == self.next && self.waits_until(now).is_none()
    }

    /// Hands out the next `records` records. Returns the first of them.
    pub(super) fn hand_out(&mut self, records: usize) -> Seq {
        let first = self.next;
        self.next = first.plus(records);
        first
    }

    /// Whether a result of this run that begins with `first` is taken.
    pub(super) fn takes(&self, run: u32, first: Seq) -> bool {
        (run, first) == (self.run, self.due)
    }

    /// The next `records` records have their outcome.
    pub(super) fn pass(&mut self, records: usize) {
        self.due = self.due.plus(records);
    }

    /// Records that were handed out and have no outcome run again.
    pub(super) fn run_again(&mut self) {
        self.run += 1;
        self.next = self.due;
    }

    /// The record that is due failed and asks for a retry. Returns the retry's number, from 1, and its time; `None` if no retries
    /// are left.
    pub(super) fn retry(&mut self, policy: &Policy, now: Instant, failure: &Failure) -> Option<(u32, Instant)> {
        let tries = self.tries(self.due) + 1;
        if let Retries::Times(limit) = policy.retries
            && tries > limit
        {
            return None;
        }
        let since = self.retried().map_or(now, |retry| retry.since);
        let wait = failure.delay.unwrap_or_else(|| backoff(policy, tries));
        // A wait longer than an `Instant` can hold becomes half a year.
        let until = now.checked_add(wait).unwrap_or(now + Duration::from_secs(15_552_000));
        self.retry = Some(RetryTimer { seq: self.due, tries, since, until, failure: failure.clone() });
        self.run_again();
        Some((tries, until))
    }

    /// How often a record was tried before.
    pub(super) fn tries(&self, seq: Seq) -> u32 {
        self.retry.as_ref().filter(|retry| retry.seq == seq).map_or(0, |retry| retry.tries)
    }

    /// The retry of the record that is due, if it has one, whether it waits or runs now.
    pub(super) fn retried(&self) -> Option<&RetryTimer> {
        self.retry.as_ref().filter(|retry| retry.seq == self.due)
    }

    /// The first invariant that is broken.
    pub(super) fn broken(&self) -> Option<&'static str> {
        (self.due > self.next).then_some("due <= next")
    }
}

/// The wait before retry number `retry`, from 1: it doubles from `backoff_from` to `backoff_to`.
fn backoff(policy: &Policy, retry: u32) -> Duration {
    let factor = 2_u32.saturating_pow(retry.saturating_sub(1));
    policy.backoff_from.saturating_mul(factor).min(policy.backoff_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let policy = Policy::default();
        let waits: Vec<u64> =
            (1..=9).map(|retry| u64::try_from(backoff(&policy, retry).as_millis()).unwrap()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff(&policy, u32::MAX), Duration::from_secs(10));
    }
}
