//! PURE. The records of batches that a broker refused, which are sent again *apart*: each in a batch of its own.
//!
//! A broker refuses a batch as a whole, often because of one record. Sending each record alone shows which one. This lasts until
//! the records of the refused batch are settled; until then no record after them is handed out.

use std::collections::BTreeMap;

use crate::record::Offset;
use crate::record::TopicPartition;

/// See the head of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Apart {
    /// The offset after the last of these records in each partition.
    ends: BTreeMap<TopicPartition, Offset>,
}

impl Apart {
    /// Adds a record.
    pub(super) fn add(&mut self, partition: &TopicPartition, offset: i64) {
        let end = self.ends.entry(partition.clone()).or_insert(Offset(0));
        *end = (*end).max(Offset(offset + 1));
    }

    /// Whether there are no records.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets the records of a partition that is read from another offset.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.ends.remove(partition);
    }

    /// Whether records of a partition from this offset on may be handed out.
    pub(super) fn takes(&self, partition: &TopicPartition, offset: i64) -> bool {
        self.ends.get(partition).is_some_and(|end| offset < end.0)
    }

    /// Whether all the records are settled. `low` is how far each partition is settled, or `None` if the partition is not
    /// assigned any more.
    pub(super) fn is_over(&self, low: impl Fn(&TopicPartition) -> Option<Offset>) -> bool {
        self.ends.iter().all(|(partition, end)| low(partition).is_none_or(|low| low >= *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: number }
    }

    #[test]
    fn records_up_to_the_end_of_refused_batches_may_be_handed_out() {
        let mut apart = Apart::default();
        for (number, offset) in [(0, 7), (0, 9), (0, 8), (1, 0)] {
            apart.add(&partition(number), offset);
        }
        assert!(apart.takes(&partition(0), 3) && apart.takes(&partition(0), 9));
        assert!(!apart.takes(&partition(0), 10) && !apart.takes(&partition(1), 1) && !apart.takes(&partition(2), 0));
    }

    #[test]
    fn it_is_over_when_all_records_are_settled_or_revoked() {
        let mut apart = Apart::default();
        apart.add(&partition(0), 9);
        apart.add(&partition(1), 4);
        let over = |zero, one| apart.clone().is_over(|partition| if partition.partition == 0 { zero } else { one });
        assert!(!over(Some(Offset(9)), Some(Offset(5))));
        assert!(!over(Some(Offset(10)), Some(Offset(4))));
        assert!(over(Some(Offset(10)), Some(Offset(5))));
        assert!(over(None, Some(Offset(5))) && over(None, None));
        apart.forget(&partition(0));
        assert!(apart.is_over(|_| Some(Offset(5))));
    }
}
