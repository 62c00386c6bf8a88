//! The calls of the contract's `reducer`: `add`, `merge` and `emit`.
//!
//! A cell is decoded once in a call and encoded once, however many records it has. Invariant: the accumulator of a failed record is what
//! it was before the record. Nothing is kept for that: the accumulator is decoded again, and the call's earlier records are added to it
//! again. Then it is encoded, so that each record is added again at most once.

use std::collections::BTreeMap;

use crate::Failure;
use crate::Reduce;
use crate::Window;
use crate::again;
use crate::bindings::reducer::exports::wasmill::plugin::reducer::Folded;
use crate::bindings::reducer::exports::wasmill::plugin::reducer::Windows;
use crate::bindings::reducer::wasmill::plugin::cells::Cells;
use crate::bindings::reducer::wasmill::plugin::cells::Changes;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::bindings::wasmill::plugin::columns::Failed;
use crate::bindings::wasmill::plugin::columns::Outcome;
use crate::bindings::wasmill::plugin::types::Source;
use crate::columns;
use crate::columns::Records;
use crate::emitter::Emitter;
use crate::emitter::SAME;
use crate::emitter::length;
use crate::metrics;
use crate::record::take;
use crate::reject;

use super::cell;
use super::cell::BYTES_MAX;
use super::cell::Unwritable;

/// The code of a record that makes its accumulator too large, as in `std:aggregate`.
const TOO_LARGE: &str = "cell-too-large";

/// Folds each record of a batch into its cell.
///
/// # Errors
/// The error that the plugin returns for the whole call, or that an accumulator can't be read or written.
pub(crate) fn add<R: Reduce>(plugin: &mut R, source: &Source, batch: &Batch, cells: &Cells) -> Result<Folded, String> {
    metrics::reported(fold(plugin, source, batch, cells))
}

/// Merges pairs of cells.
///
/// # Errors
/// As [`add`].
pub(crate) fn merge<R: Reduce>(plugin: &mut R, pairs: &Cells) -> Result<Changes, String> {
    metrics::reported(merge_pairs(plugin, pairs))
}

/// Emits what is known of windows.
///
/// # Errors
/// As [`add`].
pub(crate) fn emit<R: Reduce>(plugin: &mut R, windows: &Windows) -> Result<Outcome, String> {
    metrics::reported(emit_windows(plugin, windows))
}

// Out of line, as the loop of `columns`.
#[inline(never)]
fn fold<R: Reduce>(plugin: &mut R, source: &Source, batch: &Batch, cells: &Cells) -> Result<Folded, String> {
    let records = Records::new(&source.topic, source.partition, batch);
    let mut fold = Fold::<R>::new(records.clone(), &cells.index, split(cells))?;
    for (index, (record, &cell)) in records.zip(&cells.index).enumerate() {
        let cell = cell as usize;
        match plugin.add(&mut fold.accs[cell], record) {
            Ok(()) => fold.is_added[cell] = true,
            Err(Failure::Error { reason }) => return Err(reason),
            Err(failure) => fold.fail(plugin, index, cell, failure)?,
        }
    }
    fold.finish()
}

/// The cells of a call while its records are added.
struct Fold<'a, R: Reduce> {
    records: Records<'a>,
    /// For each record its cell.
    index: &'a [u32],
    /// The cells as they came.
    old: Vec<Option<&'a [u8]>>,
    accs: Vec<R::Acc>,
    /// Whether a record was added to the accumulator since it came, or since its entry in `kept`.
    is_added: Vec<bool>,
    /// Cells that were encoded before the end, because a record failed.
    kept: BTreeMap<usize, Kept>,
    failures: Vec<Failed>,
}

/// A cell after the records before `next`.
struct Kept {
    cell: Vec<u8>,
    next: usize,
}

