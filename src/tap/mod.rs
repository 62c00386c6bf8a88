//! Taps: copies of single records as they pass through the steps of a pipeline, for people who look.
//!
//! Who runs records asks [`Taps::are_open`] first, which reads one number. What a tap wants is copied into its buffer. A full buffer takes
//! nothing and counts what it misses, so nobody waits for a reader. The buffer also bounds the rate: it holds [`RECORDS_MAX`] records and
//! about [`BYTES_MAX`] bytes, and its reader empties it at intervals. Invariant: a tap that was dropped holds no memory and costs nothing.

mod copied;

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use memchr::memmem::Finder;

use crate::failure::Failure;
use crate::record::Headers;
use crate::record::TopicPartition;

pub use copied::TappedFailure;
pub use copied::TappedRecord;
pub use copied::VALUE_BYTES_MAX;

/// The most records that a tap holds.
pub const RECORDS_MAX: usize = 100;
/// The most bytes that a tap holds, and one record more for each executor.
pub const BYTES_MAX: usize = 256 << 10;

/// The taps of one pipeline. Clones refer to the same ones.
#[derive(Clone, Debug, Default)]
pub struct Taps(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    open: AtomicUsize,
    /// Locked to copy, to add or to remove, and only by who has seen that some are open.
    list: Mutex<Vec<Arc<Tap>>>,
}

/// Where in a step a record is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapPoint {
    /// It goes into the step.
    In,
    /// The step has made it.
    Out,
    /// It has failed in the step.
    Failed,
}

/// Which records a tap is for. What is `None` is not looked at.
#[derive(Clone, Debug, Default)]
pub struct TapFilter {
    /// The name of the step.
    pub step: Option<String>,
    /// Where in the step.
    pub point: Option<TapPoint>,
    /// What is in the value.
    pub text: Option<String>,
    /// The whole key.
    pub key: Option<String>,
}

/// A record at a step.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// The step.
    pub step: &'a Arc<str>,
    /// The partition of the input from which it came.
    pub source: &'a TopicPartition,
    /// The offset of the record there that caused it; `None` for the result of a window.
    pub offset: Option<i64>,
    /// How many times that record was tried before.
    pub attempt: u32,
    /// Milliseconds since 1970-01-01 UTC; -1 is none.
    pub timestamp: i64,
    /// `None` is null.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: Headers<'a>,
    /// What happens to it.
    pub fate: Fate<'a>,
}

/// What happens to a record at a step.
#[derive(Clone, Copy, Debug)]
pub enum Fate<'a> {
    /// It goes into the step.
    In,
    /// The step has made it for this output; `None`: for the next step.
    Out(Option<TapRoute<'a>>),
    /// It has failed.
    Failed(&'a Failure),
}

/// Where a record goes that a step has made.
#[derive(Clone, Copy, Debug)]
pub struct TapRoute<'a> {
    /// The output's name.
    pub output: &'a str,
    /// The topic that the plugin has named; `None`: that of the output.
    pub topic: Option<&'a str>,
}

/// One tap, as those who run records see it.
pub struct Tap {
    filter: TapFilter,
    text: Option<Finder<'static>>,
    sender: mpsc::SyncSender<TappedRecord>,
    records: AtomicUsize,
    bytes: AtomicUsize,
    missed: AtomicU64,
}

/// An open tap; dropping it closes it.
#[derive(Debug)]
pub struct OpenTap {
    taps: Taps,
    tap: Arc<Tap>,
    receiver: mpsc::Receiver<TappedRecord>,
}

impl TapPoint {
    /// All of them.
    pub const ALL: [TapPoint; 3] = [TapPoint::In, TapPoint::Out, TapPoint::Failed];

    /// Its name in the API and on the command line.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            TapPoint::In => "in",
            TapPoint::Out => "out",
            TapPoint::Failed => "failed",
        }
    }
}

