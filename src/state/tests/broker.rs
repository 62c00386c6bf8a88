//! The simulated broker of the model: what survives a crash.
//!
//! The producer's records become durable in the order in which they were sent, and a crash leaves any number of them out. The changelog is
//! compacted at random: a record that a later one of its key replaces may be gone, and so may a tombstone with nothing before it.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use super::input::OwnedKey;
use super::random::Random;
use crate::state::Control;
use crate::state::Reading;
use crate::state::RecordKey;
use crate::state::decode_key;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Broker {
    pub(super) changelog: Vec<Logged>,
    pub(super) outputs: Vec<Output>,
    /// The group's offset.
    pub(super) committed: Option<i64>,
    /// The applied offset and the time of each control record that ever became durable, and of what the clock did in between.
    pub(super) controls: Vec<(i64, Reading)>,
    /// How many of them were durable while a window was shown in part.
    pub(super) partly: usize,
    /// At least once: what was sent and isn't durable.
    pub(super) sent: Sent,
    /// The brokers of the output topic are slower than the others.
    pub(super) is_slow: bool,
}

/// A record of the changelog.
pub(super) type Logged = (Vec<u8>, Option<Vec<u8>>);

/// A result that was emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) end: i64,
    pub(super) key: OwnedKey,
    pub(super) result: Vec<u8>,
}

/// What a producer has in flight, by topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    pub(super) changelog: VecDeque<Logged>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) offset: Option<i64>,
    /// Exactly once: where the clock moved the watermark.
    pub(super) moved: Vec<(i64, Reading)>,
}

impl Broker {
    /// Makes some of what is in flight durable.
    pub(super) fn deliver(&mut self, random: &mut Random) {
        if !self.is_slow || random.once_in(4) {
            let outputs = random.below(self.sent.outputs.len() + 1);
            self.outputs.extend(self.sent.outputs.drain(..outputs));
        }
        for _ in 0..random.below(self.sent.changelog.len() + 1) {
            let record = self.sent.changelog.pop_front();
            record.into_iter().for_each(|record| self.append(record));
        }
        if random.once_in(2)
            && let Some(offset) = self.sent.offset.take()
        {
            self.committed = Some(offset);
        }
    }

    /// What is in flight is delivered or lost.
    pub(super) fn lose(&mut self, random: &mut Random) {
        self.deliver(random);
        self.sent = Sent::default();
    }

    /// Commits a transaction.
    pub(super) fn commit(&mut self, transaction: Sent) {
        transaction.changelog.into_iter().for_each(|record| self.append(record));
        self.outputs.extend(transaction.outputs);
        self.controls.extend(transaction.moved);
        self.committed = transaction.offset.or(self.committed);
    }

    fn append(&mut self, (key, value): Logged) {
        if let (RecordKey::Control, Some(value)) = (decode_key(&key).unwrap(), &value) {
            let control = Control::decode(value).unwrap();
            self.controls.push((control.applied, control.reading));
            self.partly += usize::from(control.shown.partly.is_some());
        }
        self.changelog.push((key, value));
    }

    /// Removes records that are replaced, below a random place: the active segment isn't compacted.
    pub(super) fn compact(&mut self, random: &mut Random) {
        let end = random.below(self.changelog.len() + 1);
        let last: BTreeMap<&[u8], usize> =
            self.changelog[..end].iter().enumerate().map(|(at, (key, _))| (key.as_slice(), at)).collect();
        let mut earlier: BTreeMap<&[u8], bool> = BTreeMap::new();
        let mut kept = Vec::new();
        for (at, (key, value)) in self.changelog.iter().enumerate() {
            let is_last = at >= end || last[key.as_slice()] == at;
            let has_earlier = earlier.entry(key).or_default();
            let is_kept = match (is_last, value) {
                (false, _) => random.once_in(4),
                (true, None) => at >= end || *has_earlier || random.once_in(2),
                (true, Some(_)) => true,
            };
            *has_earlier |= is_kept;
            kept.push(is_kept);
        }
        let mut kept = kept.into_iter();
        self.changelog.retain(|_| kept.next().unwrap());
    }
}
