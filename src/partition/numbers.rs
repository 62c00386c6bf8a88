//! PURE. Ascending numbers of records, kept as ranges: those of a partition of one strand are one range.

use std::collections::VecDeque;
use std::ops::Range;

/// See the head of the file. Invariant: the ranges are not empty, ascending, and don't touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    ranges: VecDeque<Range<u64>>,
}

impl Numbers {
    /// Appends a range, which is above all others.
    pub(super) fn push(&mut self, range: Range<u64>) {
        match self.ranges.back_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            Some(_) | None => self.ranges.push_back(range),
        }
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<u64> {
        self.ranges.front().map(|range| range.start)
    }

    /// The highest number.
    pub(super) fn last(&self) -> Option<u64> {
        self.ranges.back().map(|range| range.end - 1)
    }

    /// Removes the lowest `count` numbers.
    pub(super) fn remove(&mut self, count: usize) {
        self.take(count, |_| ());
    }

    /// Moves the lowest `count` numbers to `other`, whose numbers are all lower.
    pub(super) fn move_to(&mut self, other: &mut Numbers, count: usize) {
        self.take(count, |range| other.push(range));
    }

    /// Moves all numbers of `other`, which are lower, here.
    pub(super) fn prepend(&mut self, other: &mut Numbers) {
        while let Some(range) = other.ranges.pop_back() {
            match self.ranges.front_mut() {
                Some(first) if first.start == range.end => first.start = range.start,
                Some(_) | None => self.ranges.push_front(range),
            }
        }
    }

    /// Removes all numbers from `end` on.
    pub(super) fn end_before(&mut self, end: u64) {
        while let Some(last) = self.ranges.back_mut() {
            if last.start < end {
                last.end = last.end.min(end);
                return;
            }
            self.ranges.pop_back();
        }
    }

    fn take(&mut self, count: usize, mut each: impl FnMut(Range<u64>)) {
        let mut left = count as u64;
        while left > 0
            && let Some(first) = self.ranges.front_mut()
        {
            let end = first.end.min(first.start.saturating_add(left));
            each(first.start..end);
            left -= end - first.start;
            first.start = end;
            if first.is_empty() {
                self.ranges.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn listed(numbers: &Numbers) -> Vec<u64> {
        numbers.ranges.iter().cloned().flatten().collect()
    }

    proptest! {
        #[test]
        fn it_is_a_set_that_is_filled_and_emptied_in_order(
            steps in prop::collection::vec((0_u8..4, 0_u64..4, 0_usize..6), 0..60),
        ) {
            let (mut waiting, mut out) = (Numbers::default(), Numbers::default());
            let (mut all, mut handed, mut next) = (BTreeSet::new(), 0, 0);
            for (step, gap, count) in steps {
                match step {
                    0 => {
                        let range = next + gap..next + gap + count as u64;
                        all.extend(range.clone());
                        next = range.end;
                        waiting.push(range);
                    }
                    1 => {
                        waiting.move_to(&mut out, count);
                        handed = (handed + count).min(all.len());
                    }
                    2 => {
                        out.remove(count);
                        let gone = count.min(handed);
                        all = all.into_iter().skip(gone).collect();
                        handed -= gone;
                    }
                    _ if gap == 3 => {
                        let end = next.saturating_sub(count as u64);
                        out.end_before(end);
                        waiting.end_before(end);
                        all.retain(|&n| n < end);
                        handed = handed.min(all.len());
                    }
                    _ => {
                        waiting.prepend(&mut out);
                        handed = 0;
                    }
                }
                let expected: Vec<u64> = all.iter().copied().collect();
                prop_assert_eq!((listed(&out), listed(&waiting)), (expected[..handed].to_vec(), expected[handed..].to_vec()));
                prop_assert_eq!((waiting.first(), waiting.last()), (expected[handed..].first().copied(), expected[handed..].last().copied()));
                prop_assert!(waiting.ranges.iter().zip(waiting.ranges.iter().skip(1)).all(|(a, b)| a.end < b.start));
            }
        }
    }
}
