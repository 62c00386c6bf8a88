//! Where the strings of a JSON document may end: bits of its bytes, 64 at a time.

use std::num::NonZero;

/// A place behind something, which so isn't 0: as an `Option` it still fits into a register. `None` is that there is no JSON.
pub(super) type Position = NonZero<usize>;

/// The byte there, and behind the end 0, which is in no JSON.
#[inline]
pub(super) fn byte(json: &[u8], at: usize) -> u8 {
    json.get(at).copied().unwrap_or_default()
}

/// The index of the stretch that is looked at. A mark is on each quote, backslash and control character; behind the document's end,
/// where there are no bytes, there may be others.
///
/// The document isn't kept here but given to each call, and always the same: so it stays in registers.
pub(super) struct StructuralIndex {
    /// Of 64 bytes each, the first in the lowest bit.
    words: [u64; 4],
    /// Where the stretch begins.
    from: usize,
    /// Whether all bytes of this stretch and of those before it are ASCII.
    pub(super) is_ascii: bool,
}

impl StructuralIndex {
    pub(super) fn new(json: &[u8]) -> StructuralIndex {
        let mut index = StructuralIndex { words: [0; 4], from: 0, is_ascii: true };
        index.look(json, 0);
        index
    }

    /// Looks at the stretch that begins at `from`, before the document's end. Words behind that end keep what they had.
    // Vectors are for this function alone: where the whole plugin may use them, the compiler also copies with them what was just
    // written in parts, and the machine waits for that.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline(never)]
    fn look(&mut self, json: &[u8], from: usize) {
        self.from = from;
        let mut rest = &json[from..];
        for word in &mut self.words {
            let (index, is_ascii) = if let Some(block) = rest.first_chunk() {
                look_at(block)
            } else if let Some(block) = json.last_chunk() {
                // Bytes before these once more, as nothing may be read behind the end.
                let (index, is_ascii) = look_at(block);
                (index >> (64 - rest.len()), is_ascii)
            } else {
                let mut block = [0; 64];
                block[..rest.len()].copy_from_slice(rest);
                look_at(&block)
            };
            *word = index;
            self.is_ascii &= is_ascii;
            rest = match rest.get(64..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => return,
            };
        }
    }

    /// The first mark at `start` or behind it, if there is one in the same 64 bytes.
    #[inline]
    pub(super) fn near(&self, start: usize) -> Option<usize> {
        let at = start - self.from;
        let index = self.words.get(at / 64)? >> (at % 64);
        if index == 0 { None } else { Some(start + index.trailing_zeros() as usize) }
    }

    /// Where the string that begins at `start`, behind its quote, has its other quote, if that is in the same 64 bytes and there are no
    /// escapes before it.
    #[inline]
    pub(super) fn near_end(&self, json: &[u8], start: usize) -> Option<usize> {
        self.near(start).filter(|&end| byte(json, end) == b'"')
    }

    /// Behind the other quote of the string that begins at `start`, wherever that is.
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
            let index = word >> (at % 64);
            if index == 0 {
                here += 64 - at % 64;
                continue;
            }
            here += index.trailing_zeros() as usize;
            match byte(json, here) {
                b'"' => return Position::new(here + 1),
                b'\\' => here = escape(json, here + 1)?.get(),
                _ => return None,
            }
        }
    }
}

/// Behind the escape whose backslash stands before `here`.
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

/// The index of a block, and whether it is ASCII.
#[cfg(target_arch = "wasm32")]
#[target_feature(enable = "simd128")]
#[inline]
fn look_at(block: &[u8; 64]) -> (u64, bool) {
    use std::arch::wasm32::*;

    let (mut index, mut all) = (0, u8x16_splat(0));
    for (place, sixteen) in (0..).step_by(16).zip(block.as_chunks::<16>().0) {
        let halves = u128::from_le_bytes(*sixteen);
        let bytes = u64x2(halves as u64, (halves >> 64) as u64);
        let ends = v128_or(u8x16_eq(bytes, u8x16_splat(b'"')), u8x16_eq(bytes, u8x16_splat(b'\\')));
        let found = v128_or(ends, u8x16_le(bytes, u8x16_splat(b' ' - 1)));
        index |= u64::from(u8x16_bitmask(found)) << place;
        all = v128_or(all, bytes);
    }
    (index, u8x16_bitmask(all) == 0)
}

/// The same without vectors, eight bytes at a time.
#[cfg(not(target_arch = "wasm32"))]
#[inline]
fn look_at(block: &[u8; 64]) -> (u64, bool) {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    const LOW: u64 = !HIGH;

    let (mut index, mut all) = (0, 0);
    for (place, eight) in (0..).step_by(8).zip(block.as_chunks::<8>().0) {
        let bytes = u64::from_le_bytes(*eight);
        // The high bit of each byte: no sum reaches the next byte.
        let is_other = |to: u8| {
            let difference = bytes ^ (ONES * u64::from(to));
            ((difference & LOW) + LOW) | difference
        };
        let is_printed = ((bytes & LOW) + ONES * (0x80 - u64::from(b' '))) | bytes;
        let found = !(is_other(b'"') & is_other(b'\\') & is_printed) & HIGH;
        // The eight bits side by side at the top: each factor's bit moves one of them there.
        index |= ((found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << place;
        all |= bytes;
    }
    (index, all & HIGH == 0)
}

#[cfg(test)]
mod tests {
    use super::look_at;

    #[test]
    fn every_byte_at_every_place_has_the_mark_that_it_shall_have() {
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
