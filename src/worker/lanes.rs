//! The records of a partition that wait for an executor, in a lane for each strand.
//!
//! A lane's waiting records are in `queue`, in order, and after them in `open`, which is being filled. A partition of one strand
//! fills its reader's batch instead, whose records the partition's state gets to know when it is sealed.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::batch::Batch;
use crate::record::Seq;
use crate::record::Seqs;

/// The most jobs of a partition of one strand at its executor: one that runs, and one to continue with. Of several strands each has
/// one, and there are more strands than executors.
const JOBS_MAX: usize = 2;

/// See the head of the file.
pub(super) struct Lanes {
    /// At least one.
    lanes: Vec<Lane>,
    /// Jobs at executors.
    pub(super) jobs: usize,
    pub(super) cancel: Arc<AtomicBool>,
    /// Bytes of the records that wait or are at an executor.
    pub(super) bytes: usize,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<QueuedRun>,
    /// With several strands: the batch that is being filled.
    open: Option<Batch>,
    jobs: usize,
}

/// Records that wait for an executor.
#[derive(Debug)]
pub(super) struct QueuedRun {
    pub(super) first: Seq,
    pub(super) batch: Arc<Batch>,
    pub(super) range: Range<usize>,
}

impl QueuedRun {
    pub(super) fn seqs(&self) -> Seqs<'_> {
        self.batch.seqs(self.first, self.range.clone())
    }

    fn bytes(&self) -> usize {
        bytes_of(&self.batch, &self.range)
    }
}

impl Lanes {
    /// As many lanes as strands.
    pub(super) fn new(strands: usize) -> Lanes {
        let lanes = (0..strands.max(1)).map(|_| Lane::default()).collect();
        Lanes { lanes, jobs: 0, cancel: Arc::default(), bytes: 0 }
    }

    /// Whether there is only one.
    pub(super) fn is_one(&self) -> bool {
        self.lanes.len() == 1
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    fn lane(&mut self, strand: u16) -> &mut Lane {
        let lanes = self.lanes.len();
        &mut self.lanes[usize::from(strand) % lanes]
    }

    /// Whether the executor of this strand has as many jobs of it as it may have.
    pub(super) fn is_busy(&self, strand: u16) -> bool {
        let most = if self.is_one() { JOBS_MAX } else { 1 };
        self.lanes.get(usize::from(strand)).is_none_or(|lane| lane.jobs >= most)
    }

    /// The first waiting records of a strand.
    pub(super) fn front(&self, strand: u16) -> Option<&QueuedRun> {
        self.lanes.get(usize::from(strand))?.queue.front()
    }

    /// Takes the first waiting records of a strand, as a job.
    pub(super) fn take(&mut self, strand: u16) -> Option<QueuedRun> {
        let lane = self.lane(strand);
        let run = lane.queue.pop_front()?;
        lane.jobs += 1;
        self.jobs += 1;
        Some(run)
    }

    /// A job of a strand ended.
    pub(super) fn ended(&mut self, strand: u16) {
        let lane = self.lane(strand);
        lane.jobs = lane.jobs.saturating_sub(1);
        self.jobs = self.jobs.saturating_sub(1);
    }

    /// Appends records, whose bytes are counted already.
    pub(super) fn push(&mut self, strand: u16, run: QueuedRun) {
        self.lane(strand).queue.push_back(run);
    }

    /// Puts records back where they were.
    pub(super) fn put_back(&mut self, strand: u16, run: QueuedRun) {
        self.bytes += run.bytes();
        let queue = &mut self.lane(strand).queue;
        let at = queue.partition_point(|other| other.first < run.first);
        queue.insert(at, run);
    }

    /// The batch of a strand that is being filled, if there is one.
    pub(super) fn open(&mut self, strand: u16) -> &mut Option<Batch> {
        &mut self.lane(strand).open
    }

    /// Closes the open batch of a strand, and queues it.
    pub(super) fn seal(&mut self, strand: u16, first_of: Seq) {
        let lane = self.lane(strand);
        let Some(batch) = lane.open.take_if(|open| !open.is_empty()) else { return };
        let range = 0..batch.len();
        let first = batch.seqs(first_of, range.clone()).first();
        lane.queue.push_back(QueuedRun { first, batch: Arc::new(batch), range });
    }

    /// Drops all waiting records, and makes executors return the others.
    pub(super) fn drop_all(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        self.cancel = Arc::default();
        for lane in &mut self.lanes {
            let waiting: usize = lane.queue.iter().map(QueuedRun::bytes).sum();
            let open = lane.open.take().map_or(0, |open| open.bytes());
            self.bytes = self.bytes.saturating_sub(waiting + open);
            lane.queue.clear();
        }
    }

    /// Drops the waiting records from this one on.
    pub(super) fn drop_from(&mut self, from: Seq) {
        for strand in 0..self.lanes.len() {
            self.seal(u16::try_from(strand).unwrap_or(u16::MAX), from);
            let lane = &mut self.lanes[strand];
            for run in &mut lane.queue {
                let bytes = run.bytes();
                run.range.end = run.range.start + run.seqs().below(from);
                self.bytes = self.bytes.saturating_sub(bytes - run.bytes());
            }
            lane.queue.retain(|run| !run.range.is_empty());
        }
    }

    /// Forgets the jobs, whose results don't count any more.
    pub(super) fn forget(&mut self) {
        self.drop_all();
        self.lanes.iter_mut().for_each(|lane| lane.jobs = 0);
        (self.jobs, self.bytes) = (0, 0);
    }
}

/// The bytes of some records of a batch.
pub(super) fn bytes_of(batch: &Batch, range: &Range<usize>) -> usize {
    batch.slice(range.clone()).data.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::AssignmentIds;
    use crate::record::TopicPartition;

    #[test]
    fn what_waits_is_dropped_from_a_record_on_in_every_lane() {
        let first = Seq::first_of(AssignmentIds::default().issue(|_| false));
        let mut lanes = Lanes::new(2);
        for (strand, numbers) in [(0, [0_u64, 2, 5]), (1, [1, 3, 4])] {
            let mut batch = Batch::new(TopicPartition { topic: "t".into(), partition: 0 });
            for n in numbers {
                batch.push(i64::try_from(n).unwrap(), 0, 0, None, Some(b"12345"), std::iter::empty());
                batch.number(n);
            }
            lanes.bytes += batch.bytes();
            *lanes.open(strand) = Some(batch);
        }
        lanes.seal(0, first);
        let run = lanes.take(0).unwrap();
        assert_eq!((run.seqs().len(), lanes.is_busy(0), lanes.is_busy(1)), (3, true, false));
        lanes.bytes -= run.bytes();
        lanes.put_back(0, run);
        lanes.drop_from(first.plus(4));
        let waiting = |strand| lanes.front(strand).map(|run| (run.first.n(), run.seqs().len()));
        assert_eq!((waiting(0), waiting(1), lanes.bytes), (Some((0, 2)), Some((1, 2)), 20));
        lanes.drop_all();
        assert!(lanes.front(0).is_none() && lanes.bytes == 0);
    }
}
