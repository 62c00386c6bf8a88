//! What a worker does now and then: storing offsets, ending waits, and telling the metrics.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use prometheus::local::LocalHistogram;

use super::Shell;
use super::clock;
use super::end::End;
use super::lane::Lane;
use super::session;
use super::status::Alive;
use super::status::Pulse;
use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka::Producer;
use crate::kafka::consumer::Commit;
use crate::kafka::consumer::Committed;
use crate::kafka::consumer::Position;
use crate::kafka::stats;
use crate::kafka::stats::Stats;
use crate::metrics::Metrics;
use crate::metrics::State;
use crate::partition;
use crate::partition::Retried;
use crate::record::Offset;
use crate::record::TopicPartition;
use crate::telemetry::RateLimit;
use crate::telemetry::rate_limit;

/// When things were last done, and what must be remembered for the end.
pub(super) struct Timers {
    stored: Instant,
    measured: Instant,
    /// When the ends of busy partitions were asked for.
    asked: Instant,
    /// The records that were settled since the last flush.
    durations: LocalHistogram,
    ages: LocalHistogram,
    delivery: Pulse,
    ticker: Pulse,
    /// Which kinds of messages were logged lately.
    logged: RateLimit,
    /// The record that was named as one that is tried again.
    named: Named,
    /// The commit that is under way, and when it began.
    committing: Option<(Commit, Instant)>,
    /// The partitions that were released with records in flight.
    pub(super) unsettled: Vec<(TopicPartition, Offset)>,
}

/// Offsets are stored this often: it costs a look-up in the client for each partition.
const STORE_EVERY: Duration = Duration::from_millis(50);
/// Gauges are set this often.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// The end of a partition is asked for this often while it may not be fetched: with an answer that takes two seconds, lag is
/// at most ten seconds old.
const ASK_EVERY: Duration = Duration::from_secs(5);
impl Timers {
    pub(super) fn new(now: Instant, metrics: &Metrics) -> Timers {
        Timers {
            stored: now,
            measured: now,
            asked: now,
            durations: metrics.record_duration_seconds.local(),
            ages: metrics.record_age_seconds.local(),
            delivery: Pulse::default(),
            ticker: Pulse::default(),
            logged: RateLimit::default(),
            named: Named::default(),
            committing: None,
            unsettled: Vec::new(),
        }
    }

    /// Whether a message of this kind may be logged: once in ten seconds.
    pub(super) fn may_log(&mut self, now: Instant, kind: &str) -> bool {
        self.count_out(now);
        self.logged.admit(now, kind)
    }

    /// Says how many messages were not logged, of each kind whose ten seconds are over.
    fn count_out(&mut self, now: Instant) {
        for (kind, kept_back) in self.logged.over(now) {
            tracing::info!("{kept_back} more of the same were not logged: {kind}");
        }
    }

