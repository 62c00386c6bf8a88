//! PURE. The records of batches that a broker refused, which are sent again each in a batch of its own.
//!
//! A broker refuses a batch as a whole, and its reason is often that of one record only. Which one shows when each is alone. It lasts
//! until the records that were in such a batch are settled; meanwhile nothing behind them is handed out.

use std::collections::BTreeMap;

use crate::record::Offset;
use crate::record::TopicPartition;

/// See the head of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Apart {
    /// Behind the last of them in each partition.
    ends: BTreeMap<TopicPartition, Offset>,
}

impl Apart {
    /// One more of them.
    pub(super) fn add(&mut self, partition: &TopicPartition, offset: i64) {
        let end = self.ends.entry(partition.clone()).or_insert(Offset(0));
        *end = (*end).max(Offset(offset + 1));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets those of a partition that is read from elsewhere.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.ends.remove(partition);
    }

    /// Whether records of a partition that begin with this one may be handed out.
    pub(super) fn takes(&self, partition: &TopicPartition, offset: i64) -> bool {
        self.ends.get(partition).is_some_and(|end| offset < end.0)
    }

    /// Whether all of them are settled, by what is settled in each partition; `None` is a partition that others have now.
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
    fn it_takes_what_was_in_refused_batches_and_all_before_it() {
        let mut apart = Apart::default();
        for (number, offset) in [(0, 7), (0, 9), (0, 8), (1, 0)] {
            apart.add(&partition(number), offset);
        }
        assert!(apart.takes(&partition(0), 3) && apart.takes(&partition(0), 9));
        assert!(!apart.takes(&partition(0), 10) && !apart.takes(&partition(1), 1) && !apart.takes(&partition(2), 0));
    }

    #[test]
    fn it_is_over_when_all_are_settled_or_gone() {
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
