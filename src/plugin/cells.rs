//! Cells: keyed state as it crosses into a plugin and back, and the check of what comes back.
//!
//! A cell is the accumulator of a key and a slice of time, as bytes that only the plugin understands. Pure.

/// The most bytes of one cell.
pub const CELL_MAX: usize = 64 << 10;

/// The length of a cell that stays as it was.
const UNCHANGED: i32 = -2;

/// Cells as a plugin sees them.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a> {
    /// For each record the number of its cell. Empty for pairs of cells.
    pub index: &'a [u32],
    /// The length of each cell in bytes; -1 if there is none yet.
    pub lengths: &'a [i32],
    /// The bytes of the cells, without gaps.
    pub data: &'a [u8],
}

/// Cells after a call. They are checked: the lengths account for exactly the bytes, and no cell has more than
/// [`CELL_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedCells {
    /// The new length of each cell in bytes. -1: the cell is removed; -2: it is as it was. Neither has bytes.
    pub lengths: Vec<i32>,
    /// The bytes of the changed cells, without gaps.
    pub data: Vec<u8>,
}

impl ChangedCells {
    /// Checks what a plugin returned for `count` cells. `what` is what the message calls one of them.
    ///
    /// # Errors
    /// The violated rule, with the number of the cell: a lowercase fragment.
    pub(super) fn check(what: &str, count: usize, lengths: Vec<i32>, data: Vec<u8>) -> Result<ChangedCells, String> {
        if lengths.len() != count {
            return Err(format!("`lengths` has {} entries for {count} {what}s", lengths.len()));
        }
        let mut end = 0_usize;
        for (index, &length) in lengths.iter().enumerate() {
            if length < UNCHANGED {
                return Err(format!(
                    "{what} {index} has the length {length}, where -2 (as it was), -1 (removed) and 0 to {CELL_MAX} are allowed"
                ));
            }
            let bytes = usize::try_from(length).unwrap_or(0);
            if bytes > CELL_MAX {
                return Err(format!("{what} {index} has {bytes} bytes, where {CELL_MAX} are allowed"));
            }
            end += bytes;
            if end > data.len() {
                return Err(format!("{what} {index} ends at byte {end}, but `data` has {}", data.len()));
            }
        }
        if end != data.len() {
            return Err(format!("`data` has {} bytes left over", data.len() - end));
        }
        Ok(ChangedCells { lengths, data })
    }

    /// What became of each cell, in order: `None` if it is as it was, `Some(None)` if it is removed.
    pub fn iter(&self) -> impl Iterator<Item = Option<Option<&[u8]>>> {
        let mut rest = &*self.data;
        self.lengths.iter().map(move |&length| match usize::try_from(length) {
            Ok(length) => {
                let (cell, after) = rest.split_at_checked(length)?;
                rest = after;
                Some(Some(cell))
            }
            Err(_) => (length != UNCHANGED).then_some(None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(lengths: &[i32], bytes: usize) -> String {
        ChangedCells::check("cell", 3, lengths.to_vec(), vec![0; bytes]).err().unwrap_or_default()
    }

    #[test]
    fn each_malformed_change_has_its_own_message() {
        let most = i32::try_from(CELL_MAX).unwrap();
        assert_eq!(refusal(&[UNCHANGED, -1, 0], 0), "");
        assert_eq!(refusal(&[most, most, 1], 2 * CELL_MAX + 1), "");
        for (lengths, bytes, message) in [
            (&[1, 1][..], 2, "`lengths` has 2 entries for 3 cells"),
            (&[1, 1, 1, 1], 4, "`lengths` has 4 entries for 3 cells"),
            (&[0, -3, 0], 0, "cell 1 has the length -3, where -2 (as it was), -1 (removed) and 0 to 65536 are allowed"),
            (
                &[0, 0, i32::MIN],
                0,
                "cell 2 has the length -2147483648, where -2 (as it was), -1 (removed) and 0 to 65536 are allowed",
            ),
            (&[0, most + 1, 0], CELL_MAX + 1, "cell 1 has 65537 bytes, where 65536 are allowed"),
            (&[i32::MAX, 0, 0], 1, "cell 0 has 2147483647 bytes, where 65536 are allowed"),
            (&[2, -1, 3], 4, "cell 2 ends at byte 5, but `data` has 4"),
            (&[2, -2, 3], 7, "`data` has 2 bytes left over"),
            (&[-1, -1, -2], 1, "`data` has 1 bytes left over"),
        ] {
            assert_eq!(refusal(lengths, bytes), message);
        }
    }
}
