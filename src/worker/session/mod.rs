//! PURE. What a worker is doing: where it stands in its group, when it commits, and how it ends.
//!
//! [`Session::handle`] takes one [`Event`] and returns what the worker has to do about it. It owns the partitions that the group gave to this
//! worker and how far each of them is, the question where partitions start, the [`Cycle`] of commits and the end. It has no clock,
//! thread, channel or client. Records are the partitions' matter, see `partition`.
//!
//! ```text
//!                                        Starts
//!   Joining --TopicsFound--> Member <------------- Starting        each is Member again when the
//!                              |  \--Assigned---------^            rebalance has its answer
//!                              \--Revoked--> Revoking: draining, then committing, then given back
//!
//!   End, in any stage: draining --> committing --> leaving --> ended, by the deadline whatever happens
//! ```
//!
//! librdkafka waits, with its heartbeats up, until a rebalance is answered; each is answered once. Partitions that come are looked up first, and
//! those that have no answer start later: they hold back nobody else. Partitions that go are drained, committed and given back;
//! those that were lost are dropped at once, and nothing of them is committed.

mod ending;
mod event;
mod going;
mod starting;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

#[cfg(test)]
pub(super) use ending::LEAVING_LATE;
pub(super) use event::Action;
pub(super) use event::Event;
pub(super) use event::Settings;
pub(super) use event::Unanswered;

use super::cycle::Cycle;
use super::end::Cause;
use super::end::End;
use crate::kafka::membership::Refusal;
use crate::record::TopicPartition;
use starting::ASK_AGAIN;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Session {
    settings: Settings,
    stage: Stage,
    ending: Option<Ending>,
    /// The partitions that the group gave to this worker and that it has not given back.
    partitions: BTreeMap<TopicPartition, Stay>,
    starts: Starts,
    cycle: Cycle,
    /// Whether the group took this member once.
    has_joined: bool,
    /// Why it doesn't take it now.
    refused: Option<Refusal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The topics are being looked up; the group was not joined.
    Joining,
    /// A member, or on the way to be one. No rebalance waits for an answer.
    Member,
    /// Partitions came: the rebalance is answered when it is known where they start.
    Starting,
    /// Partitions go. Once they are drained, `is_committing`.
    Revoking { partitions: Vec<TopicPartition>, deadline: Instant, is_committing: bool },
}

/// How far a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stay {
    /// Where it starts isn't known, and why, once there is a reason.
    Unstarted(Option<String>),
    Running,
    Draining,
    Released,
}

#[derive(Clone, Debug)]
struct Ending {
    cause: Cause,
    deadline: Instant,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Draining,
    Committing,
    Leaving { until: Instant },
    Ended,
}

/// The question where partitions start.
#[derive(Debug, Default)]
struct Starts {
    /// The number of the last one: an answer to an older one is about partitions that came and went.
    question: u64,
    /// When it was answered.
    answered: Option<Instant>,
}

impl Session {
    pub(super) fn new(now: Instant, settings: Settings) -> Session {
        Session {
            settings,
            stage: Stage::Joining,
            ending: None,
            partitions: BTreeMap::new(),
            starts: Starts::default(),
            cycle: Cycle::new(now, settings.commit_every),
            has_joined: false,
            refused: None,
        }
    }

    /// From here on these timeouts count. The rest can't change while it is a member.
    pub(super) fn set_timeouts(&mut self, drain: Duration, shutdown: Duration) {
        (self.settings.drain_timeout, self.settings.shutdown_timeout) = (drain, shutdown);
    }

    /// Whether the group was not joined yet.
    pub(super) fn is_joining(&self) -> bool {
        self.stage == Stage::Joining
    }

    /// Whether it is a member, and no rebalance waits for an answer.
    pub(super) fn is_member(&self) -> bool {
        self.stage == Stage::Member
    }

    /// Whether partitions go.
    pub(super) fn is_revoking(&self) -> bool {
        matches!(self.stage, Stage::Revoking { .. })
    }

    /// Whether it ends.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether that is over.
    pub(super) fn has_ended(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.step == Step::Ended)
    }

    /// Whether the group doesn't take this member.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether a commit has no answer yet.
    pub(super) fn is_committing(&self) -> bool {
        self.cycle.is_under_way()
    }

    /// Why it ends, if it does.
    pub(super) fn cause(&self) -> Option<&Cause> {
        self.ending.as_ref().map(|ending| &ending.cause)
    }

    /// By when it ends, if it does.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.ending.as_ref().map(|ending| ending.deadline)
    }

    /// The partitions that don't start yet, and why, once there is a reason.
    pub(super) fn unstarted(&self) -> impl Iterator<Item = (&TopicPartition, Option<&str>)> {
        self.partitions.iter().filter_map(|(partition, stay)| match stay {
            Stay::Unstarted(why) => Some((partition, why.as_deref())),
            Stay::Running | Stay::Draining | Stay::Released => None,
        })
    }

    /// Takes one event; the actions are to be carried out in order.
    pub(super) fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::TopicsFound => {
                if self.is_joining() && !self.is_ending() {
                    self.stage = Stage::Member;
                    actions.push(Action::Subscribe);
                }
            }
            Event::Assigned(partitions) => self.assigned(partitions, &mut actions),
            Event::Starts { question, starts, unknown } => {
                self.started(now, question, starts, unknown, &mut actions);
            }
            Event::Refused(refusal, why) => self.refused(now, refusal, why, &mut actions),
            Event::Revoked { partitions, is_lost } => self.revoked(now, partitions, is_lost, &mut actions),
            Event::Released(partition) => {
                if let Some(stay) = self.partitions.get_mut(&partition) {
                    *stay = Stay::Released;
                }
            }
            Event::CommitEnded => self.cycle.end(),
            Event::End(cause) => self.end(now, cause, &mut actions),
            Event::Left => {
                if let Some(Ending { step: step @ Step::Leaving { .. }, .. }) = &mut self.ending {
                    *step = Step::Ended;
                }
            }
            Event::Tick => {
                let is_due = self.starts.answered.is_some_and(|at| now.saturating_duration_since(at) >= ASK_AGAIN);
                if is_due && !self.is_ending() {
                    self.ask_starts(&mut actions);
                }
            }
        }
        self.go_on_revoking(now, &mut actions);
        self.go_on_ending(now, &mut actions);
        if self.commits_by_time() && self.cycle.is_due(now) && self.cycle.begin(now) {
            actions.push(Action::Commit);
        }
        actions
    }

    /// A revoke commits for itself, and so does an end when everything is done; while one partition is waited for, the others' records
    /// would be repeated if it never comes.
    fn commits_by_time(&self) -> bool {
        let is_ending = self.ending.as_ref().is_some_and(|ending| ending.step > Step::Draining);
        !is_ending && !self.is_joining() && !self.is_revoking()
    }
}
