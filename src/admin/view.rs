//! What the API answers about pipelines. The fields are public: `openapi.json` describes them.

mod records;

use glob::Pattern;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

pub use records::BytesView;
pub use records::DeadLetterView;
pub use records::FailureView;
pub use records::ReloadView;
pub use records::StreamMissed;
pub use records::StreamNotice;
pub use records::TapFailure;
pub use records::TapOpened;
pub use records::TapOutput;
pub use records::TapRecord;
pub(super) use records::tapped;

use super::board::Look;
use super::board::Served;
use super::series::Series;
use crate::budget::MemoryAccount;
use crate::budget::MemoryKind;
use crate::metrics::CurrentState;
use crate::metrics::Metrics;
use crate::pipeline::Check;
use crate::pipeline::Handle;
use crate::pipeline::LastFailure;
use crate::pipeline::PartitionStatus;
use crate::pipeline::RecordAt;
use crate::pipeline::WindowedStatus;
use crate::pipeline::json_time;
use crate::record::RecordId;
use crate::record::TopicPartition;
use crate::telemetry;
use crate::telemetry::RecentLine;

/// A pipeline in the list of all.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Its consumer group; `None` if its file has never been valid.
    pub group: Option<String>,
    /// Its state, as `wasmill_pipeline_state` has it.
    pub state: String,
    /// Since when, as text.
    pub since: String,
    /// Why it is in this state.
    pub reason: String,
    /// Whether records would flow.
    pub ready: bool,
    /// What it is behind by.
    pub lag: LagView,
    /// What passed through it since the process started.
    pub records: RecordCounts,
    /// Starts after it had failed.
    pub restarts: u64,
    /// What its steps run.
    pub plugins: Vec<Plugin>,
    /// The record at which it has stopped, or that holds it.
    pub stopped_at: Option<StoppedAtView>,
    /// The last record that failed, since the pipeline started.
    pub last_failure: Option<FailureView>,
}

/// How far a pipeline is behind.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LagView {
    /// Offsets that are not committed, of all of its partitions here.
    pub records: u64,
    /// The age of the oldest of them, in seconds.
    pub seconds: f64,
}

/// Counts of records.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RecordCounts {
    /// Taken from Kafka.
    pub consumed: u64,
    /// Acknowledged outputs.
    pub produced: u64,
    /// Acknowledged dead letters.
    pub dead_lettered: u64,
    /// Failed, and left out by the policy or by an operator.
    pub skipped: u64,
    /// Failures of steps: records, and calls.
    pub failures: u64,
}

/// What a step runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Plugin {
    /// The step.
    pub step: String,
    /// The plugin's name.
    pub plugin: String,
    /// Its version; empty if it has none.
    pub version: String,
    /// The first twelve digits of its SHA-256.
    pub digest: String,
}

/// A pipeline with everything that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// What the list has.
    #[serde(flatten)]
    pub summary: Summary,
    /// `limits.weight`, its share of the CPU among the pipelines of the process; `None` if it doesn't run.
    pub weight: Option<u64>,
    /// What it holds of the process's memory.
    pub memory: MemoryView,
    /// The checks of `/readyz?verbose`.
    pub checks: Vec<CheckView>,
    /// Its partitions in this process.
    pub partitions: Vec<PartitionView>,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// Its outputs.
    pub outputs: Vec<OutputView>,
    /// Its dead letters since the process started, by step and kind.
    pub dead_letters: Vec<DeadLettersView>,
    /// The last ones, the newest first: fifty at most.
    pub newest_dead_letters: Vec<DeadLetterView>,
    /// The last ones since the process started, the newest first: twenty at most, and one of each second.
    pub last_failures: Vec<FailureView>,
    /// Reloads of its file.
    pub reloads: Reloads,
}

