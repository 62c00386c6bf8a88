//! Problems that a person must fix: the pipeline waits, reports the problem, and continues by itself without losing records.

use std::time::Duration;

use crate::support::clock;
use crate::support::component;
use crate::support::full;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Reader;
use crate::support::unique;
use crate::support::wasmill::Pipeline;

const LIMIT: Duration = Duration::from_secs(90);
/// Longer than it takes to probe and find nothing missing.
const LASTING: Duration = Duration::from_secs(3);
/// Divides intervals of ten seconds by ten.
const HASTE: (&str, &str) = ("WASMILL_HASTE", "10");

#[test]
fn a_deleted_output_topic_halts_the_pipeline_until_it_is_created_again() {
    let input = java::create("gone-in", 2, &[]);
    let output = java::create("gone-out", 2, &[]);
    let group = unique("gone");
    let pipeline =
        Pipeline::new(&input, &output, &group, "[kafka.librdkafka]\n\"topic.metadata.propagation.max.ms\" = 1000");
    pipeline.install(&component::forward());
    let first = Feed::fill(&input, 2000);
    let mut process = pipeline.run();
    process.wait("the first to be committed", LIMIT, |_| java::committed(&group, &input) == first.stop());

    java::delete(&output);
    let second = Feed::start(&input, 500, 97, 20, 4000);
    process.wait("the halt", LIMIT, |process| {
        process.get("/readyz?verbose").is_some_and(|(status, text)| status == 503 && text.contains("halted"))
    });
    let (_, text) = process.get("/readyz?verbose").expect("it answers");
    assert!(text.contains(&output) && text.contains("kafka-topics.sh"), "{text}");
    assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200));
    process.wait("time to be counted", LIMIT, |process| {
        let (_, text) = process.get("/metrics").unwrap_or_default();
        let halted =
            text.lines().find(|line| line.starts_with("wasmill_waiting_seconds_total") && line.contains("halt"));
        halted.is_some_and(|line| !line.ends_with(" 0"))
            && text.contains("wasmill_pipeline_state{pipeline=\"pipeline\",state=\"halted\"} 1")
    });
    let messages = process.log().lines().filter(|line| line.contains("halted, retrying")).count();
    assert_eq!(messages, 1, "it is said once");

    java::create_again(&output, 2, &[]);
    let reader = Reader::start(&output);
    let fed = second.stop();
    let ends = || java::ends(&input);
    process.wait("all to be committed", LIMIT, |_| java::committed(&group, &input) == ends());
    process.ready();
    assert_eq!(reader.missing(&second), (0, String::new()), "of {fed:?}");
    assert_eq!(reader.tally().disorder, 0);
}

#[test]
fn an_input_topic_that_is_deleted_while_it_is_read_halts_the_pipeline() {
    let input = java::create("taken-in", 2, &[]);
    let output = java::create("taken-out", 2, &[]);
    let settings = "[kafka.librdkafka]\n\"topic.metadata.propagation.max.ms\" = 1000\n\"topic.metadata.refresh.interval.ms\" = 1000";
    let pipeline = Pipeline::new(&input, &output, &unique("taken"), settings);
    pipeline.install(&component::forward());
    Feed::fill(&input, 200_000);
    let reader = Reader::start(&output);
    let mut process = pipeline.run();
    process.wait("first outputs", LIMIT, |_| reader.tally().fresh > 0);
    java::delete(&input);
    process.wait("the halt", LIMIT, |process| {
        process
            .get("/readyz?verbose")
            .is_some_and(|(status, text)| status == 503 && text.contains("halted") && text.contains(&input))
    });
    assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200));
}

#[test]
fn without_the_permission_to_write_the_pipeline_halts_until_it_is_granted_again() {
    let topics = Topics::new();
    denied(&topics, "topic", &topics.output, "read", &format!("--operation Write --topic {}", topics.output));
}

