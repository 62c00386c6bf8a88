//! Calls of a plugin with state: records folded into cells, cells merged, results of windows, and keys of records.
//!
//! The host keeps keys, windows and cells. Everything that a plugin returns is checked here before anyone sees it, so a
//! caller can use it without further checks.

use std::sync::Arc;

use wasmtime::Store;

use crate::batch::View;
use crate::failure::Failure;
use crate::outcome;
use crate::outcome::Failed;
use crate::outcome::Outcome;
use crate::plugin::cells::Cells;
use crate::plugin::cells::ChangedCells;
use crate::plugin::classify::Entry;
use crate::plugin::contract::Answer;
use crate::plugin::contract::CAPS;
use crate::plugin::contract::RawFailed;
use crate::plugin::contract::ReducerPlugin;
use crate::plugin::host::Host;
use crate::plugin::instance::Instance;
use crate::plugin::instance::Reported;

/// The length of the null key.
const NULL_KEY: i32 = -1;
/// The length of the key of a record that is dropped.
const DROPPED: i32 = -2;
/// The time of a record that has none.
pub const NO_TIME: i64 = -1;

/// Records folded into their cells.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    /// One change for each cell of the call.
    pub changed: ChangedCells,
    /// The records that failed, by ascending index. Their cells have nothing of them.
    pub failed: Vec<Failed>,
}

/// The keys and times of records, as a plugin found them.
#[derive(Clone, Debug, Default)]
pub struct Extracted {
    /// The length of each record's key in bytes. -1: the null key; -2: the record is dropped, or failed. Neither has bytes.
    pub lengths: Vec<i32>,
    /// The bytes of the keys, without gaps.
    pub data: Vec<u8>,
    /// Each record's time in milliseconds since 1970-01-01 UTC, -1 if it has none; or empty: the records' own timestamps.
    /// The time of a dropped record means nothing.
    pub times: Vec<i64>,
    /// The records that failed, by ascending index.
    pub failed: Vec<Failed>,
}

/// The key that a plugin found for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtractedKey<'a> {
    /// The record is dropped, or failed.
    Dropped,
    /// Its key, which may be null.
    Key(Option<&'a [u8]>),
}

impl Extracted {
    /// The key of each record, in order.
    pub fn keys(&self) -> impl Iterator<Item = ExtractedKey<'_>> {
        let mut rest = &*self.data;
        self.lengths.iter().map(move |&length| match usize::try_from(length) {
            Ok(length) => {
                let (key, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                rest = after;
                ExtractedKey::Key(Some(key))
            }
            Err(_) if length == NULL_KEY => ExtractedKey::Key(None),
            Err(_) => ExtractedKey::Dropped,
        })
    }
}

/// Windows whose results are wanted, all of the same time.
#[derive(Clone, Copy, Debug)]
pub struct ClosedWindows<'a> {
    /// For each window a record with its key, its cell as the value, its last millisecond as the timestamp, and its
    /// number in the call as the offset.
    pub keyed: View<'a>,
    /// The first millisecond of each window.
    pub starts: &'a [i64],
    /// The first millisecond after each window.
    pub ends: &'a [i64],
    /// Whether the windows are closed. Otherwise they will be shown again.
    pub closed: bool,
}

impl Instance {
    /// Folds records into their cells. `cells.index` has an entry for each record.
    ///
    /// # Errors
    /// As [`Instance::process`]; and [`crate::failure::Kind::BadOutput`] if the plugin's world has no such function.
    pub fn add(&mut self, input: &View<'_>, cells: Cells<'_>) -> Result<Folded, Failure> {
        debug_assert_eq!(cells.index.len(), input.len(), "each record has a cell");
        self.reduce(
            Entry::Add,
            |plugin, store, step| Some(plugin.add(store, step, input, cells)),
            |(changes, failed), _| {
                let changed = ChangedCells::check("cell", cells.lengths.len(), changes.lengths, changes.data)?;
                outcome::check_failed(input.len(), &failed)?;
                Ok(Folded { changed, failed: listed(failed) })
            },
        )
    }

    /// Merges pairs of cells: cell 2i+1, of the later time, into cell 2i. Every cell has a value, and `pairs.index` is
    /// empty. Returns one change for each pair.
    ///
    /// # Errors
    /// As [`Instance::add`].
    pub fn merge(&mut self, pairs: Cells<'_>) -> Result<ChangedCells, Failure> {
        debug_assert!(pairs.lengths.len().is_multiple_of(2), "cells come in pairs");
        self.reduce(
            Entry::Merge,
            |plugin, store, _| Some(plugin.merge(store, pairs)),
            |changes, _| ChangedCells::check("pair", pairs.lengths.len() / 2, changes.lengths, changes.data),
        )
    }

    /// Asks for the outputs of windows. In the outcome a window is an input record, so that an output can refer to the
    /// window's key, cell and timestamp.
    ///
    /// # Errors
    /// As [`Instance::add`].
    pub fn emit(&mut self, windows: &ClosedWindows<'_>) -> Result<Outcome, Failure> {
        debug_assert_eq!(windows.starts.len(), windows.keyed.len(), "each window has a start");
        debug_assert_eq!(windows.ends.len(), windows.keyed.len(), "each window has an end");
        self.reduce(
            Entry::Emit,
            |plugin, store, step| Some(plugin.emit(store, step, windows)),
            |columns, ports| outcome::check(&windows.keyed, columns, ports, CAPS),
        )
    }