    /// The same for all kinds, as nothing more comes.
    pub(super) fn count_all_out(&mut self, now: Instant) {
        self.count_out(now + rate_limit::EVERY);
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
            self.measure();
            self.name_retried(now);
            self.timers.count_out(now);
            self.show_life();
            self.watch_threads(now);
            self.judge_brokers();
        }
        if now.saturating_duration_since(self.timers.asked) >= ASK_EVERY {
            self.timers.asked = now;
            self.ask_ends();
        }
        self.ask_limits_now_and_then(now, false);
        if self.consumer.is_closed() {
            self.tell_session(now, session::Event::Left);
        }
        self.tell_session(now, session::Event::Tick);
    }

    /// Stores what is settled, to be committed with the next commit.
    pub(super) fn store_offsets(&mut self) {
        let mut positions = Vec::new();
        for lane in &mut self.lanes {
            if let Some(position) = lane.to_store.take() {
                lane.stored = Some(position.clone());
                positions.push(position);
            }
        }
        if !positions.is_empty() {
            for partition in self.consumer.store(&positions) {
                // It went to another worker meanwhile, who repeats what was not committed.
                tracing::debug!("offset of {partition} not stored: it is not assigned any more");
            }
            failpoint::pass(Point::AfterStore);
        }
        for lane in &mut self.lanes {
            let low = lane.state.low();
            if lane.released == Some(false) && !self.timers.unsettled.iter().any(|(known, _)| *known == lane.partition)
            {
                tracing::warn!("{}: records from offset {low} on were in flight and will be repeated", lane.partition);
                self.timers.unsettled.push((lane.partition.clone(), low));
            }
        }
    }

    /// Commits what is settled.
    pub(super) fn commit(&mut self, now: Instant) {
        self.store_offsets();
        // Others may have them: whatever they did since must stay.
        if self.consumer.assignment_lost() {
            return self.tell_session(now, session::Event::CommitEnded);
        }
        let commit = if self.lanes.iter().any(Lane::is_moved) {
            let stored: Vec<Position> = self.lanes.iter().filter_map(|lane| lane.stored.clone()).collect();
            self.consumer.commit_at(&stored)
        } else {
            self.consumer.commit()
        };
        match commit {
            Ok(commit) => {
                self.timers.committing = Some((commit, now));
                failpoint::pass(Point::CommitSent);
            }
            Err(reason) => {
                if self.timers.may_log(now, "failed to commit offsets") {
                    tracing::warn!("failed to commit offsets: {reason}");
                }
                self.tell_session(now, session::Event::CommitEnded);
            }
        }
    }

    /// Takes the answer to the commit that is under way, once it is there. While none is out, partitions are placed whose position was gone: the
    /// answer to a commit is about the records before, and must not be taken for one about those that come.
    pub(super) fn take_commit(&mut self, now: Instant) {
        let answer = self.timers.committing.as_ref().and_then(|(commit, began)| Some((commit.poll()?, *began)));
        let has_ended = answer.is_some();
        if let Some((result, began)) = answer {
            self.timers.committing = None;
            self.count_commit(now, began, result);
        }
        if has_ended || !self.session.is_committing() {
            for (question, ranges) in std::mem::take(&mut self.ranges) {
                self.place(now, question, ranges);
            }
        }
        if has_ended {
            self.tell_session(now, session::Event::CommitEnded);
        }
    }

    fn count_commit(&mut self, now: Instant, began: Instant, result: Committed) {
        // Nothing new to commit is no commit.
        if result != Committed::default() {
            let took = now.saturating_duration_since(began).as_secs_f64();
            self.metrics.commit_duration_seconds.with_label_values(&[result_label(&result)]).observe(took);
            self.on_committed(now, result);
            failpoint::pass(Point::CommitAcked);
        }
    }

    /// A commit ended.
    fn on_committed(&mut self, now: Instant, result: Committed) {
        self.metrics.commits.with_label_values(&[result_label(&result)]).inc();
        for (partition, offset) in result.offsets {
            if let Some(index) = self.lanes.iter().position(|lane| lane.partition == partition) {
                self.lanes[index].ages.commit(offset);
                self.tell(now, index, partition::Event::Committed { offset });
            }
        }
        // The next commit covers it; after a rebalance the new owner repeats at most what was not committed.
        if let Some(reason) = result.failed
            && self.timers.may_log(now, "failed to commit offsets")
        {
            tracing::warn!("failed to commit offsets: {reason}");
        }
    }

    /// With nothing in flight, what may be committed is where the consumer stands: control markers are behind it then.
    fn advance_idle(&mut self, now: Instant) {
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            if lane.in_flight() == 0
                && lane.state.may_receive()
                // What is read meanwhile is let go, so that the consumer stands behind records that nobody saw.
                && !lane.is_gone
                && let Some(position) = self.consumer.position(&lane.partition)
                && lane.has_passed(position)
            {
                self.tell(now, index, partition::Event::Position { position });
            }
        }
    }

    fn count_waiting(&self, now: Instant, since: Duration) {
        let since = since.as_secs_f64();
        let lanes = |which: &dyn Fn(&Lane) -> bool| {
            let count = self.lanes.iter().filter(|lane| which(lane)).count();
            u32::try_from(count).map_or(0.0, f64::from)
        };
        let held_back = self.hold.is_some_and(|(until, _)| until > now);
        let retry = lanes(&|lane| held_back || lane.state.waits_until(now).is_some());
        if retry > 0.0 {
            self.metrics.waiting_seconds.with_label_values(&["retry"]).inc_by(retry * since);
        }
        if self.blocked.is_blocked() {
            self.metrics.waiting_seconds.with_label_values(&["halt"]).inc_by(lanes(&|_| true) * since);
        }
        if self.reading.at_bound {
            let held = lanes(&|_| true);
            self.metrics.waiting_seconds.with_label_values(&["in_flight"]).inc_by(held * since);
        }
    }

    /// Counts what was settled, and what is in flight.
    pub(super) fn count_finished(&mut self, now: Instant) {
        let records: usize = self.lanes.iter().map(Lane::in_flight).sum();
        self.metrics.in_flight_records.set(i64::try_from(records).unwrap_or(i64::MAX));
        self.metrics.in_flight_bytes.set(i64::try_from(self.bytes_in_flight()).unwrap_or(i64::MAX));
        let unix_ms = clock::unix_ms();
        let Timers { durations, ages, .. } = &self.timers;
        for lane in &mut self.lanes {
            let settled = lane.state.take_settled();
            for (outcome, records) in [
                ("emitted", settled.emitted),
                ("filtered", settled.filtered),
                ("skipped", settled.skipped),
                ("dead_lettered", settled.dead_lettered),
            ] {
                self.metrics.records_processed.with_label_values(&[outcome]).inc_by(records);
            }
            for done in lane.ages.settle(lane.state.first(), lane.state.low()) {
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

    /// Sets the gauges that a scrape looks at.
    fn measure(&mut self) {
        let limit = |most: usize| i64::try_from(most).unwrap_or(i64::MAX);
        self.metrics.in_flight_records_limit.set(limit(self.settings.max_in_flight_records));
        self.metrics.in_flight_bytes_limit.set(limit(self.settings.max_in_flight_bytes));
        let unix_ms = clock::unix_ms();
        let mut ages: BTreeMap<&str, i64> = BTreeMap::new();
        for lane in &mut self.lanes {
            let age = lane.lag_ms(unix_ms);
            let TopicPartition { topic, partition } = &lane.partition;
            self.metrics.set_lag(topic, *partition, lane.lag());
            let oldest = ages.entry(topic).or_default();
            *oldest = (*oldest).max(age);
        }
        for (topic, age) in ages {
            self.metrics.set_lag_seconds(topic, seconds(age));
        }
    }

    /// Names the record that is tried again and has waited the longest, if one has for long.
    fn name_retried(&mut self, now: Instant) {
        let retried = |lane: &'_ Lane| lane.state.retried().map(|retried| retried.since);
        let waiting = self.lanes.iter().filter(|lane| retried(lane).is_some());
        let others = waiting.clone().count().saturating_sub(1);
        let oldest = waiting.min_by_key(|lane| retried(lane));
        let Some((lane, Retried { offset, tries, since, failure })) =
            oldest.and_then(|lane| Some((lane, lane.state.retried()?)))
        else {
            self.metrics.retry_age_seconds.set(0.0);
            self.status.set_retried(None);
            return;
        };
        let age = now.saturating_duration_since(since);
        self.metrics.retry_age_seconds.set(age.as_secs_f64());
        let others =
            if others == 0 { String::new() } else { format!("; records of {others} other partitions wait too") };
        let TopicPartition { topic, partition } = &lane.partition;
        let place = (lane.partition.clone(), offset);
        if self.timers.named.is_due(now, age, &place) {
            tracing::warn!(
                topic = &**topic,
                partition,
                offset,
                attempts = tries,
                "a record is tried again since {} s, and its partition waits: {failure}{others}",
                age.as_secs()
            );
        }
        let text =
            format!("topic {topic}, partition {partition}, offset {offset}: tried {tries} times: {failure}{others}");
        self.status.set_retried(Some((age, text)));
    }

    /// Shows probes that this thread moves, and which of its helpers do.
    fn show_life(&mut self) {
        let alive = Alive {
            executors: self.executors.are_alive(),
            delivery: self.producer.as_ref().is_some_and(|producer| self.timers.delivery.beats(producer.turns())),
            ticker: self.first_step.as_ref().is_none_or(|step| self.timers.ticker.beats(step.ticks())),
        };
        self.status.beat(alive);
    }

    /// What a thread of the data path had in hand when it ended comes back from nobody: the worker ends, and the next one repeats it.
    fn watch_threads(&mut self, now: Instant) {
        let executors = self.executors.are_alive();
        let delivery = self.producer.as_ref().is_none_or(Producer::is_alive);
        if !(self.session.is_ending() || executors && delivery) {
            let which = if executors { "what reports deliveries" } else { "an executor" };
            self.close(now, End::Bug(format!("{which} is gone; the log holds the place")));
        }
    }

    /// Whether brokers still answer is part of what the pipeline is doing: connections say nothing, as a frozen broker keeps them up.
    fn judge_brokers(&mut self) {
        if self.producer.as_ref().is_none_or(|producer| producer.unreported() == 0) {
            self.status.acknowledged();
        }
        if self.session.is_ending() || !self.session.is_member() || !self.status.is_joined() {
            return;
        }
        let (state, _) = self.status.state();
        match self.status.silence() {
            Some(silence) if matches!(state, State::Running | State::Starting) => {
                tracing::warn!("{silence}; nothing is lost, and it goes on when brokers do");
                self.set_state(State::Waiting, silence);
            }
            None if matches!(state, State::Waiting | State::Starting) => {
                if state == State::Waiting {
                    tracing::info!("brokers answer again");
                }
                self.set_state(State::Running, "running");
            }
            Some(_) | None => {}
        }
    }

    /// Asks for the ends of busy partitions: librdkafka learns an end when it fetches, and it doesn't while its queue is full or the
    /// partition is paused.
    fn ask_ends(&self) {
        let busy = |lane: &&Lane| lane.paused || lane.in_flight() > 0;
        let mut partitions: Vec<TopicPartition> =
            self.lanes.iter().filter(busy).map(|lane| lane.partition.clone()).collect();
        // Who waits to join, until the session of a member that died is over, hears nothing meanwhile: as of a dead broker.
        let waits = self.lanes.is_empty() && self.session.is_member();
        if let Some(output) = self.settings.kafka.written().next().filter(|_| waits) {
            partitions.push(TopicPartition { topic: output.topic.as_str().into(), partition: 0 });
        }
        if !partitions.is_empty() {
            self.lookup.ask_ends(partitions);
        }
    }

    /// Where partitions end, as brokers or librdkafka's last fetch say; the larger one is the newer one.
    pub(super) fn on_ends(&mut self, ends: &[(TopicPartition, Offset)]) {
        for (partition, end) in ends {
            if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.partition == *partition) {
                lane.end = lane.end.max(end.0);
            }
        }
    }

    /// librdkafka's statistics of the consumer.
    pub(super) fn on_stats(&mut self, stats: &Stats) {
        if let Some(idle) = stats.idle_us {
            self.status.answered(idle / 1000);
        }
        self.metrics.kafka_connected_brokers.set(i64::try_from(stats.connected_brokers).unwrap_or(i64::MAX));
        for stats::End { partition, end, stable } in &stats.ends {
            if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.partition == *partition) {
                lane.end = lane.end.max(end.0);
                lane.stable = stable.map(|stable| stable.0);
                if *end < lane.ages.committed() {
                    // A log that ends before what was committed of it may be another topic's.
                    self.watched = None;
                }
            }
        }
    }
}

