//! PURE. How outputs are sent, and what is done when some of them are not delivered.
//!
//! What a broker says about a batch is not said about its records: a record is refused only when it was alone in its batch, or when the broker
//! names it. What else was in a refused batch is sent again, in order, and before anything behind it: in smaller batches if it was too large,
//! else *apart*, each in a batch of its own. What the topics that are written take is asked for each minute, when a broker refuses a batch for its
//! size, and before a record is given up for its own. A change of it is no reason to send anything twice: the producer becomes another
//! one when nothing is on its way.

#[cfg(test)]
mod tests;

use std::time::Duration;
use std::time::Instant;

use super::apart::Apart;
use crate::failure::Class;
use crate::kafka::limits::Batching;
use crate::kafka::limits::TopicLimits;
use crate::record::Offset;
use crate::record::TopicPartition;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// What the topics that are written take.
    limits: TopicLimits,
    asking: Asking,
    /// The records of refused batches, while they are sent each alone.
    apart: Option<Apart>,
    /// Until when a quiet moment is waited for in which the producer becomes another one.
    renewing: Option<Instant>,
    /// After a delivery failure nothing is handed out before this, and how long the wait was.
    backoff: Option<(Instant, Duration)>,
}

/// The question what topics take.
#[derive(Clone, Copy, Debug)]
struct Asking {
    /// Whether the answer is under way.
    is_asked: bool,
    /// When the last one came.
    answered: Instant,
    /// How many there were that said something.
    told: u64,
}

/// What follows for a record of which an output or a dead letter was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// It is refused: the policy decides.
    Refuse,
    /// It is sent again.
    Resend,
    /// The cluster denies its topic: a person must act.
    Deny,
    /// The producer can't go on.
    Recover,
}

impl From<Class> for Consequence {
    fn from(class: Class) -> Consequence {
        match class {
            Class::Refused | Class::Reject | Class::Fault | Class::Retry => Consequence::Refuse,
            Class::Resend => Consequence::Resend,
            Class::Halt => Consequence::Deny,
            Class::Infrastructure => Consequence::Recover,
        }
    }
}

/// What is known of the messages of a batch that were not delivered: of each kind the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Undone {
    /// A topic is denied: why, and the record.
    pub(super) denied: Option<(String, TopicPartition, i64)>,
    /// The producer can't go on: why.
    pub(super) failed: Option<String>,
    /// The batch was refused as a whole: why.
    pub(super) refused: Option<BatchRefusal>,
    /// The records of a batch that was refused as a whole.
    pub(super) together: Apart,
    /// Everything that was handed to the producer of partitions of which a record alone was too large.
    pub(super) beside_large: Apart,
    /// Whether the producer sends nothing more.
    pub(super) is_spent: bool,
}

/// Why a batch of several messages was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchRefusal {
    pub(super) reason: String,
    pub(super) is_about_size: bool,
    /// Bytes of the messages.
    pub(super) bytes: usize,
}

/// What the worker has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send everything again when a person has acted.
    Halt { why: String, partition: TopicPartition, offset: i64 },
    /// Send everything again after a wait, by another producer.
    Recover(String),
    /// Send everything again, in smaller batches.
    Smaller { reason: String },
    /// Send everything again, what was refused each alone.
    Alone { reason: String },
    /// Send everything again.
    Again,
    /// Go on.
    Nothing,
}

/// How the producer becomes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// As it is: nothing is on its way.
    Replace,
    /// Everything is sent again.
    Rewind,
}

/// What is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Whether nothing is, neither to nor from an executor or a broker.
    pub(super) is_quiet: bool,
    /// Whether partitions or the worker go: their drain has a deadline of its own, and what it waits for is not begun again.
    pub(super) is_going: bool,
}

/// Which of the topics' partitions have no leader, and which have one again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leaders {
    pub(super) missing: Vec<TopicPartition>,
    pub(super) again: Vec<TopicPartition>,
}

/// Between two questions what topics take.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(60);
/// The same while a record waits for the answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The longest wait for a quiet moment in which a producer becomes another one.
const RENEW_MAX: Duration = Duration::from_secs(10);
/// The longest wait after deliveries that fail again and again.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The first one.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

impl Delivery {
    pub(super) fn new(now: Instant, limits: TopicLimits) -> Delivery {
        let asking = Asking { is_asked: false, answered: now, told: 0 };
        Delivery { limits, asking, apart: None, renewing: None, backoff: None }
    }

    /// What the topics that are written take.
    pub(super) fn limits(&self) -> &TopicLimits {
        &self.limits
    }

    /// How the producer puts messages together.
    pub(super) fn batching(&self) -> Batching {
        if self.apart.is_some() { Batching::Single } else { Batching::Full }
    }

    /// Whether a wait after a failure lasts.
    pub(super) fn backs_off(&self, now: Instant) -> bool {
        self.backoff.is_some_and(|(until, _)| until > now)
    }

