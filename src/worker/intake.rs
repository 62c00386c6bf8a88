//! PURE. How many records may be read: the bound on what is in flight.
//!
//! At the bound the worker reads only one record every half second. That keeps rebalances served and the poll interval met, where
//! pausing at once would discard the prefetched records. If the bound lasts, all partitions are paused: then the poll returns
//! only events, and memory does not grow however long it lasts. They are paused at once when an operator pauses the pipeline.

use std::time::Duration;
use std::time::Instant;

use super::rate::Rate;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    /// When the last single record was read at the bound.
    trickled: Option<Instant>,
    /// When the bound was reached.
    full_since: Option<Instant>,
    /// Whether that is long enough ago for partitions to be paused.
    is_lasting: bool,
    /// Whether an operator has paused the pipeline.
    is_paused: bool,
    /// Whether little is left of the memory that the pipelines of the process share.
    is_short: bool,
    /// The size in bytes of the largest record of the last read.
    largest: usize,
    /// Whether no more records were available.
    is_empty: bool,
    /// How fast records may be read.
    pub(super) rate: Rate,
}

/// A number of records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// What may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Read until this amount is taken or no record is available.
    Take(Amount),
    /// Read one record: the bound is reached.
    TakeOne,
    Nothing,
}

/// The most records taken between two checks of the inbox.
const RECORDS_MAX: usize = 1024;
/// What is read at once while memory is short.
const LITTLE: Amount = Amount { records: 128, bytes: 256 << 10 };
/// The most records taken in one call.
const TAKEN_MAX: usize = 64;
/// The interval between single records at the bound.
const TRICKLE: Duration = Duration::from_millis(500);
/// After this time at the bound partitions are paused: keeping what was prefetched is no longer worth it.
pub(super) const LASTING: Duration = Duration::from_secs(5);

impl Intake {
    pub(super) fn new() -> Intake {
        Intake {
            trickled: None,
            full_since: None,
            is_lasting: false,
            is_paused: false,
            is_short: false,
            largest: 1,
            is_empty: false,
            rate: Rate::default(),
        }
    }

    /// An operator pauses the pipeline, or lets it go on.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Whether an operator has paused the pipeline.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Little is left of the memory of the process, or there is room again.
    pub(super) fn set_short(&mut self, is_short: bool) {
        self.is_short = is_short;
    }

    /// Whether little is left of the memory of the process.
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// The bound on what may be in flight, which is at most `most`. While memory is short, a pipeline with nothing in flight reads a little:
    /// so all of them move on, and windows close, however much of the memory is held by something that doesn't fall.
    pub(super) fn bound(&self, in_flight: Amount, most: Amount) -> Amount {
        match (self.is_short, in_flight.records) {
            (false, _) => most,
            (true, 0) => Amount { records: most.records.min(LITTLE.records), bytes: most.bytes.min(LITTLE.bytes) },
            (true, _) => Amount::default(),
        }
    }

    /// Whether the bound is reached now.
    pub(super) fn is_at_bound(&self) -> bool {
        self.full_since.is_some()
    }

    /// Whether partitions are paused: the bound has lasted long enough, or an operator has paused the pipeline.
    pub(super) fn pauses(&self) -> bool {
        self.is_lasting || self.is_paused
    }

    /// Whether the last read took all records that were available.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// A read took all records that were available.
    pub(super) fn emptied(&mut self) {
        self.is_empty = true;
    }

    /// What may be read while `in_flight` is in flight and the bound is `most`. `is_backed_up` if outputs wait for the producer;
    /// `lasting` is [`LASTING`], or less in a test.
    pub(super) fn plan(
        &mut self,
        now: Instant,
        in_flight: Amount,
        most: Amount,
        is_backed_up: bool,
        lasting: Duration,
    ) -> Plan {
        let records = most.records.saturating_sub(in_flight.records);
        let bytes = most.bytes.saturating_sub(in_flight.bytes);
        if records > 0 && bytes > 0 && !is_backed_up {
            let rate = std::mem::take(&mut self.rate);
            *self = Intake {
                largest: self.largest,
                is_paused: self.is_paused,
                is_short: self.is_short,
                rate,
                ..Intake::new()
            };
            if self.is_paused {
                // Nothing more comes: a transaction needn't wait for it.
                self.is_empty = true;
                return Plan::Nothing;
            }
            return Plan::Take(Amount { records: records.min(RECORDS_MAX), bytes });
        }
        let since = *self.full_since.get_or_insert(now);
        self.is_lasting = now.saturating_duration_since(since) >= lasting;
        if self.is_paused || self.trickled.is_some_and(|last| now.saturating_duration_since(last) < TRICKLE) {
            return Plan::Nothing;
        }
        self.trickled = Some(now);
        Plan::TakeOne
    }

