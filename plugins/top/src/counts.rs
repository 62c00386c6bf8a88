//! Counts of items in bounded memory, by the idea of Space-Saving (Metwally, Agrawal and El Abbadi, 2005).
//!
//! If there are more items than fit, those with the smallest counts are forgotten. `error` is the greatest count that was forgotten: an
//! item that isn't there was counted at most that often, so an item that comes (back) begins there. Invariant: the true count of an item
//! is no more than its count, and no less than its count minus `error`; it is no more than `error` if the item isn't there.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

/// The most bytes of the items: with the rest of an accumulator they stay below the 64 KiB that it may have.
const BYTES_MAX: usize = 60_000;
/// How many bytes stay when items are forgotten, so that it isn't done for each new one.
const BYTES_KEPT: usize = BYTES_MAX / 8 * 7;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    error: u64,
    items: BTreeMap<String, u64>,
    /// The bytes of the items, once they were counted.
    #[serde(skip)]
    bytes: Option<usize>,
}

impl Counts {
    /// Adds `weight` to an item.
    pub(crate) fn add(&mut self, item: &str, weight: u64) {
        let bytes = self.bytes();
        let known = self.items.get_mut(item);
        let before = known.as_ref().map_or(0, |count| bytes_of(item, **count));
        let after = match known {
            Some(count) => {
                *count = count.saturating_add(weight);
                bytes_of(item, *count)
            }
            None => {
                let count = self.error.saturating_add(weight);
                self.items.insert(item.to_owned(), count);
                bytes_of(item, count)
            }
        };
        self.bytes = Some(bytes + after - before);
        self.forget();
    }

    /// Adds the counts of another time.
    pub(crate) fn merge(&mut self, mut later: Counts) {
        for (item, count) in &mut self.items {
            let more = later.items.remove(item).unwrap_or(later.error);
            *count = count.saturating_add(more);
        }
        let error = self.error;
        self.items.extend(later.items.into_iter().map(|(item, count)| (item, count.saturating_add(error))));
        self.error = error.saturating_add(later.error);
        self.bytes = None;
        self.forget();
    }

    /// The items with the greatest counts, then by name.
    pub(crate) fn top(&self, k: usize) -> Vec<(&str, u64)> {
        let mut top: Vec<(&str, u64)> = self.items.iter().map(|(item, count)| (item.as_str(), *count)).collect();
        top.sort_by_key(|&(item, count)| (Reverse(count), item));
        top.truncate(k);
        top
    }

    /// By how much a count may be too large at most.
    pub(crate) fn error(&self) -> u64 {
        self.error
    }

    fn bytes(&self) -> usize {
        self.bytes.unwrap_or_else(|| self.items.iter().map(|(item, count)| bytes_of(item, *count)).sum())
    }

    /// Forgets the items with the smallest counts if there are too many.
    fn forget(&mut self) {
        let mut bytes = self.bytes();
        if bytes > BYTES_MAX {
            let mut items: Vec<(String, u64)> = std::mem::take(&mut self.items).into_iter().collect();
            items.sort_by(|(item, count), (other, of_other)| (of_other, item).cmp(&(count, other)));
            while bytes > BYTES_KEPT
                && let Some((item, count)) = items.pop()
            {
                bytes -= bytes_of(&item, count);
                self.error = self.error.max(count);
            }
            self.items = items.into_iter().collect();
        }
        self.bytes = Some(bytes);
    }
}

/// The bytes of an item in an accumulator.
fn bytes_of(item: &str, count: u64) -> usize {
    bytes_of_number(item.len() as u64) + item.len() + bytes_of_number(count)
}

/// The bytes of a number in an accumulator: seven bits in each.
fn bytes_of_number(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that are the same in each run.
    fn random(mut seed: u64) -> impl FnMut() -> u64 {
        move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        }
    }

    /// Adds items, some of them much more often than others, and counts them exactly beside.
    fn fill(counts: &mut Counts, exact: &mut BTreeMap<String, u64>, seed: u64) {
        let mut random = random(seed);
        for _ in 0..40_000 {
            let below = [10, 1000, 100_000][usize::try_from(random() % 3).unwrap()];
            let item = format!("/page/{}", random() % below);
            counts.add(&item, 1);
            *exact.entry(item).or_default() += 1;
        }
    }

    fn check(counts: &Counts, exact: &BTreeMap<String, u64>) {
        let bytes = counts.items.iter().map(|(item, count)| bytes_of(item, *count)).sum();
        assert!(counts.bytes == Some(bytes) && bytes <= BYTES_MAX, "{:?}, {bytes}", counts.bytes);
        for (item, &known) in exact {
            match counts.items.get(item) {
                Some(&count) => assert!(known <= count && count <= known + counts.error, "{item}: {known}, {count}"),
                None => assert!(known <= counts.error, "{item}: {known}, forgotten above {}", counts.error),
            }
        }
    }

    #[test]
    fn few_items_are_counted_exactly() {
        let mut counts = Counts::default();
        for (item, weight) in [("b", 2), ("a", 1), ("c", 5), ("a", 1)] {
            counts.add(item, weight);
        }
        assert_eq!((counts.top(2), counts.error()), (vec![("c", 5), ("a", 2)], 0));
        assert_eq!(counts.top(9), [("c", 5), ("a", 2), ("b", 2)]);
    }

    #[test]
    fn with_more_items_than_fit_counts_are_within_the_error() {
        let (mut counts, mut exact) = (Counts::default(), BTreeMap::new());
        fill(&mut counts, &mut exact, 3);
        check(&counts, &exact);
        let total: u64 = exact.values().sum();
        // As Space-Saving promises: no more than the total, shared by the items that fit.
        let fit = u64::try_from(BYTES_KEPT / bytes_of("/page/99999", total)).unwrap();
        assert!(counts.error() > 0 && counts.error() <= total / fit, "{} of {total}", counts.error());
        // The ten frequent ones are found.
        assert!(counts.top(10).iter().all(|(item, _)| item.len() == "/page/0".len()), "{:?}", counts.top(10));
    }

    #[test]
    fn merged_counts_are_within_the_error_too() {
        let (mut counts, mut exact) = (Counts::default(), BTreeMap::new());
        for seed in 0..4 {
            let mut later = Counts::default();
            fill(&mut later, &mut exact, seed);
            counts.merge(later);
            check(&counts, &exact);
        }
    }

    #[test]
    fn counts_stop_at_their_greatest_number() {
        let mut counts = Counts::default();
        counts.add("a", u64::MAX);
        counts.add("a", 1);
        let mut later = Counts::default();
        later.add("a", 1);
        counts.merge(later);
        assert_eq!(counts.top(1), [("a", u64::MAX)]);
    }
}
