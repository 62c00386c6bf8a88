//! How a pipeline ends, and what it says then.

use crate::failure::Failure;
use crate::partition::Trip;
use crate::record::TopicPartition;

/// How a pipeline ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to, and finished everything: nothing is repeated.
    Drained,
    /// A record, or the state of the cluster, stopped it.
    Stopped(String),
    /// It was told to, and ran out of time: records will be repeated.
    DeadlinePassed(String),
    /// Something in the file, or a topic, is wrong.
    Invalid(String),
    /// A bug of ours.
    Bug(String),
}

/// The message for a record that the policy stops at.
pub(super) fn stopped_at(
    partition: &TopicPartition,
    offset: i64,
    tries: u32,
    failure: &Failure,
    brokers: &str,
    group: &str,
) -> String {
    let tried = match (failure.kind.spoils_instance(), tries) {
        // An executor runs the culprit once more alone, in a fresh instance, before it says so.
        (true, _) => "run again alone, with the same result".to_owned(),
        (false, 1) => "tried once".to_owned(),
        (false, tries) => format!("tried {tries} times"),
    };
    let backtrace = if failure.backtrace.is_empty() { String::new() } else { format!("\n{}", failure.backtrace) };
    let TopicPartition { topic, partition: number } = partition;
    format!(
        "stopped at topic {topic}, partition {number}, offset {offset} ({tried}): {failure}{backtrace}\n\
         everything below this record is delivered and committed, nothing at or above it is\n\
         ways out: mend the plugin, or what the record needs, and start again: it goes on with this record; or give the record \
         up, while the pipeline is down: kafka-consumer-groups.sh --bootstrap-server {brokers} --group {group} --topic \
         {topic}:{number} --reset-offsets --to-offset {} --execute",
        offset + 1
    )
}

/// The message for a partition whose records break the guest one after the other.
pub(super) fn tripped_at(partition: &TopicPartition, offset: i64, trip: Trip, failure: &Failure) -> String {
    let Trip { faults, records } = trip;
    let backtrace = if failure.backtrace.is_empty() { String::new() } else { format!("\n{}", failure.backtrace) };
    let TopicPartition { topic, partition: number } = partition;
    format!(
        "stopped at topic {topic}, partition {number}, offset {offset}: {faults} of the last {records} records broke the plugin, \
         more than a fifth of {} are not given up one by one; the last one: {failure}{backtrace}\n\
         everything below this record is done and committed, nothing at or above it is\n\
         ways out: mend the plugin and start again: it goes on with this record",
        Trip::WINDOW
    )
}

/// The message for a committed offset that is gone.
pub(super) fn gap(partition: &TopicPartition, committed: i64, oldest: i64) -> String {
    format!(
        "topic {}, partition {}: the group stands at offset {committed}, but the oldest record is at {oldest}: retention, or a new \
         topic of the same name, has removed what is between\n\
         ways out: set `on_gap = \"continue\"` in [input], which goes on at {oldest} and counts what was missed; or move the group \
         yourself with kafka-consumer-groups.sh --reset-offsets",
        partition.topic, partition.partition
    )
}
