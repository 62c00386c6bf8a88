//! All metrics of a pipeline, in one table.
//!
//! The names, types and labels below are public: dashboards and alerts depend on them. A field has the name of its metric,
//! without `wasmill_` and `_total`. Other modules push values into this one: it never reads their state, knows only the
//! topics that it was given, and has no thread. Invariant: every label set that is known at the start is exported from the
//! start with the value 0, so that `rate()` sees the first event; a metric that can't change yet is not in the table.

mod custom;
mod process;
mod state;
mod table;
mod topics;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::CounterVec;
use prometheus::Gauge;
use prometheus::GaugeVec;
use prometheus::Histogram;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Registry;
use prometheus::TextEncoder;
use prometheus::proto::Metric;
use prometheus::proto::MetricFamily;

use crate::budget::MemoryAccount;
use crate::budget::MemoryBudget;
use crate::failure::Kind;
use crate::journal::Journal;
use crate::tap::Taps;

pub use state::CurrentState;
pub use state::State;

use custom::Custom;
use state::StateCell;
use table::PIPELINE;
use table::Table;
use topics::TopicSeries;

/// The metrics of one pipeline. Shared: each part of the program updates its own fields.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    custom: Custom,
    topics: TopicSeries,
    librdkafka: OnceLock<String>,
    state: StateCell,
    /// What happened last to the pipeline. It isn't exported, as it is about single records.
    pub journal: Journal,
    /// Where records can be watched as they pass. They aren't exported either.
    pub taps: Taps,
    /// What the pipeline holds of the memory of the process.
    pub memory: Arc<MemoryAccount>,

    /// `topic`: records taken from Kafka; records that are read again count again.
    pub records_consumed: IntCounterVec,
    /// `topic`: bytes of their keys, values and headers.
    pub bytes_consumed: IntCounterVec,
    /// `topic`: records that retention removed before they were read, under `on_gap = "continue"`.
    pub records_missed: IntCounterVec,
    /// `topic`: partitions of a recreated topic that are read from the beginning, under `on_recreate = "beginning"`.
    pub partitions_recreated: IntCounterVec,
    /// `outcome` = emitted, filtered, skipped, `dead_lettered`, failed: input records, each counted once, when its outcome is
    /// final.
    pub records_processed: IntCounterVec,
    /// `step`, `kind`: records whose dead letter the broker acknowledged; `step` is empty if the broker refused an output.
    pub dead_letters: IntCounterVec,
    /// `output`: records that the broker acknowledged.
    pub records_produced: IntCounterVec,
    /// `output`: bytes of the keys and values of these records.
    pub bytes_produced: IntCounterVec,
    /// Seconds from the poll until the record's offset may be committed, one observation per record; the poll is that of the
    /// first record of its batch.
    pub record_duration_seconds: Histogram,
    /// Seconds from a record's timestamp until its last output was acknowledged, one observation per record.
    pub record_age_seconds: Histogram,
    /// `stage` = step, produce: records that are tried again, because the plugin asked for it or a delivery failed.
    pub retries: IntCounterVec,
    /// Records that were polled and aren't settled yet.
    pub in_flight_records: IntGauge,
    /// Bytes of these records, and of outputs that aren't acknowledged yet.
    pub in_flight_bytes: IntGauge,
    /// The maximum number of records in flight.
    pub in_flight_records_limit: IntGauge,
    /// The maximum number of bytes in flight.
    pub in_flight_bytes_limit: IntGauge,
    /// Seconds since the first failure of the record that has waited longest for its retry; 0 if none waits.
    pub retry_age_seconds: Gauge,
    /// Strands that wait for a retry.
    pub retrying_strands: IntGauge,
    /// Processed records that wait for an earlier record of their partition.
    pub gap_records: IntGauge,
    /// Seconds since the oldest record that others wait for was read; 0 if none do.
    pub gap_age_seconds: Gauge,
    /// `reason` = `in_flight`, retry, halt, paused: seconds that partitions were held back.
    pub waiting_seconds: CounterVec,

    /// `step`: records that went into a step.
    pub step_records_in: IntCounterVec,
    /// `step`: records that came out of a step.
    pub step_records_out: IntCounterVec,
    /// `step`: seconds of one guest call.
    pub step_duration_seconds: HistogramVec,
    /// `step`: records of one guest call.
    pub step_batch_records: HistogramVec,
    /// `step`, `kind`: records (reject, retry) and calls (all other kinds) that failed; records that are run again count again.
    pub step_errors: IntCounterVec,

    /// `step`: records that came after one of their windows had closed.
    pub late_records: IntCounterVec,
    /// `step`: records that were rejected because their time is too far ahead of the clock.
    pub future_records: IntCounterVec,
    /// `step`: results of windows that were handed to the producer.
    pub window_results: IntCounterVec,
    /// `step`: how often the clock closed windows of a partition without records.
    pub idle_advances: IntCounterVec,
    /// `step`: changelog records that were handed to the producer.
    pub changelog_records: IntCounterVec,
    /// `step`: cells in the tables of all partitions.
    pub state_cells: IntGaugeVec,
    /// `step`: memory of these tables.
    pub state_bytes: IntGaugeVec,
    /// `step`: windows that hold cells and are not shown whole.
    pub windows_open: IntGaugeVec,
    /// `step`: how far the watermark is behind the clock, of the partition where that is the most.
    pub watermark_lag_seconds: GaugeVec,
    /// `step`: windows whose results were all handed to the producer.
    pub windows_closed: IntCounterVec,
    /// `step`: partitions whose state is being restored.
    pub restoring_partitions: IntGaugeVec,
    /// `step`: offsets of their changelogs that are not read yet.
    pub restore_remaining_records: IntGaugeVec,
    /// `step`: seconds that restoring a partition took.
    pub restore_seconds: HistogramVec,

    /// Partitions that are assigned to this process.
    pub assigned_partitions: IntGauge,
    /// `kind` = assign, revoke, lost.
    pub rebalances: IntCounterVec,
    /// `result` = ok, error.
    pub commits: IntCounterVec,
    /// `result`: transactions that were committed, or aborted.
    pub transactions: IntCounterVec,
    /// `result` = ok, error: seconds.
    pub commit_duration_seconds: HistogramVec,
    /// `output`: seconds from handing a record to the producer to its acknowledgement.
    pub produce_duration_seconds: HistogramVec,
    /// `output`, `code`: deliveries that failed.
    pub produce_errors: IntCounterVec,
    /// `code`: errors that librdkafka reported.
    pub kafka_errors: IntCounterVec,
    /// Brokers that the consumer is connected to.
    pub kafka_connected_brokers: IntGauge,

    /// `step`: plugin instances that exist.
    pub plugin_instances: IntGaugeVec,
    /// `step`: bytes of memory of all its instances.
    pub plugin_memory_bytes: IntGaugeVec,
    /// `step`: the maximum memory of one instance in bytes.
    pub plugin_memory_limit_bytes: IntGaugeVec,
    /// `step`, `reason` = start, reload, trap: instances created.
    pub plugin_instantiations: IntCounterVec,
    /// Starts of the pipeline after it had failed.
    pub restarts: IntCounter,
    /// `result` = ok, failed: reloads of the file and its components.
    pub config_reloads: IntCounterVec,
    /// `step`: seconds that an executor paused to swap in another version.
    pub plugin_swap_seconds: HistogramVec,
    /// `step`, `result` = ok, failed: plugin versions that were swapped in, or refused.
    pub plugin_reloads: IntCounterVec,
    /// `step`: seconds that compiling its component took.
    pub plugin_compile_seconds: GaugeVec,
    /// `step`, `level`: lines that the guest logged.
    pub plugin_logs: IntCounterVec,
    /// `step`, `result` = response, refused, failed: HTTP requests of the guest.
    pub plugin_http_requests: IntCounterVec,
    /// `kind` = logs, tap: streams over HTTP that were closed because their reader took nothing.
    pub http_streams_dropped: IntCounterVec,

    consumer_lag_records: IntGaugeVec,
    consumer_lag_seconds: GaugeVec,
    pipeline_state: IntGaugeVec,
    ready: IntGauge,
    plugin_info: IntGaugeVec,
    reload_successful: IntGauge,
    build_info: IntGaugeVec,
}

