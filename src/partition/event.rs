//! PURE. What happens to a partition, and what is to be done about it.

use std::time::Instant;

use super::BreakerTripped;
use super::Policy;
use crate::failure::Failure;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::Seq;

/// What happened to a partition.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Records were received, in ascending order.
    Received {
        /// Their offsets.
        offsets: &'a [i64],
        /// The leader epoch under which they were fetched, -1 if unknown.
        leader_epoch: i32,
    },
    /// The next records were handed to an executor.
    Dispatched {
        /// How many.
        records: usize,
    },
    /// An executor returned records that it was handed.
    Ran {
        /// The run in which they were handed out.
        run: u32,
        /// The first of them.
        first: Seq,
        /// For each record that is done, in order, the number of its outputs.
        outputs: &'a [u32],
        /// Those among them that failed for good, by their places in `outputs`, ascending, and why: empty unless the policy
        /// [goes on](Policy::continues).
        failed: &'a [(usize, Failure)],
        /// The failure of the record behind these, if it failed.
        failure: Option<&'a Failure>,
        /// How many records come back with this event, run or not.
        returned: usize,
    },
    /// The broker acknowledged one output of each record from `first` to `last`.
    Delivered {
        /// The first of them.
        first: Seq,
        /// The last of them.
        last: Seq,
    },
    /// An output of a record can't be sent. The record is at hand.
    Unsendable {
        /// The record.
        seq: Seq,
        /// So many of its outputs were not sent, and won't be.
        unsent: u32,
        /// Why.
        failure: &'a Failure,
    },
    /// The broker refuses an output of a record. The record isn't at hand any more.
    Refused {
        /// The record.
        seq: Seq,
        /// Why.
        failure: &'a Failure,
    },
    /// An output was not delivered for a reason that is neither its record's nor the producer's.
    Undelivered {
        /// The record.
        seq: Seq,
    },
    /// A record can be neither processed nor given up.
    Unrecoverable {
        /// The record.
        seq: Seq,
        /// Why.
        failure: &'a Failure,
    },
    /// The consumer stands here, and holds no record that was not received.
    Position {
        /// Where.
        position: Offset,
    },
    /// The broker confirmed a commit, of whatever assignment.
    Committed {
        /// Everything below is committed.
        offset: Offset,
    },
    /// The partition goes to another worker, or the pipeline ends: finish what is out by `deadline`. Of two the first counts.
    Drain {
        /// When the wait ends.
        deadline: Instant,
    },
    /// The partition isn't waited for any longer, whatever is out of it.
    Release,
    /// From here on this policy counts. Nothing is out: neither at an executor nor at the broker.
    Policy(Policy),
    /// Everything unsettled is read again: outputs may be missing for a reason that is not a record's, or it was asked for by
    /// [`Action::Rewind`].
    Rewind {
        /// From here on what carries another number changes nothing.
        assignment: AssignmentId,
    },
    /// Time has passed.
    Tick,
}

impl Event<'_> {
    /// The assignment that the event is about; `None` if it is about the partition as it is now.
    pub(super) fn assignment(&self) -> Option<AssignmentId> {
        match self {
            Event::Ran { first, .. } | Event::Delivered { first, .. } => Some(first.assignment()),
            Event::Unsendable { seq, .. }
            | Event::Refused { seq, .. }
            | Event::Undelivered { seq }
            | Event::Unrecoverable { seq, .. } => Some(seq.assignment()),
            Event::Received { .. }
            | Event::Dispatched { .. }
            | Event::Position { .. }
            | Event::Committed { .. }
            | Event::Drain { .. }
            | Event::Release
            | Event::Policy(_)
            | Event::Rewind { .. }
            | Event::Tick => None,
        }
    }
}

/// What the worker has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Hand the outputs of the records returned by this event to the producer, up to this one.
    Send {
        /// The first record whose outputs are not sent.
        upto: Seq,
    },
    /// Hold these records, of this event's batch and of what was queued behind it, for another run.
    RunAgain {
        /// The first of them.
        from: Seq,
        /// How often the first was tried before.
        attempt: u32,
        /// Not before this.
        at: Instant,
    },
    /// This event's records from `from` on come back to the queue as they are: their run ended before their turn.
    Requeue {
        /// The first of them.
        from: Seq,
    },
    /// Give up this record, which this event is about: drop its outputs and send a dead letter in their place.
    DeadLetter {
        /// The record.
        seq: Seq,
        /// How often its turn came.
        tries: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// Give up this record, which this event is about: drop its outputs.
    Skip {
        /// The record.
        seq: Seq,
        /// How often its turn came.
        tries: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// Store this offset; it is committed with the next commit.
    Store {
        /// Everything below is settled.
        offset: Offset,
        /// The leader epoch of the last settled record, -1 if unknown.
        leader_epoch: i32,
        /// What is to be known of the records below after a restart, see [`with_counts`](super::PartitionState::with_counts): a word, or empty.
        counts: String,
    },
    /// A record failed for good and the policy says stop: end the pipeline.
    Stop {
        /// The record.
        offset: i64,
        /// How often it was tried.
        tries: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// Too many records broke the guest or were rejected: end the pipeline instead of giving up one after the other.
    BreakerTripped {
        /// The record at which it stops.
        offset: i64,
        /// What the breaker saw.
        trip: BreakerTripped,
        /// Why the last one failed.
        failure: Failure,
    },
    /// Drop the records that wait: nothing is handed out any more.
    DropQueue,
    /// Answer by [`Event::Rewind`], with a number that nothing in flight has.
    Rewind,
    /// Read again from here.
    Seek {
        /// The first record to read.
        offset: Offset,
    },
    /// The drain is over.
    Released {
        /// Whether everything that was out is settled; otherwise it is going to be repeated.
        settled: bool,
    },
}
