//! PURE. Reading a partition: its open batch, and which record comes next.

use std::time::Instant;

use crate::batch::Batch;
use crate::record::Offset;
use crate::record::TopicPartition;

/// The most records in a batch, unless a step takes more in one call. It is small, so that what the worker wrote is still in a
/// cache when an executor reads it.
const BATCH_RECORDS: usize = 512;
/// The most bytes in a batch, plus one record.
pub(super) const BATCH_BYTES_MAX: usize = 1 << 20;

/// How far a partition has been read.
pub(super) struct Reader {
    /// For comparing with a fetched record's topic.
    pub(super) topic_bytes: Box<[u8]>,
    /// The batch that is being filled.
    pub(super) open: Batch,
    /// When the first record of `open` was polled.
    pub(super) opened: Instant,
    /// The leader epoch of the last record that was read.
    pub(super) leader_epoch: i32,
    /// The offset of the last record that was read; `None` after a seek.
    pub(super) last_read: Option<i64>,
    /// The target of the last seek since the partition was assigned.
    pub(super) sought: Option<Offset>,
    pub(super) paused: bool,
    /// In a partition of several strands: records that were read and that its state doesn't know yet.
    pub(super) unknown: Unknown,
}

/// Columns of records, in the order read.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    pub(super) offsets: Vec<i64>,
    pub(super) timestamps: Vec<i64>,
    pub(super) strands: Vec<u16>,
    /// The bytes of all of them.
    pub(super) bytes: usize,
}

impl Unknown {
    /// Keeps only the memory.
    pub(super) fn clear(&mut self) {
        self.offsets.clear();
        self.timestamps.clear();
        self.strands.clear();
        self.bytes = 0;
    }
}

/// How a fetched record relates to those read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is the next record.
    Next,
    /// It was read before.
    Before,
    /// Another record was read at this offset before the log was truncated and continued under a newer leader.
    CutOff,
}

impl Reader {
    /// A reader of a partition that has not been read yet.
    pub(super) fn new(now: Instant, partition: &TopicPartition) -> Reader {
        Reader {
            topic_bytes: partition.topic.as_bytes().into(),
            open: Batch::new(partition.clone()),
            opened: now,
            leader_epoch: -1,
            last_read: None,
            sought: None,
            paused: false,
            unknown: Unknown::default(),
        }
    }

    /// Classifies a fetched record. A rebalance makes librdkafka fetch again from where it believes its reader to be, which lags
    /// for a moment while records are taken (`rd_kafka_toppar_pause_resume` beside `rd_kafka_q_serve_rkmessages`).
    ///
    /// The epoch is the one in which the record was written, and grows along the log: a record that was read before has the epoch
    /// of the last record, or a lower one.
    pub(super) fn seen(&self, offset: i64, leader_epoch: i32) -> Seen {
        match self.last_read {
            Some(last) if offset <= last && leader_epoch <= self.leader_epoch => Seen::Before,
            Some(last) if offset <= last => Seen::CutOff,
            Some(_) | None => Seen::Next,
        }
    }

    /// Where to seek after an error at `offset`, as librdkafka may now count the record there as read (see
    /// [`Next::Failed`](crate::kafka::consumer::Next)). `None` if later records were read, so that no seek is needed. An error
    /// about the topic has offset 0, whatever was read. Every record below `low` is settled.
    pub(super) fn unread_from(&self, offset: Offset, low: Offset) -> Option<Offset> {
        match self.last_read {
            Some(last) => (offset.0 > last).then_some(offset),
            None => Some(offset.max(low)),
        }
    }

    /// Whether everything below this position of the consumer was received. librdkafka seeks on another thread: until a record at
    /// or above the target was read, the position may still be the one before the seek.
    pub(super) fn has_passed(&self, position: Offset) -> bool {
        let is_there = self.sought.is_none_or(|sought| self.last_read.is_some_and(|last| last >= sought.0));
        is_there && self.last_read.is_none_or(|last| position.0 > last)
    }

    /// Whether to seal the open batch, for a first step that takes `call` records in one call.
    pub(super) fn is_full(&self, call: usize) -> bool {
        is_full(&self.open, call)
    }
}

/// Whether to seal a batch, for a first step that takes `call` records in one call.
pub(super) fn is_full(batch: &Batch, call: usize) -> bool {
    batch.len() >= call.max(BATCH_RECORDS) || batch.bytes() >= BATCH_BYTES_MAX
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
    fn a_record_is_read_once_until_a_seek_or_a_truncation() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let mut reader = Reader::new(clock::now(), &partition);
        assert_eq!(reader.seen(5, 3), Seen::Next);
        assert_eq!(reader.unread_from(Offset(0), Offset(5)), Some(Offset(5)), "where it begins");
        assert_eq!(reader.unread_from(Offset(6), Offset(5)), Some(Offset(6)), "behind what can't be seen");
        (reader.leader_epoch, reader.last_read) = (3, Some(7));
        assert_eq!([5, 7, 8].map(|offset| reader.seen(offset, 3)), [Seen::Before, Seen::Before, Seen::Next]);
        // Batches from before a leader change keep the epoch in which they were written.
        assert_eq!([5, 7, 8].map(|offset| reader.seen(offset, 2)), [Seen::Before, Seen::Before, Seen::Next]);
        assert_eq!(reader.seen(5, -1), Seen::Before);
        assert_eq!([0, 7, 8].map(|at| reader.unread_from(Offset(at), Offset(5))), [None, None, Some(Offset(8))]);
        assert_eq!([7, 8].map(|offset| reader.seen(offset, 4)), [Seen::CutOff, Seen::Next]);
        reader.last_read = None;
        assert_eq!(reader.seen(5, 3), Seen::Next);
    }
}
