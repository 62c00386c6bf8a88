//! PURE. What is being read of a partition: its open batch, and which record comes next.

use std::time::Instant;

use crate::batch::Batch;
use crate::record::Offset;
use crate::record::TopicPartition;

/// A batch that is handed out holds at most so many records, but for a step that takes more in one call. It is small, so that what
/// the worker wrote is still in a cache when an executor reads it: with four times as many, a JSON edit took 3 % longer.
const BATCH_RECORDS: usize = 512;
/// A batch that is handed out holds at most so many bytes, and one record.
pub(super) const BATCH_BYTES_MAX: usize = 1 << 20;

/// What is being read of a partition.
pub(super) struct Reader {
    /// For comparing with a fetched record's topic.
    pub(super) topic_bytes: Box<[u8]>,
    /// The batch that is being filled.
    pub(super) open: Batch,
    /// When the first record of `open` was polled.
    pub(super) opened: Instant,
    /// Of the batch of the last record that was read.
    pub(super) leader_epoch: i32,
    /// The offset of the last record that was read; `None` when the partition is read from elsewhere since.
    pub(super) last_read: Option<i64>,
    /// Where it was last read from elsewhere since it was assigned.
    pub(super) sought: Option<Offset>,
    pub(super) paused: bool,
}

/// What a record is for a reader that has read others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It comes next.
    Next,
    /// It was read before.
    Before,
    /// Another one was read at its offset, before the log was cut off there and went on under a newer leader.
    CutOff,
}

impl Reader {
    /// Of a partition of which nothing was read.
    pub(super) fn new(now: Instant, partition: &TopicPartition) -> Reader {
        Reader {
            topic_bytes: partition.topic.as_bytes().into(),
            open: Batch::new(partition.clone()),
            opened: now,
            leader_epoch: -1,
            last_read: None,
            sought: None,
            paused: false,
        }
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
    /// is at offset 0, whatever was read. Everything below `low` is settled.
    pub(super) fn unread_from(&self, offset: Offset, low: Offset) -> Option<Offset> {
        match self.last_read {
            Some(last) => (offset.0 > last).then_some(offset),
            None => Some(offset.max(low)),
        }
    }

    /// Whether everything below this position of the consumer was received. librdkafka carries a seek out on another thread: until
    /// a record was read behind its place, the position may still be the one before.
    pub(super) fn has_passed(&self, position: Offset) -> bool {
        let is_there = self.sought.is_none_or(|sought| self.last_read.is_some_and(|last| last >= sought.0));
        is_there && self.last_read.is_none_or(|last| position.0 > last)
    }

    /// Whether the open batch is to be sealed, for a first step that takes `call` records at once.
    pub(super) fn is_full(&self, call: usize) -> bool {
        self.open.len() >= call.max(BATCH_RECORDS) || self.open.bytes() >= BATCH_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::clock;

    #[test]
    fn a_batch_is_sealed_early_but_not_before_a_call_of_the_first_step_is_full() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let mut reader = Reader::new(clock::now(), &partition);
        let calls = [1, 128, 1000];
        let mut sealed_at = [0; 3];
        for offset in 0..1000 {
            reader.open.push(offset, 0, 0, None, None, std::iter::empty());
            for (at, call) in sealed_at.iter_mut().zip(calls) {
                if *at == 0 && reader.is_full(call) {
                    *at = reader.open.len();
                }
            }
        }
        assert_eq!(sealed_at, [512, 512, 1000]);
        assert!(!reader.is_full(4096));
        reader.open.push(1000, 0, 0, None, Some(&vec![0; BATCH_BYTES_MAX]), std::iter::empty());
        assert!(reader.is_full(4096), "it has enough bytes");
    }

    #[test]
    fn a_record_is_read_once_until_its_partition_is_read_from_elsewhere_or_by_another_leader() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let mut reader = Reader::new(clock::now(), &partition);
        assert_eq!(reader.seen(5, 3), Seen::Next);
        assert_eq!(reader.unread_from(Offset(0), Offset(5)), Some(Offset(5)), "where it begins");
        assert_eq!(reader.unread_from(Offset(6), Offset(5)), Some(Offset(6)), "behind what can't be seen");
        (reader.leader_epoch, reader.last_read) = (3, Some(7));
        assert_eq!([5, 7, 8].map(|offset| reader.seen(offset, 3)), [Seen::Before, Seen::Before, Seen::Next]);
        // The batches before a change of the leader keep the epoch in which they were written.
        assert_eq!([5, 7, 8].map(|offset| reader.seen(offset, 2)), [Seen::Before, Seen::Before, Seen::Next]);
        assert_eq!(reader.seen(5, -1), Seen::Before);
        assert_eq!([0, 7, 8].map(|at| reader.unread_from(Offset(at), Offset(5))), [None, None, Some(Offset(8))]);
        assert_eq!([7, 8].map(|offset| reader.seen(offset, 4)), [Seen::CutOff, Seen::Next]);
        reader.last_read = None;
        assert_eq!(reader.seen(5, 3), Seen::Next);
    }
}
