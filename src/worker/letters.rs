//! Records that are given up: their dead letters on the way to the producer, and what is said about them.
//!
//! Dead letters are written while the record is at hand and wait here, in order, until the producer has room. They travel with
//! the outputs of the run they come from, so that a partition's dead letters keep its order. A record is settled when the broker has
//! its dead letter; only then it is counted.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Shell;
use super::clock;
use crate::batch::Batch;
use crate::failure::Failure;
use crate::failure::Kind;
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
pub(super) struct Letter {
    pub(super) seq: Seq,
    written: DeadLetter,
    posted: Posted,
}

/// What is remembered of a dead letter until it is acknowledged: no step if a broker refused an output.
#[derive(Clone, Debug)]
pub(super) struct Posted {
    step: Arc<str>,
    kind: Kind,
}

/// A record that can be neither processed nor given up.
#[derive(Debug)]
pub(super) struct Hopeless {
    pub(super) seq: Seq,
    /// Why it can't be given up.
    why: String,
    /// Why it failed.
    failure: Failure,
}

/// What a topic takes at least, where nobody says what: Kafka's default is a little more.
const ASSUMED: usize = 1_000_000;

impl Letter {
    pub(super) fn bytes(&self) -> usize {
        self.written.bytes()
    }
}

/// The dead letters that wait.
#[derive(Debug, Default)]
pub(super) struct Letters {
    queue: VecDeque<Letter>,
    bytes: usize,
}

impl Letters {
    pub(super) fn push(&mut self, letter: Letter) {
        self.bytes += letter.bytes();
        self.queue.push_back(letter);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        *self = Letters::default();
    }
}

