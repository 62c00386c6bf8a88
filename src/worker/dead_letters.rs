//! Dead letters of failed records, on their way to the producer.
//!
//! A dead letter is written while its record is in memory, and waits here, in order, until the producer has room. Dead letters
//! follow the outputs of their run, so that a partition's dead letters keep its order. A record is settled, and counted, only
//! when the broker has acknowledged its dead letter.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Shell;
use super::clock;
use crate::batch::Batch;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::journal;
use crate::journal::BuriedRecord;
use crate::kafka::Commands;
use crate::kafka::producer;
use crate::kafka::producer::SendError;
use crate::kafka::producer::Tag;
use crate::kafka::producer::Undelivered;
use crate::partition;
use crate::record::OutRecord;
use crate::record::Seq;
use crate::sink::DeadLetter;
use crate::sink::GivenUp;
use crate::sink::size;

/// A dead letter that waits for the producer.
#[derive(Debug)]
pub(super) struct PendingDeadLetter {
    pub(super) seq: Seq,
    written: DeadLetter,
    sent: SentDeadLetter,
}

/// What is counted and told of a dead letter once it is acknowledged. The step is empty if a broker refused an output.
#[derive(Clone, Debug)]
pub(super) struct SentDeadLetter {
    step: Arc<str>,
    kind: Kind,
    offset: i64,
    reason: Arc<str>,
}

/// A failed record that can't be dead-lettered either: the pipeline stops at it.
#[derive(Debug)]
pub(super) struct Unrecoverable {
    pub(super) seq: Seq,
    /// Why it can't be dead-lettered.
    why: String,
    /// Why it failed.
    failure: Failure,
}

impl PendingDeadLetter {
    pub(super) fn bytes(&self) -> usize {
        self.written.bytes()
    }
}

/// The dead letters that wait.
#[derive(Debug, Default)]
pub(super) struct PendingDeadLetters {
    queue: VecDeque<PendingDeadLetter>,
    bytes: usize,
}

impl PendingDeadLetters {
    pub(super) fn push(&mut self, dead_letter: PendingDeadLetter) {
        self.bytes += dead_letter.bytes();
        self.queue.push_back(dead_letter);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        *self = PendingDeadLetters::default();
    }
}

