//! Counts numbers of one sign in bins, for the sketch of quantiles.
//!
//! A number's bin is its exponent and the first [`BITS`] bits of its mantissa: the linear interpolation of the logarithm that the
//! DDSketch paper describes. It takes no logarithm, so a number has the same bin on every machine. If the bins would span more than
//! [`BINS_MAX`], those nearest to zero are added up in the last one that is kept. Invariant: the encoding is a function of the counts;
//! the first and the last bin are not empty.

use super::encoding::Reader;
use super::encoding::write_u64;
use super::number::plus;
use super::reject::CorruptCell;
use super::reject::FoldError;

/// Bins of one octave are 2^BITS. The middle of a bin differs from its numbers by at most 1 / (2^(BITS+1) + 1) = 0.78 %.
const BITS: u32 = 6;
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - BITS;
/// The maximum number of bins for each sign: 32 octaves.
const BINS_MAX: u32 = 2048;
/// Up to this number of bins that aren't empty, a store lists them.
const LISTED_MAX: usize = 32;
/// What is written instead of the number of listed bins if all from the first to the last follow.
const ALL_FOLLOW: usize = LISTED_MAX + 1;

pub(super) const BAD_SKETCH: CorruptCell = CorruptCell::new("a sketch of quantiles is invalid");

/// The bins of one sign, as they are encoded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Store<'a> {
    /// The distance to the bin before and the count of each.
    Listed { bins: usize, encoded: &'a [u8] },
    /// A count of `width` bytes for each.
    All { first: u32, width: usize, counts: &'a [u8] },
}

/// Bins that aren't empty, ascending, with their counts.
pub(super) type Bins = Vec<(u32, u64)>;

impl<'a> Store<'a> {
    pub(super) const EMPTY: Store<'static> = Store::Listed { bins: 0, encoded: &[] };

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Store<'a>, CorruptCell> {
        match reader.length(ALL_FOLLOW)? {
            ALL_FOLLOW => {
                let first = u32::try_from(reader.u64()?).map_err(|_| BAD_SKETCH)?;
                let bins = reader.length(BINS_MAX as usize)?;
                let width = usize::from(reader.byte()?);
                let is_in_range = bins > 0 && u64::from(first) + bins as u64 <= u64::from(BIN_END);
                if !is_in_range || !matches!(width, 1 | 2 | 4 | 8) {
                    return Err(BAD_SKETCH);
                }
                Ok(Store::All { first, width, counts: reader.bytes(bins * width)? })
            }
            bins => {
                let before = reader.rest();
                for _ in 0..bins * 2 {
                    reader.u64()?;
                }
                let encoded = before.get(..before.len() - reader.rest().len()).unwrap_or_default();
                Ok(Store::Listed { bins, encoded })
            }
        }
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Store::Listed { bins, encoded } => {
                write_u64(out, bins as u64);
                out.extend_from_slice(encoded);
            }
            Store::All { first, width, counts } => {
                begin_all(first, counts.len() / width, width, out);
                out.extend_from_slice(counts);
            }
        }
    }

    /// Writes the store with one more number in a bin, if there is one.
    pub(super) fn write_with(self, bin: Option<u32>, out: &mut Vec<u8>) -> Result<(), FoldError> {
        let Some(mut bin) = bin else {
            self.write(out);
            return Ok(());
        };
        if let Store::All { first, width, counts } = self {
            // The largest bin decides which bins are too small to be kept.
            let end = u64::from(first) + (counts.len() / width) as u64;
            bin = bin.max(u32::try_from(end).unwrap_or(BIN_END).saturating_sub(BINS_MAX));
            let at = bin.checked_sub(first).map(|at| at as usize * width);
            let raised = at.and_then(|at| counts.get(at..at + width)).map(count).and_then(|count| count.checked_add(1));
            if let (Some(at), Some(raised)) = (at, raised)
                && width_of(raised) <= width
            {
                self.write(out);
                let at = out.len() - counts.len() + at;
                set_count(out, at, width, raised);
                return Ok(());
            }
        }
        if let Store::Listed { bins, encoded } = self
            && write_listed_with(bins, encoded, bin, out)?
        {
            return Ok(());
        }
        write(union(&self.bins()?, &[(bin, 1)])?, out)
    }

    pub(super) fn bins(self) -> Result<Bins, CorruptCell> {
        match self {
            Store::Listed { bins, encoded } => {
                let (mut listed, mut reader, mut bin) = (Vec::with_capacity(bins + 1), Reader::new(encoded), 0_u32);
                for _ in 0..bins {
                    let distance = u32::try_from(reader.u64()?).map_err(|_| BAD_SKETCH)?;
                    bin = bin.checked_add(distance).filter(|&bin| bin < BIN_END).ok_or(BAD_SKETCH)?;
                    listed.push((bin, reader.u64()?));
                }
                Ok(listed)
            }
            Store::All { first, width, counts } => {
                let counts = counts.chunks_exact(width).map(count);
                Ok((first..).zip(counts).filter(|&(_, count)| count > 0).collect())
            }
        }
    }
}

