//! PURE. The cells of one slot and one slice, as of three moments: now, the last cut, and the last commit.
//!
//! A shelf is a table of entries, which are only added while it lives, a hash index over them, and a heap with their keys and cells. Each
//! of two cycles, the *open* one and the *sealed* one before it, has a log of the cells that it changed, with their values before. The log
//! undoes a cycle, tells which cells go to the changelog, and answers what a cell was before. The shelf doesn't know which cycle is which:
//! the table says so. Invariant: an entry's mark names its newest record in a log of a cycle that is neither committed nor undone.

use hashbrown::HashTable;

use super::heap::Block;
use super::heap::Heap;
use super::slot::Key;
use super::slot::KeyHash;
use super::undo::Before;
use super::undo::Cycle;
use super::undo::EntryId;
use super::undo::Length;
use super::undo::Log;
use super::undo::Mark;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    entries: Vec<Entry>,
    index: HashTable<u32>,
    heap: Heap,
    logs: [Log; 2],
    /// Of restored entries: the greatest source offset that is folded into the cell, as its changelog record says.
    stamps: Vec<i64>,
    /// How many restored entries were removed.
    removed: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Holds the key, then the cell.
    block: Block,
    room: u32,
    key: Length,
    cell: Length,
    mark: Mark,
}

/// There is an entry for each cell, so it is kept small.
const _: () = assert!(size_of::<Entry>() == 20);

/// A stamp of an entry that was removed while the shelf was restored.
const REMOVED: i64 = i64::MIN;
impl Shelf {
    /// The entry of a key.
    #[inline]
    pub(super) fn find(&self, hash: KeyHash, key: Key<'_>) -> Option<EntryId> {
        let length = Length::of(key);
        let is_key = |&entry: &u32| {
            let Entry { block, key: own, .. } = self.entries[entry as usize];
            own == length && self.heap.read(block, 0, own.bytes()) == key.unwrap_or_default()
        };
        self.index.find(hash.within_slot(), is_key).map(|&entry| EntryId(entry))
    }

    /// An entry that is probably that of a key with this hash; `None` if there is none.
    #[inline]
    pub(super) fn likely(&self, hash: KeyHash) -> Option<EntryId> {
        self.index.iter_hash(hash.within_slot()).next().map(|&entry| EntryId(entry))
    }

    /// The entry of a key, when another look at the table is seldom needed.
    #[inline]
    pub(super) fn find_from(&self, likely: EntryId, hash: KeyHash, key: Key<'_>) -> Option<EntryId> {
        if self.key(likely) == key { Some(likely) } else { self.find(hash, key) }
    }

    /// Brings an entry into the processor's cache.
    #[inline]
    pub(super) fn touch(&self, entry: EntryId) {
        let Entry { block, key, cell, .. } = self.entries[entry.0 as usize];
        std::hint::black_box(self.heap.read(block, 0, key.bytes() + cell.bytes()).first());
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All entries, in the order in which they were added.
    pub(super) fn entries(&self) -> impl Iterator<Item = EntryId> + use<> {
        (0..).take(self.entries.len()).map(EntryId)
    }

    /// An entry's key.
    #[inline]
    pub(super) fn key(&self, entry: EntryId) -> Key<'_> {
        let Entry { block, key, .. } = self.entries[entry.0 as usize];
        (key != Length::NONE).then(|| self.heap.read(block, 0, key.bytes()))
    }

    /// A cell's value.
    #[inline]
    pub(super) fn cell(&self, entry: EntryId) -> Option<&[u8]> {
        let Entry { block, key, cell, .. } = self.entries[entry.0 as usize];
        (cell != Length::NONE).then(|| self.heap.read(block, key.bytes(), cell.bytes()))
    }

