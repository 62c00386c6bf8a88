//! Handing outputs to the producer, what becomes of them, and the new start after a delivery failed.
//!
//! A full producer is no error: the outcome waits in the backlog, in order, and nothing more is read until it is gone.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::effects::Cursor;
use super::effects::Effects;
use super::end::End;
use super::executor::Ran;
use super::lane;
use super::start_producer;
use crate::batch::Batch;
use crate::failure::Class;
use crate::failure::Failure;
use crate::kafka::connection;
use crate::kafka::producer::Kind;
use crate::kafka::producer::LANES_MAX;
use crate::kafka::producer::Produced;
use crate::kafka::producer::Report;
use crate::kafka::producer::Run;
use crate::kafka::producer::SendError;
use crate::kafka::producer::Tag;
use crate::kafka::settings::Partition;
use crate::partition;
use crate::record::Seq;

/// An outcome whose outputs are being handed to the producer.
pub(super) struct Sending {
    lane: u32,
    /// The first record of the run.
    first: Seq,
    batch: Arc<Batch>,
    /// Where the run begins in the batch.
    start: usize,
    /// Outputs of so many records are sent.
    records: usize,
    effects: Effects,
    cursor: Cursor,
    /// Bytes of the records.
    pub(super) bytes: usize,
}

/// The longest wait after deliveries that fail again and again.
const HOLD_MAX: Duration = Duration::from_secs(10);
/// The first one.
const HOLD_MIN: Duration = Duration::from_millis(100);

