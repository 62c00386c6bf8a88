//! PURE. How fast records may be read: `limits.records_per_second`, as a bucket of tokens.
//!
//! The bucket fills at the rate, up to a tenth of a second's records, and each record that is read takes one. A read may bring more
//! records than there is room for; then the bucket is below empty, and the next read waits for longer. So the mean rate holds.

use std::num::NonZeroU32;
use std::time::Duration;
use std::time::Instant;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    /// Billionths of records that may be read.
    credit: i64,
    /// When the bucket was last filled; `None` without a rate.
    filled: Option<Instant>,
    is_exhausted: bool,
}

/// A record in the unit of the credit.
const RECORD: i64 = 1_000_000_000;
/// A longer time fills every bucket that isn't far below empty.
const FILL_MAX: Duration = Duration::from_secs(10);

impl Rate {
    /// How many records may be read now, at this rate; without one, any number.
    pub(super) fn room(&mut self, now: Instant, per_second: Option<NonZeroU32>) -> usize {
        let Some(per_second) = per_second.map(NonZeroU32::get) else {
            *self = Rate::default();
            return usize::MAX;
        };
        let full = i64::from((per_second / 10).max(1)) * RECORD;
        let gained = self.filled.map(|filled| now.saturating_duration_since(filled).min(FILL_MAX));
        // A billionth of a second brings as many billionths of a record as there are records in a second.
        let gained = gained.map_or(full, |time| i64::try_from(time.as_nanos()).unwrap_or(0) * i64::from(per_second));
        self.credit = self.credit.saturating_add(gained).min(full);
        self.filled = Some(now);
        let room = usize::try_from(self.credit / RECORD).unwrap_or(0);
        self.is_exhausted = room == 0;
        room
    }

    /// Records were read.
    pub(super) fn took(&mut self, records: usize) {
        if self.filled.is_some() {
            let taken = i64::try_from(records).unwrap_or(i64::MAX).saturating_mul(RECORD);
            self.credit = self.credit.saturating_sub(taken);
        }
    }

    /// Whether there was no room for a record when it was last asked.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::worker::clock;

    #[test]
    fn without_a_rate_there_is_always_room() {
        let mut rate = Rate::default();
        let now = clock::now();
        for _ in 0..3 {
            assert_eq!(rate.room(now, None), usize::MAX);
            rate.took(1_000_000);
            assert!(!rate.is_exhausted());
        }
    }

    #[test]
    fn a_rate_that_is_taken_away_or_changed_holds_from_then_on() {
        let mut rate = Rate::default();
        let now = clock::now();
        let of = NonZeroU32::new;
        assert_eq!(rate.room(now, of(100)), 10, "a tenth of a second's records at once");
        rate.took(10);
        assert_eq!(rate.room(now, of(100)), 0);
        assert!(rate.is_exhausted());
        assert_eq!(rate.room(now, None), usize::MAX);
        assert!(!rate.is_exhausted());
        assert_eq!(rate.room(now, of(1)), 1, "a slow rate lets one record through at once");
        rate.took(1);
        assert_eq!(rate.room(now + Duration::from_millis(999), of(1)), 0);
        assert_eq!(rate.room(now + Duration::from_millis(1000), of(1)), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// A reader that is woken at random times, and takes what it may and sometimes more.
        #[test]
        fn the_mean_rate_holds_and_is_reached(
            per_second in 1_u32..100_000,
            turns in prop::collection::vec((0_u64..30_000, 0_usize..100), 1..400),
        ) {
            let begin = clock::now();
            let (mut now, mut rate, mut taken, mut most_beyond) = (begin, Rate::default(), 0, 0);
            let full = f64::from((per_second / 10).max(1));
            let mut lost = 0.0;
            for (us, beyond) in turns {
                // What doesn't fit into the bucket is lost to a reader that comes late.
                lost += (Duration::from_micros(us).as_secs_f64() * f64::from(per_second) - full).max(0.0);
                now += Duration::from_micros(us);
                let room = rate.room(now, NonZeroU32::new(per_second));
                prop_assert_eq!(rate.is_exhausted(), room == 0);
                if room > 0 {
                    rate.took(room + beyond);
                    taken += room + beyond;
                    most_beyond = most_beyond.max(beyond);
                }
                let due = (now - begin).as_secs_f64() * f64::from(per_second);
                let taken = f64::from(u32::try_from(taken).unwrap());
                let beyond = f64::from(u32::try_from(most_beyond).unwrap());
                prop_assert!(taken <= due + full + beyond + 1.0, "{taken} of {due}");
                prop_assert!(taken >= due - lost - 1.0, "{taken} of {due}");
            }
        }
    }
}
