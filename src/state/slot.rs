//! PURE. A key's hash, and the slot that follows from it.
//!
//! The slot and the order in which a window's keys are shown follow from this hash: it is part of the changelog's format and must never
//! change. It must not be the partitioner's hash: the keys of a partition would share slots.

use twox_hash::XxHash3_64;

/// The number of slots of a partition.
pub const SLOTS: usize = COUNT as usize;
const COUNT: u8 = 16;

/// A record's key: any bytes; `None` is null, which differs from empty.
pub type Key<'a> = Option<&'a [u8]>;

/// A slot of a partition, below [`SLOTS`]. Records of a slot are processed in order, one call at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u8);

/// The hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(u64);

/// Where a key comes in the order in which the keys of a window are shown: by slot, hash and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    order: u64,
    key: Key<'a>,
}

impl KeyHash {
    /// The hash of this key.
    #[must_use]
    #[inline]
    pub fn of(key: Key<'_>) -> KeyHash {
        KeyHash(key.map_or(0, XxHash3_64::oneshot))
    }

    /// The slot of the key.
    #[must_use]
    #[inline]
    pub fn slot(self) -> Slot {
        Slot(self.0.to_le_bytes()[0] % COUNT)
    }

    /// For a hash table of one slot. The bits that the slot's keys have in common are moved to the middle: such a table uses the lowest
    /// and the highest bits.
    #[inline]
    pub(super) fn within_slot(self) -> u64 {
        self.0.rotate_left(u64::BITS / 2)
    }

    /// For the order of keys: the slot is in the highest bits.
    #[inline]
    pub(super) fn order(self) -> u64 {
        self.0.rotate_right(SLOTS.trailing_zeros())
    }
}

impl Slot {
    /// All slots.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..COUNT).map(Slot)
    }

    /// The slot of a key with this [`KeyHash::order`].
    pub(super) fn of_order(order: u64) -> Slot {
        KeyHash(order.rotate_left(SLOTS.trailing_zeros())).slot()
    }

    /// The slot's number.
    #[must_use]
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl<'a> Rank<'a> {
    pub(super) fn of(key: Key<'a>) -> Rank<'a> {
        Rank { order: KeyHash::of(key).order(), key }
    }

    /// The slot, then the hash.
    pub(super) fn order(self) -> u64 {
        self.order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_changelog_format() {
        let hash = |key: Key<'_>| KeyHash::of(key).0;
        assert_eq!(hash(None), 0);
        assert_eq!(hash(Some(b"")), 0x2d06_8005_38d3_94c2);
        assert_eq!(KeyHash::of(Some(b"")).slot().index(), 2);
        assert!(Rank::of(None) < Rank::of(Some(b"")));
    }

    #[test]
    fn keys_spread_over_the_slots() {
        let mut counts = [0; SLOTS];
        for key in 0..16_000 {
            counts[KeyHash::of(Some(format!("customer-{key}").as_bytes())).slot().index()] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
