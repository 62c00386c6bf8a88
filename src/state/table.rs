//! PURE. All cells of one partition and one step: slices, then slots, then shelves.
//!
//! Cells are fetched for a call and changed when it returns, many at a time. Changes belong to the open cycle. [`Table::cut`] seals it and
//! opens the next one, which computes on while the sealed one is written; then the sealed one is committed, or both are undone. Dropping a
//! slice takes its shelves out of the table whole; they are kept until the cycle is committed, since it may be undone.
//!
//! The table knows no windows and no time. Invariant: a shelf has a log in a cycle if and only if it is listed in `touched`.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use super::cells::Call;
use super::cells::Changes;
use super::cells::Fold;
use super::cells::Malformed;
use super::shelf::Shelf;
use super::slice::Shelves;
use super::slice::Slice;
use super::slot::Key;
use super::slot::KeyHash;
use super::slot::SLOTS;
use super::slot::Slot;
use super::undo::Before;
use super::undo::Cycle;
use super::undo::EntryId;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    slices: BTreeMap<i64, Slice>,
    cycles: [CycleState; 2],
    open: Cycle,
    is_sealed: bool,
    cells: usize,
    memory: usize,
    /// For grouping the records of a call by key.
    scratch: HashTable<u32>,
    /// For finding the entries of a call.
    likely: Vec<Option<EntryId>>,
}

/// What a cycle did, besides what the logs of the shelves say.
#[derive(Clone, Debug, Default)]
struct CycleState {
    /// The shelves that have a log.
    touched: Vec<(i64, Slot)>,
    dropped: BTreeMap<i64, Dropped>,
}

/// A slice that a cycle dropped.
#[derive(Clone, Debug)]
struct Dropped {
    slice: Slice,
    /// How many entries of each shelf have a record in the changelog. Later entries were added and dropped in the same cycle.
    recorded: [usize; SLOTS],
    /// Whether an undone cycle brings it back. It doesn't if it was closed before the table was restored.
    returns: bool,
}

/// Where a scan continues: it visits slices, then slots, then cells in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScanPosition {
    slice: i64,
    slot: usize,
    entry: usize,
}

/// Where the iteration over a cycle's changes, or over dropped cells, continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    shelf: usize,
    entry: usize,
}

impl Table {
    /// The number of cells.
    pub(super) fn cells(&self) -> usize {
        self.cells
    }

    /// Memory in use in bytes, with the logs of both cycles and the slices that they dropped.
    pub(super) fn memory(&self) -> usize {
        let touched: usize = self.cycles.iter().map(|cycle| cycle.touched.capacity()).sum();
        self.memory + touched * size_of::<(i64, Slot)>() + self.slices.len() * size_of::<Slice>()
    }

    /// The starts of the slices that hold cells, from this one on.
    pub(super) fn slices_from(&self, slice: i64) -> impl DoubleEndedIterator<Item = i64> {
        self.slices.range(slice..).map(|(&slice, _)| slice)
    }

    /// The starts of the slices that hold cells, up to this one without it.
    pub(super) fn slices_before(&self, slice: i64) -> impl DoubleEndedIterator<Item = i64> {
        self.slices.range(..slice).map(|(&slice, _)| slice)
    }

    /// The shelf of a slice and a slot, if it has cells.
    pub(super) fn shelf(&self, slice: i64, slot: Slot) -> Option<&Shelf> {
        self.slices.get(&slice)?.shelves[slot.index()].as_deref()
    }