/// The metrics of several pipelines in Prometheus' text format. What is the process's names no pipeline, and is there once.
#[must_use]
pub fn exposition<'a>(all: impl IntoIterator<Item = &'a Metrics>) -> String {
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for mut family in all.into_iter().flat_map(|metrics| metrics.registry.gather()) {
        match families.entry(family.name().to_owned()) {
            Entry::Vacant(first) => drop(first.insert(family)),
            Entry::Occupied(mut first) => {
                let names_pipeline = |metric: &Metric| metric.get_label().iter().any(|label| label.name() == PIPELINE);
                first.get_mut().mut_metric().extend(family.take_metric().into_iter().filter(names_pipeline));
            }
        }
    }
    let families: Vec<MetricFamily> = families.into_values().collect();
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
        tracing::error!(%error, "metrics can't be written");
    }
    text
}

const MICROS: &[f64] =
    &[1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
const MILLIS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const BROKER: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const AGES: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0, 86400.0];
const RESTORES: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
const BATCHES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];

const OUTCOMES: &[&str] = &["emitted", "filtered", "skipped", "dead_lettered", "failed"];
const STAGES: &[&str] = &["step", "produce"];
const REASONS: &[&str] = &["in_flight", "retry", "halt", "paused", "rate", "memory"];
const REBALANCES: &[&str] = &["assign", "revoke", "lost"];
const RESULTS: &[&str] = &["ok", "error"];
const INSTANTIATIONS: &[&str] = &["start", "reload", "trap"];
const RELOADS: &[&str] = &["ok", "failed"];
const STREAMS: &[&str] = &["logs", "tap"];
/// How HTTP requests of guests ended, in the order of their label values.
pub const REQUESTS: [&str; 3] = ["response", "refused", "failed"];
/// The levels of log lines from guests.
pub const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];
/// The major version of wasmtime in Cargo.toml; a test compares them.
const WASMTIME: &str = "48";

