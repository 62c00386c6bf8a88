//! PURE. What the configuration file says about failed records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::failure::Class;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::record::Seq;

/// What to do about failed records: a rule for all, and others for some reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The rule for what has none of its own. Only records whose plugin asks for it are retried.
    pub general: Rule,
    /// Rules by the plugin's code of a reject.
    pub codes: Arc<BTreeMap<String, Rule>>,
    /// Rules by the kind of failure.
    pub kinds: Arc<BTreeMap<Kind, Rule>>,
    /// How many of the last [`BreakerTripped::WINDOW`](super::BreakerTripped::WINDOW) records of a partition may be rejected;
    /// `None` is no limit.
    pub rejects_max: Option<usize>,
}

/// How often a record is retried, how long it waits, and what to do when that doesn't help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How often to retry.
    pub retries: Retries,
    /// The wait before the first retry; it doubles with each.
    pub backoff_from: Duration,
    /// The longest wait.
    pub backoff_to: Duration,
    /// What to do about a record that fails permanently.
    pub then: OnFailure,
}

/// How often a record is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// At most this many times, after the first try.
    Times(u32),
    /// Until it succeeds.
    Forever,
}

/// What to do about a record that fails permanently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Stop the pipeline: everything below the record is committed, nothing at or above it.
    Stop,
    /// The same, but the pipeline stays, and goes on with this record when it is told to.
    Hold,
    /// Write the record to the dead-letter topic. It is settled when the broker acknowledges that.
    DeadLetter,
    /// Count the record and skip it.
    Skip,
}

impl OnFailure {
    /// Whether processing continues after the record.
    #[must_use]
    pub fn continues(self) -> bool {
        match self {
            OnFailure::Stop | OnFailure::Hold => false,
            OnFailure::DeadLetter | OnFailure::Skip => true,
        }
    }
}

impl Policy {
    /// The rule for a failure.
    #[must_use]
    pub fn rule(&self, failure: &Failure) -> Rule {
        let by_code = self.codes.get(&*failure.code).filter(|_| failure.kind == Kind::Reject);
        by_code.copied().unwrap_or_else(|| self.rule_of(failure.kind))
    }

    /// The rule for a kind of failure.
    #[must_use]
    pub fn rule_of(&self, kind: Kind) -> Rule {
        let retries = if kind.class() == Class::Retry { self.general.retries } else { Retries::Times(0) };
        self.kinds.get(&kind).copied().unwrap_or(Rule { retries, ..self.general })
    }

    /// Whether a record that fails in this way is dead-lettered or skipped at once, while those after it continue.
    #[must_use]
    pub fn gives_up(&self, failure: &Failure) -> bool {
        let Rule { retries, then, .. } = self.rule(failure);
        retries == Retries::Times(0) && then.continues()
    }
}

impl Rule {
    /// The wait before retry number `retry` of a record, from 1: it doubles from `backoff_from` to `backoff_to`, less up to a quarter,
    /// so that records that failed together are not all retried together.
    pub(super) fn backoff(&self, seq: Seq, retry: u32) -> Duration {
        let whole = self.longest_backoff(retry);
        whole - whole / 1024 * jitter(seq, retry)
    }

    /// The wait before retry number `retry` of a record, from 1, without jitter.
    #[must_use]
    pub fn longest_backoff(&self, retry: u32) -> Duration {
        let factor = 2_u32.saturating_pow(retry.saturating_sub(1));
        self.backoff_from.saturating_mul(factor).min(self.backoff_to)
    }
}

/// A number below 256 that looks random (the mixing step of `SplitMix64`).
fn jitter(seq: Seq, retry: u32) -> u32 {
    let mut mixed = seq.to_bits() ^ u64::from(retry) << 48;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::from((mixed >> 56) as u8)
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            retries: Retries::Times(3),
            backoff_from: Duration::from_millis(100),
            backoff_to: Duration::from_secs(10),
            then: OnFailure::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::AssignmentIds;

    #[test]
    fn the_wait_doubles_up_to_its_bound_less_up_to_a_quarter() {
        let rule = Rule::default();
        let first = Seq::first_of(AssignmentIds::default().issue(|_| false));
        for (retry, whole) in (1..).zip([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]) {
            let waits: Vec<u128> = (0..200).map(|n| rule.backoff(first.plus(n), retry).as_millis()).collect();
            assert!(waits.iter().all(|&wait| (whole * 3 / 4..=whole).contains(&wait)), "{waits:?}");
            let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(most - least > whole / 5, "they spread: {least} to {most}");
        }
        assert!(rule.backoff(first, u32::MAX) <= Duration::from_secs(10));
    }

    #[test]
    fn a_reason_has_its_own_rule_else_that_of_its_kind_else_the_general_one() {
        let rule = |retries, then| Rule { retries: Retries::Times(retries), then, ..Rule::default() };
        let policy = Policy {
            general: rule(3, OnFailure::DeadLetter),
            codes: Arc::new(BTreeMap::from([("bad-json".to_owned(), rule(0, OnFailure::Skip))])),
            kinds: Arc::new(BTreeMap::from([(Kind::Timeout, rule(5, OnFailure::Hold))])),
            rejects_max: None,
        };
        let reject = |code| Failure::reject("s".into(), code, String::new());
        let of = |kind| Failure::new(kind, None, "");
        for (failure, retries, then, gives_up) in [
            (reject("bad-json"), 0, OnFailure::Skip, true),
            (reject("other"), 0, OnFailure::DeadLetter, true),
            (of(Kind::Timeout), 5, OnFailure::Hold, false),
            (of(Kind::Trap), 0, OnFailure::DeadLetter, true),
            (of(Kind::Retry), 3, OnFailure::DeadLetter, false),
        ] {
            let found = policy.rule(&failure);
            assert_eq!((found.retries, found.then), (Retries::Times(retries), then), "{failure}");
            assert_eq!(policy.gives_up(&failure), gives_up, "{failure}");
        }
    }
}
