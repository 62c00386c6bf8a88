//! Finished spans on their way to the collector. A span that finds no room is dropped and counted: nothing waits for the collector.
//!
//! Locked by workers for the copy of a run's spans, and by the exporter to take some; never while something is sent.

use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::settings::QueueLimits;
use super::span::TraceSpan;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct SpanQueue {
    limits: QueueLimits,
    inner: Mutex<Waiting>,
    changed: Condvar,
    exported: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: VecDeque<TraceSpan>,
    /// Whether the process ends, and whether nothing more is sent.
    is_ending: bool,
    has_ended: bool,
}

impl SpanQueue {
    pub(super) fn new(limits: QueueLimits) -> SpanQueue {
        SpanQueue {
            limits,
            inner: Mutex::default(),
            changed: Condvar::new(),
            exported: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds spans, as far as there is room.
    pub(super) fn put(&self, spans: Vec<TraceSpan>) {
        let mut waiting = self.lock();
        let room = if waiting.has_ended { 0 } else { self.limits.spans_max.saturating_sub(waiting.spans.len()) };
        let refused = spans.len().saturating_sub(room);
        waiting.spans.extend(spans.into_iter().take(room));
        let is_due = waiting.spans.len() >= self.limits.batch_max;
        drop(waiting);
        self.count_dropped(refused);
        if is_due {
            self.changed.notify_all();
        }
    }

    /// Waits for a batch, or for the delay, and takes the spans that are due. `None` when the process ends and there are none.
    pub(super) fn take(&self) -> Option<Vec<TraceSpan>> {
        let is_early = |waiting: &mut Waiting| !waiting.is_ending && waiting.spans.len() < self.limits.batch_max;
        let waited = self.changed.wait_timeout_while(self.lock(), self.limits.delay, is_early);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let count = waiting.spans.len().min(self.limits.batch_max);
        let spans: Vec<TraceSpan> = waiting.spans.drain(..count).collect();
        (!spans.is_empty() || !waiting.is_ending).then_some(spans)
    }

    pub(super) fn count_exported(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, spans: usize) {
        self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// The spans that the collector took, and those that were dropped.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.exported.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }

    /// Everything was sent, or nothing more can be.
    pub(super) fn has_ended(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Has the rest sent, and waits for that, but not longer than this. What is left then is dropped and counted.
    pub(super) fn end(&self, at_most: Duration) {
        let mut waiting = self.lock();
        waiting.is_ending = true;
        self.changed.notify_all();
        let waited = self.changed.wait_timeout_while(waiting, at_most, |waiting| !waiting.has_ended);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.has_ended = true;
        let left = std::mem::take(&mut waiting.spans).len();
        drop(waiting);
        self.count_dropped(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::trace::context::SpanContext;
    use crate::trace::span::SpanKind;
    use crate::trace::span::SpanTimes;

    fn spans(count: u64) -> Vec<TraceSpan> {
        let span = |span| TraceSpan {
            context: SpanContext::first(1, span),
            parent: None,
            is_parent_remote: false,
            kind: SpanKind::Internal,
            name: String::new(),
            times: SpanTimes::default(),
            attributes: Vec::new(),
            error: None,
        };
        (1..=count).map(span).collect()
    }

    fn bounded(delay: Duration) -> SpanQueue {
        SpanQueue::new(QueueLimits { spans_max: 5, batch_max: 2, delay })
    }

    #[test]
    fn spans_beyond_the_bound_are_dropped_and_counted_and_a_batch_does_not_wait() {
        let queue = bounded(Duration::from_secs(3600));
        queue.put(spans(4));
        queue.put(spans(4));
        assert_eq!(queue.counts(), (0, 3));
        assert_eq!(queue.take().map(|spans| spans.len()), Some(2));
        assert_eq!(queue.take().map(|spans| spans.len()), Some(2));
        queue.put(spans(1));
        assert_eq!(queue.take().map(|spans| spans.len()), Some(2));
    }

    #[test]
    fn the_end_sends_the_rest_and_waits_for_no_collector() {
        let queue = Arc::new(bounded(Duration::from_secs(3600)));
        queue.put(spans(3));
        let exporter = Arc::clone(&queue);
        let thread = thread::spawn(move || {
            while let Some(spans) = exporter.take() {
                exporter.count_exported(spans.len());
            }
            exporter.has_ended();
        });
        queue.end(Duration::from_secs(60));
        thread.join().unwrap();
        assert_eq!(queue.counts(), (3, 0));
        queue.put(spans(1));
        assert_eq!(queue.counts(), (3, 1), "nobody sends it any more");
        let silent = bounded(Duration::ZERO);
        silent.put(spans(2));
        silent.end(Duration::ZERO);
        assert_eq!(silent.counts(), (0, 2));
    }
}
