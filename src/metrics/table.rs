//! How a row of the table becomes a registered metric.
//!
//! A row names its labels, and lists the known values either of all its labels or of none. Every combination of
//! listed values is created at once.

use std::sync::Arc;

use prometheus::CounterVec;
use prometheus::Gauge;
use prometheus::GaugeVec;
use prometheus::Histogram;
use prometheus::HistogramOpts;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::Registry;
use prometheus::core::Collector;
use prometheus::core::MetricVec;
use prometheus::core::MetricVecBuilder;

use super::process::Process;
use crate::budget::MemoryBudget;

/// The label that every metric of a pipeline has.
pub(super) const PIPELINE: &str = "pipeline";
const SOUND: &str = "the names and labels in the table are valid and there once";

/// A registry under construction.
pub(super) struct Table<'a> {
    registry: Registry,
    pipeline: &'a str,
}

impl<'a> Table<'a> {
    pub(super) fn new(pipeline: &'a str, memory: &Arc<MemoryBudget>) -> Table<'a> {
        let registry = Registry::new();
        registry.register(Box::new(Process::new(Arc::clone(memory)).expect(SOUND))).expect(SOUND);
        Table { registry, pipeline }
    }

    pub(super) fn finish(self) -> Registry {
        self.registry
    }

    pub(super) fn counter(&self, name: &str, help: &str, labels: &[&str], values: &[&[&str]]) -> IntCounterVec {
        self.rows(IntCounterVec::new(self.opts(name, help), labels).expect(SOUND), values)
    }

    pub(super) fn float_counter(&self, name: &str, help: &str, labels: &[&str], values: &[&[&str]]) -> CounterVec {
        self.rows(CounterVec::new(self.opts(name, help), labels).expect(SOUND), values)
    }

    pub(super) fn gauge(&self, name: &str, help: &str, labels: &[&str], values: &[&[&str]]) -> IntGaugeVec {
        self.rows(IntGaugeVec::new(self.opts(name, help), labels).expect(SOUND), values)
    }

    pub(super) fn float_gauge(&self, name: &str, help: &str, labels: &[&str], values: &[&[&str]]) -> GaugeVec {
        self.rows(GaugeVec::new(self.opts(name, help), labels).expect(SOUND), values)
    }

    pub(super) fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: &[&[&str]],
        buckets: &[f64],
    ) -> HistogramVec {
        self.rows(HistogramVec::new(self.histogram_opts(name, help, buckets), labels).expect(SOUND), values)
    }

    pub(super) fn single_counter(&self, name: &str, help: &str) -> IntCounter {
        self.registered(IntCounter::with_opts(self.opts(name, help)).expect(SOUND))
    }

    pub(super) fn single_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.registered(IntGauge::with_opts(self.opts(name, help)).expect(SOUND))
    }

    pub(super) fn single_float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.registered(Gauge::with_opts(self.opts(name, help)).expect(SOUND))
    }

    pub(super) fn single_histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.registered(Histogram::with_opts(self.histogram_opts(name, help, buckets)).expect(SOUND))
    }

    /// The only metric that is about the process and not the pipeline.
    pub(super) fn build_info(&self) -> IntGaugeVec {
        let opts = Opts::new("wasmill_build_info", "1 for the versions that this process was built from.");
        let labels = ["version", "revision", "wasmtime", "librdkafka"];
        self.registered(IntGaugeVec::new(opts, &labels).expect(SOUND))
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("wasmill_{name}"), help).const_label(PIPELINE, self.pipeline)
    }

    fn histogram_opts(&self, name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts::new(format!("wasmill_{name}"), help)
            .const_label(PIPELINE, self.pipeline)
            .buckets(buckets.to_vec())
    }

    fn rows<T: MetricVecBuilder + 'static>(&self, vec: MetricVec<T>, values: &[&[&str]]) -> MetricVec<T>
    where
        MetricVec<T>: Collector + Clone,
    {
        for combination in combinations(values) {
            vec.with_label_values(&combination);
        }
        self.registered(vec)
    }

    fn registered<C: Collector + Clone + 'static>(&self, metric: C) -> C {
        self.registry.register(Box::new(metric.clone())).expect(SOUND);
        metric
    }
}

/// Every choice of one value from each list; empty if there are no lists.
fn combinations<'v>(values: &[&[&'v str]]) -> Vec<Vec<&'v str>> {
    let Some((first, rest)) = values.split_first() else { return Vec::new() };
    let mut found: Vec<Vec<&str>> = first.iter().map(|&value| vec![value]).collect();
    for list in rest {
        found = found.iter().flat_map(|begun| list.iter().map(|&value| [&begun[..], &[value]].concat())).collect();
    }
    found
}
