//! The parts of a cell that are a few numbers: counts, sums, and the smallest and the largest number.
//!
//! The part that no record was folded into is a single 0, as for every part. Averages are made from sums when a result is written.
//! Invariant: sums are exact.

use std::cmp::Ordering;

use super::decimal::Decimal;
use super::encoding::Reader;
use super::encoding::write_u64;
use super::field::Field;
use super::reject::CorruptCell;
use super::reject::FoldError;
use super::reject::Reject;

/// How many numbers were added, and their sum. `None` if there were none.
pub(super) type Sum = Option<(u64, Decimal)>;

/// Which number is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extreme {
    Min,
    Max,
}

pub(super) fn add_one(old: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), FoldError> {
    write_u64(out, plus(old.u64()?, 1)?);
    Ok(())
}

pub(super) fn merge_counts(into: &mut Reader<'_>, later: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), FoldError> {
    write_u64(out, plus(into.u64()?, later.u64()?)?);
    Ok(())
}

/// The sum of two counts. No stream is long enough for them to overflow.
pub(super) fn plus(a: u64, b: u64) -> Result<u64, CorruptCell> {
    a.checked_add(b).ok_or(CorruptCell::new("a count is too large"))
}

pub(super) fn add_to_sum(old: &mut Reader<'_>, field: &mut Field<'_>, out: &mut Vec<u8>) -> Result<(), FoldError> {
    let number = field.decimal()?;
    let old = read_sum(old)?;
    let sum = add_sums(old, Some((1, number))).map_err(|error| match error {
        FoldError::Reject(Reject { code, reason }) => {
            Reject::new(code, format!("{reason} of {}", field.pointer())).into()
        }
        FoldError::Corrupt(_) => error,
    })?;
    write_sum(sum, out);
    Ok(())
}

pub(super) fn merge_sums(into: &mut Reader<'_>, later: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), FoldError> {
    let (into, later) = (read_sum(into)?, read_sum(later)?);
    write_sum(add_sums(into, later)?, out);
    Ok(())
}

fn add_sums(into: Sum, later: Sum) -> Result<Sum, FoldError> {
    let (Some((count, sum)), Some((more, addend))) = (into, later) else { return Ok(into.or(later)) };
    let sum = sum.plus(addend).ok_or_else(|| {
        Reject::new("sum-out-of-range", "there are more than 38 digits before the point in the sum".to_owned())
    })?;
    Ok(Some((plus(count, more)?, sum)))
}

pub(super) fn read_sum(reader: &mut Reader<'_>) -> Result<Sum, CorruptCell> {
    match reader.u64()? {
        0 => Ok(None),
        count => Ok(Some((count, Decimal::read(reader)?))),
    }
}

fn write_sum(sum: Sum, out: &mut Vec<u8>) {
    match sum {
        None => out.push(0),
        Some((count, sum)) => {
            write_u64(out, count);
            sum.write(out);
        }
    }
}

pub(super) fn add_to_extreme(
    which: Extreme,
    old: &mut Reader<'_>,
    field: &mut Field<'_>,
    out: &mut Vec<u8>,
) -> Result<(), FoldError> {
    let number = field.decimal()?;
    write_extreme(which.of(read_extreme(old)?, Some(number)), out);
    Ok(())
}

pub(super) fn merge_extremes(
    which: Extreme,
    into: &mut Reader<'_>,
    later: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), FoldError> {
    let (into, later) = (read_extreme(into)?, read_extreme(later)?);
    write_extreme(which.of(into, later), out);
    Ok(())
}

impl Extreme {
    /// The one of the two that is kept. Of equal numbers, such as 1.5 and 1.50, it is the one with more digits.
    fn of(self, into: Option<Decimal>, later: Option<Decimal>) -> Option<Decimal> {
        let (Some(a), Some(b)) = (into, later) else { return into.or(later) };
        let order = match self {
            Extreme::Min => b.compare(a),
            Extreme::Max => a.compare(b),
        };
        Some(match order {
            Ordering::Less => b,
            Ordering::Greater => a,
            Ordering::Equal if b.scale() > a.scale() => b,
            Ordering::Equal => a,
        })
    }
}

pub(super) fn read_extreme(reader: &mut Reader<'_>) -> Result<Option<Decimal>, CorruptCell> {
    match reader.byte()? {
        0 => Ok(None),
        1 => Decimal::read(reader).map(Some),
        _ => Err(CorruptCell::new("a part has an unknown form")),
    }
}

fn write_extreme(number: Option<Decimal>, out: &mut Vec<u8>) {
    out.push(u8::from(number.is_some()));
    if let Some(number) = number {
        number.write(out);
    }
}
