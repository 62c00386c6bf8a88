//! A worker's metrics, what probes read, and its rate-limited log lines. It decides nothing about records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use prometheus::local::LocalHistogram;

use super::clock;
use super::intake::Amount;
use super::status::LastFailure;
use super::status::PARTITIONS_MAX;
use super::status::PartitionStatus;
use super::status::Status;
use super::task::PartitionTask;
use super::windows::Asking;
use super::windows::NotFolded;
use crate::failure::Failure;
use crate::journal::FailedRecord;
use crate::kafka;
use crate::kafka::producer::Produced;
use crate::metrics::Metrics;
use crate::metrics::State;
use crate::partition::Retried;
use crate::record::Offset;
use crate::record::TopicPartition;
use crate::telemetry::RateLimit;
use crate::telemetry::rate_limit;
use crate::trace::Tracer;

/// See the head of the file.
pub(super) struct Monitor {
    pub(super) metrics: Arc<Metrics>,
    pub(super) status: Arc<Status>,
    /// The durations of records settled since the last flush.
    durations: LocalHistogram,
    ages: LocalHistogram,
    /// Questions about the state that wait for an answer of the group.
    pub(super) asking: Asking,
    /// Which kinds of messages were logged recently.
    logged: RateLimit,
    /// The retried record that was last named in the log.
    named: Named,
    /// Whether an operator has paused reading.
    is_paused: bool,
    /// When the last failed record was put into the status.
    shown: Option<Instant>,
    /// `None` if records are not traced.
    pub(super) tracer: Option<Tracer>,
}

/// Not every record of a flood of failures is put into the status.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

/// Why a pipeline runs, and why it is paused.
pub(super) const RUNNING: &str = "running";
const PAUSED: &str = "an operator has paused it; what was read is finished, and its partitions are kept";

impl Monitor {
    pub(super) fn new(metrics: Arc<Metrics>, status: Arc<Status>, tracer: Option<Tracer>) -> Monitor {
        Monitor {
            durations: metrics.record_duration_seconds.local(),
            ages: metrics.record_age_seconds.local(),
            asking: Asking::default(),
            logged: RateLimit::default(),
            named: Named::default(),
            is_paused: false,
            shown: None,
            tracer,
            metrics,
            status,
        }
    }

    /// Whether a message of this kind may be logged: one in ten seconds.
    pub(super) fn may_log(&mut self, now: Instant, kind: &str) -> bool {
        self.count_out(now);
        self.logged.admit(now, kind)
    }

    /// Logs how many messages were suppressed, for each kind whose ten seconds are over.
    pub(super) fn count_out(&mut self, now: Instant) {
        for (kind, kept_back) in self.logged.over(now) {
            tracing::info!("{kept_back} more of the same were not logged: {kind}");
        }
    }

    /// The same for all kinds, at the end.
    pub(super) fn count_all_out(&mut self, now: Instant) {
        self.count_out(now + rate_limit::EVERY);
    }

    /// Sets the pipeline's state and the reason for it. One that would be running is paused while reading is paused.
    pub(super) fn set_state(&self, state: State, why: impl Into<String>) {
        let is_paused = self.is_paused && state == State::Running;
        let (state, why) = if is_paused { (State::Paused, PAUSED.to_owned()) } else { (state, why.into()) };
        self.metrics.set_state(state);
        self.status.set_state(state, why);
    }