impl Shell {
    /// Writes the dead letter of a failed record, and logs the failure. If the dead letter doesn't fit its topic, the pipeline
    /// has to stop at the record.
    pub(super) fn write_dead_letter(
        &mut self,
        now: Instant,
        index: usize,
        (batch, place): (&Batch, usize),
        (seq, tries): (Seq, u32),
        failure: Failure,
    ) -> Result<PendingDeadLetter, Box<Unrecoverable>> {
        let record = batch.record(place);
        let task = &self.flow.tasks[index];
        let is_retimed = task.dead_letters.retimed.contains(&record.offset);
        let (source, at_ms) = (&task.partition, clock::unix_ms());
        let given_up = GivenUp { source, failure: &failure, tries, at_ms, replays: 0, is_retimed };
        let known = self.dead_letter_bytes();
        let limit = known.unwrap_or(size::ASSUMED);
        // The error message tells the size that the topic must take for the full dead letter.
        let largest = Cell::new(0);
        let fits = |dead_letter: &OutRecord<'_>| {
            largest.set(largest.get().max(size::batch_bytes(dead_letter)));
            size::fits(dead_letter, limit)
        };
        let dead_letters = &self.settings.dead_letters;
        let written = dead_letters.write(&record, given_up, fits);
        // Above the assumed limit the broker decides. The dead letter is then as small as possible, so that what is added to the
        // record isn't the reason for a refusal.
        let written = written.or_else(|| known.is_none().then(|| dead_letters.least(&record, given_up)));
        let Some(written) = written else {
            let why = self.no_dead_letter(limit, largest.get());
            return Err(Box::new(Unrecoverable { seq, why, failure }));
        };
        let offset = record.offset;
        let topic = self.settings.kafka.dead_letter.as_ref().map_or("", |output| output.topic_name());
        let what = format!("failed, a dead letter is being written to `{topic}`");
        let partition = self.flow.tasks[index].partition.clone();
        self.monitor.log_failure(now, &partition, offset, tries, &failure, &what);
        let reason = journal::cut(failure.reason, journal::REASON_BYTES_MAX).into();
        let sent = SentDeadLetter { step: failure.step.unwrap_or_default(), kind: failure.kind, offset, reason };
        Ok(PendingDeadLetter { seq, written, sent })
    }

    /// Stops the pipeline at a failed record that can't be dead-lettered, unless its assignment is gone.
    pub(super) fn on_unrecoverable(&mut self, now: Instant, unrecoverable: &Unrecoverable) {
        let Unrecoverable { seq, why, failure } = unrecoverable;
        let Some(index) = self.flow.task_of(*seq) else { return };
        let reason = format!("{why}; the record failed by: {}", failure.reason);
        let failure = Failure { reason, ..failure.clone() };
        self.tell(now, index, partition::Event::Unrecoverable { seq: *seq, failure: &failure });
    }

    /// The message for a dead letter of this size, which its topic doesn't take.
    fn no_dead_letter(&self, limit: usize, bytes: usize) -> String {
        let topic = self.settings.kafka.dead_letter.as_ref().map_or("", |output| output.topic_name());
        let command = Commands::of(&self.settings.kafka).raise_limit(topic, bytes);
        format!(
            "no dead letter: topic `{topic}` takes {limit} bytes (`max.message.bytes`), and the dead letter has {bytes}; raise it, and \
             start again: {command}"
        )
    }

    /// The known size limit of the dead-letter topic.
    pub(super) fn dead_letter_bytes(&self) -> Option<usize> {
        let output = self.settings.kafka.dead_letter.as_ref()?;
        self.delivery.limits().record_bytes(self.settings.kafka.outputs.len(), output)
    }

    /// The broker refused a dead letter. It is never dropped: the record's offset waits for it. If the topic doesn't take the
    /// record's timestamp, the dead letter is written once more with the current time.
    pub(super) fn on_dead_letter_refused(&mut self, now: Instant, index: usize, seq: Seq, message: &Undelivered) {
        let task = &mut self.flow.tasks[index];
        let offset = task.state.offset_of(seq).filter(|_| message.is_about_time());
        if offset.is_some_and(|offset| task.dead_letters.retimed.insert(offset)) {
            self.tell(now, index, partition::Event::Undelivered { seq });
        } else {
            self.tell(now, index, partition::Event::Unrecoverable { seq, failure: &message.failure });
        }
    }

    /// Hands dead letters to the producer. `true` if any left the queue.
    pub(super) fn send_dead_letters(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(dead_letter) = self.flow.dead_letters.queue.front() {
            let index = self.flow.task_of(dead_letter.seq);
            // Nothing is sent at or above the record that stopped a task.
            let index = index
                .filter(|&index| self.flow.tasks[index].state.stops_at().is_none_or(|stop| dead_letter.seq < stop));
            let (mut failed, mut sent) = (None, None);
            if let (Some(index), Some(producer)) = (index, &self.io.producer) {
                let tag = Tag { kind: producer::TagKind::DeadLetter, seq: dead_letter.seq };
                let record = dead_letter.written.record();
                match producer.send(self.settings.kafka.outputs.len(), &record, -1, tag) {
                    Ok(()) => {
                        let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
                        let bytes = size(record.key) + size(record.value);
                        sent = Some(bytes);
                        self.flow.bytes_out += bytes;
                        let task = &mut self.flow.tasks[index];
                        task.dead_letters.sent.insert(dead_letter.seq, dead_letter.sent.clone());
                        if let Some(offset) = task.state.offset_of(dead_letter.seq) {
                            task.hand_over(offset);
                        }
                    }
                    Err(SendError::Full) => break,
                    Err(SendError::Failed(failure)) => {
                        failed = Some((index, dead_letter.seq, failure, size::batch_bytes(&record)));
                    }
                }
            }
            busy = true;
            if let Some(dead_letter) = self.flow.dead_letters.queue.pop_front() {
                self.flow.dead_letters.bytes = self.flow.dead_letters.bytes.saturating_sub(dead_letter.bytes());
            }
            if let Some(bytes) = sent {
                self.enter(now, 1, bytes);
            }
            if let Some((index, seq, failure, bytes)) = failed {
                if failure.kind == Kind::TooLarge && self.make_room(now, bytes) {
                    return true;
                }
                self.on_dead_letter_unsendable(now, index, seq, &failure);
            }
        }
        busy
    }

    /// The broker acknowledged the dead letters of these records of a task.
    pub(super) fn on_dead_letters_delivered(&mut self, now: Instant, index: usize, first: Seq, last: Seq) {
        let task = &mut self.flow.tasks[index];
        let (mut buried, at_ms) = (Vec::new(), clock::unix_ms());
        while let Some((&seq, _)) = task.dead_letters.sent.range(first..=last).next()
            && let Some(sent) = task.dead_letters.sent.remove(&seq)
        {
            let SentDeadLetter { step, kind, offset, reason } = sent;
            self.monitor.metrics.dead_letters.with_label_values(&[&step, kind.label()]).inc();
            buried.push(BuriedRecord { at_ms, partition: task.partition.clone(), offset, step, kind, reason });
        }
        if !buried.is_empty() {
            self.monitor.metrics.journal.buried(buried);
        }
        self.tell(now, index, partition::Event::Delivered { first, last });
    }
}