    /// A cell's value before the open cycle.
    pub(super) fn before(&self, entry: EntryId, open: Cycle) -> Before<'_> {
        match self.entries[entry.0 as usize].mark.of(open) {
            Some(change) => self.logs[open.index()].before(change),
            None => Before::Cell(self.cell(entry)),
        }
    }

    /// A cell's value before the sealed cycle and the open one.
    fn committed(&self, entry: EntryId, open: Cycle) -> Before<'_> {
        let mark = self.entries[entry.0 as usize].mark;
        let sealed = open.other();
        let earlier = mark.of(open).map_or(mark, |change| self.logs[open.index()].changes[change].mark);
        match earlier.of(sealed) {
            Some(change) => self.logs[sealed.index()].before(change),
            None => self.before(entry, open),
        }
    }

    /// The value of [`Shelf::committed`], if there is one.
    pub(super) fn committed_cell(&self, entry: EntryId, open: Cycle) -> Option<&[u8]> {
        match self.committed(entry, open) {
            Before::Cell(cell) => cell,
            Before::Absent => None,
        }
    }

    /// Changes a cell. Returns whether it is the first change of the cycle in this shelf.
    #[inline]
    pub(super) fn change(&mut self, entry: EntryId, cell: Option<&[u8]>, cycle: Cycle) -> bool {
        let is_first = self.keep(entry, cycle);
        self.store(entry, cell);
        is_first
    }

    /// Adds a cell whose key has no entry. Returns whether it is the first change of the cycle in this shelf.
    pub(super) fn add(&mut self, hash: KeyHash, key: Key<'_>, cell: Option<&[u8]>, cycle: Cycle) -> bool {
        let entry = self.append(hash, key, cell);
        let log = &mut self.logs[cycle.index()];
        self.entries[entry.0 as usize].mark = Mark::new(cycle, log.changes.len());
        log.added += 1;
        log.push(entry, Mark::NONE, Length::ABSENT, &[])
    }

    /// Adds the cell of a changelog record or replaces it by a later one.
    pub(super) fn restore(&mut self, hash: KeyHash, key: Key<'_>, cell: Option<&[u8]>, stamp: i64) {
        match self.find(hash, key) {
            Some(entry) => {
                self.store(entry, cell);
                self.removed -= usize::from(self.is_removed(entry));
                self.stamps[entry.0 as usize] = stamp;
            }
            None => {
                self.append(hash, key, cell);
                self.stamps.push(stamp);
            }
        }
    }

    /// Removes a cell because of a tombstone in the changelog. The entry remains, without a value.
    pub(super) fn remove_restored(&mut self, hash: KeyHash, key: Key<'_>) {
        if let Some(entry) = self.find(hash, key) {
            self.store(entry, None);
            self.removed += usize::from(!self.is_removed(entry));
            self.stamps[entry.0 as usize] = REMOVED;
        }
    }

    /// Whether the changelog has a record of this entry, as far as its restored stamp tells.
    pub(super) fn is_removed(&self, entry: EntryId) -> bool {
        self.stamps.get(entry.0 as usize) == Some(&REMOVED)
    }

    /// Whether every entry was removed while the shelf was restored.
    pub(super) fn is_all_removed(&self) -> bool {
        self.removed == self.entries.len()
    }

    /// The greatest source offset folded into a restored cell.
    #[inline]
    pub(super) fn stamp(&self, entry: EntryId) -> Option<i64> {
        self.stamps.get(entry.0 as usize).copied()
    }

    /// The greatest of the stamps.
    pub(super) fn last_stamp(&self) -> Option<i64> {
        self.stamps.iter().max().copied()
    }

    /// Forgets the stamps: every record that they are about was read again.
    pub(super) fn forget_stamps(&mut self) {
        self.stamps = Vec::new();
    }

    /// How many entries a cycle added.
    pub(super) fn added(&self, cycle: Cycle) -> usize {
        self.logs[cycle.index()].added
    }

    /// The entry of a cycle's change.
    pub(super) fn changed(&self, cycle: Cycle, change: usize) -> Option<EntryId> {
        self.logs[cycle.index()].changes.get(change).map(|change| change.entry)
    }

    /// Makes the changes of the sealed cycle final.
    pub(super) fn commit(&mut self, sealed: Cycle) {
        let open = sealed.other();
        let mut log = std::mem::take(&mut self.logs[sealed.index()]);
        for change in &log.changes {
            let mark = &mut self.entries[change.entry.0 as usize].mark;
            match mark.of(open) {
                Some(later) => self.logs[open.index()].changes[later].mark = Mark::NONE,
                None => *mark = Mark::NONE,
            }
        }
        log.clear();
        self.logs[sealed.index()] = log;
    }

    /// Undoes a cycle's changes. The open cycle is undone before the sealed one.
    pub(super) fn undo(&mut self, cycle: Cycle) {
        let log = std::mem::take(&mut self.logs[cycle.index()]);
        for (index, change) in log.changes.iter().enumerate().rev() {
            match log.before(index) {
                Before::Absent => self.remove_last(change.entry),
                Before::Cell(cell) => {
                    self.store(change.entry, cell);
                    self.entries[change.entry.0 as usize].mark = change.mark;
                }
            }
        }
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        let logs: usize = self.logs.iter().map(Log::memory).sum();
        let entries = self.entries.capacity() * size_of::<Entry>() + self.stamps.capacity() * size_of::<i64>();
        size_of::<Shelf>() + entries + self.index.allocation_size() + self.heap.memory() + logs
    }

    /// Logs a cell's value, at its first change in a cycle. Returns whether it is the first change of all.
    #[inline]
    fn keep(&mut self, entry: EntryId, cycle: Cycle) -> bool {
        let Entry { block, key, cell, mark, .. } = self.entries[entry.0 as usize];
        if mark.of(cycle).is_some() {
            return false;
        }
        let log = &mut self.logs[cycle.index()];
        self.entries[entry.0 as usize].mark = Mark::new(cycle, log.changes.len());
        log.push(entry, mark, cell, self.heap.read(block, key.bytes(), cell.bytes()))
    }

    fn append(&mut self, hash: KeyHash, key: Key<'_>, cell: Option<&[u8]>) -> EntryId {
        let entry = u32::try_from(self.entries.len()).expect("the memory budget is below 4 G cells");
        let bytes = key.unwrap_or_default();
        let room = Heap::room(bytes.len() + cell.map_or(0, <[u8]>::len));
        let block = self.heap.allocate(room);
        self.heap.write(block, 0, bytes);
        self.heap.write(block, bytes.len(), cell.unwrap_or_default());
        reserve(&mut self.entries);
        self.entries.push(Entry { block, room, key: Length::of(key), cell: Length::of(cell), mark: Mark::NONE });
        let (entries, heap) = (&self.entries, &self.heap);
        self.index.insert_unique(hash.within_slot(), entry, |&entry| {
            let Entry { block, key, .. } = entries[entry as usize];
            KeyHash::of((key != Length::NONE).then(|| heap.read(block, 0, key.bytes()))).within_slot()
        });
        EntryId(entry)
    }

    #[inline]
    fn store(&mut self, entry: EntryId, cell: Option<&[u8]>) {
        let Entry { block, room, key, .. } = self.entries[entry.0 as usize];
        let value = cell.unwrap_or_default();
        let needed = Heap::room(key.bytes() + value.len());
        self.entries[entry.0 as usize].cell = Length::of(cell);
        if needed <= room {
            self.heap.write(block, key.bytes(), value);
            return;
        }
        let bytes = self.heap.read(block, 0, key.bytes()).to_vec();
        let moved = self.heap.allocate(needed);
        self.heap.write(moved, 0, &bytes);
        self.heap.write(moved, bytes.len(), value);
        self.heap.release(block, room);
        (self.entries[entry.0 as usize].block, self.entries[entry.0 as usize].room) = (moved, needed);
    }

    /// Removes the entry that was added last.
    fn remove_last(&mut self, entry: EntryId) {
        debug_assert_eq!(entry.0 as usize + 1, self.entries.len(), "entries are removed in the reverse order");
        let hash = KeyHash::of(self.key(entry)).within_slot();
        if let Ok(found) = self.index.find_entry(hash, |&own| own == entry.0) {
            found.remove();
        }
        if let Some(Entry { block, room, .. }) = self.entries.pop() {
            self.heap.release(block, room);
        }
    }
}

/// Makes room for one more, by a quarter: doubling would leave a third of the memory unused.
#[inline]
fn reserve(entries: &mut Vec<Entry>) {
    if entries.len() == entries.capacity() {
        entries.reserve_exact((entries.len() / 4).max(4));
    }
}
