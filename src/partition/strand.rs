//! PURE. An ordering unit of a partition: whose turn it is, and how long it waits before it is tried again.
//!
//! Records of a strand get their outcomes one after the other: one that is tried again has those behind it wait. They are handed out in
//! runs: when one ends early, what else was handed out in it is of no use, comes back, and runs again in its turn.
//! A partition has one strand today. Invariant: `due <= next`.

use std::time::Duration;
use std::time::Instant;

use super::Policy;
use super::Retries;
use crate::failure::Failure;
use crate::record::Seq;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Strand {
    /// Grows when records that were handed to an executor must run again: what it returns of the run before is stale.
    run: u32,
    /// The next record to be handed to an executor.
    next: Seq,
    /// The next record to get its outcome.
    due: Seq,
    retry: Option<RetryTimer>,
}

/// Of the record that is tried again, or was the last to be.
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
    /// Of records from `first` on.
    pub(super) fn new(first: Seq) -> Strand {
        Strand { run: 0, next: first, due: first, retry: None }
    }

    /// The run of what is handed out now.
    pub(super) fn run(&self) -> u32 {
        self.run
    }

    /// The next record to get its outcome.
    pub(super) fn due(&self) -> Seq {
        self.due
    }

    /// Until when it waits for a retry.
    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.retry.as_ref().map(|retry| retry.until).filter(|&until| until > now)
    }

    /// Whether records that begin with `first` may be handed out: nothing waits, and those before them are handed out. What was handed
    /// out in an earlier run may still be on its way back.
    pub(super) fn may_run(&self, now: Instant, first: Seq) -> bool {
        first == self.next && self.waits_until(now).is_none()
    }

    /// Hands out the next `records` records. Returns the first of them.
    pub(super) fn hand_out(&mut self, records: usize) -> Seq {
        let first = self.next;
        self.next = first.plus(records);
        first
    }

    /// Whether records that come back in this run are taken as they are.
    pub(super) fn takes(&self, run: u32, first: Seq) -> bool {
        (run, first) == (self.run, self.due)
    }

    /// The next `records` records have their outcome.
    pub(super) fn pass(&mut self, records: usize) {
        self.due = self.due.plus(records);
    }

    /// What was handed out and has no outcome runs again.
    pub(super) fn run_again(&mut self) {
        self.run += 1;
        self.next = self.due;
    }

    /// The record that is due failed and asks to be tried again: the retry's number, 1 and up, and when. `None` if its tries are spent.
    pub(super) fn retry(&mut self, policy: &Policy, now: Instant, failure: &Failure) -> Option<(u32, Instant)> {
        let tries = self.tries(self.due) + 1;
        if let Retries::Times(limit) = policy.retries
            && tries > limit
        {
            return None;
        }
        let since = self.retried().map_or(now, |retry| retry.since);
        let wait = failure.delay.unwrap_or_else(|| backoff(policy, tries));
        // A wait beyond what a clock can hold is a wait for ever: half a year stands for it.
        let until = now.checked_add(wait).unwrap_or(now + Duration::from_secs(15_552_000));
        self.retry = Some(RetryTimer { seq: self.due, tries, since, until, failure: failure.clone() });
        self.run_again();
        Some((tries, until))
    }

    /// How often a record was tried before.
    pub(super) fn tries(&self, seq: Seq) -> u32 {
        self.retry.as_ref().filter(|retry| retry.seq == seq).map_or(0, |retry| retry.tries)
    }

    /// The record that is due, if it is tried again: whether it waits now or runs.
    pub(super) fn retried(&self) -> Option<&RetryTimer> {
        self.retry.as_ref().filter(|retry| retry.seq == self.due)
    }

    /// The first rule that doesn't hold; for the invariants.
    pub(super) fn broken(&self) -> Option<&'static str> {
        (self.due > self.next).then_some("due <= next")
    }
}

/// The wait before the retry number `retry`, 1 and up: it doubles from `backoff_from` to `backoff_to`.
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
