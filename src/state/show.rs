//! PURE. Shows closed windows: which keys, in which order, and up to where they are out.
//!
//! Windows are shown one after another by their ends, the keys of a window in the order of [`Rank`], in batches. Several batches may be out
//! at executors and come back in any order. The cells of a closed window don't change any more, so a batch can be made again from the same
//! cells at any time: after a crash it begins behind the last key that the control record names. Invariant: the cursor is behind every
//! batch that returned and had all batches before it returned.

use std::collections::VecDeque;

use super::early::Early;
use super::slot::Key;
use super::slot::Rank;
use super::slot::SLOTS;
use super::slot::Slot;
use super::table::Table;
use super::time::NO_TIME;
use super::undo::EntryId;
use super::window::Window;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Show {
    window: Window,
    cursor: Cursor,
    /// Every window that ends here or before was handed out.
    handed: i64,
    /// The window that is being handed out.
    current: Option<Current>,
    /// Batches that were handed out, in order, up to the first that has not returned.
    out: VecDeque<Out>,
    next: BatchId,
    /// If windows are shown before they close, too.
    pub(super) early: Option<Early>,
}

/// Up to where windows are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Windows that end here or before are shown whole; [`NO_TIME`] if none is.
    pub end: i64,
    /// The window that is shown in part.
    pub partly: Option<Partly>,
}

/// A window that is shown in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partly {
    /// Its end.
    pub end: i64,
    /// The last key that is shown.
    pub key: Option<Vec<u8>>,
}

/// Identifies a batch of windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(u64);

impl BatchId {
    /// The number of all batches of windows that have not closed, which are not taken back.
    const EARLY: BatchId = BatchId(u64::MAX);
}

/// Keys of a closed window, whose results are to be emitted.
#[derive(Clone, Debug)]
pub struct WindowBatch {
    /// To be returned to [`super::WindowedPartition::take_back_windows`].
    pub id: BatchId,
    /// Whether the window has closed. Otherwise it will be shown again.
    pub is_closed: bool,
    /// Where the window starts, in ms.
    pub start: i64,
    /// Where it ends, in ms.
    pub end: i64,
    /// The length of each key; -1 is null.
    pub keys: Vec<i32>,
    /// The bytes of the keys.
    pub key_data: Vec<u8>,
    /// How many cells each key has: one for each slice with a value, at least one, in the order of the slices. They are to be merged.
    pub parts: Vec<u32>,
    /// The length of each cell.
    pub cells: Vec<i32>,
    /// The bytes of the cells.
    pub cell_data: Vec<u8>,
}

/// A window that is being handed out.
#[derive(Clone, Debug)]
struct Current {
    end: i64,
    /// The next slot to list.
    slot: usize,
    /// What is listed and not handed out, in order.
    listed: VecDeque<Listed>,
    /// The last key that is shown, when the window is continued.
    after: Option<Option<Vec<u8>>>,
}

/// A cell of the current window.
#[derive(Clone, Copy, Debug)]
struct Listed {
    order: u64,
    slice: i64,
    entry: EntryId,
}

/// A batch that was handed out.
#[derive(Clone, Debug)]
struct Out {
    id: BatchId,
    end: i64,
    /// Its last key; `None` if the rest of the window is in it.
    last: Option<Option<Vec<u8>>>,
    is_back: bool,
}

impl Cursor {
    /// Nothing is shown.
    pub const START: Cursor = Cursor { end: NO_TIME, partly: None };
}

impl Show {
    pub(super) fn new(window: Window, cursor: Cursor, next: BatchId, early: Option<Early>) -> Show {
        Show { window, handed: cursor.end, cursor, current: None, out: VecDeque::new(), next, early }
    }

