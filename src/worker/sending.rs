//! Handing outputs to the producer, what becomes of them, and the new start after a delivery failed.
//!
//! A full producer is no error: the outcome waits in the backlog, in order, and nothing more is read until it is gone.

use std::sync::Arc;
use std::time::Instant;

use super::Shell;
use super::dead_letters::PendingDeadLetter;
use super::denied::Denied;
use super::effects::Cursor;
use super::effects::Effects;
use super::executor::RunResult;
use super::task;
use crate::batch::Batch;
use crate::failpoint;
use crate::failpoint::Point;
use crate::failure;
use crate::failure::Class;
use crate::failure::Failure;
use crate::kafka::producer::Kind;
use crate::kafka::producer::Sample;
use crate::kafka::producer::SendError;
use crate::kafka::producer::Tag;
use crate::kafka::settings::Partition;
use crate::partition;
use crate::partition::Action;
use crate::record::Seq;
use crate::sink::Routes;
use crate::sink::size;

/// An outcome whose outputs are being handed to the producer.
pub(super) struct Sending {
    /// The first record of the run.
    first: Seq,
    batch: Arc<Batch>,
    /// Where the run begins in the batch.
    start: usize,
    /// Outputs of so many records are sent.
    records: usize,
    effects: Effects,
    cursor: Cursor,
    /// The dead letters of records of the run, in order; they follow its outputs.
    dead_letters: Vec<PendingDeadLetter>,
    /// Whether its outputs were looked at for their size.
    is_checked: bool,
    /// The answer to what its topics take that was the last one when it was found too large: it waits for a newer one.
    waits: Option<u64>,
    /// Bytes of the records and the dead letters.
    pub(super) bytes: usize,
}

/// How far the outputs of a run got.
enum Sent {
    All,
    /// The producer has no room.
    Full,
    /// An output of a record isn't taken.
    Failed {
        /// The record, counted from the start of the run.
        root: usize,
        output: usize,
        failure: Failure,
        /// A copy of it, if a person must act before its topic takes anything.
        sample: Option<Box<Sample>>,
        /// How large it is.
        bytes: usize,
    },
}

impl Sending {
    /// No output of the run is larger than this, with everything that the broker counts.
    fn bytes_max(&self) -> usize {
        let records = self.batch.slice(self.start..self.start + self.records);
        let read = records.data.len() + 5 * records.layout.len();
        read + self.effects.own_bytes_max() + size::overhead_max(0)
    }

    /// The pipeline stops at this record: nothing of it or of those behind it is sent any more, and all before it is.
    fn end_before(&mut self, seq: Seq) {
        let records = seq.since(self.first).unwrap_or(0);
        self.records = self.records.min(records);
        self.dead_letters.retain(|dead_letter| dead_letter.seq < seq);
    }

    /// How many outputs of a record are not sent yet.
    fn unsent_of(&self, root: usize, routes: &Routes) -> u32 {
        let mut cursor = self.cursor.clone();
        let mut unsent = 0;
        while let Some(output) = cursor.peek(&self.effects, routes, &self.batch, self.start, root + 1) {
            unsent += u32::from(output.root == root);
            cursor.advance(&output);
        }
        unsent
    }
}

impl Shell {
    /// The outputs of `ran`'s records below `upto` go to the producer, and then the dead letters of those among them that were given up.
    pub(super) fn begin_sending(
        &mut self,
        now: Instant,
        upto: Seq,
        dead_letters: Vec<PendingDeadLetter>,
        ran: &mut Option<RunResult>,
    ) {
        let Some(whole) = ran else { return };
        let records = upto.since(whole.first).unwrap_or(0);
        let range = whole.range.start..whole.range.start + records;
        let mut sending = Sending {
            first: whole.first,
            bytes: task::bytes_of(&whole.batch, &range)
                + dead_letters.iter().map(PendingDeadLetter::bytes).sum::<usize>(),
            batch: Arc::clone(&whole.batch),
            start: range.start,
            records,
            effects: std::mem::take(&mut whole.effects),
            cursor: Cursor::default(),
            dead_letters,
            is_checked: false,
            waits: None,
        };
        if !self.flow.backlog.is_empty() || !self.send(now, &mut sending) {
            self.flow.backlog.push_back(sending);
        }
    }

