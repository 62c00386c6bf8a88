//! PURE. How outputs are sent, and what to do when some of them are not delivered.
//!
//! A refused batch does not mean that each of its records is refused: a record is refused only when it was alone in its batch, or
//! when the broker names it. The other records of a refused batch are sent again, in order and before any record after them: in
//! smaller batches if the batch was too large, else *apart*, each in a batch of its own. The worker asks for the topics' size
//! limits each minute, when a broker refuses a batch for its size, and before a record fails for its own size. After a changed
//! limit the producer is replaced when nothing is in flight; if that takes ten seconds, it is replaced anyway, and what is in
//! flight is sent again.

#[cfg(test)]
mod tests;

use std::time::Duration;
use std::time::Instant;

use super::apart::Apart;
use super::intake::Amount;
use super::named_topics::NamedTopics;
use super::transaction::Transaction;
use crate::failure::Class;
use crate::kafka::limits::Batching;
use crate::kafka::limits::TopicLimits;
use crate::record::Offset;
use crate::record::TopicPartition;

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// The size limits of the output topics.
    limits: TopicLimits,
    asking: Asking,
    /// The topics that records name.
    pub(super) named: NamedTopics,
    /// The records of refused batches, while each is sent in a batch of its own.
    apart: Option<Apart>,
    /// Set while the producer is to be replaced: the deadline for doing so with nothing in flight.
    renewing: Option<Instant>,
    /// With exactly-once delivery.
    transaction: Option<Transaction>,
    /// The messages in the transaction, and their bytes.
    entered: Amount,
    /// After a delivery failure: when records are handed out again, and how long the wait was.
    backoff: Option<(Instant, Duration)>,
}

/// A transaction with this many messages or bytes ends before its time: readers of committed records get none of them before it ends,
/// and all of them are sent again if it is aborted.
const TRANSACTION_MAX: Amount = Amount { records: 200_000, bytes: 256 << 20 };

/// The question for the topics' limits.
#[derive(Clone, Copy, Debug)]
struct Asking {
    /// Whether a question is pending.
    is_asked: bool,
    /// When the last answer arrived.
    answered: Instant,
    /// How many answers had limits.
    told: u64,
}

/// What to do about a record that had an output or a dead letter not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The record is refused: the policy decides.
    Refuse,
    /// Send it again.
    Resend,
    /// The cluster denies access to its topic: an operator must act.
    Deny,
    /// The producer can't continue: replace it.
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

/// The undelivered messages of one batch, summed up: the first of each kind counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Undone {
    /// A topic is denied: the reason and the record.
    pub(super) denied: Option<(String, TopicPartition, i64)>,
    /// The producer can't continue: the reason and the record.
    pub(super) failed: Option<(String, TopicPartition, i64)>,
    /// The batch was refused as a whole: the reason.
    pub(super) refused: Option<BatchRefusal>,
    /// The records of a batch that was refused as a whole.
    pub(super) together: Apart,
    /// For partitions with a record that was too large on its own: every record handed to the producer so far.
    pub(super) beside_large: Apart,
    /// Whether the producer has stopped sending.
    pub(super) is_spent: bool,
}

/// Why a batch of several messages was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchRefusal {
    pub(super) reason: String,
    pub(super) is_about_size: bool,
    /// The messages' total size.
    pub(super) bytes: usize,
}

/// What the worker has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send everything again once an operator has fixed the problem.
    Halt { why: String, partition: TopicPartition, offset: i64 },
    /// Send everything again after a wait, with a new producer.
    Recover { why: String, partition: TopicPartition, offset: i64 },
    /// Send everything again, in smaller batches.
    Smaller { reason: String },
    /// Send everything again, each refused record in a batch of its own.
    Alone { reason: String },
    /// Send everything again.
    Again,
    /// Nothing to do.
    Nothing,
}

/// How to replace the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Only replace it: nothing is in flight.
    Replace,
    /// Replace it and send everything again.
    Rewind,
}

/// What is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Whether nothing is at an executor, at a broker, or on the way to or from one.
    pub(super) is_quiet: bool,
    /// Whether the worker shuts down or partitions are being revoked: their drain has its own deadline, and a rewind would
    /// restart the records it waits for.
    pub(super) is_going: bool,
}

/// Which partitions of the output topics have no leader, and which have one again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leaders {
    pub(super) missing: Vec<TopicPartition>,
    pub(super) again: Vec<TopicPartition>,
}

/// The interval between questions for topics' limits.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(60);
/// The same while a record waits for the answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The longest wait for nothing to be in flight before the producer is replaced.
const RENEW_MAX: Duration = Duration::from_secs(10);
/// The longest backoff after repeated delivery failures.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The first backoff.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

impl Delivery {
    /// With `is_exactly_once`, outputs are sent in transactions.
    pub(super) fn new(now: Instant, limits: TopicLimits, is_exactly_once: bool) -> Delivery {
        let asking = Asking { is_asked: false, answered: now, told: 0 };
        let transaction = is_exactly_once.then_some(Transaction::Starting { is_closing: false });
        let entered = Amount::default();
        let named = NamedTopics::default();
        Delivery { limits, asking, named, apart: None, renewing: None, transaction, entered, backoff: None }
    }

    /// The transaction, with exactly-once delivery.
    pub(super) fn transaction(&self) -> Option<Transaction> {
        self.transaction
    }

    /// Changes the transaction, with exactly-once delivery. Returns what `change` does, and `None` without.
    pub(super) fn change_transaction<T>(&mut self, change: impl FnOnce(&mut Transaction) -> T) -> Option<T> {
        self.transaction.as_mut().map(change)
    }

