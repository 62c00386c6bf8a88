//! The dead letter of a failed record: the record unchanged, followed by headers that describe the failure.
//!
//! Pure. Key, value, headers and timestamp are those of the record, byte for byte. The added headers are UTF-8 text, with decimal
//! numbers: first the header names of Kafka Streams or Kafka Connect, so that their tools work with these dead letters, then
//! `wasmill-*`. If a dead letter is too large for its topic, added headers are left out, never a byte of the record.

use std::borrow::Cow;

use crate::failure::Class;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::record::Headers;
use crate::record::OutRecord;
use crate::record::Record;
use crate::record::TopicPartition;

/// Which header names come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `__streams.errors.*`, as Kafka Streams writes them since 4.2.
    #[default]
    Streams,
    /// `__connect.errors.*`, as Kafka Connect writes them.
    Connect,
}

/// Settings that all dead letters of a pipeline share.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// The pipeline's name.
    pub pipeline: String,
    /// The worker's number, which Connect calls a task.
    pub worker: usize,
    /// Which header names come first.
    pub dialect: Dialect,
}

/// Why and when a record failed permanently.
#[derive(Clone, Copy, Debug)]
pub struct GivenUp<'a> {
    /// The partition that the record was read from.
    pub source: &'a TopicPartition,
    /// Why the record failed.
    pub failure: &'a Failure,
    /// How many times the record was tried.
    pub tries: u32,
    /// When it failed, in milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// How often it was replayed as a dead letter before.
    pub replays: u32,
    /// Whether the dead letter has the timestamp `at_ms`, because its topic doesn't accept the record's own. A header holds that
    /// one.
    pub is_retimed: bool,
}

/// A dead letter, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    lengths: Vec<i32>,
    headers: Vec<u8>,
}

/// The maximum size of the reason; the rest is cut.
const MESSAGE_BYTES_MAX: usize = 1 << 10;
/// The maximum size of the backtrace; the rest is cut.
const TRACE_BYTES_MAX: usize = 8 << 10;

/// Says how often a record was replayed as a dead letter.
pub const REPLAYS: &str = "wasmill-replays";
/// The headers of the dead letter of a window, whose value is its cell: its first millisecond in decimal, and the first one after it.
pub const WINDOW: [&str; 2] = ["wasmill-window-start", "wasmill-window-end"];

/// Which of the added headers a dead letter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Whole,
    NoTrace,
    /// Topic, partition, offset and code only.
    Place,
}

impl DeadLetters {
    /// The dead letter of a record, with as many of the added headers as `fits` accepts; `None` if not even the smallest one fits.
    #[must_use]
    pub fn write(
        &self,
        record: &Record<'_>,
        given_up: GivenUp<'_>,
        fits: impl Fn(&OutRecord<'_>) -> bool,
    ) -> Option<DeadLetter> {
        [Detail::Whole, Detail::NoTrace, Detail::Place]
            .into_iter()
            .map(|detail| self.write_in(record, given_up, detail))
            .find(|letter| fits(&letter.record()))
    }

    /// The dead letter of a record with the fewest added headers.
    #[must_use]
    pub fn least(&self, record: &Record<'_>, given_up: GivenUp<'_>) -> DeadLetter {
        self.write_in(record, given_up, Detail::Place)
    }

    fn write_in(&self, record: &Record<'_>, given_up: GivenUp<'_>, detail: Detail) -> DeadLetter {
        let mut letter = DeadLetter {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            lengths: record.headers.lengths().to_vec(),
            headers: Vec::new(),
        };
        for header in record.headers.iter() {
            letter.headers.extend_from_slice(header.name);
            letter.headers.extend_from_slice(header.value.unwrap_or_default());
        }
        let GivenUp { source, failure, tries, at_ms, replays, is_retimed } = given_up;
        if is_retimed {
            letter.timestamp = at_ms;
        }
        let shape = Shape { dialect: self.dialect, detail, is_retimed, is_replayed: replays > 0 };
        for (name, field) in shape.headers() {
            let value: Cow<'_, str> = match field {
                Field::Exception => format!("wasmill.{}", failure.kind.code()).into(),
                Field::Message => cut(&failure.reason, MESSAGE_BYTES_MAX).into(),
                Field::Trace if detail == Detail::Whole => cut(&failure.backtrace, TRACE_BYTES_MAX).into(),
                Field::Trace => "".into(),
                Field::Topic => (*source.topic).into(),
                Field::Partition => source.partition.to_string().into(),
                Field::Offset => record.offset.to_string().into(),
                Field::Pipeline => self.pipeline.as_str().into(),
                Field::Task => self.worker.to_string().into(),
                Field::Stage if failure.kind.class() == Class::Refused => "KAFKA_PRODUCE".into(),
                Field::Stage => "TRANSFORMATION".into(),
                Field::Step => failure.step.as_deref().unwrap_or_default().into(),
                // A refusal has a code of its own from Kafka; the header uses the codes of [`Kind`].
                Field::Code if failure.kind == Kind::Reject => (*failure.code).into(),
                Field::Code => failure.kind.code().into(),
                Field::Timestamp => record.timestamp.to_string().into(),
                Field::Replays => replays.to_string().into(),
                Field::Attempts => tries.to_string().into(),
                Field::Digest => failure.digest.as_deref().unwrap_or_default().into(),
                Field::Time => time(at_ms).into(),
            };
            letter.add(name, &value);
        }
        letter
    }
}

