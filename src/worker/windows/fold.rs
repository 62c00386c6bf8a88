//! Folds the records of a run into the tables of their partition.
//!
//! A run is judged record by record, in order. Then the cells of each slot are fetched, merged with what the records bring, and written
//! back. Nothing is written before every record of the run is merged: one that can't be ends the run before it, or is left out.

use std::ops::Range;

use super::Windows;
use super::reduce::AddOrder;
use super::step::Folds;
use super::step::Reducer;
use super::step::WindowedStep;
use crate::aggregate::CorruptCell;
use crate::aggregate::FoldError;
use crate::aggregate::Functions;
use crate::aggregate::Reject;
use crate::batch::OutputColumns;
use crate::batch::Outputs;
use crate::failure::Failure;
use crate::partition::Policy;
use crate::state::Arrival;
use crate::state::Call;
use crate::state::Changes;
use crate::state::Fold;
use crate::state::Judged;
use crate::state::NO_VALUE;
use crate::state::SLOTS;
use crate::state::Slot;
use crate::state::UNCHANGED;
use crate::state::WindowedPartition;
use crate::worker::executor::RunResult;

/// Records that were not folded into a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::worker) struct NotFolded {
    /// Records that came after one of their windows had closed.
    pub(in crate::worker) late: u64,
    /// Records that were too far ahead of the clock.
    pub(in crate::worker) future: u64,
}

/// What a record did to its cell.
struct Merged {
    call: Call,
    lengths: Vec<i32>,
    data: Vec<u8>,
}

/// Why a run can't be merged.
enum MergeError {
    Rejected { entry: usize, reject: Reject },
    Corrupt(CorruptCell),
}

/// What became of a run.
#[must_use]
pub(in crate::worker) enum Folding {
    /// It is folded.
    Folded(Box<RunResult>, NotFolded),
    /// A plugin is to fold it. Until its answer nothing else is folded.
    Ask(Box<AddOrder>),
}

/// The records of a run, judged.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// Those that belong to a window, by their entries, each with its slice.
    pub(super) kept: Vec<(usize, i64)>,
    late: Vec<usize>,
    future: u64,
}

impl Windows {
    /// Folds the records of a run, in their order. Those that can't be folded fail, or are sent to the output for late records. `now` is
    /// in ms since 1970-01-01 UTC.
    ///
    /// # Errors
    /// A cell of the tables can't be read: nothing was folded.
    pub(in crate::worker) fn fold(
        &mut self,
        mut ran: Box<RunResult>,
        policy: &Policy,
        now: i64,
    ) -> Result<Folding, String> {
        let Some(state) = &mut self.state else { return Ok(Folding::Folded(ran, NotFolded::default())) };
        let step = &*self.step;
        let folds = std::mem::take(&mut ran.effects.folds);
        let mut judgement = judge(step, state, &folds, &mut ran, policy, now);
        let functions = match &step.reducer {
            Reducer::Functions(functions) => functions,
            Reducer::Plugin { .. } => {
                ran.effects.folds = folds;
                return Ok(self.ask(ran, judgement));
            }
        };
        let merged = loop {
            match merge(functions, state, &folds, &judgement.kept, &ran) {
                Ok(merged) => break merged,
                Err(MergeError::Corrupt(corrupt)) => return Err(format!("step `{}`: {corrupt}", step.name)),
                Err(MergeError::Rejected { entry, reject }) => {
                    judgement.fail(state, &folds, &mut ran, entry, step.rejected(reject), policy);
                }
            }
        };
        for Merged { call, lengths, data } in &merged {
            apply(state, call, Changes { lengths, data })?;
        }
        ran.effects.folds = folds;
        Ok(finish(step, ran, &judgement))
    }
}

