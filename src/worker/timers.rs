//! What a worker does now and then, and what it hears of its threads and brokers.

use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::end::End;
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
    /// When the ends of busy partitions were asked for.
    asked: Instant,
    delivery: Heartbeat,
    ticker: Heartbeat,
    /// The commit that is under way, and when it began.
    pub(super) committing: Option<(Commit, Instant)>,
}

/// Offsets are stored this often: it costs a look-up in the client for each partition.
const STORE_EVERY: Duration = Duration::from_millis(50);
/// Gauges are set this often.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// The end of a partition is asked for this often while it may not be fetched: with an answer that takes two seconds, lag is
/// at most ten seconds old.
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
            self.go_on_placing(now);
            self.monitor.measure(self.settings.max_in_flight(), &mut self.flow.tasks);
            self.monitor.name_retried(now, &self.flow.tasks);
            self.monitor.count_out(now);
            self.show_life();
            self.watch_threads(now);
            self.judge_brokers();
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

    fn count_waiting(&self, now: Instant, since: Duration) {
        let all = self.flow.tasks.len();
        let waits = |task: &&PartitionTask| task.state.waits_until(now).is_some();
        let retry = if self.delivery.backs_off(now) { all } else { self.flow.tasks.iter().filter(waits).count() };
        let if_so = |is_so: bool| if is_so { all } else { 0 };
        self.monitor.count_waiting("retry", retry, since);
        self.monitor.count_waiting("halt", if_so(self.blocked.is_blocked()), since);
        self.monitor.count_waiting("in_flight", if_so(self.intake.is_at_bound()), since);
    }

    /// Shows probes that this thread moves, and which of its helpers do.
    fn show_life(&mut self) {
        let alive = Alive {
            executors: self.io.executors.are_alive(),
            delivery: self.io.producer.as_ref().is_some_and(|producer| self.timers.delivery.beats(producer.turns())),
            ticker: self.io.first_step.as_ref().is_none_or(|step| self.timers.ticker.beats(step.ticks())),
        };
        self.monitor.status.beat(alive);
    }

    /// What a thread of the data path had in hand when it ended comes back from nobody: the worker ends, and the next one repeats it.
    fn watch_threads(&mut self, now: Instant) {
        let executors = self.io.executors.are_alive();
        let delivery = self.io.producer.as_ref().is_none_or(Producer::is_alive);
        if !(self.session.is_ending() || executors && delivery) {
            let which = if executors { "the delivery thread" } else { "an executor" };
            self.close(now, End::Bug(format!("{which} ended unexpectedly; see the panic in the log")));
        }
    }

    /// Whether brokers still answer is part of what the pipeline is doing: connections say nothing, as a frozen broker keeps them up.
    fn judge_brokers(&mut self) {
        if self.io.producer.as_ref().is_none_or(|producer| producer.unreported() == 0) {
            self.monitor.status.acknowledged();
        }
        if self.session.is_ending() || !self.session.is_member() || !self.monitor.status.is_joined() {
            return;
        }
        let (state, _) = self.monitor.status.state();
        match self.monitor.status.silence() {
            Some(silence) if matches!(state, State::Running | State::Starting) => {
                tracing::warn!("{silence}; nothing is lost, and the pipeline resumes when brokers answer");
                self.monitor.set_state(State::Waiting, silence);
            }
            None if matches!(state, State::Waiting | State::Starting) => {
                if state == State::Waiting {
                    tracing::info!("brokers answer again");
                }
                self.monitor.set_state(State::Running, "running");
            }
            Some(_) | None => {}
        }
    }

    /// Asks for the ends of busy partitions: librdkafka learns an end when it fetches, and it doesn't while its queue is full or the
    /// partition is paused.
    fn ask_ends(&self) {
        let busy = |task: &&PartitionTask| task.reader.paused || task.in_flight() > 0;
        let mut partitions: Vec<TopicPartition> =
            self.flow.tasks.iter().filter(busy).map(|task| task.partition.clone()).collect();
        // Who waits to join, until the session of a member that died is over, hears nothing meanwhile: as of a dead broker.
        let waits = self.flow.tasks.is_empty() && self.session.is_member();
        if let Some(output) = self.settings.kafka.written().next().filter(|_| waits) {
            partitions.push(TopicPartition { topic: output.topic.as_str().into(), partition: 0 });
        }
        if !partitions.is_empty() {
            self.io.lookup.ask_ends(partitions);
        }
    }

    /// Where partitions end, as brokers or librdkafka's last fetch say; the larger one is the newer one.
    pub(super) fn on_ends(&mut self, ends: &[(TopicPartition, Offset)]) {
        for (partition, end) in ends {
            if let Some(task) = self.flow.tasks.iter_mut().find(|task| task.partition == *partition) {
                task.log.end = task.log.end.max(end.0);
            }
        }
    }

    /// librdkafka's statistics of the consumer.
    pub(super) fn on_stats(&mut self, stats: &Stats) {
        if let Some(idle) = stats.idle_us {
            self.monitor.status.answered(idle / 1000);
        }
        self.monitor.metrics.kafka_connected_brokers.set(i64::try_from(stats.connected_brokers).unwrap_or(i64::MAX));
        for stats::LogEnd { partition, end, stable } in &stats.ends {
            if let Some(task) = self.flow.tasks.iter_mut().find(|task| task.partition == *partition) {
                task.log.end = task.log.end.max(end.0);
                task.log.stable = stable.map(|stable| stable.0);
                if *end < task.lag.committed() {
                    // A log that ends before what was committed of it may be another topic's.
                    self.placing.watched = None;
                }
            }
        }
    }
}