/// What an added header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Exception,
    Message,
    Trace,
    Topic,
    Partition,
    Offset,
    Pipeline,
    Task,
    Stage,
    Step,
    Code,
    Timestamp,
    Replays,
    Attempts,
    Digest,
    Time,
}

/// Which added headers a dead letter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) dialect: Dialect,
    pub(super) detail: Detail,
    pub(super) is_retimed: bool,
    pub(super) is_replayed: bool,
}

impl Shape {
    /// The names of the added headers, in order, and what each says.
    pub(super) fn headers(self) -> Vec<(&'static str, Field)> {
        let mut headers: Vec<(&'static str, Field)> = Vec::with_capacity(20);
        let is_whole = self.detail != Detail::Place;
        match self.dialect {
            Dialect::Streams => {
                if is_whole {
                    headers.extend([
                        ("__streams.errors.exception", Field::Exception),
                        ("__streams.errors.message", Field::Message),
                        ("__streams.errors.stacktrace", Field::Trace),
                    ]);
                }
                headers.extend([
                    ("__streams.errors.topic", Field::Topic),
                    ("__streams.errors.partition", Field::Partition),
                    ("__streams.errors.offset", Field::Offset),
                ]);
            }
            Dialect::Connect => {
                headers.extend([
                    ("__connect.errors.topic", Field::Topic),
                    ("__connect.errors.partition", Field::Partition),
                    ("__connect.errors.offset", Field::Offset),
                ]);
                if is_whole {
                    headers.extend([
                        ("__connect.errors.connector.name", Field::Pipeline),
                        ("__connect.errors.task.id", Field::Task),
                        ("__connect.errors.stage", Field::Stage),
                        ("__connect.errors.class.name", Field::Step),
                        ("__connect.errors.exception.class.name", Field::Exception),
                        ("__connect.errors.exception.message", Field::Message),
                        ("__connect.errors.exception.stacktrace", Field::Trace),
                    ]);
                }
            }
        }
        if is_whole {
            headers.extend([("wasmill-pipeline", Field::Pipeline), ("wasmill-step", Field::Step)]);
        }
        headers.push(("wasmill-code", Field::Code));
        if self.is_retimed {
            headers.push(("wasmill-timestamp", Field::Timestamp));
        }
        if self.is_replayed {
            headers.push((REPLAYS, Field::Replays));
        }
        if is_whole {
            headers.extend([
                ("wasmill-attempts", Field::Attempts),
                ("wasmill-digest", Field::Digest),
                ("wasmill-time", Field::Time),
            ]);
        }
        headers
    }
}

impl DeadLetter {
    /// The record for the producer.
    #[must_use]
    pub fn record(&self) -> OutRecord<'_> {
        OutRecord {
            parent: 0,
            port: 0,
            topic: None,
            partition: None,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::new(&self.lengths, &self.headers),
        }
    }

    /// The bytes of key, value and headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let size = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        size(&self.key) + size(&self.value) + self.headers.len()
    }

    fn add(&mut self, name: &str, value: &str) {
        // Names and values are at most a few kilobytes.
        self.lengths.extend([name, value].map(|text| i32::try_from(text.len()).unwrap_or(0)));
        self.headers.extend_from_slice(name.as_bytes());
        self.headers.extend_from_slice(value.as_bytes());
    }
}

