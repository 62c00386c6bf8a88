//! The results of closed windows, on their way to the producer.

use std::borrow::Cow;
use std::fmt;

use super::Windows;
use super::rows::Rows;
use super::step::WindowedStep;
use crate::record::OutRecord;
use crate::record::Seq;
use crate::state::BatchId;
use crate::state::WindowBatch;
use crate::state::WindowedPartition;

/// A batch of windows whose results are being sent.
pub(super) struct Showing {
    id: BatchId,
    /// Where the window ends, in ms.
    end: i64,
    rows: Rows,
}

/// The most keys of a batch, which bounds the memory of its results.
const KEYS_MAX: usize = 128;

impl Showing {
    fn new(step: &WindowedStep, batch: &WindowBatch) -> Result<Showing, String> {
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
                    step.functions.merge(&merged, cell, &mut next).map_err(|error| fail(&error))?;
                    std::mem::swap(&mut merged, &mut next);
                }
            }
            rows.push(key, |out| step.functions.emit(key, batch.start, batch.end, &merged, out).map(|()| true))
                .map_err(|error| fail(&error))?;
        }
        Ok(Showing { id: batch.id, end: batch.end, rows })
    }
}

impl Windows {
    /// Whether the results of a batch of windows are partly sent.
    pub(super) fn is_showing(&self) -> bool {
        self.showing.is_some()
    }

    /// Whether there are results to be sent.
    pub(super) fn has_results(&self) -> bool {
        let has_windows = |state: &WindowedPartition| state.has_windows() && !state.is_cutting();
        self.showing.is_some() || self.state.as_ref().is_some_and(has_windows)
    }

    /// The next result to be sent, and its number. Returns the same one until [`Windows::sent`].
    ///
    /// # Errors
    /// A cell can't be read, or the slices of a window can't be merged.
    pub(super) fn next_result(&mut self) -> Result<Option<(OutRecord<'_>, Seq)>, String> {
        if self.showing.is_none()
            && let Some(batch) = self.state.as_mut().and_then(|state| state.next_windows(KEYS_MAX))
        {
            self.showing = Some(Showing::new(&self.step, &batch)?);
        }
        let seq = self.results.next(self.outputs);
        // The last millisecond that belongs to the window.
        Ok(self.showing.as_ref().and_then(|showing| Some((showing.rows.peek(showing.end.saturating_sub(1))?, seq))))
    }

    /// The next result was handed to the producer.
    pub(super) fn sent(&mut self) {
        self.results.sent += 1;
        let Some(showing) = &mut self.showing else { return };
        showing.rows.advance();
        if showing.rows.is_done() {
            let id = showing.id;
            self.showing = None;
            if let Some(state) = &mut self.state {
                state.take_back_windows(id);
            }
        }
    }
}
