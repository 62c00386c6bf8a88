//! How far a pipeline on the embedded broker is, from its own metrics.

use std::sync::Arc;

use crate::metrics::Metrics;

const OUTCOMES: [&str; 5] = ["emitted", "filtered", "skipped", "dead_lettered", "failed"];

/// The counts of one pipeline.
pub(super) struct Progress {
    metrics: Arc<Metrics>,
    outputs: Vec<Arc<str>>,
}

impl Progress {
    pub(super) fn new(metrics: Arc<Metrics>, outputs: Vec<Arc<str>>) -> Progress {
        Progress { metrics, outputs }
    }

    /// Whether each of `fed` records has its outcome and every output and dead letter was printed.
    pub(super) fn is_through(&self, fed: u64, printed: u64) -> bool {
        self.processed() >= fed && printed >= self.produced() + self.outcome("dead_lettered")
    }

    /// For people, at the end.
    pub(super) fn summary(&self) -> String {
        let given_up = ["skipped", "dead_lettered"].map(|outcome| (outcome.replace('_', "-"), self.outcome(outcome)));
        let given_up = given_up.iter().filter(|(_, count)| *count > 0);
        let given_up: String = given_up.map(|(outcome, count)| format!("  {outcome} {count}")).collect();
        format!("in {}  out {}{given_up}  failed {}", self.processed(), self.produced(), self.outcome("failed"))
    }

    /// How many input records have their outcome.
    pub(super) fn processed(&self) -> u64 {
        OUTCOMES.iter().map(|outcome| self.outcome(outcome)).sum()
    }

    fn produced(&self) -> u64 {
        self.outputs.iter().map(|output| self.metrics.records_produced.with_label_values(&[&**output]).get()).sum()
    }

    fn outcome(&self, outcome: &str) -> u64 {
        self.metrics.records_processed.with_label_values(&[outcome]).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_through_when_all_came_in_and_all_that_came_out_was_printed() {
        let metrics = Metrics::new("orders", &[], &["main", "late"]);
        let progress = Progress::new(Arc::clone(&metrics), vec!["main".into(), "late".into()]);
        metrics.records_processed.with_label_values(&["emitted"]).inc_by(2);
        metrics.records_produced.with_label_values(&["main"]).inc_by(2);
        metrics.records_produced.with_label_values(&["late"]).inc_by(1);
        assert!(!progress.is_through(3, 3), "one record has no outcome yet");
        metrics.records_processed.with_label_values(&["filtered"]).inc();
        assert!(!progress.is_through(3, 2), "one output wasn't printed yet");
        assert!(progress.is_through(3, 3));
        assert_eq!(progress.summary(), "in 3  out 3  failed 0");
        metrics.records_processed.with_label_values(&["dead_lettered"]).inc();
        assert!(!progress.is_through(4, 3), "a dead letter wasn't printed yet");
        assert!(progress.is_through(4, 4));
        assert_eq!(progress.summary(), "in 4  out 3  dead-lettered 1  failed 0");
    }
}
