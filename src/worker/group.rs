//! Where this worker stands in its group: partitions that come, and partitions that go.
//!
//! librdkafka waits, with its heartbeats up, until the worker answers a rebalance. Partitions that come are looked up first: those with
//! a committed offset are taken at once, the others when it is known where they begin. Partitions that go are drained, committed and
//! then given back. A partition that was lost is dropped at once and nothing of it is committed.

use std::time::Instant;

use super::Shell;
use super::closing;
use super::end;
use super::end::End;
use super::lane::Lane;
use super::timers::Began;
use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka::Commands;
use crate::kafka::consumer::Position;
use crate::kafka::lookup::Answer;
use crate::kafka::lookup::StartOf;
use crate::kafka::membership::Refusal;
use crate::kafka::note::Note;
use crate::kafka::settings::OnRecreate;
use crate::metrics::State;
use crate::partition;
use crate::partition::PartitionState;
use crate::record::TopicPartition;

/// See the head of the file.
pub(super) enum Group {
    /// The topics are being looked up; the group was not joined.
    Outside,
    /// A member, or on the way to be one.
    Member,
    /// Partitions came, and nothing is known yet of where they start.
    Starting,
    /// Partitions go: they are being drained, and then committed.
    Revoking { partitions: Vec<TopicPartition>, deadline: Instant, committing: bool },
}

/// What is being done then, and what it may wait for.
const JOINING: &str =
    "joining the group, which waits for a member that died until its session is over (input.session_timeout)";

impl Group {
    /// Whether nothing is being waited for.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self, Group::Member)
    }
}

impl Shell {
    /// A question was answered.
    pub(super) fn on_answer(&mut self, now: Instant, question: u64, answer: Answer) {
        match answer {
            Answer::Waiting { reason } => {
                // A refused password ends connections, which is all that the lookup sees.
                let why = if let Some(trouble) = self.status.trouble() {
                    self.say_trouble(now, &trouble);
                    trouble
                } else {
                    let why = format!("no broker of {} answers: {reason}", self.settings.kafka.brokers.join(","));
                    if self.timers.may_log(now, "waiting for a broker") {
                        tracing::warn!("{why}; waiting for one");
                    }
                    why
                };
                if self.closing.is_none() {
                    self.set_state(State::Waiting, why);
                }
            }
            Answer::Topics { missing, limits } if missing.is_empty() => {
                self.take_limits(now, limits);
                self.join(now);
            }
            Answer::Probed { limits } => {
                self.take_limits(now, limits);
                self.on_probed();
                self.watch(now);
            }
            Answer::Limits(limits) => self.on_limits(now, limits),
            Answer::Denied { reason } => self.on_denied(now, reason),
            Answer::Topics { missing, .. } => self.close(now, End::Invalid(missing.join("\n"))),
            Answer::Starts { starts, unknown } => self.on_starts(now, question, starts, unknown),
            Answer::Ranges(ranges) => self.on_ranges(now, question, ranges),
            Answer::Ends(ends) => self.on_ends(&ends),
            Answer::Protocol(protocol) => {
                if let Some(protocol) = protocol.filter(|_| self.refused) {
                    let text = Refusal::Protocol.text(&self.settings.kafka, Some(&protocol));
                    self.say_refused(now, text);
                }
            }
            Answer::Watched(watched) => self.on_watched(now, &watched),
        }
    }

    fn join(&mut self, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        self.status.answered(0);
        match self.consumer.subscribe(&self.settings.kafka.input.topics) {
            Ok(()) => {
                self.group = Group::Member;
                let group = &self.settings.kafka.input.group;
                tracing::info!("joining group `{group}`, which waits for a member that died until its session is over");
                self.set_state(State::Starting, JOINING);
            }
            Err(reason) => {
                self.close(now, End::Invalid(format!("failed to subscribe to the input's topics: {reason}")))
            }
        }
    }

    /// The group doesn't take this member. librdkafka tries again, for as long as it takes.
    pub(super) fn on_refused(&mut self, now: Instant, refusal: Refusal) {
        let text = refusal.text(&self.settings.kafka, None);
        if refusal.is_in_the_file() && !self.status.is_joined() {
            self.close(now, End::Invalid(text));
            return;
        }
        match refusal {
            // It was said when it began, and by now with the protocol's name.
            Refusal::Protocol if self.refused => {}
            Refusal::Protocol => {
                self.lookup.ask_protocol();
                self.say_refused(now, text);
            }
            Refusal::SessionTimeout | Refusal::GroupName | Refusal::Full | Refusal::InstanceId => {
                self.say_refused(now, text);
            }
        }
        self.refused = true;
    }

