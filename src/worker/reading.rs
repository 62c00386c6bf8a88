//! Reads records and events from the consumer, as many as `Intake` allows.
//!
//! Records are copied into their tasks' open batches, and librdkafka's copies are freed at once.

use std::sync::Arc;
use std::time::Instant;

use super::Shell;
use super::intake::Amount;
use super::intake::LASTING;
use super::intake::Plan;
use super::lanes::QueuedRun;
use super::reader;
use super::reader::Seen;
use super::task::PartitionTask;
use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka::connection::ConnectionProblem;
use crate::kafka::consumer::ClientError;
use crate::kafka::consumer::Concern;
use crate::kafka::consumer::ConsumerEvent;
use crate::kafka::consumer::FetchedRecord;
use crate::kafka::consumer::Next;
use crate::kafka::consumer::Records;
use crate::kafka::consumer::WaitResult;
use crate::partition;
use crate::worker::end::End;

impl Shell {
    /// Takes rebalances, errors and statistics. `false` if there were none.
    pub(super) fn read_events(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(polled) = self.io.consumer.poll() {
            any = true;
            self.on_polled(now, polled);
        }
        any
    }

    /// Reads available records. `false` if there were none, or no room for them.
    pub(super) fn read_records(&mut self, now: Instant) -> bool {
        let most = self.settings.max_in_flight();
        let is_backed_up = self.flow.is_backed_up();
        let room = self.intake.rate.room(now, self.settings.records_per_second);
        let in_flight = self.flow.amount();
        self.flow.held.in_flight.set(in_flight.bytes as u64);
        self.intake.set_short(self.flow.held.in_flight.budget().is_short(self.intake.is_short()));
        let most = self.intake.bound(in_flight, most);
        match self.intake.plan(now, in_flight, most, is_backed_up, failpoint::hasten(LASTING)) {
            Plan::Nothing => {
                self.pause_all();
                false
            }
            Plan::TakeOne | Plan::Take(_) if room == 0 => false,
            Plan::TakeOne => {
                self.pause_all();
                let records = self.io.consumer.take(1);
                self.on_records(now, records);
                false
            }
            Plan::Take(left) => self.take_records(now, Amount { records: left.records.min(room), ..left }),
        }
    }

    /// Pauses all partitions if the bound on what is in flight has lasted, or an operator wants it.
    fn pause_all(&mut self) {
        if self.intake.pauses() {
            for task in self.flow.tasks.iter_mut().filter(|task| !task.reader.paused) {
                task.reader.paused = true;
                self.io.consumer.pause(&task.partition);
            }
        }
    }

    /// An operator pauses reading, or lets it go on.
    pub(super) fn pause(&mut self, is_paused: bool) {
        if self.intake.is_paused() == is_paused {
            return;
        }
        self.intake.set_paused(is_paused);
        self.monitor.set_paused(is_paused);
        if is_paused {
            tracing::info!("paused by an operator: what is in flight is finished, and nothing more is read");
        } else {
            tracing::info!("an operator has resumed it: records are read again");
        }
    }

    fn take_records(&mut self, now: Instant, mut left: Amount) -> bool {
        let mut any = false;
        while left.records > 0 && left.bytes > 0 {
            let most = self.intake.at_once(left);
            let records = self.io.consumer.take(most);
            let taken = self.on_records(now, records);
            any |= taken.records > 0;
            // Fewer than requested means that no more are available.
            if taken.records < most {
                self.intake.emptied();
                break;
            }
            left.records -= taken.records;
            left.bytes = left.bytes.saturating_sub(taken.bytes);
        }
        any
    }

    /// Handles the result of a wait.
    pub(super) fn on_woken(&mut self, now: Instant, woken: WaitResult) {
        match woken {
            WaitResult::Records(records) => {
                self.on_records(now, records);
            }
            WaitResult::Other(polled) => self.on_polled(now, polled),
        }
    }

    /// Handles an event of a poll.
    pub(super) fn on_polled(&mut self, now: Instant, polled: ConsumerEvent) {
        match polled {
            ConsumerEvent::Assign(partitions) => self.on_assign(now, partitions),
            ConsumerEvent::Revoke(partitions) => self.on_revoke(now, partitions),
            ConsumerEvent::Stats(stats) => self.on_stats(&stats),
            ConsumerEvent::OffsetGone { partition, is_cut } => self.on_offset_gone(&partition, is_cut),
            ConsumerEvent::Error(error) => self.on_client_error(now, &error),
        }
    }

