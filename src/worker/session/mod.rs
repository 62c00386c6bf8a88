//! PURE. A worker's state: its membership in the group, when it commits, and how it ends.
//!
//! [`Session::handle`] takes one [`Event`] and returns the [`Action`]s that the worker has to carry out. The session owns the
//! assigned partitions and the state of each, the question where partitions start, the [`Cycle`] of commits and the shutdown. It
//! has no clock, thread, channel or client. `partition` decides about records.
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
//! librdkafka waits, still sending heartbeats, until a rebalance is answered; each rebalance is answered once. The session asks
//! for the start offsets of assigned partitions first. Partitions without an answer start later and hold up no others. Revoked
//! partitions are drained, committed and given back. Lost partitions are dropped at once, without a commit.

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
    /// The partitions that are assigned to this worker, until it gives them back.
    partitions: BTreeMap<TopicPartition, Stay>,
    starts: Starts,
    cycle: Cycle,
    /// Whether the group has ever accepted this member.
    has_joined: bool,
    /// Why the group refuses the member now.
    refused: Option<Refusal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The topics are being looked up, and the group is not joined yet.
    Joining,
    /// A member, or joining. No rebalance is unanswered.
    Member,
    /// Partitions were assigned: the rebalance is answered when their starts are known.
    Starting,
    /// Partitions are being revoked. Once they are drained, `is_committing`.
    Revoking { partitions: Vec<TopicPartition>, deadline: Instant, is_committing: bool },
}

/// The state of an assigned partition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stay {
    /// Its start is not known yet, and why, once there is a reason.
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
    /// The number of the last question: answers to older ones are ignored, as partitions may have been revoked and assigned again
    /// since.
    question: u64,
    /// When it was answered, if partitions are left without a start.
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

    /// Changes the timeouts. The other settings can't change while the worker is a member.
    pub(super) fn set_timeouts(&mut self, drain: Duration, shutdown: Duration) {
        (self.settings.drain_timeout, self.settings.shutdown_timeout) = (drain, shutdown);
    }

    /// Whether the group was not joined yet.
    pub(super) fn is_joining(&self) -> bool {
        self.stage == Stage::Joining
    }

    /// Whether it is a member, and no rebalance is unanswered.
    pub(super) fn is_member(&self) -> bool {
        self.stage == Stage::Member
    }

    /// Whether every assigned partition is being read.
    pub(super) fn runs_all(&self) -> bool {
        self.partitions.values().all(|stay| *stay == Stay::Running)
    }

    /// Whether partitions are being revoked.
    pub(super) fn is_revoking(&self) -> bool {
        matches!(self.stage, Stage::Revoking { .. })
    }

    /// Whether the worker is shutting down.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether the shutdown is over.
    pub(super) fn has_ended(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.step == Step::Ended)
    }

    /// Whether the group refuses this member.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether a commit is in flight.
    pub(super) fn is_committing(&self) -> bool {
        self.cycle.is_under_way()
    }

    /// How long it is until an early commit is due.
    pub(super) fn commits_within(&self, now: Instant) -> Duration {
        self.cycle.within(now)
    }

    /// Why the worker is shutting down, if it is.
    pub(super) fn cause(&self) -> Option<&Cause> {
        self.ending.as_ref().map(|ending| &ending.cause)
    }

    /// The deadline of the shutdown, if there is one.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.ending.as_ref().map(|ending| ending.deadline)
    }

    /// The partitions that have not started yet, and why, once there is a reason.
    pub(super) fn unstarted(&self) -> impl Iterator<Item = (&TopicPartition, Option<&str>)> {
        self.partitions.iter().filter_map(|(partition, stay)| match stay {
            Stay::Unstarted(why) => Some((partition, why.as_deref())),
            Stay::Running | Stay::Draining | Stay::Released => None,
        })
    }

    /// Takes one event; the actions are to be carried out in order.
    pub(super) fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let (is_asked, is_early) = (matches!(event, Event::CommitDue), matches!(event, Event::CaughtUp));
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
            Event::CommitDue | Event::CaughtUp => {}
            Event::CommitEnded => self.cycle.end(now),
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
        let is_due = is_asked || self.cycle.is_due(now) || (is_early && self.cycle.is_due_early(now));
        if self.commits_by_time() && is_due && self.cycle.begin(now) {
            actions.push(Action::Commit);
        }
        actions
    }

    /// A revocation commits for itself, and so does a shutdown when everything has drained. While a shutdown still drains, the
    /// commits at the interval continue: if one partition never finishes, the records of the others are not repeated.
    fn commits_by_time(&self) -> bool {
        let is_ending = self.ending.as_ref().is_some_and(|ending| ending.step > Step::Draining);
        !is_ending && !self.is_joining() && !self.is_revoking()
    }
}