    /// Counts messages that were sent. `true` if there is a transaction and it has reached [`TRANSACTION_MAX`].
    pub(super) fn enter(&mut self, messages: usize, bytes: usize) -> bool {
        self.entered.records += messages;
        self.entered.bytes += bytes;
        self.transaction == Some(Transaction::Open)
            && (self.entered.records >= TRANSACTION_MAX.records || self.entered.bytes >= TRANSACTION_MAX.bytes)
    }

    /// The transaction was committed, or there was nothing to commit.
    pub(super) fn committed(&mut self) {
        self.entered = Amount::default();
        self.change_transaction(Transaction::committed);
    }

    /// The size limits of the output topics.
    pub(super) fn limits(&self) -> &TopicLimits {
        &self.limits
    }

    /// How the producer puts messages together.
    pub(super) fn batching(&self) -> Batching {
        if self.apart.is_some() { Batching::Single } else { Batching::Full }
    }

    /// Whether the backoff after a delivery failure is still running.
    pub(super) fn backs_off(&self, now: Instant) -> bool {
        self.backoff.is_some_and(|(until, _)| until > now)
    }

    /// Whether no record may be handed out now.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.backs_off(now) || self.renewing.is_some()
    }

    /// Whether refused batches allow handing out records of a partition from this offset on. Records that wait for a retry don't
    /// hold up others (`someone_waits`). At the bound on what is in flight everything is allowed, as records that wait could
    /// otherwise use up the bound and keep out the ones they wait for.
    pub(super) fn takes(
        &self,
        partition: &TopicPartition,
        offset: i64,
        is_at_bound: bool,
        someone_waits: impl FnOnce() -> bool,
    ) -> bool {
        self.apart.as_ref().is_none_or(|apart| apart.takes(partition, offset) || is_at_bound || someone_waits())
    }

    /// Outputs were acknowledged. If the backoff is over, the next failure starts with the first backoff again.
    pub(super) fn acknowledged(&mut self, now: Instant) {
        self.backoff = self.backoff.filter(|&(until, _)| until > now);
    }

    /// A delivery failed: returns the backoff.
    pub(super) fn back_off(&mut self, now: Instant) -> Duration {
        let wait = self.backoff.map_or(BACKOFF_MIN, |(_, last)| (last * 2).min(BACKOFF_MAX));
        self.backoff = Some((now + wait, wait));
        wait
    }

    /// Requests a new producer as soon as nothing is in flight; no record is handed out until then.
    fn renew(&mut self, now: Instant) {
        self.renewing.get_or_insert(now + RENEW_MAX);
    }

    /// The producer was replaced.
    pub(super) fn renewed(&mut self) {
        self.renewing = None;
        self.entered = Amount::default();
        self.change_transaction(Transaction::restart);
    }

    /// Records may name this many topics.
    pub(super) fn with_named(self, most: usize) -> Delivery {
        Delivery { named: NamedTopics::new(most), ..self }
    }

    /// The output topics have changed, and their limits are unknown. Records may name this many others.
    pub(super) fn begin_anew(&mut self, limits: TopicLimits, named_most: usize) {
        (self.limits, self.apart) = (limits, None);
        self.named = NamedTopics::new(named_most);
        self.renewed();
    }

    /// A partition is read from another offset.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        if let Some(apart) = &mut self.apart {
            apart.forget(partition);
        }
    }

    /// Time has passed. Returns to full batches when the records of refused batches are settled (`low` is how far each partition
    /// is settled), and replaces the producer when nothing is in flight.
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
        if let Some((why, partition, offset)) = failed {
            return Verdict::Recover { why, partition, offset };
        }
        if let Some(BatchRefusal { reason, is_about_size, bytes }) = refused {
            if is_about_size {
                // After a few rounds a record that is too large for its topic is alone, as batches get too small for two.
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
            // The topic's limit is unknown: sending the records one by one finds the other ones that are too large in one pass.
            self.apart = Some(beside_large);
        }
        Verdict::Again
    }

    /// A record of `bytes` is too large for a producer that takes `taken`, but may fit its topic. `false` if no producer can take
    /// it.
    pub(super) fn make_room(&mut self, bytes: usize, taken: usize) -> bool {
        self.limits.make_room(bytes, taken)
    }

    /// The number of the last answer: a later answer has another number.
    pub(super) fn told(&self) -> u64 {
        self.asking.told
    }

    /// Whether to ask for the topics' limits now: not if a question is pending.
    pub(super) fn wants_limits(&mut self) -> bool {
        !std::mem::replace(&mut self.asking.is_asked, true)
    }

    /// Whether it is time to ask for the limits: after `every`, or sooner if a record waits for the answer (`is_awaited`).
    pub(super) fn is_time_to_ask(&mut self, now: Instant, every: Duration, is_awaited: bool) -> bool {
        let every = if is_awaited { ASK_AGAIN } else { every };
        now.saturating_duration_since(self.asking.answered) >= every && self.wants_limits()
    }

    /// The question was answered, or no broker answered it.
    pub(super) fn answered(&mut self, now: Instant) {
        (self.asking.is_asked, self.asking.answered) = (false, now);
    }

    /// The limits of the topics arrived; `written` is the number of topics now.
    pub(super) fn learn(&mut self, now: Instant, written: usize, mut limits: TopicLimits) -> Leaders {
        // The outputs may have changed since the question.
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
        // A changed leader needs no new producer. The first answer does: the first producer was made before any answer.
        if before.batch_bytes() != self.limits.batch_bytes() || is_first {
            // Batches may fit now, so their records need not be sent apart any more.
            self.apart = None;
            self.renew(now);
        }
        let missing = self.limits.leaderless.clone();
        let again = before.leaderless.into_iter().filter(|partition| !missing.contains(partition)).collect();
        Leaders { missing, again }
    }
}
