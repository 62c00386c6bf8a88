//! PURE. The life of a pipeline in a process of several: when it is started, drained and started again.
//!
//! ```text
//!            /------------------ Begin <-----------------\
//!            v                                            |
//!   Starting --Started--> Running --Ended--> Ended --Start, Restart, Changed, or its wait is over
//!                            |                  |
//!                     Stop, Restart, Remove   Remove --> Gone
//!                            v
//!                          Drain
//! ```
//!
//! What an operator asks for while the pipeline starts or drains is kept, and done when that is over. The last request counts. Invariants: a
//! pipeline is begun only when it doesn't run; one that an operator has stopped is begun only when an operator says so; nothing is begun while
//! the process ends.

use std::time::Duration;
use std::time::Instant;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Lifecycle {
    phase: Phase,
    /// What happens when it has ended.
    next: Option<Next>,
    /// Whether its file is to be read again when it has started.
    is_changed: bool,
    /// Whether the process ends.
    is_ending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It reads its file and loads its plugins.
    Starting,
    Running,
    Ended {
        has_failed: bool,
        /// When it is begun again.
        again: Option<Instant>,
    },
    /// Its file was removed.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It stays ended.
    Stay,
    /// It is begun again.
    Begin,
    /// It is forgotten.
    Forget,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It runs.
    Started,
    /// It has ended, or couldn't start. `again` is the wait after which it is begun again, if it has failed.
    Ended { has_failed: bool, again: Option<Duration> },
    /// An operator stops it.
    Stop,
    /// An operator starts it.
    Start,
    /// An operator starts it anew.
    Restart,
    /// Its file has changed, or an operator wants it read again.
    Changed,
    /// Its file was removed.
    Remove,
    /// The process ends.
    End,
    /// Time has passed.
    Tick,
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Read its file and start it.
    Begin,
    /// Have it finish, commit and leave its group.
    Drain,
    /// Have its file read again while it runs.
    Reload,
    /// Forget it.
    Forget,
}

impl Lifecycle {
    /// A pipeline that is being started.
    pub(super) fn new() -> Lifecycle {
        Lifecycle { phase: Phase::Starting, next: None, is_changed: false, is_ending: false }
    }

    /// Whether it reads its file and loads its plugins.
    pub(super) fn is_starting(&self) -> bool {
        self.phase == Phase::Starting
    }

