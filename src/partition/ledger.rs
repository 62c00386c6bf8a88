//! PURE. Which records of one partition are done, and up to where it is safe to commit.
//!
//! It knows nothing of the order in which records run, which is a strand's. The ledger has an entry for each record that was
//! received and isn't settled, in the order received. Records get their outcomes and settle in any order. Its prefixes are of the
//! records *received*, since offsets may have gaps. A sequence number of another assignment has no entry, and changes nothing.

use std::collections::VecDeque;

use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::Seq;
use crate::record::Seqs;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: Seq,
    /// Every record below has an outcome.
    produced: Seq,
    /// Records at an executor.
    running: usize,
    /// Records that have an outcome and aren't settled.
    unsettled: usize,
    /// Entries with an outcome: settled ones are among them as long as a record before them isn't settled.
    outcomes: u64,
    /// Whether an output will never be acknowledged.
    is_missing: bool,
    /// Where reading continues: after the last record received, or further when the consumer passed control markers.
    position: Offset,
    /// The leader epoch of the last settled record.
    leader_epoch: i32,
    /// Nothing at or above this record is committed.
    ceiling: Option<Seq>,
    /// The offset of the last cut.
    cut: Option<Offset>,
    /// Every record below is committed, as the broker confirmed; `None` if nothing is.
    committed: Option<Offset>,
    settled: Settled,
    /// Records settled since the last commit that covered all of them: an upper bound of those that aren't committed.
    uncommitted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: i64,
    leader_epoch: i32,
    progress: Progress,
}

/// There is an entry for each record in flight, and it is written several times, so it is kept small.
const _: () = assert!(size_of::<Entry>() == 24);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Waiting for its turn.
    Queued,
    /// At an executor.
    Running,
    /// Its outputs, or the dead letter in their place, were handed over.
    Produced {
        /// Outputs without a report yet.
        pending: u32,
        /// Whether one of its outputs will never be acknowledged.
        is_missing: bool,
        fate: Fate,
    },
    Settled(Fate),
}

/// How a record ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Filtered,
    Emitted,
    /// Failed, with one dead letter.
    DeadLettered,
    /// Failed, and skipped without a dead letter.
    Skipped,
}

/// How many records settled, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Records with at least one output, all of them acknowledged.
    pub emitted: u64,
    /// Records without outputs.
    pub filtered: u64,
    /// Failed records whose dead letters are acknowledged.
    pub dead_lettered: u64,
    /// Failed records that were skipped.
    pub skipped: u64,
}

/// The offset to commit: every record below is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boundary {
    pub(super) offset: Offset,
    /// The leader epoch of the last record below; -1 if unknown.
    pub(super) leader_epoch: i32,
}

impl Entry {
    /// Whether one of its outputs has no report yet.
    fn is_out(&self) -> bool {
        matches!(self.progress, Progress::Produced { pending: 1.., .. })
    }
}

impl Progress {
    /// The progress of a record with this many outputs, or that failed.
    fn outcome(outputs: u32, given_up: Option<Fate>) -> Progress {
        let fate = given_up.unwrap_or(if outputs > 0 { Fate::Emitted } else { Fate::Filtered });
        let pending = if given_up.is_some() { u32::from(fate == Fate::DeadLettered) } else { outputs };
        Progress::Produced { pending, is_missing: false, fate }.settle()
    }

    /// Settled, once all of its outputs are acknowledged.
    fn settle(self) -> Progress {
        let Progress::Produced { pending: 0, is_missing: false, fate } = self else { return self };
        Progress::Settled(fate)
    }
}

impl Ledger {
    /// A ledger of a partition that is read from `start`, which is committed or not.
    pub(super) fn new(assignment: AssignmentId, start: Offset, is_committed: bool) -> Ledger {
        Ledger {
            entries: VecDeque::new(),
            first: Seq::first_of(assignment),
            produced: Seq::first_of(assignment),
            running: 0,
            unsettled: 0,
            outcomes: 0,
            is_missing: false,
            position: start,
            leader_epoch: -1,
            ceiling: None,
            cut: is_committed.then_some(start),
            committed: is_committed.then_some(start),
            settled: Settled::default(),
            uncommitted: 0,
        }
    }

