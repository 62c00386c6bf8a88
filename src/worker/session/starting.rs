//! PURE. Assigned partitions: the session asks where they start, and starts them when it knows.

use std::time::Duration;
use std::time::Instant;

use super::Action;
use super::Cause;
use super::End;
use super::Session;
use super::Stage;
use super::Stay;
use crate::kafka::lookup::StartOf;
use crate::kafka::membership::Refusal;
use crate::kafka::settings::OnRecreate;
use crate::record::TopicPartition;

/// The interval between questions about partitions that have no start yet.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);
impl Session {
    /// Asks for the starts of all partitions that have not started: a new question makes a pending answer invalid.
    pub(super) fn ask_starts(&mut self, actions: &mut Vec<Action>) {
        let partitions: Vec<TopicPartition> = self.unstarted().map(|(partition, _)| partition.clone()).collect();
        self.starts.answered = None;
        if !partitions.is_empty() {
            self.starts.question += 1;
            actions.push(Action::AskStarts { question: self.starts.question, partitions });
        }
    }

    pub(super) fn assigned(&mut self, partitions: Vec<TopicPartition>, actions: &mut Vec<Action>) {
        if partitions.is_empty() || self.is_ending() {
            // Nothing would read partitions that are assigned now.
            return self.decline(actions);
        }
        self.partitions.extend(partitions.into_iter().map(|partition| (partition, Stay::Unstarted(None))));
        self.stage = Stage::Starting;
        self.ask_starts(actions);
    }

    /// Answers an assignment without starting any partition.
    pub(super) fn decline(&mut self, actions: &mut Vec<Action>) {
        if self.stage == Stage::Starting {
            self.stage = Stage::Member;
        }
        actions.push(Action::Start(Vec::new()));
        self.joined(actions);
    }

    pub(super) fn started(
        &mut self,
        now: Instant,
        question: u64,
        mut starts: Vec<StartOf>,
        unknown: Vec<(TopicPartition, String)>,
        actions: &mut Vec<Action>,
    ) {
        if question != self.starts.question || self.unstarted().next().is_none() {
            return;
        }
        let is_answer = self.stage == Stage::Starting;
        if self.is_ending() {
            if is_answer {
                self.decline(actions);
            }
            return;
        }
        if !is_answer && self.stage != Stage::Member {
            // During a revocation the client would take an assign for its answer.
            self.starts.answered = Some(now);
            return;
        }
        let is_unstarted = |stay: Option<&Stay>| matches!(stay, Some(Stay::Unstarted(_)));
        starts.retain(|start| is_unstarted(self.partitions.get(&start.position.partition)));
        for StartOf { position, other, .. } in &starts {
            let Some(other) = other else { continue };
            if self.settings.on_recreate == OnRecreate::Stop {
                return self.end(now, Cause::Recreated(position.partition.clone(), *other), actions);
            }
            actions.push(Action::Recreated(position.partition.clone(), *other));
        }
        for start in &starts {
            self.partitions.insert(start.position.partition.clone(), Stay::Running);
        }
        for (partition, reason) in unknown {
            if let Some(Stay::Unstarted(why)) = self.partitions.get_mut(&partition) {
                *why = Some(reason);
                self.starts.answered = Some(now);
            }
        }
        self.stage = Stage::Member;
        if is_answer || !starts.is_empty() {
            actions.push(Action::Start(starts));
        }
        if is_answer {
            self.joined(actions);
        }
    }

    /// The group accepted this member.
    pub(super) fn joined(&mut self, actions: &mut Vec<Action>) {
        (self.has_joined, self.refused) = (true, None);
        actions.push(Action::Joined);
    }

    /// The group refuses this member.
    pub(super) fn refused(&mut self, now: Instant, refusal: Refusal, why: String, actions: &mut Vec<Action>) {
        if self.is_ending() {
            return;
        }
        if refusal.is_in_the_file() && !self.has_joined {
            return self.end(now, Cause::End(End::Invalid(why)), actions);
        }
        let before = self.refused.replace(refusal);
        if refusal == Refusal::Protocol {
            // It was reported the first time, and since then with the protocol's name.
            if before == Some(Refusal::Protocol) {
                return;
            }
            actions.push(Action::AskProtocol);
        }
        actions.push(Action::SayRefused(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::clock;
    use crate::worker::session::Event;
    use crate::worker::session::Settings;

    fn settings() -> Settings {
        let (second, on_recreate) = (Duration::from_secs(1), OnRecreate::Stop);
        Settings { drain_timeout: second, shutdown_timeout: second, on_recreate, commit_every: second }
    }

    #[test]
    fn a_refused_member_is_reported_once_and_ends_only_for_a_mistake_in_its_file() {
        let now = clock::now();
        let refused = |session: &mut Session, refusal| session.handle(now, Event::Refused(refusal, "why".to_owned()));
        let mut session = Session::new(now, settings());
        let first = refused(&mut session, Refusal::Protocol);
        assert!(matches!(&first[..], [Action::AskProtocol, Action::SayRefused(_)]), "{first:?}");
        assert!(refused(&mut session, Refusal::Protocol).is_empty() && session.is_refused());
        // Another reason is reported, and then this one again.
        assert_eq!(refused(&mut session, Refusal::Full).len(), 1);
        assert_eq!(refused(&mut session, Refusal::Protocol).len(), 2);
        // Once it was accepted, its configuration was right.
        session.handle(now, Event::TopicsFound);
        session.handle(now, Event::Assigned(Vec::new()));
        assert!(!session.is_refused());
        let later = refused(&mut session, Refusal::SessionTimeout);
        assert!(matches!(&later[..], [Action::SayRefused(_)]) && !session.is_ending(), "{later:?}");
        let mut session = Session::new(now, settings());
        refused(&mut session, Refusal::GroupName);
        assert_eq!(session.cause(), Some(&Cause::End(End::Invalid("why".to_owned()))));
        assert!(refused(&mut session, Refusal::Protocol).is_empty(), "it ends");
    }
}
