//! PURE. The outputs of a run of records on their way to the producer: how far they are sent, and which of them are too large.
//!
//! Outputs that are larger than their topic's known limit are found before any output of the run is sent. The known limit may be
//! outdated, and a record that fails for it can't be restored. So the run waits for one more answer about the limits, and is
//! checked again.

use std::sync::Arc;

use super::dead_letters::PendingDeadLetter;
use super::effects::Cursor;
use super::effects::Effects;
use super::effects::Output;
use super::executor::RunResult;
use super::lanes;
use super::named_topics::TopicLook;
use super::traced::RunTrace;
use crate::batch::Batch;
use crate::failure;
use crate::failure::Failure;
use crate::kafka::limits::TopicLimits;
use crate::kafka::settings::Output as Written;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::Seq;
use crate::record::Seqs;
use crate::sink::Routes;
use crate::sink::size;

/// A run whose outputs are being handed to the producer.
pub(super) struct Outgoing {
    /// The first record of the run.
    first: Seq,
    pub(super) batch: Arc<Batch>,
    /// Where the run begins in the batch.
    start: usize,
    /// The number of records of the run.
    len: usize,
    /// The number of records of the run whose outputs are sent.
    records: usize,
    /// The number of records of the run whose outputs and dead letters may be sent by now.
    allowed: usize,
    effects: Effects,
    cursor: Cursor,
    /// The dead letters of records of the run, in order; they follow its outputs.
    pub(super) dead_letters: Vec<PendingDeadLetter>,
    /// What of the outputs was checked.
    checked: Checked,
    /// Set when an output was too large: the number of the last answer about limits then. The run waits for a newer one.
    waits: Option<u64>,
    /// Bytes of the records and the dead letters.
    pub(super) bytes: usize,
}

/// An output that can't be sent: it is larger than its topic takes, or its topic can't be written.
#[derive(Debug)]
pub(super) struct Unsendable {
    /// The record, counted from the start of the run.
    pub(super) root: usize,
    pub(super) output: usize,
    pub(super) failure: Failure,
}

/// What a check of outputs needs to know.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    /// The known limits of topics.
    pub(super) limits: &'a TopicLimits,
    /// The number of the answer that had these limits.
    pub(super) told: u64,
    pub(super) outputs: &'a [Written],
    pub(super) routes: &'a Routes,
    /// The steps' names.
    pub(super) steps: &'a [Arc<str>],
    /// Whether a record that can't be sent is dead-lettered or skipped while the records after it continue.
    pub(super) continues: bool,
}

/// What was checked of the outputs of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    Nothing,
    /// That the topics that records name can be written.
    Topics,
    /// That, and that the topics take outputs of these sizes.
    Sizes,
}

/// Whether the topics that the records of a run name are known.
#[derive(Debug)]
pub(super) enum Naming {
    /// They are, and these outputs can't be sent.
    Known(Vec<Unsendable>),
    /// A broker has to be asked.
    Unknown,
}

/// Whether the outputs of a run may be sent.
#[derive(Debug)]
pub(super) enum Check {
    /// Yes, except for these.
    Send(Vec<Unsendable>),
    /// Not yet: ask for the topics' limits first.
    Ask,
    /// Not yet: the question is pending.
    Wait,
}

impl Outgoing {
    /// The outputs of the first `records` records of a run.
    pub(super) fn new(ran: &mut RunResult, records: usize, dead_letters: Vec<PendingDeadLetter>) -> Outgoing {
        let range = ran.range.start..ran.range.start + records;
        let dead_letter_bytes: usize = dead_letters.iter().map(PendingDeadLetter::bytes).sum();
        Outgoing {
            first: ran.first,
            bytes: lanes::bytes_of(&ran.batch, &range) + dead_letter_bytes,
            batch: Arc::clone(&ran.batch),
            start: range.start,
            len: ran.range.len(),
            records,
            allowed: ran.range.len(),
            effects: std::mem::take(&mut ran.effects),
            cursor: Cursor::default(),
            dead_letters,
            checked: Checked::Nothing,
            waits: None,
        }
    }

