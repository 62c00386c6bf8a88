//! PURE. Stops the pipeline when too many of a partition's records break the plugin or are rejected by it, instead of failing
//! them one by one.
//!
//! The breaker counts, among the last records with an outcome, those that failed by a fault or a reject, and trips at the first
//! one too many. A record that is read again after a rewind counts once. An output refused by the broker counts as a success. The
//! counts below an offset are committed with that offset as a [`text`](Breaker::text) and survive a restart: a process that
//! restarts again and again fails no more records than one that keeps running.

use std::collections::VecDeque;

use crate::failure::Class;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    /// The number of records that count.
    window: u64,
    /// The number of records counted so far.
    seen: u64,
    /// How many of the next records were already counted before a rewind.
    counted: u64,
    faults: Count,
    rejects: Count,
}

/// The failures of one kind.
#[derive(Clone, Debug)]
struct Count {
    /// How many failures in the window are allowed; `None` is no limit.
    allowed: Option<usize>,
    /// The value of `seen` at each failure in the window.
    places: VecDeque<u64>,
}

/// The kind of failure that tripped the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Records broke the plugin.
    Faults,
    /// The plugin rejected records.
    Rejects,
}

/// Why the breaker tripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerTripped {
    /// The kind of failure.
    pub flood: Flood,
    /// How many records failed.
    pub failed: u64,
    /// Out of how many records.
    pub records: u64,
    /// How many of the last [`BreakerTripped::WINDOW`] records were allowed to fail.
    pub allowed: usize,
}

impl BreakerTripped {
    /// The number of records that count.
    pub const WINDOW: u16 = 200;
    /// How many records of the window may break the plugin: a fifth. The same number applies before the window is full: 40 may,
    /// the next one stops it.
    pub const FAULTS: usize = 40;
}

/// The number of records that fit into a text.
const BITS: usize = 256;

impl Breaker {
    /// A breaker that has counted nothing and allows this many rejects.
    pub(super) fn new(rejects: Option<usize>) -> Breaker {
        Breaker::of(BreakerTripped::WINDOW.into(), BreakerTripped::FAULTS, rejects)
    }

    pub(super) fn of(window: u64, faults: usize, rejects: Option<usize>) -> Breaker {
        let count = |allowed| Count { allowed, places: VecDeque::new() };
        Breaker { window, seen: 0, counted: 0, faults: count(Some(faults)), rejects: count(rejects) }
    }

    /// Allows this many rejects from now on.
    pub(super) fn allow_rejects(&mut self, allowed: Option<usize>) {
        self.rejects.allowed = allowed;
        if allowed.is_none() {
            self.rejects.places.clear();
        }
    }

    /// The next records succeeded.
    pub(super) fn passed(&mut self, records: usize) {
        let records = records as u64;
        let again = self.counted.min(records);
        self.counted -= again;
        self.seen += records - again;
    }

    /// The next record failed permanently with this class of failure. `Some` if it is one too many.
    pub(super) fn failed(&mut self, class: Class) -> Option<BreakerTripped> {
        let (flood, count) = match class {
            Class::Fault => (Flood::Faults, &mut self.faults),
            Class::Reject => (Flood::Rejects, &mut self.rejects),
            Class::Retry | Class::Refused | Class::Resend | Class::Halt | Class::Infrastructure => {
                self.passed(1);
                return None;
            }
        };
        let Some(allowed) = count.allowed.filter(|_| self.counted == 0) else {
            self.passed(1);
            return None;
        };
        self.seen += 1;
        count.places.push_back(self.seen);
        while count.places.front().is_some_and(|&place| place + self.window <= self.seen) {
            count.places.pop_front();
        }
        let failed = count.places.len();
        let records = self.seen.min(self.window);
        if failed <= allowed {
            return None;
        }
        // The pipeline stops at this record, which gets no outcome: it is counted when it is read again.
        count.places.pop_back();
        self.seen -= 1;
        Some(BreakerTripped { flood, failed: failed as u64, records, allowed })
    }

    /// The last `records` records will be read again.
    pub(super) fn rewind(&mut self, records: u64) {
        self.counted += records;
    }

