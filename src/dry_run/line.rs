//! Reads a line of text as a record, and writes a record as a line.
//!
//! The line is either the record's value, or a JSON object with all parts of the record. Nothing is sent here. Invariant: what `dev`
//! prints for a pipe can be fed again, and JSON inside a line passes through byte for byte.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use base64::DecodeError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::value::RawValue;

use super::json::Members;
use super::lines::Line;
use super::lines::Lines;
use crate::config::Written;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LineFormat {
    /// The value of a record
    Value,
    /// {"key", "value", "headers", "timestamp"}
    Record,
}

/// A header's name and value; `None` is null.
pub type OwnedHeader = (Vec<u8>, Option<Vec<u8>>);

/// Headers in order; names may repeat.
pub type FeedHeaders = Vec<OwnedHeader>;

/// A record to be fed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: FeedHeaders,
    /// Milliseconds since 1970-01-01 UTC; `None` is the time of producing.
    pub timestamp: Option<i64>,
}

impl FeedRecord {
    /// The bytes of key, value and headers.
    pub fn bytes(&self) -> u64 {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + length(value)).sum();
        (length(&self.key) + length(&self.value) + headers) as u64
    }
}

/// Reads a line without its line end.
pub fn parse(line: &[u8], format: LineFormat) -> Result<FeedRecord, String> {
    match format {
        LineFormat::Value => Ok(FeedRecord { value: Some(line.to_vec()), ..FeedRecord::default() }),
        LineFormat::Record => {
            let members = serde_json::from_slice(line).map_err(|error| match line {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16: save the file as UTF-8".to_owned(),
                _ => format!("not a JSON object: {error}"),
            })?;
            record(members)
        }
    }
}

/// The records of a file that has a value on each line.
///
/// # Errors
/// If the file can't be read.
pub fn values(file: &Path) -> Result<Vec<FeedRecord>, String> {
    let value = |line: Line| parse(&line.text, LineFormat::Value);
    lines(file)?.map(|line| value(line.map_err(|error| format!("{}: {error}", file.display()))?)).collect()
}

/// The lines of a file.
///
/// # Errors
/// If the file doesn't exist or can't be opened.
pub fn lines(file: &Path) -> Result<Lines<BufReader<File>>, String> {
    let opened = File::open(file).map_err(|error| format!("read {}: {error}", file.display()))?;
    Ok(Lines::of(BufReader::new(opened)))
}

/// A record in a file of test cases: a string is its value, an object with a record's fields is the whole record, and any other JSON is
/// the value.
pub fn value(written: &Written) -> Result<FeedRecord, String> {
    match written {
        Written::Text(text) => parse(text.as_bytes(), LineFormat::Value),
        Written::Json(text) => match serde_json::from_str::<Members<'_>>(text) {
            Ok(members) if members.0.iter().all(|(name, _)| FIELDS.contains(&name.as_str())) => record(members),
            Ok(_) | Err(_) => parse(text.as_bytes(), LineFormat::Value),
        },
    }
}

/// The parts of a record.
const FIELDS: [&str; 4] = ["key", "value", "headers", "timestamp"];

fn record(Members(members): Members<'_>) -> Result<FeedRecord, String> {
    let mut record = FeedRecord::default();
    let mut seen = BTreeSet::new();
    for (name, field) in &members {
        if !seen.insert(name) {
            return Err(format!("`{name}` occurs twice"));
        }
        match name.as_str() {
            "key" => record.key = bytes(name, field)?,
            "value" => record.value = bytes(name, field)?,
            "headers" => record.headers = headers(field)?,
            "timestamp" if field.get() == "null" => {}
            "timestamp" => {
                let timestamp = field.get().parse().ok().filter(|&timestamp: &i64| timestamp >= 0);
                record.timestamp = Some(timestamp.ok_or("`timestamp` is not a number of milliseconds")?);
            }
            // `dev` and `try` print these fields; they have no meaning when a record is fed.
            "topic" | "partition" | "offset" | "output" => {}
            _ => return Err(format!("unknown field `{name}`; there are key, value, headers and timestamp")),
        }
    }
    Ok(record)
}

/// An object, or a list of pairs when a name repeats.
fn headers(field: &RawValue) -> Result<FeedHeaders, String> {
    const NEITHER: &str = "`headers` is neither an object nor a list of [name, value]";
    match field.get().as_bytes().first() {
        Some(b'n') => Ok(Vec::new()),
        Some(b'{') => {
            let Members(fields) = serde_json::from_str(field.get()).map_err(|error| format!("`headers`: {error}"))?;
            let header = |(name, value): &(String, &RawValue)| {
                Ok((name.as_bytes().to_vec(), bytes(&format!("headers.{name}"), value)?))
            };
            fields.iter().map(header).collect()
        }
        Some(b'[') => {
            let pairs: Vec<&RawValue> = serde_json::from_str(field.get()).map_err(|_| NEITHER)?;
            pairs.into_iter().map(pair).collect()
        }
        _ => Err(NEITHER.into()),
    }
}