    pub(super) fn receive(&mut self, offsets: &[i64], leader_epoch: i32) {
        self.entries.extend(offsets.iter().map(|&offset| Entry { offset, leader_epoch, progress: Progress::Queued }));
        if let Some(last) = offsets.last() {
            self.position = Offset(last + 1);
        }
    }

    /// The consumer's position. It counts only with nothing in flight, as a record in flight is below it.
    pub(super) fn advance_position(&mut self, position: Offset) {
        if self.entries.is_empty() && position > self.position {
            self.position = position;
        }
    }

    /// These records were handed to an executor.
    pub(super) fn run(&mut self, seqs: Seqs<'_>) {
        for place in 0..seqs.len() {
            let Some(index) = self.index(seqs.at(place)) else { return };
            let entry = &mut self.entries[index];
            debug_assert_eq!(entry.progress, Progress::Queued, "handed out twice");
            entry.progress = Progress::Running;
            self.running += 1;
        }
    }

    /// Of these records, those without an outcome wait for their turn again.
    pub(super) fn requeue(&mut self, seqs: Seqs<'_>) {
        for place in seqs.below(self.produced)..seqs.len() {
            let Some(index) = self.index(seqs.at(place)) else { return };
            self.leave(index);
        }
    }

    fn leave(&mut self, index: usize) {
        if self.entries[index].progress == Progress::Running {
            self.entries[index].progress = Progress::Queued;
            self.running -= 1;
        }
    }

    /// Gives these records their outcomes: the number of outputs of each, and the fate of those in `given_up`, by index,
    /// ascending.
    pub(super) fn produce(&mut self, seqs: Seqs<'_>, outputs: &[u32], given_up: &[(usize, Fate)]) {
        let mut given_up = given_up.iter().peekable();
        for (place, &outputs) in outputs.iter().enumerate() {
            let Some(index) = self.index(seqs.at(place)) else { break };
            let entry = &mut self.entries[index];
            let fate = given_up.next_if(|(at, _)| *at == place).map(|(_, fate)| *fate);
            if entry.progress != Progress::Running {
                debug_assert!(false, "an outcome of {}, which no executor has", entry.offset);
                continue;
            }
            entry.progress = Progress::outcome(outputs, fate);
            self.running -= 1;
            self.outcomes += 1;
            self.unsettled += usize::from(matches!(entry.progress, Progress::Produced { .. }));
        }
        self.advance();
    }

    /// Dead-letters or skips a record that has its outcome. `unsent` of its outputs will never be acknowledged, and a dead letter
    /// is one more to wait for. `false` if the record was dead-lettered or skipped before.
    pub(super) fn give_up(&mut self, seq: Seq, fate: Fate, unsent: u32) -> bool {
        self.change(seq, |progress| {
            let Progress::Produced { pending, fate: before, .. } = progress else {
                debug_assert!(false, "gave up {seq:?}, which is not waiting for acknowledgements");
                return false;
            };
            *pending = pending.saturating_sub(unsent);
            let is_first = matches!(before, Fate::Emitted | Fate::Filtered);
            if is_first {
                *pending += u32::from(fate == Fate::DeadLettered);
                *before = fate;
            }
            is_first
        })
    }

    /// One output of each record from `first` to `last` was acknowledged.
    pub(super) fn acknowledge(&mut self, first: Seq, last: Seq) {
        let (Some(from), Some(to)) = (self.index(first), self.index(last)) else {
            debug_assert!(false, "acknowledged {first:?} to {last:?}, but in flight are {:?} on", self.first);
            return;
        };
        for entry in self.entries.range_mut(from..(to + 1).max(from)) {
            let Progress::Produced { pending: pending @ 1.., .. } = &mut entry.progress else {
                debug_assert!(false, "an output of {} was acknowledged twice", entry.offset);
                continue;
            };
            *pending -= 1;
            entry.progress = entry.progress.settle();
            self.unsettled -= usize::from(matches!(entry.progress, Progress::Settled(_)));
        }
        self.advance();
    }

