//! Metrics of the process: those that every Prometheus client exports, dropped log lines, the spans of traces, and the memory of all
//! pipelines together.
//!
//! The library's collector reports CPU time in whole seconds, and an idle process needs minutes for one. So that value is read
//! here.

use std::fs;
use std::sync::Arc;

use prometheus::IntCounter;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::core::Collector;
use prometheus::core::Desc;
use prometheus::core::Metric as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::Counter;
use prometheus::proto::MetricFamily;

use crate::budget::MemoryBudget;
use crate::budget::MemoryKind;
use crate::telemetry;
use crate::trace::span_counts;

const CPU: &str = "process_cpu_seconds_total";
/// The unit of the kernel's process times, on every Linux platform that this program is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// See the head of the file.
pub(super) struct Process {
    library: ProcessCollector,
    lines_dropped: IntCounter,
    spans_exported: IntCounter,
    spans_dropped: IntCounter,
    memory: Arc<MemoryBudget>,
    memory_bytes: IntGaugeVec,
    memory_limit_bytes: IntGauge,
}

impl Process {
    pub(super) fn new(memory: Arc<MemoryBudget>) -> Result<Process, prometheus::Error> {
        let counter = |name: &str, help: &str| IntCounter::with_opts(Opts::new(name, help));
        let used = Opts::new(
            "wasmill_process_memory_bytes",
            "Memory of all pipelines together that counts against `[limits] memory` of `wasmill.toml`, by what it is used for.",
        );
        let limit = Opts::new(
            "wasmill_process_memory_limit_bytes",
            "The most memory of all pipelines together; 0 if `wasmill.toml` sets no limit.",
        );
        Ok(Process {
            library: ProcessCollector::for_self(),
            lines_dropped: counter(
                "wasmill_log_lines_dropped_total",
                "Log lines that stderr did not take in time, or not at all.",
            )?,
            spans_exported: counter("wasmill_trace_spans_exported_total", "Spans that the collector took.")?,
            spans_dropped: counter(
                "wasmill_trace_spans_dropped_total",
                "Spans that found no room in the queue, or that the collector did not take.",
            )?,
            memory,
            memory_bytes: IntGaugeVec::new(used, &["kind"])?,
            memory_limit_bytes: IntGauge::with_opts(limit)?,
        })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let mut descs = self.library.desc();
        descs.extend(self.lines_dropped.desc());
        descs.extend(self.spans_exported.desc());
        descs.extend(self.spans_dropped.desc());
        descs.extend(self.memory_bytes.desc());
        descs.extend(self.memory_limit_bytes.desc());
        descs
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.library.collect();
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
            for metric in families.iter_mut().filter(|family| family.name() == CPU).flat_map(MetricFamily::mut_metric) {
                let mut counter = Counter::default();
                counter.set_value(seconds);
                metric.set_counter(counter);
            }
        }
        let (exported, dropped) = span_counts();
        families.extend(with_value(&self.lines_dropped, telemetry::lines_dropped()));
        families.extend(with_value(&self.spans_exported, exported));
        families.extend(with_value(&self.spans_dropped, dropped));
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        for kind in MemoryKind::ALL {
            self.memory_bytes.with_label_values(&[kind.label()]).set(gauge(self.memory.used(kind)));
        }
        self.memory_limit_bytes.set(gauge(self.memory.limit().unwrap_or(0)));
        families.extend(self.memory_bytes.collect());
        families.extend(self.memory_limit_bytes.collect());
        families
    }
}

/// The families of a counter whose value is counted elsewhere. The counter itself stays at 0: two concurrent scrapes may see the same
/// increase, and neither may count it twice.
fn with_value(counter: &IntCounter, value: u64) -> Vec<MetricFamily> {
    let mut families = counter.collect();
    let mut metric = counter.metric();
    let mut shown = Counter::default();
    shown.set_value(exact(value));
    metric.set_counter(shown);
    families.iter_mut().for_each(|family| family.set_metric(vec![metric.clone()]));
    families
}

/// The number as the text format writes it: exact up to 2^53, which no counter reaches.
fn exact(count: u64) -> f64 {
    let high = u32::try_from(count >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(count & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high).mul_add(4_294_967_296.0, f64::from(low))
}

/// User and system time from a line of `/proc/self/stat`. The process name in it may contain anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    // The first of these fields is the third of the line.
    let mut times = fields.split(' ').skip(14 - 3).take(2).map(str::parse::<u32>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_has_fractions_whatever_the_process_is_called() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 1052 0 0 0 123 45 0 0 20 0 19 0 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(1.68));
        assert_eq!(cpu_seconds("42 (x) S 1"), None);
        assert!(fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds).is_some());
    }

    #[test]
    fn counts_are_exact() {
        assert!((exact(12_210) - 12_210.0).abs() < f64::EPSILON);
        assert!((exact(1 << 40) - 1_099_511_627_776.0).abs() < f64::EPSILON);
    }
}
