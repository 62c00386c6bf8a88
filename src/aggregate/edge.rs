//! The first and the last value of a field, by event time.
//!
//! Of values with the same time, the first is the one that arrived first, and the last the one that arrived last. The value is kept as
//! it is written. Invariant: merging keeps the order of arrival, because the earlier cell is the first argument.

use super::encoding::Reader;
use super::encoding::write_i128;
use super::encoding::write_u64;
use super::field::Field;
use super::json;
use super::reject::CorruptCell;
use super::reject::FoldError;

/// The maximum size of a value.
pub(super) const VALUE_BYTES_MAX: usize = 1024;

/// Which value is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    First,
    Last,
}

/// A value with its event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timed<'a> {
    time_ms: i64,
    /// As JSON.
    pub(super) value: &'a str,
}

pub(super) fn add(
    which: Edge,
    old: &mut Reader<'_>,
    field: &Field<'_>,
    time_ms: i64,
    out: &mut Vec<u8>,
) -> Result<(), FoldError> {
    let bytes = field.json.len();
    if bytes > VALUE_BYTES_MAX {
        let what = format!("has {bytes} bytes, where {VALUE_BYTES_MAX} are allowed");
        return Err(field.reject("value-too-large", &what).into());
    }
    write(which.of(read(old)?, Some(Timed { time_ms, value: field.json })), out);
    Ok(())
}

pub(super) fn merge(
    which: Edge,
    into: &mut Reader<'_>,
    later: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), FoldError> {
    let (into, later) = (read(into)?, read(later)?);
    write(which.of(into, later), out);
    Ok(())
}

impl Edge {
    fn of<'a>(self, into: Option<Timed<'a>>, later: Option<Timed<'a>>) -> Option<Timed<'a>> {
        let (Some(old), Some(new)) = (into, later) else { return into.or(later) };
        let is_new = match self {
            Edge::First => new.time_ms < old.time_ms,
            Edge::Last => new.time_ms >= old.time_ms,
        };
        Some(if is_new { new } else { old })
    }
}

pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Option<Timed<'a>>, CorruptCell> {
    // The length of a value is at least 1, so that 0 is free for no value.
    let length = reader.length(VALUE_BYTES_MAX)?;
    if length == 0 {
        return Ok(None);
    }
    let time_ms = i64::try_from(reader.i128()?).map_err(|_| CorruptCell::new("a time is out of range"))?;
    let value = std::str::from_utf8(reader.bytes(length)?).map_err(|_| BAD_VALUE)?;
    Ok(Some(Timed { time_ms, value }))
}

/// Reads over a part and checks that its value can be written into a result.
pub(super) fn check(reader: &mut Reader<'_>) -> Result<(), CorruptCell> {
    let timed = read(reader)?;
    if timed.is_none_or(|timed| json::is_valid(timed.value)) { Ok(()) } else { Err(BAD_VALUE) }
}

const BAD_VALUE: CorruptCell = CorruptCell::new("a value is not JSON");

fn write(timed: Option<Timed<'_>>, out: &mut Vec<u8>) {
    let Some(Timed { time_ms, value }) = timed else { return out.push(0) };
    write_u64(out, value.len() as u64);
    write_i128(out, i128::from(time_ms));
    out.extend_from_slice(value.as_bytes());
}
