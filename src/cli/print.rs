//! Prints to stdout. `dev` shows an output record as one JSON object per line to a pipe, and as aligned text on a terminal.

use std::io;
use std::io::ErrorKind;
use std::io::Write as _;

use serde_json::Value;
use serde_json::json;

use super::exit_code::Exit;
use crate::dry_run::line;
use crate::dry_run::line::OwnedHeader;
use crate::record::Header;
use crate::sink::FailureHeaders;

/// Whether stdout is still read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// It is, as far as is known.
    There,
    /// The other end of the pipe was closed.
    Gone,
}

/// Prints data. A full disk is an error, because the output is incomplete; a closed pipe is not an error.
pub(super) fn data(text: &str) -> Result<Reader, Exit> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Exit::Invalid(format!("write to stdout: {error}"))),
    }
}

/// An output record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [OwnedHeader],
}

/// One line of JSON without its newline; `--format record` reads it back.
pub(super) fn line(record: Shown<'_>) -> String {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(name, value)| json!([line::json(Some(name)), line::json(value.as_deref())]))
        .collect();
    json!({
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": line::json(record.key),
        "value": line::json(record.value),
        "headers": headers,
    })
    .to_string()
}

/// One line for a terminal, without its newline. No contents of the record can move the cursor. A dead letter has its reason on a
/// second line.
pub(super) fn pretty(record: Shown<'_>, color: bool) -> String {
    let place = format!("{}[{}]@{}", record.topic, record.partition, record.offset);
    let line = at_place(&place, record.key, record.value, color);
    let headers = record.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() });
    match FailureHeaders::read(&headers.collect::<Vec<_>>()) {
        Some(failure) => format!("{line}\n    {}", text(Some(failure.line().as_bytes()))),
        None => line,
    }
}

/// Like [`pretty`], with the given text in place of the record's position.
pub(super) fn at_place(place: &str, key: Option<&[u8]>, value: Option<&[u8]>, color: bool) -> String {
    let (dim, plain) = if color { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    let key = key.map_or(String::new(), |key| format!("{}  ", text(Some(key))));
    format!("{dim}{place}{plain}  {key}{}", text(value))
}

/// Bytes as text that can't move a cursor.
pub(super) fn text(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".into() };
    let mut safe = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Shown<'_> =
        Shown { topic: "out", partition: 1, offset: 7, key: Some(b"k"), value: Some(b"v"), headers: &[] };

    #[test]
    fn a_terminal_shows_position_key_and_value_and_no_escape_sequence() {
        assert_eq!(pretty(RECORD, false), "out[1]@7  k  v");
        assert_eq!(pretty(Shown { key: None, value: None, ..RECORD }, false), "out[1]@7  null");
        assert_eq!(
            pretty(Shown { key: None, value: Some(b"a\x1b[2J\n"), ..RECORD }, false),
            "out[1]@7  a\\u{1b}[2J\\n"
        );
    }

    #[test]
    fn a_person_reads_why_a_record_is_a_dead_letter() {
        let header = |name: &str, value: &str| (name.as_bytes().to_vec(), Some(value.as_bytes().to_vec()));
        let mut headers = vec![
            header("wasmill-code", "of-the-record"),
            header("__streams.errors.message", "of the record"),
            header("wasmill-step", "mask"),
        ];
        let own = Shown { headers: &headers, ..RECORD };
        assert_eq!(pretty(own, false), "out[1]@7  k  v", "a record may have headers of these names");
        headers.extend(
            [
                ("__streams.errors.exception", "wasmill.reject"),
                ("__streams.errors.message", "no JSON\x1b"),
                ("__streams.errors.stacktrace", ""),
                ("__streams.errors.topic", "in"),
                ("__streams.errors.partition", "0"),
                ("__streams.errors.offset", "1"),
                ("wasmill-pipeline", "p"),
                ("wasmill-step", "mask"),
                ("wasmill-code", "bad-json"),
                ("wasmill-attempts", "1"),
                ("wasmill-digest", ""),
                ("wasmill-time", "2026-01-01T00:00:00.000Z"),
            ]
            .map(|(name, value)| header(name, value)),
        );
        assert_eq!(
            pretty(Shown { headers: &headers, ..RECORD }, false),
            "out[1]@7  k  v\n    step `mask`: bad-json: no JSON\\u{1b}"
        );
    }

    #[test]
    fn a_program_reads_json() {
        let line = line(Shown { value: None, headers: &[(b"h".to_vec(), None)], ..RECORD });
        let object: Value = serde_json::from_str(&line).unwrap();
        let expected = json!({
            "topic": "out", "partition": 1, "offset": 7, "key": "k", "value": null, "headers": [["h", null]],
        });
        assert_eq!(object, expected);
    }
}
