//! Values of a pipeline's metrics by their names and labels: what the API and the page show is what `/metrics` shows.

use prometheus::proto::Metric;
use prometheus::proto::MetricFamily;
use prometheus::proto::MetricType;

use crate::metrics::Metrics;

/// All series of a pipeline at one time.
pub(super) struct Series(Vec<MetricFamily>);

/// A label and its value.
type Label<'a> = (&'a str, &'a str);

impl Series {
    pub(super) fn of(metrics: &Metrics) -> Series {
        Series(metrics.families())
    }

    /// The sum of the series of this name that have these labels; 0 if there is none.
    pub(super) fn sum(&self, name: &str, labels: &[Label<'_>]) -> f64 {
        self.all(name).filter(|(_, metric)| has(metric, labels)).map(|(kind, metric)| value(kind, metric)).sum()
    }

    /// The same, as a whole number.
    pub(super) fn count(&self, name: &str, labels: &[Label<'_>]) -> u64 {
        whole(self.sum(name, labels))
    }

    /// The largest value of the series of this name that have these labels; `None` if there is none.
    pub(super) fn max(&self, name: &str, labels: &[Label<'_>]) -> Option<f64> {
        let values = self.all(name).filter(|(_, metric)| has(metric, labels)).map(|(kind, metric)| value(kind, metric));
        values.reduce(f64::max)
    }

    /// For each value of a label, the sum of the series of this name that have these other labels; without those that are 0.
    pub(super) fn by<'a>(&'a self, name: &str, label: &str, labels: &[Label<'_>]) -> Vec<(&'a str, u64)> {
        let mut sums: Vec<(&str, f64)> = Vec::new();
        for (kind, metric) in self.all(name).filter(|(_, metric)| has(metric, labels)) {
            let Some(of) = text(metric, label) else { continue };
            match sums.iter_mut().find(|(known, _)| *known == of) {
                Some((_, sum)) => *sum += value(kind, metric),
                None => sums.push((of, value(kind, metric))),
            }
        }
        sums.into_iter().map(|(of, sum)| (of, whole(sum))).filter(|(_, sum)| *sum > 0).collect()
    }

    /// The values of a label among the series of this name that have these other labels.
    pub(super) fn labels<'a>(&'a self, name: &str, label: &str, labels: &[Label<'_>]) -> Vec<&'a str> {
        let mut found: Vec<&str> = self
            .all(name)
            .filter(|(_, metric)| has(metric, labels))
            .filter_map(|(_, metric)| text(metric, label))
            .collect();
        found.dedup();
        found
    }

    /// The number of observations of a histogram with these labels.
    pub(super) fn observations(&self, name: &str, labels: &[Label<'_>]) -> u64 {
        self.all(name)
            .filter(|(_, metric)| has(metric, labels))
            .map(|(_, metric)| metric.get_histogram().get_sample_count())
            .sum()
    }

    /// A quantile of a histogram with these labels, interpolated within its bucket as Prometheus does; `None` without observations. Above
    /// the last bound it is that bound.
    pub(super) fn quantile(&self, name: &str, labels: &[Label<'_>], quantile: f64) -> Option<f64> {
        let (_, metric) = self.all(name).find(|(_, metric)| has(metric, labels))?;
        let histogram = metric.get_histogram();
        let total = number(histogram.get_sample_count());
        let (mut below, mut bound) = (0.0, 0.0);
        for bucket in histogram.get_bucket() {
            let (count, upper) = (number(bucket.cumulative_count()), bucket.upper_bound());
            if total > 0.0 && count >= quantile * total && count > below {
                return Some(bound + (upper - bound) * (quantile * total - below).max(0.0) / (count - below));
            }
            (below, bound) = (count, upper);
        }
        (total > 0.0).then_some(bound)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = (MetricType, &Metric)> {
        let found = self.0.iter().find(|family| family.name().strip_prefix("wasmill_") == Some(name));
        found.into_iter().flat_map(|family| family.get_metric().iter().map(|metric| (family.get_field_type(), metric)))
    }
}

fn text<'a>(metric: &'a Metric, label: &str) -> Option<&'a str> {
    metric.get_label().iter().find(|pair| pair.name() == label).map(|pair| pair.value())
}

fn has(metric: &Metric, labels: &[Label<'_>]) -> bool {
    labels.iter().all(|(label, value)| text(metric, label) == Some(value))
}

fn value(kind: MetricType, metric: &Metric) -> f64 {
    match kind {
        MetricType::COUNTER => metric.get_counter().get_value(),
        MetricType::GAUGE => metric.get_gauge().get_value(),
        MetricType::HISTOGRAM | MetricType::SUMMARY | MetricType::UNTYPED => 0.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count that is shown to people")]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, and counts are whole")]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name_and_labels_and_quantiles_are_interpolated() {
        let metrics = Metrics::new("orders", &["mask", "enrich"], &["main"]);
        metrics.step_errors.with_label_values(&["mask", "trap"]).inc_by(2);
        metrics.step_errors.with_label_values(&["mask", "reject"]).inc_by(3);
        metrics.step_errors.with_label_values(&["enrich", "trap"]).inc();
        let calls = metrics.step_duration_seconds.with_label_values(&["mask"]);
        (0..100).for_each(|_| calls.observe(0.0015));
        metrics.set_lag("in", 0, 7);
        let series = Series::of(&metrics);
        assert_eq!(series.count("step_errors_total", &[("kind", "trap")]), 3);
        assert_eq!(series.by("step_errors_total", "kind", &[("step", "mask")]), [("reject", 3), ("trap", 2)]);
        assert_eq!(series.max("consumer_lag_records", &[]), Some(7.0));
        assert_eq!(series.max("consumer_lag_seconds", &[]), None);
        assert_eq!(series.observations("step_duration_seconds", &[("step", "mask")]), 100);
        let quantile = |of, quantile| series.quantile("step_duration_seconds", &[("step", of)], quantile);
        assert!(quantile("mask", 0.5).is_some_and(|half| (half - 0.00175).abs() < 1e-9), "{:?}", quantile("mask", 0.5));
        assert_eq!(quantile("enrich", 0.5), None);
        assert_eq!(series.labels("step_records_in_total", "step", &[]), ["enrich", "mask"]);
    }
}