impl Shell {
    /// The outputs of `ran`'s records below `upto` go to the producer.
    pub(super) fn begin_sending(&mut self, now: Instant, index: usize, upto: Seq, ran: &mut Option<Ran>) {
        let Some(whole) = ran else { return };
        let records = usize::try_from(upto.0.saturating_sub(whole.first.0)).unwrap_or(0);
        let range = whole.range.start..whole.range.start + records;
        let mut sending = Sending {
            lane: self.lanes[index].number,
            first: whole.first,
            bytes: lane::bytes_of(&whole.batch, &range),
            batch: Arc::clone(&whole.batch),
            start: range.start,
            records,
            effects: std::mem::take(&mut whole.effects),
            cursor: Cursor::default(),
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
        let Some(index) = self.lanes.iter().position(|lane| lane.number == sending.lane) else { return true };
        let input_partition = self.lanes[index].partition.partition;
        let mut failed = None;
        {
            let Some(producer) = &self.producer else { return true };
            let Sending { effects, batch, cursor, .. } = sending;
            while let Some(output) = cursor.peek(effects, &self.settings.routes, batch, sending.start, sending.records)
            {
                let seq = sending.first.plus(output.root as u64);
                let chosen = output.record.partition.unwrap_or_else(|| {
                    match self.settings.kafka.outputs[output.output].partition {
                        Partition::ByKey => -1,
                        Partition::SameAsInput => input_partition,
                    }
                });
                let tag = Tag { lane: sending.lane, kind: Kind::Output, seq };
                match producer.send(output.output, &output.record, chosen, tag) {
                    Ok(()) => {
                        let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
                        self.bytes_out += size(output.record.key) + size(output.record.value);
                        cursor.advance(&output);
                    }
                    Err(SendError::Full) => return false,
                    Err(SendError::Failed(failure)) => {
                        failed = Some((seq, output.output, failure));
                        break;
                    }
                }
            }
        }
        if let Some((seq, output, failure)) = failed {
            self.on_delivery_failure(now, index, seq, output, failure);
        }
        true
    }

    /// What the delivery thread found.
    pub(super) fn on_report(&mut self, now: Instant, report: Report) {
        match report {
            Report::Delivered { runs, produced, bytes } => {
                self.bytes_out = self.bytes_out.saturating_sub(bytes);
                self.hold = self.hold.filter(|&(until, _)| until > now);
                self.count_produced(&produced);
                for Run { lane, kind: Kind::Output, first, last } in runs {
                    if let Some(index) = self.lanes.iter().position(|other| other.number == lane) {
                        let epoch = self.lanes[index].state.epoch();
                        self.tell(now, index, partition::Event::Delivered { epoch, first, last });
                    }
                }
            }
            Report::Failed { tag, output, bytes, failure } => {
                self.bytes_out = self.bytes_out.saturating_sub(bytes);
                if let Some(index) = self.lanes.iter().position(|lane| lane.number == tag.lane) {
                    self.on_delivery_failure(now, index, tag.seq, output, failure);
                }
            }
            Report::Purged => {}
            Report::Fatal { reason } => self.start_over(now, &reason),
            Report::Stats(stats) => self.on_stats(&stats),
            Report::Error { name, text } => {
                self.metrics.kafka_errors.with_label_values(&[&name]).inc();
                if let Some(trouble) = connection::trouble(&text) {
                    self.on_trouble(now, &trouble);
                } else if connection::is_echo(&text) && self.status.trouble().is_some() {
                    // Said already, with its reason.
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
                self.metrics.produce_duration_seconds.with_label_values(label).observe(latency);
            }
        }
    }

    /// An output of a record was not taken.
    fn on_delivery_failure(&mut self, now: Instant, index: usize, seq: Seq, output: usize, failure: Failure) {
        let name = &*self.settings.kafka.outputs[output].name;
        self.metrics.produce_errors.with_label_values(&[name, &failure.code]).inc();
        match failure.kind.class() {
            Class::Refused | Class::Reject | Class::Fault | Class::Retry => {
                let epoch = self.lanes[index].state.epoch();
                self.tell(now, index, partition::Event::Refused { epoch, seq, failure: &failure });
            }
            Class::Halt | Class::Infrastructure => {
                let lane = &self.lanes[index];
                let offset = lane.state.offset_of(seq).unwrap_or_else(|| lane.state.low().0);
                self.start_over(now, &format!("an output of {} offset {offset}: {failure}", lane.partition));
            }
        }
    }

    /// Outputs may be missing for a reason that is not a record's: every partition is read again from its first unsettled record, by a
    /// producer of a new life.
    pub(super) fn start_over(&mut self, now: Instant, reason: &str) {
        let wait = self.hold.map_or(HOLD_MIN, |(_, last)| (last * 2).min(HOLD_MAX));
        self.hold = Some((now + wait, wait));
        tracing::error!("a delivery failed, what is not acknowledged is read and sent again in {wait:?}: {reason}");
        self.metrics.retries.with_label_values(&["produce"]).inc();
        if let Some(old) = self.producer.take() {
            // Destroying a client can take a while, and nobody waits for it.
            let reaper = std::thread::Builder::new().name("reaper".into());
            if let Err(error) = reaper.spawn(move || drop(old)) {
                tracing::error!("failed to start a thread that drops the old producer: {error}");
            }
        }
        self.producer_number += 1;
        self.backlog.clear();
        self.bytes_out = 0;
        for index in 0..self.lanes.len() {
            let number = self.new_lane_number();
            let lane = &mut self.lanes[index];
            lane.number = number;
            lane.jobs = 0;
            lane.polled.clear();
            self.tell(now, index, partition::Event::Rewind);
            self.lanes[index].bytes = 0;
        }
        match start_producer(&self.settings, self.number, self.producer_number, &self.inbox) {
            Ok(producer) => self.producer = Some(producer),
            Err(reason) => self.close(now, End::Stopped(format!("failed to start a producer: {reason}"))),
        }
    }

    /// A number that no lane has, in the range that a tag can carry.
    pub(super) fn new_lane_number(&mut self) -> u32 {
        loop {
            let number = self.next_lane;
            self.next_lane = (number + 1) % LANES_MAX;
            if self.lanes.iter().all(|lane| lane.number != number) {
                return number;
            }
        }
    }
}
