//! What becomes of outputs that a broker doesn't take.
//!
//! What it says about a batch is not said about its records: a record is refused only when it was alone in its batch, or when the broker
//! names it. What else was in a refused batch is sent again, in order, and before anything behind it.

use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::apart::Apart;
use super::halt::Denied;
use crate::failure::Class;
use crate::failure::Failure;
use crate::kafka::Producer;
use crate::kafka::producer::Kind;
use crate::kafka::producer::Sample;
use crate::kafka::producer::Tag;
use crate::kafka::producer::Undelivered;
use crate::partition;
use crate::record::Seq;
use crate::record::TopicPartition;

/// The longest wait for a quiet moment in which a producer becomes another one.
const RENEW_MAX: Duration = Duration::from_secs(10);

impl Shell {
    /// Messages of one batch were not delivered.
    pub(super) fn on_undelivered(&mut self, now: Instant, batch: Vec<Undelivered>, sample: Option<Box<Sample>>) {
        let bytes: usize = batch.iter().map(|message| message.bytes).sum();
        self.bytes_out = self.bytes_out.saturating_sub(bytes);
        let mut apart = Apart::default();
        // What is wrong with all of them, the first time it is found.
        let mut halts = None;
        let mut failed = None;
        let mut refused = None;
        let mut window = Apart::default();
        for message in &batch {
            let Undelivered { tag, output, failure, is_verdict, .. } = message;
            let &Some(Tag { kind, seq }) = tag else {
                self.on_sample_failed(now, *output, failure);
                continue;
            };
            let Some(index) = self.lane_of(seq) else { continue };
            let lane = &self.lanes[index];
            let offset = lane.state.offset_of(seq).unwrap_or_else(|| lane.state.low().0);
            if !is_verdict {
                apart.add(&lane.partition, offset);
                refused.get_or_insert(message);
                continue;
            }
            self.count_produce_error(*output, failure);
            if message.is_about_size() && self.lanes[index].handed.0 > 0 {
                window.add(&self.lanes[index].partition, self.lanes[index].handed.0 - 1);
            }
            match failure.kind.class() {
                Class::Refused | Class::Reject | Class::Fault | Class::Retry => match kind {
                    Kind::DeadLetter => self.on_letter_refused(now, index, seq, message),
                    Kind::Output(_) => self.tell(now, index, partition::Event::Refused { seq, failure }),
                },
                Class::Again => self.tell(now, index, partition::Event::Undelivered { seq }),
                Class::Halt => {
                    let partition = &self.lanes[index].partition;
                    halts.get_or_insert_with(|| (self.denied(*output, failure), partition.clone(), offset));
                }
                Class::Infrastructure => {
                    let what = if kind == Kind::DeadLetter { "the dead letter" } else { "an output" };
                    let partition = &self.lanes[index].partition;
                    failed.get_or_insert_with(|| format!("{what} of {partition} offset {offset}: {failure}"));
                }
            }
        }
        if let Some((why, partition, offset)) = halts {
            self.read_again(now);
            self.halt(now, why, sample.map(|sample| Denied { sample: *sample, partition, offset }));
        } else if let Some(why) = failed {
            self.start_over(now, &why);
        } else if let Some(message) = refused {
            self.send_otherwise(now, apart, message, batch.len(), bytes);
        } else if self.producer.as_ref().is_some_and(Producer::is_spent) {
            if !window.is_empty() {
                // Nobody said what its topic takes: others of its partition that are too large show in one go.
                self.apart = Some(window);
            }
            self.read_again(now);
        }
    }

    /// A broker refused a batch of several messages. If it was too large, they are sent again in smaller ones: after a few times whatever is too
    /// large for its topic is alone, as it doesn't fit beside others. Else each of them is sent again in a batch of its own.
    fn send_otherwise(&mut self, now: Instant, apart: Apart, message: &Undelivered, count: usize, bytes: usize) {
        if message.is_about_size() {
            if self.timers.may_log(now, "a batch was too large") {
                let reason = &message.failure.reason;
                tracing::warn!("a batch of {count} was too large, and they are sent again in smaller ones: {reason}");
            }
            self.limits.learn(bytes);
            self.ask_limits();
            return self.read_again(now);
        }
        if self.timers.may_log(now, "a batch was refused") {
            let reason = &message.failure.reason;
            tracing::warn!("a batch of {count} was refused, and each of them is sent again alone: {reason}");
        }
        self.apart = Some(apart);
        self.read_again(now);
    }

    /// Whether records of a lane that begin with this offset may be handed out, as far as refused batches go. A wait for a retry is no
    /// reason for others to wait. At the bound everything may: else those that wait could keep out the ones that they wait for.
    pub(super) fn may_send(&self, now: Instant, index: usize) -> bool {
        let Some(apart) = &self.apart else { return true };
        let lane = &self.lanes[index];
        let Some(waiting) = lane.queue.front() else { return false };
        let offset = waiting.batch.record(waiting.range.start).offset;
        apart.takes(&lane.partition, offset)
            || self.reading.at_bound
            || self.lanes.iter().any(|lane| lane.state.waits_until(now).is_some())
    }

    /// Goes on as ever when what was in refused batches is settled, and has another producer when nothing is on its way.
    pub(super) fn go_on_sending(&mut self, now: Instant) {
        let low = |partition: &TopicPartition| {
            self.lanes.iter().find(|lane| lane.partition == *partition).map(|lane| lane.state.low())
        };
        if self.apart.as_ref().is_some_and(|apart| apart.is_over(low)) {
            self.apart = None;
            self.renew(now);
        }
        let Some(deadline) = self.renewing else { return };
        let is_quiet = self.lanes.iter().all(|lane| lane.jobs == 0 && lane.state.is_acknowledged())
            && self.backlog.is_empty()
            && self.letters.is_empty()
            && self.bytes_out == 0;
        if is_quiet {
            self.drop_producer();
            self.make_producer(now);
        } else if now >= deadline && !self.session.is_ending() && !self.session.is_revoking() {
            // A drain has a deadline of its own, and what it waits for is not begun again.
            self.read_again(now);
        }
    }

    /// The producer becomes another one as soon as nothing is on its way; nothing is handed out until then.
    pub(super) fn renew(&mut self, now: Instant) {
        self.renewing.get_or_insert(now + RENEW_MAX);
    }

    /// What a person has to do about an output that the cluster denies.
    pub(super) fn denied(&self, output: usize, failure: &Failure) -> String {
        let role = if output < self.settings.kafka.outputs.len() { "output" } else { "dead-letter" };
        let topic = self.settings.kafka.written().nth(output).map_or("", |output| &output.topic);
        self.denied_delivery(role, topic, failure)
    }

    /// A dead letter was refused when it was to be queued.
    pub(super) fn on_letter_unsendable(&mut self, now: Instant, index: usize, seq: Seq, failure: &Failure) {
        let output = self.settings.kafka.outputs.len();
        self.count_produce_error(output, failure);
        let lane = &self.lanes[index];
        match failure.kind.class() {
            Class::Refused | Class::Reject | Class::Fault | Class::Retry => {
                self.tell(now, index, partition::Event::Hopeless { seq, failure });
            }
            Class::Again => self.tell(now, index, partition::Event::Undelivered { seq }),
            Class::Halt => {
                let why = self.denied(output, failure);
                self.read_again(now);
                self.halt(now, why, None);
            }
            Class::Infrastructure => {
                let offset = lane.state.offset_of(seq).unwrap_or_else(|| lane.state.low().0);
                self.start_over(now, &format!("the dead letter of {} offset {offset}: {failure}", lane.partition));
            }
        }
    }
}
