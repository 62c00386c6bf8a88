//! The names of attributes: those of OpenTelemetry's conventions for messaging, which are still in development, and wasmill's own.

/// Always `kafka`.
pub(super) const SYSTEM: &str = "messaging.system";
/// `process` or `send`.
pub(super) const OPERATION_NAME: &str = "messaging.operation.name";
/// `process` or `send`.
pub(super) const OPERATION_TYPE: &str = "messaging.operation.type";
/// The topic.
pub(super) const DESTINATION: &str = "messaging.destination.name";
/// The partition's number, as text.
pub(super) const PARTITION: &str = "messaging.destination.partition.id";
/// The record's offset.
pub(super) const OFFSET: &str = "messaging.kafka.offset";
/// There only for a record without a value.
pub(super) const TOMBSTONE: &str = "messaging.kafka.message.tombstone";
/// The bytes of the record's value.
pub(super) const BODY_SIZE: &str = "messaging.message.body.size";
/// The consumer group.
pub(super) const GROUP: &str = "messaging.consumer.group.name";
/// The records of the call that a step's span is about.
pub(super) const BATCH: &str = "messaging.batch.message_count";
/// The kind of a failure, as in the label `kind` of metrics.
pub(super) const ERROR: &str = "error.type";
/// The pipeline.
pub(super) const PIPELINE: &str = "wasmill.pipeline";
/// The step.
pub(super) const STEP: &str = "wasmill.step";
/// The name of the output.
pub(super) const OUTPUT: &str = "wasmill.output";
/// How often the record was tried, from 1.
pub(super) const ATTEMPT: &str = "wasmill.attempt";
/// What became of the record in this run.
pub(super) const OUTCOME: &str = "wasmill.outcome";
