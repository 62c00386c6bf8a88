//! PURE. What a cycle changed in a shelf, with the values before.
//!
//! A log has one record for each entry that the cycle changed, from its first change. An entry's mark leads to its newest record, and the
//! record to the one before, so that a cell's value before any cycle is found without a search. The log doesn't know the entries.
//! Invariant: the records of a log are in the order of the first changes, so undoing them from the last to the first is exact.

/// One of the two cycles. They alternate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cycle(bool);

/// The number of an entry in its shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryId(pub(super) u32);

/// What a cell was at an earlier moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before<'a> {
    /// There was none.
    Absent,
    /// There was one, with this value.
    Cell(Option<&'a [u8]>),
}

/// The length of a key or a cell, which may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Length(u32);

/// The record of an entry's last change: none, or a cycle and an index of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u32);

/// What a cycle changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) changes: Vec<Change>,
    /// Values before, in the order of the changes.
    bytes: Vec<u8>,
    /// How many of the changes added an entry.
    pub(super) added: usize,
}

/// The first change of an entry in a cycle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) entry: EntryId,
    /// The entry's mark before.
    pub(super) mark: Mark,
    /// Where the value before begins.
    at: u32,
    /// Its length.
    cell: Length,
}

/// A log with more changes than this releases its memory when its cycle is committed.
const KEPT_CHANGES: usize = 256;

impl Cycle {
    /// The other one.
    pub(super) fn other(self) -> Cycle {
        Cycle(!self.0)
    }

    /// Its place in a pair.
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Length {
    pub(super) const NONE: Length = Length(u32::MAX);
    /// Of a value before: the entry was added.
    pub(super) const ABSENT: Length = Length(u32::MAX - 1);

    /// The length of these bytes.
    #[inline]
    pub(super) fn of(bytes: Option<&[u8]>) -> Length {
        bytes.map_or(Length::NONE, |bytes| {
            Length(u32::try_from(bytes.len()).ok().filter(|&length| length < Length::ABSENT.0).expect("below 4 GiB"))
        })
    }

    /// The number of bytes: none have none.
    #[inline]
    pub(super) fn bytes(self) -> usize {
        if self.0 < Length::ABSENT.0 { self.0 as usize } else { 0 }
    }
}

impl Mark {
    pub(super) const NONE: Mark = Mark(0);

    /// The record at this index of the cycle's log.
    pub(super) fn new(cycle: Cycle, index: usize) -> Mark {
        let index =
            u32::try_from(index).ok().filter(|&index| index < u32::MAX / 2).expect("fewer changes than entries");
        Mark((index + 1) << 1 | u32::from(cycle.0))
    }

    /// The index in the log of this cycle.
    #[inline]
    pub(super) fn of(self, cycle: Cycle) -> Option<usize> {
        let is_of = self != Mark::NONE && self.0 & 1 == u32::from(cycle.0);
        is_of.then(|| (self.0 >> 1) as usize - 1)
    }
}

impl Log {
    /// Adds a change, with the value before. Returns whether it is the log's first.
    #[inline]
    pub(super) fn push(&mut self, entry: EntryId, mark: Mark, cell: Length, before: &[u8]) -> bool {
        let at = u32::try_from(self.bytes.len()).expect("the memory budget is below 4 GiB for a cycle of a shelf");
        self.bytes.extend_from_slice(before);
        self.changes.push(Change { entry, mark, at, cell });
        self.changes.len() == 1
    }

    /// The value before a change.
    pub(super) fn before(&self, change: usize) -> Before<'_> {
        let Change { at, cell, .. } = self.changes[change];
        match cell {
            Length::ABSENT => Before::Absent,
            Length::NONE => Before::Cell(None),
            Length(_) => Before::Cell(Some(&self.bytes[at as usize..][..cell.bytes()])),
        }
    }

    /// A small log keeps its memory for the next cycle.
    pub(super) fn clear(&mut self) {
        if self.changes.len() > KEPT_CHANGES || self.bytes.len() > KEPT_CHANGES * 64 {
            *self = Log::default();
        }
        self.changes.clear();
        self.bytes.clear();
        self.added = 0;
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.changes.capacity() * size_of::<Change>() + self.bytes.capacity()
    }
}
