//! Answers questions about the committed state, which come over HTTP: what this process has, and which member has the rest.
//!
//! The tables are the worker's, so its thread answers, between two turns of its loop. What one answer may cost is bounded by the constants
//! below; who asks bounds how many questions wait. The group is asked for its members at most once a second, on the lookup thread.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Windows;
use super::question::AppliedUpTo;
use super::question::KeyCells;
use super::question::ListPosition;
use super::question::ListedCell;
use super::question::StateAnswer;
use super::question::StateQuestion;
use super::question::StateReply;
use super::question::WantedState;
use crate::kafka::members::GroupMember;
use crate::kafka::members::GroupMembers;
use crate::kafka::partitioner::partition_of;
use crate::state::NO_TIME;
use crate::state::ScanLimit;
use crate::state::WindowedPartition;
use crate::worker::Shell;
use crate::worker::status::WindowedStatus;
use crate::worker::task::PartitionTask;

/// The most slices of a partition that are looked into for a key.
const SLICES_MAX: usize = 20_000;
/// The most cells of a key in an answer.
const CELLS_MAX: usize = 2_000;
/// An answer has no further cell when it has this many bytes.
const BYTES_MAX: usize = 4 << 20;
/// The most cells that are visited for one answer of a list.
const VISITS_MAX: usize = 10_000;
/// How long an answer of the group is used.
const FRESH: Duration = Duration::from_secs(1);
/// The most partitions that `/readyz?verbose` shows.
const SHOWN_MAX: usize = 100;

/// A question with the place for its answer.
pub(in crate::worker) struct AskedState {
    pub(in crate::worker) question: StateQuestion,
    pub(in crate::worker) reply: StateReply,
}

/// Questions that wait for the members of the group, and who those were when the group last told.
#[derive(Default)]
pub(in crate::worker) struct Asking {
    waiting: Vec<AskedState>,
    members: Option<(Instant, GroupMembers)>,
}

impl Shell {
    /// Answers a question about the state, now or when the group has told its members.
    pub(in crate::worker) fn on_asked(&mut self, now: Instant, asked: AskedState) {
        let AskedState { question, reply } = asked;
        if self.settings.windowed.as_ref().is_none_or(|step| *step.name != *question.step) {
            return reply(StateAnswer::NoStep);
        }
        if let Some(answer) = self.answer_here(&question.wanted) {
            return reply(answer);
        }
        let fresh = self.monitor.asking.members.as_ref().filter(|(at, _)| now.saturating_duration_since(*at) < FRESH);
        match fresh {
            Some((_, members)) => reply(self.answer(&question.wanted, members)),
            None => {
                if self.monitor.asking.waiting.is_empty() {
                    self.io.lookup.ask_members();
                }
                self.monitor.asking.waiting.push(AskedState { question, reply });
            }
        }
    }

    /// The group told its members, or why it doesn't.
    pub(in crate::worker) fn on_members(&mut self, now: Instant, members: Result<GroupMembers, String>) {
        let waiting = std::mem::take(&mut self.monitor.asking.waiting);
        for AskedState { question, reply } in waiting {
            let answer = match (&members, &question.wanted) {
                (Ok(members), wanted) => self.answer(wanted, members),
                (Err(_), WantedState::List { prefix, from, cells_max }) => self.list(prefix, *from, *cells_max, None),
                (Err(why), WantedState::Key { .. }) => {
                    let what = "the key is not in this process, and the group doesn't tell its members";
                    StateAnswer::Unknown(format!("{what}: {}", self.settings.kafka.hidden.hide(why)))
                }
            };
            reply(answer);
        }
        self.monitor.asking.members = members.ok().map(|members| (now, members));
    }

    /// The answer, if the group isn't needed for it.
    fn answer_here(&self, wanted: &WantedState) -> Option<StateAnswer> {
        let WantedState::Key { key, here } = wanted else { return None };
        let tables = || self.flow.tasks.iter().filter_map(|task| Some((task, task.windows.as_ref()?)));
        let found = tables().find_map(|(task, windows)| windows.cells_of(task.partition.partition, key.as_deref()));
        if found.is_some() || !*here {
            return found.map(StateAnswer::Key);
        }
        let restoring = tables().find_map(|(task, windows)| windows.restoring(task.partition.partition));
        Some(restoring.unwrap_or(StateAnswer::NoKey { at: None, others: Vec::new() }))
    }

    /// The answer to a question that concerns other members, too.
    fn answer(&self, wanted: &WantedState, members: &GroupMembers) -> StateAnswer {
        match wanted {
            WantedState::Key { key, .. } => self.answer_here(wanted).unwrap_or_else(|| {
                let others = self.others(members);
                self.not_here(key.as_deref(), members, others)
            }),
            WantedState::List { prefix, from, cells_max } => {
                self.list(prefix, *from, *cells_max, Some(self.others(members)))
            }
        }
    }

    /// No table here has the key: says where it may be.
    fn not_here(&self, key: Option<&[u8]>, members: &GroupMembers, others: Vec<GroupMember>) -> StateAnswer {
        let is_by_record = self.settings.windowed.as_ref().is_some_and(|step| step.extraction.is_by_record_key());
        let expected = key.filter(|_| is_by_record).and_then(|key| partition_of(key, members.partitions));
        let own = |partition: i32| self.flow.tasks.iter().find(|task| task.partition.partition == partition);
        let mut all = self.flow.tasks.iter();
        let Some(expected) = expected else {
            let restoring = all.find_map(|task| task.windows.as_ref()?.restoring(task.partition.partition));
            let known = self.flow.tasks.len() + others.iter().map(|member| member.partitions.len()).sum::<usize>();
            return match restoring {
                Some(restoring) => restoring,
                None if !others.is_empty() => StateAnswer::Elsewhere { others },
                None if known < members.partitions => StateAnswer::Unknown("the group is assigning partitions".into()),
                None => StateAnswer::NoKey { at: None, others },
            };
        };
        if let Some(task) = own(expected) {
            let Some(windows) = &task.windows else { return StateAnswer::NoStep };
            return windows
                .restoring(expected)
                .unwrap_or_else(|| StateAnswer::NoKey { at: windows.at(expected), others });
        }
        match others.iter().find(|member| member.partitions.contains(&expected)) {
            Some(member) => StateAnswer::Owner { partition: expected, member: member.clone(), others },
            None => {
                StateAnswer::Unknown(format!("the group is assigning partition {expected}, which the key belongs to"))
            }
        }
    }

