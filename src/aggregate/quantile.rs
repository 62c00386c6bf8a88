//! Quantiles of a field's numbers: a DDSketch (Masson, Rim and Lee 2019) whose bins come from the bits of the floating-point number.
//!
//! The positive and the negative numbers are counted in the [`Store`] of their sign, and the smallest and the largest number are kept
//! as they are. It knows no records. Invariant: a sketch is a function of the multiset of its numbers, so the order and the grouping of
//! records make no difference.

use super::bins::BAD_SKETCH;
use super::bins::Store;
use super::bins::bin;
use super::bins::middle;
use super::bins::union;
use super::bins::write;
use super::decimal::Decimal;
use super::encoding::Reader;
use super::encoding::write_u64;
use super::field::Field;
use super::number::plus;
use super::reject::CorruptCell;
use super::reject::FoldError;

/// What a cell holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sketch<'a> {
    min: f64,
    max: f64,
    zeros: u64,
    positive: Store<'a>,
    negative: Store<'a>,
}

pub(super) fn add(old: &mut Reader<'_>, field: &Field<'_>, out: &mut Vec<u8>) -> Result<(), FoldError> {
    let text = field.number_text()?;
    // Adding 0 turns -0 into 0.
    let value = text.parse().map_or(f64::NAN, |value: f64| value + 0.0);
    if !value.is_finite() {
        return Err(field.out_of_range("too large for a 64-bit floating-point number").into());
    }
    let new = Sketch { min: value, max: value, zeros: 0, positive: Store::EMPTY, negative: Store::EMPTY };
    let sketch = read(old)?.unwrap_or(new);
    let zeros = plus(sketch.zeros, u64::from(value == 0.0))?;
    Sketch { min: sketch.min.min(value), max: sketch.max.max(value), zeros, ..sketch }.begin(out);
    sketch.positive.write_with((value > 0.0).then(|| bin(value)), out)?;
    sketch.negative.write_with((value < 0.0).then(|| bin(-value)), out)?;
    Ok(())
}

pub(super) fn merge(into: &mut Reader<'_>, later: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), FoldError> {
    let (a, b) = match (read(into)?, read(later)?) {
        (Some(a), Some(b)) => (a, b),
        (Some(only), None) | (None, Some(only)) => {
            only.begin(out);
            only.positive.write(out);
            only.negative.write(out);
            return Ok(());
        }
        (None, None) => {
            out.push(0);
            return Ok(());
        }
    };
    let merged = Sketch { min: a.min.min(b.min), max: a.max.max(b.max), zeros: plus(a.zeros, b.zeros)?, ..a };
    merged.begin(out);
    for (a, b) in [(a.positive, b.positive), (a.negative, b.negative)] {
        write(union(&a.bins()?, &b.bins()?)?, out)?;
    }
    Ok(())
}

/// Reads over a part. `None` if no number was added.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Option<Sketch<'a>>, CorruptCell> {
    match reader.byte()? {
        0 => return Ok(None),
        1 => {}
        _ => return Err(BAD_SKETCH),
    }
    let [min, max] = [reader.array()?, reader.array()?].map(f64::from_le_bytes);
    if !(min.is_finite() && max.is_finite() && min <= max) {
        return Err(BAD_SKETCH);
    }
    let zeros = reader.u64()?;
    Ok(Some(Sketch { min, max, zeros, positive: Store::read(reader)?, negative: Store::read(reader)? }))
}

/// Reads over a part and checks its content.
pub(super) fn check(reader: &mut Reader<'_>) -> Result<(), CorruptCell> {
    let Some(sketch) = read(reader)? else { return Ok(()) };
    let mut total = sketch.zeros;
    for store in [sketch.positive, sketch.negative] {
        let bins = store.bins()?;
        for &(_, count) in &bins {
            total = plus(total, count)?;
        }
        if bins.iter().any(|&(_, count)| count == 0) || bins.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(BAD_SKETCH);
        }
        let [mut again, mut as_read] = [Vec::new(), Vec::new()];
        write(bins, &mut again).map_err(|_| BAD_SKETCH)?;
        store.write(&mut as_read);
        if again != as_read {
            return Err(BAD_SKETCH);
        }
    }
    if total == 0 { Err(BAD_SKETCH) } else { Ok(()) }
}

impl Sketch<'_> {
    /// The number at a quantile, as `percentile_disc` of SQL: the smallest one that at least this share of the numbers doesn't exceed. If
    /// it is the first or the last one, it is exact. Else it has four significant digits.
    pub(super) fn at(&self, quantile: Decimal) -> Result<f64, CorruptCell> {
        let (positive, negative) = (self.positive.bins()?, self.negative.bins()?);
        let mut total = self.zeros;
        for (_, count) in positive.iter().chain(&negative) {
            total = plus(total, *count)?;
        }
        let last = total.checked_sub(1).ok_or(BAD_SKETCH)?;
        let (numerator, denominator) = quantile.ratio().ok_or(BAD_SKETCH)?;
        let rank = (u128::from(total) * numerator).div_ceil(denominator).saturating_sub(1);
        if rank == 0 {
            return Ok(self.min);
        }
        if rank >= u128::from(last) {
            return Ok(self.max);
        }
        let below_zero = negative.iter().rev().map(|&(bin, count)| (-middle(bin), count));
        let above_zero = positive.iter().map(|&(bin, count)| (middle(bin), count));
        let mut passed = 0;
        for (value, count) in below_zero.chain([(0.0, self.zeros)]).chain(above_zero) {
            passed += u128::from(count);
            if passed > rank {
                return Ok(four_digits(value).clamp(self.min, self.max));
            }
        }
        Ok(self.max)
    }

    /// Writes what is before the stores.
    fn begin(&self, out: &mut Vec<u8>) {
        out.push(1);
        out.extend_from_slice(&self.min.to_le_bytes());
        out.extend_from_slice(&self.max.to_le_bytes());
        write_u64(out, self.zeros);
    }
}

/// Rounds to four significant digits, which adds less than 0.05 % to the error.
fn four_digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
