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

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use super::cycle::Cycle;
use super::end::Cause;
use crate::kafka::lookup::Other;
use crate::kafka::lookup::StartOf;
use crate::kafka::settings::OnRecreate;
use crate::record::TopicPartition;

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
}

/// What it needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The longest time that a revoke waits for what is in flight, and then for its commit.
    pub(super) drain_timeout: Duration,
    /// The longest time that an end waits for what is in flight.
    pub(super) shutdown_timeout: Duration,
    /// What becomes of an offset that was committed in another topic of the same name.
    pub(super) on_recreate: OnRecreate,
    /// Between two commits.
    pub(super) commit_every: Duration,
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

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Every topic that the pipeline names is there.
    TopicsFound,
    /// The group gives partitions to this worker.
    Assigned(Vec<TopicPartition>),
    /// Where partitions start.
    Starts {
        /// The question's number.
        question: u64,
        /// Those that are known.
        starts: Vec<StartOf>,
        /// Those that have no answer, and why.
        unknown: Vec<(TopicPartition, String)>,
    },
    /// The group takes partitions from this worker.
    Revoked {
        partitions: Vec<TopicPartition>,
        /// Whether others may have them already.
        is_lost: bool,
    },
    /// A partition's drain is over.
    Released(TopicPartition),
    /// The commit has its answer, or was refused.
    CommitEnded,
    /// The pipeline is to end.
    End(Cause),
    /// The group was left.
    Left,
    /// Time has passed.
    Tick,
}

/// What the worker has to do, in order.
#[derive(Debug)]
pub(super) enum Action {
    /// Join the group.
    Subscribe,
    /// Ask where these partitions start.
    AskStarts { question: u64, partitions: Vec<TopicPartition> },
    /// Take these partitions over.
    Start(Vec<StartOf>),
    /// A rebalance has its answer: the worker is a member.
    Joined,
    /// Finish what is in flight of these partitions by the deadline, and report each as released.
    Drain { partitions: Vec<TopicPartition>, deadline: Instant },
    /// Don't wait for these partitions any longer.
    Release(Vec<TopicPartition>),
    /// Commit what is settled, and report when that ended.
    Commit,
    /// Let go of these partitions, which had started, and answer the rebalance that takes them.
    GiveBack(Vec<TopicPartition>),
    /// Leave the group. A rebalance that is `unanswered` is answered first.
    Leave { unanswered: Option<Unanswered> },
    /// It begins to end.
    Ending,
    /// A partition belongs to another topic than the one that was committed, and is read from its beginning.
    Recreated(TopicPartition, Other),
    /// The end of it.
    Ended,
}

/// A rebalance that waits for its answer while the group is being left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// None of it is taken.
    Assignment,
    /// These had started and are given back.
    Revocation(Vec<TopicPartition>),
}

/// What has no answer is asked about this often.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Leaving the group may take so long, within the deadline: it only makes the others' rebalance faster.
const LEAVING_MAX: Duration = Duration::from_secs(3);
/// What is left for leaving when the deadline has passed.
pub(super) const LEAVING_LATE: Duration = Duration::from_millis(300);

impl Session {
    pub(super) fn new(now: Instant, settings: Settings) -> Session {
        Session {
            settings,
            stage: Stage::Joining,
            ending: None,
            partitions: BTreeMap::new(),
            starts: Starts::default(),
            cycle: Cycle::new(now, settings.commit_every),
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
                    actions.push(Action::Ended);
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

    /// Asks where those start that don't yet: all of them, as an answer that is out is none any more.
    fn ask_starts(&mut self, actions: &mut Vec<Action>) {
        let partitions: Vec<TopicPartition> = self.unstarted().map(|(partition, _)| partition.clone()).collect();
        self.starts.answered = None;
        if !partitions.is_empty() {
            self.starts.question += 1;
            actions.push(Action::AskStarts { question: self.starts.question, partitions });
        }
    }

    fn assigned(&mut self, partitions: Vec<TopicPartition>, actions: &mut Vec<Action>) {
        if partitions.is_empty() || self.is_ending() {
            // What comes now would be read by nobody.
            return self.decline(actions);
        }
        self.partitions.extend(partitions.into_iter().map(|partition| (partition, Stay::Unstarted(None))));
        self.stage = Stage::Starting;
        self.ask_starts(actions);
    }

    /// Answers an assignment by taking none of it.
    fn decline(&mut self, actions: &mut Vec<Action>) {
        if self.stage == Stage::Starting {
            self.stage = Stage::Member;
        }
        actions.extend([Action::Start(Vec::new()), Action::Joined]);
    }

    fn started(
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
            // The client would take what comes for the answer to the rebalance by which others go.
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
            actions.push(Action::Joined);
        }
    }

    fn revoked(&mut self, now: Instant, partitions: Vec<TopicPartition>, is_lost: bool, actions: &mut Vec<Action>) {
        let is_leaving = self.ending.as_ref().is_some_and(|ending| ending.step > Step::Committing);
        if is_lost || is_leaving || partitions.is_empty() {
            return self.give_back(partitions, actions);
        }
        let deadline = now + self.settings.drain_timeout;
        let going = self.drain(&partitions);
        self.stage = Stage::Revoking { partitions, deadline, is_committing: false };
        actions.push(Action::Drain { partitions: going, deadline });
    }

    /// Those of these partitions that run drain from here on. Returns them.
    fn drain(&mut self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let mut going = Vec::new();
        for partition in partitions {
            if let Some(stay @ (Stay::Running | Stay::Draining)) = self.partitions.get_mut(partition) {
                *stay = Stay::Draining;
                going.push(partition.clone());
            }
        }
        going
    }

    /// Waits for none of these partitions any longer.
    fn release(&mut self, partitions: Vec<TopicPartition>, actions: &mut Vec<Action>) {
        if !partitions.is_empty() {
            self.partitions.extend(partitions.iter().map(|partition| (partition.clone(), Stay::Released)));
            actions.push(Action::Release(partitions));
        }
    }

    /// Those of these partitions whose drain isn't over.
    fn out<'a>(&self, partitions: impl Iterator<Item = &'a TopicPartition>) -> Vec<TopicPartition> {
        let is_out = |partition: &&TopicPartition| {
            matches!(self.partitions.get(*partition), Some(Stay::Running | Stay::Draining))
        };
        partitions.filter(is_out).cloned().collect()
    }

