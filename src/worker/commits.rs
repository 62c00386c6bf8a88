//! Storing offsets for the next commit, committing them, and handling the answer; `session` and `cycle` decide when.

use std::time::Instant;

use super::Shell;
use super::session;
use super::task::PartitionTask;
use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka::consumer::Committed;
use crate::kafka::consumer::Position;
use crate::partition;
use crate::record::TopicPartition;

impl Shell {
    /// Stores the offsets below which everything is settled, for the next commit.
    pub(super) fn store_offsets(&mut self) {
        // A transaction takes its offsets along.
        if self.delivery.transaction().is_some() {
            return;
        }
        let positions = self.flow.take_positions();
        if !positions.is_empty() {
            for partition in self.io.consumer.store(&positions) {
                // The partition went to another member in the meantime, which repeats what was not committed.
                let TopicPartition { topic, partition: number } = &partition;
                tracing::debug!(
                    topic = &**topic,
                    partition = number,
                    "offset of {partition} not stored: it is not assigned any more"
                );
            }
            failpoint::pass(Point::AfterStore);
        }
    }

    /// Commits the offsets below which everything is settled.
    pub(super) fn commit(&mut self, now: Instant) {
        if self.delivery.transaction().is_some() {
            return self.close_transaction(now);
        }
        if self.settings.windowed.is_some() {
            return self.cut_cycles();
        }
        self.commit_offsets(now);
    }

    /// Sends the commit of the offsets that were stored.
    pub(super) fn commit_offsets(&mut self, now: Instant) {
        self.store_offsets();
        // Other members may have these partitions, and a commit must not overwrite theirs.
        if self.io.consumer.assignment_lost() {
            return self.tell_session(now, session::Event::CommitEnded);
        }
        let commit = if self.flow.tasks.iter().any(PartitionTask::is_moved) {
            let stored: Vec<Position> = self.flow.tasks.iter().filter_map(|task| task.offsets.stored.clone()).collect();
            self.io.consumer.commit_at(&stored)
        } else {
            self.io.consumer.commit()
        };
        match commit {
            Ok(commit) => {
                self.timers.committing = Some((commit, now));
                failpoint::pass(Point::CommitSent);
            }
            Err(reason) => {
                if self.monitor.may_log(now, "failed to commit offsets") {
                    tracing::warn!("failed to commit offsets: {reason}");
                }
                self.tell_session(now, session::Event::CommitEnded);
            }
        }
    }

    /// Handles the answer to the commit in flight, if there is one. Partitions whose position was gone restart only while no
    /// commit is in flight: the answer to a commit of old offsets must not be taken for one about the new offsets.
    pub(super) fn take_commit(&mut self, now: Instant) {
        let answer = self.timers.committing.as_ref().and_then(|(commit, began)| Some((commit.poll()?, *began)));
        let has_ended = answer.is_some();
        if let Some((result, began)) = answer {
            self.timers.committing = None;
            self.count_commit(now, began, result);
        }
        if has_ended || !self.session.is_committing() {
            for (question, ranges) in std::mem::take(&mut self.positions.ranges) {
                self.restart_at(now, question, ranges);
            }
        }
        if has_ended {
            self.tell_session(now, session::Event::CommitEnded);
        }
    }

    pub(super) fn count_commit(&mut self, now: Instant, began: Instant, result: Committed) {
        // A commit with nothing new to commit is not counted.
        if result != Committed::default() {
            let took = now.saturating_duration_since(began).as_secs_f64();
            self.monitor.metrics.commit_duration_seconds.with_label_values(&[result_label(&result)]).observe(took);
            self.on_committed(now, result);
            failpoint::pass(Point::CommitAcked);
        }
    }

    /// Handles the result of a commit.
    fn on_committed(&mut self, now: Instant, result: Committed) {
        self.monitor.metrics.commits.with_label_values(&[result_label(&result)]).inc();
        for (partition, offset) in result.offsets {
            if let Some(index) = self.flow.tasks.iter().position(|task| task.partition == partition) {
                self.flow.tasks[index].lag.commit(offset);
                self.tell(now, index, partition::Event::Committed { offset });
            }
            self.flow.left_out.committed(&partition, offset);
        }
        // The next commit covers these offsets. After a rebalance the new owner repeats at most what was not committed.
        if let Some(reason) = result.failed
            && self.monitor.may_log(now, "failed to commit offsets")
        {
            tracing::warn!("failed to commit offsets: {reason}");
        }
    }

    /// With nothing in flight, the consumer's position may be committed: it is past control markers, which are not records.
    pub(super) fn advance_idle(&mut self, now: Instant) {
        for index in 0..self.flow.tasks.len() {
            let task = &self.flow.tasks[index];
            if task.in_flight() == 0
                && task.state.may_receive()
                // While a position is gone, records that are read are dropped, and the consumer's position is above them.
                && !task.position.is_gone()
                && let Some(position) = self.io.consumer.position(&task.partition)
                && task.reader.has_passed(position)
            {
                self.tell(now, index, partition::Event::Position { position });
            }
        }
    }
}

fn result_label(result: &Committed) -> &'static str {
    if result.failed.is_none() { "ok" } else { "error" }
}
