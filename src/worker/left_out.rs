//! PURE. Records that an operator has said to leave out if they fail for good.
//!
//! They are kept until they are committed, over reloads and rebalances, and are never more than what operators have named. A record
//! that does not fail any more is not left out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::record::Offset;
use crate::record::RecordId;
use crate::record::TopicPartition;

/// See the head of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut(BTreeMap<TopicPartition, BTreeSet<i64>>);

impl LeftOut {
    pub(super) fn add(&mut self, RecordId { partition, offset }: RecordId) {
        self.0.entry(partition).or_default().insert(offset);
    }

    /// The records of a partition.
    pub(super) fn of(&self, partition: &TopicPartition) -> BTreeSet<i64> {
        self.0.get(partition).cloned().unwrap_or_default()
    }

    /// Every record of the partition below this offset is committed.
    pub(super) fn committed(&mut self, partition: &TopicPartition, below: Offset) {
        if let Some(offsets) = self.0.get_mut(partition) {
            *offsets = offsets.split_off(&below.0);
            if offsets.is_empty() {
                self.0.remove(partition);
            }
        }
    }

    /// The offsets of the partition are those of another log.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.0.remove(partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_until_they_are_committed() {
        let partition = |number| TopicPartition { topic: "t".into(), partition: number };
        let place = |number, offset| RecordId { partition: partition(number), offset };
        let mut all = LeftOut::default();
        [place(0, 7), place(0, 9), place(1, 7)].into_iter().for_each(|place| all.add(place));
        all.committed(&partition(0), Offset(7));
        assert_eq!(all.of(&partition(0)), [7, 9].into(), "7 is the next one");
        all.committed(&partition(0), Offset(8));
        assert_eq!(all.of(&partition(0)), [9].into());
        all.forget(&partition(1));
        all.committed(&partition(0), Offset(10));
        assert_eq!(all, LeftOut::default());
    }
}
