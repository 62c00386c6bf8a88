//! PURE. The cells of one call, in columns, and what the call made of them.
//!
//! Both have the layout of `cells` and `changes` in the plugin's contract. A call gets one cell for each distinct key and slice of its
//! records, so that an executor folds a key's records one after another without looking anything up. Invariant: changes reach the table
//! only after [`Changes::check`] has accepted all of them.

use std::ops::Range;

use thiserror::Error;

use super::slot::Key;
use super::slot::KeyHash;
use super::slot::Slot;
use super::undo::EntryId;

/// A record that is to be folded into a cell.
#[derive(Clone, Copy, Debug)]
pub struct Fold<'a> {
    /// The record's source offset.
    pub offset: i64,
    /// The start of its slice, from [`super::Judged::Fold`].
    pub slice: i64,
    /// The step's key.
    pub key: Key<'a>,
    /// The key's hash.
    pub hash: KeyHash,
}

/// The cells of the records that an executor gets in one call. The worker keeps it until the call returns.
#[derive(Clone, Debug)]
pub struct Call {
    /// Each record's cell, by index.
    pub index: Vec<u32>,
    /// The length of each cell, in order of first appearance; -1 is none.
    pub lengths: Vec<i32>,
    /// The bytes of the cells.
    pub data: Vec<u8>,
    pub(super) slot: Slot,
    pub(super) epoch: u32,
    /// The source offset of the last record.
    pub(super) last: i64,
    pub(super) places: Vec<Place>,
    /// The bytes of the keys.
    pub(super) keys: Vec<u8>,
}

/// Where a cell belongs.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) slice: i64,
    pub(super) hash: KeyHash,
    /// Its entry, unless there is none yet.
    pub(super) entry: Option<EntryId>,
    /// Where its key is; `None` if the key is null.
    key: Option<Range<usize>>,
}

/// What a call made of its cells: one length for each cell, and the bytes of the new values.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    /// The length of each cell; [`NO_VALUE`] removes its value, [`UNCHANGED`] leaves it as it was. Neither has bytes.
    pub lengths: &'a [i32],
    /// The bytes of the new values.
    pub data: &'a [u8],
}

/// The length of a cell whose value is removed.
pub const NO_VALUE: i32 = -1;
/// The length of a cell that stays as it was.
pub const UNCHANGED: i32 = -2;

/// Why changes are refused. The table is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// There is not one length for each cell.
    #[error("{lengths} lengths for {cells} cells")]
    Cells {
        /// Lengths returned.
        lengths: usize,
        /// Cells given.
        cells: usize,
    },
    /// A length has no meaning.
    #[error("cell {cell} has the length {length}")]
    Length {
        /// The cell's index.
        cell: usize,
        /// Its length.
        length: i32,
    },
    /// A cell is above the limit.
    #[error("cell {cell} has {length} bytes, more than {max}")]
    TooLarge {
        /// The cell's index.
        cell: usize,
        /// Its length.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The lengths don't add up to the bytes.
    #[error("the lengths add up to {lengths} bytes, but there are {bytes}")]
    Bytes {
        /// The sum of the lengths.
        lengths: usize,
        /// Bytes returned.
        bytes: usize,
    },
}

impl Call {
    /// An empty call.
    pub(super) fn new(slot: Slot, epoch: u32, records: usize) -> Call {
        Call {
            index: Vec::with_capacity(records),
            lengths: Vec::with_capacity(records),
            data: Vec::new(),
            slot,
            epoch,
            last: i64::MIN,
            places: Vec::with_capacity(records),
            keys: Vec::new(),
        }
    }

    /// The slot of its records.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Whether the cell at this index is the one of the record.
    #[inline]
    pub(super) fn is_cell_of(&self, cell: usize, record: &Fold<'_>) -> bool {
        let place = &self.places[cell];
        place.slice == record.slice && self.key(place) == record.key
    }

