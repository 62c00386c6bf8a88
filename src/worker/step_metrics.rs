//! The metrics of one step on one executor.
//!
//! Handles are looked up once. A call costs a few additions, and only failed records cost anything each.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Histogram;
use prometheus::IntCounter;
use prometheus::IntGauge;

use crate::failure::Failure;
use crate::metrics::LEVELS;
use crate::metrics::Metrics;
use crate::metrics::REQUESTS;

/// See the head of the file.
pub(super) struct StepMetrics {
    metrics: Arc<Metrics>,
    step: Arc<str>,
    records_in: IntCounter,
    records_out: IntCounter,
    duration: Histogram,
    batch: Histogram,
    memory: IntGauge,
    instances: IntGauge,
    swaps: Histogram,
    /// By level, `trace` first.
    logs: [IntCounter; 5],
    /// Without an instance: why the next one is created, for the label `reason`.
    missing: Option<&'static str>,
    /// The memory of this executor's instance after its last call.
    memory_bytes: i64,
}

/// The reason for an instance that replaces one which a fault made unusable.
const AFTER_FAULT: &str = "trap";

impl StepMetrics {
    /// `reason` is the label of the first instance.
    pub(super) fn new(metrics: &Arc<Metrics>, step: &Arc<str>, reason: &'static str) -> StepMetrics {
        let label = &[&**step];
        StepMetrics {
            records_in: metrics.step_records_in.with_label_values(label),
            records_out: metrics.step_records_out.with_label_values(label),
            duration: metrics.step_duration_seconds.with_label_values(label),
            batch: metrics.step_batch_records.with_label_values(label),
            memory: metrics.plugin_memory_bytes.with_label_values(label),
            instances: metrics.plugin_instances.with_label_values(label),
            swaps: metrics.plugin_swap_seconds.with_label_values(label),
            logs: LEVELS.map(|level| metrics.plugin_logs.with_label_values(&[step, level])),
            metrics: Arc::clone(metrics),
            step: Arc::clone(step),
            missing: Some(reason),
            memory_bytes: 0,
        }
    }

    /// An instance was created where there was none.
    pub(super) fn instantiated(&mut self, memory_bytes: u64) {
        let reason = self.missing.take().unwrap_or(AFTER_FAULT);
        self.metrics.plugin_instantiations.with_label_values(&[&self.step, reason]).inc();
        self.instances.inc();
        self.remember(memory_bytes);
    }

    /// A call ended. [`StepMetrics::failed`] counts its failed records, as those after one that ends the run don't count.
    pub(super) fn called(&mut self, records: usize, took: Duration, failure: Option<&Failure>, memory_bytes: u64) {
        self.duration.observe(took.as_secs_f64());
        self.batch.observe(u32::try_from(records).map_or(f64::INFINITY, f64::from));
        self.records_in.inc_by(records as u64);
        match failure {
            None => self.remember(memory_bytes),
            Some(failure) => {
                self.failed(failure);
                if failure.kind.spoils_instance() {
                    self.missing = Some(AFTER_FAULT);
                    self.instances.dec();
                    self.remember(0);
                }
            }
        }
    }

    /// The step returned outputs.
    pub(super) fn put_out(&self, outputs: usize) {
        self.records_out.inc_by(outputs as u64);
    }

    /// Another version replaced the step's, with an instance of this memory if one was made for this executor.
    pub(super) fn swapped(&mut self, memory_bytes: Option<u64>, took: Duration) {
        self.swaps.observe(took.as_secs_f64());
        if self.missing.replace("reload").is_none() {
            self.instances.dec();
        }
        self.remember(0);
        if let Some(memory_bytes) = memory_bytes {
            self.instantiated(memory_bytes);
        }
    }

    /// A record or a call failed.
    pub(super) fn failed(&self, failure: &Failure) {
        self.metrics.step_errors.with_label_values(&[&self.step, failure.kind.label()]).inc();
    }

    /// Plugins logged this many lines, by level.
    pub(super) fn logged(&self, lines: [u64; 5]) {
        for (counter, lines) in self.logs.iter().zip(lines).filter(|(_, lines)| *lines > 0) {
            counter.inc_by(lines);
        }
    }

    /// Plugins sent this many HTTP requests, by how they ended.
    pub(super) fn requested(&self, requests: [u64; 3]) {
        for (result, requests) in REQUESTS.iter().zip(requests).filter(|(_, requests)| *requests > 0) {
            self.metrics.plugin_http_requests.with_label_values(&[&*self.step, *result]).inc_by(requests);
        }
    }

    fn remember(&mut self, memory_bytes: u64) {
        let bytes = i64::try_from(memory_bytes).unwrap_or(i64::MAX);
        if bytes != self.memory_bytes {
            self.memory.add(bytes - self.memory_bytes);
            self.memory_bytes = bytes;
        }
    }
}

/// The instance is dropped with its executor.
impl Drop for StepMetrics {
    fn drop(&mut self) {
        self.remember(0);
        if self.missing.is_none() {
            self.instances.dec();
        }
    }
}
