//! Taking records from the consumer, and the bound on what is in flight.
//!
//! At the bound the worker stops reading but for one record every half second, which keeps rebalances and the poll interval
//! served; pausing at once would throw the prefetch away. Where it lasts, all partitions are paused: then nothing comes but what is to be
//! served. Records are copied into their lanes' open batches and let go at once.

use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::lane::Lane;
use super::lane::Seen;
use super::lane::Waiting;
use crate::batch::Batch;
use crate::failpoint;
use crate::failpoint::Point;
use crate::kafka::connection::Trouble;
use crate::kafka::consumer::ClientError;
use crate::kafka::consumer::Next;
use crate::kafka::consumer::Place;
use crate::kafka::consumer::Polled;
use crate::kafka::consumer::Records;
use crate::kafka::consumer::Woken;
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
    /// Since when it is reached.
    full_since: Option<Instant>,
    /// Whether that is so long ago that partitions are paused.
    is_lasting: bool,
    /// The bytes of the largest record that was taken with the last ones.
    largest: usize,
}

impl Reading {
    pub(super) fn new() -> Reading {
        Reading { last: 0, trickled: None, at_bound: false, full_since: None, is_lasting: false, largest: 1 }
    }

    /// Whether partitions are paused, as the bound has been reached for long.
    pub(super) fn is_lasting(&self) -> bool {
        self.is_lasting
    }
}

/// Records taken between two looks at the inbox.
const RECORDS_MAX: usize = 1024;
/// Records taken at once, at most.
const TAKEN_MAX: usize = 64;
/// At the bound a record is taken this often.
const TRICKLE: Duration = Duration::from_millis(500);
/// At the bound for so long, partitions are paused: what was fetched of them is of no use any more.
const LASTING: Duration = Duration::from_secs(5);

impl Shell {
    /// Takes what happened besides records. `false` when there was nothing.
    pub(super) fn read_events(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(polled) = self.consumer.poll() {
            any = true;
            self.on_polled(now, polled);
        }
        any
    }

    /// Takes records that are there. `false` when there were none, or no room.
    pub(super) fn read_records(&mut self, now: Instant) -> bool {
        let records: usize = self.lanes.iter().map(Lane::in_flight).sum();
        let bytes = self.bytes_in_flight();
        let mut room = self.settings.max_in_flight_records.saturating_sub(records).min(RECORDS_MAX);
        let full = room == 0
            || bytes >= self.settings.max_in_flight_bytes
            || !self.backlog.is_empty()
            || !self.letters.is_empty();
        self.reading.at_bound = full;
        if full {
            let since = *self.reading.full_since.get_or_insert(now);
            self.reading.is_lasting = now.saturating_duration_since(since) >= failpoint::hasten(LASTING);
            if self.reading.is_lasting {
                for lane in self.lanes.iter_mut().filter(|lane| !lane.paused) {
                    lane.paused = true;
                    self.consumer.pause(&lane.partition);
                }
            }
            if self.reading.trickled.is_none_or(|last| now - last >= TRICKLE) {
                self.reading.trickled = Some(now);
                let records = self.consumer.take(1);
                self.on_records(now, records);
            }
            return false;
        }
        self.reading.trickled = None;
        self.reading.full_since = None;
        self.reading.is_lasting = false;
        let mut left = self.settings.max_in_flight_bytes - bytes;
        let mut any = false;
        while room > 0 {
            // If they are no larger than those before them, they stay below the bound.
            let most = room.min(TAKEN_MAX).min((left / self.reading.largest).max(1));
            let records = self.consumer.take(most);
            let (taken, bytes) = self.on_records(now, records);
            any |= taken > 0;
            // Fewer than were asked for is all that is there.
            if taken < most || bytes >= left {
                break;
            }
            room -= taken;
            left -= bytes;
        }
        any
    }

    /// Bytes of records that wait or are run, and of outputs that are not acknowledged.
    pub(super) fn bytes_in_flight(&self) -> usize {
        let lanes: usize = self.lanes.iter().map(|lane| lane.bytes).sum();
        let backlog: usize = self.backlog.iter().map(|sending| sending.bytes).sum();
        lanes + backlog + self.letters.bytes() + self.bytes_out
    }

