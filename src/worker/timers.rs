//! What a worker does at intervals, and how it watches its threads and brokers.

use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::end::End;
use super::monitor::RUNNING;
use super::session;
use super::status::Alive;
use super::status::Heartbeat;
use super::task::PartitionTask;
use crate::kafka::Producer;
use crate::kafka::consumer::Commit;
use crate::kafka::stats;
use crate::kafka::stats::Stats;
use crate::metrics::State;
use crate::partition;
use crate::record::Offset;
use crate::record::TopicPartition;

/// When things were last done.
pub(super) struct Timers {
    stored: Instant,
    measured: Instant,
    /// When the ends of busy partitions were last asked for.
    asked: Instant,
    delivery: Heartbeat,
    ticker: Heartbeat,
    /// The commit in flight, and when it began.
    pub(super) committing: Option<(Commit, Instant)>,
    /// Whether cycles of steps with windows are made durable, at least once, before the offsets are committed.
    pub(super) is_cycling: bool,
    /// When the commit of the transaction began.
    pub(super) transaction_ends: Option<Instant>,
}

/// The interval for storing offsets. A store costs a look-up in the client for each partition.
const STORE_EVERY: Duration = Duration::from_millis(50);
/// The interval for setting gauges.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// The interval for asking where a partition ends while it may not be fetched. With an answer that takes two seconds, lag is at
/// most ten seconds old.
const ASK_EVERY: Duration = Duration::from_secs(5);

impl Timers {
    pub(super) fn new(now: Instant) -> Timers {
        Timers {
            stored: now,
            measured: now,
            asked: now,
            delivery: Heartbeat::default(),
            ticker: Heartbeat::default(),
            committing: None,
            is_cycling: false,
            transaction_ends: None,
        }
    }
}

