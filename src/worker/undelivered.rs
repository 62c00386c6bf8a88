//! Outputs and dead letters that were not delivered; `delivery` decides what to do about them.

use std::time::Instant;

use super::Shell;
use super::delivery::BatchRefusal;
use super::delivery::Consequence;
use super::delivery::Undone;
use super::delivery::Verdict;
use super::denied::Denied;
use super::denied::DeniedCopy;
use crate::failure::Failure;
use crate::kafka::Producer;
use crate::kafka::producer::Sample;
use crate::kafka::producer::Tag;
use crate::kafka::producer::TagKind;
use crate::kafka::producer::Undelivered;
use crate::partition;
use crate::record::Seq;

impl Shell {
    /// Messages of one batch were not delivered.
    pub(super) fn on_undelivered(&mut self, now: Instant, batch: Vec<Undelivered>, sample: Option<Box<Sample>>) {
        let bytes: usize = batch.iter().map(|message| message.bytes).sum();
        self.flow.bytes_out = self.flow.bytes_out.saturating_sub(bytes);
        let mut undone = Undone::default();
        for message in &batch {
            let Undelivered { tag, output, is_verdict, .. } = message;
            let failure = &self.judged(*output, message.failure.clone());
            let &Some(Tag { kind, seq }) = tag else {
                self.on_sample_failed(now, *output, failure);
                continue;
            };
            let of_windows = self.windows_of(seq);
            let Some(index) = self.flow.task_of(seq).or(of_windows) else { continue };
            let task = &self.flow.tasks[index];
            let offset = task.state.offset_of(seq).unwrap_or_else(|| task.state.low().0);
            if !is_verdict {
                undone.together.add(&task.partition, offset);
                let refusal =
                    || BatchRefusal { reason: failure.reason.clone(), is_about_size: message.is_about_size(), bytes };
                undone.refused.get_or_insert_with(refusal);
                continue;
            }
            self.count_produce_error(*output, failure);
            if message.is_about_size() && task.offsets.handed.0 > 0 {
                undone.beside_large.add(&task.partition, task.offsets.handed.0 - 1);
            }
            match (Consequence::from(failure.kind.class()), kind) {
                (Consequence::Refuse, _) if of_windows.is_some() => {
                    let why = format!("a result of a window of {} is refused: {failure}", task.partition);
                    self.close_at(now, index, why);
                }
                (Consequence::Resend, _) if of_windows.is_some() => {
                    undone.failed.get_or_insert_with(|| {
                        let why = format!("a result of a window of {}: {failure}", task.partition);
                        (why, task.partition.clone(), offset)
                    });
                }
                (Consequence::Refuse, TagKind::DeadLetter) => self.on_dead_letter_refused(now, index, seq, message),
                (Consequence::Refuse, TagKind::Output(_)) => {
                    self.tell(now, index, partition::Event::Refused { seq, failure });
                }
                (Consequence::Resend, _) => self.tell(now, index, partition::Event::Undelivered { seq }),
                (Consequence::Deny, _) => {
                    undone
                        .denied
                        .get_or_insert_with(|| (self.denied(*output, failure), task.partition.clone(), offset));
                }
                (Consequence::Recover, _) => {
                    let what = if kind == TagKind::DeadLetter { "the dead letter" } else { "an output" };
                    undone.failed.get_or_insert_with(|| {
                        let why = format!("{what} of {} offset {offset}: {failure}", task.partition);
                        (why, task.partition.clone(), offset)
                    });
                }
            }
        }
        undone.is_spent = self.io.producer.as_ref().is_some_and(Producer::is_spent);
        match self.delivery.judge(undone) {
            Verdict::Halt { why, partition, offset } => {
                self.rewind_all(now);
                self.halt(
                    now,
                    why,
                    sample.map(|sample| {
                        let copy = DeniedCopy { sample: *sample, partition, offset };
                        Denied { output: copy.sample.output(), copy: Some(copy) }
                    }),
                );
            }
            Verdict::Recover { why, partition, offset } => self.recover_from(now, (&partition, offset), &why),
            Verdict::Smaller { reason } => {
                if self.monitor.may_log(now, "a batch was too large") {
                    let count = batch.len();
                    tracing::warn!(
                        "a batch of {count} was too large; the outputs are sent again in smaller batches: {reason}"
                    );
                }
                self.ask_limits();
                self.rewind_all(now);
            }
            Verdict::Alone { reason } => {
                if self.monitor.may_log(now, "a batch was refused") {
                    let count = batch.len();
                    tracing::warn!("a batch of {count} was refused; each output is sent again alone: {reason}");
                }
                self.rewind_all(now);
            }
            Verdict::Again => self.rewind_all(now),
            Verdict::Nothing => {}
        }
    }

    /// The message about a denied output, with the command that helps.
    pub(super) fn denied(&self, output: usize, failure: &Failure) -> String {
        let kafka = &self.settings.kafka;
        let role = if output < kafka.outputs.len() || output >= kafka.written().count() {
            "output"
        } else if kafka.changelog_index() == Some(output) {
            "changelog"
        } else {
            "dead-letter"
        };
        let topic = self.written(output).map_or("", |(_, topic)| topic);
        self.denied_delivery(role, topic, failure)
    }

    /// The producer refused to queue a dead letter.
    pub(super) fn on_dead_letter_unsendable(&mut self, now: Instant, index: usize, seq: Seq, failure: &Failure) {
        let output = self.settings.kafka.outputs.len();
        self.count_produce_error(output, failure);
        match Consequence::from(failure.kind.class()) {
            Consequence::Refuse => self.tell(now, index, partition::Event::Unrecoverable { seq, failure }),
            Consequence::Resend => self.tell(now, index, partition::Event::Undelivered { seq }),
            Consequence::Deny => {
                let why = self.denied(output, failure);
                self.rewind_all(now);
                self.halt(now, why, None);
            }
            Consequence::Recover => {
                let task = &self.flow.tasks[index];
                let offset = task.state.offset_of(seq).unwrap_or_else(|| task.state.low().0);
                let partition = task.partition.clone();
                let reason = format!("the dead letter of {partition} offset {offset}: {failure}");
                self.recover_from(now, (&partition, offset), &reason);
            }
        }
    }
}
