//! PURE. When other settings are taken over.
//!
//! What the consumer has no part in is changed in place, in a quiet moment: nothing is handed out until all that was handed out is done and
//! acknowledged. What the consumer is made of needs another worker, which begins when this one has ended. Each wish has one answer.

use std::time::Duration;
use std::time::Instant;

/// See the head of the file: until when a quiet moment is waited for.
#[derive(Clone, Debug, Default)]
pub(super) struct Reconfiguring(Option<Instant>);

/// What is done about a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is refused, and this is why.
    Refuse(&'static str),
    /// It is kept: its answer comes later.
    Keep,
    /// The worker that begins when this one has ended is made, and this one ends.
    Replace,
}

/// What becomes of a wish that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is refused, and this is why.
    Refuse(String),
    /// The change is made.
    Apply,
}

/// A quiet moment comes when what is at the executors and at the broker is done: within a step's timeout, mostly. While a broker is
/// gone it doesn't, and then nothing is changed.
const QUIET_MAX: Duration = Duration::from_secs(10);
const ENDING: &str = "the pipeline is shutting down";

impl Reconfiguring {
    /// Whether a quiet moment is waited for: nothing is handed out meanwhile.
    pub(super) fn waits(&self) -> bool {
        self.0.is_some()
    }

    /// Other settings are to be taken over, with a consumer made `anew` or not.
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

    /// Time has passed. `is_quiet` if nothing is at an executor or at a broker, or on its way there and back.
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

        /// Each step is a wish, with a consumer made anew or not, or a look at whether the moment is quiet; and some time before it.
        #[test]
        fn each_wish_has_one_answer_in_time_and_nothing_changes_under_a_record(
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u64..4000, prop::bool::weighted(0.05)), 0..60),
        ) {
            let mut now = clock::now();
            let mut reconfiguring = Reconfiguring::default();
            let mut is_ending = false;
            // When the wish that is kept came.
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
