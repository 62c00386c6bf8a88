//! PURE. Problems that an operator must fix, after which the pipeline continues by itself: a topic that is gone, or a missing
//! permission. And records that failed where the policy is to hold: there an operator has to say that it may go on.
//!
//! The lookup thread asks the cluster until it has what is missing. That ends the block of a denied input; records that were read
//! before it was denied are still processed. For a denied output the worker then sends a copy of it every ten seconds, and the
//! block is over only when the broker takes the copy: so the outputs in flight are sent once more, and not once for each try.
//!
//! ```text
//!   Denied --> asking --Answered--> waiting --Tick--> trying --Taken--> over
//!                 ^------------------Denied--------------/
//!   Held --> held --ToldToGoOn--> over
//! ```

use std::time::Duration;
use std::time::Instant;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocked(Option<Block>);

#[derive(Clone, Debug)]
struct Block {
    why: String,
    /// The copy is not sent before this.
    until: Instant,
    stage: Stage,
    /// Whether no record is handed out while blocked.
    holds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The lookup thread is asking the cluster.
    Asking,
    /// The cluster has what was missing.
    Answered,
    /// The copy of the denied output is in flight.
    Trying,
    /// A record holds the pipeline.
    Held,
}

/// An event.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// An output was denied, and why.
    OutputDenied(String),
    /// A record failed, and the policy is to hold.
    Held(String),
    /// An operator says that a held record may be tried again.
    ToldToGoOn,
    /// The input was denied, and why.
    InputDenied(String),
    /// The cluster lacks something that the pipeline names: what.
    Lacking(String),
    /// The cluster has everything that the pipeline names, as far as it reports.
    Answered,
    /// Time has passed.
    Tick,
    /// There is no copy of the denied output, or it must not be sent: its partition went to another member in the meantime.
    NothingToTry,
    /// The producer has no room for the copy.
    NoRoom,
    /// The producer was replaced: a copy that was in flight is lost.
    ProducerRenewed,
    /// The broker took the copy, or refused it for a reason of the record's own, which will show again when the record is sent.
    Taken,
}

/// What the worker has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Log why; it was not logged yet.
    Say(String),
    /// Show the blocked state, and why.
    Show(String),
    /// Ask the cluster until it has everything.
    Ask,
    /// Send the copy of the denied output, or report that there is none.
    Try,
    /// The block is over.
    Over,
    /// The block by a record is over: read it again.
    ReadAgain,
}

/// The interval between tries.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(10);

