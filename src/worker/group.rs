//! Where this worker stands in its group: partitions that come, and partitions that go.
//!
//! librdkafka waits, with its heartbeats up, until the worker answers a rebalance. Partitions that come are looked up first (their
//! committed offsets, or the gap that retention left); partitions that go are drained, committed and then given back. A
//! partition that was lost is dropped at once and nothing of it is committed.

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
use crate::kafka::settings::OnGap;
use crate::metrics::State;
use crate::partition;
use crate::partition::PartitionState;
use crate::record::Epoch;
use crate::record::Offset;
use crate::record::TopicPartition;

/// See the head of the file.
pub(super) enum Group {
    /// The topics are being looked up; the group was not joined.
    Outside,
    /// A member, or on the way to be one.
    Member,
    /// Partitions came, and it is being looked up where they start: the question has this number.
    Starting { question: u64, partitions: Vec<TopicPartition> },
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

    /// The partitions that came, if it was asked with this question where they start.
    fn asked(&self, question: u64) -> Option<&[TopicPartition]> {
        match self {
            Group::Starting { question: asked, partitions } if *asked == question => Some(partitions),
            Group::Outside | Group::Member | Group::Starting { .. } | Group::Revoking { .. } => None,
        }
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
            }
            Answer::Denied { reason } => self.on_denied(now, reason),
            Answer::Topics { missing, .. } => self.close(now, End::Invalid(missing.join("\n"))),
            Answer::Starts(starts) => self.on_starts(now, question, starts),
            Answer::Ends(ends) => self.on_ends(&ends),
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

    /// The group gives partitions to this worker.
    pub(super) fn on_assign(&mut self, partitions: Vec<TopicPartition>) {
        self.metrics.rebalances.with_label_values(&["assign"]).inc();
        if partitions.is_empty() || self.closing.is_some() {
            self.decline();
            return;
        }
        tracing::info!("assigned {}", names(&partitions));
        let question = self.lookup.ask_starts(partitions.clone());
        self.group = Group::Starting { question, partitions };
    }

    fn on_starts(&mut self, now: Instant, question: u64, starts: Vec<StartOf>) {
        self.status.answered(0);
        let Some(asked) = self.group.asked(question).map(<[_]>::to_vec) else {
            // Of partitions whose position was gone, as far as they are still read as they were then.
            for start in starts {
                let is_meant = |lane: &Lane| lane.asked == Some(question) && lane.partition == start.position.partition;
                if let Some(index) = self.lanes.iter().position(is_meant) {
                    self.on_offset_found(now, index, &start);
                }
            }
            return;
        };
        if self.closing.is_some() {
            // What comes now would be read by nobody.
            self.decline();
            return;
        }
        let mut positions = Vec::new();
        for start in starts {
            let partition = &start.position.partition;
            if !asked.contains(partition) {
                continue;
            }
            if let Some(gap) = start.gap {
                if self.settings.kafka.input.on_gap == OnGap::Stop {
                    self.stop_at_gap(now, partition, gap.committed, gap.oldest);
                    return;
                }
                self.count_missed(partition, gap.missed(), gap.committed, gap.oldest);
            }
            positions.push((start.position.clone(), start.committed, start.end));
        }
        let assigned: Vec<Position> = positions.iter().map(|(position, ..)| position.clone()).collect();
        if let Err(reason) = self.consumer.assign(&assigned) {
            self.close(now, End::Bug(format!("failed to take over {}: {reason}", names(&asked))));
            return;
        }
        failpoint::pass(Point::AfterAssign);
        for (position, committed, end) in positions {
            let executor = self.quietest_executor();
            let number = self.new_lane_number();
            self.metrics.add_topic(&position.partition.topic);
            let state = PartitionState::new(self.settings.policy, Epoch(0), position.offset, !committed);
            self.lanes.push(Lane::new(now, number, position.partition, state, executor, end));
        }
        self.metrics.assigned_partitions.set(i64::try_from(self.lanes.len()).unwrap_or(i64::MAX));
        // A start that is not yet committed is stored with the first event.
        self.tell_all(now, &partition::Event::Tick);
        self.group = Group::Member;
        self.joined();
    }