    /// Reading is paused, or goes on.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        if let (State::Running | State::Paused, _) = self.status.state() {
            self.set_state(State::Running, RUNNING);
        }
    }

    /// Adds the time that this many partitions waited for this reason.
    pub(super) fn count_waiting(&self, reason: &str, partitions: usize, since: Duration) {
        if partitions > 0 {
            let seconds = u32::try_from(partitions).map_or(0.0, f64::from) * since.as_secs_f64();
            self.metrics.waiting_seconds.with_label_values(&[reason]).inc_by(seconds);
        }
    }

    /// Counts outputs to a topic that records name.
    pub(super) fn count_named(&self, output: &str, topic: &str, took: Produced) {
        if took.records > 0 {
            self.metrics.records_produced.with_label_values(&[output]).inc_by(took.records);
            self.metrics.bytes_produced.with_label_values(&[output]).inc_by(took.bytes);
            self.metrics.count_topic(output, topic, took.records);
        }
    }

    /// Counts outputs that were acknowledged.
    pub(super) fn count_produced(&self, outputs: &[kafka::settings::Output], produced: &[Produced]) {
        for (output, took) in outputs.iter().zip(produced).filter(|(_, took)| took.records > 0) {
            let label = &[&*output.name];
            self.metrics.records_produced.with_label_values(label).inc_by(took.records);
            self.metrics.bytes_produced.with_label_values(label).inc_by(took.bytes);
            if let Some(latency) = took.latency_us {
                let latency = Duration::from_micros(latency).as_secs_f64();
                let durations = self.metrics.produce_duration_seconds.with_label_values(label).local();
                // All records of a report were acknowledged at nearly the same time.
                (0..took.records).for_each(|_| durations.observe(latency));
                durations.flush();
            }
        }
    }

    /// Counts the records that were not folded into a window.
    pub(super) fn count_not_folded(&self, step: &str, not_folded: NotFolded) {
        let NotFolded { late, future } = not_folded;
        self.metrics.late_records.with_label_values(&[step]).inc_by(late);
        self.metrics.future_records.with_label_values(&[step]).inc_by(future);
    }

    /// Counts the records that settled, and updates what is in flight.
    pub(super) fn count_finished(&mut self, now: Instant, in_flight: Amount, tasks: &mut [PartitionTask]) {
        self.metrics.in_flight_records.set(i64::try_from(in_flight.records).unwrap_or(i64::MAX));
        self.metrics.in_flight_bytes.set(i64::try_from(in_flight.bytes).unwrap_or(i64::MAX));
        let unix_ms = clock::unix_ms();
        let Monitor { durations, ages, .. } = &self;
        for task in tasks {
            let settled = task.state.take_settled();
            for (outcome, records) in [
                ("emitted", settled.emitted),
                ("filtered", settled.filtered),
                ("skipped", settled.skipped),
                ("dead_lettered", settled.dead_lettered),
            ] {
                self.metrics.records_processed.with_label_values(&[outcome]).inc_by(records);
            }
            for done in task.lag.settle(task.state.first(), task.state.low()) {
                let took = now.saturating_duration_since(done.at).as_secs_f64();
                for timestamp in done.timestamps {
                    durations.observe(took);
                    if timestamp > 0 {
                        ages.observe(seconds(unix_ms - timestamp));
                    }
                }
            }
        }
        durations.flush();
        ages.flush();
    }

    /// Sets the gauges; `most` is the bound on what is in flight.
    pub(super) fn measure(&self, now: Instant, most: Amount, tasks: &mut [PartitionTask]) {
        let limit = |most: usize| i64::try_from(most).unwrap_or(i64::MAX);
        self.metrics.in_flight_records_limit.set(limit(most.records));
        self.metrics.in_flight_bytes_limit.set(limit(most.bytes));
        let retrying: usize = tasks.iter().map(|task| task.state.retrying(now)).sum();
        self.metrics.retrying_strands.set(limit(retrying));
        let gaps = || tasks.iter().filter(|task| task.state.behind_gap() > 0);
        let behind: u64 = gaps().map(|task| task.state.behind_gap()).sum();
        self.metrics.gap_records.set(i64::try_from(behind).unwrap_or(i64::MAX));
        let oldest = gaps().filter_map(|task| task.lag.oldest_polled()).min();
        self.metrics.gap_age_seconds.set(oldest.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64()));
        let unix_ms = clock::unix_ms();
        let mut ages: BTreeMap<&str, i64> = BTreeMap::new();
        let mut assigned = Vec::with_capacity(tasks.len().min(PARTITIONS_MAX));
        for task in tasks {
            let age = task.lag_ms(unix_ms);
            if assigned.len() < PARTITIONS_MAX {
                assigned.push(PartitionStatus {
                    partition: task.partition.clone(),
                    committed: task.lag.committed(),
                    settled: task.state.low(),
                    end: Offset(task.log.end),
                    lag_ms: age,
                    in_flight: task.in_flight(),
                });
            }
            let TopicPartition { topic, partition } = &task.partition;
            self.metrics.set_lag(topic, *partition, task.lag_records());
            let oldest = ages.entry(topic).or_default();
            *oldest = (*oldest).max(age);
        }
        for (topic, age) in ages {
            self.metrics.set_lag_seconds(topic, seconds(age));
        }
        self.status.set_assigned(assigned);
    }

    /// Logs the record that has been retried the longest, if that is long enough, and shows it to probes.
    pub(super) fn name_retried(&mut self, now: Instant, tasks: &[PartitionTask]) {
        let retried = |task: &'_ PartitionTask| task.state.retried().map(|retried| retried.since);
        let waiting = tasks.iter().filter(|task| retried(task).is_some());
        let others = waiting.clone().count().saturating_sub(1);
        let oldest = waiting.min_by_key(|task| retried(task));
        let Some((task, Retried { offset, tries, since, failure })) =
            oldest.and_then(|task| Some((task, task.state.retried()?)))
        else {
            self.metrics.retry_age_seconds.set(0.0);
            self.status.set_retried(None);
            return;
        };
        let age = now.saturating_duration_since(since);
        self.metrics.retry_age_seconds.set(age.as_secs_f64());
        let others =
            if others == 0 { String::new() } else { format!("; records of {others} other partitions wait too") };
        let TopicPartition { topic, partition } = &task.partition;
        let place = (task.partition.clone(), offset);
        if self.named.is_due(now, age, &place) {
            tracing::warn!(
                step = failure.step.as_deref(),
                topic = &**topic,
                partition,
                offset,
                attempts = tries,
                "a record has been retried for {} s, and {} waits: {failure}{others}",
                age.as_secs(),
                if task.lanes.is_one() { "its partition" } else { "a part of its partition" }
            );
        }
        let text =
            format!("topic {topic}, partition {partition}, offset {offset}: tried {tries} times: {failure}{others}");
        self.status.set_retried(Some((age, text)));
    }

    /// Logs a failed record, within the rate limit of its kind.
    pub(super) fn log_failure(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        offset: i64,
        tries: u32,
        failure: &Failure,
        what: &str,
    ) {
        if self.shown.is_none_or(|at| now.saturating_duration_since(at) >= SHOWN_EVERY) {
            self.shown = Some(now);
            let (at_ms, partition, what) = (clock::unix_ms(), partition.clone(), format!("{what}: {failure}"));
            let entry = FailedRecord { at_ms, partition: partition.clone(), offset, what: what.clone() };
            self.metrics.journal.failed(entry);
            self.status.set_failed(LastFailure { at_ms, partition, offset, what });
        }
        let name = failure.step.as_deref().unwrap_or_default();
        if self.may_log(now, &format!("{what}, step `{name}`, {}", failure.kind.label())) {
            tracing::warn!(
                step = failure.step.as_deref(),
                topic = &*partition.topic,
                partition = partition.partition,
                offset,
                attempts = tries,
                "{what}: {failure}"
            );
        }
    }
}

