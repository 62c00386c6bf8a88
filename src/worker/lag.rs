//! PURE. How old the records of a partition are, and how long they have been in flight.
//!
//! Timestamps are kept for the records in flight, 8 bytes each, and a mark for each range that is settled and not yet committed.
//! So the age of the first uncommitted record is exact to one store of offsets, whatever gaps the offsets have. Only metrics read
//! it. Invariant: `timestamps` has one entry for each record from `first` on.

use std::collections::VecDeque;
use std::time::Instant;

use crate::record::Offset;
use crate::record::Seq;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Lag {
    /// The first record that isn't settled.
    first: Seq,
    /// The timestamp of each record in flight: milliseconds since 1970-01-01 UTC, -1 for none.
    timestamps: VecDeque<i64>,
    /// When the batches in flight were polled.
    polled: VecDeque<PolledAt>,
    /// Every record below is settled.
    low: Offset,
    /// Every record below is committed, as the broker confirmed.
    committed: Offset,
    /// Ranges that are settled and not committed, in order.
    marks: VecDeque<CommitMark>,
}

/// Records up to here were polled at this time.
#[derive(Clone, Copy, Debug)]
struct PolledAt {
    end: Seq,
    at: Instant,
}

/// A range from this offset up to that of the next mark, or to `low`, and the timestamp of its first record.
#[derive(Clone, Copy, Debug)]
struct CommitMark {
    from: Offset,
    timestamp: i64,
}

/// Records that settled together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// When they were polled.
    pub(super) at: Instant,
    /// Their timestamps.
    pub(super) timestamps: Vec<i64>,
}

/// With one mark for each store of offsets, this covers three minutes of failing commits. After that ranges are longer, and their
/// age is still that of the first uncommitted record.
const MARKS_MAX: usize = 4096;

impl Lag {
    /// For a partition that is read from `start`, where the first record gets the number `first`.
    pub(super) fn new(first: Seq, start: Offset) -> Lag {
        Lag {
            first,
            timestamps: VecDeque::new(),
            polled: VecDeque::new(),
            low: start,
            committed: start,
            marks: VecDeque::new(),
        }
    }

    /// The next records were received; the first of them was polled at `at`.
    pub(super) fn receive(&mut self, at: Instant, timestamps: &[i64]) {
        self.timestamps.extend(timestamps);
        self.polled.push_back(PolledAt { end: self.first.plus(self.timestamps.len()), at });
    }

    /// Every record below `first` is settled, and everything below the offset `low`. Returns the records that settled since the
    /// last call.
    pub(super) fn settle(&mut self, first: Seq, low: Offset) -> Vec<Done> {
        let mut done = Vec::new();
        if let Some(&timestamp) = self.timestamps.front()
            && first > self.first
            && self.marks.len() < MARKS_MAX
        {
            self.marks.push_back(CommitMark { from: self.low, timestamp });
        }
        while let Some(&PolledAt { end, at }) = self.polled.front()
            && first > self.first
        {
            let upto = end.min(first);
            let records = upto.since(self.first).unwrap_or(0).min(self.timestamps.len());
            done.push(Done { at, timestamps: self.timestamps.drain(..records).collect() });
            self.first = upto;
            if upto == end {
                self.polled.pop_front();
            }
        }
        self.low = self.low.max(low);
        done
    }

    /// When the oldest unsettled record was polled.
    pub(super) fn oldest_polled(&self) -> Option<Instant> {
        self.polled.front().map(|polled| polled.at)
    }

    /// Unsettled records will be read again, and the first of them gets the number `first`.
    pub(super) fn rewind(&mut self, first: Seq) {
        self.first = first;
        self.timestamps.clear();
        self.polled.clear();
    }

    /// The broker confirmed a commit.
    pub(super) fn commit(&mut self, offset: Offset) {
        self.committed = self.committed.max(offset);
        while let Some(mark) = self.marks.front() {
            let end = self.marks.get(1).map_or(self.low, |next| next.from);
            if self.committed < end || self.committed <= mark.from {
                break;
            }
            self.marks.pop_front();
        }
    }