    /// Goes on with what the producer had no room for. `true` if it took something.
    pub(super) fn send_backlog(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(mut sending) = self.flow.backlog.pop_front() {
            if !self.send(now, &mut sending) {
                self.flow.backlog.push_front(sending);
                break;
            }
            busy = true;
            self.flow.recycle(sending.batch);
        }
        busy
    }

    /// `false` if the producer is full before everything is sent.
    fn send(&mut self, now: Instant, sending: &mut Sending) -> bool {
        let Some(index) = self.flow.task_of(sending.first) else { return true };
        // A record of this task may have stopped it while this one waited.
        if let Some(stop) = self.flow.tasks[index].state.stops_at() {
            sending.end_before(stop);
        }
        if sending.waits.is_some_and(|told| told == self.delivery.told()) {
            self.ask_limits_now_and_then(now, true);
            return false;
        }
        if !sending.is_checked {
            let too_large = self.too_large(sending);
            if !too_large.is_empty() && sending.waits.is_none() {
                // The limit may be another one by now, and what is given up for it is not taken back.
                self.ask_limits();
                sending.waits = Some(self.delivery.told());
                return false;
            }
            sending.is_checked = true;
            for (root, output, failure) in too_large {
                if root < sending.records && !self.on_unsendable(now, index, sending, root, output, failure) {
                    return true;
                }
            }
        }
        loop {
            match self.send_outputs(index, sending) {
                Sent::All => break,
                Sent::Full => return false,
                Sent::Failed { root, output, failure, sample, bytes } => {
                    if failure.kind == failure::Kind::TooLarge && self.make_room(now, bytes) {
                        return true;
                    }
                    if let Some(sample) = sample {
                        self.count_produce_error(output, &failure);
                        let why = self.denied(output, &failure);
                        let task = &self.flow.tasks[index];
                        let offset = sending.batch.record(sending.start + root).offset;
                        let denied = Denied { sample: *sample, partition: task.partition.clone(), offset };
                        self.rewind_all(now);
                        self.halt(now, why, Some(denied));
                        return true;
                    }
                    if !self.on_unsendable(now, index, sending, root, output, failure) {
                        return true;
                    }
                }
            }
        }
        sending.dead_letters.drain(..).for_each(|dead_letter| self.flow.dead_letters.push(dead_letter));
        self.send_dead_letters(now);
        true
    }

    /// The records of which an output is larger than its topic takes, each with the first such output; only the first record if it
    /// is where the pipeline stops. Nothing is looked at when all of the run together is small enough.
    fn too_large(&self, sending: &Sending) -> Vec<(usize, usize, Failure)> {
        let mut found: Vec<(usize, usize, Failure)> = Vec::new();
        let outputs = &self.settings.kafka.outputs;
        let limit = |place: usize| self.delivery.limits().record_bytes(place, &outputs[place]);
        if (0..outputs.len()).filter_map(limit).min().is_none_or(|least| sending.bytes_max() <= least) {
            return found;
        }
        let mut cursor = sending.cursor.clone();
        let Sending { effects, batch, start, records, .. } = sending;
        while let Some(output) = cursor.peek(effects, &self.settings.routes, batch, *start, *records) {
            cursor.advance(&output);
            let Some(limit) = limit(output.output) else { continue };
            if found.last().is_some_and(|(root, _, _)| *root == output.root) || size::fits(&output.record, limit) {
                continue;
            }
            let name = &outputs[output.output].topic;
            let bytes = size::batch_bytes(&output.record);
            let reason =
                format!("an output of {bytes} bytes, where topic `{name}` takes {limit} (`max.message.bytes`)");
            let step = self.settings.steps.get(output.step).cloned();
            let failure = Failure::new(failure::Kind::TooLarge, step, reason);
            let failure = Failure { digest: Some(Arc::clone(output.digest)), ..failure };
            found.push((output.root, output.output, failure));
            if !self.settings.policy.continues() {
                break;
            }
        }
        found
    }