/// The retried record that was last named, and when.
#[derive(Debug, Default)]
struct Named(Option<((TopicPartition, i64), Instant)>);

impl Named {
    /// Whether to log a record that has waited for `age`: after a few seconds, and then each minute. Another record isn't logged
    /// at once, as there may be a new one each second.
    fn is_due(&mut self, now: Instant, age: Duration, place: &(TopicPartition, i64)) -> bool {
        let every = match &self.0 {
            Some((named, _)) if named == place => NAME_AGAIN,
            Some(_) | None => rate_limit::EVERY,
        };
        let due =
            age >= NAME_AFTER && self.0.as_ref().is_none_or(|(_, at)| now.saturating_duration_since(*at) >= every);
        if due {
            self.0 = Some((place.clone(), now));
        }
        due
    }
}

/// A retried record is logged after this long, and then at this interval.
const NAME_AFTER: Duration = Duration::from_secs(5);
const NAME_AGAIN: Duration = Duration::from_secs(60);

/// Milliseconds as seconds; negative ones are 0.
fn seconds(ms: i64) -> f64 {
    let part = |number: i64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    let ms = ms.max(0);
    part(ms / 1000) + part(ms % 1000) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_of_years_converts_without_overflow() {
        assert_eq!(
            [-1, 0, 1500, 4_294_967_500, 220_000_000_250].map(seconds),
            [0.0, 0.0, 1.5, 4_294_967.5, 220_000_000.25]
        );
    }

    #[test]
    fn a_retried_record_is_logged_once_and_then_each_minute() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let place = |offset| (TopicPartition { topic: "in".into(), partition: 1 }, offset);
        let mut named = Named::default();
        let mut due = |second: u64, since: u64, offset| {
            named.is_due(at(second), Duration::from_secs(second - since), &place(offset))
        };
        let said: Vec<u64> = (0..200).filter(|&second| due(second, 0, 7)).collect();
        assert_eq!(said, [5, 65, 125, 185]);
        // A new record waits every seven seconds.
        let said: Vec<u64> =
            (200..240).filter(|&second| due(second, second / 7 * 7, i64::try_from(second / 7).unwrap())).collect();
        assert!((3..=4).contains(&said.len()), "{said:?}");
    }
}