    fn say_refused(&mut self, now: Instant, why: String) {
        if self.timers.may_log(now, &why) {
            tracing::error!("not taken into the group, and tried again: {why}");
        }
        if self.closing.is_none() {
            self.set_state(State::Halted, why);
        }
    }

    /// The group gives partitions to this worker.
    pub(super) fn on_assign(&mut self, partitions: Vec<TopicPartition>) {
        self.metrics.rebalances.with_label_values(&["assign"]).inc();
        if partitions.is_empty() || self.closing.is_some() {
            self.decline();
            return;
        }
        tracing::info!("assigned {}", names(&partitions));
        self.unstarted.add(partitions);
        self.ask_starts();
        self.group = Group::Starting;
    }

    fn on_starts(&mut self, now: Instant, question: u64, starts: Vec<StartOf>, unknown: Vec<(TopicPartition, String)>) {
        self.status.answered(0);
        if !self.unstarted.is_asked(question) {
            return;
        }
        let is_answer = matches!(self.group, Group::Starting);
        if !is_answer && !matches!(self.group, Group::Member) {
            // While partitions go, none comes.
            self.unstarted.put_off(now);
            return;
        }
        if self.closing.is_some() {
            // What comes now would be read by nobody.
            if is_answer {
                self.decline();
            }
            return;
        }
        for StartOf { position, other, .. } in &starts {
            let Some(other) = other else { continue };
            if self.settings.kafka.input.on_recreate == OnRecreate::Stop {
                self.stop_at_other(now, &position.partition, other);
                return;
            }
            self.count_recreated(&position.partition, other);
        }
        let starts: Vec<StartOf> =
            starts.into_iter().filter(|start| self.unstarted.remove(&start.position.partition)).collect();
        self.unstarted.wait(now, unknown);
        let positions: Vec<Position> = starts.iter().map(|start| start.position.clone()).collect();
        if is_answer || !positions.is_empty() {
            if let Err(reason) = self.consumer.assign(&positions) {
                let partitions: Vec<_> = positions.into_iter().map(|position| position.partition).collect();
                self.close(now, End::Bug(format!("failed to take over {}: {reason}", names(&partitions))));
                return;
            }
            failpoint::pass(Point::AfterAssign);
        }
        for StartOf { position: Position { partition, offset, note, .. }, committed, topic, .. } in starts {
            let executor = self.quietest_executor();
            let assignment = self.new_assignment();
            self.metrics.add_topic(&partition.topic);
            let state = PartitionState::new(self.settings.policy, assignment, offset, !committed)
                .with_counts(&Note::parse(&note).counts);
            // Where it ends is asked for now.
            let mut lane = Lane::new(now, partition, state, executor, offset);
            lane.set_topic(topic);
            // What this client committed of the partition in an earlier stay may lie above it.
            lane.is_moved = !committed;
            self.lanes.push(lane);
        }
        self.metrics.assigned_partitions.set(i64::try_from(self.lanes.len()).unwrap_or(i64::MAX));
        // A start that is not yet committed is stored with the first event.
        self.tell_all(now, &partition::Event::Tick);
        self.lookup.ask_ends(self.lanes.iter().map(|lane| lane.partition.clone()).collect());
        self.watch(now);
        self.group = Group::Member;
        if is_answer {
            self.joined();
        }
    }

    /// Answers an assignment by taking none of it.
    fn decline(&mut self) {
        if let Err(reason) = self.consumer.assign(&[]) {
            tracing::warn!("failed to answer an empty assignment: {reason}");
        }
        if matches!(self.group, Group::Starting) {
            self.group = Group::Member;
        }
        self.joined();
    }

    /// The committed offset of a partition is gone, and the pipeline is not to go on behind the gap.
    pub(super) fn stop_at_gap(&mut self, now: Instant, partition: &TopicPartition, gap: end::Gap) {
        let kafka = &self.settings.kafka;
        let message = end::gap(partition, gap, &kafka.input.group, &Commands::of(kafka));
        self.close(now, End::Stopped(message));
    }

    /// The executor with the fewest lanes.
    fn quietest_executor(&self) -> usize {
        (0..self.executors.len())
            .min_by_key(|&executor| self.lanes.iter().filter(|lane| lane.executor == executor).count())
            .unwrap_or(0)
    }

    fn joined(&mut self) {
        self.refused = false;
        self.status.set_joined(true);
        // While brokers are silent it stays what it is: they took nothing away that would be a new beginning.
        if self.closing.is_none() && !self.is_halted() && self.status.silence().is_none() {
            self.set_state(State::Running, "running");
        }
    }

