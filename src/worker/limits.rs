//! What the topics that are written take: it is asked for each minute, when a broker refuses a batch for its size, and before a record is
//! given up for its own.
//!
//! A change is no reason to send anything twice: the producer becomes another one when nothing is on its way.

use std::time::Duration;
use std::time::Instant;

use super::Shell;
use crate::failpoint;
use crate::kafka::Producer;
use crate::kafka::limits::TopicLimits;

/// When it was asked for last.
pub(super) struct Asking {
    /// Whether the answer is under way.
    is_asked: bool,
    /// When the last one came.
    answered: Instant,
    /// How many there were that said something.
    told: u64,
}

/// Between two questions.
const EVERY: Duration = Duration::from_secs(60);
/// The same while a record waits for the answer.
const AGAIN: Duration = Duration::from_secs(1);

impl Asking {
    pub(super) fn new(now: Instant) -> Asking {
        Asking { is_asked: false, answered: now, told: 0 }
    }

    /// The number of the answer that is the last one now: what has another number later is newer.
    pub(super) fn told(&self) -> u64 {
        self.told
    }
}

impl Shell {
    /// Asks what the topics that are written take, unless that was asked and not answered.
    pub(super) fn ask_limits(&mut self) {
        if !self.asking.is_asked {
            self.asking.is_asked = true;
            self.lookup.ask_limits();
        }
    }

    /// Asks when it is time: `is_awaited` if a record waits for the answer.
    pub(super) fn ask_limits_now_and_then(&mut self, now: Instant, is_awaited: bool) {
        let every = if is_awaited { AGAIN } else { failpoint::hasten(EVERY) };
        if now.saturating_duration_since(self.asking.answered) >= every {
            self.ask_limits();
        }
    }

    /// The answer; `None` if no broker gave one.
    pub(super) fn on_limits(&mut self, now: Instant, limits: Option<TopicLimits>) {
        (self.asking.is_asked, self.asking.answered) = (false, now);
        if let Some(limits) = limits {
            self.take_limits(now, limits);
        }
    }

    /// What the topics take is known, or known anew.
    pub(super) fn take_limits(&mut self, now: Instant, mut limits: TopicLimits) {
        // An answer about other outputs than those that are written now comes too late.
        if limits.bytes.len() != self.settings.kafka.written().count() {
            return;
        }
        self.asking.answered = now;
        self.asking.told += 1;
        self.tell_leaderless(now, &limits);
        limits.largest = self.limits.largest;
        let is_same = limits.bytes == self.limits.bytes;
        if is_same {
            limits.learned = self.limits.learned;
        }
        let is_first = self.limits.led == 0 && limits.led != 0;
        let before = std::mem::replace(&mut self.limits, limits);
        // Who leads the partitions is no reason for another producer, but for the first one, which was made before anybody was asked.
        if before.batch_bytes() == self.limits.batch_bytes() && !is_first {
            return;
        }
        // Batches that fit now are no longer taken apart.
        self.apart = None;
        self.renew(now);
    }

    /// A record of so many bytes is too large for the producer, but maybe not for its topic: another one takes it. `false` if there is no
    /// such producer.
    pub(super) fn make_room(&mut self, now: Instant, bytes: usize) -> bool {
        let taken = self.producer.as_ref().map_or(0, Producer::message_bytes);
        let has_room = self.limits.make_room(bytes, taken);
        if has_room {
            self.read_again(now);
        }
        has_room
    }

    /// What goes to a partition that nobody leads waits, and that is said.
    fn tell_leaderless(&mut self, now: Instant, limits: &TopicLimits) {
        for partition in &limits.leaderless {
            if self.timers.may_log(now, &format!("{partition} has no leader")) {
                tracing::warn!("{partition} has no leader: outputs that go there wait for one");
            }
        }
        for partition in self.limits.leaderless.iter().filter(|partition| !limits.leaderless.contains(partition)) {
            tracing::info!("{partition} has a leader again");
        }
    }
}
