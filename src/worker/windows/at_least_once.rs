//! Makes cycles durable without transactions, by the order of writes, and goes back after a failed delivery.
//!
//! A commit cuts the cycles of all partitions. Each goes through its phases (`state/cycle.rs`): a phase ends when everything of it is
//! acknowledged. When all are through, their offsets are committed.

use std::time::Instant;

use super::Windows;
use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka::producer::TagKind;
use crate::partition;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::Seq;
use crate::state::Phase;
use crate::state::Rewind;
use crate::state::WindowedPartition;
use crate::worker::Shell;
use crate::worker::clock;
use crate::worker::session;

impl Windows {
    fn phase(&self) -> Option<Phase> {
        self.state.as_ref()?.phase()
    }

    /// Whether no result may be sent, since those that were sent are waited for.
    pub(super) fn is_flushing(&self) -> bool {
        self.phase() == Some(Phase::Outputs)
    }

    fn needs_cut(&self) -> bool {
        self.state.as_ref().is_some_and(WindowedPartition::needs_cut)
    }

    /// Goes back to what is durable, and returns up to where records are applied; `None` while it is being restored. The flag tells
    /// that the tables can't go back, and are to be restored. `now` is in ms.
    fn go_back(&mut self, outputs: AssignmentId, now: i64) -> Option<(Offset, bool)> {
        let state = self.state.as_mut()?;
        let applied = Offset(state.applied());
        let rewind = state.abort(now);
        self.drop_unsent();
        self.number_anew(outputs);
        Some((applied, rewind == Rewind::Restore))
    }
}

impl Shell {
    /// Cuts the cycles of all partitions. Their offsets are committed when the cycles are durable.
    pub(in crate::worker) fn cut_cycles(&mut self) {
        self.cut_windows();
        self.timers.is_cycling = true;
    }

    /// Goes on with the phases of the cycles, and commits the offsets after the last one.
    pub(in crate::worker) fn go_on_with_cycles(&mut self, now: Instant) {
        let needs_cut = |windows: &Windows| windows.needs_cut();
        if !self.timers.is_cycling {
            if self.flow.tasks.iter().any(|task| task.windows.as_deref().is_some_and(needs_cut)) {
                self.tell_session(now, session::Event::CommitDue);
            }
            return;
        }
        let mut are_durable = true;
        for index in 0..self.flow.tasks.len() {
            match self.go_on_with_cycle(index) {
                Ok(is_durable) => are_durable &= is_durable,
                Err(reason) => return self.recover_producer(now, &reason),
            }
        }
        if are_durable {
            self.timers.is_cycling = false;
            self.commit_offsets(now);
        }
    }

    /// Returns whether the partition's cycle is durable.
    fn go_on_with_cycle(&mut self, index: usize) -> Result<bool, String> {
        loop {
            let Some(windows) = self.flow.tasks[index].cycle() else { return Ok(true) };
            let (phase, results) = (windows.phase(), windows.results);
            let acked = match phase {
                None | Some(Phase::Transaction(_)) => return Ok(true),
                Some(Phase::Outputs) if results.are_out() => return Ok(false),
                Some(Phase::Outputs) => None,
                Some(Phase::Cells) => Some(Point::CellsAcked),
                Some(Phase::Control) => Some(Point::ControlAcked),
                Some(Phase::Tombstones) => Some(Point::TombstonesAcked),
                Some(Phase::Offsets(applied)) => {
                    self.flow.tasks[index].store_at(Offset(applied));
                    None
                }
            };
            if let Some(point) = acked {
                if !self.write_changelog(index)? || self.has_changes_out(index) {
                    return Ok(false);
                }
                failpoint::pass(point);
            }
            if let Some(windows) = self.flow.tasks[index].cycle_mut() {
                windows.phase_ended();
            }
        }
    }

    fn has_changes_out(&self, index: usize) -> bool {
        self.flow.tasks[index].cycle().is_some_and(|windows| windows.changes.are_out())
    }

    /// The broker acknowledged messages of a step with windows, if these are such.
    pub(in crate::worker) fn on_windows_delivered(&mut self, kind: TagKind, first: Seq, last: Seq) {
        let Some(windows) = self.windows_of(first).and_then(|index| self.flow.tasks[index].windows.as_mut()) else {
            return;
        };
        let is_changelog = self.settings.kafka.changelog_index().is_some_and(|index| kind == TagKind::Output(index));
        windows.acknowledged(is_changelog, last.since(first).map_or(0, |messages| messages as u64 + 1));
    }

    /// Reads a partition again from where its records are applied, at least once. What it was doing is forgotten.
    pub(in crate::worker) fn rewind_windows(&mut self, now: Instant, index: usize, assignment: AssignmentId) {
        let outputs = self.flow.new_assignment();
        let task = &mut self.flow.tasks[index];
        let may_receive = task.state.may_receive();
        let Some(windows) = &mut task.windows else { return };
        if !may_receive {
            // It is not read again: the next owner restores it.
            windows.forget();
        }
        let Some((applied, is_to_be_restored)) = windows.go_back(outputs, clock::unix_ms()) else {
            return self.tell(now, index, partition::Event::Rewind { assignment });
        };
        if is_to_be_restored {
            self.restore_windows(now, index, Some(applied));
        }
        self.tell(now, index, partition::Event::Restart { assignment, offset: applied, is_committed: true });
    }
}
