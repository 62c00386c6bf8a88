//! PURE. When other settings are taken over.
//!
//! What the consumer has no part in is changed in place, in a quiet moment: nothing is handed out until all that was handed out is done and
//! acknowledged. What the consumer is made of needs another worker, which begins when this one has ended. Each wish has one answer.

use std::time::Duration;
use std::time::Instant;

/// See the head of the file: until when a quiet moment is waited for.
#[derive(Clone, Debug, Default)]
pub(super) struct Reconfiguring(Option<Instant>);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Other settings are to be taken over, with a consumer made `anew` or not.
    Asked { anew: bool },
    /// Time has passed; whether nothing is at an executor or at a broker, or on its way there and back.
    Tick { is_quiet: bool },
}

/// What the worker has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Answer this, and go on as before.
    Refuse(String),
    /// Keep the wish: its answer comes later.
    Keep,
    /// Make the worker that begins when this one has ended, and end.
    Replace,
    /// Make the change that was kept.
    Apply,
}

/// A quiet moment comes when what is at the executors and at the broker is done: within a step's timeout, mostly. While a broker is
/// gone it doesn't, and then nothing is changed.
const QUIET_MAX: Duration = Duration::from_secs(10);

impl Reconfiguring {
    /// Whether a quiet moment is waited for: nothing is handed out meanwhile.
    pub(super) fn waits(&self) -> bool {
        self.0.is_some()
    }

    /// Takes one event; `is_ending` if the worker ends.
    pub(super) fn handle(&mut self, now: Instant, is_ending: bool, event: Event) -> Option<Action> {
        let refuse = |why: &str| Some(Action::Refuse(why.to_owned()));
        match (event, self.0) {
            (Event::Asked { .. }, _) if is_ending => refuse("the pipeline is about to end"),
            (Event::Asked { .. }, Some(_)) => refuse("another change is under way"),
            (Event::Asked { anew: true }, None) => Some(Action::Replace),
            (Event::Asked { anew: false }, None) => {
                self.0 = Some(now + QUIET_MAX);
                Some(Action::Keep)
            }
            (Event::Tick { .. }, None) => None,
            (Event::Tick { is_quiet }, Some(deadline)) => {
                let is_late = now >= deadline;
                if !(is_ending || is_late || is_quiet) {
                    return None;
                }
                self.0 = None;
                if is_ending {
                    refuse("the pipeline is about to end")
                } else if is_late {
                    let why =
                        format!("what was in flight was not done within {QUIET_MAX:?}; try again when brokers answer");
                    Some(Action::Refuse(why))
                } else {
                    Some(Action::Apply)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::worker::clock;

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            any::<bool>().prop_map(|anew| Event::Asked { anew }),
            any::<bool>().prop_map(|is_quiet| Event::Tick { is_quiet }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_wish_has_one_answer_in_time_and_nothing_changes_under_a_record(
            events in prop::collection::vec((event(), 0_u64..4000, prop::bool::weighted(0.05)), 0..60),
        ) {
            let mut now = clock::now();
            let mut reconfiguring = Reconfiguring::default();
            let mut is_ending = false;
            // When the wish that is kept came.
            let mut kept: Option<Instant> = None;
            for (event, ms, ends) in events {
                now += Duration::from_millis(ms);
                is_ending |= ends;
                let action = reconfiguring.handle(now, is_ending, event);
                match (event, action) {
                    (Event::Asked { .. }, None | Some(Action::Apply)) => prop_assert!(false, "a wish without an answer"),
                    (Event::Asked { .. }, Some(Action::Refuse(_))) => prop_assert!(is_ending || kept.is_some()),
                    (Event::Asked { anew }, Some(Action::Keep)) => {
                        prop_assert!(!anew && !is_ending && kept.is_none());
                        kept = Some(now);
                    }
                    (Event::Asked { anew }, Some(Action::Replace)) => {
                        prop_assert!(anew && !is_ending && kept.is_none());
                        is_ending = true;
                    }
                    (Event::Tick { is_quiet }, Some(Action::Apply)) => {
                        let since = kept.take();
                        prop_assert!(is_quiet && !is_ending, "settings changed under a record, or at the end");
                        prop_assert!(since.is_some_and(|since| now - since < QUIET_MAX));
                    }
                    (Event::Tick { .. }, Some(Action::Refuse(_))) => {
                        let since = kept.take();
                        prop_assert!(since.is_some_and(|since| is_ending || now - since >= QUIET_MAX));
                    }
                    (Event::Tick { .. }, Some(Action::Keep | Action::Replace)) => prop_assert!(false, "nobody asked"),
                    (Event::Tick { is_quiet }, None) => {
                        let waits = kept.is_some_and(|since| !is_ending && !is_quiet && now - since < QUIET_MAX);
                        prop_assert!(waits || kept.is_none(), "an answer is due");
                    }
                }
                prop_assert_eq!(reconfiguring.waits(), kept.is_some());
            }
        }
    }
}
