//! PURE. One partition of a step with windows: a record's path into its cell, and a window's path out.
//!
//! The worker judges each record in the order of offsets, fetches the cells of a call, applies the changes when it returns, and shows the
//! windows that closed. `cycle.rs` makes all of it durable, `restore.rs` brings it back. Executors, outputs and timers are the worker's; it
//! also knows which records are settled, and says so with [`WindowedPartition::settle`].
//!
//! ```text
//! judge -> Fold -> fetch -> (executor) -> apply -> settle -> next_windows -> (executor: merge, emit) -> take_back_windows
//!       -> Late, Future, Untimed: the step's policy        close_idle: the clock instead of a record
//! ```
//!
//! Invariants: a slot has one call at a time; a window is shown when every record that could be in it is folded.

use super::cells::Call;
use super::cells::Changes;
use super::cells::Fold;
use super::cells::Malformed;
use super::cells::UNCHANGED;
use super::cycle::Committed;
use super::cycle::Cycles;
use super::cycle::Versions;
use super::early::Early;
use super::show::BatchId;
use super::show::Show;
use super::show::WindowBatch;
use super::slot::Key;
use super::slot::KeyHash;
use super::slot::SLOTS;
use super::slot::Slot;
use super::table::Table;
use super::time::EventTime;
use super::time::Reading;
use super::time::Timing;
use super::window::Window;

/// See the head of the file.
#[derive(Clone, Debug)]
pub struct WindowedPartition {
    pub(super) window: Window,
    pub(super) delivery: Delivery,
    /// The size of the largest cell, in bytes.
    cell_max: usize,
    pub(super) table: Table,
    pub(super) time: EventTime,
    pub(super) show: Show,
    pub(super) slots: [SlotState; SLOTS],
    /// Every source record below this offset is settled.
    pub(super) low: i64,
    pub(super) cycles: Cycles,
    pub(super) versions: Versions,
    /// Restored cells contain records up to this offset, some of which are read again.
    pub(super) last_stamp: Option<i64>,
    /// Changes when the partition is rewound: calls of an earlier epoch are stale.
    pub(super) epoch: u32,
}

/// The guarantee of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Outputs, changelog and offsets are written in this order.
    AtLeastOnce,
    /// Outputs, changelog and offsets are in one transaction.
    ExactlyOnce,
}

/// What a partition needs to know from its pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The step's windows.
    pub window: Window,
    /// The pipeline's guarantee.
    pub delivery: Delivery,
    /// The size of the largest cell, in bytes.
    pub cell_max: usize,
    /// The version of the plugin's state.
    pub version: u32,
    /// Whether windows are shown before they close, too.
    pub is_early: bool,
}

/// A record that arrives at the step.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its source offset.
    pub offset: i64,
    /// Its event time, in ms since 1970-01-01 UTC, if it has one.
    pub time: Option<i64>,
    /// The step's key.
    pub key: Key<'a>,
    /// The key's hash.
    pub hash: KeyHash,
}

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Fold it into the key's cell of the slice that starts here.
    Fold {
        /// In ms.
        slice: i64,
    },
    /// It was applied before the restart: it is settled.
    Applied,
    /// Its cell contains it already: it is settled.
    Folded,
    /// It is late: a window that it belongs to has closed.
    Late,
    /// Its time is too far ahead of the clock.
    Future,
    /// It has no time, or none that a window can have.
    Untimed,
}

/// The calls of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotState {
    /// The slot's records up to this source offset are folded.
    pub(super) folded: i64,
    /// The source offset of the last record of the call that is out.
    pub(super) out: Option<i64>,
}

impl SlotState {
    pub(super) fn new(folded: i64) -> SlotState {
        SlotState { folded, out: None }
    }
}

impl WindowedPartition {
    /// A partition without state, to be read from `start`. `now` is in ms since 1970-01-01 UTC.
    #[must_use]
    pub fn new(settings: Settings, start: i64, now: i64) -> WindowedPartition {
        WindowedPartition::resume(settings, Table::default(), Committed::start(start), now)
    }

