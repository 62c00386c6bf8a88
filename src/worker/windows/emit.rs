//! The results of closed windows, on their way to the producer.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;
use std::time::Instant;

use super::Windows;
use super::rows::Rows;
use super::step::Reducer;
use crate::aggregate::Functions;
use crate::aggregate::ResultWindow;
use crate::batch::Batch;
use crate::batch::Outputs;
use crate::record::OutRecord;
use crate::record::Seq;
use crate::sink::DeadLetter;
use crate::state::BatchId;
use crate::state::WindowBatch;
use crate::state::WindowedPartition;

/// A batch of windows whose results are being sent.
pub(super) struct Showing {
    id: BatchId,
    /// Where the window ends, in ms.
    end: i64,
    results: Results,
}

/// The results of a batch.
enum Results {
    Rows(Rows),
    Emitted(EmittedResults),
}

/// What a plugin made of a batch, and where it is being sent.
struct EmittedResults {
    calls: Vec<(Batch, Outputs)>,
    /// The call and its output that are next.
    at: (usize, usize),
    dead_letters: Vec<DeadLetter>,
    /// How many of the dead letters were sent.
    dead: usize,
}

/// A result to be sent.
pub(super) struct NextResult<'a> {
    pub(super) record: OutRecord<'a>,
    /// Whether it is a dead letter.
    pub(super) is_dead: bool,
}

/// The most keys of a batch, which bounds the memory of its results.
pub(super) const KEYS_MAX: usize = 128;

impl Showing {
    fn new(functions: &Functions, batch: &WindowBatch, is_early: bool) -> Result<Showing, String> {
        let window =
            ResultWindow { from_ms: batch.start, to_ms: batch.end, closed: is_early.then_some(batch.is_closed) };
        let mut rows = Rows::default();
        let (mut merged, mut next) = (Vec::new(), Vec::new());
        for (key, cells) in batch.iter() {
            let fail = |error: &dyn fmt::Display| {
                let key = key.map_or(Cow::Borrowed("null"), String::from_utf8_lossy);
                format!("the window that ends at {} ms, key {key}: {error}", batch.end)
            };
            merged.clear();
            for cell in cells {
                if merged.is_empty() {
                    merged.extend_from_slice(cell);
                } else {
                    next.clear();
                    functions.merge(&merged, cell, &mut next).map_err(|error| fail(&error))?;
                    std::mem::swap(&mut merged, &mut next);
                }
            }
            rows.push(key, |out| functions.emit(key, window, &merged, out).map(|()| true))
                .map_err(|error| fail(&error))?;
        }
        Ok(Showing { id: batch.id, end: batch.end, results: Results::Rows(rows) })
    }

    /// What a plugin made of a batch.
    pub(super) fn emitted(batch: &WindowBatch, calls: Vec<(Batch, Outputs)>, dead_letters: Vec<DeadLetter>) -> Showing {
        let results = EmittedResults { calls, at: (0, 0), dead_letters, dead: 0 };
        Showing { id: batch.id, end: batch.end, results: Results::Emitted(results) }
    }

    /// The next result to be sent.
    fn peek(&self) -> Option<NextResult<'_>> {
        match &self.results {
            // The last millisecond that belongs to the window.
            Results::Rows(rows) => Some(NextResult { record: rows.peek(self.end.saturating_sub(1))?, is_dead: false }),
            Results::Emitted(EmittedResults { calls, at: (call, index), dead_letters, dead }) => {
                let mut from = *index;
                for (windows, outputs) in &calls[*call..] {
                    if from < outputs.len() {
                        return Some(NextResult { record: outputs.resolve(from, windows, 0), is_dead: false });
                    }
                    from = 0;
                }
                Some(NextResult { record: dead_letters.get(*dead)?.record(), is_dead: true })
            }
        }
    }

    /// The next result was sent.
    fn advance(&mut self) {
        match &mut self.results {
            Results::Rows(rows) => rows.advance(),
            Results::Emitted(EmittedResults { calls, at: (call, index), dead, .. }) => {
                while calls.get(*call).is_some_and(|(_, outputs)| *index >= outputs.len()) {
                    (*call, *index) = (*call + 1, 0);
                }
                if *call < calls.len() { *index += 1 } else { *dead += 1 }
            }
        }
    }
}

/// The next windows to be shown: those that have closed come first.
pub(super) fn next_batch(state: Option<&mut WindowedPartition>) -> Option<WindowBatch> {
    let state = state?;
    state.next_windows(KEYS_MAX).or_else(|| state.next_early(KEYS_MAX))
}

impl Windows {
    /// Shows open windows, if that is due.
    pub(super) fn tick(&mut self, now: Instant) {
        let Some(state) = &mut self.state else { return };
        let is_due = |every: Duration| self.early.is_none_or(|last| now.saturating_duration_since(last) >= every);
        if self.step.early.is_some_and(is_due) && !state.has_early() {
            state.begin_early();
            self.early = Some(now);
        }
    }

    /// Whether the results of a batch of windows are partly sent.
    pub(super) fn is_showing(&self) -> bool {
        self.showing.is_some()
    }

    /// Results are to be sent. Returns whether there are none, and the window is shown whole.
    pub(super) fn show(&mut self, showing: Showing) -> bool {
        self.showing = Some(showing);
        self.end_showing()
    }

    /// Whether there are results to be sent, or windows to be shown.
    pub(super) fn has_results(&self) -> bool {
        let has_windows = |state: &WindowedPartition| state.has_windows() || state.has_early();
        // A plugin that has been asked for results is waited for.
        let may_show = !self.is_cutting() && !self.orders.is_emitting();
        self.showing.is_some() || may_show && self.state.as_ref().is_some_and(has_windows)
    }

    /// The next result to be sent, and its number. Returns the same one until [`Windows::sent`].
    ///
    /// # Errors
    /// A cell can't be read, or the slices of a window can't be merged.
    pub(super) fn next_result(&mut self) -> Result<Option<(NextResult<'_>, Seq)>, String> {
        if self.showing.is_none()
            && let Reducer::Functions(functions) = &self.step.reducer
            && let Some(batch) = next_batch(self.state.as_mut())
        {
            self.showing = Some(Showing::new(functions, &batch, self.step.state.is_early)?);
        }
        let seq = self.results.next(self.outputs);
        Ok(self.showing.as_ref().and_then(|showing| Some((showing.peek()?, seq))))
    }

    /// The next result was handed to the producer. Returns whether it is the last one of its window.
    pub(super) fn sent(&mut self) -> bool {
        self.results.sent += 1;
        if let Some(showing) = &mut self.showing {
            showing.advance();
        }
        self.end_showing()
    }

    /// Ends the batch if all of its results were sent. Returns whether its window is shown whole.
    fn end_showing(&mut self) -> bool {
        let Some(Showing { id, .. }) = self.showing.take_if(|showing| showing.peek().is_none()) else { return false };
        self.state.as_mut().is_some_and(|state| {
            let before = state.shown();
            state.take_back_windows(id);
            state.shown() > before
        })
    }
}
