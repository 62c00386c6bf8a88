//! Which records of one partition are settled, and up to where it is safe to commit.
//!
//! Pure: no clock, no Kafka. Records settle in any order; `low` moves only over a gapless prefix of the records *received*,
//! since their offsets may have holes. A late result of an older assignment never reaches this file.
//! Invariant: every record below `first` is settled, and the one at `first` is not.

use std::collections::VecDeque;

use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::Seq;

/// The records in flight, by number.
#[derive(Clone, Debug)]
pub(super) struct Watermark {
    entries: VecDeque<Entry>,
    first: Seq,
    /// Records below it have an outcome: their outputs were handed over, and only their acknowledgements are missing.
    sent: Seq,
    /// Where reading goes on: behind the last record received, or further when the consumer passed control markers.
    position: Offset,
    leader_epoch: i32,
    settled: Settled,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: i64,
    /// Outputs of which nothing was reported yet.
    pending: u32,
    /// Whether an output of it will never be acknowledged.
    is_missing: bool,
    leader_epoch: i32,
    fate: Fate,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Filtered,
    Emitted,
    /// Given up, with one dead letter.
    DeadLettered,
    /// Given up, with nothing.
    Skipped,
}

/// How many records were settled, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Records with at least one output, all of them acknowledged.
    pub emitted: u64,
    /// Records without outputs.
    pub filtered: u64,
    /// Records that were given up and whose dead letters are acknowledged.
    pub dead_lettered: u64,
    /// Records that were given up and left out.
    pub skipped: u64,
}

impl Entry {
    /// So many of its pending outputs are not coming; a dead letter is one more to wait for.
    fn give_up(&mut self, fate: Fate, unsent: u32) {
        self.pending = self.pending.saturating_sub(unsent) + u32::from(fate == Fate::DeadLettered);
        self.fate = fate;
    }
}

impl Watermark {
    pub(super) fn new(assignment: AssignmentId, position: Offset) -> Watermark {
        Watermark {
            entries: VecDeque::new(),
            first: Seq::first_of(assignment),
            sent: Seq::first_of(assignment),
            position,
            leader_epoch: -1,
            settled: Settled::default(),
        }
    }

    pub(super) fn receive(&mut self, offsets: &[i64], leader_epoch: i32) {
        self.entries.extend(offsets.iter().map(|&offset| Entry {
            offset,
            pending: 0,
            is_missing: false,
            leader_epoch,
            fate: Fate::Filtered,
        }));
        if let Some(last) = offsets.last() {
            self.position = Offset(last + 1);
        }
    }

    /// Gives the next records their outcome: so many outputs each, and those in `given_up`, by their places, their fate.
    pub(super) fn send(&mut self, outputs: &[u32], given_up: &[(usize, Fate)]) {
        let from = self.index(self.sent);
        for (entry, &count) in self.entries.iter_mut().skip(from).zip(outputs) {
            entry.pending = count;
            entry.fate = if count > 0 { Fate::Emitted } else { Fate::Filtered };
        }
        for &(place, fate) in given_up {
            if let Some(entry) = self.entries.get_mut(from + place) {
                entry.give_up(fate, entry.pending);
            }
        }
        self.sent = self.sent.plus(outputs.len());
        self.settle();
    }

    /// Gives up a record that has its outcome; so many of its outputs will never be acknowledged. `false` if it was given up
    /// before.
    pub(super) fn give_up(&mut self, seq: Seq, fate: Fate, unsent: u32) -> bool {
        if seq < self.first || seq >= self.sent {
            debug_assert!(false, "gave up {seq:?}, which is not waiting for acknowledgements");
            return false;
        }
        let index = self.index(seq);
        let entry = &mut self.entries[index];
        let fresh = matches!(entry.fate, Fate::Emitted | Fate::Filtered);
        if fresh {
            entry.give_up(fate, unsent);
        } else {
            entry.pending = entry.pending.saturating_sub(unsent);
        }
        self.settle();
        fresh
    }

