//! PURE. The partition of a key, as Kafka's Java client chooses it: murmur2 of the key's bytes.
//!
//! It says where a record with this key is only if its producer chose so, too.

/// The partition of a key among `partitions`; `None` if there are none.
#[must_use]
pub fn partition_of(key: &[u8], partitions: usize) -> Option<i32> {
    let positive = u64::from(murmur2(key) & 0x7fff_ffff);
    let partitions = u64::try_from(partitions).ok().filter(|&partitions| partitions > 0)?;
    i32::try_from(positive % partitions).ok()
}

const SEED: u32 = 0x9747_b28c;
const FACTOR: u32 = 0x5bd1_e995;

/// The hash of `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    // Java counts in 32 bits and wraps around.
    let length = u32::try_from(data.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        k ^= k >> 24;
        hash = hash.wrapping_mul(FACTOR) ^ k.wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        for (place, &byte) in rest.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * place);
        }
        hash = hash.wrapping_mul(FACTOR);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn the_hash_is_that_of_kafkas_java_client() {
        let cases = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_has_a_partition_too() {
        assert_eq!(partition_of(b"21", 7), i32::try_from((-973_932_308_i64 & 0x7fff_ffff) % 7).ok());
        assert_eq!((partition_of(b"abc", 0), partition_of(b"", 1)), (None, Some(0)));
    }
}
