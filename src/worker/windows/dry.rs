//! One partition of a step with windows without Kafka: what the worker's loop does about it, at once and on the caller's thread.
//!
//! The functions are the worker's own: it folds a run, carries out a plugin's orders, shows what has closed, and cuts cycles, which are
//! written nowhere. Invariant: nothing here depends on the time of day.

use std::sync::Arc;

use super::Windows;
use super::emit::NextResult;
use super::fold::Folding;
use super::fold::NotFolded;
use super::reduce::Emitted;
use super::reduce::Order;
use super::reduce::Reduced;
use super::step::WindowedStep;
use crate::partition::Policy;
use crate::record::AssignmentIds;
use crate::record::Offset;
use crate::record::OutRecord;
use crate::record::TopicPartition;
use crate::state;
use crate::state::Delivery;
use crate::state::NO_TIME;
use crate::state::WindowedPartition;
use crate::worker::chain::Chain;
use crate::worker::executor::RunResult;

/// See the head of the file.
pub(in crate::worker) struct DryWindows {
    windows: Windows,
    source: TopicPartition,
    /// The clock, in ms since 1970-01-01 UTC: the greatest time of a record, or what the caller chose.
    now: i64,
    is_chosen: bool,
    /// The offset behind the last record.
    next: Offset,
    /// Whether windows are left without a result, which no cut may pass.
    is_stuck: bool,
}

impl DryWindows {
    /// The windows of a partition without state. Open windows are never shown.
    pub(in crate::worker) fn new(step: WindowedStep, source: TopicPartition) -> DryWindows {
        // Exactly once, nothing waits for an acknowledgement.
        let settings = state::Settings { delivery: Delivery::ExactlyOnce, is_early: false, ..step.state };
        let outputs = AssignmentIds::default().issue(|_| false);
        let mut windows = Windows::new(Arc::new(step), outputs);
        windows.restored(WindowedPartition::new(settings, 0, NO_TIME));
        DryWindows { windows, source, now: NO_TIME, is_chosen: false, next: Offset(0), is_stuck: false }
    }

    /// The time of the clock from now on, in ms since 1970-01-01 UTC, whatever the records say.
    pub(in crate::worker) fn set_clock(&mut self, now: i64) {
        (self.now, self.is_chosen) = (now, true);
    }

    /// The record with this offset is read, whether or not it reaches the step.
    pub(in crate::worker) fn read(&mut self, offset: i64) {
        self.next = Offset(offset.saturating_add(1));
    }

    /// Folds the records of a run.
    ///
    /// # Errors
    /// A cell can't be read, or the step and its plugin don't belong together: both are bugs.
    pub(in crate::worker) fn fold(
        &mut self,
        chain: &mut Chain,
        ran: Box<RunResult>,
        policy: &Policy,
    ) -> Result<(Box<RunResult>, NotFolded), String> {
        self.follow(&ran);
        let mut folding = self.windows.fold(ran, policy, self.now)?;
        loop {
            let order = match folding {
                Folding::Folded(ran, not_folded) => return Ok((ran, not_folded)),
                Folding::Ask(order) => order,
            };
            let Some(Reduced::Added(added)) = chain.reduce(Order::Add(order)) else { return Err(NO_PLUGIN.into()) };
            folding = self.windows.added(*added, policy)?.ok_or(NO_PLUGIN)?;
        }
    }

    /// Unless a time was chosen, the clock follows the records, so that none of them is ahead of it.
    fn follow(&mut self, ran: &RunResult) {
        let window = &self.windows.step.state.window;
        let times = ran.effects.folds.entries.iter().map(|entry| entry.time);
        let greatest = times.filter(|&time| window.slice_of(time).is_some()).max();
        if let Some(time) = greatest.filter(|_| !self.is_chosen) {
            self.now = self.now.max(time);
        }
    }

    /// Passes the results of windows that have closed to `output`, in order. Returns what has none, and why.
    pub(in crate::worker) fn show(&mut self, chain: &mut Chain, mut output: impl FnMut(&OutRecord<'_>)) -> Vec<String> {
        self.windows.settle(self.next);
        let (mut without, mut results) = (Vec::new(), 0);
        loop {
            let order = self.windows.next_order(&self.source);
            let is_asked = order.is_some();
            if let Some(order) = order {
                match chain.reduce(order) {
                    Some(Reduced::Emitted(emitted)) => without.extend(self.emitted(*emitted)),
                    Some(Reduced::Added(_)) | None => {
                        without.push(NO_PLUGIN.into());
                        break;
                    }
                }
            }
            match self.windows.next_result() {
                Ok(Some((NextResult { record, .. }, _))) => {
                    output(&record);
                    self.windows.sent();
                    results += 1;
                }
                // The plugin made nothing of these, and there may be others.
                Ok(None) if is_asked => {}
                Ok(None) => break,
                Err(why) => {
                    self.is_stuck = true;
                    without.push(why);
                }
            }
        }
        if results > 0 {
            self.forget_shown();
        }
        without
    }

    fn emitted(&mut self, emitted: Emitted) -> Vec<String> {
        let Emitted { order, outputs, failed, .. } = emitted;
        let why = failed.iter().map(|(window, failure)| format!("{} has no result: {failure}", order.name(window)));
        let without = why.collect();
        self.windows.emitted(&order, outputs, Vec::new());
        without
    }

    /// Frees the memory of what was shown, as a commit does.
    fn forget_shown(&mut self) {
        if self.is_stuck || self.windows.cut(self.next).is_none() {
            return;
        }
        while self.windows.next_change().is_some() {
            self.windows.change_sent();
        }
        self.windows.phase_ended();
    }

    /// The input has ended: the clock goes on until it has closed every window, as it does for a quiet partition. With `idle = "never"`
    /// nothing closes.
    pub(in crate::worker) fn end(&mut self) {
        self.windows.settle(self.next);
        let window = self.windows.step.state.window;
        let (Some(idle), Some(state)) = (window.idle(), &self.windows.state) else { return };
        let greatest = state.reading().greatest;
        let closed = window.last_end(window.floor(greatest)).saturating_add(window.lateness());
        self.windows.close_idle(closed.max(self.now.saturating_add(idle)));
    }

    /// The number of windows that hold cells.
    pub(in crate::worker) fn open(&self) -> usize {
        self.windows.open()
    }
}

const NO_PLUGIN: &str = "the step with windows and its plugin don't belong together";