impl<'a, R: Reduce> Fold<'a, R> {
    fn new(records: Records<'a>, index: &'a [u32], old: Vec<Option<&'a [u8]>>) -> Result<Fold<'a, R>, String> {
        let mut accs = Vec::with_capacity(old.len());
        for (number, &bytes) in old.iter().enumerate() {
            let acc = cell::read::<R>(bytes).map_err(|why| state_of(&records, index, number, &why))?;
            accs.push(acc);
        }
        let is_added = vec![false; old.len()];
        Ok(Fold { records, index, old, accs, is_added, kept: BTreeMap::new(), failures: Vec::new() })
    }

    /// Notes that a record failed, and restores its accumulator.
    #[cold]
    fn fail(&mut self, plugin: &mut R, failed: usize, cell: usize, failure: Failure) -> Result<(), String> {
        let (bytes, first) = match self.kept.get(&cell) {
            Some(kept) => (Some(&kept.cell[..]), kept.next),
            None => (self.old[cell], 0),
        };
        let mut acc = cell::read::<R>(bytes).map_err(|why| state_of(&self.records, self.index, cell, &why))?;
        if self.is_added[cell] {
            self.add_again(plugin, &mut acc, cell, first..failed)?;
            let mut bytes = Vec::new();
            cell::write::<R>(&acc, &mut bytes)
                .map_err(|why| state_of(&self.records, self.index, cell, &unwritten(&why)))?;
            self.kept.insert(cell, Kept { cell: bytes, next: failed });
            self.is_added[cell] = false;
        }
        self.accs[cell] = acc;
        columns::push(&mut self.failures, failed, failure);
        Ok(())
    }

    /// Adds the records of a cell again that didn't fail.
    fn add_again(
        &self,
        plugin: &mut R,
        acc: &mut R::Acc,
        cell: usize,
        range: std::ops::Range<usize>,
    ) -> Result<(), String> {
        let records = self.records.clone().enumerate().take(range.end).skip(range.start);
        for (index, record) in records.filter(|(index, _)| self.index[*index] as usize == cell) {
            if self.failures.binary_search_by_key(&index, |failed| failed.index as usize).is_ok() {
                continue;
            }
            let offset = record.offset;
            again::quietly(|| plugin.add(acc, record)).map_err(|failure| {
                format!(
                    "`add` succeeded for the record at offset {offset}, and failed when the same record was added to the same \
                     accumulator again ({failure}): its result must depend on these two alone"
                )
            })?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Folded, String> {
        let mut lengths = Vec::with_capacity(self.accs.len());
        let mut data = Vec::with_capacity(self.old.iter().flatten().map(|cell| cell.len() + 8).sum());
        for (number, acc) in self.accs.iter().enumerate() {
            if !self.is_added[number] && !self.kept.contains_key(&number) {
                lengths.push(SAME);
                continue;
            }
            match change::<R>(acc, self.old[number], &mut data) {
                Ok(length) => lengths.push(length),
                // The only record of the call. Of several records that make it too large together the host runs each by itself.
                Err(Unwritable::TooLarge) if self.index.len() == 1 => {
                    lengths.push(SAME);
                    columns::push(&mut self.failures, 0, reject(TOO_LARGE, unwritten(&Unwritable::TooLarge)));
                }
                Err(why) => return Err(state_of(&self.records, self.index, number, &unwritten(&why))),
            }
        }
        Ok(Folded { changes: Changes { lengths, data }, failures: self.failures })
    }
}

fn merge_pairs<R: Reduce>(plugin: &mut R, pairs: &Cells) -> Result<Changes, String> {
    let mut changes = Changes { lengths: Vec::with_capacity(pairs.lengths.len() / 2), data: Vec::new() };
    for (number, pair) in split(pairs).chunks_exact(2).enumerate() {
        let length = merge_pair(plugin, pair[0], pair[1], &mut changes.data);
        changes.lengths.push(length.map_err(|why| format!("an accumulator of pair {number} to merge {why}"))?);
    }
    Ok(changes)
}

fn merge_pair<R: Reduce>(
    plugin: &mut R,
    earlier: Option<&[u8]>,
    later: Option<&[u8]>,
    data: &mut Vec<u8>,
) -> Result<i32, String> {
    let mut acc = cell::read::<R>(earlier)?;
    plugin.merge(&mut acc, cell::read::<R>(later)?);
    change::<R>(&acc, earlier, data).map_err(|why| unwritten(&why))
}

fn emit_windows<R: Reduce>(plugin: &mut R, windows: &Windows) -> Result<Outcome, String> {
    let batch = &windows.keyed;
    let mut out = Emitter::new(batch.layout.len(), &batch.data);
    let mut counts = vec![0; batch.offsets.len()];
    let mut failures = Vec::new();
    let times = windows.starts.iter().zip(&windows.ends);
    let records = Records::new("", 0, batch).zip(times).zip(&mut counts);
    for (index, ((record, (&start, &end)), count)) in records.enumerate() {
        let window = Window { key: record.key, start, end, closed: windows.closed };
        let acc = cell::read::<R>(record.value).map_err(|why| {
            let key = window.key_text().unwrap_or_default();
            format!("the accumulator of the key {key:?} in the window from {} {why}", window.start_text())
        })?;
        let before = out.outputs;
        match plugin.emit(window, &acc, &mut out) {
            Ok(()) => *count = out.outputs - before,
            Err(Failure::Error { reason }) => return Err(reason),
            Err(failure) => {
                out.take_back(before);
                columns::push(&mut failures, index, failure);
            }
        }
    }
    out.finish();
    let Emitter { ports, partitions, timestamps, layout, data, .. } = out;
    Ok(Outcome { counts, ports, partitions, timestamps, layout, data, failures })
}

/// The cells, one by one; `None` where there is none yet.
fn split(cells: &Cells) -> Vec<Option<&[u8]>> {
    let mut data = &cells.data[..];
    cells.lengths.iter().map(|&length| take(&mut data, length)).collect()
}

/// Appends a cell unless it is as it was, and returns its entry in the changes.
#[inline]
fn change<R: Reduce>(acc: &R::Acc, old: Option<&[u8]>, data: &mut Vec<u8>) -> Result<i32, Unwritable> {
    let start = data.len();
    cell::write::<R>(acc, data)?;
    if old.is_some_and(|old| *old == data[start..]) {
        data.truncate(start);
        return Ok(SAME);
    }
    Ok(length(data.len() - start))
}

#[cold]
fn unwritten(why: &Unwritable) -> String {
    match why {
        Unwritable::TooLarge => format!("would have more than {} KiB", BYTES_MAX / 1024),
        Unwritable::Failed(why) => format!("can't be written: {why}"),
    }
}

/// A message about a cell that names a record of it.
#[cold]
fn state_of(records: &Records<'_>, index: &[u32], cell: usize, why: &str) -> String {
    let mut of_cell = records.clone().zip(index).filter(|(_, number)| **number as usize == cell);
    match of_cell.next() {
        Some((record, _)) => format!("the accumulator of the record at offset {} {why}", record.offset),
        None => format!("the accumulator in cell {cell} {why}"),
    }
}

#[cfg(test)]
mod tests;