impl Shell {
    /// Writes the dead letter of a record that is given up, and says so. If it doesn't fit, the pipeline has to stop at the record.
    pub(super) fn write_letter(
        &mut self,
        now: Instant,
        index: usize,
        (batch, place): (&Batch, usize),
        (seq, tries): (Seq, u32),
        failure: Failure,
    ) -> Result<Letter, Box<Hopeless>> {
        let record = batch.record(place);
        let lane = &self.lanes[index];
        let is_retimed = lane.retimed.contains(&record.offset);
        let given_up =
            GivenUp { source: &lane.partition, failure: &failure, tries, at_ms: clock::unix_ms(), is_retimed };
        let known = self.letter_bytes();
        let limit = known.unwrap_or(ASSUMED);
        // The largest that it could be is what the topic should take.
        let largest = Cell::new(0);
        let fits = |letter: &OutRecord<'_>| {
            largest.set(largest.get().max(size::batch_bytes(letter)));
            size::fits(letter, limit)
        };
        let letters = &self.settings.dead_letters;
        let written = letters.write(&record, given_up, fits);
        // Where nobody said what the topic takes, the broker decides; what is ours shall not be the reason for a refusal.
        let written = written.or_else(|| known.is_none().then(|| letters.least(&record, given_up)));
        let Some(written) = written else {
            let why = self.no_dead_letter(limit, largest.get());
            return Err(Box::new(Hopeless { seq, why, failure }));
        };
        let offset = record.offset;
        let topic = self.settings.kafka.dead_letter.as_ref().map_or("", |output| &output.topic);
        let what = format!("failed, a dead letter is being written to `{topic}`");
        self.say_given_up(now, index, offset, tries, &failure, &what);
        let posted = Posted { step: failure.step.unwrap_or_else(|| "".into()), kind: failure.kind };
        Ok(Letter { seq, written, posted })
    }

    /// A record can be neither processed nor given up: the pipeline stops at it, if its assignment is still there.
    pub(super) fn on_hopeless(&mut self, now: Instant, hopeless: &Hopeless) {
        let Hopeless { seq, why, failure } = hopeless;
        let Some(index) = self.lane_of(*seq) else { return };
        let reason = format!("{why}; the record failed by: {}", failure.reason);
        let failure = Failure { reason, ..failure.clone() };
        self.tell(now, index, partition::Event::Hopeless { seq: *seq, failure: &failure });
    }

    /// What is said of a dead letter of so many bytes, which its topic doesn't take.
    fn no_dead_letter(&self, limit: usize, bytes: usize) -> String {
        let topic = self.settings.kafka.dead_letter.as_ref().map_or("", |output| &output.topic);
        let command = Commands::of(&self.settings.kafka).raise_limit(topic, bytes);
        format!(
            "no dead letter: topic `{topic}` takes {limit} bytes (`max.message.bytes`), and the dead letter has {bytes}; raise it, and \
             start again: {command}"
        )
    }

    /// The largest dead letter that its topic is known to take.
    fn letter_bytes(&self) -> Option<usize> {
        let output = self.settings.kafka.dead_letter.as_ref()?;
        self.limits.record_bytes(self.settings.kafka.outputs.len(), output)
    }

    /// The broker refused a dead letter. It is never left out: the record's offset waits for it. One whose time its topic doesn't take is
    /// written once more, with the time of now.
    pub(super) fn on_letter_refused(&mut self, now: Instant, index: usize, seq: Seq, message: &Undelivered) {
        let lane = &mut self.lanes[index];
        let offset = lane.state.offset_of(seq).filter(|_| message.is_about_time());
        if offset.is_some_and(|offset| lane.retimed.insert(offset)) {
            self.tell(now, index, partition::Event::Undelivered { seq });
        } else {
            self.tell(now, index, partition::Event::Hopeless { seq, failure: &message.failure });
        }
    }

    /// Hands dead letters to the producer. `true` if it took something.
    pub(super) fn send_letters(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(letter) = self.letters.queue.front() {
            let index = self.lane_of(letter.seq);
            // Nothing of a lane is sent at the record that stopped it, or above.
            let index = index.filter(|&index| self.lanes[index].state.stops_at().is_none_or(|stop| letter.seq < stop));
            let mut failed = None;
            if let (Some(index), Some(producer)) = (index, &self.producer) {
                let tag = Tag { kind: producer::Kind::DeadLetter, seq: letter.seq };
                let record = letter.written.record();
                match producer.send(self.settings.kafka.outputs.len(), &record, -1, tag) {
                    Ok(()) => {
                        let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
                        self.bytes_out += size(record.key) + size(record.value);
                        let lane = &mut self.lanes[index];
                        lane.letters.push_back((letter.seq, letter.posted.clone()));
                        if let Some(offset) = lane.state.offset_of(letter.seq) {
                            lane.hand_over(offset);
                        }
                    }
                    Err(SendError::Full) => break,
                    Err(SendError::Failed(failure)) => {
                        failed = Some((index, letter.seq, failure, size::batch_bytes(&record)));
                    }
                }
            }
            busy = true;
            if let Some(letter) = self.letters.queue.pop_front() {
                self.letters.bytes = self.letters.bytes.saturating_sub(letter.bytes());
            }
            if let Some((index, seq, failure, bytes)) = failed {
                if failure.kind == Kind::TooLarge && self.make_room(now, bytes) {
                    return true;
                }
                self.on_letter_unsendable(now, index, seq, &failure);
            }
        }
        busy
    }

    /// The broker has the dead letters of these records of a lane.
    pub(super) fn on_letters_delivered(&mut self, now: Instant, index: usize, first: Seq, last: Seq) {
        let lane = &mut self.lanes[index];
        while let Some((_, posted)) = lane.letters.pop_front_if(|(seq, _)| *seq <= last) {
            self.metrics.dead_letters.with_label_values(&[&posted.step, posted.kind.label()]).inc();
        }
        self.tell(now, index, partition::Event::Delivered { first, last });
    }

    /// Says that a record is given up: each, unless there are many of a kind.
    pub(super) fn say_given_up(
        &mut self,
        now: Instant,
        index: usize,
        offset: i64,
        tries: u32,
        failure: &Failure,
        what: &str,
    ) {
        let step = failure.step.as_deref().unwrap_or_default();
        if self.timers.may_log(now, &format!("{what}, step `{step}`, {}", failure.kind.label())) {
            let partition = &self.lanes[index].partition;
            tracing::warn!(
                topic = &*partition.topic,
                partition = partition.partition,
                offset,
                attempts = tries,
                "{what}: {failure}"
            );
        }
    }
}
