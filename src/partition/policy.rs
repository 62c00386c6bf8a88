//! PURE. What the configuration file says about failed records.

use std::time::Duration;

/// How often a record is retried, how long it waits, and what to do when that doesn't help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How often to retry a record whose plugin asks for it.
    pub retries: Retries,
    /// The wait before the first retry; it doubles with each.
    pub backoff_from: Duration,
    /// The longest wait.
    pub backoff_to: Duration,
    /// What to do about a record that fails permanently.
    pub then: OnFailure,
    /// How many of the last [`BreakerTripped::WINDOW`](super::BreakerTripped::WINDOW) records of a partition may be rejected;
    /// `None` is no limit.
    pub rejects_max: Option<usize>,
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
    /// Write the record to the dead-letter topic. It is settled when the broker acknowledges that.
    DeadLetter,
    /// Count the record and skip it.
    Skip,
}

impl Policy {
    /// Whether processing continues after a record that fails permanently.
    #[must_use]
    pub fn continues(&self) -> bool {
        match self.then {
            OnFailure::Stop => false,
            OnFailure::DeadLetter | OnFailure::Skip => true,
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            retries: Retries::Times(3),
            backoff_from: Duration::from_millis(100),
            backoff_to: Duration::from_secs(10),
            then: OnFailure::Stop,
            rejects_max: None,
        }
    }
}
