//! The windowed step of one partition, on the worker's thread: its tables, the windows that are being shown, and what is written to its
//! changelog. `state` decides; `shell` carries out.
//!
//! Invariant: the tables hold exactly the records below the partition's produced prefix.

mod at_least_once;
mod cells;
mod dry;
mod emit;
mod fold;
mod plugin;
mod query;
mod question;
mod reduce;
mod restore;
mod rows;
mod shell;
mod step;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(super) use dry::DryWindows;
pub(super) use fold::Folding;
pub(super) use fold::NotFolded;
pub(super) use query::AskedState;
pub(super) use query::Asking;
pub use question::AppliedUpTo;
pub use question::KeyCells;
pub use question::ListPosition;
pub use question::ListedCell;
pub use question::StateAnswer;
pub use question::StateQuestion;
pub use question::StateReply;
pub use question::WantedState;
pub(super) use reduce::Order;
pub(super) use reduce::Reduced;
pub(super) use restore::Restored;
pub(super) use step::Folds;
pub use step::Reducer;
pub use step::WindowedStep;

use super::executor::RunResult;
use crate::kafka::changelog::ReadProgress;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::OutRecord;
use crate::record::Seq;
use crate::state::NO_TIME;
use crate::state::Phase;
use crate::state::Rewind;
use crate::state::WindowedPartition;
use emit::Showing;
use plugin::Orders;
use rows::Rows;

/// See the head of the file.
pub(super) struct Windows {
    step: Arc<WindowedStep>,
    /// `None` while it is being restored.
    state: Option<WindowedPartition>,
    restoring: Restoring,
    /// The outputs of windows carry numbers of this assignment.
    pub(super) outputs: AssignmentId,
    /// The outputs of windows.
    results: Counts,
    /// The records of the changelog.
    changes: Counts,
    showing: Option<Showing>,
    /// When open windows were last shown.
    early: Option<Instant>,
    /// Runs that wait to be folded, in order.
    held: VecDeque<Box<RunResult>>,
    /// What a plugin is asked.
    orders: Orders,
    /// Records of the changelog on their way to the producer.
    writing: Rows,
    /// Whether all of the cycle's changelog records are in `writing`, or sent.
    is_written: bool,
}

/// The last restore.
#[derive(Default)]
struct Restoring {
    /// Stops it, if it is under way.
    cancel: Option<Arc<AtomicBool>>,
    /// How far it is.
    progress: Arc<ReadProgress>,
}

/// How many messages the producer got, and how many of them are acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sent: u64,
    acknowledged: u64,
}

impl Counts {
    fn are_out(self) -> bool {
        self.acknowledged < self.sent
    }

    /// The number of the next message.
    fn next(self, outputs: AssignmentId) -> Seq {
        Seq::first_of(outputs).plus(usize::try_from(self.sent % Seq::END).unwrap_or(0))
    }
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
            restoring: Restoring::default(),
            outputs,
            results: Counts::default(),
            changes: Counts::default(),
            showing: None,
            early: None,
            held: VecDeque::new(),
            orders: Orders::default(),
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

    /// Whether a cycle is being cut.
    fn is_cutting(&self) -> bool {
        self.state.as_ref().is_some_and(WindowedPartition::is_cutting)
    }

    /// Whether a run has to wait: they are folded one at a time and in order, what is behind a boundary belongs to the next cycle, and
    /// records wait until a window that the clock closed is durable.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty() || !self.may_fold()
    }

    fn may_fold(&self) -> bool {
        let is_free = |state: &WindowedPartition| !state.is_cutting() && state.may_judge();
        !self.orders.is_adding() && self.state.as_ref().is_none_or(is_free)
    }

    /// Forgets the tables, and what is under way. The caller restores them.
    pub(super) fn forget(&mut self) {
        if let Some(cancel) = self.restoring.cancel.take() {
            cancel.store(true, Ordering::Relaxed);
        }
        self.state = None;
        self.drop_unsent();
    }

    /// Forgets what is on its way to the producer, and what the producer has: it is being replaced.
    pub(super) fn drop_unsent(&mut self) {
        self.results.acknowledged = self.results.sent;
        self.changes.acknowledged = self.changes.sent;
        self.showing = None;
        self.held.clear();
        self.orders.forget();
        self.writing.clear();
        self.is_written = false;
    }

    /// A restore begins. Its result carries this number, and so do outputs from now on. Returns where it tells how far it is.
    fn restore(&mut self, outputs: AssignmentId, cancel: Arc<AtomicBool>) -> Arc<ReadProgress> {
        self.forget();
        self.number_anew(outputs);
        self.restoring = Restoring { cancel: Some(cancel), progress: Arc::default() };
        Arc::clone(&self.restoring.progress)
    }

    /// Outputs from now on carry this number. Reports about others are ignored.
    fn number_anew(&mut self, outputs: AssignmentId) {
        (self.outputs, self.results, self.changes) = (outputs, Counts::default(), Counts::default());
    }

    /// The broker acknowledged messages: records of the changelog, or outputs.
    pub(super) fn acknowledged(&mut self, is_changelog: bool, messages: u64) {
        let counts = if is_changelog { &mut self.changes } else { &mut self.results };
        counts.acknowledged += messages;
    }

    /// Whether the producer has messages that are not acknowledged.
    pub(super) fn is_out(&self) -> bool {
        self.results.are_out() || self.changes.are_out()
    }

    /// The state is known.
    fn restored(&mut self, state: WindowedPartition) {
        self.restoring.cancel = None;
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

    /// Cuts a cycle, or goes on with it; in a transaction, behind everything that is in it. Returns the boundary of a transaction's cycle, if
    /// there is anything to make durable.
    fn cut(&mut self, handed: Offset) -> Option<Offset> {
        let state = self.state.as_mut()?;
        if state.phase().is_none() && state.cut_behind(handed.0) {
            self.is_written = false;
        }
        self.boundary()
    }

    /// The boundary of the cycle that is cut, or is being cut, in a transaction. Records below it may still enter the transaction.
    pub(super) fn boundary(&self) -> Option<Offset> {
        let state = self.state.as_ref()?;
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

    /// The next changelog record of the cycle, and its number. Returns the same one until [`Windows::change_sent`].
    fn next_change(&mut self) -> Option<(OutRecord<'_>, Seq)> {
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
        Some((self.writing.peek(NO_TIMESTAMP)?, self.changes.next(self.outputs)))
    }

    fn change_sent(&mut self) {
        self.changes.sent += 1;
        self.writing.advance();
    }

    /// The transaction with the cycle was committed, or everything of its phase is acknowledged.
    fn phase_ended(&mut self) {
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

    /// Keeps a run until it may be folded.
    pub(super) fn hold(&mut self, ran: Box<RunResult>) {
        self.held.push_back(ran);
    }

    /// The next run that was kept, once it may be folded.
    pub(super) fn take_held(&mut self) -> Option<Box<RunResult>> {
        if self.may_fold() { self.held.pop_front() } else { None }
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        self.forget();
    }
}