    /// Whether nothing of it runs.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. } | Phase::Gone)
    }

    /// Whether its file was removed, and nothing of it runs.
    pub(super) fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// Whether it has failed.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Ended { has_failed: true, .. })
    }

    /// Whether it will be drained, or is.
    pub(super) fn is_leaving(&self) -> bool {
        self.next.is_some()
    }

    /// Whether it ends and is not expected to come back soon: its file was removed, or an operator stopped it.
    pub(super) fn leaves_for_good(&self) -> bool {
        match self.next {
            Some(Next::Forget) => true,
            Some(Next::Stay) => !self.is_ending,
            Some(Next::Begin) | None => false,
        }
    }

    /// When it is begun again, if that is known.
    pub(super) fn again(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ended { again, .. } => again,
            Phase::Starting | Phase::Running | Phase::Gone => None,
        }
    }

    /// Takes one event.
    pub(super) fn handle(&mut self, now: Instant, event: Event) -> Option<Action> {
        match (self.phase, event) {
            (Phase::Gone, _) => None,
            (Phase::Starting, Event::Started) => {
                self.phase = Phase::Running;
                match (self.next, std::mem::take(&mut self.is_changed)) {
                    (Some(_), _) => Some(Action::Drain),
                    (None, true) => Some(Action::Reload),
                    (None, false) => None,
                }
            }
            (Phase::Starting | Phase::Running, Event::Ended { has_failed, again }) => {
                self.ended(has_failed, again.map(|wait| now + wait))
            }
            (_, Event::End) => {
                self.is_ending = true;
                self.leave(Next::Stay)
            }
            (_, Event::Stop) => self.leave(Next::Stay),
            (_, Event::Remove) => self.leave(Next::Forget),
            (_, Event::Start | Event::Restart | Event::Changed) if self.is_ending => None,
            (Phase::Ended { .. }, Event::Start | Event::Restart) => self.begin(),
            (Phase::Ended { has_failed: true, .. }, Event::Changed) => self.begin(),
            (Phase::Ended { again: Some(again), .. }, Event::Tick) if now >= again => self.begin(),
            (Phase::Running, Event::Restart) => self.leave(Next::Begin),
            // It has read its file already.
            (Phase::Starting, Event::Restart | Event::Changed) if self.next.is_none() => {
                self.is_changed = true;
                None
            }
            (Phase::Starting, Event::Start | Event::Restart) => {
                self.next = self.next.filter(|next| *next == Next::Forget);
                None
            }
            (Phase::Running, Event::Start) if self.next == Some(Next::Stay) => {
                self.next = Some(Next::Begin);
                None
            }
            (Phase::Running, Event::Changed) if self.next.is_none() => Some(Action::Reload),
            (Phase::Starting | Phase::Running, Event::Start | Event::Changed | Event::Tick)
            | (Phase::Running, Event::Started)
            | (Phase::Ended { .. }, Event::Started | Event::Ended { .. } | Event::Changed | Event::Tick) => None,
        }
    }

    /// It has to end, and `next` says what happens then. A file that was removed stays so.
    fn leave(&mut self, next: Next) -> Option<Action> {
        match self.phase {
            Phase::Ended { .. } if next == Next::Forget => {
                self.phase = Phase::Gone;
                Some(Action::Forget)
            }
            Phase::Ended { has_failed, .. } => {
                // What failed shows why until the process ends.
                self.phase = Phase::Ended { has_failed: has_failed && self.is_ending, again: None };
                None
            }
            Phase::Starting | Phase::Running => {
                let before = self.next;
                if before != Some(Next::Forget) {
                    self.next = Some(next);
                }
                (self.phase == Phase::Running && before.is_none()).then_some(Action::Drain)
            }
            Phase::Gone => None,
        }
    }

    fn ended(&mut self, has_failed: bool, again: Option<Instant>) -> Option<Action> {
        self.is_changed = false;
        match self.next.take() {
            Some(Next::Forget) => {
                self.phase = Phase::Gone;
                Some(Action::Forget)
            }
            Some(Next::Begin) if !self.is_ending => self.begin(),
            Some(Next::Stay | Next::Begin) => {
                // An operator's stop holds, however it ended.
                self.phase = Phase::Ended { has_failed: has_failed && self.is_ending, again: None };
                None
            }
            None => {
                self.phase = Phase::Ended { has_failed, again: again.filter(|_| has_failed && !self.is_ending) };
                None
            }
        }
    }

    fn begin(&mut self) -> Option<Action> {
        (self.phase, self.next, self.is_changed) = (Phase::Starting, None, false);
        Some(Action::Begin)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::fleet::now;

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Event::Started),
            4 => (any::<bool>(), any::<bool>()).prop_map(|(has_failed, again)| Event::Ended {
                has_failed,
                again: again.then_some(Duration::from_secs(10)),
            }),
            2 => Just(Event::Stop),
            2 => Just(Event::Start),
            2 => Just(Event::Restart),
            2 => Just(Event::Changed),
            4 => Just(Event::Tick),
            1 => prop_oneof![4 => Just(Event::Tick), 1 => Just(Event::Remove), 1 => Just(Event::End)],
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// The test keeps on its own whether the pipeline is out, and what an operator wants of it.
        #[test]
        fn a_pipeline_runs_once_at_a_time_and_never_against_an_operators_word(
            events in prop::collection::vec((event(), 0_u64..8), 0..60),
        ) {
            let mut at = now();
            let mut life = Lifecycle::new();
            let (mut is_out, mut is_running, mut is_drained) = (true, false, false);
            let (mut is_stopped, mut is_removed, mut is_ending, mut is_forgotten) = (false, false, false, false);
            for (event, seconds) in events {
                at += Duration::from_secs(seconds);
                match event {
                    // What can't happen doesn't.
                    Event::Started if !is_out || is_running => continue,
                    Event::Ended { .. } if !is_out => continue,
                    Event::Started => is_running = true,
                    Event::Ended { .. } => (is_out, is_running, is_drained) = (false, false, false),
                    Event::Stop => is_stopped = true,
                    Event::Start | Event::Restart => is_stopped = false,
                    Event::Remove => is_removed = true,
                    Event::End => is_ending = true,
                    Event::Changed | Event::Tick => {}
                }
                match life.handle(at, event) {
                    Some(Action::Begin) => {
                        prop_assert!(!is_out, "two of it would run");
                        prop_assert!(!is_stopped && !is_removed && !is_ending, "an operator does not want it to run");
                        is_out = true;
                    }
                    Some(Action::Drain) => {
                        prop_assert!(is_running && !is_drained, "there is nothing to drain, or it is drained already");
                        is_drained = true;
                    }
                    Some(Action::Reload) => prop_assert!(is_running && !is_drained && !is_ending),
                    Some(Action::Forget) => {
                        prop_assert!(is_removed && !is_out && !is_forgotten);
                        is_forgotten = true;
                    }
                    None => {}
                }
                prop_assert_eq!(life.has_ended(), !is_out);
                prop_assert_eq!(life.is_gone(), is_removed && !is_out, "a removed file stays removed");
                prop_assert!(!is_running || is_drained || !(is_stopped || is_removed || is_ending), "it has to be drained");
                prop_assert!(life.again().is_none() || !(is_stopped || is_ending || is_removed));
            }
        }
    }

    /// What comes out of these events, one second after another.
    fn actions(life: &mut Lifecycle, events: &[Event]) -> Vec<Action> {
        let start = now();
        (0..)
            .zip(events)
            .filter_map(|(second, event)| life.handle(start + Duration::from_secs(second), *event))
            .collect()
    }

    #[test]
    fn a_failed_pipeline_is_begun_again_after_its_wait_by_an_operator_or_with_another_file() {
        let failed = |again| Event::Ended { has_failed: true, again };
        let wait = Some(Duration::from_secs(2));
        let events =
            [Event::Started, failed(wait), Event::Tick, Event::Tick, Event::Started, failed(None), Event::Tick];
        assert_eq!(actions(&mut Lifecycle::new(), &events), [Action::Begin], "after the wait, and not without one");
        for event in [Event::Start, Event::Restart, Event::Changed] {
            assert_eq!(actions(&mut Lifecycle::new(), &[failed(None), event]), [Action::Begin]);
        }
        let drained = Event::Ended { has_failed: false, again: None };
        let stopped = [Event::Started, Event::Stop, drained, Event::Changed, Event::Tick];
        assert_eq!(
            actions(&mut Lifecycle::new(), &stopped),
            [Action::Drain],
            "another file doesn't start what is stopped"
        );
    }

    #[test]
    fn the_last_request_counts() {
        let drained = Event::Ended { has_failed: false, again: None };
        let mut life = Lifecycle::new();
        let events = [Event::Started, Event::Stop, Event::Start, drained];
        assert_eq!(actions(&mut life, &events), [Action::Drain, Action::Begin]);
        let mut life = Lifecycle::new();
        assert_eq!(actions(&mut life, &[Event::Started, Event::Restart, Event::Stop, drained]), [Action::Drain]);
        assert!(life.has_ended() && !life.has_failed());
        let mut life = Lifecycle::new();
        assert_eq!(actions(&mut life, &[Event::Stop, Event::Restart, Event::Started]), []);
    }
}
