//! Takes the key and the time from a record, and finds its fields.
//!
//! Used for every step with a window, whatever the step runs. It doesn't decide whether a record is late. Invariant: a time is at least
//! 0 and before the year 9999, so that the end of its window can be written as a date.

use std::borrow::Cow;

use super::decimal::Decimal;
use super::json;
use super::json::JsonKind;
use super::pointer::Pointer;
use super::reject::Reject;
use super::scan::FoundFields;
use super::scan::Scan;
use super::selector::KeySelector;
use super::selector::TimeField;
use super::selector::TimeSelector;
use super::selector::TimeUnit;
use crate::record::Record;

/// Times are before this one: 9999-01-01T00:00:00Z.
const TIME_MS_END: i64 = 253_370_764_800_000;

/// Takes key, time and fields from records.
#[derive(Clone, Debug)]
pub struct Extraction {
    key: Source,
    time: Source,
    unit: TimeUnit,
    scan: Scan,
}

#[derive(Clone, Debug)]
enum Source {
    Record,
    Field { field: usize, pointer: Pointer },
    Header(String),
    Const(String),
}

impl Extraction {
    /// `fields` are those of [`Functions::pointers`](super::Functions::pointers), or none for a step that runs a plugin.
    #[must_use]
    pub fn new(key: KeySelector, time: TimeSelector, fields: &[Pointer]) -> Extraction {
        let mut scan = Scan::default();
        for pointer in fields {
            scan.add(pointer);
        }
        let key = match key {
            KeySelector::Record => Source::Record,
            KeySelector::Json(pointer) => Source::Field { field: scan.add(&pointer), pointer },
            KeySelector::Header(name) => Source::Header(name),
            KeySelector::Const(text) => Source::Const(text),
        };
        let (time, unit) = match time {
            TimeSelector::Record => (Source::Record, TimeUnit::Milliseconds),
            TimeSelector::Field { from: TimeField::Json(pointer), unit } => {
                (Source::Field { field: scan.add(&pointer), pointer }, unit)
            }
            TimeSelector::Field { from: TimeField::Header(name), unit } => (Source::Header(name), unit),
        };
        Extraction { key, time, unit, scan }
    }

    /// Whether [`Extraction::read`] looks at values. If not, a value may be any bytes.
    #[must_use]
    pub fn reads_values(&self) -> bool {
        !self.scan.is_empty()
    }

    /// Finds the fields of a record. `found` replaces those of the record before. A null value has no fields.
    ///
    /// # Errors
    /// `bad-json`, if the step has a field in the value and the value is not JSON.
    pub fn read(&self, record: &Record<'_>, found: &mut FoundFields) -> Result<(), Reject> {
        self.scan.scan(record.value, found)
    }

    /// Whether the key is the record's key.
    #[must_use]
    pub fn is_by_record_key(&self) -> bool {
        matches!(self.key, Source::Record)
    }

    /// The key of a record whose fields were found. `None` is the null key of a record, if the step has no `key`.
    ///
    /// # Errors
    /// `no-key`.
    pub fn key<'a>(&'a self, record: &Record<'a>, found: &FoundFields) -> Result<Option<Cow<'a, [u8]>>, Reject> {
        let key = match &self.key {
            Source::Record => return Ok(record.key.map(Cow::Borrowed)),
            Source::Const(text) => Cow::Borrowed(text.as_bytes()),
            Source::Header(name) => Cow::Borrowed(header(record, name).map_err(|reason| no_key(&reason))?),
            Source::Field { field, pointer } => {
                let json = present(record, found, *field, pointer).map_err(|reason| no_key(&reason))?;
                match json::kind(json) {
                    JsonKind::Text => match json::unescaped(json) {
                        Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
                        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
                        None => return Err(no_key(&format!("{pointer} has half of a surrogate pair"))),
                    },
                    JsonKind::Number | JsonKind::Bool => Cow::Borrowed(json.as_bytes()),
                    JsonKind::Null | JsonKind::Array | JsonKind::Object => {
                        let what = json::described(json);
                        return Err(no_key(&format!("{pointer} is {what}, not a string, a number or a boolean")));
                    }
                }
            }
        };
        Ok(Some(key))
    }