    /// The cells of these records, which are of one slot and in order of their offsets. The executor gets them with its call.
    pub(super) fn fetch<'a>(
        &mut self,
        slot: Slot,
        epoch: u32,
        records: impl ExactSizeIterator<Item = Fold<'a>> + Clone,
    ) -> Call {
        let mut call = Call::new(slot, epoch, records.len());
        let mut shelves = Shelves::new(&self.slices, slot);
        // First all places are looked up, then all entries are read: memory is waited for once and not for each record.
        self.likely.clear();
        self.likely.extend(records.clone().map(|record| shelves.of(record.slice)?.likely(record.hash)));
        for (record, likely) in records.clone().zip(&self.likely) {
            shelves.of(record.slice).zip(*likely).inspect(|(shelf, entry)| shelf.touch(*entry));
        }
        self.scratch.clear();
        for (record, &likely) in records.zip(&self.likely) {
            debug_assert!(record.hash.slot() == slot && record.offset >= call.last, "records of one slot, in order");
            call.last = record.offset;
            let hash = record.hash.within_slot();
            if let Some(&cell) = self.scratch.find(hash, |&cell| call.is_cell_of(cell as usize, &record)) {
                call.index.push(cell);
                continue;
            }
            let shelf = shelves.of(record.slice);
            let entry = shelf.zip(likely).and_then(|(shelf, likely)| shelf.find_from(likely, record.hash, record.key));
            let cell = shelf.zip(entry).and_then(|(shelf, entry)| shelf.cell(entry));
            let index = call.add(&record, entry, cell);
            call.index.push(index);
            let places = &call.places;
            self.scratch.insert_unique(hash, index, |&cell| places[cell as usize].hash.within_slot());
        }
        call
    }

    /// Changes the cells of a call that returned. Between fetching and changing no other call changed cells of this slot.
    ///
    /// # Errors
    ///
    /// The changes are malformed; no cell is changed.
    pub(super) fn apply(&mut self, call: &Call, changes: Changes<'_>, cell_max: usize) -> Result<(), Malformed> {
        changes.check(call.places.len(), cell_max)?;
        let mut work = call.places.iter().zip(changes.iter()).peekable();
        while let Some((first, _)) = work.peek() {
            let slice = first.slice;
            // A shelf is made only for a cell.
            let of_slice = std::iter::from_fn(|| work.next_if(|(place, _)| place.slice == slice));
            let mut of_slice = of_slice.filter_map(|(place, change)| Some((place, change?))).peekable();
            if of_slice.peek().is_none() {
                continue;
            }
            let open = self.open;
            self.with_shelf(slice, call.slot, |shelf| {
                let mut is_first = false;
                for (place, cell) in of_slice {
                    is_first |= match place.entry {
                        Some(entry) => shelf.change(entry, cell, open),
                        None => shelf.add(place.hash, call.key(place), cell, open),
                    };
                }
                is_first
            });
        }
        Ok(())
    }

    /// Adds the cell of a changelog record with its stamp, or replaces it. `None` is a tombstone.
    pub(super) fn restore(&mut self, slice: i64, key: Key<'_>, cell: Option<(i64, Option<&[u8]>)>) {
        let (hash, slot) = (KeyHash::of(key), KeyHash::of(key).slot());
        match cell {
            Some((stamp, cell)) => self.with_shelf(slice, slot, |shelf| {
                shelf.restore(hash, key, cell, stamp);
                false
            }),
            None if self.shelf(slice, slot).is_none() => {}
            None => self.with_shelf(slice, slot, |shelf| {
                shelf.remove_restored(hash, key);
                false
            }),
        }
        if cell.is_none() && self.shelf(slice, slot).is_some_and(Shelf::is_all_removed) {
            self.remove_shelf(slice, slot);
        }
    }

    /// Whether the cell of this key contains the record with this offset already, as a restored cell may.
    pub(super) fn is_folded(&self, slice: i64, hash: KeyHash, key: Key<'_>, offset: i64) -> bool {
        let Some(shelf) = self.shelf(slice, hash.slot()) else { return false };
        let stamp = shelf.find(hash, key).and_then(|entry| shelf.stamp(entry));
        stamp.is_some_and(|stamp| offset <= stamp)
    }

    /// The greatest offset that is folded into a restored cell.
    pub(super) fn last_stamp(&self) -> Option<i64> {
        self.slices.values().flat_map(Slice::shelves).filter_map(Shelf::last_stamp).max()
    }

    /// Forgets what [`Table::is_folded`] knows.
    pub(super) fn forget_stamps(&mut self) {
        let shelves = self.slices.values_mut().flat_map(|slice| slice.shelves.iter_mut().flatten());
        shelves.for_each(|shelf| shelf.forget_stamps());
        self.memory = self.memory_of_shelves();
    }

    /// Removes the first slices from the table, as long as their last windows were shown. They get no cells any more. With `returns` they
    /// come back if the open cycle is undone.
    pub(super) fn drop_slices(&mut self, returns: bool, is_shown: impl Fn(i64) -> bool) {
        while let Some(first) = self.slices.first_entry().filter(|first| is_shown(*first.key())) {
            let (start, slice) = first.remove_entry();
            self.drop_slice(start, slice, returns);
        }
    }

    fn drop_slice(&mut self, start: i64, slice: Slice, returns: bool) {
        let mut recorded = [0; SLOTS];
        for (recorded, shelf) in recorded.iter_mut().zip(&slice.shelves) {
            let Some(shelf) = shelf else { continue };
            self.cells -= shelf.len();
            *recorded = shelf.len() - shelf.added(self.open);
        }
        self.cycles[self.open.index()].dropped.insert(start, Dropped { slice, recorded, returns });
    }

    /// Whether the open cycle changed no cell and dropped no slice.
    pub(super) fn is_clean(&self) -> bool {
        let open = &self.cycles[self.open.index()];
        open.touched.is_empty() && open.dropped.is_empty()
    }

    /// Seals the open cycle and opens the next one. There is no sealed one.
    pub(super) fn cut(&mut self) {
        debug_assert!(!self.is_sealed, "one cycle is written at a time");
        self.open = self.open.other();
        self.is_sealed = true;
    }

    /// Hands out changed cells of the sealed cycle as they were at the cut, until `write` returns `false`. Cells that the cycle dropped
    /// are not among them. Returns whether these were the last ones.
    pub(super) fn changed(
        &self,
        progress: &mut Progress,
        mut write: impl FnMut(i64, Slot, Key<'_>, Option<&[u8]>) -> bool,
    ) -> bool {
        let sealed = self.open.other();
        let touched = &self.cycles[sealed.index()].touched;
        while let Some(&(slice, slot)) = touched.get(progress.shelf) {
            // A slice that the open cycle dropped was there at the cut.
            let dropped = self.cycles[self.open.index()].dropped.get(&slice).map(|dropped| &dropped.slice);
            let shelf = self.slices.get(&slice).or(dropped).and_then(|slice| slice.shelves[slot.index()].as_deref());
            while let Some((shelf, entry)) =
                shelf.and_then(|shelf| Some((shelf, shelf.changed(sealed, progress.entry)?)))
            {
                progress.entry += 1;
                if let Before::Cell(cell) = shelf.before(entry, self.open)
                    && !write(slice, slot, shelf.key(entry), cell)
                {
                    return false;
                }
            }
            *progress = Progress { shelf: progress.shelf + 1, entry: 0 };
        }
        true
    }

    /// Makes the sealed cycle final. The slices that it dropped don't come back; they are kept for [`Table::removed`].
    pub(super) fn commit(&mut self) {
        let sealed = self.open.other();
        let touched = std::mem::take(&mut self.cycles[sealed.index()].touched);
        let Table { slices, cycles: [first, second], open, memory, .. } = self;
        let [earlier, later] = if open.index() == 0 { [second, first] } else { [first, second] };
        earlier.dropped.values_mut().for_each(|dropped| dropped.returns = false);
        for (start, slot) in touched {
            // A slice that the sealed cycle dropped changes no more.
            let dropped = later.dropped.get_mut(&start).map(|dropped| &mut dropped.slice);
            let slice = slices.get_mut(&start).or(dropped);
            if let Some(shelf) = slice.and_then(|slice| slice.shelves[slot.index()].as_mut()) {
                let before = shelf.memory();
                shelf.commit(sealed);
                *memory = *memory + shelf.memory() - before;
            }
        }
        self.is_sealed = false;
    }

    /// Hands out the keys that the sealed cycle dropped and that have a record in the changelog, until `write` returns `false`. Returns
    /// whether these were the last ones.
    pub(super) fn removed(&self, progress: &mut Progress, mut write: impl FnMut(i64, Key<'_>) -> bool) -> bool {
        let dropped = &self.cycles[self.open.other().index()].dropped;
        for (&start, Dropped { slice, recorded, .. }) in dropped.iter().skip(progress.shelf / SLOTS) {
            for slot in Slot::all().skip(progress.shelf % SLOTS) {
                if let Some(shelf) = &slice.shelves[slot.index()] {
                    for entry in shelf.entries().take(recorded[slot.index()]).skip(progress.entry) {
                        progress.entry += 1;
                        if !shelf.is_removed(entry) && !write(start, shelf.key(entry)) {
                            return false;
                        }
                    }
                }
                *progress = Progress { shelf: progress.shelf + 1, entry: 0 };
            }
        }
        true
    }

    /// Releases the memory of the slices that the sealed cycle dropped: their cells were removed from the changelog.
    pub(super) fn release(&mut self) {
        let dropped = std::mem::take(&mut self.cycles[self.open.other().index()].dropped);
        self.memory -= dropped.values().flat_map(|dropped| dropped.slice.shelves()).map(Shelf::memory).sum::<usize>();
        debug_assert_eq!(self.memory, self.memory_of_shelves(), "every change of memory is counted");
    }

    /// Undoes everything since the last commit: the table is as it was at that commit's cut.
    pub(super) fn undo(&mut self) {
        let sealed = self.is_sealed.then(|| self.open.other());
        let mut kept = BTreeMap::new();
        for cycle in [Some(self.open), sealed].into_iter().flatten() {
            let CycleState { touched, dropped } = std::mem::take(&mut self.cycles[cycle.index()]);
            for (start, dropped) in dropped {
                if dropped.returns {
                    self.slices.insert(start, dropped.slice);
                } else {
                    // Closed before the table was restored, and still to be removed from the changelog.
                    kept.insert(start, dropped);
                }
            }
            for (start, slot) in touched {
                let shelf = self.slices.get_mut(&start).and_then(|slice| slice.shelves[slot.index()].as_deref_mut());
                shelf.into_iter().for_each(|shelf| shelf.undo(cycle));
            }
        }
        for slice in self.slices.values_mut() {
            slice.shelves.iter_mut().for_each(|shelf| _ = shelf.take_if(|shelf| shelf.len() == 0));
        }
        self.slices.retain(|_, slice| slice.shelves().next().is_some());
        self.cycles[self.open.index()].dropped = kept;
        self.is_sealed = false;
        self.cells = self.slices.values().flat_map(Slice::shelves).map(Shelf::len).sum();
        self.memory = self.memory_of_shelves();
    }

    fn remove_shelf(&mut self, start: i64, slot: Slot) {
        let Some(slice) = self.slices.get_mut(&start) else { return };
        if let Some(shelf) = slice.shelves[slot.index()].take() {
            self.cells -= shelf.len();
            self.memory -= shelf.memory();
        }
        if slice.shelves().next().is_none() {
            self.slices.remove(&start);
        }
    }

    /// The committed value of a key in each slice that has one.
    pub(super) fn committed(&self, key: Key<'_>, slices_max: usize) -> impl Iterator<Item = (i64, &[u8])> {
        let hash = KeyHash::of(key);
        self.committed_slices().take(slices_max).filter_map(move |(start, slice)| {
            let shelf = slice.shelves[hash.slot().index()].as_deref()?;
            Some((start, shelf.committed_cell(shelf.find(hash, key)?, self.open)?))
        })
    }

    /// How many slices [`Table::committed`] looks into without a limit.
    pub(super) fn committed_slice_count(&self) -> usize {
        self.committed_slices().count()
    }

    /// Visits the cells of the last commit from a position on, until `visit` returns `false`. Returns where it did.
    pub(super) fn visit_committed(
        &self,
        from: ScanPosition,
        mut visit: impl FnMut(i64, Key<'_>, Option<&[u8]>) -> bool,
    ) -> Option<ScanPosition> {
        let slices: BTreeMap<i64, &Slice> = self.committed_slices().filter(|(start, _)| *start >= from.slice).collect();
        for (&start, slice) in &slices {
            let (first_slot, mut first_entry) = if start == from.slice { (from.slot, from.entry) } else { (0, 0) };
            for slot in Slot::all().skip(first_slot) {
                let Some(shelf) = &slice.shelves[slot.index()] else { continue };
                for (at, entry) in shelf.entries().enumerate().skip(std::mem::take(&mut first_entry)) {
                    if !visit(start, shelf.key(entry), shelf.committed_cell(entry, self.open)) {
                        return Some(ScanPosition { slice: start, slot: slot.index(), entry: at });
                    }
                }
            }
        }
        None
    }

    /// The slices that had cells at the last commit, or have some now.
    fn committed_slices(&self) -> impl Iterator<Item = (i64, &Slice)> {
        let dropped = self.cycles.iter().flat_map(|cycle| &cycle.dropped).filter(|(_, dropped)| dropped.returns);
        let dropped = dropped.map(|(&start, dropped)| (start, &dropped.slice));
        dropped.chain(self.slices.iter().map(|(&start, slice)| (start, slice)))
    }

    fn with_shelf(&mut self, start: i64, slot: Slot, change: impl FnOnce(&mut Shelf) -> bool) {
        let slice = self.slices.entry(start).or_default();
        let shelf = slice.shelves[slot.index()].get_or_insert_with(|| {
            let shelf = Box::<Shelf>::default();
            self.memory += shelf.memory();
            shelf
        });
        let (memory, cells) = (shelf.memory(), shelf.len());
        if change(shelf) {
            self.cycles[self.open.index()].touched.push((start, slot));
        }
        self.cells += shelf.len() - cells;
        self.memory = self.memory + shelf.memory() - memory;
    }

    fn memory_of_shelves(&self) -> usize {
        let dropped = self.cycles.iter().flat_map(|cycle| cycle.dropped.values()).map(|dropped| &dropped.slice);
        self.slices.values().chain(dropped).flat_map(Slice::shelves).map(Shelf::memory).sum()
    }
}

impl ScanPosition {
    /// Where a scan begins.
    pub const START: ScanPosition = ScanPosition { slice: i64::MIN, slot: 0, entry: 0 };

    /// The start of the slice in ms, the slot, and the number of the entry: for a text that a client gives back.
    #[must_use]
    pub fn to_parts(self) -> (i64, usize, usize) {
        (self.slice, self.slot, self.entry)
    }

    /// The position of these parts. One that is nowhere in the table continues at what follows it.
    #[must_use]
    pub fn from_parts(slice: i64, slot: usize, entry: usize) -> ScanPosition {
        ScanPosition { slice, slot, entry }
    }
}
