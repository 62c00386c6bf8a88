//! PURE. The cells of one slice, by slot.
//!
//! Whole slices are dropped at once; a shelf is made when its slot gets its first cell in the slice. Invariant: a slice of a table has a
//! shelf.

use std::collections::BTreeMap;

use super::shelf::Shelf;
use super::slot::SLOTS;
use super::slot::Slot;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Slice {
    pub(super) shelves: [Option<Box<Shelf>>; SLOTS],
}

/// The shelves of a slot. Records that follow each other are mostly of the same slice.
pub(super) struct Shelves<'a> {
    slices: &'a BTreeMap<i64, Slice>,
    slot: Slot,
    recent: Option<(i64, Option<&'a Shelf>)>,
}

impl Slice {
    /// Its shelves, in the order of the slots.
    pub(super) fn shelves(&self) -> impl Iterator<Item = &Shelf> {
        self.shelves.iter().flatten().map(|shelf| &**shelf)
    }
}

impl<'a> Shelves<'a> {
    /// The shelves of a slot in these slices.
    pub(super) fn new(slices: &'a BTreeMap<i64, Slice>, slot: Slot) -> Shelves<'a> {
        Shelves { slices, slot, recent: None }
    }

    /// The shelf of a slice, if it has one.
    #[inline]
    pub(super) fn of(&mut self, slice: i64) -> Option<&'a Shelf> {
        if let Some((recent, shelf)) = self.recent
            && recent == slice
        {
            return shelf;
        }
        let shelf = self.slices.get(&slice).and_then(|slice| slice.shelves[self.slot.index()].as_deref());
        self.recent = Some((slice, shelf));
        shelf
    }
}
