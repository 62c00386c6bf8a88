//! Handing outputs to the producer, what becomes of them, and the new start after a delivery failed.
//!
//! A full producer is no error: the outcome waits in the backlog, in order, and nothing more is read until it is gone.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::blocked;
use super::closing::let_go;
use super::effects::Cursor;
use super::effects::Effects;
use super::end::End;
use super::executor::Ran;
use super::halt::Denied;
use super::lane;
use super::letters::Letter;
use super::start_producer;
use crate::batch::Batch;
use crate::failpoint;
use crate::failpoint::Point;
use crate::failure;
use crate::failure::Class;
use crate::failure::Failure;
use crate::kafka::connection;
use crate::kafka::limits::Batching;
use crate::kafka::producer::Delivered;
use crate::kafka::producer::Kind;
use crate::kafka::producer::Produced;
use crate::kafka::producer::Report;
use crate::kafka::producer::Run;
use crate::kafka::producer::Sample;
use crate::kafka::producer::SendError;
use crate::kafka::producer::Tag;
use crate::kafka::settings::Partition;
use crate::partition;
use crate::partition::Action;
use crate::record::AssignmentId;
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
    letters: Vec<Letter>,
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
        self.letters.retain(|letter| letter.seq < seq);
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

/// The longest wait after deliveries that fail again and again.
const HOLD_MAX: Duration = Duration::from_secs(10);
/// The first one.
const HOLD_MIN: Duration = Duration::from_millis(100);

impl Shell {
    /// The outputs of `ran`'s records below `upto` go to the producer, and then the dead letters of those among them that were given up.
    pub(super) fn begin_sending(&mut self, now: Instant, upto: Seq, letters: Vec<Letter>, ran: &mut Option<Ran>) {
        let Some(whole) = ran else { return };
        let records = upto.since(whole.first).unwrap_or(0);
        let range = whole.range.start..whole.range.start + records;
        let mut sending = Sending {
            first: whole.first,
            bytes: lane::bytes_of(&whole.batch, &range) + letters.iter().map(Letter::bytes).sum::<usize>(),
            batch: Arc::clone(&whole.batch),
            start: range.start,
            records,
            effects: std::mem::take(&mut whole.effects),
            cursor: Cursor::default(),
            letters,
            is_checked: false,
            waits: None,
        };
        if !self.backlog.is_empty() || !self.send(now, &mut sending) {
            self.backlog.push_back(sending);
        }
    }

    /// Goes on with what the producer had no room for. `true` if it took something.
    pub(super) fn send_backlog(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(mut sending) = self.backlog.pop_front() {
            if !self.send(now, &mut sending) {
                self.backlog.push_front(sending);
                break;
            }
            busy = true;
            self.recycle(sending.batch);
        }
        busy
    }

