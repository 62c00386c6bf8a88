//! The executor's part of a step with windows: it takes key, time and fields out of records.
//!
//! What it returns are accumulators of one record each. The worker's thread owns the tables, and merges them in the order of the
//! partition's records. It knows no windows. Invariant: the entries are in the order of the records.

use std::ops::Range;
use std::sync::Arc;

use crate::aggregate::Extraction;
use crate::aggregate::FoldError;
use crate::aggregate::FoundFields;
use crate::aggregate::Functions;
use crate::aggregate::Reject;
use crate::failure::Failure;
use crate::record::Record;
use crate::state;
use crate::state::KeyHash;

/// A step with windows: the last step of its pipeline.
#[derive(Clone, Debug)]
pub struct WindowedStep {
    /// Its name.
    pub name: Arc<str>,
    /// Its number among the steps.
    pub number: usize,
    /// Its windows, and what is promised about them.
    pub state: state::Settings,
    /// Finds the key, the time and the fields of a record.
    pub extraction: Extraction,
    /// What is computed.
    pub functions: Functions,
    /// The port that late records go to, if there is an output for them.
    pub late: Option<u32>,
    /// The most bytes that the tables of all partitions may have.
    pub memory_bytes: usize,
}

/// What a run of records brings to the tables.
#[derive(Clone, Debug, Default)]
pub(in crate::worker) struct Folds {
    pub(super) entries: Vec<FoldEntry>,
    data: Vec<u8>,
}

/// An accumulator of one record.
#[derive(Clone, Debug)]
pub(in crate::worker) struct FoldEntry {
    /// The source record, counted from the start of the run.
    pub(super) root: usize,
    /// The record, counted among those that reached the step.
    pub(super) place: usize,
    /// The event time, in ms since 1970-01-01 UTC.
    pub(super) time: i64,
    pub(super) hash: KeyHash,
    key: Option<Range<usize>>,
    cell: Range<usize>,
}

impl Folds {
    /// Adds a record.
    ///
    /// # Errors
    /// The record has no key, no time, or a field that can't be used.
    pub(in crate::worker) fn add(
        &mut self,
        step: &WindowedStep,
        root: usize,
        place: usize,
        record: &Record<'_>,
        found: &mut FoundFields,
    ) -> Result<(), Failure> {
        let before = self.data.len();
        let added = self.try_to_add(step, root, place, record, found);
        added.map_err(|reject| {
            self.data.truncate(before);
            step.rejected(reject)
        })
    }

    fn try_to_add(
        &mut self,
        step: &WindowedStep,
        root: usize,
        place: usize,
        record: &Record<'_>,
        found: &mut FoundFields,
    ) -> Result<(), Reject> {
        step.extraction.read(record, found)?;
        let key = step.extraction.key(record, found)?;
        let time = step.extraction.time(record, found)?;
        let hash = KeyHash::of(key.as_deref());
        let key = key.map(|key| {
            let start = self.data.len();
            self.data.extend_from_slice(&key);
            start..self.data.len()
        });
        let start = self.data.len();
        match step.functions.add(None, record, found, time, &mut self.data) {
            Ok(()) => {}
            Err(FoldError::Reject(reject)) => return Err(reject),
            // There is no cell yet that could be corrupt.
            Err(FoldError::Corrupt(corrupt)) => debug_assert!(false, "{corrupt}"),
        }
        self.entries.push(FoldEntry { root, place, time, hash, key, cell: start..self.data.len() });
        Ok(())
    }

    /// The key of an entry.
    pub(in crate::worker) fn key(&self, entry: &FoldEntry) -> Option<&[u8]> {
        entry.key.clone().map(|key| &self.data[key])
    }

    /// The accumulator of an entry.
    pub(in crate::worker) fn cell(&self, entry: &FoldEntry) -> &[u8] {
        &self.data[entry.cell.clone()]
    }
}

impl WindowedStep {
    /// The failure of a rejected record.
    pub(super) fn rejected(&self, reject: Reject) -> Failure {
        Failure::reject(Arc::clone(&self.name), reject.code, reject.reason)
    }
}