/// Writes what a call made of its cells.
///
/// # Errors
/// The changes don't fit the call. They were checked, so it is a bug; the records must not be taken for folded.
pub(super) fn apply(state: &mut WindowedPartition, call: &Call, changes: Changes<'_>) -> Result<(), String> {
    state.apply(call, changes).map_err(|malformed| format!("the changes of a call don't fit its cells: {malformed}"))
}

/// The records of the run are folded: those that were late go to their output.
pub(super) fn finish(step: &WindowedStep, mut ran: Box<RunResult>, judgement: &Judgement) -> Folding {
    let not = NotFolded { late: judgement.late.len() as u64, future: judgement.future };
    if let Some((port, layer)) = step.late.zip(ran.effects.layers.last_mut()) {
        for &at in &judgement.late {
            let entry = &ran.effects.folds.entries[at];
            let columns = OutputColumns { ports: vec![port], ..OutputColumns::default() };
            layer
                .calls
                .push((entry.place..entry.place + 1, Outputs::from_checked(columns, vec![0], Vec::new(), Vec::new())));
            ran.outputs[entry.root] += 1;
        }
    }
    Folding::Folded(ran, not)
}

fn judge(
    step: &WindowedStep,
    state: &mut WindowedPartition,
    folds: &Folds,
    ran: &mut RunResult,
    policy: &Policy,
    now: i64,
) -> Judgement {
    let mut judgement = Judgement::default();
    judgement.kept.reserve(folds.entries.len());
    for (at, entry) in folds.entries.iter().enumerate() {
        if entry.root >= ran.outputs.len() {
            break;
        }
        if ran.has_failed(entry.root) {
            continue;
        }
        let (key, offset) = (folds.key(entry), ran.offset(entry.root));
        match state.judge(&Arrival { offset, time: Some(entry.time), key, hash: entry.hash }, now) {
            Judged::Fold { slice } => judgement.kept.push((at, slice)),
            Judged::Applied | Judged::Folded => {}
            Judged::Late => judgement.late.push(at),
            verdict @ (Judged::Future | Judged::Untimed) => {
                let reject = if verdict == Judged::Future {
                    judgement.future += 1;
                    future(entry.time, now, state.window().max_ahead())
                } else {
                    Reject { code: "no-window", reason: format!("no window can have the time {}", entry.time) }
                };
                ran.fail(entry.root, step.rejected(reject), policy);
            }
        }
    }
    judgement
}

impl Judgement {
    /// A record can't be folded: nothing of its source record is, and if that ends the run, nothing after it.
    pub(super) fn fail(
        &mut self,
        state: &mut WindowedPartition,
        folds: &Folds,
        ran: &mut RunResult,
        entry: usize,
        failure: Failure,
        policy: &Policy,
    ) {
        let root = folds.entries[entry].root;
        let offset = ran.offset(root);
        ran.fail(root, failure, policy);
        if root >= ran.outputs.len() {
            // It is judged again, and so are those after it.
            state.take_back_from(offset);
            self.late.retain(|&at| folds.entries[at].root < root);
            self.kept.retain(|&(at, _)| folds.entries[at].root < root);
        } else {
            self.kept.retain(|&(at, _)| folds.entries[at].root != root);
        }
    }

    /// Whether the source record of an entry has another one.
    pub(super) fn has_more(&self, folds: &Folds, entry: usize) -> bool {
        let root = folds.entries[entry].root;
        self.kept.iter().any(|&(at, _)| at != entry && folds.entries[at].root == root)
    }

    /// The places of the records in `kept` by the slot of their key.
    pub(super) fn by_slot(&self, folds: &Folds) -> [Vec<usize>; SLOTS] {
        let mut by_slot: [Vec<usize>; SLOTS] = Default::default();
        for (place, &(at, _)) in self.kept.iter().enumerate() {
            by_slot[folds.entries[at].hash.slot().index()].push(place);
        }
        by_slot
    }
}

