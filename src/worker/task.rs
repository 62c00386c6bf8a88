//! An assigned partition: its waiting records, and the state that decides about them.
//!
//! Waiting records are in its lanes. Executors return records as [`RunResult`](super::executor::RunResult).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::dead_letters::SentDeadLetter;
use super::lag::Lag;
use super::lanes::Lanes;
use super::lanes::QueuedRun;
use super::position::PositionState;
use super::reader::Reader;
use super::windows::Windows;
use crate::kafka::consumer::Position;
use crate::kafka::offset_metadata::OffsetMetadata;
use crate::kafka::offset_metadata::TopicId;
use crate::partition::PartitionState;
use crate::record::AssignmentId;
use crate::record::Offset;
use crate::record::Seq;
use crate::record::TopicPartition;

/// See the head of the file.
pub(super) struct PartitionTask {
    pub(super) partition: TopicPartition,
    pub(super) state: PartitionState,
    /// Runs all records of a partition of one strand.
    pub(super) executor: usize,
    pub(super) reader: Reader,
    /// Whether its position is known.
    pub(super) position: PositionState,
    pub(super) lanes: Lanes,
    pub(super) offsets: Offsets,
    pub(super) log: Log,
    pub(super) lag: Lag,
    pub(super) dead_letters: DeadLetters,
    /// The tables of a step with windows. They decide which offsets are committed.
    pub(super) windows: Option<Box<Windows>>,
}

/// The offsets of the task to be committed.
pub(super) struct Offsets {
    pub(super) to_store: Option<Position>,
    /// The last stored offset.
    pub(super) stored: Option<Position>,
    /// Where the task began to read.
    pub(super) began: Offset,
    /// Above every record that had an output or a dead letter handed to the producer.
    pub(super) handed: Offset,
    /// The topic's id, if brokers report it.
    pub(super) topic: Option<TopicId>,
    /// The metadata committed with offsets.
    note: Arc<str>,
}

/// What is known about the partition's log.
pub(super) struct Log {
    /// The offset after the last record.
    pub(super) end: i64,
    /// What an open transaction holds back, as of the last statistics. `end` is newer, and mustn't be compared with it.
    pub(super) unstable: Range<i64>,
    pub(super) is_leaderless: bool,
    /// Set while records are uncommitted: the committed offset when it last advanced, and when that was, in milliseconds since
    /// 1970-01-01 UTC.
    behind: Option<(Offset, i64)>,
}

/// The task's dead letters.
#[derive(Default)]
pub(super) struct DeadLetters {
    /// Dead letters at the producer.
    pub(super) sent: BTreeMap<Seq, SentDeadLetter>,
    /// The offsets of records whose dead letters get the time of writing, as their topic refused the record's timestamp.
    pub(super) retimed: BTreeSet<i64>,
}

impl PartitionTask {
    pub(super) fn new(
        now: Instant,
        partition: TopicPartition,
        state: PartitionState,
        executor: usize,
        end: Offset,
    ) -> PartitionTask {
        PartitionTask {
            reader: Reader::new(now, &partition),
            partition,
            executor,
            position: PositionState::Known,
            lanes: Lanes::new(state.strands()),
            offsets: Offsets {
                to_store: None,
                stored: None,
                began: state.low(),
                handed: Offset(0),
                topic: None,
                note: Arc::default(),
            },
            log: Log { end: end.0, unstable: 0..0, is_leaderless: false, behind: None },
            lag: Lag::new(state.next(), state.low()),
            dead_letters: DeadLetters::default(),
            windows: None,
            state,
        }
    }

    /// Whether the group's offset may be above the present reading position. The client ignores stored offsets below the last
    /// commit, so a commit has to name this offset.
    pub(super) fn is_moved(&self) -> bool {
        self.state.committed().is_none()
    }

    /// The number of uncommitted offsets, including gaps.
    pub(super) fn lag_records(&self) -> i64 {
        (self.log.end - self.lag.committed().0).max(0)
    }

    /// The age of the oldest uncommitted record in milliseconds; 0 without one. A record that was not read yet, or has no
    /// timestamp or a future one, is as old as the time since the committed offset last advanced.
    pub(super) fn lag_ms(&mut self, unix_ms: i64) -> i64 {
        if self.lag_records() == 0 {
            self.log.behind = None;
            return 0;
        }
        let committed = self.lag.committed();
        let since = match self.log.behind {
            Some((at, since)) if at == committed => since,
            Some(_) | None => unix_ms,
        };
        self.log.behind = Some((committed, since));
        let unsealed =
            || (!self.reader.open.is_empty()).then(|| self.reader.open.record(0).timestamp).filter(|&at| at > 0);
        let age = self.lag.oldest().or_else(unsealed).map(|at| unix_ms.saturating_sub(at)).filter(|&age| age > 0);
        age.unwrap_or_else(|| unix_ms.saturating_sub(since).max(1))
    }

