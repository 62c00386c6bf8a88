//! Rewinding: partitions are read again from their first unsettled record, and their outputs are sent by a new producer.

use std::time::Instant;

use super::Shell;
use super::blocked;
use super::delivery::Renewal;
use super::delivery::Traffic;
use super::end::End;
use super::transaction::Transaction;
use crate::partition;
use crate::record::Offset;
use crate::record::TopicPartition;

impl Shell {
    /// Replaces the producer if that is due.
    pub(super) fn renew_producer(&mut self, now: Instant) {
        if self.io.producer.is_none() && self.may_make_producer(now) {
            self.make_producer(now);
        }
        let flow = &self.flow;
        let low = |partition: &TopicPartition| {
            flow.tasks.iter().find(|task| task.partition == *partition).map(|task| task.state.low())
        };
        // With acknowledged outputs in an open transaction a new producer would lose them; one that starts has asked for its id.
        let is_used = |transaction: Transaction| transaction.is_open() || transaction.is_starting();
        let is_used = self.delivery.transaction().is_some_and(is_used);
        let traffic = || Traffic {
            is_quiet: !is_used && flow.is_quiet() && flow.tasks.iter().all(|task| task.state.is_acknowledged()),
            is_going: self.session.is_ending() || self.session.is_revoking(),
        };
        match self.delivery.tick(now, low, traffic) {
            Some(Renewal::Replace) => {
                self.io.drop_producer();
                self.make_next_producer(now);
            }
            Some(Renewal::Rewind) => self.rewind_all(now),
            None => {}
        }
    }

    /// A delivery failed for a reason that is not a record's: after a backoff every partition is read again from its first
    /// unsettled record, and a new producer sends the outputs.
    pub(super) fn recover_producer(&mut self, now: Instant, reason: &str) {
        let wait = self.delivery.back_off(now);
        tracing::error!("a delivery failed; unacknowledged records are read and sent again in {wait:?}: {reason}");
        self.rewind_all(now);
    }

    /// The same, for a reason that one record's delivery had.
    pub(super) fn recover_from(&mut self, now: Instant, (partition, offset): (&TopicPartition, i64), reason: &str) {
        let wait = self.delivery.back_off(now);
        let TopicPartition { topic, partition } = partition;
        tracing::error!(
            topic = &**topic,
            partition,
            offset,
            "a delivery failed; unacknowledged records are read and sent again in {wait:?}: {reason}"
        );
        self.rewind_all(now);
    }

    /// Discards what is not acknowledged, reads it again, and sends it by a new producer.
    pub(super) fn rewind_all(&mut self, now: Instant) {
        self.count_finished(now);
        if self.delivery.transaction().is_some_and(Transaction::is_open) {
            self.monitor.metrics.transactions.with_label_values(&["aborted"]).inc();
        }
        self.end_cycle(now);
        let again: usize = self.flow.tasks.iter().map(|task| task.state.in_flight()).sum();
        self.monitor.metrics.retries.with_label_values(&["produce"]).inc_by(again as u64);
        self.io.drop_producer();
        self.flow.forget_outputs();
        for index in 0..self.flow.tasks.len() {
            self.rewind(now, index);
        }
        self.make_next_producer(now);
    }

    /// Starts the next producer now, or as soon as it may start.
    pub(super) fn make_next_producer(&mut self, now: Instant) {
        if self.may_make_producer(now) {
            self.make_producer(now);
        } else {
            self.delivery.renewed();
            self.tell_blocked(now, blocked::Event::ProducerRenewed);
        }
    }

    /// Starts the next producer.
    pub(super) fn make_producer(&mut self, now: Instant) {
        self.tell_blocked(now, blocked::Event::ProducerRenewed);
        self.start_producer(now);
    }

    /// The same as the trial of a block.
    pub(super) fn start_producer(&mut self, now: Instant) {
        self.delivery.renewed();
        let batching = self.delivery.batching();
        if let Err(reason) = self.io.start_producer(&self.settings, self.delivery.limits(), batching) {
            self.close(now, End::Stopped(format!("failed to start a producer: {reason}")));
        }
    }

    /// Reads a partition again from its first unsettled record. The partition gets a new assignment id, so results of the old one
    /// are discarded.
    pub(super) fn rewind(&mut self, now: Instant, index: usize) {
        let assignment = self.flow.new_assignment();
        let is_exactly_once = self.delivery.transaction().is_some();
        let task = &mut self.flow.tasks[index];
        task.forget(assignment);
        if !is_exactly_once && task.windows.is_some() {
            return self.rewind_windows(now, index, assignment);
        }
        if let Some(windows) = &mut task.windows {
            windows.drop_unsent();
        }
        if is_exactly_once {
            task.offsets.to_store = None;
            task.offsets.handed = Offset(0);
            task.position.unconfirm();
        }
        self.tell(now, index, partition::Event::Rewind { assignment });
    }
}