    /// The group takes partitions from this worker.
    pub(super) fn on_revoke(&mut self, now: Instant, partitions: Vec<TopicPartition>) {
        let lost = self.consumer.assignment_lost();
        self.metrics.rebalances.with_label_values(&[if lost { "lost" } else { "revoke" }]).inc();
        let leaving = self.closing.as_ref().is_some_and(closing::is_leaving);
        if lost || leaving || partitions.is_empty() {
            if lost {
                tracing::warn!(
                    "lost {}: the group heard nothing of this member for {:?} (input.session_timeout), so brokers may be away; others may \
                     have them, and repeat what was not committed",
                    names(&partitions),
                    self.settings.kafka.input.session_timeout
                );
            }
            self.give_back(now, &partitions);
            return;
        }
        tracing::info!("revoked {}; finishing what is in flight", names(&partitions));
        let deadline = now + self.settings.drain_timeout;
        for index in 0..self.lanes.len() {
            if partitions.contains(&self.lanes[index].partition) {
                self.tell(now, index, partition::Event::Drain { deadline });
            }
        }
        self.group = Group::Revoking { partitions, deadline, committing: false };
    }

    /// Goes on with a revoke: drained, then committed, then given back.
    pub(super) fn go_on_revoking(&mut self, now: Instant) {
        let Group::Revoking { partitions, deadline, committing } = &self.group else { return };
        let (deadline, committing, partitions) = (*deadline, *committing, partitions.clone());
        let late = now >= deadline;
        if !committing {
            let out = |lane: &Lane| partitions.contains(&lane.partition) && lane.released.is_none();
            if self.lanes.iter().any(out) {
                return;
            }
            self.store_offsets();
            if !self.consumer.assignment_lost() {
                match self.begin_commit(now) {
                    Began::Sent => {
                        // The commit has as much time as the drain had.
                        let deadline = now + self.settings.drain_timeout;
                        self.group = Group::Revoking { partitions, deadline, committing: true };
                        return;
                    }
                    Began::Busy if !late => return,
                    Began::Busy | Began::Refused => {}
                }
            }
        } else if !self.commit_ended(now) && !late {
            return;
        }
        self.give_back(now, &partitions);
    }

    /// Lets go of partitions and of everything that is in flight of them.
    pub(super) fn give_back(&mut self, now: Instant, partitions: &[TopicPartition]) {
        self.count_finished(now);
        self.note_what_is_left();
        for lane in self.lanes.iter_mut().filter(|lane| partitions.contains(&lane.partition)) {
            lane.drop_queue();
            if self.closing.is_some() && lane.released.is_none() {
                // The drain of the end was not over: whoever has the partition next repeats what was out.
                self.timers.unsettled.push((lane.partition.clone(), lane.state.low()));
            }
            self.metrics.remove_lag(&lane.partition.topic, lane.partition.partition);
        }
        // One that never began is not the client's either, which refuses to give back what it doesn't have.
        let given = partitions.iter().filter(|partition| !self.unstarted.remove(partition));
        let given: Vec<TopicPartition> =
            given.filter(|partition| self.lanes.iter().any(|lane| lane.partition == **partition)).cloned().collect();
        // Whoever has them next sends outputs of the same keys: none of ours may be there after those.
        let is_out = |lane: &Lane| {
            let is_leaving = partitions.contains(&lane.partition);
            is_leaving && (!lane.state.is_acknowledged() || lane.released == Some(false))
        };
        let is_out = self.lanes.iter().any(is_out);
        if self.closing.is_none() {
            // What a revoke left in flight is the next owner's; it has nothing to do with how this worker ends.
            self.timers.unsettled.retain(|(partition, _)| !partitions.contains(partition));
        }
        self.lanes.retain(|lane| !partitions.contains(&lane.partition));
        if is_out {
            self.read_again(now);
        }
        for TopicPartition { topic, .. } in partitions {
            if !self.lanes.iter().any(|lane| lane.partition.topic == *topic) {
                self.metrics.remove_lag_seconds(topic);
            }
        }
        self.metrics.assigned_partitions.set(i64::try_from(self.lanes.len()).unwrap_or(i64::MAX));
        failpoint::pass(Point::InRevoke);
        if let Err(reason) = self.consumer.unassign(&given) {
            tracing::warn!("failed to give back {}: {reason}", names(&given));
        }
        if !matches!(self.group, Group::Outside) {
            self.group = Group::Member;
        }
        self.joined();
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    let names: Vec<String> = partitions.iter().map(TopicPartition::to_string).collect();
    names.join(", ")
}
