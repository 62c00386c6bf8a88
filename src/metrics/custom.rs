//! What guests count and observe under names of their own.
//!
//! A name is the guest's, and so is the number of names: each step has at most [`NAMES_MAX`] of each type, and what comes
//! after goes to `other` and is counted as dropped. Nothing here trusts a name.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus::HistogramVec;
use prometheus::IntCounterVec;
use prometheus::IntGaugeVec;

use super::table::Table;

/// Names that one step may have, of counters and histograms together.
pub(super) const NAMES_MAX: usize = 50;

const NAME_BYTES_MAX: usize = 64;
const OVERFLOW: &str = "other";
const BUCKETS: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

/// The guests' own series.
#[derive(Debug)]
pub(super) struct Custom {
    counters: IntCounterVec,
    histograms: HistogramVec,
    dropped: IntCounterVec,
    /// Locked for a look-up by executors when they flush a call's counts, and once a step when it starts; never across
    /// a guest call, and no other lock is taken under it but the registry's own.
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    names: BTreeMap<String, BTreeSet<String>>,
    infos: BTreeMap<String, [String; 3]>,
}

impl Custom {
    pub(super) fn new(table: &Table<'_>, steps: &[&str]) -> Custom {
        Custom {
            counters: table.counter("plugin_custom_total", "What plugins count.", &["step", "name"], &[]),
            histograms: table.histogram("plugin_custom", "What plugins observe.", &["step", "name"], &[], BUCKETS),
            dropped: table.counter(
                "metric_series_dropped_total",
                "Values that went to the name `other`, because the step has too many names.",
                &["step"],
                &[steps],
            ),
            seen: Mutex::default(),
        }
    }

    pub(super) fn count(&self, step: &str, name: &str, by: u64) {
        let name = self.admit(step, name);
        self.counters.with_label_values(&[step, &name]).inc_by(by);
    }

    pub(super) fn observe(&self, step: &str, name: &str, value: f64) {
        // NaN or infinity would spoil the sum of the series for good.
        if value.is_finite() {
            let name = self.admit(step, name);
            self.histograms.with_label_values(&[step, &name]).observe(value);
        }
    }

    /// Sets `info` of a step to 1 and forgets the labels that it had before.
    pub(super) fn replace_info(&self, info: &IntGaugeVec, step: &str, labels: [&str; 3]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some([plugin, version, digest]) = seen.infos.insert(step.to_owned(), labels.map(String::from)) {
            // An error says that it wasn't there.
            let _ = info.remove_label_values(&[step, &plugin, &version, &digest]);
        }
        info.with_label_values(&[step, labels[0], labels[1], labels[2]]).set(1);
    }

    fn admit(&self, step: &str, name: &str) -> String {
        let name = mended(name);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let names = seen.names.entry(step.to_owned()).or_default();
        if names.contains(&name) {
            return name;
        }
        if names.len() >= NAMES_MAX {
            self.dropped.with_label_values(&[step]).inc();
            return OVERFLOW.to_owned();
        }
        names.insert(name.clone());
        name
    }
}

/// The name with everything outside `[a-z0-9_]` made `_`, and cut.
fn mended(name: &str) -> String {
    let name: String = name
        .chars()
        .take(NAME_BYTES_MAX)
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '_') => c,
            _ => '_',
        })
        .collect();
    if name.is_empty() { OVERFLOW.to_owned() } else { name }
}
