//! What the API answers about single records: dead letters, failures, and records that pass a tap.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::time;
use crate::journal::BuriedRecord;
use crate::journal::FailedRecord;
use crate::journal::PastReload;
use crate::tap::TappedRecord;

/// A record whose dead letter was acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterView {
    /// When, as text.
    pub at: String,
    /// The topic of the record.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The step in which it failed; empty if a broker refused an output.
    pub step: String,
    /// The kind of the failure.
    pub kind: String,
    /// Why it failed.
    pub reason: String,
}

/// A record that failed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FailureView {
    /// When, as text.
    pub at: String,
    /// The topic of the record.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// What was done about it, and why it failed.
    pub what: String,
}

/// A reload of the pipeline's file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReloadView {
    /// When, as text.
    pub at: String,
    /// Whether it was applied, or found nothing to apply.
    pub ok: bool,
    /// What changed, or why nothing did.
    pub what: String,
}

/// Bytes: text as it is, others in base64.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BytesView {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Other {
        /// The bytes.
        base64: String,
    },
}

/// A record at a step: the event `record` of a tap.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TapRecord {
    /// `in`: it goes into the step; `out`: the step has made it; `failed`: it has failed in the step.
    pub when: String,
    /// The step.
    pub step: String,
    /// The topic of the input.
    pub topic: String,
    /// The partition of the input.
    pub partition: i32,
    /// The offset there of the record that caused it; `None` for the result of a window.
    pub offset: Option<i64>,
    /// How many times that record was tried before.
    pub attempt: u32,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp: Option<i64>,
    /// `None` is null.
    pub key: Option<BytesView>,
    /// `None` is a tombstone.
    pub value: Option<BytesView>,
    /// Pairs of name and value, in order.
    pub headers: Vec<(BytesView, Option<BytesView>)>,
    /// Whether the end of the key, of the value or of the headers was left out, because there is too much of it.
    pub truncated: bool,
    /// The output for which it was made; there is none if it is for the next step, or isn't `out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<TapOutput>,
    /// Why it failed, if it is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<TapFailure>,
}

/// An output.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TapOutput {
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: Option<String>,
}

/// Why a record failed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TapFailure {
    /// The kind, as metrics have it.
    pub kind: String,
    /// The plugin's code, or that of the kind.
    pub code: String,
    /// For people.
    pub reason: String,
}

/// The tap is open: the event `open`, the first one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TapOpened {
    /// The pipeline.
    pub pipeline: String,
    /// The names of its steps.
    pub steps: Vec<String>,
}

/// Something didn't fit into a stream: the event `missed`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StreamMissed {
    /// How many records or lines. A tap that looks at keys or values also counts others here, because it didn't look at them.
    pub count: u64,
}

/// What a person should know about a stream: the event `notice`, and `end` before the stream ends.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StreamNotice {
    /// The text.
    pub text: String,
}

pub(super) fn dead_letter(record: BuriedRecord) -> DeadLetterView {
    DeadLetterView {
        at: time(record.at_ms),
        topic: record.partition.topic.to_string(),
        partition: record.partition.partition,
        offset: record.offset,
        step: record.step.to_string(),
        kind: record.kind.label().to_owned(),
        reason: record.reason.to_string(),
    }
}

pub(super) fn failure(record: FailedRecord) -> FailureView {
    FailureView {
        at: time(record.at_ms),
        topic: record.partition.topic.to_string(),
        partition: record.partition.partition,
        offset: record.offset,
        what: record.what,
    }
}

pub(super) fn reload(reload: PastReload) -> ReloadView {
    ReloadView { at: time(reload.at_ms), ok: reload.is_ok, what: reload.what }
}

/// A record at a step. `topic` finds the topic of an output by its name.
pub(in crate::admin) fn tapped(record: TappedRecord, topic: impl Fn(&str) -> Option<String>) -> TapRecord {
    TapRecord {
        when: record.point.label().to_owned(),
        step: record.step.to_string(),
        topic: record.source.topic.to_string(),
        partition: record.source.partition,
        offset: record.offset,
        attempt: record.attempt,
        timestamp: record.timestamp,
        key: record.key.map(bytes),
        value: record.value.map(bytes),
        headers: record.headers.into_iter().map(|(name, value)| (bytes(name), value.map(bytes))).collect(),
        truncated: record.is_truncated,
        output: record.output.map(|(name, named)| TapOutput { topic: named.or_else(|| topic(&name)), name }),
        failure: record.failure.map(|failure| TapFailure {
            kind: failure.kind.to_owned(),
            code: failure.code,
            reason: failure.reason,
        }),
    }
}

fn bytes(bytes: Vec<u8>) -> BytesView {
    match String::from_utf8(bytes) {
        Ok(text) => BytesView::Text(text),
        Err(error) => BytesView::Other { base64: STANDARD.encode(error.as_bytes()) },
    }
}
