//! Carries out the session's actions: joining the group, starting partitions and giving them back.

use std::sync::Arc;
use std::time::Instant;

use super::Shell;
use super::blocked;
use super::end::End;
use super::monitor::RUNNING;
use super::session;
use super::session::Action;
use super::task::PartitionTask;
use super::windows::Windows;
use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka::consumer::Position;
use crate::kafka::lookup::Answer;
use crate::kafka::lookup::StartOf;
use crate::kafka::membership::Refusal;
use crate::kafka::offset_metadata::OffsetMetadata;
use crate::metrics::State;
use crate::partition;
use crate::partition::PartitionState;
use crate::record::TopicPartition;

/// The status text while joining the group.
const JOINING: &str = "joining the group; if a member died, until its session is over (input.session_timeout)";

impl Shell {
    /// Gives an event to the session. Its actions are carried out by the next [`Shell::carry_out`], so that the set of partitions
    /// doesn't change in the middle of other work.
    pub(super) fn tell_session(&mut self, now: Instant, event: session::Event) {
        self.todo.extend(self.session.handle(now, event));
    }

    /// Carries out the session's actions, and those that follow from them.
    pub(super) fn carry_out(&mut self, now: Instant) {
        while let Some(action) = self.todo.pop_front() {
            match action {
                Action::Subscribe => self.subscribe(now),
                Action::AskStarts { question, partitions } => self.io.lookup.ask_starts(question, partitions),
                Action::Start(starts) => self.start(now, starts),
                Action::Joined => self.joined(),
                Action::Drain { partitions, deadline } => {
                    self.tell_those(now, &partitions, &partition::Event::Drain { deadline });
                }
                Action::Release(partitions) => {
                    self.tell_those(now, &partitions, &partition::Event::Release);
                    self.store_offsets();
                }
                Action::Commit => self.commit(now),
                Action::GiveBack(partitions) => self.give_back(now, &partitions),
                Action::Leave { unanswered } => self.leave(unanswered),
                Action::Ending => self.say_ending(),
                Action::Recreated(partition, other) => self.count_recreated(&partition, &other),
                Action::SayRefused(why) => self.say_refused(now, why),
                Action::AskProtocol => self.io.lookup.ask_protocol(),
            }
        }
    }

    /// Gives an event to the tasks of these partitions.
    fn tell_those(&mut self, now: Instant, partitions: &[TopicPartition], event: &partition::Event<'_>) {
        for index in 0..self.flow.tasks.len() {
            if partitions.contains(&self.flow.tasks[index].partition) {
                self.tell(now, index, event.clone());
            }
        }
    }

    /// Handles an answer of the lookup thread.
    pub(super) fn on_answer(&mut self, now: Instant, question: u64, answer: Answer) {
        match answer {
            Answer::Waiting { reason } => {
                // The lookup thread sees only closed connections when a password is refused; the status may know the reason.
                let why = if let Some(trouble) = self.monitor.status.trouble() {
                    self.say_trouble(now, &trouble);
                    trouble
                } else {
                    let why = format!("no broker of {} answers: {reason}", self.settings.kafka.brokers.join(","));
                    if self.monitor.may_log(now, "waiting for a broker") {
                        tracing::warn!("{why}; waiting for one");
                    }
                    why
                };
                if !self.session.is_ending() {
                    self.monitor.set_state(State::Waiting, why);
                }
            }
            Answer::Topics { missing, limits } if missing.is_empty() => {
                self.take_limits(now, limits);
                self.tell_session(now, session::Event::TopicsFound);
            }
            Answer::Probed { limits } => {
                self.take_limits(now, limits);
                self.tell_blocked(now, blocked::Event::Answered);
                self.watch(now);
            }
            Answer::Limits(limits) => self.on_limits(now, limits),
            Answer::Named(answers) => self.on_named(now, answers),
            Answer::NoOutput { output, failure } => {
                self.on_limits(now, None);
                self.on_no_output(now, output, &failure);
            }
            Answer::Denied { reason } => self.tell_blocked(now, blocked::Event::Lacking(reason)),
            Answer::Topics { missing, .. } => self.close(now, End::Invalid(missing.join("\n"))),
            Answer::Starts { starts, unknown } => {
                self.monitor.status.answered(0);
                self.tell_session(now, session::Event::Starts { question, starts, unknown });
            }
            Answer::Committed(committed) => self.on_confirmed(now, question, committed),
            Answer::Ranges(ranges) => self.positions.ranges.push((question, ranges)),
            Answer::Ends(ends) => self.on_ends(now, &ends),
            Answer::Protocol(protocol) => {
                if let Some(protocol) = protocol.filter(|_| self.session.is_refused()) {
                    let text = Refusal::Protocol.text(&self.settings.kafka, Some(&protocol));
                    self.say_refused(now, text);
                }
            }
            Answer::Members(members) => self.on_members(now, members),
            Answer::Watched(watched) => self.on_watched(now, &watched),
        }
    }

    fn subscribe(&mut self, now: Instant) {
        self.monitor.status.answered(0);
        match self.io.consumer.subscribe(&self.settings.kafka.input.topics) {
            Ok(()) => {
                let group = &self.settings.kafka.input.group;
                tracing::info!(
                    "joining group `{group}`; if a member of it died, until its session is over (input.session_timeout)"
                );
                self.monitor.set_state(State::Starting, JOINING);
            }
            Err(reason) => {
                self.close(now, End::Invalid(format!("failed to subscribe to the input's topics: {reason}")))
            }
        }
    }

    /// The group refuses this member.
    pub(super) fn on_refused(&mut self, now: Instant, refusal: Refusal) {
        let text = refusal.text(&self.settings.kafka, None);
        self.tell_session(now, session::Event::Refused(refusal, text));
    }