    fn go_on_revoking(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Stage::Revoking { partitions, deadline, is_committing } = &self.stage else { return };
        let (is_late, is_committing) = (now >= *deadline, *is_committing);
        if is_committing {
            if self.cycle.is_under_way() && !is_late {
                return;
            }
        } else {
            let out = self.out(partitions.iter());
            if !out.is_empty() && !is_late {
                return;
            }
            self.release(out, actions);
            let begins = self.cycle.begin(now);
            if let Stage::Revoking { deadline, is_committing, .. } = &mut self.stage
                && begins
            {
                // The commit has as much time as the drain had.
                (*deadline, *is_committing) = (now + self.settings.drain_timeout, true);
                actions.push(Action::Commit);
            }
            if begins || !is_late {
                return;
            }
        }
        if let Stage::Revoking { partitions, .. } = std::mem::replace(&mut self.stage, Stage::Member) {
            self.give_back(partitions, actions);
        }
    }

    /// Lets go of partitions and answers the rebalance that takes them.
    fn give_back(&mut self, partitions: Vec<TopicPartition>, actions: &mut Vec<Action>) {
        let started = self.remove(&partitions);
        if !self.is_joining() {
            self.stage = Stage::Member;
        }
        actions.extend([Action::GiveBack(started), Action::Joined]);
    }

    /// Forgets partitions. Returns those that had started: another one is not the client's either, which refuses to give back what it doesn't have.
    fn remove(&mut self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let started = |partition: &&TopicPartition| {
            matches!(self.partitions.remove(*partition), Some(Stay::Running | Stay::Draining | Stay::Released))
        };
        partitions.iter().filter(started).cloned().collect()
    }

    /// Begins to end. A second reason changes nothing, but that a failure outweighs a wish.
    fn end(&mut self, now: Instant, cause: Cause, actions: &mut Vec<Action>) {
        let deadline = match &mut self.ending {
            Some(ending) => {
                if cause.outweighs(&ending.cause) {
                    ending.cause = cause;
                }
                ending.deadline
            }
            None => {
                let deadline = now + self.settings.shutdown_timeout;
                self.ending = Some(Ending { cause, deadline, step: Step::Draining });
                actions.push(Action::Ending);
                deadline
            }
        };
        // Partitions that drain are told again: one may have stopped at a record, and has to drain what came before.
        let all: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        let partitions = self.drain(&all);
        actions.push(Action::Drain { partitions, deadline });
    }

    fn go_on_ending(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(&Ending { deadline, step, .. }) = self.ending.as_ref() else { return };
        let is_late = now >= deadline;
        match step {
            Step::Draining => {
                let out = self.out(self.partitions.keys());
                if !out.is_empty() && !is_late {
                    return;
                }
                self.release(out, actions);
                if self.is_joining() {
                    self.leave(now, deadline, actions);
                } else if self.cycle.begin(now) {
                    self.set_step(Step::Committing);
                    actions.push(Action::Commit);
                } else if is_late {
                    self.leave(now, deadline, actions);
                }
            }
            Step::Committing => {
                if is_late || !self.cycle.is_under_way() {
                    self.leave(now, deadline, actions);
                }
            }
            Step::Leaving { until } => {
                if now >= until {
                    self.set_step(Step::Ended);
                    actions.push(Action::Ended);
                }
            }
            Step::Ended => {}
        }
    }

    fn set_step(&mut self, step: Step) {
        if let Some(ending) = &mut self.ending {
            ending.step = step;
        }
    }

    fn leave(&mut self, now: Instant, deadline: Instant, actions: &mut Vec<Action>) {
        let unanswered = match std::mem::replace(&mut self.stage, Stage::Member) {
            Stage::Starting => Some(Unanswered::Assignment),
            Stage::Revoking { partitions, .. } => Some(Unanswered::Revocation(self.remove(&partitions))),
            Stage::Joining | Stage::Member => None,
        };
        actions.push(Action::Leave { unanswered });
        self.set_step(Step::Leaving { until: deadline.min(now + LEAVING_MAX).max(now + LEAVING_LATE) });
    }

    /// A revoke commits for itself, and so does an end when everything is done; while one partition is waited for, the others' records
    /// would be repeated if it never comes.
    fn commits_by_time(&self) -> bool {
        let is_ending = self.ending.as_ref().is_some_and(|ending| ending.step > Step::Draining);
        !is_ending && !self.is_joining() && !self.is_revoking()
    }
}
