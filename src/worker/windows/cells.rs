//! PURE. The cells of records that a plugin folds call by call: each call gets those of its records, as the calls before left them.

use crate::plugin::Cells;
use crate::plugin::ChangedCells;
use crate::state::NO_VALUE;
use crate::state::UNCHANGED;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkingCells {
    cells: Vec<WorkingCell>,
    data: Vec<u8>,
    /// For each cell, its number in the present call.
    numbers: Vec<Option<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct WorkingCell {
    /// Where its value is; `None` if it has none.
    value: Option<(usize, usize)>,
    is_changed: bool,
}

/// The cells of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct CallCells {
    index: Vec<u32>,
    lengths: Vec<i32>,
    data: Vec<u8>,
    /// Which of the working cells each is.
    which: Vec<usize>,
}

impl CallCells {
    /// As the plugin gets them.
    pub(super) fn columns(&self) -> Cells<'_> {
        Cells { index: &self.index, lengths: &self.lengths, data: &self.data }
    }
}

impl WorkingCells {
    /// Adds a cell that has this value.
    pub(super) fn push(&mut self, value: Option<&[u8]>) {
        let value = self.keep(value);
        self.cells.push(WorkingCell { value, is_changed: false });
        self.numbers.push(None);
    }

    /// Keeps a value, and returns where it is.
    fn keep(&mut self, value: Option<&[u8]>) -> Option<(usize, usize)> {
        let start = self.data.len();
        self.data.extend_from_slice(value?);
        Some((start, self.data.len()))
    }

    /// The number of cells.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// The cells for a call whose records have these cells, in order of first appearance.
    pub(super) fn for_call(&mut self, cells: &[u32]) -> CallCells {
        let mut call = CallCells::default();
        for &cell in cells {
            let cell = cell as usize;
            let next = u32::try_from(call.which.len()).unwrap_or(u32::MAX);
            let number = *self.numbers[cell].get_or_insert(next);
            if number == next {
                call.which.push(cell);
                match self.cells[cell].value {
                    None => call.lengths.push(NO_VALUE),
                    Some((start, end)) => {
                        call.lengths.push(i32::try_from(end - start).unwrap_or(i32::MAX));
                        call.data.extend_from_slice(&self.data[start..end]);
                    }
                }
            }
            call.index.push(number);
        }
        for &cell in &call.which {
            self.numbers[cell] = None;
        }
        call
    }

    /// Takes the checked result of a call.
    pub(super) fn take(&mut self, call: &CallCells, changed: &ChangedCells) {
        for (&cell, change) in call.which.iter().zip(changed.iter()) {
            let Some(value) = change else { continue };
            let value = self.keep(value);
            self.cells[cell] = WorkingCell { value, is_changed: true };
        }
    }

    /// The value of a cell.
    pub(super) fn value(&self, cell: usize) -> Option<&[u8]> {
        self.cells[cell].value.map(|(start, end)| &self.data[start..end])
    }

    /// The value of a cell as a length and bytes, as in `changes` of the contract.
    pub(super) fn change(&self, cell: usize) -> (i32, &[u8]) {
        match (self.cells[cell].is_changed, self.value(cell)) {
            (false, _) => (UNCHANGED, &[]),
            (true, None) => (NO_VALUE, &[]),
            (true, Some(value)) => (i32::try_from(value.len()).unwrap_or(i32::MAX), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_gets_its_cells_in_order_of_first_appearance_as_the_calls_before_left_them() {
        let mut cells = WorkingCells::default();
        for value in [None, Some(&b"bb"[..]), Some(b"c")] {
            cells.push(value);
        }
        let call = cells.for_call(&[2, 0, 2, 0]);
        assert_eq!((&*call.index, &*call.lengths, &*call.data), (&[0, 1, 0, 1][..], &[1, -1][..], &b"c"[..]));
        cells.take(&call, &ChangedCells { lengths: vec![-1, 3], data: b"new".to_vec() });
        let call = cells.for_call(&[0, 1, 2]);
        assert_eq!((&*call.lengths, &*call.data), (&[3, 2, -1][..], &b"newbb"[..]));
        cells.take(&call, &ChangedCells { lengths: vec![UNCHANGED, UNCHANGED, 0], data: Vec::new() });
        assert_eq!([0, 1, 2].map(|cell| cells.change(cell)), [(3, &b"new"[..]), (UNCHANGED, b""), (0, b"")]);
    }
}