    /// One output of a record will never be acknowledged: the record stays unsettled.
    pub(super) fn miss(&mut self, seq: Seq) {
        self.is_missing |= self.change(seq, |progress| {
            let Progress::Produced { pending, is_missing, .. } = progress else {
                debug_assert!(false, "missed an output of {seq:?}, which is not waiting for acknowledgements");
                return false;
            };
            *pending = pending.saturating_sub(1);
            *is_missing = true;
            true
        });
    }

    fn change(&mut self, seq: Seq, change: impl FnOnce(&mut Progress) -> bool) -> bool {
        let Some(index) = self.index(seq) else { return false };
        let progress = &mut self.entries[index].progress;
        let was_settled = matches!(progress, Progress::Settled(_));
        let changed = change(progress);
        *progress = progress.settle();
        self.unsettled -= usize::from(!was_settled && matches!(progress, Progress::Settled(_)));
        self.advance();
        changed
    }

    /// Advances both prefixes.
    fn advance(&mut self) {
        let from = self.produced.since(self.first).unwrap_or(0);
        let has_outcome = |entry: &&Entry| matches!(entry.progress, Progress::Produced { .. } | Progress::Settled(_));
        self.produced = self.produced.plus(self.entries.range(from..).take_while(has_outcome).count());
        while self.ceiling.is_none_or(|ceiling| self.first < ceiling)
            && let Some(&Entry { leader_epoch, progress: Progress::Settled(fate), .. }) = self.entries.front()
        {
            self.leader_epoch = leader_epoch;
            match fate {
                Fate::Emitted => self.settled.emitted += 1,
                Fate::Filtered => self.settled.filtered += 1,
                Fate::DeadLettered => self.settled.dead_lettered += 1,
                Fate::Skipped => self.settled.skipped += 1,
            }
            self.entries.pop_front();
            self.outcomes -= 1;
            self.uncommitted += 1;
            self.first = self.first.plus(1);
        }
    }

    /// Nothing at or above this record is committed, whatever its outcome. The ceiling only gets lower.
    pub(super) fn limit(&mut self, ceiling: Seq) {
        self.ceiling = Some(self.ceiling.map_or(ceiling, |before| before.min(ceiling)));
    }

    /// Stops waiting for records at or above the ceiling that executors have.
    pub(super) fn leave_running(&mut self) {
        let from = self.ceiling.and_then(|ceiling| ceiling.since(self.first)).unwrap_or(self.entries.len());
        (from..self.entries.len()).for_each(|index| self.leave(index));
    }

    /// The boundary up to which offsets may be committed; `None` if it is still the last one.
    pub(super) fn cut(&mut self) -> Option<Boundary> {
        let offset = self.low();
        if self.cut.is_some_and(|cut| cut >= offset) {
            return None;
        }
        self.cut = Some(offset);
        Some(Boundary { offset, leader_epoch: self.leader_epoch })
    }

    /// The broker confirmed a commit up to here.
    pub(super) fn confirm(&mut self, offset: Offset) {
        self.committed = Some(self.committed.map_or(offset, |before| before.max(offset)));
        if offset >= self.low() {
            self.uncommitted = 0;
        }
    }

    /// Forgets unsettled records and continues as another assignment. Returns where reading starts again.
    pub(super) fn abort(&mut self, assignment: AssignmentId) -> Offset {
        let low = self.low();
        let Ledger { leader_epoch, cut, committed, settled, uncommitted, .. } = *self;
        *self = Ledger { leader_epoch, cut, committed, settled, uncommitted, ..Ledger::new(assignment, low, false) };
        low
    }

    /// Forgets everything above `offset`, which is committed or not, and continues there as another assignment.
    pub(super) fn restart(&mut self, assignment: AssignmentId, offset: Offset, is_committed: bool) {
        let settled = self.settled;
        *self = Ledger { settled, ..Ledger::new(assignment, offset, is_committed) };
    }

    /// An upper bound of the records that are settled and not committed.
    pub(super) fn uncommitted(&self) -> u64 {
        self.uncommitted
    }

    /// The index of a record in flight.
    fn index(&self, seq: Seq) -> Option<usize> {
        seq.since(self.first).filter(|&index| index < self.entries.len())
    }

