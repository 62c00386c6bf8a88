//! The executor's part of a step with windows: it takes key, time and fields out of records.
//!
//! For `std:aggregate` it returns accumulators of one record each. The worker's thread owns the tables, and merges them in the order of the
//! partition's records. A plugin gets the cells that it needs with a second call (`reduce.rs`). Invariant: the entries are in the order of
//! the records.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::aggregate::Extraction;
use crate::aggregate::FoldError;
use crate::aggregate::FoundFields;
use crate::aggregate::Functions;
use crate::aggregate::Reject;
use crate::batch::View;
use crate::failure::Failure;
use crate::plugin;
use crate::plugin::ExtractedKey;
use crate::record::Record;
use crate::state;
use crate::state::KeyHash;
use crate::worker::link::Link;

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
    pub reducer: Reducer,
    /// The port that late records go to, if there is an output for them.
    pub late: Option<u32>,
    /// How often open windows are shown, if they are.
    pub early: Option<Duration>,
    /// The most bytes that the tables of all partitions may have.
    pub memory_bytes: usize,
}

/// What a step with windows computes.
#[derive(Clone, Debug)]
pub enum Reducer {
    /// Functions of fields.
    Functions(Functions),
    /// What its plugin computes.
    Plugin {
        /// Whether it finds the keys of records, and their times.
        finds_keys: bool,
        /// The versions of its state that it can read.
        reads: Vec<u32>,
    },
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
        if let Reducer::Functions(functions) = &step.reducer {
            match functions.add(None, record, found, time, &mut self.data) {
                Ok(()) => {}
                Err(FoldError::Reject(reject)) => return Err(reject),
                // There is no cell yet that could be corrupt.
                Err(FoldError::Corrupt(corrupt)) => debug_assert!(false, "{corrupt}"),
            }
        }
        self.entries.push(FoldEntry { root, place, time, hash, key, cell: start..self.data.len() });
        Ok(())
    }

    /// Adds records with the keys and times that a plugin finds. `root_of` tells which source record caused each. Returns those that
    /// failed, in order.
    ///
    /// # Errors
    /// The call failed.
    pub(in crate::worker) fn extract(
        &mut self,
        step: &WindowedStep,
        link: &mut Link,
        view: &View<'_>,
        root_of: impl Fn(usize) -> usize,
    ) -> Result<Vec<(usize, Failure)>, Failure> {
        let extracted = link.call(view.len(), |instance| instance.keys(view))?;
        let mut failures = extracted.failed.iter().peekable();
        let mut failed = Vec::new();
        let found = FoundFields::default();
        for (place, key) in extracted.keys().enumerate() {
            let root = root_of(place);
            if let Some(own) = failures.next_if(|failure| failure.index == place) {
                failed.push((root, link.failed(own.failure.clone())));
                continue;
            }
            let ExtractedKey::Key(key) = key else { continue };
            let own_time = || step.extraction.time(&view.record(place), &found);
            let time = match extracted.times.get(place) {
                None => own_time(),
                Some(&plugin::NO_TIME) => {
                    Err(Reject { code: "no-time", reason: "the plugin found no time in it".to_owned() })
                }
                Some(&time) => Ok(time),
            };
            match time {
                Ok(time) => {
                    let start = self.data.len();
                    self.data.extend_from_slice(key.unwrap_or_default());
                    let end = self.data.len();
                    let hash = KeyHash::of(key);
                    let key = key.map(|_| start..end);
                    self.entries.push(FoldEntry { root, place, time, hash, key, cell: end..end });
                }
                Err(reject) => failed.push((root, step.rejected(reject))),
            }
        }
        Ok(failed)
    }

    /// How many records it brings.
    pub(in crate::worker) fn records(&self) -> usize {
        self.entries.len()
    }

    /// The key of an entry.
    pub(in crate::worker) fn key(&self, entry: &FoldEntry) -> Option<&[u8]> {
        entry.key.clone().map(|key| &self.data[key])
    }

    /// Where the record of an entry is among those that reached the step.
    pub(super) fn place(&self, entry: usize) -> usize {
        self.entries[entry].place
    }

    /// The accumulator of an entry.
    pub(in crate::worker) fn cell(&self, entry: &FoldEntry) -> &[u8] {
        &self.data[entry.cell.clone()]
    }
}

impl WindowedStep {
    /// Whether a plugin finds the keys of records.
    pub(in crate::worker) fn finds_keys(&self) -> bool {
        matches!(self.reducer, Reducer::Plugin { finds_keys: true, .. })
    }

    /// Whether cells of this version can be read.
    pub(super) fn reads(&self, version: u32) -> bool {
        match &self.reducer {
            Reducer::Functions(functions) => functions.version() == version,
            Reducer::Plugin { reads, .. } => reads.contains(&version),
        }
    }

    /// The failure of a rejected record.
    pub(super) fn rejected(&self, reject: Reject) -> Failure {
        Failure::reject(Arc::clone(&self.name), reject.code, reject.reason)
    }
}
