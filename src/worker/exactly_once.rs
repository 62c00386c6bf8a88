//! Carries out transactions: outputs enter them, they are closed and committed with their offsets, and after a failure the group is
//! asked where it stands. `transaction` decides.

use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::blocked;
use super::denied::Denied;
use super::outgoing::Outgoing;
use super::position::PositionState;
use super::session;
use super::task::PartitionTask;
use super::transaction::Takes;
use super::transaction::Transaction;
use crate::failpoint;
use crate::failpoint::Point;
use crate::failure::Failure;
use crate::kafka::Commands;
use crate::kafka::Producer;
use crate::kafka::consumer::Committed;
use crate::kafka::consumer::Position;
use crate::kafka::settings::transactional_ids;
use crate::kafka::transaction::Denial;
use crate::kafka::transaction::TransactionReport;
use crate::partition;
use crate::record::Offset;
use crate::record::TopicPartition;

/// A worker that is behind by no more offsets than this keeps up. The end of a log is known from the last second, and counts the markers of
/// transactions.
const BEHIND_MAX: i64 = 1000;
/// A transaction is looked at when its outputs have waited this long.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(2);

/// Whether the outputs of a run may be sent.
pub(super) enum Entry {
    /// They may, in the open transaction.
    Open,
    /// Not before the next transaction.
    Wait,
    /// No transaction could be begun: everything is read again.
    Failed,
}

impl Shell {
    /// Allows what of this run may enter the transaction, and begins one if there is none: with offsets below which everything is
    /// settled, only what belongs to those records may be in it.
    pub(super) fn enter_transaction(&mut self, now: Instant, index: usize, outgoing: &mut Outgoing) -> Entry {
        let Some(transaction) = self.delivery.transaction() else { return Entry::Open };
        let task = &self.flow.tasks[index];
        outgoing.allow(match transaction.takes() {
            Takes::Nothing => return Entry::Wait,
            // What began to enter it has to be finished.
            Takes::Rest => task.entered(),
            Takes::Produced => task.state.produced(),
        });
        if outgoing.is_quiet(&self.settings.routes) {
            return if outgoing.is_held_back() { Entry::Wait } else { Entry::Open };
        }
        if !transaction.is_to_begin() || self.begin_transaction(now) { Entry::Open } else { Entry::Failed }
    }

    pub(super) fn begin_transaction(&mut self, now: Instant) -> bool {
        let Some(producer) = &self.io.producer else { return false };
        if let Err(reason) = producer.begin() {
            self.recover_producer(now, &format!("no transaction could be begun: {reason}"));
            return false;
        }
        self.delivery.change_transaction(Transaction::begun);
        failpoint::pass(Point::TransactionBegun);
        true
    }

    /// Messages were sent: a transaction that is large ends before its time.
    pub(super) fn enter(&mut self, now: Instant, messages: usize, bytes: usize) {
        if self.delivery.enter(messages, bytes) {
            self.tell_session(now, session::Event::CommitDue);
        }
    }

    /// Ends an open transaction early if the worker keeps up.
    pub(super) fn end_early(&mut self, now: Instant) {
        if self.keeps_up() {
            self.tell_session(now, session::Event::CaughtUp);
        }
    }

    /// Whether a transaction is open, and there is nothing more to read.
    fn keeps_up(&self) -> bool {
        let is_at_end = |task: &PartitionTask| {
            task.reader.last_read.is_none_or(|last| task.log.end.saturating_sub(last) <= BEHIND_MAX)
        };
        self.delivery.transaction() == Some(Transaction::Open)
            && self.intake.is_empty()
            && self.flow.tasks.iter().all(is_at_end)
    }

    /// The longest wait for a record or an event, in milliseconds: no longer than until an open transaction ends early.
    pub(super) fn idle_ms(&self, now: Instant, most: i32) -> i32 {
        if !self.keeps_up() {
            return most;
        }
        i32::try_from(self.session.commits_within(now).as_millis()).map_or(most, |within| within.clamp(1, most))
    }

