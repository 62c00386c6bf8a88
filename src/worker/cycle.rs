//! PURE. When what is settled is committed: now and then, and when somebody asks. One commit is under way at a time.
//!
//! librdkafka sends a commit again that had no answer; behind a newer one, that would move the group back.

use std::time::Duration;
use std::time::Instant;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    /// Between two commits that nobody asked for.
    every: Duration,
    /// When the last commit began.
    began: Instant,
    is_under_way: bool,
}

impl Cycle {
    pub(super) fn new(now: Instant, every: Duration) -> Cycle {
        Cycle { every, began: now, is_under_way: false }
    }

    /// Whether it is time to commit.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.is_under_way && now.saturating_duration_since(self.began) >= self.every
    }

    /// Begins a commit. `false` if one is under way.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        if self.is_under_way {
            return false;
        }
        (self.is_under_way, self.began) = (true, now);
        true
    }

    /// The commit has its answer, or was refused.
    pub(super) fn end(&mut self) {
        self.is_under_way = false;
    }

    /// Whether a commit has no answer yet.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }
}
