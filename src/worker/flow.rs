//! The records that are in flight, and where they wait. It decides nothing.
//!
//! Invariant: a record is in one place: in its task's open batch or queue, at an executor, in the backlog, or among the dead letters that wait; or
//! its task's ledger alone knows it, while its outputs are at the producer. Beside them stand a copy of the output that was denied, and what is to be
//! said of partitions at the end.

use std::collections::VecDeque;
use std::sync::Arc;

use super::dead_letters::PendingDeadLetters;
use super::denied::Denied;
use super::intake::Amount;
use super::left::LeftAt;
use super::outgoing::Outgoing;
use super::task::PartitionTask;
use crate::batch::Batch;
use crate::record::AssignmentId;
use crate::record::AssignmentIds;
use crate::record::Seq;
use crate::record::TopicPartition;

/// See the head of the file.
pub(super) struct Flow {
    /// The partitions that were given to this worker and that it reads.
    pub(super) tasks: Vec<PartitionTask>,
    /// The task of the last record that was read: the next one is most likely of the same.
    pub(super) last_read: usize,
    assignments: AssignmentIds,
    /// Empty batches with their memory.
    spare: Vec<Batch>,
    /// Outcomes whose outputs the producer has no room for yet, in order.
    pub(super) backlog: VecDeque<Outgoing>,
    /// Dead letters that the producer has no room for yet, in order.
    pub(super) dead_letters: PendingDeadLetters,
    /// Bytes of outputs that are not acknowledged.
    pub(super) bytes_out: usize,
    /// The output that was denied.
    pub(super) denied: Option<Denied>,
    /// Where partitions were left, while the worker ends.
    pub(super) left: Vec<LeftAt>,
}

/// Batches whose memory is kept.
const SPARE_MAX: usize = 64;

impl Flow {
    /// With nothing in flight. What is assigned gets other numbers than those that were issued.
    pub(super) fn new(assignments: AssignmentIds) -> Flow {
        Flow {
            tasks: Vec::new(),
            last_read: 0,
            assignments,
            spare: Vec::new(),
            backlog: VecDeque::new(),
            dead_letters: PendingDeadLetters::default(),
            bytes_out: 0,
            denied: None,
            left: Vec::new(),
        }
    }

    /// The task in whose assignment a record was received.
    pub(super) fn task_of(&self, seq: Seq) -> Option<usize> {
        self.tasks.iter().position(|task| task.state.assignment() == seq.assignment())
    }

    /// The task of a partition.
    pub(super) fn of(&mut self, partition: &TopicPartition) -> Option<&mut PartitionTask> {
        self.tasks.iter_mut().find(|task| task.partition == *partition)
    }

    /// All partitions that are read.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.tasks.iter().map(|task| task.partition.clone()).collect()
    }

    /// Records that wait, run or have outputs that are not acknowledged; bytes of records that wait or run, and of outputs that are not
    /// acknowledged.
    pub(super) fn amount(&self) -> Amount {
        let waiting: usize = self.tasks.iter().map(|task| task.runs.bytes).sum();
        let backlog: usize = self.backlog.iter().map(|sending| sending.bytes).sum();
        Amount {
            records: self.tasks.iter().map(PartitionTask::in_flight).sum(),
            bytes: waiting + backlog + self.dead_letters.bytes() + self.bytes_out,
        }
    }

    /// Whether outputs wait for the producer.
    pub(super) fn is_backed_up(&self) -> bool {
        !self.backlog.is_empty() || !self.dead_letters.is_empty()
    }

    /// Whether nothing is at an executor, on its way there and back, or at a broker. Records may wait: for their turn, or for a retry.
    pub(super) fn is_quiet(&self) -> bool {
        self.tasks.iter().all(|task| task.runs.jobs == 0) && !self.is_backed_up() && self.bytes_out == 0
    }

    /// The outputs that the producer has, or that wait for it, are forgotten, as it is thrown away.
    pub(super) fn forget_outputs(&mut self) {
        self.backlog.clear();
        self.dead_letters.clear();
        self.bytes_out = 0;
    }

    /// A number that no assignment in flight has.
    pub(super) fn new_assignment(&mut self) -> AssignmentId {
        let tasks = &self.tasks;
        self.assignments.issue(|id| tasks.iter().any(|task| task.state.assignment() == id))
    }

    /// The numbers that were issued, for the worker that comes next.
    pub(super) fn assignments(&self) -> AssignmentIds {
        self.assignments.clone()
    }

    /// Goes on behind these numbers.
    pub(super) fn continue_behind(&mut self, assignments: AssignmentIds) {
        self.assignments = assignments;
    }

    /// The executor with the fewest tasks, of so many.
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
