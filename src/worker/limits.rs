//! Asking what the topics that are written take, as far as it is more than `delivery` decides.

use std::time::Instant;

use super::Shell;
use super::delivery;
use super::delivery::Leaders;
use crate::failpoint;
use crate::kafka::Producer;
use crate::kafka::limits::TopicLimits;

impl Shell {
    /// Asks what the topics that are written take, unless that was asked and not answered.
    pub(super) fn ask_limits(&mut self) {
        if self.delivery.wants_limits() {
            self.io.lookup.ask_limits();
        }
    }

    /// Asks when it is time: `is_awaited` if a record waits for the answer.
    pub(super) fn ask_limits_now_and_then(&mut self, now: Instant, is_awaited: bool) {
        if self.delivery.is_time_to_ask(now, failpoint::hasten(delivery::ASK_EVERY), is_awaited) {
            self.io.lookup.ask_limits();
        }
    }

    /// The answer; `None` if no broker gave one.
    pub(super) fn on_limits(&mut self, now: Instant, limits: Option<TopicLimits>) {
        self.delivery.answered(now);
        if let Some(limits) = limits {
            self.take_limits(now, limits);
        }
    }

    /// What the topics take is known, or known anew. What goes to a partition that nobody leads waits, and that is said.
    pub(super) fn take_limits(&mut self, now: Instant, limits: TopicLimits) {
        let Leaders { missing, again } = self.delivery.learn(now, self.settings.kafka.written().count(), limits);
        for partition in missing {
            if self.monitor.may_log(now, &format!("{partition} has no leader")) {
                tracing::warn!("{partition} has no leader: outputs that go there wait for one");
            }
        }
        for partition in again {
            tracing::info!("{partition} has a leader again");
        }
    }

    /// A record of so many bytes is too large for the producer, but maybe not for its topic: another one takes it. `false` if there is no
    /// such producer.
    pub(super) fn make_room(&mut self, now: Instant, bytes: usize) -> bool {
        let taken = self.io.producer.as_ref().map_or(0, Producer::message_bytes);
        let has_room = self.delivery.make_room(bytes, taken);
        if has_room {
            self.rewind_all(now);
        }
        has_room
    }
}