    /// `false` if the producer is full before everything is sent.
    fn send(&mut self, now: Instant, sending: &mut Sending) -> bool {
        let Some(index) = self.lane_of(sending.first) else { return true };
        // A record of this lane may have stopped it while this one waited.
        if let Some(stop) = self.lanes[index].state.stops_at() {
            sending.end_before(stop);
        }
        if sending.waits.is_some_and(|told| told == self.asking.told()) {
            self.ask_limits_now_and_then(now, true);
            return false;
        }
        if !sending.is_checked {
            let too_large = self.too_large(sending);
            if !too_large.is_empty() && sending.waits.is_none() {
                // The limit may be another one by now, and what is given up for it is not taken back.
                self.ask_limits();
                sending.waits = Some(self.asking.told());
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
                        let lane = &self.lanes[index];
                        let offset = sending.batch.record(sending.start + root).offset;
                        let denied = Denied { sample: *sample, partition: lane.partition.clone(), offset };
                        self.read_again(now);
                        self.halt(now, why, Some(denied));
                        return true;
                    }
                    if !self.on_unsendable(now, index, sending, root, output, failure) {
                        return true;
                    }
                }
            }
        }
        sending.letters.drain(..).for_each(|letter| self.letters.push(letter));
        self.send_letters(now);
        true
    }

    /// The records of which an output is larger than its topic takes, each with the first such output; only the first record if it
    /// is where the pipeline stops. Nothing is looked at when all of the run together is small enough.
    fn too_large(&self, sending: &Sending) -> Vec<(usize, usize, Failure)> {
        let mut found: Vec<(usize, usize, Failure)> = Vec::new();
        let outputs = &self.settings.kafka.outputs;
        let limit = |place: usize| self.limits.record_bytes(place, &outputs[place]);
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
            if !self.settings.policy.goes_on() {
                break;
            }
        }
        found
    }

    /// Hands outputs to the producer until all are there or one isn't taken.
    fn send_outputs(&mut self, index: usize, sending: &mut Sending) -> Sent {
        let input_partition = self.lanes[index].partition.partition;
        let Some(producer) = &self.producer else { return Sent::All };
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
                    self.bytes_out += size(output.record.key) + size(output.record.value);
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
            self.lanes[index].hand_over(sending.batch.record(sending.start + root).offset);
        }
        sent
    }

    /// What the producer has to say.
    pub(super) fn on_report(&mut self, now: Instant, report: Report) {
        match report {
            Report::Delivered => {
                let Some(producer) = &self.producer else { return };
                let delivered = producer.take_delivered();
                if delivered.is_empty() {
                    // Taken with an earlier report.
                    return;
                }
                let Delivered { runs, has_sample, produced, bytes } = delivered;
                self.bytes_out = self.bytes_out.saturating_sub(bytes);
                self.status.acknowledged();
                self.hold = self.hold.filter(|&(until, _)| until > now);
                self.count_produced(&produced);
                if has_sample {
                    self.tell_blocked(now, blocked::Event::Taken);
                }
                for Run { kind, first, last } in runs {
                    let Some(index) = self.lane_of(first) else { continue };
                    match kind {
                        Kind::Output(_) => self.tell(now, index, partition::Event::Delivered { first, last }),
                        Kind::DeadLetter => self.on_letters_delivered(now, index, first, last),
                    }
                }
                failpoint::pass(Point::AfterAck);
            }
            Report::Failed { batch, sample } => self.on_undelivered(now, batch, sample),
            Report::Purged => {}
            Report::Fatal { reason } => self.start_over(now, &reason),
            Report::Error { name, text } => {
                self.metrics.kafka_errors.with_label_values(&[&name]).inc();
                if let Some(trouble) = connection::trouble(&text) {
                    self.on_trouble(now, &trouble);
                } else if connection::is_echo(&text) || connection::is_consequence(&text) {
                    // Said elsewhere, with its reason.
                } else if self.timers.may_log(now, &name) {
                    tracing::warn!("Kafka: {text} ({name})");
                }
            }
        }
    }

    fn count_produced(&self, produced: &[Produced]) {
        for (output, took) in self.settings.kafka.outputs.iter().zip(produced).filter(|(_, took)| took.records > 0) {
            let label = &[&*output.name];
            self.metrics.records_produced.with_label_values(label).inc_by(took.records);
            self.metrics.bytes_produced.with_label_values(label).inc_by(took.bytes);
            if let Some(latency) = took.latency_us {
                let latency = Duration::from_micros(latency).as_secs_f64();
                let durations = self.metrics.produce_duration_seconds.with_label_values(label).local();
                // The records of a report were acknowledged one soon after the other.
                (0..took.records).for_each(|_| durations.observe(latency));
                durations.flush();
            }
        }
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
            let lane = &self.lanes[index];
            let offset = lane.state.offset_of(seq).unwrap_or_else(|| lane.state.low().0);
            self.start_over(now, &format!("an output of {} offset {offset}: {failure}", lane.partition));
            return false;
        }
        if !self.settings.policy.goes_on() {
            sending.end_before(seq);
            self.tell(now, index, partition::Event::Unsendable { seq, unsent: 0, failure: &failure });
            return true;
        }
        let unsent = sending.unsent_of(root, &self.settings.routes);
        sending.effects.give_up(root);
        let event = partition::Event::Unsendable { seq, unsent, failure: &failure };
        for action in self.lanes[index].state.handle(now, event) {
            match action {
                Action::DeadLetter { seq, tries, failure } => {
                    let place = sending.start + root;
                    match self.write_letter(now, index, (&sending.batch, place), (seq, tries), failure) {
                        Ok(letter) => {
                            sending.bytes += letter.bytes();
                            let at = sending.letters.partition_point(|other| other.seq < seq);
                            sending.letters.insert(at, letter);
                        }
                        Err(hopeless) => {
                            sending.end_before(seq);
                            self.on_hopeless(now, &hopeless);
                        }
                    }
                }
                Action::Skip { tries, failure, .. } => {
                    let offset = sending.batch.record(sending.start + root).offset;
                    self.say_given_up(now, index, offset, tries, &failure, "skipped");
                }
                other @ (Action::Send { .. }
                | Action::RunAgain { .. }
                | Action::Requeue { .. }
                | Action::Store { .. }
                | Action::Stop { .. }
                | Action::Trip { .. }
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
        self.metrics.produce_errors.with_label_values(&[name, &failure.code]).inc();
    }

    /// Outputs may be missing for a reason that is not a record's: every partition is read again from its first unsettled record, by a
    /// producer of a new life.
    pub(super) fn start_over(&mut self, now: Instant, reason: &str) {
        let wait = self.hold.map_or(HOLD_MIN, |(_, last)| (last * 2).min(HOLD_MAX));
        self.hold = Some((now + wait, wait));
        tracing::error!("a delivery failed, what is not acknowledged is read and sent again in {wait:?}: {reason}");
        self.read_again(now);
    }

    /// What is not acknowledged is forgotten, read again, and sent by a new producer.
    pub(super) fn read_again(&mut self, now: Instant) {
        self.count_finished(now);
        let again: usize = self.lanes.iter().map(|lane| lane.state.in_flight()).sum();
        self.metrics.retries.with_label_values(&["produce"]).inc_by(again as u64);
        self.drop_producer();
        self.backlog.clear();
        self.letters.clear();
        self.bytes_out = 0;
        for index in 0..self.lanes.len() {
            self.rewind(now, index);
        }
        self.make_producer(now);
    }

    pub(super) fn drop_producer(&mut self) {
        if let Some(old) = self.producer.take() {
            old.abandon();
            // Destroying a client can take a while, and nobody waits for it.
            let_go(old, Duration::ZERO);
        }
        self.producer_number += 1;
    }

    pub(super) fn make_producer(&mut self, now: Instant) {
        self.renewing = None;
        self.tell_blocked(now, blocked::Event::ProducerRenewed);
        let batching = if self.apart.is_some() { Batching::Single } else { Batching::Full };
        match start_producer(&self.settings, self.number, self.producer_number, &self.limits, batching, &self.inbox) {
            Ok(producer) => self.producer = Some(producer),
            Err(reason) => self.close(now, End::Stopped(format!("failed to start a producer: {reason}"))),
        }
    }

    /// A partition is read again from its first unsettled record. Results of the old assignment are discarded: it gets another number.
    pub(super) fn rewind(&mut self, now: Instant, index: usize) {
        let assignment = self.new_assignment();
        self.lanes[index].forget(assignment);
        self.tell(now, index, partition::Event::Rewind { assignment });
    }

    /// A number that no assignment in flight has.
    pub(super) fn new_assignment(&mut self) -> AssignmentId {
        let lanes = &self.lanes;
        self.assignments.issue(|id| lanes.iter().any(|lane| lane.state.assignment() == id))
    }

    /// The lane whose assignment a record was received in.
    pub(super) fn lane_of(&self, seq: Seq) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.state.assignment() == seq.assignment())
    }
}