/// What a pipeline holds of the memory that all pipelines of the process share, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct MemoryView {
    /// Memories of its plugins' instances.
    pub plugins: u64,
    /// Records that were read, and outputs that are not acknowledged.
    pub in_flight: u64,
    /// Tables of a step with windows.
    pub state: u64,
    /// What all pipelines of the process hold.
    pub process: u64,
    /// What they may hold: `[limits] memory` of wasmill.toml. `None` without one.
    pub process_limit: Option<u64>,
}

/// A check of `/readyz?verbose`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CheckView {
    /// Whether it passes.
    pub ok: bool,
    /// What is checked.
    pub name: String,
    /// `ok`, or why not.
    pub detail: String,
}

/// A partition.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PartitionView {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Every record below is committed.
    pub committed: i64,
    /// Every record below is finished.
    pub position: i64,
    /// The offset after the last record.
    pub end: i64,
    /// Its lag.
    pub lag: LagView,
    /// Records that were read and are not finished.
    pub in_flight: u64,
    /// Of a step with windows: the time up to which its windows are closed, as text.
    pub watermark: Option<String>,
    /// Of a step with windows: whether its state is being restored.
    pub restoring: bool,
}

/// A step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// Records that went in.
    pub records_in: u64,
    /// Records that came out.
    pub records_out: u64,
    /// Calls of the plugin.
    pub calls: u64,
    /// Seconds of a call: the median; `None` without a call.
    pub p50: Option<f64>,
    /// The same: the 99th percentile.
    pub p99: Option<f64>,
    /// Failures by kind.
    pub errors: Vec<Count>,
    /// Instances of the plugin.
    pub instances: u64,
    /// Their memory, in bytes.
    pub memory_bytes: u64,
    /// The most memory of one instance, in bytes.
    pub memory_limit_bytes: u64,
}

/// A count of something.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// What is counted.
    pub kind: String,
    /// How many there are.
    pub count: u64,
}

/// An output.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OutputView {
    /// Its name.
    pub name: String,
    /// Its topic, if the pipeline runs.
    pub topic: Option<String>,
    /// Acknowledged records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Deliveries that failed.
    pub errors: u64,
}

/// Dead letters of a step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeadLettersView {
    /// The step; empty if a broker refused an output.
    pub step: String,
    /// The kinds of failures, and how many dead letters each has.
    pub kinds: Vec<Count>,
}

/// The record at which a pipeline has stopped, or that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoppedAtView {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Whether `skip` lets the pipeline go on: not if too many others failed.
    pub may_be_skipped: bool,
}

/// Reloads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reloads {
    /// How many were applied, or found nothing to apply.
    pub ok: u64,
    /// How many changed nothing because something was wrong.
    pub failed: u64,
    /// The last ones, the newest first: ten at most.
    pub newest: Vec<ReloadView>,
}

/// All pipelines.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Pipelines {
    /// By name.
    pub pipelines: Vec<Summary>,
}

/// What an operation does now.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Operated {
    /// The pipeline.
    pub pipeline: String,
    /// The operation.
    pub operation: String,
    /// What is done, for people.
    pub result: String,
}

/// An error, as RFC 9457 has it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `about:blank`: the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, and what to do.
    pub detail: String,
}

/// The configuration of a pipeline.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigView {
    /// What `wasmill config show` prints: each value that takes effect, with its origin. Secrets are hidden.
    pub toml: String,
}

/// The last log lines of a pipeline.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Logs {
    /// The oldest first.
    pub lines: Vec<LogLine>,
}

/// A log line.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Counts the lines of the pipeline: `?after=` takes it.
    pub number: u64,
    /// When, as text.
    pub at: String,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: String,
    /// The message, with its fields.
    pub text: String,
}

/// The log lines of a pipeline after the one of this number.
pub(super) fn logs(pipeline: &str, after: u64) -> Logs {
    let line = |line: RecentLine| LogLine {
        number: line.number,
        at: time(line.at_ms),
        level: line.level.to_owned(),
        text: line.text,
    };
    Logs { lines: telemetry::recent(pipeline, after).into_iter().map(line).collect() }
}

