//! Asks for the size limits of the output topics; `delivery` decides when.

use std::time::Instant;

use super::Shell;
use super::delivery;
use super::delivery::Leaders;
use crate::failpoint;
use crate::kafka::Producer;
use crate::kafka::limits::TopicLimits;
use crate::record::TopicPartition;

impl Shell {
    /// Asks for the limits, unless a question is pending.
    pub(super) fn ask_limits(&mut self) {
        if self.delivery.wants_limits() {
            self.io.lookup.ask_limits();
        }
    }

    /// Asks for the limits when it is time; `is_awaited` if a record waits for the answer.
    pub(super) fn ask_limits_now_and_then(&mut self, now: Instant, is_awaited: bool) {
        if self.delivery.is_time_to_ask(now, failpoint::hasten(delivery::ASK_EVERY), is_awaited) {
            self.io.lookup.ask_limits();
        }
    }

    /// Handles the answer; `None` if no broker gave one.
    pub(super) fn on_limits(&mut self, now: Instant, limits: Option<TopicLimits>) {
        self.delivery.answered(now);
        if let Some(limits) = limits {
            self.take_limits(now, limits);
        }
    }

    /// Applies new limits. Logs output partitions without a leader, whose outputs wait.
    pub(super) fn take_limits(&mut self, now: Instant, limits: TopicLimits) {
        let Leaders { missing, again } = self.delivery.learn(now, self.settings.kafka.written().count(), limits);
        for partition in missing {
            if self.monitor.may_log(now, &format!("{partition} has no leader")) {
                let TopicPartition { topic, partition: number } = &partition;
                tracing::warn!(
                    topic = &**topic,
                    partition = number,
                    "{partition} has no leader: outputs that go there wait for one"
                );
            }
        }
        for partition in again {
            let TopicPartition { topic, partition: number } = &partition;
            tracing::info!(topic = &**topic, partition = number, "{partition} has a leader again");
        }
    }

    /// A record of `bytes` is too large for the producer, but may fit its topic: replaces the producer by one that takes it.
    /// `false` if no producer can.
    pub(super) fn make_room(&mut self, now: Instant, bytes: usize) -> bool {
        let taken = self.io.producer.as_ref().map_or(0, Producer::message_bytes);
        let has_room = self.delivery.make_room(bytes, taken);
        if has_room {
            self.rewind_all(now);
        }
        has_room
    }
}
