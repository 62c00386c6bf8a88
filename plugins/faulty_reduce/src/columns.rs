//! Reads the columns of a call, and the cells.

use wasmill_sdk::bindings::reducer::wasmill::plugin::cells::Cells;
use wasmill_sdk::bindings::wasmill::plugin::columns::Batch;

/// What a cell holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) count: u64,
    /// Whether a record contained the marker.
    pub(crate) marked: bool,
}

impl State {
    /// Reads a cell; one that this plugin didn't write counts nothing.
    pub(crate) fn read(cell: &[u8]) -> State {
        let Some((count, rest)) = cell.split_first_chunk() else { return State::default() };
        State { count: u64::from_le_bytes(*count), marked: rest == [1] }
    }

    pub(crate) fn written(self) -> Vec<u8> {
        [&self.count.to_le_bytes()[..], &[u8::from(self.marked)]].concat()
    }
}

/// The cells of a call; `None` where there is none yet.
pub(crate) fn cells(cells: &Cells) -> impl Iterator<Item = Option<&[u8]>> {
    let mut data = &cells.data[..];
    cells.lengths.iter().map(move |&length| take(&mut data, length))
}

/// The keys and values of a batch.
pub(crate) fn records(batch: &Batch) -> impl Iterator<Item = (Option<&[u8]>, Option<&[u8]>)> {
    let mut layout = &batch.layout[..];
    let mut data = &batch.data[..];
    std::iter::from_fn(move || {
        let (&[key, value, headers], rest) = layout.split_first_chunk()?;
        let (headers, rest) = rest.split_at(2 * bytes(headers));
        layout = rest;
        let fields = (take(&mut data, key), take(&mut data, value));
        headers.iter().for_each(|&length| {
            take(&mut data, length);
        });
        Some(fields)
    })
}

fn take<'a>(data: &mut &'a [u8], length: i32) -> Option<&'a [u8]> {
    let (field, rest) = data.split_at(usize::try_from(length).ok()?);
    *data = rest;
    Some(field)
}

/// The number of bytes for a length: 0 for null.
fn bytes(length: i32) -> usize {
    usize::try_from(length).unwrap_or(0)
}

/// The length of a field.
pub(crate) fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