    /// Hands outputs to the producer until all are there or one isn't taken.
    fn send_outputs(&mut self, index: usize, sending: &mut Sending) -> Sent {
        let input_partition = self.flow.tasks[index].partition.partition;
        let Some(producer) = &self.io.producer else { return Sent::All };
        let Sending { effects, batch, cursor, .. } = sending;
        let mut last = None;
        let sent = loop {
            let next = cursor.peek(effects, &self.settings.routes, batch, sending.start, sending.records);
            let Some(output) = next else { break Sent::All };
            let seq = sending.first.plus(output.root);
            let chosen =
                output.record.partition.unwrap_or_else(|| match self.settings.kafka.outputs[output.output].partition {
                    Partition::ByKey => -1,
                    Partition::SameAsInput => input_partition,
                });
            let tag = Tag { kind: Kind::Output(output.output), seq };
            match producer.send(output.output, &output.record, chosen, tag) {
                Ok(()) => {
                    let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
                    self.flow.bytes_out += size(output.record.key) + size(output.record.value);
                    last = Some(output.root);
                    cursor.advance(&output);
                    failpoint::pass(Point::AfterEnqueue);
                }
                Err(SendError::Full) => break Sent::Full,
                Err(SendError::Failed(mut failure)) => {
                    failure.step = self.settings.steps.get(output.step).cloned();
                    failure.digest = Some(Arc::clone(output.digest));
                    let halts = failure.kind.class() == Class::Halt;
                    let sample = halts.then(|| Box::new(Sample::new(output.output, chosen, &output.record)));
                    let bytes = size::batch_bytes(&output.record);
                    break Sent::Failed { root: output.root, output: output.output, failure, sample, bytes };
                }
            }
        };
        if let Some(root) = last {
            self.flow.tasks[index].hand_over(sending.batch.record(sending.start + root).offset);
        }
        sent
    }

    /// An output of a record can't be sent. `false` if the run is read again, and nothing more of it is sent.
    fn on_unsendable(
        &mut self,
        now: Instant,
        index: usize,
        sending: &mut Sending,
        root: usize,
        output: usize,
        failure: Failure,
    ) -> bool {
        let seq = sending.first.plus(root);
        self.count_produce_error(output, &failure);
        if failure.kind.class() != Class::Refused {
            let task = &self.flow.tasks[index];
            let offset = task.state.offset_of(seq).unwrap_or_else(|| task.state.low().0);
            self.recover_producer(now, &format!("an output of {} offset {offset}: {failure}", task.partition));
            return false;
        }
        if !self.settings.policy.continues() {
            sending.end_before(seq);
            self.tell(now, index, partition::Event::Unsendable { seq, unsent: 0, failure: &failure });
            return true;
        }
        let unsent = sending.unsent_of(root, &self.settings.routes);
        sending.effects.give_up(root);
        let event = partition::Event::Unsendable { seq, unsent, failure: &failure };
        for action in self.flow.tasks[index].state.handle(now, event) {
            match action {
                Action::DeadLetter { seq, tries, failure } => {
                    let place = sending.start + root;
                    match self.write_dead_letter(now, index, (&sending.batch, place), (seq, tries), failure) {
                        Ok(dead_letter) => {
                            sending.bytes += dead_letter.bytes();
                            let at = sending.dead_letters.partition_point(|other| other.seq < seq);
                            sending.dead_letters.insert(at, dead_letter);
                        }
                        Err(unrecoverable) => {
                            sending.end_before(seq);
                            self.on_hopeless(now, &unrecoverable);
                        }
                    }
                }
                Action::Skip { tries, failure, .. } => {
                    let offset = sending.batch.record(sending.start + root).offset;
                    self.monitor.log_failure(
                        now,
                        &self.flow.tasks[index].partition,
                        offset,
                        tries,
                        &failure,
                        "skipped",
                    );
                }
                other @ (Action::Send { .. }
                | Action::RunAgain { .. }
                | Action::Requeue { .. }
                | Action::Store { .. }
                | Action::Stop { .. }
                | Action::BreakerTripped { .. }
                | Action::DropQueue
                | Action::Rewind
                | Action::Seek { .. }
                | Action::Released { .. }) => self.act(now, index, other),
            }
        }
        true
    }

    pub(super) fn count_produce_error(&self, output: usize, failure: &Failure) {
        let name = self.settings.kafka.written().nth(output).map_or("", |output| &*output.name);
        self.monitor.metrics.produce_errors.with_label_values(&[name, &failure.code]).inc();
    }
}
