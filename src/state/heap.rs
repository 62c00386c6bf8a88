//! PURE. Blocks of bytes in one growing buffer: the keys and cells of a shelf.
//!
//! A block is reused when another of the same room is needed, and never moved or split. The heap doesn't know what is in a block, nor
//! which are in use: the shelf does. All memory is released when the shelf is dropped.

use std::collections::BTreeMap;

/// Blocks begin at multiples of this many bytes.
const UNIT: usize = 8;
/// Below this size a block has less than [`UNIT`] bytes to spare, above it up to an eighth, so that cells that grow seldom move.
const SMALL: usize = 128;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Heap {
    bytes: Vec<u8>,
    /// Free blocks by their room.
    free: BTreeMap<u32, Vec<Block>>,
}

/// Where a block begins, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block(u32);

impl Heap {
    /// The room of the block that holds this many bytes, in units.
    #[inline]
    pub(super) fn room(length: usize) -> u32 {
        let step = if length <= SMALL { UNIT } else { length.next_power_of_two() / 16 };
        u32::try_from(length.next_multiple_of(step) / UNIT).expect("a key and a cell are below 32 GiB")
    }

    /// Takes a block. Its content is whatever was there.
    #[inline]
    pub(super) fn allocate(&mut self, room: u32) -> Block {
        // Cells of constant size never free a block.
        if !self.free.is_empty()
            && let Some(block) = self.free.get_mut(&room).and_then(Vec::pop)
        {
            return block;
        }
        let (begin, length) = (self.bytes.len(), room as usize * UNIT);
        if self.bytes.capacity() - begin < length {
            // By a quarter: there are many heaps, and doubling would leave a third of their memory unused.
            self.bytes.reserve_exact(length.max(begin / 4));
        }
        self.bytes.resize(begin + length, 0);
        Block(u32::try_from(begin / UNIT).expect("the memory budget is below 32 GiB for a slot of a slice"))
    }

    /// Returns a block.
    pub(super) fn release(&mut self, block: Block, room: u32) {
        if room > 0 {
            self.free.entry(room).or_default().push(block);
        }
    }

    /// `length` bytes of a block, from `skip` on.
    #[inline]
    pub(super) fn read(&self, block: Block, skip: usize, length: usize) -> &[u8] {
        let begin = block.0 as usize * UNIT + skip;
        &self.bytes[begin..begin + length]
    }

    /// Writes into a block, from `skip` on.
    #[inline]
    pub(super) fn write(&mut self, block: Block, skip: usize, bytes: &[u8]) {
        let begin = block.0 as usize * UNIT + skip;
        self.bytes[begin..begin + bytes.len()].copy_from_slice(bytes);
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_reused_for_the_same_room() {
        let mut heap = Heap::default();
        let blocks = [heap.allocate(3), heap.allocate(1), heap.allocate(3)];
        heap.write(blocks[1], 2, b"abcd");
        heap.release(blocks[0], 3);
        assert_ne!(heap.allocate(2), blocks[0]);
        assert_eq!(heap.allocate(3), blocks[0]);
        assert_eq!(heap.read(blocks[1], 2, 4), b"abcd");
    }

    #[test]
    fn a_block_has_little_to_spare() {
        for length in 0..100_000 {
            let room = Heap::room(length) as usize * UNIT;
            assert!(room >= length && room - length < UNIT.max(length / 8 + 1), "{length}: {room}");
        }
    }
}