    /// The counts for the records before the `unsettled` ones, for [`Breaker::read`]: how many there were, and in hexadecimal
    /// which of them broke the plugin and which were rejected, with the last record in the lowest bit. Empty if none failed.
    pub(super) fn text(&self, unsettled: u64) -> String {
        let settled = self.seen.saturating_sub(self.counted + unsettled);
        let bits = |count: &Count| {
            let mut bits = [0_u8; BITS / 4];
            for place in &count.places {
                let age = settled.checked_sub(*place).filter(|&age| age < self.window);
                if let Some(age) = age.and_then(|age| usize::try_from(age).ok()).filter(|&age| age < BITS) {
                    bits[age / 4] |= 1 << (age % 4);
                }
            }
            let digits = bits.len() - bits.iter().rev().take_while(|&&digit| digit == 0).count();
            bits[..digits].iter().rev().map(|digit| format!("{digit:x}")).collect::<String>()
        };
        let (faults, rejects) = (bits(&self.faults), bits(&self.rejects));
        if faults.is_empty() && rejects.is_empty() {
            return String::new();
        }
        format!("{}.{faults}.{rejects}", settled.min(self.window))
    }

    /// Restores counts. A text that is not one of [`Breaker::text`] is ignored.
    pub(super) fn read(&mut self, text: &str) {
        let mut parts = text.split('.');
        let (Some(records), Some(faults), Some(rejects), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let Some(records) = records.parse().ok().filter(|&records: &u64| records <= self.window) else { return };
        let places = |digits: &str| {
            let digits: Option<Vec<u32>> = digits.chars().rev().map(|digit| digit.to_digit(16)).collect();
            let is_set = |digits: &[u32], age: u64| {
                let digit = usize::try_from(age / 4).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
                digit >> (age % 4) & 1 == 1
            };
            digits
                .map(|digits| (0..records).rev().filter(|&age| is_set(&digits, age)).map(|age| records - age).collect())
        };
        let (Some(faults), Some(rejects)) = (places(faults), places(rejects)) else { return };
        (self.seen, self.faults.places) = (records, faults);
        if self.rejects.allowed.is_some() {
            self.rejects.places = rejects;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number of the record at which the breaker trips, with a failure at every `nth` record.
    fn trips_at(mut breaker: Breaker, class: Class, nth: usize) -> Option<(usize, BreakerTripped)> {
        (1..=10_000).find_map(|record| {
            if record % nth == 0 {
                return breaker.failed(class).map(|trip| (record, trip));
            }
            breaker.passed(1);
            None
        })
    }

    fn trip(flood: Flood, failed: u64, records: u64, allowed: usize) -> BreakerTripped {
        BreakerTripped { flood, failed, records, allowed }
    }

    #[test]
    fn it_trips_above_a_fifth_of_the_last_two_hundred() {
        let faults = |nth| trips_at(Breaker::new(None), Class::Fault, nth);
        assert_eq!(faults(1), Some((41, trip(Flood::Faults, 41, 41, 40))));
        assert_eq!(faults(4), Some((164, trip(Flood::Faults, 41, 164, 40))));
        assert_eq!(faults(5), None, "a fifth is allowed");
        assert_eq!(faults(1000), None);
    }

    #[test]
    fn rejects_trip_it_above_their_own_share_if_they_have_one() {
        let rejects = |allowed, nth| trips_at(Breaker::new(allowed), Class::Reject, nth);
        assert_eq!(rejects(None, 1), None);
        assert_eq!(rejects(Some(100), 1), Some((101, trip(Flood::Rejects, 101, 101, 100))));
        assert_eq!(rejects(Some(100), 2), None, "a half is allowed");
        assert_eq!(rejects(Some(0), 7), Some((7, trip(Flood::Rejects, 1, 7, 0))));
        assert_eq!(trips_at(Breaker::new(Some(0)), Class::Refused, 1), None, "it is not the plugin's word");
    }

    #[test]
    fn faults_are_forgotten_when_two_hundred_records_came_after_them() {
        let mut breaker = Breaker::new(None);
        for _ in 0..100 {
            for _ in 0..40 {
                assert_eq!(breaker.failed(Class::Fault), None);
            }
            breaker.passed(160);
        }
    }

    #[test]
    fn a_record_that_is_read_again_counts_once() {
        let mut breaker = Breaker::new(Some(3));
        breaker.passed(3);
        for _ in 0..1000 {
            assert_eq!(breaker.failed(Class::Fault), None);
            breaker.rewind(1);
            assert_eq!(breaker.failed(Class::Reject), None);
            breaker.rewind(1);
        }
    }

    /// A process that restarts after each stop fails no more records than one that keeps running.
    #[test]
    fn a_restart_goes_on_with_the_count() {
        let mut given_up = 0;
        let mut text = String::new();
        for _ in 0..5 {
            let mut breaker = Breaker::new(None);
            breaker.read(&text);
            while breaker.failed(Class::Fault).is_none() {
                given_up += 1;
            }
            text = breaker.text(0);
        }
        assert_eq!((given_up, &*text), (40, "40.ffffffffff."));
        let mut breaker = Breaker::new(None);
        breaker.read(&text);
        breaker.passed(160);
        assert_eq!(breaker.failed(Class::Fault), None, "the first one has left the window");
        assert_eq!(Breaker::new(None).text(0), "");
    }

    #[test]
    fn a_text_that_no_breaker_wrote_is_ignored() {
        for text in ["", "x", "1", "1.1", "1.1.1.1", "201.1.", "-1.1.", "1.g.", "99999999999999999999.1.", "1.\u{e9}."]
        {
            let mut breaker = Breaker::new(Some(1));
            breaker.read(text);
            assert_eq!((breaker.seen, breaker.text(0)), (0, String::new()), "{text}");
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Outcome {
        Passed,
        Failed(Class),
        Rewind(u64),
    }

    proptest! {
        /// Compares with a list of outcomes: a restored breaker trips where the one that wrote the text would have.
        #[test]
        fn a_restored_breaker_has_the_counts_that_matter(
            outcomes in prop::collection::vec(
                prop_oneof![
                    6 => Just(Outcome::Passed),
                    2 => Just(Outcome::Failed(Class::Fault)),
                    2 => Just(Outcome::Failed(Class::Reject)),
                    1 => (0_u64..4).prop_map(Outcome::Rewind),
                ],
                0..60,
            ),
            unsettled in 0_usize..5,
        ) {
            const WINDOW: u64 = 20;
            let mut breaker = Breaker::of(WINDOW, 30, Some(30));
            // The counted outcomes in order, and how many of the last will be read again.
            let (mut counted, mut again) = (Vec::new(), 0);
            for outcome in outcomes {
                let class = match outcome {
                    Outcome::Rewind(records) => {
                        let records = records.min(counted.len() as u64 - again);
                        breaker.rewind(records);
                        again += records;
                        continue;
                    }
                    Outcome::Passed => None,
                    Outcome::Failed(class) => Some(class),
                };
                match class {
                    None => breaker.passed(1),
                    Some(class) => prop_assert_eq!(breaker.failed(class), None),
                }
                if again > 0 {
                    again -= 1;
                } else {
                    counted.push(class);
                }
            }
            let sent = counted.len() - usize::try_from(again).unwrap();
            let unsettled = unsettled.min(sent);
            let settled = &counted[..sent - unsettled];
            let window = usize::try_from(WINDOW).unwrap();
            let before = settled.len().saturating_sub(window);
            let mut read = Breaker::of(WINDOW, 30, Some(30));
            read.read(&breaker.text(unsettled as u64));
            for (count, class) in [(&read.faults, Class::Fault), (&read.rejects, Class::Reject)] {
                let found: Vec<usize> = count.places.iter().map(|&place| usize::try_from(place).unwrap() - 1 + before).collect();
                prop_assert!(found.is_sorted() && found.iter().all(|&at| settled[at] == Some(class)), "{:?}", found);
                // Outcomes that left the window of everything counted may be forgotten.
                let due = (before.max(counted.len().saturating_sub(window))..settled.len()).filter(|&at| settled[at] == Some(class));
                for at in due {
                    prop_assert!(found.contains(&at), "{} is not in {:?}", at, found);
                }
            }
        }

        #[test]
        fn reading_never_panics(text in ".{0,80}", records in 0_u64..300, digits in "[0-9a-f]{0,90}") {
            let mut breaker = Breaker::new(Some(1));
            breaker.read(&text);
            breaker.read(&format!("{records}.{digits}.{digits}"));
            prop_assert!(breaker.faults.places.len() <= 200);
        }
    }
}