/// Writes listed bins with one more number in a bin. Returns false and writes nothing if the list has no room for it.
fn write_listed_with(bins: usize, encoded: &[u8], bin: u32, out: &mut Vec<u8>) -> Result<bool, CorruptCell> {
    let bin = u64::from(bin);
    let (mut reader, mut known, mut first, mut next) = (Reader::new(encoded), 0, None, None);
    let offset = |reader: &Reader<'_>| encoded.len() - reader.rest().len();
    while !reader.is_empty() {
        let (before, start) = (known, offset(&reader));
        known = plus(before, reader.u64()?)?;
        let after_distance = offset(&reader);
        let count = reader.u64()?;
        if known == bin {
            write_u64(out, bins as u64);
            out.extend_from_slice(encoded.get(..after_distance).unwrap_or_default());
            write_u64(out, plus(count, 1)?);
            out.extend_from_slice(reader.rest());
            return Ok(true);
        }
        first = first.or(Some(known));
        if known > bin && next.is_none() {
            next = Some((before, start, known, after_distance));
        }
    }
    let span = known.max(bin) - first.unwrap_or(bin).min(bin);
    if bins >= LISTED_MAX || span >= u64::from(BINS_MAX) {
        return Ok(false);
    }
    write_u64(out, bins as u64 + 1);
    let (before, start) = next.map_or((known, encoded.len()), |(before, start, ..)| (before, start));
    out.extend_from_slice(encoded.get(..start).unwrap_or_default());
    write_u64(out, bin.saturating_sub(before));
    out.push(1);
    if let Some((_, _, next, after_distance)) = next {
        write_u64(out, next - bin);
        out.extend_from_slice(encoded.get(after_distance..).unwrap_or_default());
    }
    Ok(true)
}

/// The bins of both, with their counts added.
pub(super) fn union(a: &[(u32, u64)], b: &[(u32, u64)]) -> Result<Bins, CorruptCell> {
    let mut bins: Bins = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.0 <= y.0 => a.next(),
            (Some(_), None) => a.next(),
            (Some(_) | None, _) => b.next(),
        };
        let Some(&(bin, count)) = next else { return Ok(bins) };
        match bins.last_mut() {
            Some(last) if last.0 == bin => last.1 = plus(last.1, count)?,
            Some(_) | None => bins.push((bin, count)),
        }
    }
}

/// Writes a store. Bins that are too far below the largest one are added up.
pub(super) fn write(mut bins: Bins, out: &mut Vec<u8>) -> Result<(), FoldError> {
    let Some(&(last, _)) = bins.last() else {
        out.push(0);
        return Ok(());
    };
    let lowest = last.saturating_sub(BINS_MAX - 1);
    let below = bins.partition_point(|&(bin, _)| bin < lowest);
    if below > 0 {
        let mut collapsed = 0;
        for (_, count) in bins.drain(..below) {
            collapsed = plus(collapsed, count)?;
        }
        match bins.first_mut() {
            Some(first) if first.0 == lowest => first.1 = plus(first.1, collapsed)?,
            Some(_) | None => bins.insert(0, (lowest, collapsed)),
        }
    }
    if bins.len() <= LISTED_MAX {
        write_u64(out, bins.len() as u64);
        let mut before = 0;
        for (bin, count) in bins {
            write_u64(out, u64::from(bin - before));
            write_u64(out, count);
            before = bin;
        }
        return Ok(());
    }
    let (Some(&(first, _)), largest) = (bins.first(), bins.iter().map(|&(_, count)| count).max()) else {
        return Ok(());
    };
    let (length, width) = ((last - first) as usize + 1, width_of(largest.unwrap_or_default()));
    begin_all(first, length, width, out);
    let start = out.len();
    out.resize(start + length * width, 0);
    for (bin, count) in bins {
        set_count(out, start + (bin - first) as usize * width, width, count);
    }
    Ok(())
}

fn begin_all(first: u32, bins: usize, width: usize, out: &mut Vec<u8>) {
    write_u64(out, ALL_FOLLOW as u64);
    write_u64(out, u64::from(first));
    write_u64(out, bins as u64);
    out.push(u8::try_from(width).unwrap_or(u8::MAX));
}

fn set_count(out: &mut [u8], at: usize, width: usize, count: u64) {
    if let (Some(place), Some(count)) = (out.get_mut(at..at + width), count.to_le_bytes().get(..width)) {
        place.copy_from_slice(count);
    }
}

/// The bytes that a count needs.
fn width_of(count: u64) -> usize {
    match count {
        0..0x100 => 1,
        0x100..0x1_0000 => 2,
        0x1_0000..0x1_0000_0000 => 4,
        0x1_0000_0000.. => 8,
    }
}

fn count(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        _ => bytes.iter().rev().fold(0, |count, &byte| count << 8 | u64::from(byte)),
    }
}

/// The bin of infinity: all finite numbers are in lower ones.
const BIN_END: u32 = 0x7ff << BITS;

/// The bin of a positive number.
pub(super) fn bin(value: f64) -> u32 {
    (value.to_bits() >> SHIFT) as u32
}

/// The number whose relative distance to all numbers of a bin is smallest.
pub(super) fn middle(bin: u32) -> f64 {
    let from = f64::from_bits(u64::from(bin) << SHIFT);
    let to = f64::from_bits((u64::from(bin) + 1) << SHIFT);
    if to.is_finite() { from * (2.0 / (1.0 + from / to)) } else { from }
}
