//! PURE. A partition's events and actions.

use std::time::Instant;

use super::BreakerTripped;
use super::Policy;
use crate::failure::Failure;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::Seq;
use crate::record::Seqs;

/// An event of a partition.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Records were received, in ascending order.
    Received {
        /// Their offsets.
        offsets: &'a [i64],
        /// The leader epoch of their record batch, -1 if unknown.
        leader_epoch: i32,
        /// The strand of each; empty if all are of strand 0.
        strands: &'a [u16],
    },
    /// The next records of a strand were handed to an executor.
    Dispatched {
        /// The strand.
        strand: u16,
        /// The records.
        seqs: Seqs<'a>,
    },
    /// An executor returned records of a strand.
    Ran {
        /// The strand.
        strand: u16,
        /// The strand's run in which they were handed out.
        run: u32,
        /// The records, run or not.
        seqs: Seqs<'a>,
        /// The number of outputs of each processed record, in order.
        outputs: &'a [u32],
        /// The processed records that failed, by index in `outputs`, ascending, and why: empty unless the policy
        /// [continues](Policy::continues).
        failed: &'a [(usize, Failure)],
        /// The failure of the record after these, if it failed.
        failure: Option<&'a Failure>,
    },
    /// The broker acknowledged one output of each record from `first` to `last`.
    Delivered {
        /// The first of them.
        first: Seq,
        /// The last of them.
        last: Seq,
    },
    /// An output of a record can't be sent. The worker still has the record.
    Unsendable {
        /// The record.
        seq: Seq,
        /// How many of its outputs were not sent and won't be.
        unsent: u32,
        /// Why.
        failure: &'a Failure,
    },
    /// The broker refused an output of a record. The worker does not have the record any more.
    Refused {
        /// The record.
        seq: Seq,
        /// Why.
        failure: &'a Failure,
    },
    /// An output was not delivered, for a reason that is neither the record's nor the producer's.
    Undelivered {
        /// The record.
        seq: Seq,
    },
    /// A record failed and can't be dead-lettered.
    Unrecoverable {
        /// The record.
        seq: Seq,
        /// Why.
        failure: &'a Failure,
    },
    /// An operator has said that this record is skipped if it fails permanently.
    LeaveOut {
        /// Its offset.
        offset: i64,
    },
    /// The consumer's position, with every record below it received.
    Position {
        /// The position.
        position: Offset,
    },
    /// The broker confirmed a commit, of any assignment.
    Committed {
        /// Every record below is committed.
        offset: Offset,
    },
    /// The partition is revoked, or the pipeline shuts down: finish the records that are out by `deadline`. Only the first
    /// drain's deadline counts.
    Drain {
        /// When the wait ends.
        deadline: Instant,
    },
    /// End the drain now, whatever is still out.
    Release,
    /// Use this policy from now on. The worker sends this only with nothing at an executor or at a broker.
    Policy(Policy),
    /// Read all unsettled records again: outputs may be missing for a reason that is not a record's, or [`Action::Rewind`] asked
    /// for it.
    Rewind {
        /// The new assignment: results of any other one change nothing.
        assignment: AssignmentId,
    },
    /// Read the partition from this offset: what was settled above it was aborted.
    Restart {
        /// The new assignment.
        assignment: AssignmentId,
        /// The group's offset, or where the partition began if the group has none.
        offset: Offset,
        /// Whether the group has it: otherwise the offset is stored, as after an assignment.
        is_committed: bool,
    },
    /// Time has passed.
    Tick,
}

impl Event<'_> {
    /// The assignment that the event is about; `None` if it is about the partition as it is now.
    pub(super) fn assignment(&self) -> Option<AssignmentId> {
        match self {
            Event::Ran { seqs, .. } => Some(seqs.first().assignment()),
            Event::Delivered { first, .. } => Some(first.assignment()),
            Event::Unsendable { seq, .. }
            | Event::Refused { seq, .. }
            | Event::Undelivered { seq }
            | Event::Unrecoverable { seq, .. } => Some(seq.assignment()),
            Event::Received { .. }
            | Event::Dispatched { .. }
            | Event::LeaveOut { .. }
            | Event::Position { .. }
            | Event::Committed { .. }
            | Event::Drain { .. }
            | Event::Release
            | Event::Policy(_)
            | Event::Rewind { .. }
            | Event::Restart { .. }
            | Event::Tick => None,
        }
    }
}

/// What the worker has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Hand the outputs of the records of this event to the producer, below `upto`.
    Send {
        /// The first record whose outputs are not sent.
        upto: Seq,
    },
    /// Requeue these records of this event, and retry the first one not before `at`.
    RunAgain {
        /// The first of them.
        from: Seq,
        /// How often the first record was tried before.
        attempt: u32,
        /// Not before this.
        at: Instant,
    },
    /// Requeue this event's records from `from` on unchanged: their run ended before their turn.
    Requeue {
        /// The first of them.
        from: Seq,
    },
    /// Drop this record's outputs and write a dead letter instead. The record is one of this event's.
    DeadLetter {
        /// The record.
        seq: Seq,
        /// How often it was tried.
        tries: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// Drop this record's outputs and skip it. The record is one of this event's.
    Skip {
        /// The record.
        seq: Seq,
        /// How often it was tried.
        tries: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// Store this offset for the next commit.
    Store {
        /// Every record below is settled.
        offset: Offset,
        /// The leader epoch of the last settled record, -1 if unknown.
        leader_epoch: i32,
        /// The breaker's counts for the records below, for a restart, see [`with_counts`](super::PartitionState::with_counts);
        /// may be empty.
        counts: String,
    },
    /// A record failed permanently and the policy is to stop: end the pipeline.
    Stop {
        /// The record.
        offset: i64,
        /// How often it was tried.
        tries: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// A record failed permanently and the policy is to hold: nothing is handed out until a person has acted, and then the partition
    /// is rewound.
    Hold {
        /// The record.
        offset: i64,
        /// How often it was tried.
        tries: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// Too many records broke the plugin or were rejected: end the pipeline instead of failing one record after the other.
    BreakerTripped {
        /// The record at which it stops.
        offset: i64,
        /// What the breaker counted.
        trip: BreakerTripped,
        /// Why the last one failed.
        failure: Failure,
    },
    /// Drop the waiting records from this one on: they are not handed out any more.
    DropQueue {
        /// The first of them; `None` drops all.
        from: Option<Seq>,
    },
    /// Answer with [`Event::Rewind`] and an assignment id that nothing in flight has.
    Rewind,
    /// Seek to this offset and read on from there.
    Seek {
        /// The first record to read.
        offset: Offset,
    },
    /// The drain is over.
    Released {
        /// Whether every record that was out is settled; otherwise records will be repeated.
        settled: bool,
    },
}