    /// Closes the transaction, to commit it as soon as everything that was sent is acknowledged.
    pub(super) fn close_transaction(&mut self, now: Instant) {
        let has_offsets = self.cut_windows() | self.flow.has_positions();
        if !self.delivery.change_transaction(|transaction| transaction.close(has_offsets)).unwrap_or(false) {
            self.tell_session(now, session::Event::CommitEnded);
        }
    }

    /// Commits a closed transaction once the offsets below which everything is settled are those of the records in it.
    pub(super) fn go_on_committing(&mut self, now: Instant) {
        let Some(Transaction::Closing { mut is_begun }) = self.delivery.transaction() else { return };
        if !self.are_windows_cut() {
            return;
        }
        let flow = &self.flow;
        let is_flushed =
            flow.tasks.iter().all(|task| task.state.low() >= task.offsets.handed) && flow.dead_letters.is_empty();
        if !is_flushed {
            return;
        }
        if self.io.consumer.assignment_lost() {
            return self.recover_producer(now, "the assignment was lost before its transaction was committed");
        }
        if self.has_cut_windows() {
            if !is_begun && !self.begin_transaction(now) || !self.write_changelogs(now) {
                return;
            }
            is_begun = true;
        }
        let mut offsets = self.flow.take_positions();
        offsets.extend(self.window_positions());
        if offsets.is_empty() && !is_begun {
            self.delivery.committed();
            return self.tell_session(now, session::Event::CommitEnded);
        }
        if !is_begun && !self.begin_transaction(now) {
            return;
        }
        let (Some(producer), Some(membership)) = (&self.io.producer, self.io.consumer.membership()) else {
            return self.recover_producer(now, "the group's metadata is missing");
        };
        producer.commit(offsets, membership);
        self.delivery.change_transaction(Transaction::commits);
        self.timers.transaction_ends = Some(now);
        failpoint::pass(Point::TransactionEnds);
    }

    /// Handles a report of the transaction thread.
    pub(super) fn on_transaction(&mut self, now: Instant, report: TransactionReport) {
        match report {
            TransactionReport::Ready => {
                self.delivery.change_transaction(Transaction::ready);
                self.tell_blocked(now, blocked::Event::Taken);
            }
            TransactionReport::Committed(offsets) => {
                failpoint::pass(Point::TransactionCommitted);
                self.monitor.metrics.transactions.with_label_values(&["committed"]).inc();
                self.delivery.committed();
                self.commit_windows();
                let began = self.timers.transaction_ends.take().unwrap_or(now);
                let offsets = offsets.into_iter().map(|Position { partition, offset, .. }| (partition, offset));
                self.count_commit(now, began, Committed { offsets: offsets.collect(), failed: None });
                self.tell_session(now, session::Event::CommitEnded);
            }
            TransactionReport::Failed { denied: Some(Denial::Topic(output, failure)), .. } => {
                self.deny(now, output, &failure);
            }
            TransactionReport::Failed { reason, denied: Some(Denial::Id) } => {
                let commands = Commands::of(&self.settings.kafka);
                let grant = commands.allow_transactions(&transactional_ids(&self.settings.kafka.input.group));
                self.halt(now, format!("transactions are denied: {reason}; grant it: {grant}"), None);
                self.rewind_all(now);
            }
            TransactionReport::Failed { reason, denied: None } => {
                self.recover_producer(now, &format!("the transaction failed: {reason}"));
            }
        }
    }

    /// Finds out why outputs wait long for an acknowledgement, and replaces a producer whose commit is stuck. Once a second.
    pub(super) fn check_outputs(&mut self, now: Instant) {
        if self.io.producer.as_ref().is_some_and(Producer::is_stuck) {
            return self.recover_producer(now, "the commit of the transaction has no answer");
        }
        if let Some(producer) = self.io.producer.as_ref().filter(|producer| self.waits_long(producer)) {
            if self.delivery.transaction().is_some() {
                producer.check_transaction();
            }
            // librdkafka adds a topic that is gone to the transaction again and again, without a word. Without transactions it hopes for
            // half a minute that the topic is only new.
            self.ask_limits_now_and_then(now, true);
            self.delivery.named.doubt_all();
            self.ask_named();
        }
    }