    /// A partition whose state is as of `committed`.
    pub(super) fn resume(settings: Settings, table: Table, committed: Committed, now: i64) -> WindowedPartition {
        let Settings { window, delivery, cell_max, version, is_early } = settings;
        let show = Show::new(window, committed.shown.clone(), BatchId::default(), is_early.then(Early::new));
        WindowedPartition {
            window,
            delivery,
            cell_max,
            last_stamp: table.last_stamp(),
            table,
            time: EventTime::new(window, committed.applied, committed.reading, now),
            show,
            slots: committed.folded.map(SlotState::new),
            low: committed.applied,
            versions: Versions::new(version, committed.versions.clone()),
            cycles: Cycles::new(committed),
            epoch: 0,
        }
    }

    /// Whether records may be judged. At least once they wait while a window that the clock closed is not durable yet: a restart would not
    /// know of it, and judge them differently.
    #[must_use]
    pub fn may_judge(&self) -> bool {
        self.cycles.held_watermark().is_none()
    }

    /// Judges the next record. Records come in the order of their offsets. Several may have the same offset; they are judged together and
    /// folded in the same call. `now` is in ms.
    pub fn judge(&mut self, arrival: &Arrival<'_>, now: i64) -> Judged {
        debug_assert!(self.may_judge(), "records wait for the control record");
        let Arrival { offset, time, key, hash } = *arrival;
        if offset < self.cycles.committed().applied {
            return Judged::Applied;
        }
        match self.time.judge(offset, time, now) {
            Timing::InTime(slice) if self.is_folded(slice, hash, key, offset) => Judged::Folded,
            Timing::InTime(slice) => Judged::Fold { slice },
            Timing::Late => Judged::Late,
            Timing::Future => Judged::Future,
            Timing::Untimed => Judged::Untimed,
        }
    }

    /// Forgets that records from this source offset on were judged. None of them is folded. A cut that waits for them is withdrawn, as they
    /// may wait for a long retry: its boundary is fixed anew.
    pub fn take_back_from(&mut self, offset: i64) {
        self.time.take_back_from(offset);
        self.cancel_cut();
    }

    /// There are no records below this source offset that were not judged.
    pub fn advance(&mut self, position: i64) {
        self.time.advance(position);
    }

    /// Whether a record with this source offset may be handed to an executor: its slot has no call out, and the cycle that is about to be
    /// cut ends behind it.
    #[must_use]
    pub fn may_fetch(&self, slot: Slot, offset: i64) -> bool {
        self.slots[slot.index()].out.is_none() && self.cycles.boundary().is_none_or(|boundary| offset < boundary)
    }