impl Shell {
    pub(super) fn tick(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.timers.stored);
        if since >= STORE_EVERY {
            self.timers.stored = now;
            self.count_waiting(now, since);
            self.tell_all(now, &partition::Event::Tick);
            self.store_offsets();
            self.count_finished(now);
        }
        if now.saturating_duration_since(self.timers.measured) >= MEASURE_EVERY {
            self.timers.measured = now;
            self.advance_idle(now);
            self.go_on_with_positions(now);
            self.monitor.measure(now, self.settings.max_in_flight(), &mut self.flow.tasks);
            self.monitor.name_retried(now, &self.flow.tasks);
            self.monitor.count_out(now);
            self.show_life();
            self.watch_threads(now);
            self.judge_brokers();
            self.check_outputs(now);
            self.ask_quiet();
            self.watch_tables(now);
            self.name_holders(now);
        }
        if now.saturating_duration_since(self.timers.asked) >= ASK_EVERY {
            self.timers.asked = now;
            self.ask_ends();
        }
        self.ask_limits_now_and_then(now, false);
        if self.io.consumer.is_closed() {
            self.tell_session(now, session::Event::Left);
        }
        self.tell_session(now, session::Event::Tick);
    }

    /// Logs what holds the memory of the process, if that is why records are read slowly, and it won't fall by itself.
    fn name_holders(&self, now: Instant) {
        if let Some(holders) = self.flow.held.in_flight.budget().holders_to_name(now) {
            tracing::warn!(
                "little is left of the memory of all pipelines, and it won't fall by itself, so records are read a few at a time: {holders}; \
                 raise `[limits] memory` in wasmill.toml, or lower what holds it"
            );
        }
    }

    fn count_waiting(&self, now: Instant, since: Duration) {
        let all = self.flow.tasks.len();
        let waits = |task: &&PartitionTask| task.state.retrying(now) > 0;
        let retry = if self.delivery.backs_off(now) { all } else { self.flow.tasks.iter().filter(waits).count() };
        let if_so = |is_so: bool| if is_so { all } else { 0 };
        self.monitor.count_waiting("retry", retry, since);
        self.monitor.count_waiting("halt", if_so(self.blocked.is_blocked()), since);
        self.monitor.count_waiting("paused", if_so(self.intake.is_paused()), since);
        self.monitor.count_waiting("rate", if_so(self.intake.rate.is_exhausted()), since);
        self.monitor.count_waiting("memory", if_so(self.intake.is_short()), since);
        self.monitor.count_waiting("in_flight", if_so(self.intake.is_at_bound() && !self.intake.is_short()), since);
    }

    /// Shows probes that this thread is alive, and which of its helper threads are.
    fn show_life(&mut self) {
        let alive = Alive {
            executors: self.io.executors.are_alive(),
            delivery: self.io.producer.as_ref().is_none_or(|producer| self.timers.delivery.beats(producer.turns())),
            ticker: self.io.first_step.as_ref().is_none_or(|step| self.timers.ticker.beats(step.ticks())),
        };
        self.monitor.status.beat(alive);
    }

    /// Ends the worker if a thread of the data path has ended: the records it had are lost to this worker, and the next one
    /// repeats them.
    fn watch_threads(&mut self, now: Instant) {
        let executors = self.io.executors.are_alive();
        let delivery = self.io.producer.as_ref().is_none_or(Producer::is_alive);
        if !(self.session.is_ending() || executors && delivery) {
            let which = if executors { "the delivery thread" } else { "an executor" };
            self.close(now, End::Bug(format!("{which} ended unexpectedly; see the panic in the log")));
        }
    }

    /// Updates the state by whether brokers still answer. Connections don't show that: a frozen broker keeps them open.
    fn judge_brokers(&mut self) {
        if self.io.producer.as_ref().is_none_or(|producer| producer.unreported() == 0) {
            self.monitor.status.acknowledged();
        }
        if self.session.is_ending() || !self.session.is_member() || !self.monitor.status.is_joined() {
            return;
        }
        let (state, _) = self.monitor.status.state();
        match self.monitor.status.silence() {
            Some(silence) if matches!(state, State::Running | State::Paused | State::Starting) => {
                tracing::warn!("{silence}; nothing is lost, and the pipeline resumes when brokers answer");
                self.monitor.set_state(State::Waiting, silence);
            }
            None if matches!(state, State::Waiting | State::Starting) => {
                if state == State::Waiting {
                    tracing::info!("brokers answer again");
                }
                self.monitor.set_state(State::Running, RUNNING);
            }
            Some(_) | None => {}
        }
    }

    /// Asks where busy partitions end. librdkafka learns that when it fetches, and it doesn't fetch while its queue is full or
    /// the partition is paused.
    fn ask_ends(&self) {
        let busy = |task: &&PartitionTask| task.reader.paused || task.in_flight() > 0;
        let mut partitions: Vec<TopicPartition> =
            self.flow.tasks.iter().filter(busy).map(|task| task.partition.clone()).collect();
        // A worker that waits to join, until the session of a dead member expires, receives nothing from brokers, as if they were
        // dead. So it asks for the end of an output's partition.
        let waits = self.flow.tasks.is_empty() && self.session.is_member();
        if let Some((_, topic)) = self.settings.kafka.topics_written().next().filter(|_| waits) {
            partitions.push(TopicPartition { topic: topic.into(), partition: 0 });
        }
        if !partitions.is_empty() {
            self.io.lookup.ask_ends(partitions);
        }
    }

    /// The ends of partitions, from brokers or from librdkafka's last fetch: the larger one is the newer one.
    pub(super) fn on_ends(&mut self, now: Instant, ends: &[(TopicPartition, Offset)]) {
        for (partition, end) in ends {
            if let Some(index) = self.flow.tasks.iter().position(|task| task.partition == *partition) {
                let log = &mut self.flow.tasks[index].log;
                log.end = log.end.max(end.0);
                self.on_end(now, index, *end);
            }
        }
    }

    /// Handles the consumer's statistics.
    pub(super) fn on_stats(&mut self, stats: &Stats) {
        if let Some(idle) = stats.idle_us {
            self.monitor.status.answered(idle / 1000);
        }
        self.monitor.metrics.kafka_connected_brokers.set(i64::try_from(stats.connected_brokers).unwrap_or(i64::MAX));
        for stats::LogEnd { partition, end, stable } in &stats.ends {
            if let Some(task) = self.flow.tasks.iter_mut().find(|task| task.partition == *partition) {
                task.log.end = task.log.end.max(end.0);
                task.log.unstable = stable.unwrap_or(*end).0..end.0;
                if *end < task.lag.committed() {
                    // A log that ends below its committed offset may belong to another topic.
                    self.positions.watched = None;
                }
            }
        }
    }
}