    /// The next output, if there is one. Returns the same output until [`Outgoing::advance`].
    pub(super) fn peek(&mut self, routes: &Routes) -> Option<Output<'_>> {
        let limit = self.records.min(self.allowed);
        self.cursor.peek(&self.effects, routes, &self.batch, self.start, limit)
    }

    /// Whether nothing is left to send, now or later.
    pub(super) fn is_empty(&mut self, routes: &Routes) -> bool {
        self.dead_letters.is_empty()
            && self.cursor.peek(&self.effects, routes, &self.batch, self.start, self.records).is_none()
    }

    /// The traces of its records, if any of them is recorded.
    pub(super) fn trace(&self) -> Option<&RunTrace> {
        self.effects.trace.as_deref()
    }

    /// Allows sending what belongs to records below this offset, and nothing else.
    pub(super) fn allow(&mut self, below: Offset) {
        let offsets = &self.batch.offsets()[self.start..self.start + self.len];
        self.allowed = offsets.partition_point(|&offset| offset < below.0);
    }

    /// Whether some records have to wait before their outputs may be sent.
    pub(super) fn is_held_back(&self) -> bool {
        self.allowed < self.records || !self.dead_letters.is_empty()
    }

    /// Whether nothing of what is left may be sent.
    pub(super) fn is_quiet(&mut self, routes: &Routes) -> bool {
        let end = self.seqs().at(self.allowed.min(self.len));
        self.dead_letters.first().is_none_or(|dead_letter| dead_letter.seq >= end) && self.peek(routes).is_none()
    }

    /// Takes the dead letters that may be sent.
    pub(super) fn take_dead_letters(&mut self) -> Vec<PendingDeadLetter> {
        let end = self.seqs().at(self.allowed.min(self.len));
        let upto = self.dead_letters.partition_point(|dead_letter| dead_letter.seq < end);
        self.dead_letters.drain(..upto).collect()
    }

    /// The assignment of the records.
    pub(super) fn assignment(&self) -> AssignmentId {
        self.first.assignment()
    }

    fn seqs(&self) -> Seqs<'_> {
        self.seqs_in(&self.batch)
    }

    /// The records' numbers, from the run's own batch.
    pub(super) fn seqs_in<'b>(&self, batch: &'b Batch) -> Seqs<'b> {
        batch.seqs(self.first, self.start..self.start + self.len)
    }

    /// Moves past the next output, which is of this layer.
    pub(super) fn advance(&mut self, layer: usize) {
        self.cursor.advance(layer);
    }

    /// The number of a record that is counted from the start of the run.
    pub(super) fn seq(&self, root: usize) -> Seq {
        self.seqs().at(root)
    }

    /// The index in the batch of a record that is counted from the start of the run.
    pub(super) fn place(&self, root: usize) -> usize {
        self.start + root
    }

    /// The offset of a record that is counted from the start of the run.
    pub(super) fn offset(&self, root: usize) -> i64 {
        self.batch.record(self.start + root).offset
    }

    /// Whether the run still includes this record, counted from the start of the run.
    pub(super) fn holds(&self, root: usize) -> bool {
        root < self.records
    }

    /// The pipeline stops at this record: nothing at or above it is sent any more, and everything below it is.
    pub(super) fn end_before(&mut self, seq: Seq) {
        let records = self.seqs().below(seq);
        self.records = self.records.min(records);
        self.dead_letters.retain(|dead_letter| dead_letter.seq < seq);
    }

    /// Drops the outputs of a record that are not sent yet. Returns how many there were.
    pub(super) fn give_up(&mut self, root: usize, routes: &Routes) -> u32 {
        let mut cursor = self.cursor.clone();
        let mut unsent = 0;
        while let Some(output) = cursor.peek(&self.effects, routes, &self.batch, self.start, root + 1) {
            unsent += u32::from(output.root == root);
            cursor.advance(output.layer);
        }
        self.effects.give_up(root);
        unsent
    }

    /// Adds a dead letter of a record of the run.
    pub(super) fn bury(&mut self, dead_letter: PendingDeadLetter) {
        self.bytes += dead_letter.bytes();
        let at = self.dead_letters.partition_point(|other| other.seq < dead_letter.seq);
        self.dead_letters.insert(at, dead_letter);
    }

    /// Whether its records name topics.
    pub(super) fn names_topics(&self) -> bool {
        self.effects.name_topics()
    }

    /// Looks up the topics that records name, once. `look` tells what is known of an output's topic, and `continues` whether the records
    /// after one that fails so are sent.
    pub(super) fn name(
        &mut self,
        rules: (&Routes, &[Arc<str>]),
        continues: impl Fn(&Failure) -> bool,
        mut look: impl FnMut(usize, &Arc<str>) -> TopicLook,
    ) -> Naming {
        if self.checked != Checked::Nothing || !self.names_topics() {
            return Naming::Known(Vec::new());
        }
        let (routes, steps) = rules;
        let mut found: Vec<Unsendable> = Vec::new();
        let mut is_unknown = false;
        let mut cursor = self.cursor.clone();
        while let Some(output) = cursor.peek(&self.effects, routes, &self.batch, self.start, self.records) {
            cursor.advance(output.layer);
            let Some(topic) = output.record.topic else { continue };
            if found.last().is_some_and(|found| found.root == output.root) {
                continue;
            }
            match look(output.output, topic) {
                TopicLook::Writable => {}
                TopicLook::Unknown => is_unknown = true,
                TopicLook::Fails(failure) => {
                    let step = steps.get(output.step).cloned();
                    let failure = Failure { step, digest: Some(Arc::clone(output.digest)), ..failure };
                    let ends = !continues(&failure);
                    found.push(Unsendable { root: output.root, output: output.output, failure });
                    if ends {
                        break;
                    }
                }
            }
        }
        if is_unknown {
            return Naming::Unknown;
        }
        self.checked = Checked::Topics;
        Naming::Known(found)
    }

    /// Whether the run's outputs may be sent.
    pub(super) fn check(&mut self, rules: Rules<'_>) -> Check {
        if self.checked == Checked::Sizes {
            return Check::Send(Vec::new());
        }
        if self.waits == Some(rules.told) {
            return Check::Wait;
        }
        let too_large = self.too_large(rules);
        if !too_large.is_empty() && self.waits.is_none() {
            self.waits = Some(rules.told);
            return Check::Ask;
        }
        self.checked = Checked::Sizes;
        Check::Send(too_large)
    }

    /// The records with an output that is larger than its topic's limit, each with its first such output. Only the first record
    /// if the pipeline stops there. Skips the check if the whole run is small enough.
    fn too_large(&self, rules: Rules<'_>) -> Vec<Unsendable> {
        let mut found: Vec<Unsendable> = Vec::new();
        let Rules { limits, outputs, routes, steps, continues, .. } = rules;
        let limit = |output: usize| limits.record_bytes(output, &outputs[output]);
        if (0..outputs.len()).filter_map(limit).min().is_none_or(|least| self.bytes_max() <= least) {
            return found;
        }
        let mut cursor = self.cursor.clone();
        while let Some(output) = cursor.peek(&self.effects, routes, &self.batch, self.start, self.records) {
            cursor.advance(output.layer);
            // The broker decides about a topic that a record named.
            let Some(limit) = limit(output.output).filter(|_| output.record.topic.is_none()) else { continue };
            if found.last().is_some_and(|found| found.root == output.root) || size::fits(&output.record, limit) {
                continue;
            }
            let name = outputs[output.output].topic_name();
            let bytes = size::batch_bytes(&output.record);
            let reason =
                format!("an output of {bytes} bytes, where topic `{name}` takes {limit} (`max.message.bytes`)");
            let step = steps.get(output.step).cloned();
            let failure = Failure::new(failure::Kind::TooLarge, step, reason);
            let failure = Failure { digest: Some(Arc::clone(output.digest)), ..failure };
            found.push(Unsendable { root: output.root, output: output.output, failure });
            if !continues {
                break;
            }
        }
        found
    }

    /// An upper bound for the size of any output of the run, with everything that the broker counts.
    fn bytes_max(&self) -> usize {
        let records = self.batch.slice(self.start..self.start + self.records);
        let read = records.data.len() + 5 * records.layout.len();
        read + self.effects.own_bytes_max() + size::overhead_max(0)
    }
}

#[cfg(test)]
mod tests;