fn pair(pair: &RawValue) -> Result<OwnedHeader, String> {
    let [name, value] =
        serde_json::from_str::<[&RawValue; 2]>(pair.get()).map_err(|_| "a header is not a list of [name, value]")?;
    let name = bytes("headers", name)?.ok_or("a header's name is null")?;
    Ok((name, bytes("headers", value)?))
}

/// null, text, `{"base64": ".."}`, or any other JSON, whose text is used as written.
fn bytes(name: &str, field: &RawValue) -> Result<Option<Vec<u8>>, String> {
    let text = field.get();
    match text.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => {
            let read = serde_json::from_str::<String>(text).map_err(|error| format!("`{name}`: {error}"))?;
            Ok(Some(read.into_bytes()))
        }
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text).map_err(|error| format!("`{name}`: {error}"))?;
            match members.as_slice() {
                [(only, encoded)] if only == "base64" => decoded(name, encoded).map(Some),
                _ => Ok(Some(text.as_bytes().to_vec())),
            }
        }
        _ => Ok(Some(text.as_bytes().to_vec())),
    }
}

fn decoded(name: &str, encoded: &RawValue) -> Result<Vec<u8>, String> {
    let text: String = serde_json::from_str(encoded.get()).map_err(|_| format!("`{name}.base64` is not text"))?;
    from_base64(&text).map_err(|error| format!("`{name}.base64` isn't base64: {error}"))
}

pub(super) fn from_base64(text: &str) -> Result<Vec<u8>, DecodeError> {
    STANDARD.decode(text)
}

/// The reverse: text as it is, bytes that aren't UTF-8 as base64.
pub fn json(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::String(text.to_owned()),
        Some((bytes, Err(_))) => serde_json::json!({ "base64": STANDARD.encode(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_value_as_it_stands() {
        let record = parse(b" {\"a\" : 1} \xff", LineFormat::Value).unwrap();
        assert_eq!(record.value.as_deref(), Some(&b" {\"a\" : 1} \xff"[..]));
        assert_eq!(record.key, None);
        assert_eq!(
            parse(b"", LineFormat::Value).unwrap().value.as_deref(),
            Some(&b""[..]),
            "an empty line is an empty value"
        );
    }

    #[test]
    fn a_record_has_all_that_kafka_has() {
        let line = br#"{"key":"k","value":{"base64":"/w=="},"headers":[["a","1"],["a",null]],"timestamp":5}"#;
        let record = parse(line, LineFormat::Record).unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.value.as_deref(), Some(&[0xff][..]));
        assert_eq!(record.headers, [(b"a".to_vec(), Some(b"1".to_vec())), (b"a".to_vec(), None)]);
        assert_eq!(record.timestamp, Some(5));
        let tombstone = parse(br#"{"key":"k","value":null,"headers":{"h":"x"}}"#, LineFormat::Record).unwrap();
        assert_eq!((tombstone.value, tombstone.headers.len(), tombstone.timestamp), (None, 1, None));
        let document = parse(br#"{"value":{"order":1}}"#, LineFormat::Record).unwrap();
        assert_eq!(document.value.as_deref(), Some(&br#"{"order":1}"#[..]));
    }

    /// Once, the line was parsed and written again: long numbers lost digits, and a repeated name lost its first value.
    #[test]
    fn json_in_a_record_passes_through_byte_for_byte() {
        for json in [
            "{\"n\" : 115792089237316195423570985008687907853269984665640564039457584007913129639935}",
            "{\"b\":0.100000000000000000000000000001,\"a\":1,\"a\":2}",
            "[1.0, 1e2, -0]",
            "1.50",
        ] {
            let line = format!("{{\"key\":{json},\"value\":{json},\"headers\":{{\"h\":{json}}}}}");
            let record = parse(line.as_bytes(), LineFormat::Record).unwrap();
            let whole = Some(json.as_bytes().to_vec());
            assert_eq!((&record.key, &record.value, &record.headers[0].1), (&whole, &whole, &whole));
        }
    }

    #[test]
    fn a_line_that_is_no_record_is_refused_with_its_fault() {
        let refused = |line: &str, word: &str| {
            let error = parse(line.as_bytes(), LineFormat::Record).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        };
        refused("hello", "not a JSON object");
        refused("[1]", "not a JSON object");
        refused(r#"{"value":"a","value":"b"}"#, "`value` occurs twice");
        refused(r#"{"kay":"k"}"#, "unknown field `kay`");
        refused(r#"{"value":{"base64":"%"}}"#, "`value.base64`");
        refused(r#"{"timestamp":"noon"}"#, "`timestamp`");
        refused(r#"{"headers":[["a"]]}"#, "[name, value]");
        refused(r#"{"headers":[[null,"v"]]}"#, "null");
    }

    #[test]
    fn what_is_printed_can_be_fed() {
        for bytes in [None, Some(&b""[..]), Some(b"text"), Some(b"{\"base64\":\"\"}"), Some(b"\xff\x00")] {
            let line = serde_json::json!({ "value": json(bytes), "topic": "t" }).to_string();
            assert_eq!(parse(line.as_bytes(), LineFormat::Record).unwrap().value.as_deref(), bytes);
        }
    }
}
