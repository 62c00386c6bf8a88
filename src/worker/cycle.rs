//! PURE. When settled records are committed: at an interval, and on request. One commit is in flight at a time.
//!
//! librdkafka resends a commit that was not answered. If it arrived after a newer commit, it would move the group's offset back.

use std::time::Duration;
use std::time::Instant;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    /// The interval between commits.
    every: Duration,
    /// When the last commit began.
    began: Instant,
    is_under_way: bool,
}

impl Cycle {
    pub(super) fn new(now: Instant, every: Duration) -> Cycle {
        Cycle { every, began: now, is_under_way: false }
    }

    /// Whether the interval has passed and no commit is in flight.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.is_under_way && now.saturating_duration_since(self.began) >= self.every
    }

    /// Begins a commit. `false` if one is in flight.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        if self.is_under_way {
            return false;
        }
        (self.is_under_way, self.began) = (true, now);
        true
    }

    /// The commit was answered, or could not be sent.
    pub(super) fn end(&mut self) {
        self.is_under_way = false;
    }

    /// Whether a commit is in flight.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }
}
