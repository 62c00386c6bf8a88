//! The series of topics that records name.
//!
//! Records choose the names, so their number is bounded here: a topic beyond it is counted under `other`.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus::IntCounterVec;

use super::table::Table;

/// The name for topics beyond [`TOPICS_MAX`].
const OTHER: &str = "other";
/// Distinct topics of a pipeline.
const TOPICS_MAX: usize = 100;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct TopicSeries {
    records: IntCounterVec,
    /// The topics with a series of their own. Locked by the worker's thread when outputs to such topics were acknowledged; only the
    /// registry's own lock is taken under it.
    known: Mutex<BTreeSet<String>>,
}

impl TopicSeries {
    pub(super) fn new(table: &Table<'_>) -> TopicSeries {
        TopicSeries {
            records: table.counter(
                "topic_records_produced_total",
                "Records that the broker acknowledged, of those whose plugin named the topic; `other` is every topic beyond 100.",
                &["output", "topic"],
                &[],
            ),
            known: Mutex::default(),
        }
    }

    pub(super) fn count(&self, output: &str, topic: &str, records: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.contains(topic) || known.len() < TOPICS_MAX && known.insert(topic.to_owned());
        self.records.with_label_values(&[output, if is_known { topic } else { OTHER }]).inc_by(records);
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;

    #[test]
    fn topics_beyond_the_bound_are_counted_together() {
        let metrics = Metrics::new("orders", &["mask"], &["main"]);
        for number in 0..103 {
            metrics.count_topic("main", &format!("rows.{number}"), 2);
        }
        metrics.count_topic("late", "rows.7", 1);
        let text = metrics.exposition();
        let series = text.lines().filter(|line| line.starts_with("wasmill_topic_records_produced_total{"));
        assert_eq!(series.count(), 102);
        for line in [
            r#"{output="main",pipeline="orders",topic="rows.99"} 2"#,
            r#"{output="main",pipeline="orders",topic="other"} 6"#,
            r#"{output="late",pipeline="orders",topic="rows.7"} 1"#,
        ] {
            assert!(text.contains(&format!("wasmill_topic_records_produced_total{line}")), "{line} is missing");
        }
    }
}
