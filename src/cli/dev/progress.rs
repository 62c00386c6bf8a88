//! The progress of a pipeline on the embedded broker, from its metrics.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus::IntCounterVec;

use crate::config;
use crate::metrics::Metrics;

const OUTCOMES: [&str; 5] = ["emitted", "filtered", "skipped", "dead_lettered", "failed"];

/// The counters of one pipeline.
pub(super) struct Progress {
    metrics: Arc<Metrics>,
    outputs: Vec<Arc<str>>,
    windows: Option<Windows>,
    /// The number of outputs and dead letters that were printed.
    printed: AtomicU64,
    /// Bytes of their keys and values.
    printed_bytes: AtomicU64,
}

/// The step with windows.
pub(super) struct Windows {
    name: Arc<str>,
    /// After how long without a record its windows close, if they do.
    idle: Option<Duration>,
}

impl Windows {
    pub(super) fn of(step: &config::Windowed) -> Windows {
        let idle = step.window.idle().and_then(|ms| u64::try_from(ms).ok());
        Windows { name: Arc::clone(&step.name), idle: idle.map(Duration::from_millis) }
    }
}

/// Limits on the outputs that wait to be printed: the embedded broker keeps only the last 5 MiB of a partition.
const UNPRINTED_MAX: u64 = 4096;
const UNPRINTED_BYTES_MAX: u64 = 1 << 20;

impl Progress {
    pub(super) fn new(metrics: Arc<Metrics>, outputs: Vec<Arc<str>>, windows: Option<Windows>) -> Progress {
        Progress { metrics, outputs, windows, printed: AtomicU64::new(0), printed_bytes: AtomicU64::new(0) }
    }

    /// The name of the step with windows.
    pub(super) fn windows(&self) -> Option<&str> {
        self.windows.as_ref().map(|windows| &*windows.name)
    }

    /// After how long without a record windows close.
    pub(super) fn idle(&self) -> Option<Duration> {
        self.windows.as_ref()?.idle
    }

    /// The number of windows that hold records, as of a second ago.
    pub(super) fn open_windows(&self) -> i64 {
        self.windows().map_or(0, |name| self.metrics.windows_open.with_label_values(&[name]).get())
    }

    /// Counts a printed output or dead letter, whose key and value have `bytes` bytes.
    pub(super) fn print(&self, bytes: u64) {
        self.printed.fetch_add(1, Ordering::Relaxed);
        self.printed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether each of `fed` records has an outcome, and every output and dead letter was printed.
    pub(super) fn is_through(&self, fed: u64) -> bool {
        self.processed() >= fed && self.unprinted() == 0
    }

    /// Whether printing keeps up with the pipeline.
    pub(super) fn is_printed(&self) -> bool {
        let bytes: u64 = self.of_outputs(&self.metrics.bytes_produced);
        // Dead letters have no byte counter, so with them `waiting` is too low. Their number is limited by
        // `UNPRINTED_MAX`.
        let waiting = bytes.saturating_sub(self.printed_bytes.load(Ordering::Relaxed));
        self.unprinted() <= UNPRINTED_MAX && waiting <= UNPRINTED_BYTES_MAX
    }

    fn unprinted(&self) -> u64 {
        (self.produced() + self.outcome("dead_lettered")).saturating_sub(self.printed.load(Ordering::Relaxed))
    }

    /// The summary at the end of the command.
    pub(super) fn summary(&self) -> String {
        let given_up = ["skipped", "dead_lettered"].map(|outcome| (outcome.replace('_', "-"), self.outcome(outcome)));
        let given_up = given_up.iter().filter(|(_, count)| *count > 0);
        let given_up: String = given_up.map(|(outcome, count)| format!("  {outcome} {count}")).collect();
        format!("in {}  out {}{given_up}  failed {}", self.processed(), self.produced(), self.outcome("failed"))
    }

    /// The number of input records that have an outcome.
    pub(super) fn processed(&self) -> u64 {
        OUTCOMES.iter().map(|outcome| self.outcome(outcome)).sum()
    }

    fn produced(&self) -> u64 {
        self.of_outputs(&self.metrics.records_produced)
    }

    fn of_outputs(&self, metric: &IntCounterVec) -> u64 {
        self.outputs.iter().map(|output| metric.with_label_values(&[&**output]).get()).sum()
    }

    fn outcome(&self, outcome: &str) -> u64 {
        self.metrics.records_processed.with_label_values(&[outcome]).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_through_when_every_record_has_an_outcome_and_every_output_was_printed() {
        let metrics = Metrics::new("orders", &[], &["main", "late"]);
        let progress = Progress::new(Arc::clone(&metrics), vec!["main".into(), "late".into()], None);
        metrics.records_processed.with_label_values(&["emitted"]).inc_by(2);
        metrics.records_produced.with_label_values(&["main"]).inc_by(2);
        metrics.records_produced.with_label_values(&["late"]).inc_by(1);
        let print = |records: u64| (0..records).for_each(|_| progress.print(10));
        print(2);
        assert!(!progress.is_through(3), "one record has no outcome yet");
        metrics.records_processed.with_label_values(&["filtered"]).inc();
        assert!(!progress.is_through(3), "one output wasn't printed yet");
        print(1);
        assert!(progress.is_through(3));
        assert_eq!(progress.summary(), "in 3  out 3  failed 0");
        metrics.records_processed.with_label_values(&["dead_lettered"]).inc();
        assert!(!progress.is_through(4), "a dead letter wasn't printed yet");
        print(1);
        assert!(progress.is_through(4));
        assert_eq!(progress.summary(), "in 4  out 3  dead-lettered 1  failed 0");
    }

    #[test]
    fn printing_lags_when_records_or_bytes_wait() {
        let metrics = Metrics::new("orders", &[], &["main"]);
        let progress = Progress::new(Arc::clone(&metrics), vec!["main".into()], None);
        let produced = |records: u64, bytes: u64| {
            metrics.records_produced.with_label_values(&["main"]).inc_by(records);
            metrics.bytes_produced.with_label_values(&["main"]).inc_by(bytes);
        };
        produced(UNPRINTED_MAX, UNPRINTED_BYTES_MAX);
        assert!(progress.is_printed());
        produced(1, 0);
        assert!(!progress.is_printed());
        progress.print(0);
        assert!(progress.is_printed());
        produced(0, 1);
        assert!(!progress.is_printed());
        progress.print(1);
        assert!(progress.is_printed());
    }
}
