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

use super::ages::Ages;
use super::letters::Posted;
use crate::batch::Batch;
use crate::kafka::consumer::Position;
use crate::partition::PartitionState;
use crate::record::Offset;
use crate::record::Seq;
use crate::record::TopicPartition;

/// A batch that is handed out holds at most so many records, but for a step that takes more in one call. It is small, so that what
/// the worker wrote is still in a cache when an executor reads it: with four times as many, a JSON edit took 3 % longer.
const BATCH_RECORDS: usize = 512;
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
    /// The offset of the last record that was read; `None` when the partition is read from elsewhere since.
    pub(super) last_read: Option<i64>,
    /// Where it was last read from elsewhere since it was assigned.
    pub(super) sought: Option<Offset>,
    /// The question where it starts that was asked when its position was gone.
    pub(super) asked: Option<u64>,
    /// Above every record of which an output or a dead letter was handed to the producer.
    pub(super) handed: Offset,
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
    /// The offset behind the last visible record.
    pub(super) end: i64,
    /// Since when records are there that aren't committed, as far as this worker saw; milliseconds since 1970-01-01 UTC.
    pub(super) behind_since: Option<i64>,
    /// When the first record of `open` was polled.
    pub(super) opened: Instant,
    pub(super) ages: Ages,
    /// The dead letters that the producer has, in order.
    pub(super) letters: VecDeque<(Seq, Posted)>,
}

/// Records that wait for an executor.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The lane's number when they were received: what `first` counts from.
    pub(super) lane: u32,
    pub(super) first: Seq,
    pub(super) batch: Arc<Batch>,
    pub(super) range: Range<usize>,
}

impl Lane {
    pub(super) fn new(
        now: Instant,
        number: u32,
        partition: TopicPartition,
        state: PartitionState,
        executor: usize,
        end: Offset,
    ) -> Lane {
        Lane {
            number,
            topic_bytes: partition.topic.as_bytes().into(),
            open: Batch::new(partition.clone()),
            partition,
            executor,
            leader_epoch: -1,
            last_read: None,
            sought: None,
            asked: None,
            handed: Offset(0),
            queue: VecDeque::new(),
            jobs: 0,
            cancel: Arc::default(),
            bytes: 0,
            paused: false,
            to_store: None,
            released: None,
            end: end.0,
            behind_since: None,
            opened: now,
            ages: Ages::new(state.low()),
            state,
            letters: VecDeque::new(),
        }
    }

    /// How many records aren't committed, gaps counted in.
    pub(super) fn lag(&self) -> i64 {
        (self.end - self.ages.committed().0).max(0)
    }

    /// How old the oldest record is that isn't committed, in milliseconds; 0 without one. What wasn't read yet is as old as the wait
    /// for it.
    pub(super) fn lag_ms(&mut self, unix_ms: i64) -> i64 {
        if self.lag() == 0 {
            self.behind_since = None;
            return 0;
        }
        let since = *self.behind_since.get_or_insert(unix_ms);
        let unsealed = || (!self.open.is_empty()).then(|| self.open.record(0).timestamp).filter(|&at| at > 0);
        (unix_ms - self.ages.oldest().or_else(unsealed).unwrap_or(since)).max(0)
    }

    /// Records received and not settled.
    pub(super) fn in_flight(&self) -> usize {
        self.state.in_flight() + self.open.len()
    }

    /// Whether this record was read before. A rebalance has librdkafka fetch a partition again from where it believes its reader to be,
    /// which is behind for a moment while records are taken (`rd_kafka_toppar_pause_resume` beside `rd_kafka_q_serve_rkmessages`).
    pub(super) fn has_read(&self, offset: i64, leader_epoch: i32) -> bool {
        leader_epoch == self.leader_epoch && self.last_read.is_some_and(|last| offset <= last)
    }

    /// Where to read the partition again after an error at `offset`, behind which librdkafka may now believe its reader to be
    /// (see [`Next::Failed`](crate::kafka::consumer::Next)). `None` if it doesn't, as more was read. An error that is about the topic
    /// is at offset 0, whatever was read.
    pub(super) fn unread_from(&self, offset: Offset) -> Option<Offset> {
        match self.last_read {
            Some(last) => (offset.0 > last).then_some(offset),
            None => Some(offset.max(self.state.low())),
        }
    }

    /// Whether everything below this position of the consumer was received. librdkafka carries a seek out on another thread: until
    /// a record was read behind its place, the position may still be the one before.
    pub(super) fn has_passed(&self, position: Offset) -> bool {
        let is_there = self.sought.is_none_or(|sought| self.last_read.is_some_and(|last| last >= sought.0));
        is_there && self.last_read.is_none_or(|last| position.0 > last)
    }