/// What the list says of a pipeline.
pub(super) fn summary(served: &Served) -> Summary {
    summary_of(served, &served.look(), &Series::of(&served.metrics))
}

fn summary_of(served: &Served, look: &Look, series: &Series) -> Summary {
    let CurrentState { state, since_ms } = served.metrics.state();
    let state = look.state.unwrap_or(state);
    let seconds = series.max("consumer_lag_seconds", &[]).unwrap_or_default();
    Summary {
        name: served.name.to_string(),
        file: look.file.display().to_string(),
        group: look.running.as_ref().map(|running| running.config().kafka.input.group.clone()),
        state: state.label().to_owned(),
        since: time(since_ms),
        reason: look.reason.clone(),
        ready: look.health.ready,
        lag: LagView { records: series.count("consumer_lag_records", &[]), seconds },
        records: RecordCounts {
            consumed: series.count("records_consumed_total", &[]),
            produced: series.count("records_produced_total", &[]),
            dead_lettered: series.count("dead_letters_total", &[]),
            skipped: series.count("records_processed_total", &[("outcome", "skipped")]),
            failures: series.count("step_errors_total", &[]),
        },
        restarts: served.metrics.restarts.get(),
        plugins: plugins(series),
        stopped_at: look.stopped_at.as_ref().map(stopped_at),
        last_failure: look.running.as_ref().and_then(|running| running.progress().1).map(failure),
    }
}

/// Everything that is known of a pipeline.
pub(super) fn detail(served: &Served) -> Detail {
    let (look, series) = (served.look(), Series::of(&served.metrics));
    let (assigned, _) = look.running.as_ref().map(Handle::progress).unwrap_or_default();
    let windowed = look.running.as_ref().map(Handle::watermarks).unwrap_or_default();
    Detail {
        summary: summary_of(served, &look, &series),
        weight: look.running.as_ref().map(|running| running.config().limits.weight as u64),
        memory: memory(&served.metrics.memory),
        checks: look.health.checks.iter().map(check).collect(),
        partitions: assigned.iter().map(|partition| of_partition(partition, &windowed)).collect(),
        steps: series.labels("step_records_in_total", "step", &[]).iter().map(|step| of_step(step, &series)).collect(),
        outputs: outputs(look.running.as_ref(), &series),
        dead_letters: dead_letters(&series),
        newest_dead_letters: served.metrics.journal.dead_letters().into_iter().map(records::dead_letter).collect(),
        last_failures: served.metrics.journal.failures().into_iter().map(records::failure).collect(),
        reloads: reloads(&served.metrics),
    }
}

/// A check of a probe.
pub(super) fn check(check: &Check) -> CheckView {
    CheckView { ok: check.ok, name: check.name.clone(), detail: check.detail.clone() }
}

fn memory(account: &MemoryAccount) -> MemoryView {
    MemoryView {
        plugins: account.used(MemoryKind::Plugins),
        in_flight: account.used(MemoryKind::InFlight),
        state: account.used(MemoryKind::State),
        process: account.budget().total(),
        process_limit: account.budget().limit(),
    }
}

fn reloads(metrics: &Metrics) -> Reloads {
    let [ok, failed] = ["ok", "failed"].map(|result| metrics.config_reloads.with_label_values(&[result]).get());
    Reloads { ok, failed, newest: metrics.journal.reloads().into_iter().map(records::reload).collect() }
}

fn plugins(series: &Series) -> Vec<Plugin> {
    let of_step = |step: &&str| {
        let labels = [("step", *step)];
        let label = |name| series.labels("plugin_info", name, &labels).first().copied().unwrap_or_default().to_owned();
        Plugin { step: (*step).to_owned(), plugin: label("plugin"), version: label("version"), digest: label("digest") }
    };
    series.labels("plugin_info", "step", &[]).iter().map(of_step).collect()
}

