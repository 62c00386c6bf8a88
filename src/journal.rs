//! What happened last to a pipeline, for people who look at it: dead letters, failures and reloads.
//!
//! It is told, and reads nothing. Invariant: what it keeps is bounded in entries and in bytes, however many records fail.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::failure::Kind;
use crate::record::TopicPartition;

/// The most dead letters that are kept.
pub const DEAD_LETTERS_MAX: usize = 50;
/// The most failures that are kept.
const FAILURES_MAX: usize = 20;
/// The most reloads that are kept.
const RELOADS_MAX: usize = 10;
/// The most bytes of the reason of a dead letter.
pub const REASON_BYTES_MAX: usize = 300;
/// The most bytes of any other text.
const TEXT_BYTES_MAX: usize = 2048;

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Journal {
    /// Each is locked to add to it and to copy it, never together with another lock.
    dead_letters: Mutex<VecDeque<BuriedRecord>>,
    failures: Mutex<VecDeque<FailedRecord>>,
    reloads: Mutex<VecDeque<PastReload>>,
}

/// A record whose dead letter was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuriedRecord {
    /// When it was acknowledged, in ms since 1970-01-01 UTC.
    pub at_ms: i64,
    /// The record's partition.
    pub partition: TopicPartition,
    /// The record's offset.
    pub offset: i64,
    /// The step in which it failed; empty if a broker refused an output.
    pub step: Arc<str>,
    /// The kind of the failure.
    pub kind: Kind,
    /// Why it failed: of at most [`REASON_BYTES_MAX`] bytes.
    pub reason: Arc<str>,
}

/// A record that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRecord {
    /// When, in ms since 1970-01-01 UTC.
    pub at_ms: i64,
    /// The record's partition.
    pub partition: TopicPartition,
    /// The record's offset.
    pub offset: i64,
    /// What was done about it, and why it failed.
    pub what: String,
}

/// A reload of the pipeline's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastReload {
    /// When, in ms since 1970-01-01 UTC.
    pub at_ms: i64,
    /// Whether it was applied, or found nothing to apply.
    pub is_ok: bool,
    /// What changed, or why nothing did.
    pub what: String,
}

impl Journal {
    /// Dead letters were acknowledged, in this order.
    pub fn buried(&self, records: Vec<BuriedRecord>) {
        let newest = records.len().saturating_sub(DEAD_LETTERS_MAX);
        put(&self.dead_letters, DEAD_LETTERS_MAX, records.into_iter().skip(newest));
    }

    /// A record failed.
    pub fn failed(&self, failure: FailedRecord) {
        put(&self.failures, FAILURES_MAX, [FailedRecord { what: cut(failure.what, TEXT_BYTES_MAX), ..failure }]);
    }

    /// The file was reloaded.
    pub fn reloaded(&self, reload: PastReload) {
        put(&self.reloads, RELOADS_MAX, [PastReload { what: cut(reload.what, TEXT_BYTES_MAX), ..reload }]);
    }

    /// The last dead letters, the newest first.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<BuriedRecord> {
        newest_first(&self.dead_letters)
    }

    /// The last failures, the newest first. Of those within a second there is only one.
    #[must_use]
    pub fn failures(&self) -> Vec<FailedRecord> {
        newest_first(&self.failures)
    }

    /// The last reloads, the newest first.
    #[must_use]
    pub fn reloads(&self) -> Vec<PastReload> {
        newest_first(&self.reloads)
    }
}

fn put<T>(to: &Mutex<VecDeque<T>>, most: usize, entries: impl IntoIterator<Item = T>) {
    let mut kept = to.lock().unwrap_or_else(PoisonError::into_inner);
    for entry in entries {
        if kept.len() == most {
            kept.pop_front();
        }
        kept.push_back(entry);
    }
}

fn newest_first<T: Clone>(of: &Mutex<VecDeque<T>>) -> Vec<T> {
    of.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
}

/// The beginning of a text, with a mark if it goes on.
#[must_use]
pub fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(3)));
        text.push_str(" ..");
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_kept_within_their_bounds() {
        let journal = Journal::default();
        let partition = TopicPartition { topic: "in".into(), partition: 0 };
        let record = |offset| BuriedRecord {
            at_ms: 0,
            partition: partition.clone(),
            offset,
            step: "mask".into(),
            kind: Kind::Reject,
            reason: "no JSON".into(),
        };
        journal.buried((0..70).map(record).collect());
        journal.buried(vec![record(70)]);
        let offsets: Vec<i64> = journal.dead_letters().iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (21..=70).rev().collect::<Vec<_>>());
        for offset in 0..30 {
            let what = "\u{fc}".repeat(TEXT_BYTES_MAX);
            journal.failed(FailedRecord { at_ms: 0, partition: partition.clone(), offset, what });
        }
        let failures = journal.failures();
        assert_eq!((failures.len(), failures[0].offset), (FAILURES_MAX, 29));
        assert!(failures.iter().all(|failure| failure.what.len() <= TEXT_BYTES_MAX && failure.what.ends_with(" ..")));
        journal.reloaded(PastReload { at_ms: 0, is_ok: true, what: "nothing has changed".into() });
        assert_eq!(journal.reloads().len(), 1);
    }
}