    /// Answers an assignment by taking none of it.
    fn decline(&mut self) {
        if let Err(reason) = self.consumer.assign(&[]) {
            tracing::warn!("failed to answer an empty assignment: {reason}");
        }
        if matches!(self.group, Group::Starting { .. }) {
            self.group = Group::Member;
        }
        self.joined();
    }

    /// The committed offset of a partition is gone, and the pipeline is not to go on behind the gap.
    fn stop_at_gap(&mut self, now: Instant, partition: &TopicPartition, committed: Offset, oldest: Offset) {
        let kafka = &self.settings.kafka;
        let message = end::gap(partition, committed.0, oldest.0, &kafka.input.group, &Commands::of(kafka));
        self.close(now, End::Stopped(message));
    }

    /// The executor with the fewest lanes.
    fn quietest_executor(&self) -> usize {
        (0..self.executors.len())
            .min_by_key(|&executor| self.lanes.iter().filter(|lane| lane.executor == executor).count())
            .unwrap_or(0)
    }

    fn joined(&mut self) {
        self.status.set_joined(true);
        // While brokers are silent it stays what it is: they took nothing away that would be a new beginning.
        if self.closing.is_none() && !self.is_halted() && self.status.silence().is_none() {
            self.set_state(State::Running, "running");
        }
    }

    fn count_missed(&self, partition: &TopicPartition, missed: u64, from: Offset, to: Offset) {
        tracing::warn!("{partition}: the records from {from} to {to} are gone, {missed} at most were missed");
        self.metrics.records_missed.with_label_values(&[&*partition.topic]).inc_by(missed);
    }

    /// The position of a partition that is being read is gone.
    pub(super) fn on_offset_gone(&mut self, partition: TopicPartition) {
        if self.closing.is_none()
            && let Some(lane) = self.lanes.iter_mut().find(|lane| lane.partition == partition)
        {
            lane.asked = Some(self.lookup.ask_starts(vec![partition]));
        }
    }

    /// What there is of a partition whose position was gone.
    fn on_offset_found(&mut self, now: Instant, index: usize, start: &StartOf) {
        let lane = &mut self.lanes[index];
        lane.asked = None;
        // A log that was cut off has other records at offsets that were read.
        lane.last_read = None;
        let low = lane.state.low();
        let partition = lane.partition.clone();
        if low >= start.oldest && low <= start.end {
            // The broker knows it after all: go on there.
            lane.sought = Some(low);
            if let Err(reason) = self.consumer.seek(&partition, low) {
                self.close(now, End::Bug(format!("failed to read {partition} again from {low}: {reason}")));
            }
            return;
        }
        if self.settings.kafka.input.on_gap == OnGap::Stop {
            self.stop_at_gap(now, &partition, low, start.oldest);
            return;
        }
        let missed = u64::try_from(start.oldest.0 - low.0).unwrap_or(0);
        self.count_missed(&partition, missed, low, start.oldest);
        // What is in flight of it was read before the records went; it is finished, and reading goes on behind the gap.
        self.lanes[index].sought = Some(start.oldest);
        if let Err(reason) = self.consumer.seek(&partition, start.oldest) {
            self.close(now, End::Bug(format!("failed to read {partition} from {}: {reason}", start.oldest)));
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
        self.lanes.retain(|lane| !partitions.contains(&lane.partition));
        for TopicPartition { topic, .. } in partitions {
            if !self.lanes.iter().any(|lane| lane.partition.topic == *topic) {
                self.metrics.remove_lag_seconds(topic);
            }
        }
        self.metrics.assigned_partitions.set(i64::try_from(self.lanes.len()).unwrap_or(i64::MAX));
        failpoint::pass(Point::InRevoke);
        if let Err(reason) = self.consumer.unassign(partitions) {
            tracing::warn!("failed to give back {}: {reason}", names(partitions));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_takes_the_answer_to_its_own_question_alone() {
        let partition = TopicPartition { topic: "t".into(), partition: 1 };
        let starting = Group::Starting { question: 7, partitions: vec![partition.clone()] };
        assert_eq!(starting.asked(7), Some(&[partition][..]));
        assert_eq!(starting.asked(6), None, "of an assignment before, or of a partition whose position was gone");
        assert!(Group::Member.asked(7).is_none() && Group::Outside.asked(7).is_none());
    }
}
