//! PURE. A dead letter as it was read.

use crate::dry_run::line::FeedRecord;
use crate::record::Header;
use crate::record::Record;
use crate::sink::FailureHeaders;
use crate::sink::REPLAYS;
use crate::sink::WINDOW;

/// A record is replayed at most this often, unless a person insists.
pub const REPLAYS_MAX: u32 = 3;

/// A dead letter that a pipeline wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The partition of the dead-letter topic.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
    /// The record that failed, as it was read.
    pub record: FeedRecord,
    /// What is said about the failure.
    pub failure: FailureHeaders,
    /// When it failed, or the timestamp of the dead letter if that isn't said; in milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
}

impl Letter {
    /// Reads a record of a dead-letter topic. `None` if no pipeline wrote it.
    #[must_use]
    pub fn read(partition: i32, record: &Record<'_>) -> Option<Letter> {
        let headers: Vec<Header<'_>> = record.headers.iter().collect();
        let failure = FailureHeaders::read(&headers)?;
        let own = headers.iter().take(failure.own);
        let timestamp = failure.timestamp.unwrap_or(record.timestamp);
        Some(Letter {
            partition,
            offset: record.offset,
            record: FeedRecord {
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: own.map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec))).collect(),
                timestamp: (timestamp >= 0).then_some(timestamp),
            },
            at_ms: failure.at_ms.unwrap_or(record.timestamp),
            failure,
        })
    }

    /// Whether it is a window that has no result, and its value a cell: it can't be run, and was in no topic.
    #[must_use]
    pub fn is_window(&self) -> bool {
        self.record.headers.iter().map(|(name, _)| &name[..]).eq(WINDOW.map(str::as_bytes))
    }

    /// Where the record was read from, for people.
    #[must_use]
    pub fn source(&self) -> String {
        let FailureHeaders { source, offset, .. } = &self.failure;
        format!("{}[{}]@{offset}", source.topic, source.partition)
    }

    /// The record as it is written back to the topic that it was read from: with the number of its replays.
    #[must_use]
    pub fn written_back(&self) -> FeedRecord {
        let mut record = self.record.clone();
        record.headers.retain(|(name, _)| name != REPLAYS.as_bytes());
        let replays = self.failure.replays.saturating_add(1).to_string();
        record.headers.push((REPLAYS.into(), Some(replays.into_bytes())));
        record
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::TopicPartition;

    /// A dead letter of the pipeline `orders`.
    pub(in crate::dlq) fn letter(partition: i32, offset: i64) -> Letter {
        Letter {
            partition,
            offset,
            record: FeedRecord::default(),
            failure: FailureHeaders {
                own: 0,
                source: TopicPartition { topic: "in".into(), partition: 0 },
                offset: 1000 + offset,
                pipeline: Some("orders".into()),
                step: "mask".into(),
                kind: "reject".into(),
                code: "bad-json".into(),
                reason: String::new(),
                backtrace: String::new(),
                tries: None,
                digest: String::new(),
                at_ms: None,
                timestamp: None,
                replays: 0,
            },
            at_ms: offset,
        }
    }

    #[test]
    fn a_window_has_its_two_headers_and_no_others() {
        let mut letter = letter(0, 1);
        let is_window = |letter: &mut Letter, names: &[&str]| {
            letter.record.headers = names.iter().map(|name| (name.as_bytes().to_vec(), None)).collect();
            letter.is_window()
        };
        let [start, end] = WINDOW;
        assert!(is_window(&mut letter, &[start, end]));
        for names in [&[][..], &[start], &[end], &[end, start], &["a", start, end], &[start, end, REPLAYS]] {
            assert!(!is_window(&mut letter, names), "{names:?}");
        }
    }

    #[test]
    fn a_record_that_is_written_back_has_one_count_of_its_replays() {
        let mut letter = letter(0, 1);
        letter.failure.replays = 2;
        let header = |name: &str, value: &str| (name.as_bytes().to_vec(), Some(value.as_bytes().to_vec()));
        letter.record.headers = vec![header(REPLAYS, "2"), header("a", "b")];
        assert_eq!(letter.written_back().headers, [header("a", "b"), header(REPLAYS, "3")]);
    }
}
