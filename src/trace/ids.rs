//! Numbers of traces and spans.
//!
//! A record without a context begins a trace whose number follows from its place and a secret of the process. So each run of a record is
//! part of the same trace, with the same decision about it, and no random number is drawn for a record that is not recorded.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rustix::rand::GetRandomFlags;
use rustix::rand::getrandom;
use twox_hash::XxHash3_64;

use crate::record::TopicPartition;

/// The step of the generator: the golden ratio, so that neighbours differ in half of their bits.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct TraceIds {
    /// The secret of the process: for the two halves of traces' numbers, and for spans.
    seeds: [u64; 3],
    spans: AtomicU64,
}

/// What is the same in the numbers of all traces of a partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionIds {
    lower: u64,
    upper: u64,
}

impl TraceIds {
    /// Numbers with another secret.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub(super) fn new() -> io::Result<TraceIds> {
        let mut bytes = [0; 24];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
        }
        let (parts, _) = bytes.as_chunks::<8>();
        let mut seeds = [0; 3];
        seeds.iter_mut().zip(parts).for_each(|(seed, part)| *seed = u64::from_ne_bytes(*part));
        Ok(TraceIds { seeds, spans: AtomicU64::new(0) })
    }

    /// The numbers of a partition.
    pub(super) fn of(&self, source: &TopicPartition) -> PartitionIds {
        let [lower, upper, _] = self.seeds;
        let topic = XxHash3_64::oneshot_with_seed(lower, source.topic.as_bytes());
        let partition = u64::from(source.partition.unsigned_abs());
        PartitionIds { lower: mixed(topic ^ mixed(partition.wrapping_add(upper))), upper }
    }

    /// The number of another span, never 0.
    pub(super) fn span(&self) -> u64 {
        let [.., seed] = self.seeds;
        mixed(self.spans.fetch_add(1, Ordering::Relaxed).wrapping_mul(STEP).wrapping_add(seed)).max(1)
    }
}

impl PartitionIds {
    /// The number of the trace that the record at this offset begins, never 0.
    pub(super) fn trace(self, offset: i64) -> u128 {
        let lower = mixed(offset.cast_unsigned().wrapping_mul(STEP).wrapping_add(self.lower));
        let upper = mixed(lower ^ self.upper);
        (u128::from(upper) << 64 | u128::from(lower)).max(1)
    }
}

/// Mixes the bits of a number: the last steps of the generator `splitmix64`.
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(partition: i32) -> TopicPartition {
        TopicPartition { topic: "in".into(), partition }
    }

    #[test]
    fn a_records_trace_is_the_same_each_time_and_no_other_records() {
        let ids = TraceIds::new().unwrap();
        let traces = |ids: &TraceIds| -> BTreeSet<u128> {
            (0..10)
                .flat_map(|partition| (0..1000).map(move |offset| (partition, offset)))
                .map(|(partition, offset)| ids.of(&of(partition)).trace(offset))
                .collect()
        };
        let all = traces(&ids);
        assert_eq!(all.len(), 10_000);
        assert_eq!(all, traces(&ids));
        assert!(all.is_disjoint(&traces(&TraceIds::new().unwrap())), "another process has other numbers");
        let spans: BTreeSet<u64> = (0..1000).map(|_| ids.span()).collect();
        assert_eq!(spans.len(), 1000);
    }

    #[test]
    fn a_ratio_of_the_numbers_is_a_ratio_of_the_records() {
        let ids = TraceIds::new().unwrap().of(&of(0));
        let low = (0..100_000).filter(|&offset| ids.trace(offset) & (1 << 63) == 0).count();
        assert!((49_000..51_000).contains(&low), "{low}");
    }
}
