//! The records in flight, and where they wait. It decides nothing.
//!
//! Invariant: a record is in one place: in its task's open batch or lanes, at an executor, in the backlog, or among the waiting
//! dead letters; or only its task's ledger knows it, while its outputs are at the producer. Besides records this holds what
//! is known of the denied output, and how far partitions had got when the worker left them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::dead_letters::PendingDeadLetters;
use super::denied::Denied;
use super::intake::Amount;
use super::left::LeftAt;
use super::left_out::LeftOut;
use super::outgoing::Outgoing;
use super::task::PartitionTask;
use crate::batch::Batch;
use crate::budget::HeldMemory;
use crate::budget::MemoryAccount;
use crate::budget::MemoryKind;
use crate::kafka::consumer::Position;
use crate::record::AssignmentId;
use crate::record::AssignmentIds;
use crate::record::Seq;
use crate::record::TopicPartition;

/// See the head of the file.
pub(super) struct Flow {
    /// The assigned partitions that are being read.
    pub(super) tasks: Vec<PartitionTask>,
    /// The task of the last record that was read: the next record is most likely of the same one.
    pub(super) last_read: usize,
    assignments: AssignmentIds,
    /// Empty batches, kept for their memory.
    spare: Vec<Batch>,
    /// Runs whose outputs may not be sent yet, or for which the producer has no room; those of a strand in order.
    pub(super) backlog: VecDeque<Outgoing>,
    /// Whether the producer had no room for the backlog.
    pub(super) is_stuck: bool,
    /// Dead letters that the producer has no room for yet, in order.
    pub(super) dead_letters: PendingDeadLetters,
    /// Bytes of outputs that are not acknowledged.
    pub(super) bytes_out: usize,
    /// The output that was denied.
    pub(super) denied: Option<Denied>,
    /// How far partitions had got when they were given back, during a shutdown.
    pub(super) left: Vec<LeftAt>,
    /// Records that an operator has said to leave out.
    pub(super) left_out: LeftOut,
    /// What of it counts against the memory of the process.
    pub(super) held: HeldByFlow,
}

/// What a worker holds of the memory of the process.
pub(super) struct HeldByFlow {
    /// Records and outputs.
    pub(super) in_flight: HeldMemory,
    /// The tables of its step with windows, as of the last second.
    pub(super) state: HeldMemory,
}

impl HeldByFlow {
    pub(super) fn new(memory: &Arc<MemoryAccount>) -> HeldByFlow {
        let nothing = |kind| HeldMemory::new(memory, kind);
        HeldByFlow { in_flight: nothing(MemoryKind::InFlight), state: nothing(MemoryKind::State) }
    }
}

/// The most batches in `spare`.
const SPARE_MAX: usize = 64;

impl Flow {
    /// A flow with nothing in flight. Its assignment ids continue after those already issued.
    pub(super) fn new(assignments: AssignmentIds, memory: &Arc<MemoryAccount>) -> Flow {
        Flow {
            tasks: Vec::new(),
            last_read: 0,
            assignments,
            spare: Vec::new(),
            backlog: VecDeque::new(),
            is_stuck: false,
            dead_letters: PendingDeadLetters::default(),
            bytes_out: 0,
            denied: None,
            left: Vec::new(),
            left_out: LeftOut::default(),
            held: HeldByFlow::new(memory),
        }
    }

    /// The task with the assignment of a record, if it still has it.
    pub(super) fn task_of(&self, seq: Seq) -> Option<usize> {
        self.task_in(seq.assignment())
    }

    /// The task with this assignment.
    pub(super) fn task_in(&self, assignment: AssignmentId) -> Option<usize> {
        self.tasks.iter().position(|task| task.state.assignment() == assignment)
    }

    /// The task of a partition.
    pub(super) fn of(&mut self, partition: &TopicPartition) -> Option<&mut PartitionTask> {
        self.tasks.iter_mut().find(|task| task.partition == *partition)
    }

    /// All partitions that are read.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.tasks.iter().map(|task| task.partition.clone()).collect()
    }

    /// The offsets to be committed that were not taken yet.
    pub(super) fn take_positions(&mut self) -> Vec<Position> {
        let take = |task: &mut PartitionTask| {
            let position = task.offsets.to_store.take()?;
            task.offsets.stored = Some(position.clone());
            Some(position)
        };
        self.tasks.iter_mut().filter_map(take).collect()
    }

    /// Whether there are offsets to be committed that were not taken yet.
    pub(super) fn has_positions(&self) -> bool {
        self.tasks.iter().any(|task| task.offsets.to_store.is_some())
    }

    /// What is in flight. Records count while they wait, run or have unacknowledged outputs; bytes are those of records that wait
    /// or run, and of unacknowledged outputs.
    pub(super) fn amount(&self) -> Amount {
        let waiting: usize = self.tasks.iter().map(|task| task.lanes.bytes).sum();
        let backlog: usize = self.backlog.iter().map(|sending| sending.bytes).sum();
        Amount {
            records: self.tasks.iter().map(PartitionTask::in_flight).sum(),
            bytes: waiting + backlog + self.dead_letters.bytes() + self.bytes_out,
        }
    }

    /// Whether outputs wait for the producer.
    pub(super) fn is_backed_up(&self) -> bool {
        (self.is_stuck && !self.backlog.is_empty()) || !self.dead_letters.is_empty()
    }

    /// Whether nothing is at an executor, at a broker, or on the way to or from one. Records may wait for their turn or for a
    /// retry.
    pub(super) fn is_quiet(&self) -> bool {
        let is_empty = self.backlog.is_empty() && self.dead_letters.is_empty();
        self.tasks.iter().all(|task| task.lanes.jobs == 0) && is_empty && self.bytes_out == 0
    }

    /// Forgets the outputs that the producer has and those that wait for it, as the producer is discarded.
    pub(super) fn forget_outputs(&mut self) {
        self.backlog.clear();
        self.is_stuck = false;
        self.dead_letters.clear();
        self.bytes_out = 0;
    }

    /// A new assignment id, which no task has.
    pub(super) fn new_assignment(&mut self) -> AssignmentId {
        let tasks = &self.tasks;
        let has = |task: &PartitionTask, id| {
            task.state.assignment() == id || task.windows.as_ref().is_some_and(|windows| windows.outputs == id)
        };
        self.assignments.issue(|id| tasks.iter().any(|task| has(task, id)))
    }

    /// The assignment ids issued so far, for the worker that takes over.
    pub(super) fn assignments(&self) -> AssignmentIds {
        self.assignments.clone()
    }

    /// Continues after these assignment ids.
    pub(super) fn continue_behind(&mut self, assignments: AssignmentIds) {
        self.assignments = assignments;
    }

    /// The executor with the fewest tasks, out of `executors`.
    pub(super) fn quietest_executor(&self, executors: usize) -> usize {
        (0..executors)
            .min_by_key(|&executor| self.tasks.iter().filter(|task| task.executor == executor).count())
            .unwrap_or(0)
    }

    /// An empty batch.
    pub(super) fn batch(&mut self, partition: TopicPartition) -> Batch {
        match self.spare.pop() {
            Some(mut spare) => {
                spare.reset(partition);
                spare
            }
            None => Batch::new(partition),
        }
    }

    /// Keeps the memory of a batch that nothing refers to any more.
    pub(super) fn recycle(&mut self, batch: Arc<Batch>) {
        if self.spare.len() < SPARE_MAX
            && let Ok(batch) = Arc::try_unwrap(batch)
        {
            self.spare.push(batch);
        }
    }
}
