//! PURE. When new settings are applied.
//!
//! Settings that the consumer doesn't use are changed in place, once every record that was handed out is acknowledged; no record
//! is handed out until then. Settings of the consumer need a new worker, which starts when this one has ended. Each change gets
//! one answer.

use std::time::Duration;
use std::time::Instant;

/// See the head of the file. Set while a change waits for nothing to be in flight: the deadline for that.
#[derive(Clone, Debug, Default)]
pub(super) struct Reconfiguring(Option<Instant>);

/// The first answer to a requested change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The change is refused, and why.
    Refuse(&'static str),
    /// The change waits: its answer comes later.
    Keep,
    /// Make the worker that takes over, and end this one.
    Replace,
}

/// The answer to a change that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The change is refused, and why.
    Refuse(String),
    /// Apply the change.
    Apply,
}

/// The longest wait for nothing to be in flight. Records at executors and outputs at brokers usually finish within a step's
/// timeout. While a broker is unavailable they don't, and the change is refused.
const QUIET_MAX: Duration = Duration::from_secs(10);
const ENDING: &str = "the pipeline is shutting down";

impl Reconfiguring {
    /// Whether a change waits for nothing to be in flight: no record is handed out meanwhile.
    pub(super) fn waits(&self) -> bool {
        self.0.is_some()
    }

    /// A change is requested; `anew` if it needs a new consumer.
    pub(super) fn ask(&mut self, now: Instant, is_ending: bool, anew: bool) -> Asked {
        if is_ending {
            Asked::Refuse(ENDING)
        } else if self.waits() {
            Asked::Refuse("another change is in progress")
        } else if anew {
            Asked::Replace
        } else {
            self.0 = Some(now + QUIET_MAX);
            Asked::Keep
        }
    }

    /// Time has passed. `is_quiet` if nothing is at an executor, at a broker, or on the way to or from one.
    pub(super) fn tick(&mut self, now: Instant, is_ending: bool, is_quiet: bool) -> Option<Kept> {
        let is_late = now >= self.0?;
        if !(is_ending || is_late || is_quiet) {
            return None;
        }
        self.0 = None;
        Some(if is_ending {
            Kept::Refuse(ENDING.to_owned())
        } else if is_late {
            Kept::Refuse(format!(
                "the records in flight were not finished within {QUIET_MAX:?}; try again when brokers answer"
            ))
        } else {
            Kept::Apply
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::worker::clock;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Each step is a requested change, with a new consumer or not, or a check of whether anything is in flight; some time
        /// passes before it.
        #[test]
        fn each_change_has_one_answer_in_time_and_applies_with_nothing_in_flight(
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u64..4000, prop::bool::weighted(0.05)), 0..60),
        ) {
            let mut now = clock::now();
            let mut reconfiguring = Reconfiguring::default();
            let mut is_ending = false;
            // When the waiting change was requested.
            let mut kept: Option<Instant> = None;
            for (is_wish, flag, ms, ends) in steps {
                now += Duration::from_millis(ms);
                is_ending |= ends;
                if is_wish {
                    match reconfiguring.ask(now, is_ending, flag) {
                        Asked::Refuse(_) => prop_assert!(is_ending || kept.is_some()),
                        Asked::Keep => {
                            prop_assert!(!flag && !is_ending && kept.is_none());
                            kept = Some(now);
                        }
                        Asked::Replace => {
                            prop_assert!(flag && !is_ending && kept.is_none());
                            is_ending = true;
                        }
                    }
                } else {
                    let answer = reconfiguring.tick(now, is_ending, flag);
                    let is_due = kept.is_some_and(|since| is_ending || flag || now - since >= QUIET_MAX);
                    prop_assert_eq!(answer.is_some(), is_due, "one answer, when it is due");
                    let since = if is_due { kept.take() } else { None };
                    let is_late = since.is_some_and(|since| now - since >= QUIET_MAX);
                    match answer {
                        Some(Kept::Apply) => prop_assert!(flag && !is_ending && !is_late, "settings changed under a record"),
                        Some(Kept::Refuse(_)) => prop_assert!(is_ending || is_late),
                        None => {}
                    }
                }
                prop_assert_eq!(reconfiguring.waits(), kept.is_some());
            }
        }
    }
}
