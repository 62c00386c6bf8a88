//! Log lines that name a record: where the record is, is also in their fields, so that a person finds a record's lines without reading texts.

use serde_json::Value;

/// Lines that list several partitions.
const LISTS: [&str; 5] = ["assigned ", "revoked ", "lost ", "ended: ", "failed to release partitions "];

/// Checks each JSON line that names one record.
///
/// # Panics
/// If one of them doesn't have the record's topic, partition and offset as fields.
pub(crate) fn is_in_fields(log: &str) {
    for line in log.lines() {
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(line) else { continue };
        let message = object.get("message").and_then(Value::as_str).unwrap_or_default();
        let target = object.get("target").and_then(Value::as_str).unwrap_or_default();
        if !names_a_record(message) || !target.starts_with("wasmill") {
            continue;
        }
        let has = |field: &str| object.contains_key(field);
        assert!(has("topic") && has("partition") && has("offset"), "a line that names a record without fields: {line}");
    }
}

/// Whether a message names a record in one of the ways in which messages do.
fn names_a_record(message: &str) -> bool {
    let first = message.lines().next().unwrap_or_default();
    if LISTS.iter().any(|start| message.starts_with(start)) || first.contains("repeated:") {
        return false;
    }
    let is_place = |before: &str| {
        let word = before.rsplit(' ').next().unwrap_or_default();
        word.rsplit_once('/').is_some_and(|(_, number)| number.parse::<i32>().is_ok())
    };
    let short = first.match_indices(" offset ").any(|(at, _)| is_place(&first[..at]));
    short || first.contains("topic ") && first.contains(", partition ") && first.contains(", offset ")
}

#[test]
fn a_line_that_names_a_record_needs_its_fields() {
    for (message, names) in [
        ("stopping at in-1/0 offset 7; finishing what is in flight", true),
        ("stopped at topic in, partition 0, offset 7 (tried once): no", true),
        ("assigned in-1/0, in-1/1", false),
        ("shutting down; finishing what is in flight", false),
        ("Kafka: a connection to 127.0.0.1/9092 failed at offset x", false),
    ] {
        assert_eq!(names_a_record(message), names, "{message}");
    }
}