fn of_partition(status: &PartitionStatus, windowed: &[WindowedStatus]) -> PartitionView {
    let window = windowed.iter().find(|window| window.partition == status.partition);
    let behind = (status.end.0 - status.committed.0).max(0);
    let seconds = std::time::Duration::from_millis(u64::try_from(status.lag_ms).unwrap_or(0)).as_secs_f64();
    PartitionView {
        topic: status.partition.topic.to_string(),
        partition: status.partition.partition,
        committed: status.committed.0,
        position: status.settled.0,
        end: status.end.0,
        lag: LagView { records: u64::try_from(behind).unwrap_or(0), seconds },
        in_flight: status.in_flight as u64,
        watermark: window.and_then(|window| window.watermark).map(time),
        restoring: window.is_some_and(|window| window.restoring.is_some()),
    }
}

fn of_step(step: &str, series: &Series) -> StepView {
    let labels = [("step", step)];
    let quantile = |quantile| series.quantile("step_duration_seconds", &labels, quantile);
    StepView {
        name: step.to_owned(),
        records_in: series.count("step_records_in_total", &labels),
        records_out: series.count("step_records_out_total", &labels),
        calls: series.observations("step_duration_seconds", &labels),
        p50: quantile(0.5),
        p99: quantile(0.99),
        errors: counts(series.by("step_errors_total", "kind", &labels)),
        instances: series.count("plugin_instances", &labels),
        memory_bytes: series.count("plugin_memory_bytes", &labels),
        memory_limit_bytes: series.count("plugin_memory_limit_bytes", &labels),
    }
}

fn counts(of: Vec<(&str, u64)>) -> Vec<Count> {
    of.into_iter().map(|(kind, count)| Count { kind: kind.to_owned(), count }).collect()
}

fn outputs(running: Option<&Handle>, series: &Series) -> Vec<OutputView> {
    let config = running.map(Handle::config);
    let of = |name: &&str| {
        let labels = [("output", *name)];
        let topic = config.as_ref().and_then(|config| {
            let place = config.kafka.outputs.iter().position(|output| *output.name == **name)?;
            let allowed = || config.routes.allowed(place).iter().map(Pattern::as_str).collect::<Vec<_>>().join(", ");
            Some(config.kafka.outputs[place].topic.clone().unwrap_or_else(allowed))
        });
        OutputView {
            name: (*name).to_owned(),
            topic,
            records: series.count("records_produced_total", &labels),
            bytes: series.count("bytes_produced_total", &labels),
            errors: series.count("produce_errors_total", &labels),
        }
    };
    series.labels("records_produced_total", "output", &[]).iter().map(of).collect()
}

fn dead_letters(series: &Series) -> Vec<DeadLettersView> {
    let steps = series.by("dead_letters_total", "step", &[]);
    let of = |(step, _): (&str, u64)| DeadLettersView {
        step: step.to_owned(),
        kinds: counts(series.by("dead_letters_total", "kind", &[("step", step)])),
    };
    steps.into_iter().map(of).collect()
}

fn failure(LastFailure { at_ms, partition, offset, what }: LastFailure) -> FailureView {
    let TopicPartition { topic, partition } = partition;
    FailureView { at: time(at_ms), topic: topic.to_string(), partition, offset, what }
}

/// The record at which a pipeline has stopped.
pub(super) fn stopped_at(record: &RecordAt) -> StoppedAtView {
    let RecordAt { place: RecordId { partition: TopicPartition { topic, partition }, offset }, may_be_left_out } =
        record;
    StoppedAtView { topic: topic.to_string(), partition: *partition, offset: *offset, may_be_skipped: *may_be_left_out }
}

/// A time as people and programs read it.
pub(super) fn time(ms: i64) -> String {
    json_time(ms).trim_matches('"').to_owned()
}

/// Lines with aligned columns, as text for a terminal.
#[must_use]
pub fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let text = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_ends() {
        let line = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        assert_eq!(columns(&[line(["a", "state", ""]), line(["bcd", "x", "y"])]), "a    state\nbcd  x      y\n");
    }
}
