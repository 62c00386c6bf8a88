//! Counters and histograms that guests define under names of their own.
//!
//! The guest chooses the names and their number. The `plugin` module limits both, and reports what went to `other`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus::HistogramVec;
use prometheus::IntCounterVec;
use prometheus::IntGaugeVec;

use super::table::Table;

const BUCKETS: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

/// The series that guests define.
#[derive(Debug)]
pub(super) struct Custom {
    counters: IntCounterVec,
    histograms: HistogramVec,
    dropped: IntCounterVec,
    /// For each step the labels of its current version. Locked when a version starts; only the registry's own lock is taken under it.
    infos: Mutex<BTreeMap<String, [String; 3]>>,
}

impl Custom {
    pub(super) fn new(table: &Table<'_>, steps: &[&str]) -> Custom {
        Custom {
            counters: table.counter("plugin_custom_total", "Counters of plugins.", &["step", "name"], &[]),
            histograms: table.histogram("plugin_custom", "Observations of plugins.", &["step", "name"], &[], BUCKETS),
            dropped: table.counter(
                "metric_series_dropped_total",
                "Values of a plugin that were counted under the name `other` or dropped: too many names, an invalid name, too \
                 many in one call, or not a number.",
                &["step"],
                &[steps],
            ),
            infos: Mutex::default(),
        }
    }

    pub(super) fn count(&self, step: &str, name: &str, by: u64) {
        self.counters.with_label_values(&[step, name]).inc_by(by);
    }

    pub(super) fn drop_values(&self, step: &str, values: u64) {
        self.dropped.with_label_values(&[step]).inc_by(values);
    }

    pub(super) fn observe(&self, step: &str, name: &str, value: f64) {
        // NaN or infinity would make the sum of the series useless from then on.
        if value.is_finite() {
            self.histograms.with_label_values(&[step, name]).observe(value);
        }
    }

    /// Sets `info` of a step to 1 and removes its previous labels.
    pub(super) fn replace_info(&self, info: &IntGaugeVec, step: &str, labels: [&str; 3]) {
        let mut infos = self.infos.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some([plugin, version, digest]) = infos.insert(step.to_owned(), labels.map(String::from)) {
            // An error means that there was no such series.
            let _ = info.remove_label_values(&[step, &plugin, &version, &digest]);
        }
        info.with_label_values(&[step, labels[0], labels[1], labels[2]]).set(1);
    }
}
