//! A record as a tap keeps it: a copy, of which no part is larger than its bound.

use std::sync::Arc;

use super::Fate;
use super::Passing;
use super::TapPoint;
use super::TapRoute;
use crate::record::Headers;
use crate::record::TopicPartition;

/// The most bytes of a value.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// The most bytes of a key.
const KEY_BYTES_MAX: usize = 4 << 10;
/// The most bytes of all headers. Those that don't fit are left out.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// The most headers.
const HEADERS_MAX: usize = 64;
/// What a record costs besides its bytes.
const OVERHEAD_BYTES: usize = 256;

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TappedRecord {
    /// Where in the step it was.
    pub point: TapPoint,
    /// The step.
    pub step: Arc<str>,
    /// The partition of the input from which it came.
    pub source: TopicPartition,
    /// The offset of the record there that caused it; `None` for the result of a window.
    pub offset: Option<i64>,
    /// How many times that record was tried before.
    pub attempt: u32,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp: Option<i64>,
    /// `None` is null.
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values, in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Whether a part of it was left out, because it is too large.
    pub is_truncated: bool,
    /// The output that it was made for, and the topic that the plugin has named, if any; `None` if for the next step, or if the step hasn't made it.
    pub output: Option<(String, Option<String>)>,
    /// Why it failed, if it did.
    pub failure: Option<TappedFailure>,
}

/// Why a record failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TappedFailure {
    /// The kind, as metrics have it.
    pub kind: &'static str,
    /// The plugin's code, or that of the kind.
    pub code: String,
    /// For people.
    pub reason: String,
}

impl TappedRecord {
    pub(super) fn copy(passing: &Passing<'_>) -> TappedRecord {
        let mut is_truncated = false;
        let mut cut = |bytes: Option<&[u8]>, most: usize| {
            is_truncated |= bytes.is_some_and(|bytes| bytes.len() > most);
            bytes.map(|bytes| whole_characters(bytes, most).to_vec())
        };
        let (key, value) = (cut(passing.key, KEY_BYTES_MAX), cut(passing.value, VALUE_BYTES_MAX));
        let headers = first_headers(passing.headers);
        is_truncated |= headers.len() < passing.headers.len();
        TappedRecord {
            point: passing.fate.point(),
            step: Arc::clone(passing.step),
            source: passing.source.clone(),
            offset: passing.offset,
            attempt: passing.attempt,
            timestamp: Some(passing.timestamp).filter(|timestamp| *timestamp >= 0),
            key,
            value,
            headers,
            is_truncated,
            output: match passing.fate {
                Fate::Out(route) => {
                    route.map(|TapRoute { output, topic }| (output.to_owned(), topic.map(str::to_owned)))
                }
                Fate::In | Fate::Failed(_) => None,
            },
            failure: match passing.fate {
                Fate::Failed(failure) => Some(TappedFailure {
                    kind: failure.kind.label(),
                    code: failure.code.to_string(),
                    reason: failure.reason.clone(),
                }),
                Fate::In | Fate::Out(_) => None,
            },
        }
    }

    /// The memory that it takes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(name, value)| 64 + name.len() + length(value)).sum();
        let failure = self.failure.as_ref().map_or(0, |failure| failure.code.len() + failure.reason.len());
        OVERHEAD_BYTES + length(&self.key) + length(&self.value) + headers + failure
    }
}

/// The beginning of these bytes; of a text without a part of a character at its end.
fn whole_characters(bytes: &[u8], most: usize) -> &[u8] {
    let Some(beginning) = bytes.get(..most).filter(|_| bytes.len() > most) else { return bytes };
    match std::str::from_utf8(beginning) {
        Err(error) if error.error_len().is_none() => &beginning[..error.valid_up_to()],
        Ok(_) | Err(_) => beginning,
    }
}

/// The headers that fit.
fn first_headers(headers: Headers<'_>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut left = HEADER_BYTES_MAX;
    let fitting = headers.iter().take(HEADERS_MAX).map_while(|header| {
        left = left.checked_sub(header.name.len() + header.value.map_or(0, <[u8]>::len))?;
        Some((header.name.to_vec(), header.value.map(<[u8]>::to_vec)))
    });
    fitting.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(key: &[u8], value: &[u8], lengths: &[i32], data: &[u8]) -> TappedRecord {
        let (step, source) = ("mask".into(), TopicPartition { topic: "in".into(), partition: 0 });
        TappedRecord::copy(&Passing {
            step: &step,
            source: &source,
            offset: Some(0),
            attempt: 0,
            timestamp: 5,
            key: Some(key),
            value: Some(value),
            headers: Headers::new(lengths, data),
            fate: Fate::In,
        })
    }

    #[test]
    fn parts_are_cut_at_their_bounds_and_never_within_a_character() {
        let whole = copied(b"k", b"v", &[1, 1, 1, -1], b"abc");
        assert!(!whole.is_truncated);
        assert_eq!(whole.headers, [(b"a".to_vec(), Some(b"b".to_vec())), (b"c".to_vec(), None)]);
        let text = format!("x{}", "\u{fc}".repeat(VALUE_BYTES_MAX));
        let cut = copied(b"k", text.as_bytes(), &[], b"");
        let value = String::from_utf8(cut.value.unwrap()).unwrap();
        assert!(cut.is_truncated && text.starts_with(&value) && value.len() == VALUE_BYTES_MAX - 1, "{}", value.len());
        let bytes = vec![0xff; VALUE_BYTES_MAX + 1];
        assert_eq!(copied(b"k", &bytes, &[], b"").value.unwrap().len(), VALUE_BYTES_MAX);
        assert_eq!(copied(&bytes, b"v", &[], b"").key.unwrap().len(), KEY_BYTES_MAX);
        let length = i32::try_from(VALUE_BYTES_MAX).unwrap();
        let large = copied(b"k", b"v", &[1, 0, 0, length], &[b"a", &bytes[..VALUE_BYTES_MAX]].concat());
        assert!(large.is_truncated && large.headers.len() == 1);
        assert!(large.bytes() < 1024);
    }
}