    /// Up to where everything is shown.
    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Whether no batch is out.
    pub(super) fn is_idle(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether a window up to the watermark has something that was not handed out.
    pub(super) fn is_due(&self, table: &Table, watermark: i64) -> bool {
        self.current.is_some() || self.next_end(table).is_some_and(|end| end <= watermark)
    }

    /// The next keys of windows that end at the watermark or before; `None` if all are handed out.
    pub(super) fn hand_out(&mut self, table: &Table, watermark: i64, keys: usize) -> Option<WindowBatch> {
        loop {
            if self.current.is_none() {
                let end = self.next_end(table).filter(|&end| end <= watermark)?;
                let after =
                    self.cursor.partly.as_ref().filter(|partly| partly.end == end).map(|partly| partly.key.clone());
                self.current = Some(Current { end, slot: 0, listed: VecDeque::new(), after });
            }
            let current = self.current.as_mut()?;
            let mut batch = WindowBatch::new(self.next, self.window.start(current.end), current.end);
            current.fill(table, &self.window, keys.max(1), &mut batch);
            let is_whole = current.is_at_end(table, &self.window);
            let last = (!is_whole).then(|| batch.last_key().map(<[u8]>::to_vec));
            let is_empty = batch.keys.is_empty();
            // A window may have nothing to show: its end is still passed.
            self.out.push_back(Out { id: batch.id, end: batch.end, last, is_back: is_empty });
            self.next.0 += 1;
            if is_whole {
                self.handed = batch.end;
                self.current = None;
            }
            if !is_empty {
                return Some(batch);
            }
            self.advance();
        }
    }

    /// A batch's outputs were handed over.
    pub(super) fn take_back(&mut self, id: BatchId) {
        if let Ok(at) = self.out.binary_search_by_key(&id, |out| out.id) {
            self.out[at].is_back = true;
        }
        self.advance();
    }

    /// Moves the cursor over the batches that are back.
    fn advance(&mut self) {
        while let Some(Out { end, last, .. }) = self.out.pop_front_if(|out| out.is_back) {
            self.cursor = match last {
                None => Cursor { end, partly: None },
                Some(key) => Cursor { end: self.cursor.end, partly: Some(Partly { end, key }) },
            };
        }
    }

    /// Begins again behind an earlier cursor. Batches that are out are not known any more.
    pub(super) fn rewind(&mut self, cursor: Cursor) {
        *self = Show::new(self.window, cursor, self.next, self.early.as_ref().map(|_| Early::new()));
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        let listed = self.current.as_ref().map_or(0, |current| current.listed.capacity());
        let early = self.early.as_ref().map_or(0, Early::memory);
        listed * size_of::<Listed>() + self.out.capacity() * size_of::<Out>() + early
    }

    /// The end of the next window that has something to show.
    fn next_end(&self, table: &Table) -> Option<i64> {
        let after = self.handed;
        // The windows of these slices end later than what was handed out.
        let first = table.slices_from(after.saturating_sub(self.window.size()).saturating_add(1)).next()?;
        let next = if after == NO_TIME { NO_TIME } else { after.saturating_add(self.window.every()) };
        Some(self.window.first_end(first).max(next))
    }
}

impl Current {
    /// Moves keys into the batch until it has this many.
    fn fill(&mut self, table: &Table, window: &Window, keys: usize, batch: &mut WindowBatch) {
        while batch.keys.len() < keys && self.list(table, window) {
            let Some(&Listed { order, slice, entry }) = self.listed.front() else { return };
            let slot = Slot::of_order(order);
            let Some(key) = table.shelf(slice, slot).map(|shelf| shelf.key(entry)) else { return };
            let mut parts = 0;
            while let Some(listed) = self.listed.pop_front_if(|listed| {
                listed.order == order
                    && table.shelf(listed.slice, slot).is_some_and(|shelf| shelf.key(listed.entry) == key)
            }) {
                let cell = table.shelf(listed.slice, slot).and_then(|shelf| shelf.cell(listed.entry));
                parts += batch.add_cell(cell);
            }
            if parts > 0 {
                batch.add_key(key, parts);
            }
        }
    }

    /// Lists the cells of the next slots, until there is one that wasn't handed out. Returns whether there is.
    fn list(&mut self, table: &Table, window: &Window) -> bool {
        while self.listed.is_empty() && self.slot < SLOTS {
            let Some(slot) = Slot::all().nth(self.slot) else { return false };
            self.slot += 1;
            let after = self.after.as_ref().map(|key| Rank::of(key.as_deref()));
            let mut ranked = Vec::new();
            for slice in table.slices_from(*window.slices(self.end).start()).take_while(|&slice| slice < self.end) {
                let Some(shelf) = table.shelf(slice, slot) else { continue };
                let entries = shelf.entries().map(|entry| (Rank::of(shelf.key(entry)), slice, entry));
                ranked.extend(entries.filter(|(rank, _, _)| after.is_none_or(|after| *rank > after)));
            }
            ranked.sort_unstable_by_key(|(rank, slice, _)| (*rank, *slice));
            self.listed =
                ranked.into_iter().map(|(rank, slice, entry)| Listed { order: rank.order(), slice, entry }).collect();
        }
        !self.listed.is_empty()
    }

    /// Whether everything is handed out.
    fn is_at_end(&mut self, table: &Table, window: &Window) -> bool {
        !self.list(table, window)
    }
}

impl WindowBatch {
    fn new(id: BatchId, start: i64, end: i64) -> WindowBatch {
        let (keys, key_data, parts, cells, cell_data) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        WindowBatch { id, is_closed: id != BatchId::EARLY, start, end, keys, key_data, parts, cells, cell_data }
    }

    /// Keys of a window that has not closed.
    pub(super) fn early(start: i64, end: i64) -> WindowBatch {
        WindowBatch::new(BatchId::EARLY, start, end)
    }

    pub(super) fn add_key(&mut self, key: Key<'_>, parts: u32) {
        self.keys.push(length(key));
        self.key_data.extend_from_slice(key.unwrap_or_default());
        self.parts.push(parts);
    }

    /// Returns how many cells were added: none if there is no value.
    pub(super) fn add_cell(&mut self, cell: Option<&[u8]>) -> u32 {
        let Some(cell) = cell else { return 0 };
        self.cells.push(length(Some(cell)));
        self.cell_data.extend_from_slice(cell);
        1
    }

    /// The keys, each with its cells.
    pub fn iter(&self) -> impl Iterator<Item = (Key<'_>, Vec<&[u8]>)> {
        let (mut keys, mut cells, mut lengths) = (&*self.key_data, &*self.cell_data, self.cells.iter());
        self.keys.iter().zip(&self.parts).map(move |(&key, &parts)| {
            let key = (key >= 0).then(|| take(&mut keys, key));
            (key, lengths.by_ref().take(parts as usize).map(|&length| take(&mut cells, length)).collect())
        })
    }

    fn last_key(&self) -> Key<'_> {
        let length = usize::try_from(*self.keys.last()?).ok()?;
        self.key_data.get(self.key_data.len() - length..)
    }
}

fn length(bytes: Option<&[u8]>) -> i32 {
    bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX))
}

fn take<'a>(rest: &mut &'a [u8], length: i32) -> &'a [u8] {
    let length = usize::try_from(length).unwrap_or(0).min(rest.len());
    let (taken, after) = rest.split_at(length);
    *rest = after;
    taken
}