    pub(super) fn assignment(&self) -> AssignmentId {
        self.first.assignment()
    }

    /// Every record below this offset is settled.
    pub(super) fn low(&self) -> Offset {
        self.entries.front().map_or(self.position, |entry| Offset(entry.offset))
    }

    /// Everything below this offset is committed, as the broker confirmed; `None` if nothing is.
    pub(super) fn committed(&self) -> Option<Offset> {
        self.committed
    }

    /// The offset of a record in flight.
    pub(super) fn offset_of(&self, seq: Seq) -> Option<i64> {
        self.index(seq).map(|index| self.entries[index].offset)
    }

    /// The records settled since the last call.
    pub(super) fn take_settled(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    /// The end of the settled prefix: every record received below it is settled.
    pub(super) fn settled_prefix(&self) -> Seq {
        self.first
    }

    /// The end of the produced prefix: every record received below it has an outcome.
    pub(super) fn produced_prefix(&self) -> Seq {
        self.produced
    }

    /// Every record below this offset has an outcome.
    pub(super) fn produced_offset(&self) -> Offset {
        self.offset_of(self.produced).map_or(self.position, Offset)
    }

    /// How many records have an outcome and will be read again after a rewind: settled ones are among them as long as a record
    /// before them isn't settled.
    pub(super) fn outcomes(&self) -> u64 {
        self.outcomes
    }

    /// How many records have an outcome while a record before them has none.
    pub(super) fn behind_gap(&self) -> u64 {
        self.outcomes - self.produced.since(self.first).unwrap_or(0) as u64
    }

    /// Whether every record below the ceiling that has an outcome, as all records before it have, is settled.
    pub(super) fn is_prefix_settled(&self) -> bool {
        self.first >= self.ceiling.map_or(self.produced, |ceiling| ceiling.min(self.produced))
    }

    /// The number of the next record to be received.
    pub(super) fn next(&self) -> Seq {
        self.first.plus(self.entries.len())
    }

    pub(super) fn ceiling(&self) -> Option<Seq> {
        self.ceiling
    }

    /// Records received and not settled.
    pub(super) fn in_flight(&self) -> usize {
        self.entries.len()
    }

    /// Whether no record is at an executor.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0
    }

    /// Whether every record with an outcome is settled, or all records below the ceiling are.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.unsettled == 0 || self.ceiling.is_some_and(|ceiling| self.first >= ceiling)
    }

    /// Whether an output will never be acknowledged.
    pub(super) fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// Whether every output of the records below the ceiling has a report: other records may never get one, as they are not sent.
    pub(super) fn is_reported(&self) -> bool {
        let below = self.ceiling.and_then(|ceiling| ceiling.since(self.first)).unwrap_or(usize::MAX);
        !self.entries.iter().take(below).any(Entry::is_out)
    }

    /// Whether an output was handed to the producer and has no report yet.
    pub(super) fn is_out(&self) -> bool {
        self.entries.iter().any(Entry::is_out)
    }

    /// The first invariant that is broken.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let (mut running, mut unsettled, mut settled, mut is_ordered, mut last) = (0, 0, 0, true, i64::MIN);
        for entry in &self.entries {
            is_ordered &= entry.offset > last;
            last = entry.offset;
            match entry.progress {
                Progress::Running => running += 1,
                Progress::Produced { .. } => unsettled += 1,
                Progress::Settled(_) => settled += 1,
                Progress::Queued => {}
            }
        }
        let rules = [
            (self.cut.is_none_or(|cut| cut <= self.low()), "cut <= low"),
            (self.low() <= self.position && last < self.position.0, "what is in flight is below the position"),
            (self.first <= self.produced && self.produced <= self.next(), "the prefixes are in order"),
            (is_ordered, "the records in flight are in order"),
            (running == self.running, "running is what an executor has"),
            (unsettled == self.unsettled, "unsettled is what has an outcome and isn't settled"),
            ((unsettled + settled) as u64 == self.outcomes, "outcomes is what has an outcome"),
        ];
        rules.into_iter().find_map(|(holds, rule)| (!holds).then_some(rule))
    }
}
