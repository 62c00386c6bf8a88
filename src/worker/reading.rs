//! Taking records from the consumer, and the bound on what is in flight.
//!
//! At the bound the worker stops reading but for one record every half second, which keeps rebalances and the poll interval
//! served; pausing instead would throw the prefetch away. A record is copied into its lane's open batch and let go at once.

use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::lane::Lane;
use super::lane::Waiting;
use crate::batch::Batch;
use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka::connection::Trouble;
use crate::kafka::consumer::ClientError;
use crate::kafka::consumer::Fetched;
use crate::kafka::consumer::Polled;
use crate::partition;
use crate::worker::end::End;

/// What reading needs to remember.
pub(super) struct Reading {
    /// The lane of the last record: the next one is most likely of the same.
    last: usize,
    /// When the last record was taken at the bound.
    trickled: Option<Instant>,
    /// Whether the bound is reached now.
    pub(super) at_bound: bool,
}

impl Reading {
    pub(super) fn new() -> Reading {
        Reading { last: 0, trickled: None, at_bound: false }
    }
}

/// Polls between two looks at the inbox.
const POLLS_MAX: usize = 1024;
/// At the bound a record is taken this often.
const TRICKLE: Duration = Duration::from_millis(500);

impl Shell {
    /// Takes what is there. `false` when there was nothing, or no room.
    pub(super) fn read(&mut self, now: Instant) -> bool {
        let records: usize = self.lanes.iter().map(Lane::in_flight).sum();
        let bytes = self.bytes_in_flight();
        let room = self.settings.max_in_flight_records.saturating_sub(records);
        let full = room == 0
            || bytes >= self.settings.max_in_flight_bytes
            || !self.backlog.is_empty()
            || !self.letters.is_empty();
        self.reading.at_bound = full;
        if full {
            if self.reading.trickled.is_some_and(|last| now - last < TRICKLE) {
                return false;
            }
            self.reading.trickled = Some(now);
            if let Some(polled) = self.consumer.poll(0) {
                self.on_polled(now, polled);
            }
            return false;
        }
        self.reading.trickled = None;
        let mut left = self.settings.max_in_flight_bytes - bytes;
        let mut polled_any = false;
        for _ in 0..POLLS_MAX.min(room) {
            let Some(polled) = self.consumer.poll(0) else { break };
            polled_any = true;
            let taken = self.on_polled(now, polled);
            if taken >= left {
                break;
            }
            left -= taken;
        }
        polled_any
    }

    /// Bytes of records that wait or are run, and of outputs that are not acknowledged.
    pub(super) fn bytes_in_flight(&self) -> usize {
        let lanes: usize = self.lanes.iter().map(|lane| lane.bytes).sum();
        let backlog: usize = self.backlog.iter().map(|sending| sending.bytes).sum();
        lanes + backlog + self.letters.bytes() + self.bytes_out
    }

    /// Deals with what a poll brought. Returns the bytes it added to what is in flight.
    pub(super) fn on_polled(&mut self, now: Instant, polled: Polled) -> usize {
        match polled {
            Polled::Record(fetched) => return self.on_record(now, fetched),
            Polled::Assign(partitions) => self.on_assign(partitions),
            Polled::Revoke(partitions) => self.on_revoke(now, partitions),
            Polled::Stats(stats) => self.on_stats(&stats),
            Polled::OffsetGone(partition) => self.on_offset_gone(partition),
            Polled::Error(error) => self.on_client_error(now, &error),
        }
        0
    }

    fn on_record(&mut self, now: Instant, mut fetched: Fetched) -> usize {
        let Some(place) = fetched.place() else { return 0 };
        let is_of = |lane: &Lane| lane.partition.partition == place.partition && *lane.topic_bytes == *place.topic;
        if !self.lanes.get(self.reading.last).is_some_and(is_of) {
            // Not found: it was revoked while the record was on its way to us.
            let Some(found) = self.lanes.iter().position(is_of) else { return 0 };
            self.reading.last = found;
        }
        let index = self.reading.last;
        if !self.lanes[index].state.may_receive() {
            return 0;
        }
        if self.lanes[index].is_full() || self.lanes[index].leader_epoch != place.leader_epoch {
            self.seal(now, index);
            self.lanes[index].leader_epoch = place.leader_epoch;
        }
        let lane = &mut self.lanes[index];
        if lane.open.is_empty() {
            lane.opened = now;
        }
        let before = lane.open.bytes();
        place.copy_to(&mut lane.open, 0);
        let bytes = lane.open.bytes() - before;
        lane.bytes += bytes;
        failpoint::pass(Point::AfterPoll);
        bytes
    }

    /// Closes a lane's open batch: its records are now known to the partition's state, and wait in the queue.
    pub(super) fn seal(&mut self, now: Instant, index: usize) {
        if self.lanes[index].open.is_empty() {
            return;
        }
        let partition = self.lanes[index].partition.clone();
        let empty = match self.spare.pop() {
            Some(mut spare) => {
                spare.reset(partition);
                spare
            }
            None => Batch::new(partition),
        };
        let lane = &mut self.lanes[index];
        let batch = std::mem::replace(&mut lane.open, empty);
        let first = lane.state.next();
        let label = &[&*lane.partition.topic];
        self.metrics.records_consumed.with_label_values(label).inc_by(batch.len() as u64);
        self.metrics.bytes_consumed.with_label_values(label).inc_by(batch.bytes() as u64);
        lane.ages.receive(lane.opened, batch.view().timestamps);
        let leader_epoch = lane.leader_epoch;
        let batch = std::sync::Arc::new(batch);
        let range = 0..batch.len();
        lane.queue.push_back(Waiting { first, batch: std::sync::Arc::clone(&batch), range });
        self.tell(now, index, partition::Event::Received { offsets: batch.offsets(), leader_epoch });
    }

    /// A broker can't be talked to: one line in ten seconds for each broker and reason, whichever client meets it.
    pub(super) fn on_trouble(&mut self, now: Instant, trouble: &Trouble) {
        let text = format!("broker {}: {}", trouble.broker, trouble.text);
        if self.timers.may_log(now, &text) {
            tracing::error!("{text}; waiting for it");
        }
        self.status.set_trouble(text);
    }

    fn on_client_error(&mut self, now: Instant, error: &ClientError) {
        self.metrics.kafka_errors.with_label_values(&[&error.name]).inc();
        let place = error.partition.as_ref().map_or(String::new(), |(topic, number)| format!(" ({topic}/{number})"));
        if error.fatal {
            let reason = format!(
                "the consumer can't go on{place}: {}\nways out: if another process uses the same `instance_id`, give each its own; then \
                 start again",
                error.text
            );
            self.close(now, End::Stopped(reason));
        } else if error.denied && self.closing.is_none() {
            self.halt_input(now, error);
        } else if let Some(trouble) = &error.trouble {
            self.on_trouble(now, trouble);
        } else if error.echo || (error.all_brokers_down && self.status.trouble().is_some()) {
            // Said elsewhere, with its reason.
        } else if self.timers.may_log(now, &error.name) {
            tracing::warn!("Kafka: {}{place} ({})", error.text, error.name);
        }
    }
}