    /// Copies records into their tasks. Returns how many there were, and how many bytes were added to what is in flight.
    pub(super) fn on_records(&mut self, now: Instant, mut records: Records) -> Amount {
        let (mut count, mut bytes, mut largest) = (0, 0, 1);
        let mut failures = Vec::new();
        while let Some(next) = records.next_with(|fetched| self.on_record(now, fetched)) {
            count += 1;
            match next {
                Next::Record(added) => {
                    bytes += added;
                    largest = largest.max(added);
                }
                Next::Failed(polled, unread) => failures.push((polled, unread)),
            }
        }
        if count > 0 {
            self.intake.took(largest);
            self.intake.rate.took(count);
            self.make_known(now);
        }
        // After the records, as handling an error may seek in a partition.
        for (polled, unread) in failures {
            if let Some((partition, at)) = unread
                && let Some(task) = self.flow.of(&partition)
                && let Some(offset) = task.reader.unread_from(at, task.state.low())
            {
                task.reader.sought = Some(offset);
                if let Err(reason) = self.io.consumer.seek(&partition, offset) {
                    self.close(now, End::Bug(format!("failed to read {partition} again from {offset}: {reason}")));
                }
            }
            self.on_polled(now, polled);
        }
        Amount { records: count, bytes }
    }

    fn on_record(&mut self, now: Instant, fetched: &FetchedRecord<'_>) -> usize {
        let is_of = |task: &PartitionTask| {
            task.partition.partition == fetched.partition && *task.reader.topic_bytes == *fetched.topic
        };
        if !self.flow.tasks.get(self.flow.last_read).is_some_and(is_of) {
            // If there is no task, the partition was revoked while the record was on its way.
            let Some(found) = self.flow.tasks.iter().position(is_of) else { return 0 };
            self.flow.last_read = found;
        }
        let index = self.flow.last_read;
        let task = &mut self.flow.tasks[index];
        if !task.state.may_receive() || task.position.is_gone() {
            return 0;
        }
        match task.reader.seen(fetched.offset, fetched.leader_epoch) {
            Seen::Next => {}
            Seen::Before => return 0,
            Seen::CutOff => {
                task.position.lose(true);
                return 0;
            }
        }
        let call = self.io.first_step.as_ref().map_or(1, |step| step.settings().batch_records);
        if !task.lanes.is_one() {
            return self.add_to_lane(now, index, fetched, call);
        }
        if task.reader.is_full(call) || task.reader.leader_epoch != fetched.leader_epoch {
            self.seal(now, index, 0);
            self.flow.tasks[index].reader.leader_epoch = fetched.leader_epoch;
        }
        let task = &mut self.flow.tasks[index];
        if task.reader.open.is_empty() {
            task.reader.opened = now;
        }
        task.reader.last_read = Some(fetched.offset);
        let before = task.reader.open.bytes();
        fetched.copy_to(&mut task.reader.open, 0);
        let bytes = task.reader.open.bytes() - before;
        task.lanes.bytes += bytes;
        failpoint::pass(Point::AfterPoll);
        bytes
    }

    /// Copies a record of a partition of several strands into its strand's batch. Returns its bytes.
    fn add_to_lane(&mut self, now: Instant, index: usize, fetched: &FetchedRecord<'_>, call: usize) -> usize {
        if self.flow.tasks[index].reader.leader_epoch != fetched.leader_epoch {
            self.make_known_of(now, index);
            self.flow.tasks[index].reader.leader_epoch = fetched.leader_epoch;
        }
        let task = &mut self.flow.tasks[index];
        let n = task.state.next().n() + task.reader.unknown.offsets.len() as u64;
        let strand = self.settings.order.strand(fetched.key(), n, task.lanes.len());
        let first_of = task.state.next();
        if task.lanes.open(strand).as_ref().is_some_and(|open| reader::is_full(open, call)) {
            task.lanes.seal(strand, first_of);
        }
        if task.lanes.open(strand).is_none() {
            let partition = task.partition.clone();
            let empty = self.flow.batch(partition);
            *self.flow.tasks[index].lanes.open(strand) = Some(empty);
        }
        let task = &mut self.flow.tasks[index];
        let Some(open) = task.lanes.open(strand) else { return 0 };
        let before = open.bytes();
        fetched.copy_to(open, 0);
        open.number(n);
        let bytes = open.bytes() - before;
        task.lanes.bytes += bytes;
        let unknown = &mut task.reader.unknown;
        unknown.offsets.push(fetched.offset);
        unknown.timestamps.push(fetched.timestamp());
        unknown.strands.push(strand);
        unknown.bytes += bytes;
        task.reader.last_read = Some(fetched.offset);
        failpoint::pass(Point::AfterPoll);
        bytes
    }

