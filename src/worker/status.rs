//! A worker's status, for probes. Only the worker writes it, and readers never wait for the worker.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::clock;
use super::end::RecordAt;
use crate::kafka::changelog::ReadProgress;
use crate::metrics::State;
use crate::record::Offset;
use crate::record::TopicPartition;

/// A worker whose loop doesn't turn for this long is not alive.
const BEAT_MS_MAX: i64 = 10_000;
/// Brokers that don't answer for this long count as unavailable.
const ANSWER_MS_MAX: i64 = 15_000;
/// A thread that makes no progress for this many checks, one each second, is not alive. Checks are counted instead of time: after
/// a process was stopped and continued, its threads get to run before they are judged.
const LOOKS_MAX: u32 = 10;
/// The most partitions that the status has a place for.
pub(super) const PARTITIONS_MAX: usize = 1000;

/// See the head of the file.
#[derive(Debug)]
pub struct Status {
    /// The origin of the times below: the system clock may be changed while the process runs.
    origin: Instant,
    beat: AtomicI64,
    executors: AtomicBool,
    delivery: AtomicBool,
    ticker: AtomicBool,
    joined: AtomicBool,
    answered: AtomicI64,
    acknowledged: AtomicI64,
    /// Why a broker can't be reached, and when that was seen. Locked as `state` is.
    trouble: Mutex<Option<(i64, String)>>,
    /// The record that has been retried the longest: since when, and the text about it. Locked as `state` is.
    retried: Mutex<Option<(i64, String)>>,
    /// What is said about partitions. Locked as `state` is.
    partitions: Mutex<OfPartitions>,
    /// The worker locks it to change it, and probes lock it to copy it; never together with another lock.
    state: Mutex<(State, String)>,
}

impl Default for Status {
    fn default() -> Status {
        Status {
            origin: clock::now(),
            beat: AtomicI64::new(0),
            executors: AtomicBool::new(true),
            delivery: AtomicBool::new(true),
            ticker: AtomicBool::new(true),
            joined: AtomicBool::new(false),
            answered: AtomicI64::new(0),
            acknowledged: AtomicI64::new(0),
            trouble: Mutex::new(None),
            retried: Mutex::new(None),
            partitions: Mutex::default(),
            state: Mutex::new((State::Starting, "connecting".into())),
        }
    }
}

/// What is said about partitions.
#[derive(Debug, Default)]
struct OfPartitions {
    /// Which partitions are held back, and why.
    held: Option<String>,
    windowed: Vec<WindowedStatus>,
    assigned: Vec<PartitionStatus>,
    failed: Option<LastFailure>,
    stopped_at: Option<RecordAt>,
    committed: Option<String>,
}

/// An assigned partition, as of the last second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The partition of the input.
    pub partition: TopicPartition,
    /// Every record below this offset is committed.
    pub committed: Offset,
    /// Every record below this offset is settled.
    pub settled: Offset,
    /// The offset after the last record.
    pub end: Offset,
    /// The age of the oldest record that is not committed, in ms; 0 without one.
    pub lag_ms: i64,
    /// Records that were read and are not settled.
    pub in_flight: usize,
}

/// The last record that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// When, in ms since 1970-01-01 UTC.
    pub at_ms: i64,
    /// The record's partition.
    pub partition: TopicPartition,
    /// The record's offset.
    pub offset: i64,
    /// What was done about it, and why it failed.
    pub what: String,
}

/// A partition of a step with windows.
#[derive(Clone, Debug)]
pub struct WindowedStatus {
    /// The partition of the input.
    pub partition: TopicPartition,
    /// The number of offsets that are not committed.
    pub lag: i64,
    /// The watermark, in ms since 1970-01-01 UTC; `None` before any record.
    pub watermark: Option<i64>,
    /// How far its state is restored; `None` if that is done.
    pub restoring: Option<Arc<ReadProgress>>,
}

/// Which of the worker's helper threads are alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alive {
    pub(super) executors: bool,
    pub(super) delivery: bool,
    pub(super) ticker: bool,
}

impl Status {
    fn now_ms(&self) -> i64 {
        i64::try_from(clock::now().saturating_duration_since(self.origin).as_millis()).unwrap_or(i64::MAX)
    }

    /// The threads of the data path, and whether each is alive.
    #[must_use]
    pub fn threads(&self) -> [(&'static str, bool); 4] {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        [
            ("worker", self.now_ms() - self.beat.load(Ordering::Relaxed) < BEAT_MS_MAX),
            ("executors", is(&self.executors)),
            ("delivery", is(&self.delivery)),
            ("ticker", is(&self.ticker)),
        ]
    }

