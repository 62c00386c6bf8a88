//! The windowed step of one partition, on the worker's thread: its tables, the windows that are being shown, and what is written to its
//! changelog. `state` decides; `shell` carries out.
//!
//! Invariant: the tables hold exactly the records below the partition's produced prefix.

mod emit;
mod fold;
mod restore;
mod rows;
mod shell;
mod step;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

pub(super) use fold::NotFolded;
pub(super) use restore::Restored;
pub(super) use step::Folds;
pub use step::WindowedStep;

use super::executor::RunResult;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::OutRecord;
use crate::state::NO_TIME;
use crate::state::Phase;
use crate::state::Rewind;
use crate::state::WindowedPartition;
use emit::Showing;
use rows::Rows;

/// See the head of the file.
pub(super) struct Windows {
    step: Arc<WindowedStep>,
    /// `None` while it is being restored.
    state: Option<WindowedPartition>,
    /// Stops the restore that is under way.
    cancel: Option<Arc<AtomicBool>>,
    /// The outputs of windows carry numbers of this assignment.
    pub(super) outputs: AssignmentId,
    /// How many outputs of windows were sent.
    sent: u64,
    showing: Option<Showing>,
    /// Runs that were returned while a cycle is being cut.
    held: VecDeque<RunResult>,
    /// Records of the changelog on their way to the producer.
    writing: Rows,
    /// Whether all of the cycle's changelog records are in `writing`, or sent.
    is_written: bool,
}

/// How many bytes of changelog records are taken from the tables at a time.
const WRITTEN_BYTES: usize = 256 << 10;
/// The broker or the client sets the time.
const NO_TIMESTAMP: i64 = -1;

impl Windows {
    /// The windows of a partition whose state isn't known yet.
    pub(super) fn new(step: Arc<WindowedStep>, outputs: AssignmentId) -> Windows {
        Windows {
            step,
            state: None,
            cancel: None,
            outputs,
            sent: 0,
            showing: None,
            held: VecDeque::new(),
            writing: Rows::default(),
            is_written: false,
        }
    }

    /// The step's name.
    pub(super) fn step(&self) -> &str {
        &self.step.name
    }

    /// Whether records may be run.
    pub(super) fn is_ready(&self) -> bool {
        self.state.is_some()
    }

    /// Whether a cycle is being cut, so that no run may be folded.
    pub(super) fn is_cutting(&self) -> bool {
        self.state.as_ref().is_some_and(WindowedPartition::is_cutting)
    }

    /// Forgets the tables, and what is under way. The caller restores them.
    pub(super) fn forget(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel.store(true, Ordering::Relaxed);
        }
        self.state = None;
        self.drop_unsent();
    }

    pub(super) fn drop_unsent(&mut self) {
        self.showing = None;
        self.held.clear();
        self.writing.clear();
        self.is_written = false;
    }

    /// A restore begins. Its result carries this number, and so do outputs from now on.
    fn restore(&mut self, outputs: AssignmentId, cancel: Arc<AtomicBool>) {
        self.forget();
        (self.outputs, self.cancel) = (outputs, Some(cancel));
    }

    /// The state is known.
    fn restored(&mut self, state: WindowedPartition) {
        self.cancel = None;
        self.state = Some(state);
    }

    /// Every record below this offset is settled.
    fn settle(&mut self, low: Offset) {
        if let Some(state) = &mut self.state {
            // Records that an earlier step filtered were not judged.
            state.advance(low.0);
            state.settle(low.0);
        }
    }

    /// Cuts a cycle behind everything that is in the transaction, or goes on with it. Returns its boundary, if there is anything to make
    /// durable.
    fn cut(&mut self, handed: Offset) -> Option<Offset> {
        let state = self.state.as_mut()?;
        if state.phase().is_none() && state.cut_behind(handed.0) {
            self.is_written = false;
        }
        match state.phase() {
            Some(Phase::Transaction(boundary)) => Some(Offset(boundary)),
            Some(_) | None => state.boundary().map(Offset),
        }
    }

    /// The boundary of the cycle that is to be committed.
    fn committing(&self) -> Option<Offset> {
        match self.state.as_ref()?.phase() {
            Some(Phase::Transaction(boundary)) => Some(Offset(boundary)),
            Some(_) | None => None,
        }
    }

    /// The next changelog record of the cycle. Returns the same one until [`Windows::change_sent`].
    fn next_change(&mut self) -> Option<OutRecord<'_>> {
        if self.writing.is_done() && !self.is_written {
            self.writing.clear();
            let state = self.state.as_mut().filter(|state| state.phase().is_some())?;
            let writing = &mut self.writing;
            self.is_written = state.write(WRITTEN_BYTES, |record| {
                let added = writing.push(Some(record.key), |out| {
                    out.extend_from_slice(record.value.unwrap_or_default());
                    Ok::<bool, Infallible>(record.value.is_some())
                });
                let Ok(()) = added;
            });
        }
        // The time of the broker: the time of a window says nothing about when the topic may forget it.
        self.writing.peek(NO_TIMESTAMP)
    }

    fn change_sent(&mut self) {
        self.writing.advance();
    }

    /// The transaction with the cycle was committed.
    fn committed(&mut self) {
        if let Some(state) = &mut self.state
            && state.phase().is_some()
        {
            state.acknowledge();
        }
        self.writing.clear();
        self.is_written = false;
    }

    /// Goes back to where the group stands. `false`: the tables can't, and are to be restored. `now` is in ms.
    fn confirm(&mut self, committed: Option<Offset>, now: i64) -> bool {
        let is_written = self.is_written && self.writing.is_done();
        self.drop_unsent();
        let Some(state) = &mut self.state else { return false };
        let at = committed.map(|offset| offset.0);
        if let Some(Phase::Transaction(boundary)) = state.phase()
            && at == Some(boundary)
        {
            // The offset is the same, whether or not windows were shown in the transaction.
            if boundary == state.applied() || !is_written {
                return false;
            }
            state.acknowledge();
        }
        match state.abort(now) {
            Rewind::From(from) => at.is_none_or(|at| at == from),
            Rewind::Restore => false,
        }
    }

    /// Closes windows by the clock. The caller knows that everything up to the end of the log is settled. `now` is in ms.
    fn close_idle(&mut self, now: i64) -> bool {
        self.state.as_mut().is_some_and(|state| state.close_idle(now, true))
    }

    /// The memory of the tables, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.state.as_ref().map_or(0, WindowedPartition::memory)
    }

    /// The number of windows that hold cells.
    fn open(&self) -> usize {
        self.state.as_ref().map_or(0, WindowedPartition::open_windows)
    }

    /// The watermark, in ms; `None` before any record.
    fn watermark(&self) -> Option<i64> {
        Some(self.state.as_ref()?.reading().watermark).filter(|&watermark| watermark != NO_TIME)
    }

    /// The number of cells.
    pub(super) fn cells(&self) -> usize {
        self.state.as_ref().map_or(0, WindowedPartition::cells)
    }

    /// Keeps a run until the cycle is cut.
    pub(super) fn hold(&mut self, ran: RunResult) {
        self.held.push_back(ran);
    }

    /// The next run that was kept, once it may be folded.
    pub(super) fn take_held(&mut self) -> Option<RunResult> {
        if self.is_cutting() { None } else { self.held.pop_front() }
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        self.forget();
    }
}