    /// How many records to take in one call while `left` may still be taken: if they are no larger than the last ones, they stay
    /// below the bound.
    pub(super) fn at_once(&self, left: Amount) -> usize {
        left.records.min(TAKEN_MAX).min((left.bytes / self.largest).max(1))
    }

    /// Records were read; `largest` is the size of the largest one.
    pub(super) fn took(&mut self, largest: usize) {
        self.largest = largest.max(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::worker::clock;

    const MOST: Amount = Amount { records: 2000, bytes: 100_000 };

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// A consumer that reads as much as it may, in records of random sizes, while some records finish in each turn, or none
        /// in an outage.
        #[test]
        fn what_is_in_flight_stays_at_its_bound_however_long_an_outage_lasts(
            turns in prop::collection::vec((0_u64..700, 0_usize..3000, 1_usize..20_000, any::<bool>()), 1..60),
            outage_from in 0_usize..60,
            paused in 0_usize..60,
        ) {
            let mut now = clock::now();
            let mut intake = Intake::new();
            let mut flight: Vec<usize> = Vec::new();
            let mut full_since: Option<Instant> = None;
            let mut trickled = 0;
            for (turn, (ms, done, size, is_backed_up)) in turns.into_iter().enumerate() {
                now += Duration::from_millis(ms);
                let is_outage = turn >= outage_from;
                let is_paused = (paused..paused + 5).contains(&turn);
                intake.set_paused(is_paused);
                if !is_outage {
                    flight.drain(..done.min(flight.len()));
                }
                let is_backed_up = is_backed_up || is_outage;
                let in_flight = Amount { records: flight.len(), bytes: flight.iter().sum() };
                let is_full = in_flight.records >= MOST.records || in_flight.bytes >= MOST.bytes || is_backed_up;
                full_since = if is_full { full_since.or(Some(now)) } else { None };
                let plan = intake.plan(now, in_flight, MOST, is_backed_up, LASTING);
                prop_assert_eq!(intake.is_at_bound(), is_full);
                let lasts = full_since.is_some_and(|since| now - since >= LASTING);
                prop_assert_eq!(
                    intake.pauses(), lasts || is_paused, "it pauses after five seconds at the bound, and not before"
                );
                match plan {
                    _ if is_paused => {
                        prop_assert_eq!(plan, Plan::Nothing);
                        trickled = if is_full { trickled } else { 0 };
                    }
                    Plan::Take(mut left) => {
                        prop_assert!(!is_full, "read at the bound");
                        trickled = 0;
                        let before = flight.len();
                        while left.records > 0 && left.bytes > 0 {
                            let most = intake.at_once(left);
                            prop_assert!((1..=left.records).contains(&most));
                            flight.extend(std::iter::repeat_n(size, most));
                            intake.took(size);
                            left.records -= most;
                            left.bytes = left.bytes.saturating_sub(most * size);
                        }
                        let bytes: usize = flight.iter().sum();
                        prop_assert!(flight.len() <= MOST.records && flight.len() - before <= RECORDS_MAX);
                        // The number for one call was estimated from earlier records.
                        prop_assert!(bytes <= MOST.bytes + TAKEN_MAX * size, "{bytes} bytes in flight");
                    }
                    Plan::TakeOne => {
                        prop_assert!(is_full);
                        // Paused partitions return no records.
                        if !intake.pauses() {
                            flight.push(size);
                            trickled += 1;
                        }
                        prop_assert!(trickled <= 10, "{trickled} records were read at the bound, each half second for five");
                    }
                    Plan::Nothing => prop_assert!(is_full),
                }
            }
        }
    }

    #[test]
    fn while_memory_is_short_a_pipeline_reads_a_little_at_a_time() {
        let now = clock::now();
        let mut intake = Intake::new();
        let amount = |records, bytes| Amount { records, bytes };
        let mut plan = |is_short: bool, in_flight: Amount| {
            intake.set_short(is_short);
            let bound = intake.bound(in_flight, MOST);
            intake.plan(now, in_flight, bound, false, LASTING)
        };
        assert_eq!(plan(false, amount(10, 100)), Plan::Take(amount(RECORDS_MAX, MOST.bytes - 100)));
        assert_eq!(plan(true, amount(0, 0)), Plan::Take(amount(LITTLE.records, MOST.bytes)));
        assert_eq!(plan(true, amount(1, 100)), Plan::TakeOne, "one each half second, as at any bound");
        assert_eq!(plan(true, amount(1, 100)), Plan::Nothing);
        assert_eq!(plan(true, amount(0, 0)), Plan::Take(amount(LITTLE.records, MOST.bytes)), "it goes on");
        assert_eq!(plan(false, amount(1, 100)), Plan::Take(amount(RECORDS_MAX, MOST.bytes - 100)));
    }
}
