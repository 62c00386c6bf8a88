//! PURE. The spans about a record: one for the record itself, one for each step that it went through, and one for each output.

use std::sync::Arc;

use super::context::SpanContext;
use super::names;
use crate::failure::Failure;
use crate::record::Record;
use crate::record::TopicPartition;

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSpan {
    pub(super) context: SpanContext,
    /// The span that it belongs to, if it is not the first one of its trace.
    pub(super) parent: Option<u64>,
    /// Whether that span is another process's.
    pub(super) is_parent_remote: bool,
    pub(super) kind: SpanKind,
    pub(super) name: String,
    pub(super) times: SpanTimes,
    pub(super) attributes: Vec<(&'static str, AttributeValue)>,
    /// Why it failed, if it did.
    pub(super) error: Option<String>,
}

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanKind {
    Consumer,
    Internal,
    Producer,
}

/// When a span began and ended, in ns since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanTimes {
    /// The begin.
    pub began_ns: u64,
    /// The end.
    pub ended_ns: u64,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AttributeValue {
    Text(Arc<str>),
    Number(i64),
    Flag(bool),
}

/// A record that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledRecord {
    /// The context of the record's span.
    pub context: SpanContext,
    /// The span of the record's sender, if the record names one.
    pub(super) sender: Option<u64>,
}

/// Whose spans they are.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) pipeline: Arc<str>,
    pub(super) group: Arc<str>,
}

/// An output of a recorded record.
#[derive(Clone, Copy, Debug)]
pub struct SentOutput<'a> {
    /// The output's name in the pipeline's file.
    pub name: &'a Arc<str>,
    /// Its topic.
    pub topic: &'a str,
    /// The partition, if it is known.
    pub partition: Option<i32>,
}

impl Owner {
    /// The span of a record that a step or a broker may have refused.
    pub(super) fn record(
        &self,
        sampled: &SampledRecord,
        source: &TopicPartition,
        record: &Record<'_>,
        times: SpanTimes,
        (outcome, failure): (&'static str, Option<&Failure>),
    ) -> TraceSpan {
        let mut attributes = self.attributes("process");
        attributes.extend([
            (names::DESTINATION, AttributeValue::Text(Arc::clone(&source.topic))),
            (names::PARTITION, AttributeValue::text(source.partition.to_string())),
            (names::OFFSET, AttributeValue::Number(record.offset)),
            (names::GROUP, AttributeValue::Text(Arc::clone(&self.group))),
            (names::ATTEMPT, AttributeValue::Number(i64::from(record.attempt) + 1)),
            (names::OUTCOME, AttributeValue::text(outcome)),
        ]);
        attributes.push(match record.value {
            Some(value) => (names::BODY_SIZE, AttributeValue::count(value.len())),
            None => (names::TOMBSTONE, AttributeValue::Flag(true)),
        });
        TraceSpan {
            context: sampled.context.clone(),
            parent: sampled.sender,
            is_parent_remote: sampled.sender.is_some(),
            kind: SpanKind::Consumer,
            name: format!("process {}", source.topic),
            times,
            attributes,
            error: None,
        }
        .failed(failure)
    }

    /// The span of a step that a record went through, together with others in calls of this many records.
    pub(super) fn step(
        &self,
        (context, parent): (SpanContext, u64),
        step: &Arc<str>,
        records: usize,
        times: SpanTimes,
        failure: Option<&Failure>,
    ) -> TraceSpan {
        let attributes = vec![
            (names::PIPELINE, AttributeValue::Text(Arc::clone(&self.pipeline))),
            (names::STEP, AttributeValue::Text(Arc::clone(step))),
            (names::BATCH, AttributeValue::count(records)),
        ];
        TraceSpan {
            context,
            parent: Some(parent),
            is_parent_remote: false,
            kind: SpanKind::Internal,
            name: format!("step {step}"),
            times,
            attributes,
            error: None,
        }
        .failed(failure)
    }

    /// The span of an output. Its context is in the output's headers.
    pub(super) fn output(
        &self,
        (context, parent): (SpanContext, u64),
        output: SentOutput<'_>,
        times: SpanTimes,
        failure: Option<&Failure>,
    ) -> TraceSpan {
        let mut attributes = self.attributes("send");
        attributes.push((names::DESTINATION, AttributeValue::text(output.topic)));
        attributes.push((names::OUTPUT, AttributeValue::Text(Arc::clone(output.name))));
        if let Some(partition) = output.partition {
            attributes.push((names::PARTITION, AttributeValue::text(partition.to_string())));
        }
        TraceSpan {
            context,
            parent: Some(parent),
            is_parent_remote: false,
            kind: SpanKind::Producer,
            name: format!("send {}", output.topic),
            times,
            attributes,
            error: None,
        }
        .failed(failure)
    }

    fn attributes(&self, operation: &'static str) -> Vec<(&'static str, AttributeValue)> {
        vec![
            (names::SYSTEM, AttributeValue::text("kafka")),
            (names::OPERATION_NAME, AttributeValue::text(operation)),
            (names::OPERATION_TYPE, AttributeValue::text(operation)),
            (names::PIPELINE, AttributeValue::Text(Arc::clone(&self.pipeline))),
        ]
    }
}

impl TraceSpan {
    fn failed(mut self, failure: Option<&Failure>) -> TraceSpan {
        if let Some(failure) = failure {
            self.attributes.push((names::ERROR, AttributeValue::text(failure.kind.label())));
            self.error = Some(failure.to_string());
        }
        self
    }
}

impl AttributeValue {
    fn text(text: impl Into<Arc<str>>) -> AttributeValue {
        AttributeValue::Text(text.into())
    }

    fn count(count: usize) -> AttributeValue {
        AttributeValue::Number(i64::try_from(count).unwrap_or(i64::MAX))
    }
}