    /// Every record below is committed.
    pub(super) fn committed(&self) -> Offset {
        self.committed
    }

    /// The timestamp of the first uncommitted record, if one was received and has a timestamp.
    pub(super) fn oldest(&self) -> Option<i64> {
        let first = self.marks.front().map(|mark| mark.timestamp).or_else(|| self.timestamps.front().copied());
        first.filter(|&timestamp| timestamp > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::AssignmentIds;
    use crate::worker::clock;

    fn seq(n: usize) -> Seq {
        Seq::first_of(AssignmentIds::default().issue(|_| false)).plus(n)
    }

    fn all(done: Vec<Done>) -> Vec<i64> {
        done.into_iter().flat_map(|done| done.timestamps).collect()
    }

    #[test]
    fn the_oldest_record_is_the_first_uncommitted_one_whatever_gaps_offsets_have() {
        let now = clock::now();
        let mut ages = Lag::new(seq(0), Offset(10));
        assert_eq!(ages.oldest(), None);
        // Offsets 10, 50 and 51, then 90: compaction removed the others.
        ages.receive(now, &[100, 500, 510]);
        ages.receive(now, &[900]);
        assert_eq!(ages.oldest(), Some(100));
        assert_eq!(all(ages.settle(seq(1), Offset(50))), [100]);
        assert_eq!(ages.oldest(), Some(100), "settled, but not committed");
        assert_eq!(all(ages.settle(seq(3), Offset(90))), [500, 510]);
        ages.commit(Offset(50));
        assert_eq!((ages.oldest(), ages.committed()), (Some(500), Offset(50)));
        ages.commit(Offset(90));
        assert_eq!(ages.oldest(), Some(900));
        assert_eq!(all(ages.settle(seq(4), Offset(91))), [900]);
        // A control marker after the last record.
        ages.commit(Offset(92));
        assert_eq!((ages.oldest(), ages.committed()), (None, Offset(92)));
    }

    #[test]
    fn every_record_settles_once_and_with_its_own_time() {
        let (early, late) = (clock::now(), clock::now() + std::time::Duration::from_secs(1));
        let mut ages = Lag::new(seq(0), Offset(0));
        ages.receive(early, &[1, 2, 3]);
        ages.receive(late, &[4, 5]);
        assert_eq!(ages.settle(seq(2), Offset(2)), [Done { at: early, timestamps: vec![1, 2] }]);
        let rest = [Done { at: early, timestamps: vec![3] }, Done { at: late, timestamps: vec![4] }];
        assert_eq!(ages.settle(seq(4), Offset(4)), rest);
        assert_eq!(ages.settle(seq(4), Offset(4)), []);
        ages.rewind(seq(0));
        ages.receive(late, &[5, 6]);
        assert_eq!(all(ages.settle(seq(2), Offset(6))), [5, 6]);
    }

    #[test]
    fn long_commit_failures_use_bounded_memory_and_keep_the_age() {
        let now = clock::now();
        let mut ages = Lag::new(seq(0), Offset(0));
        let records = i64::try_from(MARKS_MAX).unwrap() + 100;
        for (next, offset) in (1..).zip(0..records) {
            ages.receive(now, &[1000 + offset]);
            ages.settle(seq(next), Offset(offset + 1));
        }
        assert_eq!((ages.marks.len(), ages.oldest()), (MARKS_MAX, Some(1000)));
        ages.commit(Offset(records));
        assert_eq!(ages.oldest(), None);
    }

    #[test]
    fn a_record_without_a_timestamp_has_no_age() {
        let mut ages = Lag::new(seq(0), Offset(0));
        ages.receive(clock::now(), &[-1, 7]);
        assert_eq!(ages.oldest(), None);
    }
}