    /// The members that have partitions, without this one.
    fn others(&self, members: &GroupMembers) -> Vec<GroupMember> {
        let is_own = |partition: &i32| self.flow.tasks.iter().any(|task| task.partition.partition == *partition);
        let advertised = self.settings.kafka.advertise.as_deref();
        let is_this = |member: &GroupMember| {
            member.partitions.iter().any(is_own) || advertised.is_some() && member.address.as_deref() == advertised
        };
        let others = members.members.iter().filter(|member| !member.partitions.is_empty() && !is_this(member));
        others.cloned().collect()
    }

    /// Some cells of a list.
    fn list(
        &self,
        prefix: &[u8],
        from: ListPosition,
        cells_max: usize,
        others: Option<Vec<GroupMember>>,
    ) -> StateAnswer {
        let mut tasks: Vec<&PartitionTask> =
            self.flow.tasks.iter().filter(|task| task.partition.partition >= from.partition).collect();
        tasks.sort_by_key(|task| task.partition.partition);
        let restoring = tasks.iter().find_map(|task| task.windows.as_ref()?.restoring(task.partition.partition));
        if let Some(restoring) = restoring {
            return restoring;
        }
        let (mut cells, mut bytes, mut visits) = (Vec::new(), 0, 0);
        for task in tasks {
            let partition = task.partition.partition;
            let start = if partition == from.partition { from } else { ListPosition::of(partition) };
            let Some(state) = task.windows.as_ref().and_then(|windows| windows.state.as_ref()) else { continue };
            let limit = ScanLimit {
                cells: cells_max.saturating_sub(cells.len()),
                visits: VISITS_MAX.saturating_sub(visits),
                bytes: BYTES_MAX.saturating_sub(bytes),
            };
            let scanned = state.scan(start.position, prefix, limit, |found| {
                bytes += found.key.unwrap_or_default().len() + found.cell.len();
                let (key, cell) = (found.key.map(<[u8]>::to_vec), found.cell.to_vec());
                cells.push(ListedCell { partition, key, slice: found.slice, cell });
            });
            if let Some(position) = scanned {
                return StateAnswer::List { cells, next: Some(ListPosition { partition, position }), others };
            }
            visits += state.cells();
        }
        StateAnswer::List { cells, next: None, others }
    }

    /// Shows each partition's lag, watermark and restore to probes.
    pub(in crate::worker) fn show_windowed(&self) {
        let Some(step) = &self.settings.windowed else { return };
        let mut remaining = 0;
        let mut all: Vec<WindowedStatus> = Vec::new();
        for task in &self.flow.tasks {
            let Some(windows) = &task.windows else { continue };
            let restoring = (!windows.is_ready()).then(|| Arc::clone(&windows.restoring.progress));
            remaining += restoring.as_ref().map_or(0, |progress| progress.remaining());
            // Partitions that are being restored are shown in any case.
            if all.len() < SHOWN_MAX || restoring.is_some() {
                all.push(WindowedStatus {
                    partition: task.partition.clone(),
                    lag: task.lag_records(),
                    watermark: windows.watermark(),
                    restoring,
                });
            }
        }
        all.sort_by_key(|partition| partition.partition.partition);
        let gauge = self.monitor.metrics.restore_remaining_records.with_label_values(&[&step.name]);
        gauge.set(i64::try_from(remaining).unwrap_or(i64::MAX));
        self.monitor.status.set_windowed(all);
    }
}

impl Windows {
    /// The committed cells of a key, if it has any.
    fn cells_of(&self, partition: i32, key: Option<&[u8]>) -> Option<KeyCells> {
        let state = self.state.as_ref()?;
        let (mut cells, mut bytes, mut is_cut) = (Vec::new(), 0, state.committed_slices() > SLICES_MAX);
        for found in state.committed_cells(key, SLICES_MAX) {
            if cells.len() == CELLS_MAX || bytes >= BYTES_MAX {
                is_cut = true;
                break;
            }
            bytes += found.cell.len();
            cells.push((found.slice, found.cell.to_vec()));
        }
        cells.sort_by_key(|(slice, _)| *slice);
        let at = applied(state, partition);
        (!cells.is_empty()).then(|| KeyCells { at, shown: state.applied_shown(), cells, is_cut })
    }

    /// How far the state is committed; `None` while it is being restored.
    fn at(&self, partition: i32) -> Option<AppliedUpTo> {
        self.state.as_ref().map(|state| applied(state, partition))
    }

    /// The answer while the state is being restored.
    fn restoring(&self, partition: i32) -> Option<StateAnswer> {
        let (read, total) = self.restoring.progress.read_of_total();
        (!self.is_ready()).then_some(StateAnswer::Restoring { partition, read, total })
    }
}

fn applied(state: &WindowedPartition, partition: i32) -> AppliedUpTo {
    let watermark = Some(state.applied_reading().watermark).filter(|&watermark| watermark != NO_TIME);
    AppliedUpTo { partition, applied: state.applied(), watermark }
}
