//! PURE. How much may be read: the bound on what is in flight.
//!
//! At the bound the worker stops reading but for one record every half second, which keeps rebalances and the poll interval
//! served; pausing at once would throw the prefetch away. Where it lasts, all partitions are to be paused: then nothing comes but what is to
//! be served, and memory stays where it is however long it lasts.

use std::time::Duration;
use std::time::Instant;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    /// When the last record was taken at the bound.
    trickled: Option<Instant>,
    /// Since when the bound is reached.
    full_since: Option<Instant>,
    /// Whether that is so long ago that partitions are paused.
    is_lasting: bool,
    /// The bytes of the largest record that was taken with the last ones.
    largest: usize,
}

/// Records and their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// What may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Until this is taken, or nothing is there.
    Take(Amount),
    /// One record, as the bound is reached.
    TakeOne,
    Nothing,
}

/// Records taken between two looks at the inbox.
const RECORDS_MAX: usize = 1024;
/// Records taken at once, at most.
const TAKEN_MAX: usize = 64;
/// At the bound a record is taken this often.
const TRICKLE: Duration = Duration::from_millis(500);
/// At the bound for so long, partitions are paused: what was fetched of them is of no use any more.
pub(super) const LASTING: Duration = Duration::from_secs(5);

impl Intake {
    pub(super) fn new() -> Intake {
        Intake { trickled: None, full_since: None, is_lasting: false, largest: 1 }
    }

    /// Whether the bound is reached now.
    pub(super) fn is_at_bound(&self) -> bool {
        self.full_since.is_some()
    }

    /// Whether partitions are to be paused, as the bound has been reached for long.
    pub(super) fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// What may be read with so much in flight. `is_backed_up` if outputs wait for the producer; `lasting` is [`LASTING`], or less in a test.
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
            *self = Intake { largest: self.largest, ..Intake::new() };
            return Plan::Take(Amount { records: records.min(RECORDS_MAX), bytes });
        }
        let since = *self.full_since.get_or_insert(now);
        self.is_lasting = now.saturating_duration_since(since) >= lasting;
        if self.trickled.is_some_and(|last| now.saturating_duration_since(last) < TRICKLE) {
            return Plan::Nothing;
        }
        self.trickled = Some(now);
        Plan::TakeOne
    }

    /// How many records to ask for at once while this is left to be taken: if they are no larger than those before them, they stay below
    /// the bound.
    pub(super) fn at_once(&self, left: Amount) -> usize {
        left.records.min(TAKEN_MAX).min((left.bytes / self.largest).max(1))
    }

    /// Records were taken, and this is the largest of them.
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

        /// A world that fetches whatever it may: records of a size, of which some are done in each turn, or none in an outage.
        #[test]
        fn what_is_in_flight_stays_at_its_bound_however_long_nothing_is_done(
            turns in prop::collection::vec((0_u64..700, 0_usize..3000, 1_usize..20_000, any::<bool>()), 1..60),
            outage_from in 0_usize..60,
        ) {
            let mut now = clock::now();
            let mut intake = Intake::new();
            let mut flight: Vec<usize> = Vec::new();
            let mut full_since: Option<Instant> = None;
            let mut trickled = 0;
            for (turn, (ms, done, size, is_backed_up)) in turns.into_iter().enumerate() {
                now += Duration::from_millis(ms);
                let is_outage = turn >= outage_from;
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
                prop_assert_eq!(intake.is_lasting(), lasts, "it pauses after five seconds at the bound, and not before");
                match plan {
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
                        // What is asked for at once was estimated by the records before.
                        prop_assert!(bytes <= MOST.bytes + TAKEN_MAX * size, "{bytes} bytes in flight");
                    }
                    Plan::TakeOne => {
                        prop_assert!(is_full);
                        // Of partitions that are paused nothing comes.
                        if !intake.is_lasting() {
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
}
