//! Reads what a dead letter says about its failure: the inverse of `dead_letter`.
//!
//! Pure. The added headers follow those of the record, which may have the same names: so it looks at the end of the list for one of
//! the shapes that dead letters are written in. Invariant: what was written is read back, whatever the record's own headers are.

use super::dead_letter::Detail;
use super::dead_letter::Dialect;
use super::dead_letter::Field;
use super::dead_letter::REPLAYS;
use super::dead_letter::Shape;
use crate::failure::Kind;
use crate::record::Header;
use crate::record::TopicPartition;

/// What the headers of a dead letter say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureHeaders {
    /// How many headers are the record's own. They come first.
    pub own: usize,
    /// The partition that the record was read from.
    pub source: TopicPartition,
    /// The record's offset there.
    pub offset: i64,
    /// The pipeline. This and what follows is empty or unknown if there was no room for it.
    pub pipeline: Option<String>,
    /// The step; empty if none failed, but a broker refused an output.
    pub step: String,
    /// The kind of failure, as dead letters spell it.
    pub kind: String,
    /// The plugin's code of a reject, else the kind.
    pub code: String,
    /// Why it failed, for people.
    pub reason: String,
    /// The guest's backtrace.
    pub backtrace: String,
    /// How many times the record was tried.
    pub tries: Option<u32>,
    /// The SHA-256 of the step's component.
    pub digest: String,
    /// When it failed, in milliseconds since 1970-01-01 UTC.
    pub at_ms: Option<i64>,
    /// The record's own timestamp, if the dead letter has another one.
    pub timestamp: Option<i64>,
    /// How often it was replayed as a dead letter before.
    pub replays: u32,
}

