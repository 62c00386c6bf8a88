//! How numbers are written into cells: unsigned integers of 7 bits a byte, lowest first (LEB128), signed ones zigzag.
//!
//! It doesn't know what the numbers mean. Invariant: [`Reader`] never reads past its end and never panics, whatever the bytes are.

use super::reject::CorruptCell;

const CUT_SHORT: CorruptCell = CorruptCell::new("it is cut short");
const TOO_LARGE: CorruptCell = CorruptCell::new("an integer is too large");

/// Reads a cell from its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, CorruptCell> {
        let (&byte, rest) = self.rest.split_first().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(byte)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], CorruptCell> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CorruptCell> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, CorruptCell> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(TOO_LARGE);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(TOO_LARGE)
    }

    pub(super) fn u128(&mut self) -> Result<u128, CorruptCell> {
        let mut short = 0_u64;
        for (shift, &byte) in (0..63).step_by(7).zip(self.rest) {
            short |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                self.rest = self.rest.get(shift / 7 + 1..).unwrap_or_default();
                return Ok(u128::from(short));
            }
        }
        let mut value = 0;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift == 126 && bits > 3 {
                return Err(TOO_LARGE);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(TOO_LARGE)
    }

    pub(super) fn i128(&mut self) -> Result<i128, CorruptCell> {
        let zigzag = self.u128()?;
        let half = (zigzag >> 1).cast_signed();
        Ok(if zigzag & 1 == 0 { half } else { !half })
    }

    /// A number of things, of at most `max`.
    pub(super) fn length(&mut self, max: usize) -> Result<usize, CorruptCell> {
        let length = usize::try_from(self.u64()?).map_err(|_| TOO_LARGE)?;
        if length > max { Err(TOO_LARGE) } else { Ok(length) }
    }
}

pub(super) fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    if value < 0x80 {
        return out.push((value & 0x7f) as u8);
    }
    let (mut bytes, mut length) = ([0; 10], 0);
    for byte in &mut bytes {
        length += 1;
        if value < 0x80 {
            *byte = (value & 0x7f) as u8;
            break;
        }
        *byte = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
    }
    out.extend_from_slice(bytes.get(..length).unwrap_or_default());
}

pub(super) fn write_u128(out: &mut Vec<u8>, mut value: u128) {
    loop {
        if let Ok(value) = u64::try_from(value) {
            return write_u64(out, value);
        }
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
}

pub(super) fn write_i128(out: &mut Vec<u8>, value: i128) {
    write_u128(out, ((value << 1) ^ (value >> 127)).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(small: u64, unsigned: u128, signed: i128, shift in 0_u32..128) {
            let mut out = Vec::new();
            write_u64(&mut out, small >> (shift % 64));
            write_u128(&mut out, unsigned >> shift);
            write_i128(&mut out, signed >> shift);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.u64(), Ok(small >> (shift % 64)));
            prop_assert_eq!(reader.u128(), Ok(unsigned >> shift));
            prop_assert_eq!(reader.i128(), Ok(signed >> shift));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff), Just(0x80)], 0..24)) {
            let _ = Reader::new(&bytes).u64();
            let _ = Reader::new(&bytes).u128();
            let _ = Reader::new(&bytes).i128();
        }
    }
}