    /// Whether nothing at all is handed out now.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.backs_off(now) || self.renewing.is_some()
    }

    /// Whether records of a partition that begin with this offset may be handed out, as far as refused batches go. A wait for a retry is no
    /// reason for others to wait (`someone_waits`). At the bound everything may: else those that wait could keep out the ones that
    /// they wait for.
    pub(super) fn takes(
        &self,
        partition: &TopicPartition,
        offset: i64,
        is_at_bound: bool,
        someone_waits: impl FnOnce() -> bool,
    ) -> bool {
        self.apart.as_ref().is_none_or(|apart| apart.takes(partition, offset) || is_at_bound || someone_waits())
    }

    /// Outputs were acknowledged: the next failure is a first one.
    pub(super) fn acknowledged(&mut self, now: Instant) {
        self.backoff = self.backoff.filter(|&(until, _)| until > now);
    }

    /// A delivery failed: how long nothing is handed out.
    pub(super) fn back_off(&mut self, now: Instant) -> Duration {
        let wait = self.backoff.map_or(BACKOFF_MIN, |(_, last)| (last * 2).min(BACKOFF_MAX));
        self.backoff = Some((now + wait, wait));
        wait
    }

    /// The producer becomes another one as soon as nothing is on its way; nothing is handed out until then.
    fn renew(&mut self, now: Instant) {
        self.renewing.get_or_insert(now + RENEW_MAX);
    }

    /// There is another producer.
    pub(super) fn renewed(&mut self) {
        self.renewing = None;
    }

    /// The topics that are written are others, of which nothing is known.
    pub(super) fn begin_anew(&mut self, limits: TopicLimits) {
        (self.limits, self.apart, self.renewing) = (limits, None, None);
    }

    /// A partition is read from elsewhere.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        if let Some(apart) = &mut self.apart {
            apart.forget(partition);
        }
    }

    /// Time has passed. Goes on as ever when what was in refused batches is settled, by what is settled in each partition (`low`), and has another
    /// producer when nothing is on its way.
    pub(super) fn tick(
        &mut self,
        now: Instant,
        low: impl Fn(&TopicPartition) -> Option<Offset>,
        traffic: impl FnOnce() -> Traffic,
    ) -> Option<Renewal> {
        if self.apart.as_ref().is_some_and(|apart| apart.is_over(low)) {
            self.apart = None;
            self.renew(now);
        }
        let deadline = self.renewing?;
        match traffic() {
            Traffic { is_quiet: true, .. } => Some(Renewal::Replace),
            Traffic { is_going: false, .. } if now >= deadline => Some(Renewal::Rewind),
            Traffic { .. } => None,
        }
    }

    /// Messages of one batch were not delivered.
    pub(super) fn judge(&mut self, undone: Undone) -> Verdict {
        let Undone { denied, failed, refused, together, beside_large, is_spent } = undone;
        if let Some((why, partition, offset)) = denied {
            return Verdict::Halt { why, partition, offset };
        }
        if let Some(why) = failed {
            return Verdict::Recover(why);
        }
        if let Some(BatchRefusal { reason, is_about_size, bytes }) = refused {
            if is_about_size {
                // After a few times whatever is too large for its topic is alone, as it doesn't fit beside others.
                self.limits.learn(bytes);
                return Verdict::Smaller { reason };
            }
            self.apart = Some(together);
            return Verdict::Alone { reason };
        }
        if !is_spent {
            return Verdict::Nothing;
        }
        if !beside_large.is_empty() {
            // Nobody said what its topic takes: others of its partition that are too large show in one go.
            self.apart = Some(beside_large);
        }
        Verdict::Again
    }

    /// A record of so many bytes is too large for a producer that takes `taken`, but maybe not for its topic. `false` if there is no
    /// producer that takes it.
    pub(super) fn make_room(&mut self, bytes: usize, taken: usize) -> bool {
        self.limits.make_room(bytes, taken)
    }

    /// The number of the answer that is the last one now: what has another number later is newer.
    pub(super) fn told(&self) -> u64 {
        self.asking.told
    }

    /// Whether to ask what topics take, as something gives reason to: not if the answer is under way.
    pub(super) fn wants_limits(&mut self) -> bool {
        !std::mem::replace(&mut self.asking.is_asked, true)
    }

    /// Whether it is time to ask: each `every`, or sooner if a record waits for the answer (`is_awaited`).
    pub(super) fn is_time_to_ask(&mut self, now: Instant, every: Duration, is_awaited: bool) -> bool {
        let every = if is_awaited { ASK_AGAIN } else { every };
        now.saturating_duration_since(self.asking.answered) >= every && self.wants_limits()
    }

    /// The question has its answer, or no broker gave one.
    pub(super) fn answered(&mut self, now: Instant) {
        (self.asking.is_asked, self.asking.answered) = (false, now);
    }

    /// What the `written` topics take is known, or known anew.
    pub(super) fn learn(&mut self, now: Instant, written: usize, mut limits: TopicLimits) -> Leaders {
        // An answer about other outputs than those that are written now comes too late.
        if limits.bytes.len() != written {
            return Leaders::default();
        }
        self.asking.answered = now;
        self.asking.told += 1;
        limits.largest = self.limits.largest;
        if limits.bytes == self.limits.bytes {
            limits.learned = self.limits.learned;
        }
        let is_first = self.limits.partitions_led == 0 && limits.partitions_led != 0;
        let before = std::mem::replace(&mut self.limits, limits);
        // Who leads the partitions is no reason for another producer, but for the first one, which was made before anybody was asked.
        if before.batch_bytes() != self.limits.batch_bytes() || is_first {
            // Batches that fit now are no longer taken apart.
            self.apart = None;
            self.renew(now);
        }
        let missing = self.limits.leaderless.clone();
        let again = before.leaderless.into_iter().filter(|partition| !missing.contains(partition)).collect();
        Leaders { missing, again }
    }
}
