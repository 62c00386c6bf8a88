//! Writes the result of a window as JSON.
//!
//! `{"key":..,"from":..,"to":..}` and the settings' fields in their order. The same cell always gives the same bytes. Invariant: every
//! number is in plain notation, so `1e3` is never written.

use std::fmt::Display;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::distinct;
use super::edge;
use super::encoding::Reader;
use super::functions::Functions;
use super::functions::ResultField;
use super::number;
use super::quantile;
use super::reject::CorruptCell;
use super::settings::Function;

/// A window whose result is written.
#[derive(Clone, Copy, Debug)]
pub struct ResultWindow {
    /// The first millisecond, since 1970-01-01 UTC.
    pub from_ms: i64,
    /// The first millisecond after it.
    pub to_ms: i64,
    /// Whether it has closed, if that is written.
    pub closed: Option<bool>,
}

impl Functions {
    /// Appends the result of a window to `out`. The window is `from_ms..to_ms`, in milliseconds since 1970-01-01 UTC.
    ///
    /// A key that is UTF-8 text is written as a JSON string, other bytes as `{"base64":".."}`, and the null key as null. Times are
    /// texts such as `"2026-11-30T10:00:00.000Z"`.
    ///
    /// `closed` is written if windows are shown before they close, and says whether this one has closed.
    ///
    /// # Errors
    /// The cell is corrupt. `out` is as it was before.
    pub fn emit(
        &self,
        key: Option<&[u8]>,
        ResultWindow { from_ms, to_ms, closed }: ResultWindow,
        cell: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CorruptCell> {
        let start = out.len();
        out.extend_from_slice(b"{\"key\":");
        write_key(key, out);
        for (name, time_ms) in [("from", from_ms), ("to", to_ms)] {
            write(out, format_args!(",\"{name}\":"));
            write_time(time_ms, out);
        }
        if let Some(closed) = closed {
            write(out, format_args!(",\"closed\":{closed}"));
        }
        let written = self.fields(cell, out);
        if written.is_ok() {
            out.push(b'}');
        } else {
            out.truncate(start);
        }
        written
    }

    /// The settings' fields of a cell, as a JSON object: what a result has beside its key and its window.
    ///
    /// # Errors
    /// The cell is corrupt.
    pub fn value(&self, cell: &[u8]) -> Result<String, CorruptCell> {
        let mut out = Vec::new();
        self.fields(cell, &mut out)?;
        // Each field begins with a comma.
        let fields = String::from_utf8_lossy(&out);
        Ok(format!("{{{}}}", fields.strip_prefix(',').unwrap_or(&fields)))
    }

    /// Appends the settings' fields, each with a comma before it.
    fn fields(&self, cell: &[u8], out: &mut Vec<u8>) -> Result<(), CorruptCell> {
        let parts = self.parts(cell)?;
        for result in &self.results {
            out.extend_from_slice(result.prefix.as_bytes());
            let part = parts.get(result.part).copied().unwrap_or_default();
            result.write(&mut Reader::new(part), out)?;
        }
        Ok(())
    }
}

/// A key as results have it, in JSON.
#[must_use]
pub fn json_key(key: Option<&[u8]>) -> String {
    let mut out = Vec::new();
    write_key(key, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A time as results have it, in JSON. `time_ms` is in milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn json_time(time_ms: i64) -> String {
    let mut out = Vec::new();
    write_time(time_ms, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

impl ResultField {
    fn write(&self, part: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), CorruptCell> {
        match self.function {
            Function::Count => write(out, format_args!("{}", part.u64()?)),
            Function::Sum => write_or_null(out, number::read_sum(part)?.map(|(_, sum)| sum)),
            Function::Average => {
                let average = number::read_sum(part)?.and_then(|(count, sum)| sum.average(count));
                write_or_null(out, average);
            }
            Function::Min | Function::Max => write_or_null(out, number::read_extreme(part)?),
            Function::Distinct => write(out, format_args!("{}", distinct::read(part)?.estimate())),
            Function::Quantile(quantile) => {
                let sketch = quantile::read(part)?;
                write_or_null(out, sketch.map(|sketch| sketch.at(quantile)).transpose()?);
            }
            Function::First | Function::Last => write_or_null(out, edge::read(part)?.map(|timed| timed.value)),
        }
        Ok(())
    }
}

fn write_or_null(out: &mut Vec<u8>, value: Option<impl Display>) {
    match value {
        Some(value) => write(out, format_args!("{value}")),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_time(time_ms: i64, out: &mut Vec<u8>) {
    match jiff::Timestamp::from_millisecond(time_ms) {
        Ok(time) => write(out, format_args!("\"{time:.3}\"")),
        // Before the year -9999 or after the year 9999: no event time is.
        Err(_) => write(out, format_args!("{time_ms}")),
    }
}

fn write_key(key: Option<&[u8]>, out: &mut Vec<u8>) {
    match key.map(|key| (key, std::str::from_utf8(key))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => write(out, format_args!("{}", serde_json::Value::from(text))),
        Some((bytes, Err(_))) => write(out, format_args!("{{\"base64\":\"{}\"}}", STANDARD.encode(bytes))),
    }
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory doesn't fail");
}