    /// Whether outputs have waited long for an acknowledgement.
    fn waits_long(&self, producer: &Producer) -> bool {
        matches!(self.delivery.transaction(), None | Some(Transaction::Open | Transaction::Closing { is_begun: true }))
            && producer.unreported() > 0
            && self.monitor.status.unacknowledged_for() >= UNACKNOWLEDGED_MAX
    }

    /// The topic of an output doesn't exist. Without transactions the outputs stay at the producer: they arrive if the topic comes back in
    /// time, and fail otherwise.
    pub(super) fn on_no_output(&mut self, now: Instant, output: usize, failure: &Failure) {
        if !self.io.producer.as_ref().is_some_and(|producer| self.waits_long(producer)) {
            return;
        }
        if self.delivery.transaction().is_some() {
            return self.deny(now, output, failure);
        }
        let why = self.denied(output, failure);
        self.tell_blocked(now, blocked::Event::Lacking(why));
    }

    /// The transaction can't have this output before an operator acts.
    fn deny(&mut self, now: Instant, output: usize, failure: &Failure) {
        self.count_produce_error(output, failure);
        let why = self.denied(output, failure);
        self.halt(now, why, Some(Denied { output, copy: None }));
        self.rewind_all(now);
    }

    /// A transaction that was to be committed is no more: its commit has ended.
    pub(super) fn end_cycle(&mut self, now: Instant) {
        if self.delivery.change_transaction(Transaction::fail).is_some() && self.session.is_committing() {
            self.tell_session(now, session::Event::CommitEnded);
        }
    }

    /// Whether a new producer may start. With transactions its first order is to the brokers: they may just have refused it, and the
    /// order of the producer before must not come after it.
    pub(super) fn may_make_producer(&self, now: Instant) -> bool {
        // What is below a record that holds the pipeline is still to be sent.
        let is_denied = self.blocked.holds() && !self.blocked.is_held();
        let may_ask = || !(self.delivery.backs_off(now) || is_denied) && self.io.is_clear();
        self.delivery.transaction().is_none() || may_ask()
    }

    /// Asks where the group stands, once no transaction of this worker can change that any more.
    pub(super) fn ask_committed(&mut self) {
        if self.delivery.transaction().is_none_or(Transaction::is_starting) {
            return;
        }
        let tasks = self.flow.tasks.iter_mut();
        let tasks: Vec<_> =
            tasks.filter(|task| task.position.is_to_be_confirmed() && task.state.may_receive()).collect();
        if !tasks.is_empty() {
            let question = self.io.lookup.ask_committed(tasks.iter().map(|task| task.partition.clone()).collect());
            tasks.into_iter().for_each(|task| task.position.ask(question));
        }
    }

    /// The group told where it stands: its partitions are read again from there.
    pub(super) fn on_confirmed(
        &mut self,
        now: Instant,
        question: u64,
        committed: Vec<(TopicPartition, Option<Offset>)>,
    ) {
        for (partition, offset) in committed {
            let is_it = |task: &PartitionTask| task.partition == partition;
            let Some(index) = self.flow.tasks.iter().position(is_it) else { continue };
            if !self.flow.tasks[index].position.answer(question) || !self.flow.tasks[index].state.may_receive() {
                continue;
            }
            self.count_finished(now);
            let assignment = self.flow.new_assignment();
            let task = &mut self.flow.tasks[index];
            task.forget(assignment);
            task.position = PositionState::Known;
            let is_committed = offset.is_some();
            let from = offset.unwrap_or(task.offsets.began);
            self.confirm_windows(now, index, offset);
            self.tell(now, index, partition::Event::Restart { assignment, offset: from, is_committed });
        }
        // Those without an answer are asked about again.
        for task in &mut self.flow.tasks {
            task.position.answer(question);
        }
    }
}