    /// Adds the cell of the record, and returns its index.
    #[inline]
    pub(super) fn add(&mut self, record: &Fold<'_>, entry: Option<EntryId>, cell: Option<&[u8]>) -> u32 {
        let index = self.places.len();
        let key = record.key.map(|key| {
            let begin = self.keys.len();
            self.keys.extend_from_slice(key);
            begin..self.keys.len()
        });
        self.places.push(Place { slice: record.slice, hash: record.hash, entry, key });
        self.lengths.push(cell.map_or(NO_VALUE, |cell| i32::try_from(cell.len()).unwrap_or(i32::MAX)));
        self.data.extend_from_slice(cell.unwrap_or_default());
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// The key of a cell.
    #[inline]
    pub(super) fn key(&self, place: &Place) -> Key<'_> {
        place.key.clone().map(|key| &self.keys[key])
    }
}

impl<'a> Changes<'a> {
    /// Checks the changes of this many cells.
    ///
    /// # Errors
    ///
    /// See [`Malformed`].
    pub fn check(&self, cells: usize, cell_max: usize) -> Result<(), Malformed> {
        if self.lengths.len() != cells {
            return Err(Malformed::Cells { lengths: self.lengths.len(), cells });
        }
        let mut sum = 0_usize;
        for (cell, &length) in self.lengths.iter().enumerate() {
            match usize::try_from(length) {
                Ok(bytes) if bytes > cell_max => {
                    return Err(Malformed::TooLarge { cell, length: bytes, max: cell_max });
                }
                Ok(bytes) => sum = sum.saturating_add(bytes),
                Err(_) if length >= UNCHANGED => {}
                Err(_) => return Err(Malformed::Length { cell, length }),
            }
        }
        if sum != self.data.len() {
            return Err(Malformed::Bytes { lengths: sum, bytes: self.data.len() });
        }
        Ok(())
    }

    /// What is to be done with each cell: `None` leaves it as it was. The changes were checked.
    pub(super) fn iter(&self) -> impl Iterator<Item = Option<Option<&'a [u8]>>> + use<'a> {
        let mut rest = self.data;
        self.lengths.iter().map(move |&length| match usize::try_from(length) {
            Ok(length) => {
                let (cell, after) = rest.split_at_checked(length)?;
                rest = after;
                Some(Some(cell))
            }
            Err(_) if length == NO_VALUE => Some(None),
            Err(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_changes_are_refused() {
        let check = |lengths: &[i32], data: &[u8]| Changes { lengths, data }.check(3, 4);
        assert_eq!(check(&[1, NO_VALUE, UNCHANGED], b"a"), Ok(()));
        assert_eq!(check(&[1, 1], b"ab"), Err(Malformed::Cells { lengths: 2, cells: 3 }));
        assert_eq!(check(&[1, -3, 0], b"a"), Err(Malformed::Length { cell: 1, length: -3 }));
        assert_eq!(check(&[0, 0, 5], b"abcde"), Err(Malformed::TooLarge { cell: 2, length: 5, max: 4 }));
        assert_eq!(check(&[1, 1, 1], b"abcd"), Err(Malformed::Bytes { lengths: 3, bytes: 4 }));
        assert_eq!(check(&[1, 1, 1], b"ab"), Err(Malformed::Bytes { lengths: 3, bytes: 2 }));
    }

    proptest! {
        #[test]
        fn accepted_changes_use_up_all_bytes(lengths in prop::collection::vec(-3_i32..9, 0..8), bytes in 0_usize..40) {
            let data = vec![7; bytes];
            let changes = Changes { lengths: &lengths, data: &data };
            if changes.check(lengths.len(), 8).is_ok() {
                prop_assert_eq!(changes.iter().flatten().flatten().map(<[u8]>::len).sum::<usize>(), bytes);
                prop_assert_eq!(changes.iter().count(), lengths.len());
            }
        }
    }
}