/// A record of a run, to be folded.
pub(super) fn fold_of<'a>(folds: &'a Folds, ran: &RunResult, (at, slice): (usize, i64)) -> Fold<'a> {
    let entry = &folds.entries[at];
    Fold { offset: ran.offset(entry.root), slice, key: folds.key(entry), hash: entry.hash }
}

fn future(time: i64, now: i64, max_ahead: i64) -> Reject {
    let ahead = time.saturating_sub(now);
    let reason = format!(
        "its time is {ahead} ms ahead of the clock, where `max_ahead` of the window allows {max_ahead} ms: one such record would close \
         every window before it"
    );
    Reject { code: "future-timestamp", reason }
}

/// Merges records into the cells of their keys and slices, without changing the tables.
fn merge(
    functions: &Functions,
    state: &mut WindowedPartition,
    folds: &Folds,
    kept: &[(usize, i64)],
    ran: &RunResult,
) -> Result<Vec<Merged>, MergeError> {
    let mut by_slot: [Vec<(usize, i64)>; SLOTS] = Default::default();
    for &(at, slice) in kept {
        by_slot[folds.entries[at].hash.slot().index()].push((at, slice));
    }
    let mut all = Vec::new();
    let mut failed = None;
    for (slot, records) in Slot::all().zip(&by_slot) {
        if records.is_empty() {
            continue;
        }
        let call = state.fetch(slot, records.iter().map(|&record| fold_of(folds, ran, record)));
        let (lengths, data, error) = merge_call(functions, &call, folds, records);
        all.push(Merged { call, lengths, data });
        if error.is_some() {
            failed = error;
            break;
        }
    }
    match failed {
        None => Ok(all),
        Some(error) => {
            all.iter().for_each(|merged| state.give_back(&merged.call));
            Err(error)
        }
    }
}

/// The cells of a call after its records.
fn merge_call(
    functions: &Functions,
    call: &Call,
    folds: &Folds,
    records: &[(usize, i64)],
) -> (Vec<i32>, Vec<u8>, Option<MergeError>) {
    // Where each cell's newest value is: in the call, or in the arena.
    let mut arena: Vec<u8> = Vec::new();
    let mut newest = vec![None; call.lengths.len()];
    let mut at = 0;
    let given: Vec<_> = (call.lengths.iter())
        .map(|&length| {
            let length = usize::try_from(length).ok()?;
            at += length;
            Some(at - length..at)
        })
        .collect();
    let mut before = Vec::new();
    for (&cell, &(entry, _)) in call.index.iter().zip(records) {
        let cell = cell as usize;
        let own = folds.cell(&folds.entries[entry]);
        before.clear();
        let newest_of: &Option<Range<usize>> = &newest[cell];
        match (newest_of, &given[cell]) {
            (Some(range), _) => before.extend_from_slice(&arena[range.clone()]),
            (None, Some(range)) => before.extend_from_slice(&call.data[range.clone()]),
            (None, None) => {}
        }
        let start = arena.len();
        let merged = if newest_of.is_none() && given[cell].is_none() {
            arena.extend_from_slice(own);
            Ok(())
        } else {
            functions.merge(&before, own, &mut arena)
        };
        match merged {
            Ok(()) => newest[cell] = Some(start..arena.len()),
            Err(FoldError::Reject(reject)) => {
                return (Vec::new(), Vec::new(), Some(MergeError::Rejected { entry, reject }));
            }
            Err(FoldError::Corrupt(corrupt)) => return (Vec::new(), Vec::new(), Some(MergeError::Corrupt(corrupt))),
        }
    }
    let (mut lengths, mut data) = (Vec::with_capacity(newest.len()), Vec::new());
    for range in newest {
        match range {
            Some(range) if range.is_empty() => lengths.push(NO_VALUE),
            Some(range) => {
                lengths.push(i32::try_from(range.len()).unwrap_or(i32::MAX));
                data.extend_from_slice(&arena[range]);
            }
            None => lengths.push(UNCHANGED),
        }
    }
    (lengths, data, None)
}