    /// How many records an open transaction holds back, if everything before them is settled.
    pub(super) fn behind_a_transaction(&self) -> Option<i64> {
        let Range { start, end } = self.log.unstable.clone();
        let low = self.state.low().0;
        Some(end - start).filter(|_| self.in_flight() == 0 && start <= low && low < end)
    }

    /// Sets the topic's id.
    pub(super) fn set_topic(&mut self, topic: Option<TopicId>) {
        self.offsets.topic = topic;
        self.offsets.note = OffsetMetadata { topic, ..OffsetMetadata::default() }.to_string().into();
    }

    /// Records received and not settled.
    pub(super) fn in_flight(&self) -> usize {
        self.state.in_flight() + self.reader.open.len()
    }

    /// Notes that an output or a dead letter of the record at this offset was handed to the producer.
    pub(super) fn hand_over(&mut self, offset: i64) {
        self.offsets.handed = self.offsets.handed.max(Offset(offset + 1));
    }

    /// Something of the records below this offset may still enter a transaction that is being closed: something of them is in it already,
    /// or they belong to the cycle that is committed with it.
    pub(super) fn entered(&self) -> Offset {
        let boundary = self.cycle().and_then(Windows::boundary);
        boundary.map_or(self.offsets.handed, |boundary| boundary.max(self.offsets.handed))
    }

    /// Puts records of a strand of this assignment back into their lane. Records of an older assignment are dropped, as they are
    /// read again with new numbers: in the lane their turn would never come, and they would block everything after them. So are
    /// those that are not handed out any more.
    pub(super) fn requeue(&mut self, strand: u16, mut waiting: QueuedRun) {
        if waiting.range.is_empty() || waiting.first.assignment() != self.state.assignment() {
            return;
        }
        if let Some(upto) = self.state.upto() {
            waiting.range.end = waiting.range.start + waiting.seqs().below(upto);
        }
        if !waiting.range.is_empty() && self.state.takes_back(waiting.first) {
            self.lanes.put_back(strand, waiting);
        }
    }

    /// Drops the waiting records from this one on, or all of them, and then makes the executor return the others.
    pub(super) fn drop_queue(&mut self, from: Option<Seq>) {
        match from.filter(|_| !self.lanes.is_one()) {
            Some(from) => self.lanes.drop_from(from),
            None => {
                self.lanes.drop_all();
                self.lanes.bytes = self.lanes.bytes.saturating_sub(self.reader.open.bytes());
                self.reader.open.reset(self.partition.clone());
            }
        }
    }

    /// Discards everything in flight: the partition is read again with this assignment id.
    pub(super) fn forget(&mut self, assignment: AssignmentId) {
        self.drop_queue(None);
        self.lanes.forget();
        self.reader.last_read = None;
        self.lag.rewind(Seq::first_of(assignment));
        self.dead_letters.sent.clear();
        self.dead_letters.retimed = self.dead_letters.retimed.split_off(&self.state.low().0);
    }

    /// Logs that its drain ended with records in flight.
    pub(super) fn warn_of_repeats(&self) {
        let low = self.state.low();
        tracing::warn!(
            topic = &*self.partition.topic,
            partition = self.partition.partition,
            offset = low.0,
            "{}: records from offset {low} on were in flight and will be repeated",
            self.partition
        );
    }

    /// Sets the offset to be stored next. Nothing is stored while the group's offset is unconfirmed: what is settled may have been in a
    /// transaction that was aborted.
    pub(super) fn store(&mut self, offset: Offset, leader_epoch: i32, counts: String) {
        if self.position.is_unconfirmed() || self.windows.is_some() {
            return;
        }
        let note = if counts.is_empty() {
            Arc::clone(&self.offsets.note)
        } else {
            OffsetMetadata { topic: self.offsets.topic, counts, ..OffsetMetadata::default() }.to_string().into()
        };
        self.offsets.to_store = Some(Position { partition: self.partition.clone(), offset, leader_epoch, note });
    }

    /// The same for an offset that is known to be right, whatever the partition's state says.
    pub(super) fn store_at(&mut self, offset: Offset) {
        self.offsets.to_store = Some(self.position_at(offset));
    }

    /// An offset to be committed.
    pub(super) fn position_at(&self, offset: Offset) -> Position {
        let note = Arc::clone(&self.offsets.note);
        Position { partition: self.partition.clone(), offset, leader_epoch: -1, note }
    }

    /// Its tables, unless they are being restored or it isn't known where the group stands: a cycle that was cut may have been in a
    /// transaction that was aborted, and belongs to no other one.
    pub(super) fn cycle(&self) -> Option<&Windows> {
        self.windows.as_deref().filter(|_| !self.position.is_gone())
    }

    /// The same.
    pub(super) fn cycle_mut(&mut self) -> Option<&mut Windows> {
        self.windows.as_deref_mut().filter(|_| !self.position.is_gone())
    }