    /// The event time of a record whose fields were found, in milliseconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// `no-time`.
    pub fn time(&self, record: &Record<'_>, found: &FoundFields) -> Result<i64, Reject> {
        let time = match &self.time {
            // There is no time that is the same for all records.
            Source::Record | Source::Const(_) if record.timestamp < 0 => {
                return Err(no_time("the record has no timestamp; name a field of it with `time`"));
            }
            Source::Record | Source::Const(_) => Some(record.timestamp),
            Source::Header(name) => {
                let text = header(record, name).map_err(|reason| no_time(&reason))?;
                let text = std::str::from_utf8(text).map_err(|_| no_time(&format!("header `{name}` is not text")))?;
                let place = format_args!("header `{name}`");
                self.time_of_text(text.trim_ascii())
                    .map_err(|why| no_time(&format!("{place} is \"{}\", {why}", cut(text))))?
            }
            Source::Field { field, pointer } => {
                let json = present(record, found, *field, pointer).map_err(|reason| no_time(&reason))?;
                let time = match json::kind(json) {
                    JsonKind::Number => Ok(self.time_of_number(json)),
                    JsonKind::Text => json::unescaped(json).map_or(Err(NOT_A_TIME), |text| self.time_of_text(&text)),
                    JsonKind::Null | JsonKind::Bool | JsonKind::Array | JsonKind::Object => Err(NOT_A_TIME),
                };
                time.map_err(|why| no_time(&format!("{pointer} is {}, {why}", json::described(json))))?
            }
        };
        time.filter(|time| (0..TIME_MS_END).contains(time)).ok_or_else(|| {
            no_time("the time is not between 1970 and 9998; a number counts milliseconds, or with `seconds:` seconds")
        })
    }

    /// The time, if a 64-bit number can hold it.
    fn time_of_number(&self, text: &str) -> Option<i64> {
        let thousands = match self.unit {
            TimeUnit::Milliseconds => 0,
            TimeUnit::Seconds => 3,
        };
        Decimal::parse(text)?.floor_at(thousands)
    }

    fn time_of_text(&self, text: &str) -> Result<Option<i64>, &'static str> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Ok(self.time_of_number(text));
        }
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Ok(Some(time.as_millisecond()));
        }
        Err(if text.parse::<jiff::civil::DateTime>().is_ok() { NO_OFFSET } else { NOT_A_TIME })
    }
}

const NOT_A_TIME: &str = "not a number or a date with time and offset such as 2026-11-30T10:00:00Z";
const NO_OFFSET: &str = "a date without an offset: write 2026-11-30T10:00:00Z, or +01:00 instead of Z";

/// A field's JSON text, or why there is none.
fn present<'a>(record: &Record<'a>, found: &FoundFields, field: usize, pointer: &Pointer) -> Result<&'a str, String> {
    found.text(record.value, field).ok_or_else(|| match record.value {
        None => format!("the record has a null value, so there is no {pointer}"),
        Some(_) if found.is_null(field) => format!("{pointer} is null"),
        Some(_) => format!("{pointer} is missing"),
    })
}

/// The value of the last header of this name, or why there is none.
fn header<'a>(record: &Record<'a>, name: &str) -> Result<&'a [u8], String> {
    let header = record.headers.iter().filter(|header| header.name == name.as_bytes()).last();
    let header = header.ok_or_else(|| format!("header `{name}` is missing"))?;
    header.value.ok_or_else(|| format!("header `{name}` is null"))
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

fn no_key(reason: &str) -> Reject {
    Reject::new("no-key", reason.to_owned())
}

fn no_time(reason: &str) -> Reject {
    Reject::new("no-time", reason.to_owned())
}