    /// Tells the states of partitions of several strands about the records that were read.
    fn make_known(&mut self, now: Instant) {
        for index in 0..self.flow.tasks.len() {
            if !self.flow.tasks[index].reader.unknown.offsets.is_empty() {
                self.make_known_of(now, index);
            }
        }
    }

    fn make_known_of(&mut self, now: Instant, index: usize) {
        let mut unknown = std::mem::take(&mut self.flow.tasks[index].reader.unknown);
        if !unknown.offsets.is_empty() {
            let task = &mut self.flow.tasks[index];
            let label = &[&*task.partition.topic];
            self.monitor.metrics.records_consumed.with_label_values(label).inc_by(unknown.offsets.len() as u64);
            self.monitor.metrics.bytes_consumed.with_label_values(label).inc_by(unknown.bytes as u64);
            task.lag.receive(now, &unknown.timestamps);
            let leader_epoch = task.reader.leader_epoch;
            let (offsets, strands) = (&*unknown.offsets, &*unknown.strands);
            self.tell(now, index, partition::Event::Received { offsets, leader_epoch, strands });
        }
        unknown.clear();
        self.flow.tasks[index].reader.unknown = unknown;
    }

    /// Closes the open batch of a strand and queues it. The state of a partition of one strand gets to know its records only now.
    pub(super) fn seal(&mut self, now: Instant, index: usize, strand: u16) {
        let task = &mut self.flow.tasks[index];
        if !task.lanes.is_one() {
            return task.lanes.seal(strand, task.state.next());
        }
        if self.flow.tasks[index].reader.open.is_empty() {
            return;
        }
        let partition = self.flow.tasks[index].partition.clone();
        let empty = self.flow.batch(partition);
        let task = &mut self.flow.tasks[index];
        let batch = std::mem::replace(&mut task.reader.open, empty);
        let first = task.state.next();
        let label = &[&*task.partition.topic];
        self.monitor.metrics.records_consumed.with_label_values(label).inc_by(batch.len() as u64);
        self.monitor.metrics.bytes_consumed.with_label_values(label).inc_by(batch.bytes() as u64);
        task.lag.receive(task.reader.opened, batch.view().timestamps);
        let leader_epoch = task.reader.leader_epoch;
        let batch = Arc::new(batch);
        let range = 0..batch.len();
        task.lanes.push(0, QueuedRun { first, batch: Arc::clone(&batch), range });
        self.tell(now, index, partition::Event::Received { offsets: batch.offsets(), leader_epoch, strands: &[] });
    }

    /// Logs that a broker can't be reached: one line in ten seconds for each broker and reason, whichever client reports it.
    pub(super) fn on_trouble(&mut self, now: Instant, trouble: &ConnectionProblem) {
        if let Some(tokens) = self.settings.kafka.tokens().filter(|_| trouble.is_refused) {
            tokens.renew();
        }
        let text = trouble.to_string();
        self.say_trouble(now, &text);
        self.monitor.status.set_trouble(text);
    }

    pub(super) fn say_trouble(&mut self, now: Instant, text: &str) {
        if self.monitor.may_log(now, text) {
            tracing::error!("{text}; waiting for it");
        }
    }

    fn on_client_error(&mut self, now: Instant, error: &ClientError) {
        self.monitor.metrics.kafka_errors.with_label_values(&[&error.name]).inc();
        let place = error.partition.as_ref().map_or(String::new(), |(topic, number)| format!(" ({topic}/{number})"));
        match &error.concern {
            Concern::Fatal => {
                let reason = format!(
                    "the consumer can't continue{place}: {}\nways out: if another process uses the same `instance_id`, give \
                     each its own; then start again",
                    error.text
                );
                self.close(now, End::Stopped(reason));
            }
            Concern::Membership(refusal) if !self.session.is_ending() => self.on_refused(now, *refusal),
            // The lookup of the topics fails for the same reason, and ends the pipeline with the command that helps.
            Concern::Denied if self.session.is_joining() => {}
            Concern::Denied if !self.session.is_ending() => self.halt_input(now, error),
            Concern::Connection(problem) => self.on_trouble(now, problem),
            // Logged elsewhere with its reason. librdkafka counts the coordinator as one more broker when it reports that all are
            // down.
            Concern::Duplicate => {}
            Concern::Denied | Concern::Membership(_) | Concern::Other => {
                if self.monitor.may_log(now, &error.name) {
                    let (topic, partition) =
                        error.partition.as_ref().map(|(topic, number)| (&**topic, *number)).unzip();
                    tracing::warn!(topic, partition, "Kafka: {}{place} ({})", error.text, error.name);
                }
            }
        }
    }
}