impl Fate<'_> {
    fn point(&self) -> TapPoint {
        match self {
            Fate::In => TapPoint::In,
            Fate::Out(_) => TapPoint::Out,
            Fate::Failed(_) => TapPoint::Failed,
        }
    }
}

impl Taps {
    /// Whether there are any. Without one, a call of a step costs no more than this.
    #[must_use]
    #[inline]
    pub fn are_open(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) > 0
    }

    /// Opens a tap.
    #[must_use]
    pub fn open(&self, filter: TapFilter) -> OpenTap {
        let (sender, receiver) = mpsc::sync_channel(RECORDS_MAX);
        let text = filter.text.as_ref().map(|text| Finder::new(text.as_bytes()).into_owned());
        let (records, bytes, missed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
        let tap = Arc::new(Tap { filter, text, sender, records, bytes, missed });
        let mut list = self.list();
        list.push(Arc::clone(&tap));
        self.0.open.store(list.len(), Ordering::Relaxed);
        drop(list);
        OpenTap { taps: self.clone(), tap, receiver }
    }

    /// The taps for records of this step at this point that have room. Those that are full miss `records`.
    #[must_use]
    pub fn wanting(&self, step: &str, point: TapPoint, records: usize) -> Vec<Arc<Tap>> {
        let list = self.list();
        let concerned = list.iter().filter(|tap| tap.filter.is_about(step, point));
        let with_room = concerned.filter(|tap| {
            let has_room = tap.has_room();
            if !has_room {
                tap.missed.fetch_add(records as u64, Ordering::Relaxed);
            }
            has_room
        });
        with_room.cloned().collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Tap>>> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TapFilter {
    fn is_about(&self, step: &str, point: TapPoint) -> bool {
        self.step.as_ref().is_none_or(|wanted| wanted == step) && self.point.is_none_or(|wanted| wanted == point)
    }
}

impl Tap {
    fn has_room(&self) -> bool {
        self.records.load(Ordering::Relaxed) < RECORDS_MAX && self.bytes.load(Ordering::Relaxed) < BYTES_MAX
    }

    /// Takes a copy of the record if it is one of those that the tap is for, or counts it as missed if there is no room.
    pub fn offer(&self, passing: &Passing<'_>) {
        if !self.filter.is_about(passing.step, passing.fate.point()) {
            return;
        }
        if !self.has_room() {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_key = |wanted: &String| passing.key == Some(wanted.as_bytes());
        let holds = |text: &Finder<'_>| passing.value.is_some_and(|value| text.find(value).is_some());
        if !self.filter.key.as_ref().is_none_or(is_key) || !self.text.as_ref().is_none_or(holds) {
            return;
        }
        let record = TappedRecord::copy(passing);
        let bytes = record.bytes();
        self.records.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.sender.try_send(record).is_err() {
            self.release(bytes);
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn release(&self, bytes: usize) {
        self.records.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl OpenTap {
    /// The records since the last time, the oldest first, and how many passed while there was no room. Whether the missed ones are of
    /// those that the tap is for is not known where it looks at keys or values.
    pub fn take(&mut self) -> (Vec<TappedRecord>, u64) {
        // No more than the buffer holds, even if it is filled meanwhile.
        let records: Vec<TappedRecord> = self.receiver.try_iter().take(RECORDS_MAX).collect();
        records.iter().for_each(|record| self.tap.release(record.bytes()));
        (records, self.tap.missed.swap(0, Ordering::Relaxed))
    }
}

impl Drop for OpenTap {
    fn drop(&mut self) {
        let mut list = self.taps.list();
        list.retain(|tap| !Arc::ptr_eq(tap, &self.tap));
        self.taps.0.open.store(list.len(), Ordering::Relaxed);
    }
}

/// Without what it is for, which may be a part of a record.
impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    fn source() -> TopicPartition {
        TopicPartition { topic: "in".into(), partition: 1 }
    }

    /// Offers a record of this step to all taps that want it.
    fn pass(taps: &Taps, step: &str, key: &str, value: &[u8], fate: Fate<'_>) {
        let (step, source): (Arc<str>, _) = (step.into(), source());
        let passing = Passing {
            step: &step,
            source: &source,
            offset: Some(7),
            attempt: 0,
            timestamp: -1,
            key: Some(key.as_bytes()),
            value: Some(value),
            headers: Headers::default(),
            fate,
        };
        taps.wanting(&step, fate.point(), 1).iter().for_each(|tap| tap.offer(&passing));
    }

    fn values(tap: &mut OpenTap) -> Vec<String> {
        tap.take().0.into_iter().map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect()
    }

    #[test]
    fn a_tap_gets_the_records_that_it_is_for() {
        let taps = Taps::default();
        assert!(!taps.are_open());
        let mut all = taps.open(TapFilter::default());
        let only = TapFilter {
            step: Some("mask".into()),
            point: Some(TapPoint::Out),
            text: Some("bc".into()),
            key: Some("k".into()),
        };
        let mut some = taps.open(only);
        assert!(taps.are_open());
        let failure = Failure::new(Kind::Trap, None, "unreachable");
        pass(&taps, "mask", "k", b"in abcd", Fate::In);
        pass(&taps, "mask", "k", b"abcd", Fate::Out(Some(TapRoute { output: "main", topic: Some("rows.eu") })));
        pass(&taps, "mask", "kk", b"other key", Fate::Out(None));
        pass(&taps, "mask", "k", b"other text", Fate::Out(None));
        pass(&taps, "route", "k", b"other step abcd", Fate::Out(None));
        pass(&taps, "mask", "k", b"failed abcd", Fate::Failed(&failure));
        assert_eq!(values(&mut some), ["abcd"]);
        let (records, missed) = all.take();
        assert_eq!((records.len(), missed), (6, 0));
        assert_eq!(records[1].output, Some(("main".to_owned(), Some("rows.eu".to_owned()))));
        assert_eq!(records[5].failure.as_ref().map(|failure| failure.kind), Some("trap"));
        assert_eq!(records[0].offset, Some(7));
    }

    #[test]
    fn a_full_tap_counts_what_it_misses_and_a_dropped_one_is_gone() {
        let taps = Taps::default();
        let mut tap = taps.open(TapFilter::default());
        (0..RECORDS_MAX + 50).for_each(|_| pass(&taps, "mask", "k", b"v", Fate::In));
        let (records, missed) = tap.take();
        assert_eq!((records.len(), missed), (RECORDS_MAX, 50));
        let large = vec![b'x'; VALUE_BYTES_MAX + 1];
        (0..50).for_each(|_| pass(&taps, "mask", "k", &large, Fate::In));
        let (records, missed) = tap.take();
        let bytes: usize = records.iter().map(TappedRecord::bytes).sum();
        assert!(bytes < BYTES_MAX + VALUE_BYTES_MAX + 1024, "{bytes}");
        assert_eq!(records.len() as u64 + missed, 50);
        assert!(records.iter().all(|record| record.is_truncated));
        pass(&taps, "mask", "k", b"again", Fate::In);
        assert_eq!(values(&mut tap), ["again"], "there is room again");
        let weak = Arc::downgrade(&tap.tap);
        drop(tap);
        assert!(!taps.are_open() && weak.upgrade().is_none());
    }

    /// Nobody waits for a reader, and the numbers add up.
    #[test]
    fn executors_that_offer_at_once_never_wait() {
        let taps = Taps::default();
        let mut tap = taps.open(TapFilter::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| pass(&taps, "mask", "k", b"v", Fate::In)));
            }
        });
        let (records, missed) = tap.take();
        assert_eq!(records.len() as u64 + missed, 4000);
        assert!(records.len() <= RECORDS_MAX);
    }
}
