//! PURE. Which order is kept, and the strands that follow from it.

/// Which order a partition's records keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// All records of a partition are in order.
    #[default]
    Partition,
    /// The records of a key are in order.
    Key,
    /// No order is kept.
    None,
}

/// The fewest strands of a partition whose order isn't kept as a whole. More strands keep more executors busy, and have smaller
/// batches.
const STRANDS_MIN: usize = 16;
/// The most of them.
const STRANDS_MAX: usize = 1024;
/// The number of strands for each executor: enough to keep nearly all executors busy while some strands are empty or wait for a retry.
const STRANDS_PER_EXECUTOR: usize = 4;

impl Order {
    /// The number of strands of a partition.
    #[must_use]
    pub fn strands(self, executors: usize) -> usize {
        match self {
            Order::Partition => 1,
            Order::Key | Order::None => {
                executors.saturating_mul(STRANDS_PER_EXECUTOR).next_power_of_two().clamp(STRANDS_MIN, STRANDS_MAX)
            }
        }
    }

    /// The strand, out of `strands`, of the record with this key that is the `n`th of its assignment. A record without a key is in
    /// order with no other.
    #[must_use]
    pub fn strand(self, key: Option<&[u8]>, n: u64, strands: usize) -> u16 {
        let of = match (self, key) {
            (Order::Partition, _) => 0,
            (Order::Key, Some(key)) => hash(key),
            (Order::Key | Order::None, _) => n,
        };
        u16::try_from(of % strands.clamp(1, STRANDS_MAX) as u64).unwrap_or(0)
    }
}

/// FNV-1a of 64 bits, with its upper half folded in. It must not be the partitioner's hash: the keys of a partition would share
/// strands.
fn hash(key: &[u8]) -> u64 {
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_the_strands_and_keep_theirs() {
        let strands = Order::Key.strands(2);
        assert_eq!((strands, Order::Key.strands(64), Order::Partition.strands(64)), (16, 256, 1));
        let mut counts = vec![0; strands];
        for key in 0..16_000 {
            let key = format!("customer-{key}");
            let strand = Order::Key.strand(Some(key.as_bytes()), 1, strands);
            assert_eq!(strand, Order::Key.strand(Some(key.as_bytes()), 99, strands));
            counts[usize::from(strand)] += 1;
        }
        assert!(counts.iter().all(|&count| (800..1200).contains(&count)), "{counts:?}");
        let spread =
            |order: Order, key: Option<&[u8]>| -> Vec<u16> { (0..3).map(|n| order.strand(key, n, 16)).collect() };
        assert_eq!(spread(Order::Key, None), [0, 1, 2]);
        assert_eq!(spread(Order::None, Some(b"k")), [0, 1, 2]);
        assert_eq!(spread(Order::Partition, Some(b"k")), [0, 0, 0]);
    }
}