    /// Whether the group was joined.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// Whether brokers have answered the consumer lately.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.now_ms() - self.answered.load(Ordering::Relaxed) < ANSWER_MS_MAX
    }

    /// Whether an output was acknowledged lately, or none was waiting for it.
    #[must_use]
    pub fn has_acknowledgements(&self) -> bool {
        self.now_ms() - self.acknowledged.load(Ordering::Relaxed) < ANSWER_MS_MAX
    }

    /// How long outputs have waited for an acknowledgement.
    pub(super) fn unacknowledged_for(&self) -> Duration {
        let since_ms = self.now_ms() - self.acknowledged.load(Ordering::Relaxed);
        Duration::from_millis(u64::try_from(since_ms).unwrap_or(0))
    }

    /// How long brokers have not answered or not acknowledged outputs, as text; `None` if they do.
    #[must_use]
    pub fn silence(&self) -> Option<String> {
        let seconds = |since: &AtomicI64| (self.now_ms() - since.load(Ordering::Relaxed)) / 1000;
        if !self.has_answers() {
            Some(format!("no broker has answered for {} s", seconds(&self.answered)))
        } else if !self.has_acknowledgements() {
            Some(format!("no output was acknowledged for {} s", seconds(&self.acknowledged)))
        } else {
            None
        }
    }

    /// The record that has been retried the longest, its failure, and how many other partitions wait.
    #[must_use]
    pub fn retried(&self) -> Option<String> {
        let (since, text) = self.retried.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(format!("{text}; for {} s", (self.now_ms() - since) / 1000))
    }

    /// Which partitions are held back, and why.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).held.clone()
    }

    pub(super) fn set_held(&self, held: Option<String>) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).held = held;
    }

    /// The assigned partitions: the first [`PARTITIONS_MAX`].
    #[must_use]
    pub fn assigned(&self) -> Vec<PartitionStatus> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).assigned.clone()
    }

    pub(super) fn set_assigned(&self, assigned: Vec<PartitionStatus>) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).assigned = assigned;
    }

    /// The last record that failed, or one of the last second.
    #[must_use]
    pub fn failed(&self) -> Option<LastFailure> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).failed.clone()
    }

    pub(super) fn set_failed(&self, failed: LastFailure) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).failed = Some(failed);
    }

    /// The record at which the pipeline has stopped, or that holds it.
    #[must_use]
    pub fn stopped_at(&self) -> Option<RecordAt> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).stopped_at.clone()
    }

    pub(super) fn set_stopped_at(&self, record: Option<RecordAt>) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).stopped_at = record;
    }

    /// The partitions of the step with windows: the first hundred, and all that are being restored.
    #[must_use]
    pub fn windowed(&self) -> Vec<WindowedStatus> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).windowed.clone()
    }

    pub(super) fn set_windowed(&self, windowed: Vec<WindowedStatus>) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).windowed = windowed;
    }

    /// What the pipeline is doing, and why.
    #[must_use]
    pub fn state(&self) -> (State, String) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a broker can't be reached, unless one has answered since.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let (seen, text) = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        (seen >= self.answered.load(Ordering::Relaxed)).then_some(text)
    }

    pub(super) fn set_trouble(&self, text: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.now_ms(), text));
    }

    /// Sets the retried record: how long it has waited, and the text about it.
    pub(super) fn set_retried(&self, record: Option<(Duration, String)>) {
        let since = |age: Duration| self.now_ms() - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        *self.retried.lock().unwrap_or_else(PoisonError::into_inner) = record.map(|(age, text)| (since(age), text));
    }

    pub(super) fn beat(&self, alive: Alive) {
        self.beat.store(self.now_ms(), Ordering::Relaxed);
        self.executors.store(alive.executors, Ordering::Relaxed);
        self.delivery.store(alive.delivery, Ordering::Relaxed);
        self.ticker.store(alive.ticker, Ordering::Relaxed);
    }

    pub(super) fn set_joined(&self, joined: bool) {
        self.joined.store(joined, Ordering::Relaxed);
    }

    /// A broker answered `ago_ms` milliseconds ago.
    pub(super) fn answered(&self, ago_ms: i64) {
        self.answered.fetch_max(self.now_ms() - ago_ms, Ordering::Relaxed);
    }

    /// An output was acknowledged, or none waits.
    pub(super) fn acknowledged(&self) {
        self.acknowledged.store(self.now_ms(), Ordering::Relaxed);
    }

    /// What was committed, if the worker has finished and left the group.
    #[must_use]
    pub fn committed(&self) -> Option<String> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).committed.clone()
    }

    pub(super) fn set_committed(&self, committed: Option<String>) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).committed = committed;
    }

    pub(super) fn set_state(&self, state: State, why: impl Into<String>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (state, why.into());
    }
}

/// Tracks whether a thread's counter still changes.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    seen: Option<u64>,
    looks: u32,
}

impl Heartbeat {
    /// Checks the counter; called once a second.
    pub(super) fn beats(&mut self, count: u64) -> bool {
        if self.seen.replace(count) == Some(count) {
            self.looks = self.looks.saturating_add(1);
        } else {
            self.looks = 0;
        }
        self.looks < LOOKS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_progress_for_ten_seconds_is_not_alive_until_it_moves() {
        let mut pulse = Heartbeat::default();
        assert!((0..=9).all(|_| pulse.beats(7)));
        assert!(!pulse.beats(7) && !pulse.beats(7));
        assert!(pulse.beats(8));
    }

    #[test]
    fn each_thread_counts_and_silence_of_brokers_does_not() {
        let status = Status::default();
        status.answered.store(-ANSWER_MS_MAX, Ordering::Relaxed);
        status.acknowledged.store(-ANSWER_MS_MAX, Ordering::Relaxed);
        let alive = |status: &Status| status.threads().map(|(_, alive)| alive);
        assert_eq!(alive(&status), [true; 4]);
        assert!(!status.has_answers() && !status.has_acknowledgements());
        status.beat(Alive { executors: false, delivery: true, ticker: true });
        assert_eq!(alive(&status), [true, false, true, true]);
        status.beat(Alive { executors: true, delivery: false, ticker: true });
        assert_eq!(alive(&status), [true, true, false, true]);
        status.beat(Alive { executors: true, delivery: true, ticker: false });
        assert_eq!(alive(&status), [true, true, true, false]);
        status.beat.store(status.now_ms() - BEAT_MS_MAX, Ordering::Relaxed);
        assert!(!alive(&status)[0]);
        assert!(status.silence().is_some_and(|silence| silence.starts_with("no broker has answered for")));
        status.answered(0);
        assert!(status.silence().is_some_and(|silence| silence.starts_with("no output was acknowledged for")));
        status.answered(3000);
        status.acknowledged();
        assert!(status.has_answers() && status.has_acknowledgements());
        assert_eq!(status.silence(), None);
    }
}