    /// The cells of records of one slot, in the order of their offsets, for a call. Each record has the verdict [`Judged::Fold`].
    pub fn fetch<'a>(&mut self, slot: Slot, records: impl ExactSizeIterator<Item = Fold<'a>> + Clone) -> Call {
        let call = self.table.fetch(slot, self.epoch, records);
        debug_assert!(self.may_fetch(slot, call.last), "a slot has one call at a time, below the boundary");
        self.slots[slot.index()].out = Some(call.last);
        call
    }

    /// A call returned with its changes. Every record of it is settled: what failed left its cell unchanged. Nothing happens if the
    /// partition was rewound since.
    ///
    /// # Errors
    ///
    /// The changes are malformed. No cell is changed, and the call is given back.
    pub fn apply(&mut self, call: &Call, changes: Changes<'_>) -> Result<(), Malformed> {
        if call.epoch != self.epoch {
            return Ok(());
        }
        let slot = &mut self.slots[call.slot.index()];
        slot.out = None;
        self.table.apply(call, changes, self.cell_max)?;
        slot.folded = slot.folded.max(call.last);
        if let Some(early) = &mut self.show.early {
            let changed = call.places.iter().zip(changes.lengths).filter(|(_, length)| **length != UNCHANGED);
            changed.for_each(|(place, _)| early.change(place.slice, call.key(place)));
        }
        if let Some(slice) = call.places.iter().map(|place| place.slice).max() {
            self.versions.used(slice);
        }
        Ok(())
    }

    /// A call returned without a result: its records will be fetched again, also in other calls.
    pub fn give_back(&mut self, call: &Call) {
        if call.epoch == self.epoch {
            self.slots[call.slot.index()].out = None;
        }
    }

    /// Every source record below this offset is settled: folded, or dealt with by the step's policy.
    pub fn settle(&mut self, low: i64) {
        debug_assert!(low <= self.time.position(), "only what was judged is settled");
        self.low = self.low.max(low);
        // Windows that a record behind the boundary closes belong to the next cycle.
        self.time.settle(self.cycles.boundary().map_or(self.low, |boundary| boundary.min(self.low)));
        if self.last_stamp.is_some_and(|last| last < self.cycles.committed().applied) {
            self.last_stamp = None;
            self.table.forget_stamps();
        }
    }

    /// Closes windows by the clock if no record has arrived for a while, and returns whether it did. `is_caught_up`: the log was read to
    /// its end, and nothing is paused, halted, retried or in flight. At least once, a cycle is to be cut at once. `now` is in ms.
    pub fn close_idle(&mut self, now: i64, is_caught_up: bool) -> bool {
        let is_settled = self.low == self.time.position() && self.slots.iter().all(|slot| slot.out.is_none());
        if !is_caught_up || !is_settled || self.cycles.boundary().is_some() || !self.may_judge() {
            return false;
        }
        let before = self.time.low().watermark;
        let (window, table) = (self.window, &self.table);
        let has_closed = self.time.close_idle(now, |limit| {
            let last = table.slices_before(limit.saturating_sub(window.every()).saturating_add(1)).next_back()?;
            Some(window.floor(limit).min(window.last_end(last)))
        });
        if has_closed && self.delivery == Delivery::AtLeastOnce {
            self.cycles.hold(before);
        }
        has_closed
    }

    /// Whether [`WindowedPartition::next_windows`] has something, or will have it when a cycle was cut or is durable.
    #[must_use]
    pub fn has_windows(&self) -> bool {
        self.show.is_due(&self.table, self.time.low().watermark)
    }

    /// The next keys of closed windows, at most `keys_max`. An executor merges each key's cells and emits its result. Several batches may
    /// be out.
    pub fn next_windows(&mut self, keys_max: usize) -> Option<WindowBatch> {
        if self.cycles.boundary().is_some() {
            return None;
        }
        // At least once, a window that the clock closed is shown once that is durable.
        let watermark = self.cycles.held_watermark().unwrap_or_else(|| self.time.low().watermark);
        let batch = self.show.hand_out(&self.table, watermark, keys_max);
        self.drop_shown();
        batch
    }

    /// The outputs of a batch of windows were handed over, or it has failed and was dealt with by the step's policy.
    pub fn take_back_windows(&mut self, batch: BatchId) {
        self.show.take_back(batch);
        self.drop_shown();
    }

    /// Begins to show the keys of open windows that have changed since they were last shown. The caller chooses the times.
    pub fn begin_early(&mut self) {
        let closed = self.time.low().watermark;
        if let Some(early) = &mut self.show.early {
            early.begin(&self.table, &self.window, closed);
        }
    }

    /// Whether [`WindowedPartition::next_early`] may have something.
    #[must_use]
    pub fn has_early(&self) -> bool {
        self.show.early.as_ref().is_some_and(Early::is_passing)
    }

    /// The next keys of open windows, at most `keys_max`. They are not taken back.
    pub fn next_early(&mut self, keys_max: usize) -> Option<WindowBatch> {
        let closed = self.time.low().watermark;
        self.show.early.as_mut()?.next(&self.table, &self.window, closed, keys_max)
    }

    /// The step's windows.
    #[must_use]
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// The number of cells.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.table.cells()
    }

    /// Memory in use, in bytes: cells, undo logs and what waits to be written.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory() + self.time.memory() + self.show.memory()
    }

    /// The event time after all records that were judged.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.time.reading()
    }

    /// The number of windows that hold cells and are not shown whole.
    #[must_use]
    pub fn open_windows(&self) -> usize {
        let (every, mut last, mut windows) = (self.window.every(), self.show.cursor().end, 0);
        for slice in self.table.slices_from(i64::MIN) {
            let first = self.window.first_end(slice).max(last.saturating_add(every));
            let end = self.window.last_end(slice);
            windows += (end - first) / every + 1;
            last = end;
        }
        usize::try_from(windows).unwrap_or(0)
    }

    fn is_folded(&self, slice: i64, hash: KeyHash, key: Key<'_>, offset: i64) -> bool {
        // Read again after a rewind, or after a restart.
        offset <= self.slots[hash.slot().index()].folded
            || self.last_stamp.is_some_and(|last| offset <= last) && self.table.is_folded(slice, hash, key, offset)
    }

    /// Drops the slices whose last window is shown whole.
    fn drop_shown(&mut self) {
        let end = self.show.cursor().end;
        self.table.drop_slices(true, |slice| self.window.last_end(slice) <= end);
    }
}
