//! Partitions whose position isn't known, and partitions that are held back: which, and why.
//!
//! An assigned partition starts when its start offset is known. A partition whose position is gone, or whose topic was created
//! again, finishes its records in flight before the lookup thread is asked about it. Each partition is handled on its own and
//! holds up no other. The session owns the partitions that have not started; [`Held`] and [`found`](position::found) decide the
//! rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::end::Cause;
use super::end::End;
use super::held::Held;
use super::position;
use super::position::Found;
use super::session;
use super::task::PartitionTask;
use crate::kafka::consumer::Position;
use crate::kafka::lookup::Other;
use crate::kafka::lookup::RangeOf;
use crate::kafka::lookup::Watched;
use crate::kafka::offset_metadata::OffsetMetadata;
use crate::kafka::settings::Isolation;
use crate::kafka::settings::OnRecreate;
use crate::partition;
use crate::partition::PartitionState;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::TopicPartition;

/// The interval between checks of topics: their ids, and which partitions have no leader.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// Pending questions about partitions, and partitions that are held back.
#[derive(Debug, Default)]
pub(super) struct Positions {
    /// Partitions that are held back.
    held: Held,
    /// Answers about partitions whose positions were gone, each with its question, until no commit is in flight.
    pub(super) ranges: Vec<(u64, Vec<RangeOf>)>,
    /// When the topics were last checked.
    pub(super) watched: Option<Instant>,
}

impl Shell {
    /// The position in a partition that is being read is gone.
    pub(super) fn on_offset_gone(&mut self, partition: &TopicPartition, is_cut: bool) {
        if let Some(task) = self.flow.of(partition) {
            task.position.lose(is_cut);
        }
    }

    /// Asks about partitions whose position is gone, and logs those that are held back.
    pub(super) fn go_on_with_positions(&mut self, now: Instant) {
        if self.session.is_ending() {
            return;
        }
        // Only as a member: during a revocation the client would take an assign of another partition for the answer.
        let is_gone = |task: &&mut PartitionTask| {
            task.position.is_to_be_asked() && task.state.may_receive() && task.in_flight() == 0
        };
        if self.session.is_member() {
            let gone: Vec<&mut PartitionTask> = self.flow.tasks.iter_mut().filter(is_gone).collect();
            if !gone.is_empty() {
                let question = self.io.lookup.ask_ranges(gone.iter().map(|task| task.partition.clone()).collect());
                gone.into_iter().for_each(|task| task.position.ask(question));
            }
            self.ask_committed();
        }
        if self.positions.watched.is_none_or(|at| now.saturating_duration_since(at) >= WATCH_EVERY) {
            self.watch(now);
        }
        self.name_held(now);
    }

    /// Asks for the topics' ids and for partitions without a leader.
    pub(super) fn watch(&mut self, now: Instant) {
        self.positions.watched = Some(now);
        let partitions = self.flow.partitions();
        if !partitions.is_empty() {
            self.io.lookup.ask_watch(partitions);
        }
    }

