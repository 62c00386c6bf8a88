//! One partition's records on their way: those that wait, and the state that decides about them.
//!
//! The records that wait are in `queue`, in order, and behind them in `open`, which is being filled. What is at an executor comes back as
//! [`Ran`](super::executor::Ran). A lane has a number of its own in every epoch, which its outputs carry as their tag.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::letters::Posted;
use crate::batch::Batch;
use crate::kafka::consumer::Position;
use crate::partition::PartitionState;
use crate::record::Offset;
use crate::record::Seq;
use crate::record::TopicPartition;

/// A batch that is handed out holds at most so many records.
pub(super) const BATCH_RECORDS_MAX: usize = 2048;
/// A batch that is handed out holds at most so many bytes, and one record.
pub(super) const BATCH_BYTES_MAX: usize = 1 << 20;
/// Jobs of a lane that an executor has at a time: one to run, and one to go on with.
pub(super) const JOBS_MAX: usize = 2;

/// A partition that is assigned to this worker.
pub(super) struct Lane {
    pub(super) number: u32,
    pub(super) partition: TopicPartition,
    /// For comparing with a fetched record's topic.
    pub(super) topic_bytes: Box<[u8]>,
    pub(super) state: PartitionState,
    pub(super) executor: usize,
    /// The batch that is being filled.
    pub(super) open: Batch,
    pub(super) leader_epoch: i32,
    pub(super) queue: VecDeque<Waiting>,
    /// Jobs at the executor.
    pub(super) jobs: usize,
    pub(super) cancel: Arc<AtomicBool>,
    /// Bytes of the records that wait or are at the executor.
    pub(super) bytes: usize,
    pub(super) paused: bool,
    pub(super) to_store: Option<Position>,
    /// The drain is over; whether everything was settled.
    pub(super) released: Option<bool>,
    /// The offset behind the last visible record, if known.
    pub(super) end: Option<i64>,
    /// The dead letters that the producer has, in order.
    pub(super) letters: VecDeque<(Seq, Posted)>,
    /// The batches in flight, for the metrics of duration and age.
    pub(super) polled: VecDeque<Polled>,
}

/// When a batch was polled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polled {
    /// The first record behind it.
    pub(super) end: Seq,
    pub(super) at: Instant,
    /// The timestamp of its first record, milliseconds since 1970-01-01 UTC; -1 is none.
    pub(super) oldest: i64,
}

/// Records that wait for an executor.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) first: Seq,
    pub(super) batch: Arc<Batch>,
    pub(super) range: Range<usize>,
}

impl Lane {
    pub(super) fn new(number: u32, partition: TopicPartition, state: PartitionState, executor: usize) -> Lane {
        Lane {
            number,
            topic_bytes: partition.topic.as_bytes().into(),
            open: Batch::new(partition.clone()),
            partition,
            state,
            executor,
            leader_epoch: -1,
            queue: VecDeque::new(),
            jobs: 0,
            cancel: Arc::default(),
            bytes: 0,
            paused: false,
            to_store: None,
            released: None,
            end: None,
            letters: VecDeque::new(),
            polled: VecDeque::new(),
        }
    }

    /// Records received and not settled.
    pub(super) fn in_flight(&self) -> usize {
        self.state.in_flight() + self.open.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= BATCH_RECORDS_MAX || self.open.bytes() >= BATCH_BYTES_MAX
    }

    /// Puts records back, in order.
    pub(super) fn requeue(&mut self, waiting: Waiting) {
        if waiting.range.is_empty() {
            return;
        }
        let at = self.queue.partition_point(|other| other.first < waiting.first);
        self.queue.insert(at, waiting);
    }

    /// Forgets the records that wait, and tells the executor to give back the rest.
    pub(super) fn drop_queue(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        self.cancel = Arc::default();
        let waiting: usize = self.queue.iter().map(|waiting| bytes_of(&waiting.batch, &waiting.range)).sum();
        self.bytes = self.bytes.saturating_sub(waiting + self.open.bytes());
        self.queue.clear();
        self.open.reset(self.partition.clone());
    }

    /// Remembers what to store with the next round.
    pub(super) fn store(&mut self, offset: Offset, leader_epoch: i32) {
        self.to_store = Some(Position { partition: self.partition.clone(), offset, leader_epoch });
    }
}

/// The bytes of some records of a batch.
pub(super) fn bytes_of(batch: &Batch, range: &Range<usize>) -> usize {
    batch.slice(range.clone()).data.len()
}
