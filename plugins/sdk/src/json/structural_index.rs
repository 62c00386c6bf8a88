//! Finds the ends of strings in a JSON document: a structural index with one bit per byte, computed for 64 bytes at a time.

use std::num::NonZero;

/// The position after a token. It is never 0, so an `Option` of it fits into a register. `None` means that the document isn't JSON.
pub(super) type Position = NonZero<usize>;

/// The byte at a position; 0 after the end of the document, which is never valid JSON.
#[inline]
pub(super) fn byte(json: &[u8], at: usize) -> u8 {
    json.get(at).copied().unwrap_or_default()
}

/// The marks of the current stretch of 256 bytes. Each quote, backslash and control character is marked. After the end of the document
/// there may be other marks.
///
/// Every call gets the same document as an argument, instead of keeping it here, so that it stays in registers.
pub(super) struct StructuralIndex {
    /// The marks of 64 bytes each, the first byte in the lowest bit.
    words: [u64; 4],
    /// The position where the stretch begins.
    from: usize,
    /// Whether all bytes so far, including this stretch, are ASCII.
    pub(super) is_ascii: bool,
}

impl StructuralIndex {
    pub(super) fn new(json: &[u8]) -> StructuralIndex {
        let mut index = StructuralIndex { words: [0; 4], from: 0, is_ascii: true };
        index.look(json, 0);
        index
    }

    /// Computes the stretch that begins at `from`, which is before the document's end. Words after that end keep their old bits.
    // Only this function uses vector instructions: if they were enabled for the whole plugin, the compiler would also use them to copy
    // values that were just written in parts, and the processor has to wait for such a copy.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline(never)]
    fn look(&mut self, json: &[u8], from: usize) {
        self.from = from;
        let mut rest = &json[from..];
        for word in &mut self.words {
            let (marks, is_ascii) = if let Some(block) = rest.first_chunk() {
                look_at(block)
            } else if let Some(block) = json.last_chunk() {
                // The last 64 bytes, which overlap the bytes before: nothing may be read after the end.
                let (marks, is_ascii) = look_at(block);
                (marks >> (64 - rest.len()), is_ascii)
            } else {
                let mut block = [0; 64];
                block[..rest.len()].copy_from_slice(rest);
                look_at(&block)
            };
            *word = marks;
            self.is_ascii &= is_ascii;
            rest = match rest.get(64..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => return,
            };
        }
    }

    /// The first mark at or after `start`, if there is one in the same 64 bytes.
    #[inline]
    pub(super) fn near(&self, start: usize) -> Option<usize> {
        let at = start - self.from;
        let marks = self.words.get(at / 64)? >> (at % 64);
        if marks == 0 { None } else { Some(start + marks.trailing_zeros() as usize) }
    }

    /// The position of the closing quote of the string whose contents begin at `start`, if the quote is in the same 64 bytes and no
    /// escape precedes it.
    #[inline]
    pub(super) fn near_end(&self, json: &[u8], start: usize) -> Option<usize> {
        self.near(start).filter(|&end| byte(json, end) == b'"')
    }

    /// The position after the closing quote of the string whose contents begin at `start`.
    #[inline(never)]
    pub(super) fn end(&mut self, json: &[u8], start: usize) -> Option<Position> {
        let mut here = start;
        loop {
            let at = here - self.from;
            let Some(word) = self.words.get(at / 64) else {
                if here >= json.len() {
                    return None;
                }
                self.look(json, here);
                continue;
            };
            let marks = word >> (at % 64);
            if marks == 0 {
                here += 64 - at % 64;
                continue;
            }
            here += marks.trailing_zeros() as usize;
            match byte(json, here) {
                b'"' => return Position::new(here + 1),
                b'\\' => here = escape(json, here + 1)?.get(),
                _ => return None,
            }
        }
    }
}

/// The position after the escape whose backslash is just before `here`.
fn escape(json: &[u8], here: usize) -> Option<Position> {
    match byte(json, here) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Position::new(here + 1),
        b'u' => {
            let digits = json.get(here + 1..here + 5)?;
            if digits.iter().all(u8::is_ascii_hexdigit) { Position::new(here + 5) } else { None }
        }
        _ => None,
    }
}

/// The marks of a block, and whether the block is ASCII.
#[cfg(target_arch = "wasm32")]
#[target_feature(enable = "simd128")]
#[inline]
fn look_at(block: &[u8; 64]) -> (u64, bool) {
    use std::arch::wasm32::*;

    let (mut marks, mut all) = (0, u8x16_splat(0));
    for (place, sixteen) in (0..).step_by(16).zip(block.as_chunks::<16>().0) {
        let halves = u128::from_le_bytes(*sixteen);
        let bytes = u64x2(halves as u64, (halves >> 64) as u64);
        let ends = v128_or(u8x16_eq(bytes, u8x16_splat(b'"')), u8x16_eq(bytes, u8x16_splat(b'\\')));
        let found = v128_or(ends, u8x16_le(bytes, u8x16_splat(b' ' - 1)));
        marks |= u64::from(u8x16_bitmask(found)) << place;
        all = v128_or(all, bytes);
    }
    (marks, u8x16_bitmask(all) == 0)
}

/// The same without vector instructions, eight bytes at a time.
#[cfg(not(target_arch = "wasm32"))]
#[inline]
fn look_at(block: &[u8; 64]) -> (u64, bool) {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    const LOW: u64 = !HIGH;

    let (mut marks, mut all) = (0, 0);
    for (place, eight) in (0..).step_by(8).zip(block.as_chunks::<8>().0) {
        let bytes = u64::from_le_bytes(*eight);
        // Tests the high bit of each byte: no sum carries into the next byte.
        let is_other = |to: u8| {
            let difference = bytes ^ (ONES * u64::from(to));
            ((difference & LOW) + LOW) | difference
        };
        let is_printed = ((bytes & LOW) + ONES * (0x80 - u64::from(b' '))) | bytes;
        let found = !(is_other(b'"') & is_other(b'\\') & is_printed) & HIGH;
        // Gathers the eight bits at the top: each bit of the factor moves one of them there.
        marks |= ((found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << place;
        all |= bytes;
    }
    (marks, all & HIGH == 0)
}

#[cfg(test)]
mod tests {
    use super::look_at;

    #[test]
    fn every_byte_at_every_position_has_the_right_mark() {
        for byte in 0..=u8::MAX {
            for place in 0..64 {
                for around in [b'x', 0x7f, b'!', b'#', b']', b'[', 0xff] {
                    let mut block = [around; 64];
                    block[place] = byte;
                    let marked = matches!(byte, b'"' | b'\\' | 0..b' ');
                    let expected = (u64::from(marked) << place, block.is_ascii());
                    assert_eq!(look_at(&block), expected, "{byte:#x} at {place} among {around:#x}");
                }
            }
        }
    }
}
