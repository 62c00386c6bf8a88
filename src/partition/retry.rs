//! How long a record waits before it is tried again, and when its tries are spent.
//!
//! Pure. With records in partition order at most one record waits: the first one without an outcome.

use std::time::Duration;
use std::time::Instant;

use super::Policy;
use super::Retries;
use crate::failure::Failure;
use crate::record::Seq;

/// The record that is waiting, or was the last to wait.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) seq: Seq,
    /// How often it was tried.
    pub(super) tried: u32,
    /// When it failed for the first time.
    pub(super) since: Instant,
    until: Instant,
    /// Why it failed the last time.
    pub(super) failure: Failure,
}

impl Waiting {
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

/// What a retry comes to.
pub(super) enum Verdict {
    /// It is tried again, as this attempt (1 for the first retry).
    Again(Waiting, u32),
    /// Its tries are spent.
    Spent,
}

/// The record `seq` failed and asks to be tried again. `before` is the record that waited last.
pub(super) fn again(policy: &Policy, now: Instant, seq: Seq, failure: &Failure, before: Option<&Waiting>) -> Verdict {
    let tried = tries(seq, before) + 1;
    let since = before.filter(|waiting| waiting.seq == seq).map_or(now, |waiting| waiting.since);
    if let Retries::Times(limit) = policy.retries
        && tried > limit
    {
        return Verdict::Spent;
    }
    let wait = failure.delay.unwrap_or_else(|| backoff(policy, tried));
    // A wait beyond what a clock can hold is a wait for ever: half a year stands for it.
    let until = now.checked_add(wait).unwrap_or(now + Duration::from_secs(15_552_000));
    Verdict::Again(Waiting { seq, tried, since, until, failure: failure.clone() }, tried)
}

/// How often the record was tried before.
pub(super) fn tries(seq: Seq, before: Option<&Waiting>) -> u32 {
    before.filter(|waiting| waiting.seq == seq).map_or(0, |waiting| waiting.tried)
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