    /// Asks for the keys and times of records.
    ///
    /// # Errors
    /// As [`Instance::add`].
    pub fn keys(&mut self, input: &View<'_>) -> Result<Extracted, Failure> {
        self.reduce(
            Entry::Keys,
            |plugin, store, step| plugin.keys(store, step, input),
            |(extracted, failed), _| {
                let (lengths, data, times) = (extracted.lengths, extracted.data, extracted.times);
                check_keys(input.len(), &lengths, data.len())?;
                check_times(&lengths, &times)?;
                check_unkeyed(&lengths, &failed)?;
                Ok(Extracted { lengths, data, times, failed: listed(failed) })
            },
        )
    }

    /// Calls a function of a plugin with state. `call` returns `None` if the plugin doesn't have it.
    fn reduce<R, T: Reported>(
        &mut self,
        entry: Entry,
        call: impl FnOnce(&ReducerPlugin, &mut Store<Host>, &Arc<str>) -> Option<Answer<R>>,
        check: impl FnOnce(R, u32) -> Result<T, String>,
    ) -> Result<T, Failure> {
        self.called(
            entry,
            |plugin, store, step| match plugin.reducer().and_then(|plugin| call(plugin, store, step)) {
                Some(answer) => answer.map(|answer| answer.map(Some)),
                None => Ok(Ok(None)),
            },
            |returned, ports| match returned {
                Some(returned) => check(returned, ports),
                None => Err(format!("the plugin doesn't export it; {} does", entry.worlds())),
            },
        )
    }
}

impl Reported for Folded {
    fn first_failure(&self) -> Option<&Failure> {
        self.failed.first().map(|failed| &failed.failure)
    }
}

impl Reported for ChangedCells {
    fn first_failure(&self) -> Option<&Failure> {
        None
    }
}

impl Reported for Extracted {
    fn first_failure(&self) -> Option<&Failure> {
        self.failed.first().map(|failed| &failed.failure)
    }
}

fn listed(failed: RawFailed) -> Vec<Failed> {
    failed.into_iter().map(|(index, failure)| Failed { index: index as usize, failure }).collect()
}

fn check_keys(records: usize, lengths: &[i32], data: usize) -> Result<(), String> {
    if lengths.len() != records {
        return Err(format!("`lengths` has {} entries for {records} records", lengths.len()));
    }
    let mut end = 0_usize;
    for (index, &length) in lengths.iter().enumerate() {
        if length < DROPPED {
            return Err(format!(
                "record {index} has a key of length {length}, where -2 (dropped), -1 (the null key) and more are allowed"
            ));
        }
        end = end.saturating_add(usize::try_from(length).unwrap_or(0));
        if end > data {
            return Err(format!("the key of record {index} ends at byte {end}, but `data` has {data}"));
        }
    }
    if end != data {
        return Err(format!("`data` has {} bytes left over", data - end));
    }
    Ok(())
}

fn check_times(lengths: &[i32], times: &[i64]) -> Result<(), String> {
    if !times.is_empty() && times.len() != lengths.len() {
        return Err(format!("`times` has {} entries for {} records, and is not empty", times.len(), lengths.len()));
    }
    let mut keyed = lengths.iter().zip(times).enumerate().filter(|(_, (length, _))| **length >= NULL_KEY);
    match keyed.find(|&(_, (_, &time))| time < NO_TIME) {
        Some((index, (_, time))) => Err(format!("record {index} has the time {time}")),
        None => Ok(()),
    }
}

fn check_unkeyed(lengths: &[i32], failed: &RawFailed) -> Result<(), String> {
    outcome::check_failed(lengths.len(), failed)?;
    for &(index, _) in failed {
        if let Some(&length) = lengths.get(index as usize).filter(|&&length| length != DROPPED) {
            return Err(format!("record {index} failed, but has a key of length {length} where -2 is expected"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    /// What is wrong with keys of three records.
    fn refusal(lengths: &[i32], bytes: usize, times: &[i64], failed: &[u32]) -> String {
        let failed: RawFailed = failed.iter().map(|&index| (index, Failure::new(Kind::Reject, None, ""))).collect();
        check_keys(3, lengths, bytes)
            .and_then(|()| check_times(lengths, times))
            .and_then(|()| check_unkeyed(lengths, &failed))
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn each_malformed_key_has_its_own_message() {
        assert_eq!(refusal(&[2, -1, -2], 2, &[], &[2]), "");
        // The time of a dropped record means nothing.
        assert_eq!(refusal(&[0, -1, -2], 0, &[-1, i64::MAX, -9], &[]), "");
        let failed = |failed: &[u32]| refusal(&[0, -2, -2], 0, &[], failed);
        for (found, message) in [
            (refusal(&[0, 0], 0, &[], &[]), "`lengths` has 2 entries for 3 records"),
            (
                refusal(&[0, -3, 0], 0, &[], &[]),
                "record 1 has a key of length -3, where -2 (dropped), -1 (the null key) and more are allowed",
            ),
            (refusal(&[1, -1, 2], 2, &[], &[]), "the key of record 2 ends at byte 3, but `data` has 2"),
            (
                refusal(&[i32::MAX, i32::MAX, 0], 1, &[], &[]),
                "the key of record 0 ends at byte 2147483647, but `data` has 1",
            ),
            (refusal(&[1, -1, -2], 3, &[], &[]), "`data` has 2 bytes left over"),
            (refusal(&[0, 0, 0], 0, &[1, 1], &[]), "`times` has 2 entries for 3 records, and is not empty"),
            (refusal(&[0, 0, 0], 0, &[1, -1, -2], &[]), "record 2 has the time -2"),
            (failed(&[0]), "record 0 failed, but has a key of length 0 where -2 is expected"),
            (failed(&[3]), "failure of record 3, but there are 3 records"),
            (failed(&[2, 1]), "failure of record 1 is not in ascending order"),
            (failed(&[2, 2]), "failure of record 2 is not in ascending order"),
        ] {
            assert_eq!(found, message);
        }
    }
}
