//! One partition's records on their way: those that wait, and the state that decides about them.
//!
//! The records that wait are in `queue`, in order, and behind them in `open`, which is being filled. What is at an executor comes back as
//! [`Ran`](super::executor::Ran).

use std::collections::BTreeSet;
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
use crate::kafka::note::Note;
use crate::kafka::note::TopicId;
use crate::partition::PartitionState;
use crate::record::AssignmentId;
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
    pub(super) partition: TopicPartition,
    /// For comparing with a fetched record's topic.
    pub(super) topic_bytes: Box<[u8]>,
    pub(super) state: PartitionState,
    pub(super) executor: usize,
    /// The batch that is being filled.
    pub(super) open: Batch,
    /// Of the batch of the last record that was read.
    pub(super) leader_epoch: i32,
    /// The offset of the last record that was read; `None` when the partition is read from elsewhere since.
    pub(super) last_read: Option<i64>,
    /// Where it was last read from elsewhere since it was assigned.
    pub(super) sought: Option<Offset>,
    /// The question what there is of it that was asked when its position was gone.
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
    /// What was stored last.
    pub(super) stored: Option<Position>,
    /// The drain is over; whether everything was settled.
    pub(super) released: Option<bool>,
    /// The offset behind the last record.
    pub(super) end: i64,
    /// The offset behind the last record that no open transaction holds back, if known.
    pub(super) stable: Option<i64>,
    /// What the group had committed when it last went on, and when that was: with records that aren't committed, in milliseconds since
    /// 1970-01-01 UTC.
    behind: Option<(Offset, i64)>,
    /// The topic's id, if brokers tell it.
    pub(super) topic: Option<TopicId>,
    /// What is committed beside offsets.
    note: Arc<str>,
    /// Its position is gone: nothing is read of it until it is known where to go on.
    pub(super) is_gone: bool,
    /// That is so because the log was cut off and went on with other records.
    pub(super) is_cut: bool,
    /// Whether it has no leader.
    pub(super) is_leaderless: bool,
    /// When the first record of `open` was polled.
    pub(super) opened: Instant,
    pub(super) ages: Ages,
    /// The dead letters that the producer has, in order.
    pub(super) letters: VecDeque<(Seq, Posted)>,
    /// The records whose dead letters have the time of their writing, as their topic doesn't take the record's own.
    pub(super) retimed: BTreeSet<i64>,
}

/// What a record is for a lane that has read others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It comes next.
    Next,
    /// It was read before.
    Before,
    /// Another one was read at its offset, before the log was cut off there and went on under a newer leader.
    CutOff,
}

/// Records that wait for an executor.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) first: Seq,
    pub(super) batch: Arc<Batch>,
    pub(super) range: Range<usize>,
}

impl Lane {
    pub(super) fn new(
        now: Instant,
        partition: TopicPartition,
        state: PartitionState,
        executor: usize,
        end: Offset,
    ) -> Lane {
        Lane {
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
            stored: None,
            released: None,
            end: end.0,
            stable: None,
            behind: None,
            topic: None,
            note: Arc::default(),
            is_gone: false,
            is_cut: false,
            is_leaderless: false,
            opened: now,
            ages: Ages::new(state.next(), state.low()),
            state,
            letters: VecDeque::new(),
            retimed: BTreeSet::new(),
        }
    }

    /// Whether the group may stand behind where it is read now: the client keeps what is stored below the last commit, so that a commit
    /// has to name it.
    pub(super) fn is_moved(&self) -> bool {
        self.state.committed().is_none()
    }

    /// How many records aren't committed, gaps counted in.
    pub(super) fn lag(&self) -> i64 {
        (self.end - self.ages.committed().0).max(0)
    }