    /// Deals with what ended a wait.
    pub(super) fn on_woken(&mut self, now: Instant, woken: Woken) {
        match woken {
            Woken::Records(records) => {
                self.on_records(now, records);
            }
            Woken::Other(polled) => self.on_polled(now, polled),
        }
    }

    /// Deals with what a poll brought.
    pub(super) fn on_polled(&mut self, now: Instant, polled: Polled) {
        match polled {
            Polled::Assign(partitions) => self.on_assign(now, partitions),
            Polled::Revoke(partitions) => self.on_revoke(now, partitions),
            Polled::Stats(stats) => self.on_stats(&stats),
            Polled::OffsetGone { partition, is_cut } => self.on_offset_gone(&partition, is_cut),
            Polled::Error(error) => self.on_client_error(now, &error),
        }
    }

    /// Copies records into their lanes. Returns how many there were, and the bytes that they added to what is in flight.
    pub(super) fn on_records(&mut self, now: Instant, mut records: Records) -> (usize, usize) {
        let (mut count, mut bytes, mut largest) = (0, 0, 1);
        let mut failures = Vec::new();
        while let Some(next) = records.next_with(|place| self.on_record(now, place)) {
            count += 1;
            match next {
                Next::Record(added) => {
                    bytes += added;
                    largest = largest.max(added);
                }
                Next::Failed(polled, unread) => failures.push((polled, unread)),
            }
        }
        if count > 0 {
            self.reading.largest = largest;
        }
        // Behind them, as it has a partition read from elsewhere.
        for (polled, unread) in failures {
            if let Some((partition, at)) = unread
                && let Some(lane) = self.lanes.iter_mut().find(|lane| lane.partition == partition)
                && let Some(offset) = lane.unread_from(at)
            {
                lane.sought = Some(offset);
                if let Err(reason) = self.consumer.seek(&partition, offset) {
                    self.close(now, End::Bug(format!("failed to read {partition} again from {offset}: {reason}")));
                }
            }
            self.on_polled(now, polled);
        }
        (count, bytes)
    }

    fn on_record(&mut self, now: Instant, place: &Place<'_>) -> usize {
        let is_of = |lane: &Lane| lane.partition.partition == place.partition && *lane.topic_bytes == *place.topic;
        if !self.lanes.get(self.reading.last).is_some_and(is_of) {
            // Not found: it was revoked while the record was on its way to us.
            let Some(found) = self.lanes.iter().position(is_of) else { return 0 };
            self.reading.last = found;
        }
        let index = self.reading.last;
        let lane = &mut self.lanes[index];
        if !lane.state.may_receive() || lane.is_gone {
            return 0;
        }
        match lane.seen(place.offset, place.leader_epoch) {
            Seen::Next => {}
            Seen::Before => return 0,
            Seen::CutOff => {
                (lane.is_gone, lane.is_cut) = (true, true);
                return 0;
            }
        }
        let call = self.first_step.as_ref().map_or(1, |step| step.settings().batch_records);
        if lane.is_full(call) || lane.leader_epoch != place.leader_epoch {
            self.seal(now, index);
            self.lanes[index].leader_epoch = place.leader_epoch;
        }
        let lane = &mut self.lanes[index];
        if lane.open.is_empty() {
            lane.opened = now;
        }
        lane.last_read = Some(place.offset);
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
        self.say_trouble(now, &text);
        self.status.set_trouble(text);
    }

    pub(super) fn say_trouble(&mut self, now: Instant, text: &str) {
        if self.timers.may_log(now, text) {
            tracing::error!("{text}; waiting for it");
        }
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
        } else if error.denied && self.session.is_joining() {
            // The question for the topics finds it, too, and ends the pipeline with the command.
        } else if let Some(refusal) = error.refusal.filter(|_| !self.session.is_ending()) {
            self.on_refused(now, refusal);
        } else if error.denied && !self.session.is_ending() {
            self.halt_input(now, error);
        } else if let Some(trouble) = &error.trouble {
            self.on_trouble(now, trouble);
        } else if error.echo || error.all_brokers_down {
            // Said elsewhere, with its reason; here it counts the coordinator as one more broker.
        } else if self.timers.may_log(now, &error.name) {
            tracing::warn!("Kafka: {}{place} ({})", error.text, error.name);
        }
    }
}