    /// Whether its records may be run: a step with windows needs its state first.
    pub(super) fn is_restored(&self) -> bool {
        self.windows.as_ref().is_none_or(|windows| windows.is_ready())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::partition::Policy;
    use crate::record::AssignmentIds;
    use crate::worker::clock;

    /// A task at offset 0 with records of these timestamps, none of them committed.
    fn behind(times: &[i64]) -> PartitionTask {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let state = PartitionState::new(Policy::default(), assignments(1)[0], Offset(0), false);
        let mut task = PartitionTask::new(clock::now(), partition, state, 0, Offset(100));
        task.lag.receive(clock::now(), times);
        task
    }

    #[test]
    fn lag_is_the_age_of_the_record_or_of_the_last_commit_whatever_its_timestamp() {
        let now = 1_800_000_000_000;
        // A second ago, in 2020, in 1970.
        for time in [now - 1000, 1_577_836_800_000, 1] {
            assert_eq!(behind(&[time]).lag_ms(now), now - time);
        }
        // None, before 1970, now, 11 days ahead, at the end of time.
        for time in [0, -1, -2, i64::MIN, now, now + 11 * 86_400_000, i64::MAX] {
            let mut task = behind(&[time]);
            assert_eq!([0, 5000, 9000].map(|later| task.lag_ms(now + later)), [1, 5000, 9000], "{time}");
            task.lag.commit(Offset(50));
            assert_eq!(task.lag_records(), 50);
            task.lag.commit(Offset(100));
            assert_eq!(task.lag_ms(now + 9001), 0, "{time}");
        }
        // Nothing was read yet, and the clock goes back.
        let mut task = behind(&[]);
        assert_eq!([0, 5000, -5000].map(|later| task.lag_ms(now + later)), [1, 5000, 1]);
        // The committed offset advances: the age is the time since then.
        task.lag.commit(Offset(50));
        assert_eq!([6000, 7000].map(|later| task.lag_ms(now + later)), [1, 1000]);
    }

    #[test]
    fn records_held_back_by_an_open_transaction_are_lag_and_have_a_reason() {
        let mut task = behind(&[]);
        assert_eq!(task.behind_a_transaction(), None, "it isn't known");
        task.log.unstable = 0..100;
        assert_eq!((task.lag_records(), task.behind_a_transaction()), (100, Some(100)));
        task.log.unstable = 40..100;
        assert_eq!(task.behind_a_transaction(), None, "there are records to be read yet");
        task.log.unstable = 100..100;
        assert_eq!(task.behind_a_transaction(), None);
        task.log.unstable = 0..0;
        assert_eq!(task.behind_a_transaction(), None, "more records came since, and all before them could be read");
    }

    #[test]
    fn records_of_another_assignment_are_not_requeued() {
        let mut task = task(Offset(5));
        let [own, other] = [0, 1].map(|at| assignments(2)[at]);
        let waiting = |assignment| {
            let mut batch = Batch::new(lane_partition());
            batch.push(7, 0, 0, None, Some(b"value"), std::iter::empty());
            QueuedRun { first: Seq::first_of(assignment).plus(2), batch: Arc::new(batch), range: 0..1 }
        };
        task.requeue(0, waiting(other));
        assert!(task.lanes.front(0).is_none() && task.lanes.bytes == 0, "it would stand before all that is read again");
        task.requeue(0, waiting(own));
        assert!(task.lanes.front(0).is_some() && task.lanes.bytes > 0);
    }

    #[test]
    fn no_offset_is_stored_while_the_outcome_of_a_transaction_is_unknown() {
        let mut task = task(Offset(5));
        task.position.unconfirm();
        task.store(Offset(9), -1, String::new());
        assert!(task.offsets.to_store.is_none());
        task.position = PositionState::Known;
        task.store(Offset(9), -1, String::new());
        assert_eq!(task.offsets.to_store.map(|position| position.offset), Some(Offset(9)));
    }

    #[test]
    fn a_position_counts_when_a_record_was_read_since_the_last_seek() {
        let mut task = task(Offset(5));
        assert!(task.reader.has_passed(Offset(9)), "only markers since it was assigned");
        task.reader.last_read = Some(9);
        assert!(task.reader.has_passed(Offset(10)) && !task.reader.has_passed(Offset(9)));
        // After a rewind the position is still the old one for a moment.
        (task.reader.sought, task.reader.last_read) = (Some(Offset(5)), None);
        assert!(!task.reader.has_passed(Offset(10)));
        task.reader.last_read = Some(5);
        assert!(task.reader.has_passed(Offset(6)));
        // After an error at 6, librdkafka counts that record as read.
        task.reader.sought = Some(Offset(6));
        assert!(!task.reader.has_passed(Offset(7)));
        task.reader.last_read = Some(6);
        assert!(task.reader.has_passed(Offset(7)));
    }

    /// The first assignment ids.
    fn assignments(count: usize) -> Vec<AssignmentId> {
        let mut ids = AssignmentIds::default();
        (0..count).map(|_| ids.issue(|_| false)).collect()
    }

    fn lane_partition() -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: 0 }
    }

    fn task(start: Offset) -> PartitionTask {
        let state = PartitionState::new(Policy::default(), assignments(1)[0], start, false);
        PartitionTask::new(clock::now(), lane_partition(), state, 0, start)
    }
}