impl Metrics {
    /// The metrics of `pipeline`, with every step and output at 0.
    ///
    /// # Panics
    /// If a name in the table is invalid or a duplicate, which the tests of this file would catch.
    #[must_use]
    pub fn new(pipeline: &str, steps: &[&str], outputs: &[&str]) -> Arc<Metrics> {
        Metrics::in_process(&MemoryBudget::new(None), pipeline, steps, outputs)
    }

    /// The same, for a pipeline of a process whose pipelines share this memory.
    ///
    /// # Panics
    /// Like [`Metrics::new`].
    #[must_use]
    pub fn in_process(memory: &Arc<MemoryBudget>, pipeline: &str, steps: &[&str], outputs: &[&str]) -> Arc<Metrics> {
        let table = Table::new(pipeline, memory);
        let t = &table;
        let kinds = Kind::OF_STEPS.map(Kind::label);
        let metrics = Metrics {
            records_consumed: t.counter(
                "records_consumed_total",
                "Records taken from Kafka; records that are read again count again.",
                &["topic"],
                &[],
            ),
            bytes_consumed: t.counter(
                "bytes_consumed_total",
                "Bytes of keys, values and headers taken from Kafka.",
                &["topic"],
                &[],
            ),
            records_missed: t.counter(
                "records_missed_total",
                "Upper bound of the records that retention removed before they were read, with on_gap = continue; offsets \
                 have gaps.",
                &["topic"],
                &[],
            ),
            partitions_recreated: t.counter(
                "partitions_recreated_total",
                "Partitions that were read from their beginning because their topic was deleted and created again.",
                &["topic"],
                &[],
            ),
            records_processed: t.counter(
                "records_processed_total",
                "Input records by their final outcome; each record has exactly one.",
                &["outcome"],
                &[OUTCOMES],
            ),
            dead_letters: t.counter(
                "dead_letters_total",
                "Records whose dead letter the broker acknowledged; `step` is empty if no step failed, but a broker refused an output.",
                &["step", "kind"],
                &[steps, &Kind::OF_RECORDS.map(Kind::label)],
            ),
            records_produced: t.counter(
                "records_produced_total",
                "Records that the broker acknowledged.",
                &["output"],
                &[outputs],
            ),
            bytes_produced: t.counter(
                "bytes_produced_total",
                "Bytes of keys and values that the broker acknowledged.",
                &["output"],
                &[outputs],
            ),
            record_duration_seconds: t.single_histogram(
                "record_duration_seconds",
                "Time from poll to the moment when the record's offset may be committed.",
                MILLIS,
            ),
            record_age_seconds: t.single_histogram(
                "record_age_seconds",
                "Age of a record when its last output was acknowledged.",
                AGES,
            ),
            retries: t.counter("retries_total", "Retries of records.", &["stage"], &[STAGES]),
            in_flight_records: t.single_gauge("in_flight_records", "Records that were polled and are not settled yet."),
            in_flight_bytes: t.single_gauge(
                "in_flight_bytes",
                "Bytes of unsettled records and of unacknowledged outputs.",
            ),
            in_flight_records_limit: t.single_gauge("in_flight_records_limit", "Records that may be in flight."),
            in_flight_bytes_limit: t.single_gauge("in_flight_bytes_limit", "Bytes that may be in flight."),
            retry_age_seconds: t.single_float_gauge(
                "retry_age_seconds",
                "Time since the first failure of the record that has been retried for the longest time; 0 when none is retried.",
            ),
            retrying_strands: t.single_gauge(
                "retrying_strands",
                "Strands that wait for a retry: partitions, or with another order parts of them.",
            ),
            gap_records: t.single_gauge(
                "gap_records",
                "Processed records that are not committed because an earlier record of their partition is not processed.",
            ),
            gap_age_seconds: t.single_float_gauge(
                "gap_age_seconds",
                "Time since the oldest record that processed records wait for was read; 0 when none wait.",
            ),
            waiting_seconds: t.float_counter(
                "waiting_seconds_total",
                "Time that partitions were held back, summed over them.",
                &["reason"],
                &[REASONS],
            ),

            step_records_in: t.counter(
                "step_records_in_total",
                "Records that went into a step; records that are run again count again.",
                &["step"],
                &[steps],
            ),
            step_records_out: t.counter(
                "step_records_out_total",
                "Records that came out of a step; records that are run again count again.",
                &["step"],
                &[steps],
            ),
            step_duration_seconds: t.histogram(
                "step_duration_seconds",
                "Duration of one call of the plugin.",
                &["step"],
                &[steps],
                MICROS,
            ),
            step_batch_records: t.histogram(
                "step_batch_records",
                "Records in one call of the plugin.",
                &["step"],
                &[steps],
                BATCHES,
            ),
            step_errors: t.counter(
                "step_errors_total",
                "Records (reject, retry) and calls (all other kinds) that failed; records that are run again count again.",
                &["step", "kind"],
                &[steps, &kinds],
            ),

            late_records: t.counter(
                "late_records_total",
                "Records that came after one of their windows had closed.",
                &["step"],
                &[],
            ),
            future_records: t.counter(
                "future_records_total",
                "Records that were rejected because their time is too far ahead of the clock.",
                &["step"],
                &[],
            ),
            window_results: t.counter(
                "window_results_total",
                "Results of windows that were handed to the producer.",
                &["step"],
                &[],
            ),
            idle_advances: t.counter(
                "idle_advances_total",
                "How often the clock closed windows of a partition without records.",
                &["step"],
                &[],
            ),
            changelog_records: t.counter(
                "changelog_records_total",
                "Changelog records that were handed to the producer.",
                &["step"],
                &[],
            ),
            state_cells: t.gauge("state_cells", "Cells in the tables of all partitions.", &["step"], &[]),
            state_bytes: t.gauge("state_bytes", "Memory of the tables of all partitions.", &["step"], &[]),
            windows_open: t.gauge("windows_open", "Windows that hold cells and are not shown whole.", &["step"], &[]),
            watermark_lag_seconds: t.float_gauge(
                "watermark_lag_seconds",
                "How far the watermark is behind the clock, of the partition where that is the most.",
                &["step"],
                &[],
            ),
            windows_closed: t.counter(
                "windows_closed_total",
                "Windows whose results were all handed to the producer, counted in each partition.",
                &["step"],
                &[],
            ),
            restoring_partitions: t.gauge(
                "restoring_partitions",
                "Partitions whose state is being restored.",
                &["step"],
                &[],
            ),
            restore_remaining_records: t.gauge(
                "restore_remaining_records",
                "Records of changelogs that are not read yet, of the partitions that are being restored; offsets have gaps.",
                &["step"],
                &[],
            ),
            restore_seconds: t.histogram(
                "restore_seconds",
                "Time that restoring the state of a partition took.",
                &["step"],
                &[],
                RESTORES,
            ),

            assigned_partitions: t.single_gauge("assigned_partitions", "Partitions that are assigned to this process."),
            rebalances: t.counter(
                "rebalances_total",
                "Changes of the assignment: partitions assigned, revoked, or lost.",
                &["kind"],
                &[REBALANCES],
            ),
            commits: t.counter("commits_total", "Offset commits.", &["result"], &[RESULTS]),
            transactions: t.counter(
                "transactions_total",
                "Transactions, with exactly-once delivery.",
                &["result"],
                &[&["committed", "aborted"]],
            ),
            commit_duration_seconds: t.histogram(
                "commit_duration_seconds",
                "Time from sending a commit to its answer.",
                &["result"],
                &[RESULTS],
                BROKER,
            ),
            produce_duration_seconds: t.histogram(
                "produce_duration_seconds",
                "Time from handing a record to the producer to its acknowledgement.",
                &["output"],
                &[outputs],
                BROKER,
            ),
            produce_errors: t.counter("produce_errors_total", "Deliveries that failed.", &["output", "code"], &[]),
            kafka_errors: t.counter("kafka_errors_total", "Errors that the Kafka client reported.", &["code"], &[]),
            kafka_connected_brokers: t.single_gauge("kafka_connected_brokers", "Brokers that the consumer is connected to."),

            plugin_instances: t.gauge("plugin_instances", "Plugin instances that exist.", &["step"], &[steps]),
            plugin_memory_bytes: t.gauge(
                "plugin_memory_bytes",
                "Memory of all instances of a step.",
                &["step"],
                &[steps],
            ),
            plugin_memory_limit_bytes: t.gauge(
                "plugin_memory_limit_bytes",
                "Memory that one instance may have.",
                &["step"],
                &[steps],
            ),
            plugin_instantiations: t.counter(
                "plugin_instantiations_total",
                "Plugin instances created: at the start and for an executor's first records, for a new version, or to replace an instance after a fault.",
                &["step", "reason"],
                &[steps, INSTANTIATIONS],
            ),
            restarts: t.single_counter(
                "pipeline_restarts_total",
                "Starts of the pipeline after it had failed.",
            ),
            config_reloads: t.counter(
                "config_reloads_total",
                "Reloads of the file and its components, after a change or a signal.",
                &["result"],
                &[RELOADS],
            ),
            plugin_swap_seconds: t.histogram(
                "plugin_swap_seconds",
                "Time that an executor paused to swap in another version of a plugin.",
                &["step"],
                &[steps],
                MICROS,
            ),
            plugin_reloads: t.counter(
                "plugin_reloads_total",
                "Reloads of a plugin or its settings in the running pipeline.",
                &["step", "result"],
                &[steps, RELOADS],
            ),
            plugin_compile_seconds: t.float_gauge(
                "plugin_compile_seconds",
                "Time to read, check and compile the step's component.",
                &["step"],
                &[steps],
            ),
            plugin_logs: t.counter(
                "plugin_logs_total",
                "Lines that plugins logged, including suppressed ones.",
                &["step", "level"],
                &[steps, &LEVELS],
            ),
            plugin_http_requests: t.counter(
                "plugin_http_requests_total",
                "HTTP requests of plugins, by how they ended.",
                &["step", "result"],
                &[],
            ),
            http_streams_dropped: t.counter(
                "http_streams_dropped_total",
                "Streams of log lines or of a tap that were closed because their reader took nothing.",
                &["kind"],
                &[STREAMS],
            ),

            consumer_lag_records: t.gauge(
                "consumer_lag_records",
                "Offsets between the committed offset and the end of the partition, gaps included.",
                &["topic", "partition"],
                &[],
            ),
            consumer_lag_seconds: t.float_gauge(
                "consumer_lag_seconds",
                "Age of the oldest uncommitted record in this process's partitions; 0 when caught up.",
                &["topic"],
                &[],
            ),
            pipeline_state: t.gauge(
                "pipeline_state",
                "1 for the state that the pipeline is in.",
                &["state"],
                &[&State::ALL.map(State::label)],
            ),
            ready: t.single_gauge("ready", "1 if `/readyz` is 200: records are processed as they arrive."),
            plugin_info: t.gauge(
                "plugin_info",
                "1 for the component that a step runs.",
                &["step", "plugin", "version", "digest"],
                &[],
            ),
            reload_successful: t.single_gauge(
                "config_last_reload_successful",
                "1 if the last reload of the file and its components succeeded, or there was none; 0 if it failed.",
            ),
            build_info: t.build_info(),
            custom: Custom::new(t, steps),
            topics: TopicSeries::new(t),
            librdkafka: OnceLock::new(),
            state: StateCell::default(),
            journal: Journal::default(),
            taps: Taps::default(),
            memory: memory.account(pipeline),
            registry: table.finish(),
        };
        metrics.dead_letters.with_label_values(&["", Kind::Refused.label()]);
        Arc::new(metrics)
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn exposition(&self) -> String {
        exposition([self])
    }

    /// Creates the series of a step with windows, at 0.
    pub fn add_windowed(&self, step: &str) {
        for counter in [
            &self.late_records,
            &self.future_records,
            &self.window_results,
            &self.idle_advances,
            &self.changelog_records,
            &self.windows_closed,
        ] {
            counter.with_label_values(&[step]);
        }
        self.restore_remaining_records.with_label_values(&[step]);
        self.restore_seconds.with_label_values(&[step]);
    }

    /// Creates the series of an input topic, at 0.
    pub fn add_topic(&self, topic: &str) {
        for counter in [&self.records_consumed, &self.bytes_consumed, &self.records_missed, &self.partitions_recreated]
        {
            counter.with_label_values(&[topic]);
        }
    }

    /// Sets the number of records of a partition that aren't committed yet.
    pub fn set_lag(&self, topic: &str, partition: i32, records: i64) {
        self.consumer_lag_records.with_label_values(&[topic, &partition.to_string()]).set(records);
    }

    /// Removes a partition that was assigned elsewhere: its lag would be counted twice.
    pub fn remove_lag(&self, topic: &str, partition: i32) {
        // An error means that there was no such series.
        let _ = self.consumer_lag_records.remove_label_values(&[topic, &partition.to_string()]);
    }

    /// Sets the age of the oldest uncommitted record of a topic.
    pub fn set_lag_seconds(&self, topic: &str, seconds: f64) {
        self.consumer_lag_seconds.with_label_values(&[topic]).set(seconds);
    }

    /// Removes the lag of a topic that has no partition here any more.
    pub fn remove_lag_seconds(&self, topic: &str) {
        // An error means that there was no such series.
        let _ = self.consumer_lag_seconds.remove_label_values(&[topic]);
    }

    /// Sets the state of the pipeline.
    pub fn set_state(&self, state: State) {
        self.state.set(state);
        for other in State::ALL {
            self.pipeline_state.with_label_values(&[other.label()]).set(i64::from(other == state));
        }
    }

    /// The state of the pipeline, and since when it is in it.
    #[must_use]
    pub fn state(&self) -> CurrentState {
        self.state.get()
    }

    /// The families of all series, as `/metrics` shows them.
    #[must_use]
    pub fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Sets whether records would flow.
    pub fn set_ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// Sets whether the last reload succeeded.
    pub fn set_reload_successful(&self, successful: bool) {
        self.reload_successful.set(i64::from(successful));
    }

    /// Sets which component a step runs, and removes the previous one.
    pub fn set_plugin_info(&self, step: &str, plugin: &str, version: &str, digest: &str) {
        self.custom.replace_info(&self.plugin_info, step, [plugin, version, digest]);
    }

    /// Sets the memory limit of a step's instances, and how long compiling its component took.
    pub fn set_plugin_limits(&self, step: &str, memory_bytes: u64, compile_time: Duration) {
        let bytes = i64::try_from(memory_bytes).unwrap_or(i64::MAX);
        self.plugin_memory_limit_bytes.with_label_values(&[step]).set(bytes);
        self.plugin_compile_seconds.with_label_values(&[step]).set(compile_time.as_secs_f64());
    }

    /// Sets the version of librdkafka, once; the other versions are known at compile time.
    pub fn set_librdkafka(&self, version: &str) {
        // Later calls change nothing.
        let _ = self.librdkafka.set(version.to_owned());
        let [(_, version), (_, revision), (_, wasmtime), (_, librdkafka)] = self.versions();
        self.build_info.with_label_values(&[version, revision, wasmtime, librdkafka]).set(1);
    }

    /// The versions of wasmill, of its source (the revision), of wasmtime and of librdkafka.
    #[must_use]
    pub fn versions(&self) -> [(&'static str, &str); 4] {
        [
            ("wasmill", env!("CARGO_PKG_VERSION")),
            ("revision", option_env!("WASMILL_REVISION").unwrap_or("unknown")),
            ("wasmtime", WASMTIME),
            ("librdkafka", self.librdkafka.get().map_or("unknown", String::as_str)),
        ]
    }

    /// Counts acknowledged records of an output to a topic that they named. The number of topics is limited.
    pub fn count_topic(&self, output: &str, topic: &str, records: u64) {
        self.topics.count(output, topic, records);
    }

    /// Adds to a counter of a guest. The caller limits the number of names.
    pub fn count(&self, step: &str, name: &str, by: u64) {
        self.custom.count(step, name, by);
    }

    /// Adds a value to a histogram of a guest.
    pub fn observe(&self, step: &str, name: &str, value: f64) {
        self.custom.observe(step, name, value);
    }

    /// Counts values of a plugin that went to the name `other`, or were dropped.
    pub fn drop_values(&self, step: &str, values: u64) {
        self.custom.drop_values(step, values);
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
