//! The calls of a plugin with state: records folded into cells, cells merged, windows shown, and keys found.
//!
//! An error about a whole call is passed on, except for a single item: there it counts as a reject.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Became;
use super::reason;
use super::resolved;
use crate::batch::Batch;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::plugin::Cells;
use crate::plugin::ChangedCells;
use crate::plugin::ClosedWindows;
use crate::plugin::ExtractedKey;
use crate::plugin::Folded;
use crate::plugin::Instance;

/// The window that is shown: its first millisecond, and the first one after it.
pub(super) const WINDOW: (i64, i64) = (1_700_000_040_000, 1_700_000_100_000);

/// A cell; `None` if there is none.
pub(super) type Cell = Option<Vec<u8>>;

/// The key and the time that a plugin found for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keyed {
    Key(Option<Vec<u8>>, i64),
    Dropped,
    /// The failure's kind and code.
    Failed(String),
}

/// What a record became with an empty cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) cell: Cell,
    /// The failure's kind and code.
    pub(super) failed: Option<String>,
}

pub(super) fn keys(instance: &mut Instance, batch: &Batch, range: Range<usize>) -> Result<Vec<Keyed>, Failure> {
    let found = match instance.keys(&batch.slice(range.clone())) {
        Ok(found) => found,
        Err(failure) if failure.kind == Kind::Error && range.len() == 1 => {
            return Ok(vec![Keyed::Failed("error".into())]);
        }
        Err(failure) => return Err(failure),
    };
    drop(instance.take_effects());
    let key = |(index, key): (usize, ExtractedKey<'_>)| match key {
        ExtractedKey::Dropped => Keyed::Dropped,
        ExtractedKey::Key(key) => {
            let own = || batch.record(range.start + index).timestamp;
            Keyed::Key(key.map(<[u8]>::to_vec), found.times.get(index).copied().unwrap_or_else(own))
        }
    };
    let mut all: Vec<Keyed> = found.keys().enumerate().map(key).collect();
    for failed in &found.failed {
        all[failed.index] = Keyed::Failed(reason(&failed.failure));
    }
    Ok(all)
}

/// Folds each record into an empty cell of its own.
pub(super) fn add_alone(instance: &mut Instance, batch: &Batch, range: Range<usize>) -> Result<Vec<Added>, Failure> {
    let cells: Vec<usize> = (0..range.len()).collect();
    let folded = match add(instance, batch, range.clone(), &cells, &vec![None; range.len()]) {
        Err(failure) if failure.kind == Kind::Error && range.len() == 1 => {
            return Ok(vec![Added { cell: None, failed: Some("error".into()) }]);
        }
        folded => folded?,
    };
    let mut after = vec![None; range.len()];
    apply(&folded.changed, &cells, &mut after);
    let mut added: Vec<Added> = after.into_iter().map(|cell| Added { cell, failed: None }).collect();
    for failed in &folded.failed {
        added[failed.index].failed = Some(reason(&failed.failure));
    }
    Ok(added)
}

/// Calls `add` with records, where `of` has the number of each record's cell among `cells`.
pub(super) fn add(
    instance: &mut Instance,
    batch: &Batch,
    range: Range<usize>,
    of: &[usize],
    cells: &[Cell],
) -> Result<Folded, Failure> {
    let (present, index) = distinct(of);
    let (lengths, data) = packed(present.iter().map(|&cell| &cells[cell]));
    let cells = Cells { index: &index, lengths: &lengths, data: &data };
    let folded = instance.add(&batch.slice(range), cells);
    // Its counters don't matter here.
    drop(instance.take_effects());
    folded
}

/// The distinct numbers in order of first appearance, and for each entry its place among them.
pub(super) fn distinct(of: &[usize]) -> (Vec<usize>, Vec<u32>) {
    let (mut present, mut places) = (Vec::new(), BTreeMap::new());
    let index = of.iter().map(|&cell| {
        *places.entry(cell).or_insert_with(|| {
            present.push(cell);
            u32::try_from(present.len() - 1).unwrap_or(u32::MAX)
        })
    });
    let index = index.collect();
    (present, index)
}

/// The lengths of cells, and their bytes.
pub(super) fn packed<'a>(cells: impl Iterator<Item = &'a Cell>) -> (Vec<i32>, Vec<u8>) {
    let (mut lengths, mut data) = (Vec::new(), Vec::new());
    for cell in cells {
        lengths.push(cell.as_ref().map_or(-1, |cell| i32::try_from(cell.len()).unwrap_or(i32::MAX)));
        data.extend_from_slice(cell.as_deref().unwrap_or_default());
    }
    (lengths, data)
}

/// Applies changes to the cells with these numbers.
pub(super) fn apply(changed: &ChangedCells, present: &[usize], cells: &mut [Cell]) {
    for (change, &cell) in changed.iter().zip(present) {
        if let Some(value) = change {
            cells[cell] = value.map(<[u8]>::to_vec);
        }
    }
}

pub(super) fn emit(instance: &mut Instance, batch: &Batch, closed: bool) -> Result<Vec<Became>, Failure> {
    let (starts, ends) = (vec![WINDOW.0; batch.len()], vec![WINDOW.1; batch.len()]);
    let windows = ClosedWindows { keyed: batch.view(), starts: &starts, ends: &ends, closed };
    let outcome = match instance.emit(&windows) {
        Err(failure) if failure.kind == Kind::Error && batch.len() == 1 => {
            return Ok(vec![Became::Failed("error".into())]);
        }
        outcome => outcome?,
    };
    drop(instance.take_effects());
    Ok(resolved(&windows.keyed, &outcome))
}

pub(super) fn merge(instance: &mut Instance, pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<Cell>, Failure> {
    let cells: Vec<Cell> = pairs.iter().flat_map(|(one, other)| [Some(one.clone()), Some(other.clone())]).collect();
    let (lengths, data) = packed(cells.iter());
    let changed = instance.merge(Cells { index: &[], lengths: &lengths, data: &data })?;
    drop(instance.take_effects());
    let mut merged: Vec<Cell> = cells.into_iter().step_by(2).collect();
    let all: Vec<usize> = (0..merged.len()).collect();
    apply(&changed, &all, &mut merged);
    Ok(merged)
}
