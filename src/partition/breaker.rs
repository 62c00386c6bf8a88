//! When too many of a partition's records break the guest, giving them up one by one is a flood: better stop.
//!
//! Pure. It knows the last records that were given their outcome, counts those that failed by a fault, and trips at the first
//! fault too many. A record that is read again after a rewind counts once. Rejects and refusals are the plugin's and the broker's
//! word about one record, and count as any record that went through.

use std::collections::VecDeque;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    /// Looks at so many records.
    window: u64,
    /// Lets so many faults among them pass.
    allowed: usize,
    /// Records that have been counted.
    seen: u64,
    /// The places of the faults in the window, counted as `seen` was then.
    faults: VecDeque<u64>,
    /// So many of the next records were counted before a rewind.
    counted: u64,
}

/// What the breaker saw when it tripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    /// Records that failed by a fault.
    pub faults: u64,
    /// Of so many.
    pub records: u64,
}

impl Trip {
    /// The last records that count.
    pub const WINDOW: u64 = 200;
}

/// A fifth of the last records, also before there were so many: 40 are given up and the next one stops it.
const ALLOWED: usize = 40;

impl Breaker {
    pub(super) fn new() -> Breaker {
        Breaker::of(Trip::WINDOW, ALLOWED)
    }

    pub(super) fn of(window: u64, allowed: usize) -> Breaker {
        Breaker { window, allowed, seen: 0, faults: VecDeque::new(), counted: 0 }
    }

    /// The next records went through.
    pub(super) fn passed(&mut self, records: usize) {
        let records = records as u64;
        let again = self.counted.min(records);
        self.counted -= again;
        self.seen += records - again;
    }

    /// The next record failed by a fault. `Some` if it is one too many.
    pub(super) fn fault(&mut self) -> Option<Trip> {
        if self.counted > 0 {
            self.counted -= 1;
            return None;
        }
        self.seen += 1;
        self.faults.push_back(self.seen);
        while self.faults.front().is_some_and(|&place| place + self.window <= self.seen) {
            self.faults.pop_front();
        }
        let faults = self.faults.len();
        (faults > self.allowed).then(|| Trip { faults: faults as u64, records: self.seen.min(self.window) })
    }

    /// The last so many records are going to come again.
    pub(super) fn rewind(&mut self, records: u64) {
        self.counted += records;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place of the record at which it trips, with a fault at every `nth` record.
    fn trips_at(nth: usize) -> Option<(usize, Trip)> {
        let mut breaker = Breaker::new();
        (1..=10_000).find_map(|record| {
            if record % nth == 0 {
                return breaker.fault().map(|trip| (record, trip));
            }
            breaker.passed(1);
            None
        })
    }

    #[test]
    fn it_trips_above_a_fifth_of_the_last_two_hundred() {
        assert_eq!(trips_at(1), Some((41, Trip { faults: 41, records: 41 })));
        assert_eq!(trips_at(4), Some((164, Trip { faults: 41, records: 164 })));
        assert_eq!(trips_at(5), None, "a fifth is allowed");
        assert_eq!(trips_at(1000), None);
    }

    #[test]
    fn faults_are_forgotten_when_two_hundred_records_came_after_them() {
        let mut breaker = Breaker::new();
        for _ in 0..100 {
            for _ in 0..40 {
                assert_eq!(breaker.fault(), None);
            }
            breaker.passed(160);
        }
    }

    #[test]
    fn what_is_read_again_counts_once() {
        let mut breaker = Breaker::new();
        breaker.passed(3);
        for _ in 0..1000 {
            assert_eq!(breaker.fault(), None);
            breaker.rewind(1);
        }
    }
}
