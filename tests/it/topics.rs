//! Topics that appear, are recreated, or have open transactions while they are read; and groups that can't be joined.

use std::time::Duration;

use crate::support::component;
use crate::support::java;
use crate::support::java::Ending;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::java::Reader;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(90);

fn records(count: usize) -> Vec<Raw> {
    let record = |number: usize| Raw {
        value: Some(number.to_string().into_bytes()),
        timestamp: 1_700_000_000_000,
        ..Raw::default()
    };
    (0..count).map(record).collect()
}

fn is_assigned(partitions: f64) -> impl Fn(&Process) -> bool {
    move |process| process.metric("wasmill_assigned_partitions") == Some(partitions)
}

fn says(what: &str) -> impl Fn(&Process) -> bool {
    move |process| process.get("/readyz?verbose").is_some_and(|(_, text)| text.contains(what))
}

#[test]
fn new_topics_are_read_from_the_beginning_and_internal_topics_never() {
    let prefix = unique("appear");
    let [known, fresh, reserved] = ["known", "fresh", "x.changelog"].map(|name| format!("{prefix}.{name}"));
    java::create_again(&known, 1, &[]);
    java::create_again(&reserved, 1, &[]);
    java::produce(&known, 0, &records(7));
    java::produce(&reserved, 0, &records(7));
    let output = java::create("appear-out", 1, &[]);
    let group = unique("appear");
    let more = "start = \"latest\"\n[kafka.librdkafka]\n\"topic.metadata.refresh.interval.ms\" = 1000";
    let pipeline = Pipeline::new(&format!("^{prefix}\\\\..*"), &output, &group, more);
    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    process.wait("the topic that is there", LIMIT, is_assigned(1.0));
    java::create_again(&fresh, 1, &[]);
    java::produce(&fresh, 0, &records(100));
    process.wait("the topic that appears", LIMIT, is_assigned(2.0));
    java::produce(&fresh, 0, &records(1));
    java::produce(&known, 0, &records(1));
    process.wait("all to be committed", LIMIT, |_| {
        java::committed(&group, &fresh) == [101] && java::committed(&group, &known) == [8]
    });
    assert_eq!(java::records(&output), [102]);
    assert!(is_assigned(2.0)(&process));
}

#[test]
fn a_topic_that_was_created_again_stops_the_pipeline_or_is_read_from_its_beginning() {
    let input = java::create("again-in", 1, &[]);
    let output = java::create("again-out", 1, &[]);
    let group = unique("again");
    let stops = Pipeline::new(&input, &output, &group, "");
    let continues = Pipeline::new(&input, &output, &group, "on_recreate = \"beginning\"");
    stops.install(&component::forward());
    continues.install(&component::forward());
    Feed::fill(&input, 1000);
    let mut process = stops.run();
    process.wait("the first thousand", LIMIT, |_| java::committed(&group, &input) == [1000]);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
    let note = java::note(&group, &input);
    assert!(note.starts_with("wasmill/1 topic="), "{note}");

    java::delete(&input);
    java::create_again(&input, 1, &[]);
    let second = Feed::fill(&input, 3000);
    // Makes the test independent of whether a coordinator deletes the offsets of a deleted topic.
    java::commit(&group, &input, 1000, &note);
    let mut process = stops.run();
    assert_eq!(process.exit(LIMIT), Some(1));
    let log = process.log();
    let id = note.trim_start_matches("wasmill/1 topic=");
    assert!(log.contains("created again") && log.contains(id) && log.contains("on_recreate"), "{log}");
    assert_eq!((java::committed(&group, &input), java::records(&output)), (vec![1000], vec![1000]));

    let reader = Reader::start(&output);
    let mut process = continues.run();
    process.wait("the new topic", LIMIT, |_| java::committed(&group, &input) == [3000]);
    assert_eq!(reader.missing(&second), (0, String::new()));
    assert_eq!(process.metric("wasmill_partitions_recreated_total"), Some(1.0));

    // Recreated while the pipeline runs, immediately and with as many records.
    java::delete(&input);
    java::create_again(&input, 1, &[]);
    let third = Feed::fill(&input, 3000);
    process.wait("the newest topic", LIMIT, |_| reader.missing(&third).0 == 0);
    process
        .wait("its commit", LIMIT, |_| java::committed(&group, &input) == [3000] && java::note(&group, &input) != note);
}

#[test]
fn records_behind_an_open_transaction_are_lag_with_a_reason_and_a_commit_beyond_them_is_kept() {
    let input = java::create("open-in", 1, &[]);
    let output = java::create("open-out", 1, &[]);
    let (group, ahead) = (unique("open"), unique("open-ahead"));
    java::produce(&input, 0, &records(10));
    java::transact(Ending::Open, &input, 0, &records(500));
    java::commit(&ahead, &input, 510, "");
    let run = |group: &str| {
        let pipeline = Pipeline::new(&input, &output, group, "");
        pipeline.install(&component::forward());
        (pipeline.run(), pipeline)
    };
    let (mut ahead_of_it, _pipeline) = run(&ahead);
    let (mut process, _pipeline) = run(&group);
    process.wait("what is before the transaction", LIMIT, |_| java::committed(&group, &input) == [10]);
    process.wait("the lag", LIMIT, |process| process.metric("wasmill_consumer_lag_records") == Some(500.0));
    process
        .wait("its age", LIMIT, |process| process.metric("wasmill_consumer_lag_seconds").is_some_and(|lag| lag > 0.0));
    process.wait("the reason", LIMIT, says("a transaction that is open at offset 10 holds back 500 records"));
    assert_eq!(process.get("/readyz").map(|(status, _)| status), Some(200), "nothing is wrong with it");
    ahead_of_it.wait("its partition", LIMIT, is_assigned(1.0));
    ahead_of_it.ready();
    assert_eq!(java::committed(&ahead, &input), [510]);
}

#[test]
fn the_reason_why_a_group_cannot_be_joined_is_reported() {
    let input = java::create("refuse-in", 1, &[]);
    let output = java::create("refuse-out", 1, &[]);
    let long = "session_timeout = \"45m\"\nmax_poll_interval = \"1h\"";
    let pipeline = Pipeline::new(&input, &output, &unique("refuse"), long);
    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(78));
    assert!(process.log().contains("`input.session_timeout` = 2700s"), "{}", process.log());

    let group = unique("refuse-range");
    java::join(&group, &input);
    let pipeline = Pipeline::new(&input, &output, &group, "");
    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    process.wait("the reason", LIMIT, says("has members that use the protocol `range`"));
    assert_eq!(process.get("/readyz").map(|(status, _)| status), Some(503));
}