    /// An output or a dead letter of the record at this offset was handed to the producer.
    pub(super) fn hand_over(&mut self, offset: i64) {
        self.handed = self.handed.max(Offset(offset + 1));
    }

    /// Whether the open batch is to be sealed, for a first step that takes `call` records at once.
    pub(super) fn is_full(&self, call: usize) -> bool {
        self.open.len() >= call.max(BATCH_RECORDS) || self.open.bytes() >= BATCH_BYTES_MAX
    }

    /// Puts records back, in order. Those that were received before the lane got its number are read again, and counted anew: put
    /// into the queue they would wait for a turn that never comes, and all behind them too.
    pub(super) fn requeue(&mut self, waiting: Waiting) {
        if waiting.range.is_empty() || waiting.lane != self.number {
            return;
        }
        self.bytes += bytes_of(&waiting.batch, &waiting.range);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Policy;
    use crate::record::Epoch;
    use crate::worker::clock;

    #[test]
    fn a_batch_is_sealed_early_but_not_before_a_call_of_the_first_step_is_full() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let state = PartitionState::new(Policy::default(), Epoch(0), Offset(0), false);
        let mut lane = Lane::new(clock::now(), 0, partition, state, 0, Offset(0));
        let calls = [1, 128, 1000];
        let mut sealed_at = [0; 3];
        for offset in 0..1000 {
            lane.open.push(offset, 0, 0, None, None, std::iter::empty());
            for (at, call) in sealed_at.iter_mut().zip(calls) {
                if *at == 0 && lane.is_full(call) {
                    *at = lane.open.len();
                }
            }
        }
        assert_eq!(sealed_at, [512, 512, 1000]);
        assert!(!lane.is_full(4096));
        lane.open.push(1000, 0, 0, None, Some(&vec![0; BATCH_BYTES_MAX]), std::iter::empty());
        assert!(lane.is_full(4096), "it has enough bytes");
    }

    #[test]
    fn a_record_is_read_once_until_its_partition_is_read_from_elsewhere_or_by_another_leader() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let state = PartitionState::new(Policy::default(), Epoch(0), Offset(5), false);
        let mut lane = Lane::new(clock::now(), 0, partition, state, 0, Offset(9));
        assert!(!lane.has_read(5, 3));
        assert_eq!(lane.unread_from(Offset(0)), Some(Offset(5)), "where it begins");
        assert_eq!(lane.unread_from(Offset(6)), Some(Offset(6)), "behind what can't be seen");
        (lane.leader_epoch, lane.last_read) = (3, Some(7));
        assert!(lane.has_read(5, 3) && lane.has_read(7, 3) && !lane.has_read(8, 3));
        assert_eq!([0, 7, 8].map(|at| lane.unread_from(Offset(at))), [None, None, Some(Offset(8))]);
        assert!(!lane.has_read(5, 4), "the log may have been cut off there");
        lane.last_read = None;
        assert!(!lane.has_read(5, 3));
    }

    #[test]
    fn records_of_an_older_number_are_not_put_back() {
        let mut lane = lane(Offset(5));
        let waiting = |number| {
            let mut batch = Batch::new(lane_partition());
            batch.push(7, 0, 0, None, Some(b"value"), std::iter::empty());
            Waiting { lane: number, first: Seq(2), batch: Arc::new(batch), range: 0..1 }
        };
        lane.number = 8;
        lane.requeue(waiting(7));
        assert!(lane.queue.is_empty() && lane.bytes == 0, "it would stand before all that is read again");
        lane.requeue(waiting(8));
        assert_eq!((lane.queue.len(), lane.bytes > 0), (1, true));
    }

    #[test]
    fn a_position_counts_when_a_record_was_read_since_the_last_seek() {
        let mut lane = lane(Offset(5));
        assert!(lane.has_passed(Offset(9)), "only markers since it was assigned");
        lane.last_read = Some(9);
        assert!(lane.has_passed(Offset(10)) && !lane.has_passed(Offset(9)));
        // A rewind: the position is still the old one for a moment.
        (lane.sought, lane.last_read) = (Some(Offset(5)), None);
        assert!(!lane.has_passed(Offset(10)));
        lane.last_read = Some(5);
        assert!(lane.has_passed(Offset(6)));
        // After an error at 6, librdkafka counts that record as read.
        lane.sought = Some(Offset(6));
        assert!(!lane.has_passed(Offset(7)));
        lane.last_read = Some(6);
        assert!(lane.has_passed(Offset(7)));
    }

    fn lane_partition() -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: 0 }
    }

    fn lane(start: Offset) -> Lane {
        let state = PartitionState::new(Policy::default(), Epoch(0), start, false);
        Lane::new(clock::now(), 0, lane_partition(), state, 0, start)
    }
}