    /// How old the oldest record is that isn't committed, in milliseconds; 0 without one. What wasn't read yet, and what has no time or
    /// one that is yet to come, is as old as the wait for it.
    pub(super) fn lag_ms(&mut self, unix_ms: i64) -> i64 {
        if self.lag() == 0 {
            self.behind = None;
            return 0;
        }
        let committed = self.ages.committed();
        let since = match self.behind {
            Some((at, since)) if at == committed => since,
            Some(_) | None => unix_ms,
        };
        self.behind = Some((committed, since));
        let unsealed = || (!self.open.is_empty()).then(|| self.open.record(0).timestamp).filter(|&at| at > 0);
        let age = self.ages.oldest().or_else(unsealed).map(|at| unix_ms.saturating_sub(at)).filter(|&age| age > 0);
        age.unwrap_or_else(|| unix_ms.saturating_sub(since).max(1))
    }

    /// How many records an open transaction holds back, if everything before them is done.
    pub(super) fn behind_a_transaction(&self) -> Option<i64> {
        let stable = self.stable.filter(|&stable| self.in_flight() == 0 && self.state.low().0 >= stable)?;
        Some(self.end - stable).filter(|&records| records > 0)
    }

    /// The topic has this id.
    pub(super) fn set_topic(&mut self, topic: Option<TopicId>) {
        self.topic = topic;
        self.note = Note { topic, ..Note::default() }.to_string().into();
    }

    /// Records received and not settled.
    pub(super) fn in_flight(&self) -> usize {
        self.state.in_flight() + self.open.len()
    }

