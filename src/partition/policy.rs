//! PURE. What the file decides about records that fail.

use std::time::Duration;

/// How often a record is tried again, how long it waits, and what follows when that doesn't help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For a record whose plugin says retry.
    pub retries: Retries,
    /// The wait before the first retry; it doubles with each.
    pub backoff_from: Duration,
    /// The longest wait.
    pub backoff_to: Duration,
    /// What becomes of a record that can't be helped.
    pub then: OnFailure,
    /// So many of the last [`BreakerTripped::WINDOW`](super::BreakerTripped::WINDOW) records of a partition may be rejected; `None` is all.
    pub rejects_max: Option<usize>,
}

/// How often a record is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// At most so often, besides the first time.
    Times(u32),
    /// Until it succeeds.
    Forever,
}

/// What becomes of a record that can't be helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The pipeline stops: everything below the record is committed, nothing at or above.
    Stop,
    /// It is written to the dead-letter topic, and is done when the broker has it there.
    DeadLetter,
    /// It is counted and left out.
    Skip,
}

impl Policy {
    /// Whether what is behind a record that can't be helped goes on.
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