impl Blocked {
    /// Whether the worker is blocked.
    pub(super) fn is_blocked(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a record holds the pipeline.
    pub(super) fn is_held(&self) -> bool {
        self.0.as_ref().is_some_and(|block| block.stage == Stage::Held)
    }

    /// Whether no record is handed out.
    pub(super) fn holds(&self) -> bool {
        self.0.as_ref().is_some_and(|block| block.holds)
    }

    /// Takes one event; `every` is the interval between tries.
    pub(super) fn handle(&mut self, now: Instant, every: Duration, event: Event) -> Vec<Action> {
        let stage = self.0.as_ref().map(|block| block.stage);
        match event {
            // The record shows again when it is read again, and so does what else is wrong then.
            Event::OutputDenied(_) | Event::InputDenied(_) | Event::Lacking(_) | Event::Held(_)
                if stage == Some(Stage::Held) =>
            {
                Vec::new()
            }
            Event::Held(why) => {
                self.0 = Some(Block { why: why.clone(), until: now, stage: Stage::Held, holds: true });
                vec![Action::Say(why.clone()), Action::Show(why)]
            }
            Event::ToldToGoOn if stage == Some(Stage::Held) => {
                self.0 = None;
                vec![Action::Over, Action::ReadAgain]
            }
            Event::OutputDenied(why) => self.block(now + every, why, true),
            Event::InputDenied(why) => self.block(now + every, why, false),
            Event::Lacking(why) => match &mut self.0 {
                None => self.block(now + every, why, false),
                // The first reason still holds. It continues as soon as the cluster has everything.
                Some(block) => {
                    block.until = now;
                    Vec::new()
                }
            },
            Event::Answered if stage == Some(Stage::Asking) => {
                if !self.holds() {
                    return self.over();
                }
                self.set_stage(Stage::Answered)
            }
            Event::Tick if stage == Some(Stage::Answered) => {
                if self.0.as_ref().is_none_or(|block| now < block.until) {
                    return Vec::new();
                }
                self.set_stage(Stage::Trying);
                vec![Action::Try]
            }
            Event::NoRoom | Event::ProducerRenewed if stage == Some(Stage::Trying) => self.set_stage(Stage::Answered),
            Event::NothingToTry | Event::Taken if stage == Some(Stage::Trying) => self.over(),
            Event::Answered
            | Event::Tick
            | Event::NoRoom
            | Event::ProducerRenewed
            | Event::NothingToTry
            | Event::ToldToGoOn
            | Event::Taken => Vec::new(),
        }
    }

    fn block(&mut self, until: Instant, why: String, holds: bool) -> Vec<Action> {
        let holds = holds || self.holds();
        let mut actions = Vec::new();
        if self.0.as_ref().is_none_or(|block| block.why != why) {
            actions.push(Action::Say(why.clone()));
        }
        actions.push(Action::Show(why.clone()));
        if self.0.as_ref().is_none_or(|block| block.stage != Stage::Asking) {
            actions.push(Action::Ask);
        }
        self.0 = Some(Block { why, until, stage: Stage::Asking, holds });
        actions
    }

    fn set_stage(&mut self, stage: Stage) -> Vec<Action> {
        if let Some(block) = &mut self.0 {
            block.stage = stage;
        }
        Vec::new()
    }

    fn over(&mut self) -> Vec<Action> {
        self.0 = None;
        vec![Action::Over]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::worker::clock;

    fn event() -> impl Strategy<Value = Event> {
        let why = || (0..3).prop_map(|number| format!("why {number}"));
        prop_oneof![
            2 => why().prop_map(Event::OutputDenied),
            2 => why().prop_map(Event::InputDenied),
            2 => why().prop_map(Event::Lacking),
            1 => why().prop_map(Event::Held),
            2 => Just(Event::ToldToGoOn),
            6 => Just(Event::Answered),
            9 => Just(Event::Tick),
            1 => Just(Event::NothingToTry),
            2 => Just(Event::NoRoom),
            2 => Just(Event::ProducerRenewed),
            3 => Just(Event::Taken),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// The test tracks on its own: the last logged reason, whether the cluster is being asked, and whether a copy is in
        /// flight.
        #[test]
        fn a_denied_output_is_over_only_when_its_copy_is_taken_and_a_held_record_when_an_operator_says_so(
            events in prop::collection::vec((event(), 0_u64..4000), 0..60),
        ) {
            let mut now = clock::now();
            let mut blocked = Blocked::default();
            let mut said: Option<String> = None;
            let (mut is_asked, mut is_out, mut holds, mut is_held) = (false, false, false, false);
            let mut tried: Option<Instant> = None;
            for (event, ms) in events {
                now += Duration::from_millis(ms);
                let is_told = matches!(event, Event::ToldToGoOn);
                if is_held {
                    let actions = blocked.handle(now, RETRY_EVERY, event);
                    let over = [Action::Over, Action::ReadAgain];
                    prop_assert_eq!(&actions[..], if is_told { &over[..] } else { &[] });
                    if is_told {
                        (said, is_asked, is_out, holds, is_held, tried) = (None, false, false, false, false, None);
                    }
                    prop_assert_eq!((blocked.is_held(), blocked.holds()), (is_held, is_held));
                    continue;
                }
                is_held = matches!(event, Event::Held(_));
                let was_lacking = matches!(event, Event::Lacking(_));
                let answers = is_asked && matches!(event, Event::Answered);
                let copies = is_out && matches!(event, Event::Taken | Event::NothingToTry);
                let is_lost = matches!(event, Event::NoRoom | Event::ProducerRenewed);
                holds |= matches!(event, Event::OutputDenied(_) | Event::Held(_));
                let is_denied = matches!(event, Event::OutputDenied(_) | Event::InputDenied(_));
                is_asked &= !answers;
                is_out &= !(copies || is_lost || is_denied);
                for action in blocked.handle(now, RETRY_EVERY, event) {
                    match action {
                        Action::Say(why) => {
                            prop_assert!(is_held || said.as_ref() != Some(&why), "it was said before");
                            said = Some(why);
                        }
                        Action::Show(why) => prop_assert_eq!(said.as_ref(), Some(&why)),
                        Action::Ask => {
                            prop_assert!(!std::mem::replace(&mut is_asked, true), "it is being asked");
                        }
                        Action::Try => {
                            prop_assert!(holds && !is_asked, "it is tried before the cluster has it");
                            prop_assert!(!std::mem::replace(&mut is_out, true), "two copies are out");
                            tried = Some(now);
                        }
                        Action::ReadAgain => prop_assert!(false, "no record held it"),
                        Action::Over => {
                            prop_assert!(if holds { copies } else { answers }, "it is over for nothing");
                            (said, is_asked, is_out, holds, tried) = (None, false, false, false, None);
                        }
                    }
                }
                prop_assert_eq!(blocked.is_blocked(), said.is_some());
                prop_assert_eq!(blocked.holds(), holds);
                prop_assert!(!was_lacking || blocked.is_blocked());
                let _ = tried;
            }
        }
    }

    #[test]
    fn an_output_denied_again_waits_ten_seconds_and_is_logged_once() {
        let start = clock::now();
        let mut blocked = Blocked::default();
        let mut at = |seconds, event| blocked.handle(start + Duration::from_secs(seconds), RETRY_EVERY, event);
        let why = || "no permission".to_owned();
        assert_eq!(at(0, Event::OutputDenied(why())), [Action::Say(why()), Action::Show(why()), Action::Ask]);
        assert_eq!(at(1, Event::Answered), []);
        assert_eq!(at(9, Event::Tick), []);
        assert_eq!(at(10, Event::Tick), [Action::Try]);
        assert_eq!(at(11, Event::OutputDenied(why())), [Action::Show(why()), Action::Ask]);
        assert_eq!(at(12, Event::Answered), []);
        assert_eq!(at(20, Event::Tick), []);
        assert_eq!(at(21, Event::Tick), [Action::Try]);
        assert_eq!(at(22, Event::Taken), [Action::Over]);
    }
}