/// Which record was named last as one that is tried again, and when.
#[derive(Debug, Default)]
struct Named(Option<((TopicPartition, i64), Instant)>);

impl Named {
    /// Whether a record that waits for `age` is to be named now: once it has waited for some seconds, and then each minute. Another one
    /// isn't named at once, as there may be one each second.
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

/// A record that waits for so long is named, and again after so long.
const NAME_AFTER: Duration = Duration::from_secs(5);
const NAME_AGAIN: Duration = Duration::from_secs(60);

fn result_label(result: &Committed) -> &'static str {
    if result.failed.is_none() { "ok" } else { "error" }
}

/// Milliseconds as seconds, for as long as a clock counts.
fn seconds(ms: i64) -> f64 {
    let part = |number: i64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    let ms = ms.max(0);
    part(ms / 1000) + part(ms % 1000) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_of_years_is_no_other_number() {
        assert_eq!(
            [-1, 0, 1500, 4_294_967_500, 220_000_000_250].map(seconds),
            [0.0, 0.0, 1.5, 4_294_967.5, 220_000_000.25]
        );
    }

    #[test]
    fn a_record_that_waits_is_named_once_and_then_each_minute() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let place = |offset| (TopicPartition { topic: "in".into(), partition: 1 }, offset);
        let mut named = Named::default();
        let mut due = |second: u64, since: u64, offset| {
            named.is_due(at(second), Duration::from_secs(second - since), &place(offset))
        };
        let said: Vec<u64> = (0..200).filter(|&second| due(second, 0, 7)).collect();
        assert_eq!(said, [5, 65, 125, 185]);
        // One after the other waits for seven seconds.
        let said: Vec<u64> =
            (200..240).filter(|&second| due(second, second / 7 * 7, i64::try_from(second / 7).unwrap())).collect();
        assert!((3..=4).contains(&said.len()), "{said:?}");
    }
}
