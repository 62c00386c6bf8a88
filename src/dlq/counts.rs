//! PURE. How many dead letters there are, by reason.

use std::collections::BTreeMap;

use super::Choice;
use super::Letter;

/// The dead letters of one reason and input partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The step; empty if a broker refused an output.
    pub step: String,
    /// The kind of failure.
    pub kind: String,
    /// The code of the failure.
    pub code: String,
    /// The topic that the records were read from.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// How many there are.
    pub records: u64,
    /// How many of them were not replayed.
    pub left: u64,
    /// The first and the last time of a failure, in milliseconds since 1970-01-01 UTC.
    pub at_ms: (i64, i64),
}

type Reason = (String, String, String, String, i32);

/// Counts dead letters.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    rows: BTreeMap<Reason, Row>,
    /// Records that no pipeline wrote, or another one.
    pub foreign: u64,
}

impl Counts {
    /// Counts one.
    pub fn add(&mut self, letter: &Letter, choice: Choice) {
        let failure = &letter.failure;
        let (topic, partition) = (failure.source.topic.to_string(), failure.source.partition);
        let (step, kind, code) = (failure.step.clone(), failure.kind.clone(), failure.code.clone());
        let reason = (step.clone(), kind.clone(), code.clone(), topic.clone(), partition);
        let at_ms = (letter.at_ms, letter.at_ms);
        let row =
            self.rows.entry(reason).or_insert(Row { step, kind, code, topic, partition, records: 0, left: 0, at_ms });
        row.records += 1;
        row.left += u64::from(choice != Choice::Replayed);
        row.at_ms = (row.at_ms.0.min(letter.at_ms), row.at_ms.1.max(letter.at_ms));
    }

    /// The rows, the largest first.
    #[must_use]
    pub fn rows(self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.into_values().collect();
        // Stable: rows of the same size stay in the order of their reasons.
        rows.sort_by_key(|row| std::cmp::Reverse(row.records));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::tests::letter;

    #[test]
    fn dead_letters_of_a_reason_and_partition_are_counted_together() {
        let mut counts = Counts::default();
        let mut other = letter(0, 7);
        other.failure.source.partition = 5;
        counts.add(&other, Choice::Replay);
        for (offset, choice) in [(4, Choice::Replayed), (2, Choice::Exhausted), (9, Choice::Replay)] {
            counts.add(&letter(0, offset), choice);
        }
        let rows = counts.rows();
        let seen: Vec<_> = rows.iter().map(|row| (row.partition, row.records, row.left, row.at_ms)).collect();
        assert_eq!(seen, [(0, 3, 2, (2, 9)), (5, 1, 1, (7, 7))]);
    }
}
