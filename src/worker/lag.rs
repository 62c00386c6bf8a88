//! PURE. How old the records of a partition are, and since when they are on their way.
//!
//! Timestamps are kept for the records in flight, 8 bytes each, and behind them one mark for each stretch that is settled and
//! not yet committed: so the age of the first record that isn't committed is exact to a store of offsets, whatever gaps the
//! offsets have. It decides nothing; metrics alone read it. Invariant: `timestamps` holds one entry for each record
//! from `first` on.

use std::collections::VecDeque;
use std::time::Instant;

use crate::record::Offset;
use crate::record::Seq;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Lag {
    /// The first record that isn't settled.
    first: Seq,
    /// Milliseconds since 1970-01-01 UTC, of each record in flight; -1 is none.
    timestamps: VecDeque<i64>,
    /// When the batches in flight were polled.
    polled: VecDeque<PolledAt>,
    /// Everything below is settled.
    low: Offset,
    /// Everything below is committed, as the broker confirmed.
    committed: Offset,
    /// Stretches that are settled and not committed, in order.
    marks: VecDeque<CommitMark>,
}

/// Records up to here were polled at this time.
#[derive(Clone, Copy, Debug)]
struct PolledAt {
    end: Seq,
    at: Instant,
}

/// From this offset up to that of the next mark, or to `low`; and the timestamp of the first record of it.
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

/// With one mark for each store of offsets, three minutes of commits that fail. Beyond it stretches are longer, and their age
/// is still that of the first record that isn't committed.
const MARKS_MAX: usize = 4096;

impl Lag {
    /// Of a partition that is read from `start`, where its first record is to get the number `first`.
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

    /// The next records were received; the first of them was polled at this time.
    pub(super) fn receive(&mut self, at: Instant, timestamps: &[i64]) {
        self.timestamps.extend(timestamps);
        self.polled.push_back(PolledAt { end: self.first.plus(self.timestamps.len()), at });
    }

    /// The records below `first` are settled, and so is everything below `low`. Returns what is new of them.
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

    /// What is not settled will be read again, and the first of it gets the number `first`.
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

    /// Everything below is committed.
    pub(super) fn committed(&self) -> Offset {
        self.committed
    }

    /// The timestamp of the first record that isn't committed, if one was received and has a timestamp.
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
    fn the_oldest_is_the_first_that_is_not_committed_whatever_gaps_there_are() {
        let now = clock::now();
        let mut ages = Lag::new(seq(0), Offset(10));
        assert_eq!(ages.oldest(), None);
        // Offsets 10, 50 and 51, then 90: what is between was compacted.
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
        // A control marker behind the last record.
        ages.commit(Offset(92));
        assert_eq!((ages.oldest(), ages.committed()), (None, Offset(92)));
    }

    #[test]
    fn every_record_is_done_once_and_under_its_own_time() {
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
    fn commits_that_fail_for_long_cost_a_bounded_memory_and_keep_the_age() {
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