    fn say_refused(&mut self, now: Instant, why: String) {
        if self.monitor.may_log(now, &why) {
            tracing::error!("the group doesn't accept this member, retrying: {why}");
        }
        if !self.session.is_ending() {
            self.monitor.set_state(State::Halted, why);
        }
    }

    /// The group assigned partitions to this worker.
    pub(super) fn on_assign(&mut self, now: Instant, partitions: Vec<TopicPartition>) {
        self.monitor.metrics.rebalances.with_label_values(&["assign"]).inc();
        if !partitions.is_empty() && !self.session.is_ending() {
            tracing::info!("assigned {}", names(&partitions));
        }
        self.tell_session(now, session::Event::Assigned(partitions));
    }

    /// Starts partitions; an empty list answers an assignment without starting any.
    fn start(&mut self, now: Instant, starts: Vec<StartOf>) {
        let positions: Vec<Position> = starts.iter().map(|start| start.position.clone()).collect();
        let result = self.io.consumer.assign(&positions);
        if starts.is_empty() {
            if let Err(reason) = result {
                tracing::warn!("failed to answer an empty assignment: {reason}");
            }
            return;
        }
        if let Err(reason) = result {
            let partitions: Vec<_> = positions.into_iter().map(|position| position.partition).collect();
            self.close(now, End::Bug(format!("failed to start reading {}: {reason}", names(&partitions))));
            // They have nothing in flight to wait for.
            partitions.into_iter().for_each(|partition| self.tell_session(now, session::Event::Released(partition)));
            return;
        }
        failpoint::pass(Point::AfterAssign);
        for StartOf { position: Position { partition, offset, note, .. }, committed, topic, .. } in starts {
            let executor = self.flow.quietest_executor(self.io.executors.len());
            let assignment = self.flow.new_assignment();
            self.monitor.metrics.add_topic(&partition.topic);
            let state = PartitionState::new(self.settings.policy.clone(), assignment, offset, !committed)
                .with_strands(self.settings.order.strands(self.io.executors.len()))
                .with_counts(&OffsetMetadata::parse(&note).counts)
                .with_left_out(self.flow.left_out.of(&partition));
            // `offset` stands for the partition's end until the answer to `ask_ends`.
            let mut task = PartitionTask::new(now, partition, state, executor, offset);
            task.set_topic(topic);
            if let Some(step) = &self.settings.windowed {
                task.windows = Some(Box::new(Windows::new(Arc::clone(step), self.flow.new_assignment())));
            }
            self.flow.tasks.push(task);
            self.restore_windows(now, self.flow.tasks.len() - 1, committed.then_some(offset));
        }
        self.monitor.metrics.assigned_partitions.set(i64::try_from(self.flow.tasks.len()).unwrap_or(i64::MAX));
        // A start offset that is not committed yet is stored with the first event.
        self.tell_all(now, &partition::Event::Tick);
        self.io.lookup.ask_ends(self.flow.partitions());
        self.watch(now);
    }

    fn joined(&mut self) {
        self.monitor.status.set_joined(true);
        // While brokers are silent the state stays as it is: no partition was lost, so this is no new start.
        if !self.session.is_ending() && !self.blocked.is_blocked() && self.monitor.status.silence().is_none() {
            self.monitor.set_state(State::Running, RUNNING);
        }
    }

    /// The group revokes partitions of this worker.
    pub(super) fn on_revoke(&mut self, now: Instant, partitions: Vec<TopicPartition>) {
        let is_lost = self.io.consumer.assignment_lost();
        self.monitor.metrics.rebalances.with_label_values(&[if is_lost { "lost" } else { "revoke" }]).inc();
        if is_lost {
            tracing::warn!(
                "lost {}: the group received nothing from this member for {:?} (input.session_timeout), brokers may be \
                 unavailable; other members may have the partitions, and repeat what was not committed",
                names(&partitions),
                self.settings.kafka.input.session_timeout
            );
        } else if !partitions.is_empty() {
            tracing::info!("revoked {}; finishing what is in flight", names(&partitions));
        }
        self.tell_session(now, session::Event::Revoked { partitions, is_lost });
    }

    /// Gives partitions back and discards everything of theirs that is in flight.
    fn give_back(&mut self, now: Instant, partitions: &[TopicPartition]) {
        self.count_finished(now);
        self.note_what_is_left();
        let is_going = |task: &&mut PartitionTask| partitions.contains(&task.partition);
        // The next owner sends outputs of the same keys: no output of this worker may arrive after those.
        let mut is_out = false;
        for task in self.flow.tasks.iter_mut().filter(is_going) {
            is_out |= task.state.is_out() || task.windows.as_ref().is_some_and(|windows| windows.is_out());
            task.drop_queue(None);
            self.monitor.metrics.remove_lag(&task.partition.topic, task.partition.partition);
        }
        self.flow.tasks.retain(|task| !partitions.contains(&task.partition));
        if is_out {
            self.rewind_all(now);
        }
        for TopicPartition { topic, .. } in partitions {
            if !self.flow.tasks.iter().any(|task| task.partition.topic == *topic) {
                self.monitor.metrics.remove_lag_seconds(topic);
            }
        }
        self.monitor.metrics.assigned_partitions.set(i64::try_from(self.flow.tasks.len()).unwrap_or(i64::MAX));
        self.show_windowed();
        failpoint::pass(Point::InRevoke);
        if let Err(reason) = self.io.consumer.unassign(partitions) {
            tracing::warn!("failed to release partitions {}: {reason}", names(partitions));
        }
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    let names: Vec<String> = partitions.iter().map(TopicPartition::to_string).collect();
    names.join(", ")
}
