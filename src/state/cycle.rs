//! PURE. The cycles of a partition: how its state and its progress become durable together.
//!
//! A cycle is cut at an offset, its *boundary*. The next cycle computes on while the one that was cut is written. With exactly once, the
//! boundary is behind everything that was handed out, nothing behind it is handed out until the cut, and all of the cycle is in one
//! transaction. At least once, the boundary is the low watermark and the order of writes makes it exact:
//!
//! 1. `Outputs`: all outputs that were handed over before the cut are acknowledged. So a window that the control record calls shown is out.
//! 2. `Cells`: each with the offset up to which its records are folded. So a record that is read again isn't folded twice.
//! 3. `Control`: the applied offset, the time there, and the windows that were shown.
//! 4. `Tombstones` of cells in windows that were shown. Earlier, a restart would find a window to show without its cells.
//! 5. `Offsets`: the applied offset is committed to the group.
//!
//! Each phase is acknowledged before the next one begins. Invariant: a restart from any prefix of these writes leads to the same results.

use super::changelog::CONTROL_KEY;
use super::changelog::CellValue;
use super::changelog::Control;
use super::changelog::encode_cell_key;
use super::show::Cursor;
use super::slot::SLOTS;
use super::table::Progress;
use super::time::Reading;
use super::window::Window;
use super::windowed::Delivery;
use super::windowed::SlotState;
use super::windowed::WindowedPartition;

/// What was cut, what is written, and what is durable.
#[derive(Clone, Debug)]
pub(super) struct Cycles {
    /// The state that an abort returns to.
    committed: Committed,
    /// Exactly once: where the cycle will be cut once everything below has returned.
    boundary: Option<i64>,
    /// The cycle that was cut and isn't durable yet.
    sealed: Option<Sealed>,
    /// At least once: the watermark before the clock closed a window, until a control record with the new one is durable.
    held: Option<i64>,
}

/// A partition's state as of a cut, besides its cells.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    /// Every source record below is applied.
    pub(super) applied: i64,
    pub(super) reading: Reading,
    pub(super) shown: Cursor,
    /// Up to which source offset each slot's records are folded. At least once, some may be ahead of `applied`.
    pub(super) folded: [i64; SLOTS],
    pub(super) versions: Vec<(u32, i64)>,
}

/// A cycle that was cut.
#[derive(Clone, Debug)]
struct Sealed {
    phase: Phase,
    state: Committed,
    /// The number of cells.
    cells: usize,
    /// Whether its control record makes a window durable that the clock closed.
    ends_hold: bool,
    progress: Progress,
    part: Part,
}

/// What is written next in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Cells,
    Control,
    Tombstones,
    Nothing,
}

/// What has to be acknowledged next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// At least once: every output that was handed to the producer before the cut.
    Outputs,
    /// At least once: the changed cells.
    Cells,
    /// At least once: the control record.
    Control,
    /// At least once: the tombstones.
    Tombstones,
    /// At least once: this offset is to be committed. It needn't be waited for.
    Offsets(i64),
    /// Exactly once: the transaction with the outputs of the cycle, the records of [`WindowedPartition::write`], and this offset.
    Transaction(i64),
}

/// A record of the changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangelogRecord<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// How a partition continues after an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewind {
    /// Its records are read again from this source offset.
    From(i64),
    /// Which of the cycle's changelog records were written is unknown, and what is computed again may differ: cells that came and went are
    /// not written in every schedule. The partition is to be dropped, and restored from the changelog.
    Restore,
}

impl WindowedPartition {
    /// Cuts a cycle, if there is anything to make durable and the cycle before is durable. With exactly once, the first call fixes the
    /// boundary, behind all records that were folded or are out, and at `handed` or behind it: the caller says that every record with an
    /// output in the transaction is below `handed`, like a late record or one with a dead letter. It is called again until every record
    /// below the boundary is settled, and windows that are out have returned. Returns whether a cycle was cut.
    pub fn cut_behind(&mut self, handed: i64) -> bool {
        if self.cycles.sealed.is_some() || !self.is_changed() {
            return false;
        }
        let boundary = match self.delivery {
            Delivery::AtLeastOnce => self.low,
            Delivery::ExactlyOnce => {
                let handed = self.handed_out().max(handed);
                let boundary = *self.cycles.boundary.get_or_insert(handed);
                if self.low < boundary || !self.show.is_idle() || self.slots.iter().any(|slot| slot.out.is_some()) {
                    return false;
                }
                boundary
            }
        };
        self.seal(boundary);
        true
    }

    /// Whether a cycle is being cut: nothing behind its boundary may be folded before it is.
    #[must_use]
    pub fn is_cutting(&self) -> bool {
        self.boundary().is_some()
    }

    /// The offset at which a cycle is being cut.
    #[must_use]
    pub fn boundary(&self) -> Option<i64> {
        self.cycles.boundary()
    }

