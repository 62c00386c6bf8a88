//! PURE. Answers questions about the state: committed values of a key, or of all keys with a prefix.
//!
//! A value is as of the last durable cycle, so a query never sees what an abort may undo. A scan is bounded, since the worker's thread does
//! it: it ends after a number of values, or of cells visited, and says where it continues. Cells of windows that are shown in later cycles
//! are included until those are durable.

use super::slot::Key;
use super::table::ScanPosition;
use super::windowed::WindowedPartition;

/// A committed cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedCell<'a> {
    /// The start of its slice, in ms.
    pub slice: i64,
    /// The step's key.
    pub key: Key<'a>,
    /// The cell.
    pub cell: &'a [u8],
}

/// How far a scan may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimit {
    /// The most cells that are returned.
    pub cells: usize,
    /// The most cells that are visited.
    pub visits: usize,
    /// No further cell is visited when the returned keys and cells have this many bytes.
    pub bytes: usize,
}

impl WindowedPartition {
    /// Windows that end here or before, in ms, are shown whole, and durably so. [`NO_TIME`](super::NO_TIME) if none is.
    #[must_use]
    pub fn applied_shown(&self) -> i64 {
        self.cycles.committed().shown.end
    }

    /// The committed cells of a key, one for each slice that has one. A window's result is the merge of its slices' cells. At most this
    /// many slices are looked into, the oldest first.
    pub fn committed_cells<'a>(&'a self, key: Key<'a>, slices_max: usize) -> impl Iterator<Item = CommittedCell<'a>> {
        self.table.committed(key, slices_max).map(move |(slice, cell)| CommittedCell { slice, key, cell })
    }

    /// The number of slices that may have committed cells.
    #[must_use]
    pub fn committed_slices(&self) -> usize {
        self.table.committed_slice_count()
    }

    /// Windows that end here or before, in ms, are shown whole, though perhaps not durably so.
    #[must_use]
    pub fn shown(&self) -> i64 {
        self.show.cursor().end
    }

    /// Hands out committed cells whose key begins with `prefix`, by slice, then in no particular order. Returns where the scan continues,
    /// if it isn't at its end. A null key has no prefix but the empty one.
    pub fn scan(
        &self,
        from: ScanPosition,
        prefix: &[u8],
        limit: ScanLimit,
        mut cell: impl FnMut(CommittedCell<'_>),
    ) -> Option<ScanPosition> {
        let (mut cells, mut visits, mut bytes) = (0, 0, 0);
        self.table.visit_committed(from, |slice, key, value| {
            if cells == limit.cells || visits == limit.visits || bytes >= limit.bytes {
                return false;
            }
            visits += 1;
            if let Some(value) = value
                && key.unwrap_or_default().starts_with(prefix)
            {
                cells += 1;
                bytes += key.unwrap_or_default().len() + value.len();
                cell(CommittedCell { slice, key, cell: value });
            }
            true
        })
    }
}