    /// One output of each record from `first` to `last` was acknowledged.
    pub(super) fn acknowledge(&mut self, first: Seq, last: Seq) {
        if first < self.first || last >= self.sent || first > last {
            debug_assert!(
                false,
                "acknowledged {first:?} to {last:?}, but unsettled are {:?} to {:?}",
                self.first, self.sent
            );
            return;
        }
        let from = self.index(first);
        let count = self.index(last) - from + 1;
        for entry in self.entries.range_mut(from..from + count) {
            debug_assert!(entry.pending > 0, "an output was acknowledged twice");
            entry.pending = entry.pending.saturating_sub(1);
        }
        self.settle();
    }

    /// One output of a record will never be acknowledged: the record stays unsettled.
    pub(super) fn miss(&mut self, seq: Seq) {
        if seq < self.first || seq >= self.sent {
            debug_assert!(false, "missed an output of {seq:?}, which is not waiting for acknowledgements");
            return;
        }
        let index = self.index(seq);
        let entry = &mut self.entries[index];
        entry.pending = entry.pending.saturating_sub(1);
        entry.is_missing = true;
    }

    /// Whether something was reported of every output of the records that have an outcome.
    pub(super) fn is_reported(&self) -> bool {
        self.entries.range(..self.index(self.sent)).all(|entry| entry.pending == 0)
    }

    fn settle(&mut self) {
        while self.first < self.sent {
            let Some(&Entry { pending: 0, is_missing: false, leader_epoch, fate, .. }) = self.entries.front() else {
                break;
            };
            self.leader_epoch = leader_epoch;
            match fate {
                Fate::Emitted => self.settled.emitted += 1,
                Fate::Filtered => self.settled.filtered += 1,
                Fate::DeadLettered => self.settled.dead_lettered += 1,
                Fate::Skipped => self.settled.skipped += 1,
            }
            self.entries.pop_front();
            self.first = self.first.plus(1);
        }
    }

    /// The consumer stands here. It counts only with nothing in flight: a record on its way is below it.
    pub(super) fn advance_position(&mut self, position: Offset) {
        if self.entries.is_empty() && position > self.position {
            self.position = position;
        }
    }

    /// Forgets the records that have no outcome yet: they will be read again.
    pub(super) fn forget_unsent(&mut self) {
        let sent = self.index(self.sent);
        if let Some(entry) = self.entries.get(sent) {
            self.position = Offset(entry.offset);
        }
        self.entries.truncate(sent);
    }

    fn index(&self, seq: Seq) -> usize {
        seq.since(self.first).expect("the record is in flight")
    }

    /// Every record below this offset is settled.
    pub(super) fn low(&self) -> Offset {
        self.entries.front().map_or(self.position, |entry| Offset(entry.offset))
    }

    /// The leader epoch of the last settled record; -1 is unknown.
    pub(super) fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// The offset of a record in flight.
    pub(super) fn offset_of(&self, seq: Seq) -> Option<i64> {
        let index = seq.since(self.first)?;
        self.entries.get(index).map(|entry| entry.offset)
    }

    /// What was settled since the last call.
    pub(super) fn take_settled(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    /// Goes on counting from there.
    pub(super) fn restore_settled(&mut self, settled: Settled) {
        self.settled = settled;
    }

    /// The first record that is not settled.
    pub(super) fn first(&self) -> Seq {
        self.first
    }

    /// The first record without an outcome.
    pub(super) fn sent(&self) -> Seq {
        self.sent
    }

    /// The number of the next record to be received.
    pub(super) fn next(&self) -> Seq {
        self.first.plus(self.entries.len())
    }

    pub(super) fn position(&self) -> Offset {
        self.position
    }

    /// Records received and not settled.
    pub(super) fn in_flight(&self) -> usize {
        self.entries.len()
    }

    /// Whether every record with an outcome, or every one below `limit`, is settled.
    pub(super) fn is_acknowledged(&self, limit: Option<Seq>) -> bool {
        self.first >= limit.map_or(self.sent, |limit| limit.min(self.sent))
    }

    /// Whether the offsets in flight ascend and lie between `low` and `position`; for the invariants.
    pub(super) fn is_ordered(&self) -> bool {
        let offsets = self.entries.iter().map(|entry| entry.offset);
        self.first <= self.sent
            && self.sent <= self.next()
            && offsets.is_sorted_by(|a, b| a < b)
            && self.entries.back().map(|entry| entry.offset).is_none_or(|last| last < self.position.0)
    }
}