/// The brokers deny to add the topic to the transaction, which librdkafka tells only when it is asked.
#[test]
fn without_the_permission_to_write_a_transaction_halts_the_pipeline_until_it_is_granted_again() {
    let topics = Topics::new();
    let wanted = format!("--operation Write --topic {}", topics.output);
    denied_with(&topics, "topic", &topics.output, "read", &wanted, &["--set", "delivery=\"exactly_once\""]);
}

#[test]
fn without_the_permission_to_read_the_pipeline_halts_until_it_is_granted_again() {
    let topics = Topics::new();
    denied(&topics, "topic", &topics.input, "write", &format!("--operation Read --topic {}", topics.input));
}

#[test]
fn without_the_permission_for_its_group_the_pipeline_halts_until_it_is_granted_again() {
    let topics = Topics::new();
    denied(&topics, "group", &topics.group, "describe", &format!("--group {}", topics.group));
}

/// With an id of its own, because the resource is named by the whole id.
#[test]
fn without_the_permission_for_transactions_the_pipeline_halts_until_it_is_granted_again() {
    let topics = Topics::new();
    let (instance, delivery) = ("input.instance_id=\"one\"", "delivery=\"exactly_once\"");
    let id = format!("wasmill-{}-one-0", topics.group);
    let wanted = format!("--transactional-id wasmill-{}-", topics.group);
    denied_with(&topics, "transactional_id", &id, "describe", &wanted, &["--set", instance, "--set", delivery]);
}

struct Topics {
    input: String,
    output: String,
    group: String,
}

impl Topics {
    fn new() -> Topics {
        Topics {
            input: java::create("denied-in", 2, &[]),
            output: java::create("denied-out", 2, &[]),
            group: unique("denied"),
        }
    }
}

/// Removes all permissions for a resource except `left` under load, and grants them again after the pipeline has asked for
/// them.
fn denied(topics: &Topics, kind: &str, name: &str, left: &str, wanted: &str) {
    denied_with(topics, kind, name, left, wanted, &[]);
}

fn denied_with(topics: &Topics, kind: &str, name: &str, left: &str, wanted: &str, more: &[&str]) {
    let Topics { input, output, group } = topics;
    // A member without permission for its group can't leave it, so the next member waits until the session ends.
    let pipeline = Pipeline::new(input, output, group, "session_timeout = \"6s\"");
    pipeline.install(&component::forward());
    let reader = Reader::start(output);
    let feed = Feed::start(input, 500, 97, 20, 0);
    let mut process = if full() { pipeline.run_with(more) } else { pipeline.run_in(&[HASTE], more) };
    process.wait("first outputs", LIMIT, |_| reader.tally().fresh > 500);

    java::allow("ANONYMOUS", kind, name, left);
    // The halt lasts, whatever else the cluster still allows.
    let mut halted = None;
    process.wait("a halt of three seconds", LIMIT, |process| {
        let halts = process
            .get("/readyz?verbose")
            .is_some_and(|(status, text)| status == 503 && text.contains("halted") && text.contains(wanted));
        if !halts {
            halted = None;
        }
        halts && halted.get_or_insert_with(clock::Watch::start).elapsed() >= LASTING
    });
    assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200));
    assert!(process.log().contains("kafka-acls.sh"), "{}", process.log());

    java::allow("ANONYMOUS", kind, name, "all");
    process.ready();
    feed.stop();
    process.wait("all to be committed", LIMIT, |_| java::committed(group, input) == java::ends(input));
    assert_eq!(reader.missing(&feed), (0, String::new()));
    assert_eq!(reader.tally().disorder, 0);
}

#[test]
fn the_pipeline_waits_for_an_unavailable_broker() {
    let pipeline = Pipeline::new("in", "out", &unique("nobody"), "");
    pipeline.install(&component::forward());
    // Nothing listens on port 1.
    let mut process = pipeline.run_with(&["--set", "kafka.brokers=[\"127.0.0.1:1\"]"]);
    process.wait("it to say that it waits", LIMIT, |process| {
        let waits =
            process.get("/readyz?verbose").is_some_and(|(status, text)| status == 503 && text.contains("waiting"));
        waits && process.log().contains("waiting for one")
    });
    assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200));
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
}