/// The beginning of a text, cut between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// A time in RFC 3339, UTC, with milliseconds.
fn time(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Header;

    fn letters(dialect: Dialect) -> DeadLetters {
        DeadLetters { pipeline: "orders".into(), worker: 0, dialect }
    }

    fn failure() -> Failure {
        let digest = Some("ab12".into());
        Failure {
            backtrace: "at mask::process".into(),
            digest,
            ..Failure::new(Kind::Trap, Some("mask".into()), "it broke")
        }
    }

    fn written(letters: &DeadLetters, failure: &Failure, limit: usize) -> Option<DeadLetter> {
        let source = TopicPartition { topic: "orders".into(), partition: 3 };
        let record = Record {
            offset: 17,
            timestamp: 1_000,
            attempt: 2,
            key: None,
            value: Some(b"\xff\x00"),
            headers: Headers::new(&[2, -1, 0, 1], b"\xfe\xfdx"),
        };
        let at_ms = 1_769_817_600_004;
        let given_up = GivenUp { source: &source, failure, tries: 3, at_ms, replays: 0, is_retimed: false };
        letters.write(&record, given_up, |letter| letter.headers.data().len() <= limit)
    }

    /// The added headers, as text.
    fn ours(letter: &DeadLetter) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = letter.record().headers;
        headers.iter().skip(2).map(|header| (text(header.name), text(header.value.unwrap()))).collect()
    }

    fn names(letter: &DeadLetter) -> Vec<String> {
        ours(letter).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_dead_letter_is_the_record_followed_by_headers_about_the_failure() {
        let letter = written(&letters(Dialect::Streams), &failure(), usize::MAX).unwrap();
        let record = letter.record();
        assert_eq!((record.key, record.value, record.timestamp), (None, Some(&b"\xff\x00"[..]), 1_000));
        let own: Vec<Header<'_>> = record.headers.iter().take(2).collect();
        assert_eq!(own, [Header { name: b"\xfe\xfd", value: None }, Header { name: b"", value: Some(b"x") }]);
        let expected = [
            ("__streams.errors.exception", "wasmill.trap"),
            ("__streams.errors.message", "it broke"),
            ("__streams.errors.stacktrace", "at mask::process"),
            ("__streams.errors.topic", "orders"),
            ("__streams.errors.partition", "3"),
            ("__streams.errors.offset", "17"),
            ("wasmill-pipeline", "orders"),
            ("wasmill-step", "mask"),
            ("wasmill-code", "trap"),
            ("wasmill-attempts", "3"),
            ("wasmill-digest", "ab12"),
            ("wasmill-time", "2026-01-31T00:00:00.004Z"),
        ];
        assert_eq!(ours(&letter), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn in_the_connect_dialect_the_first_headers_have_connects_names() {
        let letter = written(&letters(Dialect::Connect), &failure(), usize::MAX).unwrap();
        let expected = [
            ("__connect.errors.topic", "orders"),
            ("__connect.errors.partition", "3"),
            ("__connect.errors.offset", "17"),
            ("__connect.errors.connector.name", "orders"),
            ("__connect.errors.task.id", "0"),
            ("__connect.errors.stage", "TRANSFORMATION"),
            ("__connect.errors.class.name", "mask"),
            ("__connect.errors.exception.class.name", "wasmill.trap"),
            ("__connect.errors.exception.message", "it broke"),
            ("__connect.errors.exception.stacktrace", "at mask::process"),
        ];
        let ours = ours(&letter);
        assert_eq!(ours[..10], expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(names(&letter)[10..], names(&written(&letters(Dialect::Streams), &failure(), 9999).unwrap())[6..]);
    }

    #[test]
    fn headers_that_do_not_fit_are_left_out_first_the_trace_then_all_but_the_position() {
        let letters = letters(Dialect::Streams);
        let whole = written(&letters, &failure(), usize::MAX).unwrap().headers.len();
        let no_trace = written(&letters, &failure(), whole - 1).unwrap();
        assert_eq!(no_trace.headers.len(), whole - failure().backtrace.len());
        let place = written(&letters, &failure(), no_trace.headers.len() - 1).unwrap();
        let kept = ["__streams.errors.topic", "__streams.errors.partition", "__streams.errors.offset", "wasmill-code"];
        assert_eq!(names(&place), kept);
        assert_eq!(place.value, no_trace.value);
        assert_eq!(written(&letters, &failure(), place.headers.len() - 1), None);
    }

    #[test]
    fn reason_and_trace_are_cut_between_characters() {
        let long = Failure { reason: "\u{e9}".repeat(2000), backtrace: "x".repeat(100_000), ..failure() };
        let letter = written(&letters(Dialect::Streams), &long, usize::MAX).unwrap();
        let found = ours(&letter);
        assert_eq!(found[1].1, "\u{e9}".repeat(512));
        assert_eq!(found[2].1.len(), 8192);
    }
}