    /// What a record is that was fetched. A rebalance has librdkafka fetch a partition again from where it believes its reader to be,
    /// which is behind for a moment while records are taken (`rd_kafka_toppar_pause_resume` beside `rd_kafka_q_serve_rkmessages`).
    ///
    /// The epoch is the one in which the record was written, and grows along the log: a record that was read has that of the last one, or
    /// a lower one.
    pub(super) fn seen(&self, offset: i64, leader_epoch: i32) -> Seen {
        match self.last_read {
            Some(last) if offset <= last && leader_epoch <= self.leader_epoch => Seen::Before,
            Some(last) if offset <= last => Seen::CutOff,
            Some(_) | None => Seen::Next,
        }
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

    /// Puts records of this assignment back, in order. Those of another are read again, and counted anew: put into the queue they would
    /// wait for a turn that never comes, and all behind them too.
    pub(super) fn requeue(&mut self, waiting: Waiting) {
        if waiting.range.is_empty() || waiting.first.assignment() != self.state.assignment() {
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

    /// What is under way belongs to nobody any more, as the partition is read again as this assignment.
    pub(super) fn forget(&mut self, assignment: AssignmentId) {
        self.drop_queue();
        self.jobs = 0;
        self.bytes = 0;
        self.last_read = None;
        self.ages.rewind(Seq::first_of(assignment));
        self.letters.clear();
        self.retimed = self.retimed.split_off(&self.state.low().0);
    }

    /// Remembers what to store with the next round.
    pub(super) fn store(&mut self, offset: Offset, leader_epoch: i32, counts: String) {
        let note = if counts.is_empty() {
            Arc::clone(&self.note)
        } else {
            Note { topic: self.topic, counts }.to_string().into()
        };
        self.to_store = Some(Position { partition: self.partition.clone(), offset, leader_epoch, note });
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
    use crate::record::AssignmentIds;
    use crate::worker::clock;

    #[test]
    fn a_batch_is_sealed_early_but_not_before_a_call_of_the_first_step_is_full() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let state = PartitionState::new(Policy::default(), assignments(1)[0], Offset(0), false);
        let mut lane = Lane::new(clock::now(), partition, state, 0, Offset(0));
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
        let state = PartitionState::new(Policy::default(), assignments(1)[0], Offset(5), false);
        let mut lane = Lane::new(clock::now(), partition, state, 0, Offset(9));
        assert_eq!(lane.seen(5, 3), Seen::Next);
        assert_eq!(lane.unread_from(Offset(0)), Some(Offset(5)), "where it begins");
        assert_eq!(lane.unread_from(Offset(6)), Some(Offset(6)), "behind what can't be seen");
        (lane.leader_epoch, lane.last_read) = (3, Some(7));
        assert_eq!([5, 7, 8].map(|offset| lane.seen(offset, 3)), [Seen::Before, Seen::Before, Seen::Next]);
        // The batches before a change of the leader keep the epoch in which they were written.
        assert_eq!([5, 7, 8].map(|offset| lane.seen(offset, 2)), [Seen::Before, Seen::Before, Seen::Next]);
        assert_eq!(lane.seen(5, -1), Seen::Before);
        assert_eq!([0, 7, 8].map(|at| lane.unread_from(Offset(at))), [None, None, Some(Offset(8))]);
        assert_eq!([7, 8].map(|offset| lane.seen(offset, 4)), [Seen::CutOff, Seen::Next]);
        lane.last_read = None;
        assert_eq!(lane.seen(5, 3), Seen::Next);
    }

    /// Of a lane at offset 0 with records of these times, of which none is committed.
    fn behind(times: &[i64]) -> Lane {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let state = PartitionState::new(Policy::default(), assignments(1)[0], Offset(0), false);
        let mut lane = Lane::new(clock::now(), partition, state, 0, Offset(100));
        lane.ages.receive(clock::now(), times);
        lane
    }

    #[test]
    fn lag_is_as_old_as_the_record_or_as_the_wait_for_it_whatever_its_time_says() {
        let now = 1_800_000_000_000;
        // A second ago, in 2020, in 1970.
        for time in [now - 1000, 1_577_836_800_000, 1] {
            assert_eq!(behind(&[time]).lag_ms(now), now - time);
        }
        // None, before 1970, now, 11 days ahead, at the end of time.
        for time in [0, -1, -2, i64::MIN, now, now + 11 * 86_400_000, i64::MAX] {
            let mut lane = behind(&[time]);
            assert_eq!([0, 5000, 9000].map(|later| lane.lag_ms(now + later)), [1, 5000, 9000], "{time}");
            lane.ages.commit(Offset(50));
            assert_eq!(lane.lag(), 50);
            lane.ages.commit(Offset(100));
            assert_eq!(lane.lag_ms(now + 9001), 0, "{time}");
        }
        // Nothing was read yet, and the clock goes back.
        let mut lane = behind(&[]);
        assert_eq!([0, 5000, -5000].map(|later| lane.lag_ms(now + later)), [1, 5000, 1]);
        // It goes on all the time: the wait is that since the last commit.
        lane.ages.commit(Offset(50));
        assert_eq!([6000, 7000].map(|later| lane.lag_ms(now + later)), [1, 1000]);
    }

    #[test]
    fn what_an_open_transaction_holds_back_is_lag_and_has_a_reason() {
        let mut lane = behind(&[]);
        assert_eq!(lane.behind_a_transaction(), None, "it isn't known");
        lane.stable = Some(0);
        assert_eq!((lane.lag(), lane.behind_a_transaction()), (100, Some(100)));
        lane.stable = Some(40);
        assert_eq!(lane.behind_a_transaction(), None, "there are records to be read yet");
        lane.stable = Some(100);
        assert_eq!(lane.behind_a_transaction(), None);
    }

    #[test]
    fn records_of_another_assignment_are_not_put_back() {
        let mut lane = lane(Offset(5));
        let [own, other] = [0, 1].map(|at| assignments(2)[at]);
        let waiting = |assignment| {
            let mut batch = Batch::new(lane_partition());
            batch.push(7, 0, 0, None, Some(b"value"), std::iter::empty());
            Waiting { first: Seq::first_of(assignment).plus(2), batch: Arc::new(batch), range: 0..1 }
        };
        lane.requeue(waiting(other));
        assert!(lane.queue.is_empty() && lane.bytes == 0, "it would stand before all that is read again");
        lane.requeue(waiting(own));
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

    /// The first assignments that there are.
    fn assignments(count: usize) -> Vec<AssignmentId> {
        let mut ids = AssignmentIds::default();
        (0..count).map(|_| ids.issue(|_| false)).collect()
    }

    fn lane_partition() -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: 0 }
    }

    fn lane(start: Offset) -> Lane {
        let state = PartitionState::new(Policy::default(), assignments(1)[0], start, false);
        Lane::new(clock::now(), lane_partition(), state, 0, start)
    }
}