impl FailureHeaders {
    /// Reads the headers of a record. `None` if it is no dead letter that a pipeline wrote.
    #[must_use]
    pub fn read(headers: &[Header<'_>]) -> Option<FailureHeaders> {
        let mut shapes = [Detail::Whole, Detail::Place].into_iter().flat_map(|detail| {
            [Dialect::Streams, Dialect::Connect].into_iter().flat_map(move |dialect| {
                [(false, false), (false, true), (true, false), (true, true)]
                    .map(|(is_retimed, is_replayed)| Shape { dialect, detail, is_retimed, is_replayed }.headers())
            })
        });
        let is_it = |shape: &Vec<(&str, Field)>| {
            let end = headers.len().checked_sub(shape.len()).map(|own| &headers[own..]);
            end.is_some_and(|end| end.iter().zip(shape).all(|(header, (name, _))| header.name == name.as_bytes()))
        };
        let shape = shapes.find(is_it)?;
        let own = headers.len() - shape.len();
        let text = |wanted: Field| {
            let at = shape.iter().position(|&(_, field)| field == wanted)?;
            Some(String::from_utf8_lossy(headers[own + at].value?).into_owned())
        };
        let code = text(Field::Code)?;
        let kind = match text(Field::Exception) {
            Some(exception) => exception.strip_prefix("wasmill.").unwrap_or(&exception).to_owned(),
            // A plugin may have a code of the same name.
            None => Kind::OF_RECORDS
                .iter()
                .map(|kind| kind.code())
                .find(|kind| *kind == code)
                .unwrap_or_else(|| Kind::Reject.code()),
        };
        // A record that was written back to its topic brings the count along.
        let before = headers[..own].iter().rev().find(|header| header.name == REPLAYS.as_bytes());
        let before = before.and_then(|header| std::str::from_utf8(header.value?).ok()?.parse().ok());
        Some(FailureHeaders {
            own,
            source: TopicPartition {
                topic: text(Field::Topic)?.into(),
                partition: text(Field::Partition)?.parse().ok()?,
            },
            offset: text(Field::Offset)?.parse().ok()?,
            pipeline: text(Field::Pipeline),
            step: text(Field::Step).unwrap_or_default(),
            kind,
            code,
            reason: text(Field::Message).unwrap_or_default(),
            backtrace: text(Field::Trace).unwrap_or_default(),
            tries: text(Field::Attempts).and_then(|text| text.parse().ok()),
            digest: text(Field::Digest).unwrap_or_default(),
            at_ms: text(Field::Time)
                .and_then(|text| text.parse::<jiff::Timestamp>().ok())
                .map(jiff::Timestamp::as_millisecond),
            timestamp: text(Field::Timestamp).and_then(|text| text.parse().ok()),
            replays: text(Field::Replays).and_then(|text| text.parse().ok()).or(before).unwrap_or(0),
        })
    }

    /// The failure in one line, for people.
    #[must_use]
    pub fn line(&self) -> String {
        let step = if self.step.is_empty() { String::new() } else { format!("step `{}`: ", self.step) };
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("{step}{}{reason}", self.code)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failure::Failure;
    use crate::record::Headers;
    use crate::record::Record;
    use crate::sink::DeadLetters;
    use crate::sink::GivenUp;

    fn name() -> impl Strategy<Value = Vec<u8>> {
        // Also the names of added headers.
        let known = ["wasmill-time", "wasmill-code", REPLAYS, "__streams.errors.topic", "__connect.errors.offset", ""];
        prop_oneof![
            prop::sample::select(known.to_vec()).prop_map(|name| name.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4)
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            own in prop::collection::vec((name(), prop::option::of(prop::collection::vec(any::<u8>(), 0..4))), 0..20),
            kind in prop::sample::select(Kind::OF_RECORDS.to_vec()),
            is_connect: bool,
            (replays, is_retimed, has_step) in any::<(u32, bool, bool)>(),
            room in 0_usize..3,
            reason in ".{0,20}",
            at_ms in 0_i64..4_000_000_000_000,
        ) {
            let dialect = if is_connect { Dialect::Connect } else { Dialect::Streams };
            let letters = DeadLetters { pipeline: "orders".into(), worker: 1, dialect };
            let mut failure = Failure::new(kind, has_step.then(|| "mask".into()), reason.clone());
            failure.digest = Some("ab".into());
            failure.backtrace = "at".into();
            if kind == Kind::Reject {
                failure.code = "bad-json".into();
            }
            let source = TopicPartition { topic: "in".into(), partition: 7 };
            let (mut lengths, mut data) = (Vec::new(), Vec::new());
            for (name, value) in &own {
                lengths.push(i32::try_from(name.len()).unwrap());
                lengths.push(value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap()));
                data.extend_from_slice(name);
                data.extend_from_slice(value.as_deref().unwrap_or_default());
            }
            let headers = Headers::new(&lengths, &data);
            let record = Record { offset: 99, timestamp: 5, attempt: 0, key: None, value: None, headers };
            let given_up = GivenUp { source: &source, failure: &failure, tries: 3, at_ms, replays, is_retimed };
            let tried = std::cell::Cell::new(0);
            let fits = |_: &crate::record::OutRecord<'_>| tried.replace(tried.get() + 1) >= room;
            let letter = letters.write(&record, given_up, fits).unwrap();
            let record = letter.record();
            let written: Vec<Header<'_>> = record.headers.iter().collect();
            let read = FailureHeaders::read(&written).unwrap();
            prop_assert_eq!((read.own, &read.source, read.offset), (own.len(), &source, 99));
            prop_assert_eq!(&read.code, if kind == Kind::Reject { "bad-json" } else { &failure.code });
            prop_assert_eq!(&read.kind, &kind.code());
            prop_assert_eq!(read.timestamp, is_retimed.then_some(5));
            if replays > 0 {
                prop_assert_eq!(read.replays, replays);
            }
            if room < 2 {
                let step = if has_step { "mask" } else { "" };
                prop_assert_eq!((read.pipeline.as_deref(), read.step.as_str()), (Some("orders"), step));
                prop_assert_eq!((read.reason, read.tries, read.at_ms), (reason, Some(3), Some(at_ms)));
                prop_assert_eq!((read.digest.as_str(), read.backtrace.as_str()), ("ab", if room == 0 { "at" } else { "" }));
            }
            prop_assert_eq!(FailureHeaders::read(&written[..own.len()]).is_some(), false);
        }
    }

    #[test]
    fn a_record_that_was_written_back_to_its_topic_brings_its_count_along() {
        let header = |name, value: &'static str| Header { name, value: Some(value.as_bytes()) };
        let place = [
            header(b"__streams.errors.topic", "t"),
            header(b"__streams.errors.partition", "0"),
            header(b"__streams.errors.offset", "3"),
            header(b"wasmill-code", "trap"),
        ];
        let own = [header(b"wasmill-replays", "1"), header(b"x", ""), header(b"wasmill-replays", "2")];
        let read = FailureHeaders::read(&[&own[..], &place[..]].concat()).unwrap();
        assert_eq!((read.own, read.replays, read.kind.as_str(), read.line().as_str()), (3, 2, "trap", "trap"));
        assert_eq!(FailureHeaders::read(&place[1..]), None);
    }
}
