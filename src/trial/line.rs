//! A line of JSON or of anything else, as a record, and a record as a line.
//!
//! Either the line is the record's value as it stands, or it is a JSON object that says all of a record. It doesn't send
//! anything. Invariant: what `dev` prints for a pipe can be fed again.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde_json::Map;
use serde_json::Value;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The value of a record
    Value,
    /// {"key", "value", "headers", "timestamp"}
    Record,
}

/// A header's name and value; `None` is null.
pub type OwnedHeader = (Vec<u8>, Option<Vec<u8>>);

/// Headers in order; names may repeat.
pub type Headers = Vec<OwnedHeader>;

/// A record to be fed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
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

/// Reads a line, which has no line end.
pub fn parse(line: &[u8], format: Format) -> Result<FeedRecord, String> {
    match format {
        Format::Value => Ok(FeedRecord { value: Some(line.to_vec()), ..FeedRecord::default() }),
        Format::Record => {
            let fields: Map<String, Value> =
                serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))?;
            record(fields)
        }
    }
}

/// The records of a file that has a value on each line.
///
/// # Errors
/// That the file can't be read.
pub fn values(file: &Path) -> Result<Vec<FeedRecord>, String> {
    let bytes = fs::read(file).map_err(|error| format!("read {}: {error}", file.display()))?;
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    text.split(|&byte| byte == b'\n').map(|line| parse(line, Format::Value)).collect()
}

/// What a file of test cases says of a record: a text is its value, an object of a record's fields all of it, and any other JSON is
/// the value.
pub fn value(written: &Value) -> Result<FeedRecord, String> {
    match written {
        Value::String(text) => parse(text.as_bytes(), Format::Value),
        Value::Object(fields) if fields.keys().all(|name| FIELDS.contains(&name.as_str())) => record(fields.clone()),
        other @ (Value::Object(_) | Value::Array(_) | Value::Number(_) | Value::Bool(_) | Value::Null) => {
            parse(other.to_string().as_bytes(), Format::Value)
        }
    }
}

/// All that a record has.
const FIELDS: [&str; 4] = ["key", "value", "headers", "timestamp"];

fn record(fields: Map<String, Value>) -> Result<FeedRecord, String> {
    let mut record = FeedRecord::default();
    for (name, field) in fields {
        match name.as_str() {
            "key" => record.key = bytes(&name, field)?,
            "value" => record.value = bytes(&name, field)?,
            "headers" => record.headers = headers(field)?,
            "timestamp" if field.is_null() => {}
            "timestamp" => {
                let timestamp = field.as_i64().filter(|&timestamp| timestamp >= 0);
                record.timestamp = Some(timestamp.ok_or("`timestamp` is no number of milliseconds")?);
            }
            // `dev` and `try` print these; where a record came from doesn't matter when it is fed.
            "topic" | "partition" | "offset" | "output" => {}
            _ => return Err(format!("unknown field `{name}`; there are key, value, headers and timestamp")),
        }
    }
    Ok(record)
}

/// An object, or a list of pairs when a name repeats.
fn headers(field: Value) -> Result<Headers, String> {
    match field {
        Value::Null => Ok(Vec::new()),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| Ok((name.clone().into_bytes(), bytes(&format!("headers.{name}"), value)?)))
            .collect(),
        Value::Array(pairs) => pairs.into_iter().map(pair).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err("`headers` is neither an object nor a list of [name, value]".into())
        }
    }
}

fn pair(pair: Value) -> Result<OwnedHeader, String> {
    let Value::Array(pair) = pair else { return Err("a header is no list of [name, value]".into()) };
    let [name, value] = <[Value; 2]>::try_from(pair).map_err(|_| "a header is no list of [name, value]")?;
    let name = bytes("headers", name)?.ok_or("a header's name is null")?;
    Ok((name, bytes("headers", value)?))
}

/// null, text, `{"base64": ".."}`, or any other JSON, which is taken as its text.
fn bytes(name: &str, field: Value) -> Result<Option<Vec<u8>>, String> {
    match field {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.into_bytes())),
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("base64") => {
            let Some(Value::String(text)) = fields.get("base64") else {
                return Err(format!("`{name}.base64` is no text"));
            };
            STANDARD.decode(text).map(Some).map_err(|error| format!("`{name}.base64` isn't base64: {error}"))
        }
        other @ (Value::Object(_) | Value::Array(_) | Value::Number(_) | Value::Bool(_)) => {
            Ok(Some(other.to_string().into_bytes()))
        }
    }
}

/// The other way: text as it is, bytes that aren't UTF-8 as base64.
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
        let record = parse(b" {\"a\" : 1} \xff", Format::Value).unwrap();
        assert_eq!(record.value.as_deref(), Some(&b" {\"a\" : 1} \xff"[..]));
        assert_eq!(record.key, None);
        assert_eq!(
            parse(b"", Format::Value).unwrap().value.as_deref(),
            Some(&b""[..]),
            "an empty line is an empty value"
        );
    }

    #[test]
    fn a_record_has_all_that_kafka_has() {
        let line = br#"{"key":"k","value":{"base64":"/w=="},"headers":[["a","1"],["a",null]],"timestamp":5}"#;
        let record = parse(line, Format::Record).unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.value.as_deref(), Some(&[0xff][..]));
        assert_eq!(record.headers, [(b"a".to_vec(), Some(b"1".to_vec())), (b"a".to_vec(), None)]);
        assert_eq!(record.timestamp, Some(5));
        let tombstone = parse(br#"{"key":"k","value":null,"headers":{"h":"x"}}"#, Format::Record).unwrap();
        assert_eq!((tombstone.value, tombstone.headers.len(), tombstone.timestamp), (None, 1, None));
        let document = parse(br#"{"value":{"order":1}}"#, Format::Record).unwrap();
        assert_eq!(document.value.as_deref(), Some(&br#"{"order":1}"#[..]));
    }

    #[test]
    fn a_line_that_is_no_record_is_refused_with_its_fault() {
        let refused = |line: &str, word: &str| {
            let error = parse(line.as_bytes(), Format::Record).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        };
        refused("hello", "not a JSON object");
        refused("[1]", "not a JSON object");
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
            assert_eq!(parse(line.as_bytes(), Format::Record).unwrap().value.as_deref(), bytes);
        }
    }
}