    pub(super) fn on_watched(&mut self, now: Instant, watched: &[Watched]) {
        for Watched { topic, id, leaderless } in watched {
            for index in 0..self.flow.tasks.len() {
                let task = &mut self.flow.tasks[index];
                if task.partition.topic != *topic {
                    continue;
                }
                task.log.is_leaderless = leaderless.contains(&task.partition.partition);
                match (task.offsets.topic, *id) {
                    (None, Some(is)) => task.set_topic(Some(is)),
                    (Some(was), Some(is)) if was != is => {
                        task.position.lose(false);
                        if self.settings.kafka.input.on_recreate == OnRecreate::Stop {
                            let other = Other { was, is, committed: task.lag.committed() };
                            let cause = Cause::Recreated(task.partition.clone(), other);
                            return self.tell_session(now, session::Event::End(cause));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Restarts partitions whose positions were gone, at offsets that the policy of the input chooses.
    pub(super) fn restart_at(&mut self, now: Instant, question: u64, ranges: Vec<RangeOf>) {
        let about = self
            .flow
            .tasks
            .iter_mut()
            .filter_map(|task| task.position.answer(question).then(|| task.state.assignment()));
        let meant: Vec<AssignmentId> = about.collect();
        if self.session.is_ending() || !self.session.is_member() {
            return;
        }
        for range in ranges {
            let is_it = |task: &PartitionTask| {
                task.partition == range.partition
                    && meant.contains(&task.state.assignment())
                    && task.state.may_receive()
            };
            let Some(index) = self.flow.tasks.iter().position(is_it) else { continue };
            let task = &self.flow.tasks[index];
            let (low, state) = (task.state.low(), task.position);
            let found = position::found(low, task.offsets.topic, state, &range);
            match position::go_on_at(found, low, state, &range, &self.settings.kafka.input) {
                Ok(from) => {
                    self.count_found(&range, found, low);
                    self.reset_task(now, index, from, &range);
                }
                Err(cause) => return self.tell_session(now, session::Event::End(*cause)),
            }
        }
    }

    /// Reads a partition that has nothing in flight from another offset. Its stored offset is forgotten, so that the new one is
    /// stored.
    fn reset_task(&mut self, now: Instant, index: usize, from: Offset, range: &RangeOf) {
        self.count_finished(now);
        let assignment = self.flow.new_assignment();
        let task = &mut self.flow.tasks[index];
        // The breaker's counts stay valid if reading continues at the same offset.
        let counts = task
            .offsets
            .stored
            .as_ref()
            .filter(|stored| stored.offset == from)
            .map(|stored| OffsetMetadata::parse(&stored.note));
        let state = PartitionState::new(self.settings.policy.clone(), assignment, from, true)
            .with_strands(self.settings.order.strands(self.io.executors.len()))
            .with_counts(counts.as_ref().map_or("", |note| &note.counts));
        task.drop_queue(None);
        let partition = task.partition.clone();
        self.delivery.forget(&partition);
        self.flow.left_out.forget(&partition);
        let mut fresh = PartitionTask::new(now, partition.clone(), state, task.executor, range.end);
        fresh.set_topic(range.topic.or(task.offsets.topic));
        fresh.reader.sought = Some(from);
        *task = fresh;
        let position = Position { partition: partition.clone(), offset: from, leader_epoch: -1, note: Arc::default() };
        if let Err(reason) = self.io.consumer.take_anew(position) {
            self.close(now, End::Bug(format!("failed to read {partition} from {from}: {reason}")));
            return;
        }
        self.tell(now, index, partition::Event::Tick);
    }

    pub(super) fn count_recreated(&self, partition: &TopicPartition, other: &Other) {
        let Other { was, is, committed } = other;
        tracing::warn!(
            topic = &*partition.topic,
            partition = partition.partition,
            "{partition}: the topic was deleted and created again (id {was}, now {is}); the group stood at {committed} of the old one, and \
             the new one is read from its beginning"
        );
        self.monitor.metrics.partitions_recreated.with_label_values(&[&*partition.topic]).inc();
    }

    /// Logs and counts what happened to a partition whose position was gone and that continues.
    fn count_found(&self, range: &RangeOf, found: Found, low: Offset) {
        let RangeOf { partition, oldest, .. } = range;
        match found {
            Found::There => {}
            Found::Gap => {
                let missed = u64::try_from(oldest.0.saturating_sub(low.0)).unwrap_or(0);
                tracing::warn!(
                    topic = &*partition.topic,
                    partition = partition.partition,
                    offset = low.0,
                    "{partition}: the records from {low} to {oldest} are gone, {missed} at most were missed"
                );
                self.monitor.metrics.records_missed.with_label_values(&[&*partition.topic]).inc_by(missed);
            }
            Found::Cut => {
                tracing::warn!(
                    topic = &*partition.topic,
                    partition = partition.partition,
                    offset = low.0,
                    "{partition}: the log was cut off below {low}, and is read again from its oldest record"
                );
            }
            Found::Other(other) => self.count_recreated(partition, &other),
        }
    }

    fn name_held(&mut self, now: Instant) {
        let mut held: BTreeMap<TopicPartition, String> = BTreeMap::new();
        for (partition, why) in self.session.unstarted() {
            held.insert(partition.clone(), why.unwrap_or("its start offset isn't known yet").to_owned());
        }
        let waits_for_commits = self.settings.kafka.input.isolation == Isolation::ReadCommitted;
        for task in &self.flow.tasks {
            let why = if task.log.is_leaderless {
                "it has no leader".to_owned()
            } else if !task.is_restored() {
                "its state is being restored".to_owned()
            } else if let Some(records) = task.behind_a_transaction().filter(|_| waits_for_commits) {
                let from = task.state.low();
                format!(
                    "a transaction that is open at offset {from} holds back {records} records; it ends when its producer \
                     commits or aborts it, or at its timeout"
                )
            } else {
                continue;
            };
            held.insert(task.partition.clone(), why);
        }
        for (TopicPartition { topic, partition }, line) in self.positions.held.update(now, held) {
            tracing::warn!(topic = &*topic, partition, "{line}");
        }
        self.monitor.status.set_held(self.positions.held.text(now));
    }
}