    /// Withdraws a cut that waits for records or windows.
    pub(super) fn cancel_cut(&mut self) {
        self.cycles.boundary = None;
        self.settle(self.low);
    }

    /// Whether a cycle is to be cut without waiting for the interval, since records wait for it.
    #[must_use]
    pub fn needs_cut(&self) -> bool {
        self.cycles.held.is_some() && self.cycles.sealed.is_none()
    }

    /// The phase of the cycle that was cut; `None` if all are durable.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.cycles.sealed.as_ref().map(|sealed| sealed.phase)
    }

    /// Hands out changelog records of the phase, until they have this many bytes. Returns whether these were the last ones.
    pub fn write(&mut self, bytes_max: usize, mut record: impl FnMut(ChangelogRecord<'_>)) -> bool {
        let Some(sealed) = &mut self.cycles.sealed else { return true };
        let (mut key, mut value, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < bytes_max {
            let is_last = match sealed.part {
                Part::Cells => self.table.changed(&mut sealed.progress, |slice, slot, own, cell| {
                    key.clear();
                    value.clear();
                    encode_cell_key(slice, own, &mut key);
                    CellValue { upto: sealed.state.folded[slot.index()], cell }.encode(&mut value);
                    record(ChangelogRecord { key: &key, value: Some(&value) });
                    bytes += key.len() + value.len();
                    bytes < bytes_max
                }),
                Part::Control => {
                    value.clear();
                    sealed.control(&self.window).encode(&mut value);
                    record(ChangelogRecord { key: &CONTROL_KEY, value: Some(&value) });
                    bytes += value.len();
                    true
                }
                Part::Tombstones => self.table.removed(&mut sealed.progress, |slice, own| {
                    key.clear();
                    encode_cell_key(slice, own, &mut key);
                    record(ChangelogRecord { key: &key, value: None });
                    bytes += key.len();
                    bytes < bytes_max
                }),
                Part::Nothing => return true,
            };
            if is_last {
                (sealed.part, sealed.progress) = (sealed.next_part(), Progress::default());
            }
        }
        sealed.part == Part::Nothing
    }

    /// Everything of the phase is acknowledged: the next one begins. With exactly once, the transaction is committed.
    pub fn acknowledge(&mut self) {
        let Some(mut sealed) = self.cycles.sealed.take() else { return };
        debug_assert_eq!(sealed.part, Part::Nothing, "everything is written before it is acknowledged");
        let next = match sealed.phase {
            Phase::Outputs => Phase::Cells,
            Phase::Cells => Phase::Control,
            Phase::Control => {
                self.commit(&sealed);
                Phase::Tombstones
            }
            Phase::Tombstones => {
                self.table.release();
                Phase::Offsets(sealed.state.applied)
            }
            Phase::Offsets(_) => return,
            Phase::Transaction(_) => {
                self.commit(&sealed);
                self.table.release();
                return;
            }
        };
        sealed.begin(next);
        self.cycles.sealed = Some(sealed);
    }

    /// Undoes everything since the last durable cycle: a transaction was aborted, or an output was not delivered. Calls and windows that
    /// are out are not known any more. `now` is in ms.
    pub fn abort(&mut self, now: i64) -> Rewind {
        self.cycles.sealed = match self.cycles.sealed.take() {
            Some(sealed) if matches!(sealed.phase, Phase::Cells | Phase::Control) => return Rewind::Restore,
            Some(mut sealed) if matches!(sealed.phase, Phase::Tombstones | Phase::Offsets(_)) => {
                // The cycle is durable. Its tombstones may not be.
                sealed.begin(sealed.phase);
                Some(sealed)
            }
            Some(_) | None => None,
        };
        (self.cycles.boundary, self.cycles.held) = (None, None);
        self.table.undo();
        let Committed { applied, reading, ref shown, folded, ref versions } = self.cycles.committed;
        self.slots = folded.map(SlotState::new);
        self.low = applied;
        self.time.rewind(applied, reading, now);
        self.show.rewind(shown.clone());
        self.versions.rewind(versions.clone());
        self.epoch = self.epoch.wrapping_add(1);
        Rewind::From(applied)
    }

    /// Every source record below this offset is applied, and durably so.
    #[must_use]
    pub fn applied(&self) -> i64 {
        self.cycles.committed.applied
    }

    /// The event time at [`WindowedPartition::applied`].
    #[must_use]
    pub fn applied_reading(&self) -> Reading {
        self.cycles.committed.reading
    }

    /// Behind everything that was handed out and did not come back without a result.
    fn handed_out(&self) -> i64 {
        let last = self.slots.iter().flat_map(|slot| [Some(slot.folded), slot.out]).flatten().max();
        last.map_or(self.low, |last| self.low.max(last.saturating_add(1)))
    }

    /// Whether anything changed since the last cut.
    fn is_changed(&self) -> bool {
        let Committed { applied, reading, shown, .. } = &self.cycles.committed;
        let is_read = self.low > *applied || self.time.low() != *reading;
        is_read || !self.table.is_clean() || self.show.cursor() != shown
    }

    fn seal(&mut self, boundary: i64) {
        let reading = self.time.at(boundary);
        self.versions.forget(|slice| self.window.last_end(slice) <= self.show.cursor().end);
        let state = Committed {
            applied: boundary,
            reading,
            shown: self.show.cursor().clone(),
            folded: self.slots.map(|slot| slot.folded),
            versions: self.versions.present().to_vec(),
        };
        let phase = match self.delivery {
            Delivery::AtLeastOnce => Phase::Outputs,
            Delivery::ExactlyOnce => Phase::Transaction(boundary),
        };
        let (cells, ends_hold) = (self.table.cells(), self.cycles.held.is_some());
        let mut sealed = Sealed { phase, state, cells, ends_hold, progress: Progress::default(), part: Part::Nothing };
        sealed.begin(phase);
        self.table.cut();
        (self.cycles.sealed, self.cycles.boundary) = (Some(sealed), None);
        self.settle(self.low);
    }

    fn commit(&mut self, sealed: &Sealed) {
        self.table.commit();
        self.cycles.committed = sealed.state.clone();
        if sealed.ends_hold {
            self.cycles.held = None;
        }
    }
}

impl Cycles {
    pub(super) fn new(committed: Committed) -> Cycles {
        Cycles { committed, boundary: None, sealed: None, held: None }
    }

    pub(super) fn committed(&self) -> &Committed {
        &self.committed
    }

    pub(super) fn boundary(&self) -> Option<i64> {
        self.boundary
    }

    /// The clock closed a window; the watermark was this one before.
    pub(super) fn hold(&mut self, watermark: i64) {
        self.held = Some(watermark);
    }

    /// Leaves out the rule that records and windows wait for the control record.
    #[cfg(test)]
    pub(super) fn end_hold(&mut self) {
        self.held = None;
    }

    /// The watermark by which windows are shown while a newer one is not durable.
    pub(super) fn held_watermark(&self) -> Option<i64> {
        self.held
    }
}

impl Committed {
    /// Nothing is applied below `start`, where reading begins.
    pub(super) fn start(start: i64) -> Committed {
        Committed {
            applied: start,
            reading: Reading::START,
            shown: Cursor::START,
            folded: [i64::MIN; SLOTS],
            versions: Vec::new(),
        }
    }
}

impl Sealed {
    fn begin(&mut self, phase: Phase) {
        let part = match phase {
            Phase::Outputs | Phase::Offsets(_) => Part::Nothing,
            Phase::Cells | Phase::Transaction(_) => Part::Cells,
            Phase::Control => Part::Control,
            Phase::Tombstones => Part::Tombstones,
        };
        (self.phase, self.part, self.progress) = (phase, part, Progress::default());
    }

    /// What is written after the current part.
    fn next_part(&self) -> Part {
        match (self.part, self.phase) {
            (Part::Cells, Phase::Transaction(_)) => Part::Control,
            (Part::Control, Phase::Transaction(_)) => Part::Tombstones,
            (Part::Cells | Part::Control | Part::Tombstones | Part::Nothing, _) => Part::Nothing,
        }
    }

    fn control(&self, window: &Window) -> Control {
        let Committed { applied, reading, shown, versions, .. } = self.state.clone();
        let (size, every, cells) = (window.size(), window.every(), self.cells as u64);
        Control { applied, reading, shown, size, every, cells, versions }
    }
}

/// Which versions of the plugin's state the cells may have.
#[derive(Clone, Debug)]
pub(super) struct Versions {
    current: u32,
    /// Each with the last slice that may hold a cell of it, by version.
    present: Vec<(u32, i64)>,
}

impl Versions {
    pub(super) fn new(current: u32, present: Vec<(u32, i64)>) -> Versions {
        Versions { current, present }
    }

    pub(super) fn present(&self) -> &[(u32, i64)] {
        &self.present
    }

    /// A cell of the slice was written by the current version.
    pub(super) fn used(&mut self, slice: i64) {
        match self.present.binary_search_by_key(&self.current, |(version, _)| *version) {
            Ok(at) => self.present[at].1 = self.present[at].1.max(slice),
            Err(at) => self.present.insert(at, (self.current, slice)),
        }
    }

    /// Forgets the versions whose last slice is dropped.
    fn forget(&mut self, is_dropped: impl Fn(i64) -> bool) {
        self.present.retain(|(_, slice)| !is_dropped(*slice));
    }

    fn rewind(&mut self, present: Vec<(u32, i64)>) {
        self.present = present;
    }
}
