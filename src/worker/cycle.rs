//! PURE. When settled records are committed: at an interval, and on request. One commit is in flight at a time.
//!
//! Outputs in a transaction wait for its commit. So a worker that keeps up commits early, and readers get its outputs sooner: after a part
//! of the interval, and not before twice the time that the last commit took, as brokers that are busy have enough to do. A worker that is
//! behind takes the whole interval, which costs less.
//!
//! librdkafka resends a commit that was not answered. If it arrived after a newer commit, it would move the group's offset back.

use std::time::Duration;
use std::time::Instant;

/// The part of the interval that an early commit waits for.
const EARLY_PART: u32 = 5;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    /// The interval between commits.
    every: Duration,
    /// When the last commit began.
    began: Instant,
    /// How long the last commit took.
    took: Duration,
    is_under_way: bool,
}

impl Cycle {
    pub(super) fn new(now: Instant, every: Duration) -> Cycle {
        Cycle { every, began: now, took: Duration::ZERO, is_under_way: false }
    }

    /// Whether the interval has passed and no commit is in flight.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.is_under_way && now.saturating_duration_since(self.began) >= self.every
    }

    /// The same for a transaction of a worker that keeps up.
    pub(super) fn is_due_early(&self, now: Instant) -> bool {
        !self.is_under_way && self.within(now).is_zero()
    }

    /// How long it is until an early commit is due.
    pub(super) fn within(&self, now: Instant) -> Duration {
        let early = (self.every / EARLY_PART).max(2 * self.took).min(self.every);
        early.saturating_sub(now.saturating_duration_since(self.began))
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
    pub(super) fn end(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_under_way) {
            self.took = now.saturating_duration_since(self.began);
        }
    }

    /// Whether a commit is in flight.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::clock;

    #[test]
    fn an_early_commit_is_due_after_a_fifth_of_the_interval() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut cycle = Cycle::new(start, Duration::from_millis(100));
        assert!(!cycle.is_due_early(at(19)) && cycle.is_due_early(at(20)) && !cycle.is_due(at(99)));
        assert_eq!(cycle.within(at(5)), Duration::from_millis(15));
        assert!(cycle.begin(at(20)) && !cycle.is_due_early(at(90)), "one commit is in flight");
        cycle.end(at(25));
        assert!(!cycle.is_due_early(at(39)) && cycle.is_due_early(at(40)));
        for (took, early) in [(30, 60), (70, 100), (500, 100)] {
            let mut cycle = Cycle::new(start, Duration::from_millis(100));
            cycle.begin(start);
            cycle.end(at(took));
            cycle.end(at(took + 1000));
            assert_eq!(cycle.within(start), Duration::from_millis(early), "the last commit took {took} ms");
        }
    }
}
