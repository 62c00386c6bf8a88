//! A record for which the plugin asks for a retry: it succeeds later and keeps its position, or its retries are used up and
//! the pipeline stops.

use std::time::Duration;

use crate::support::component;
use crate::support::component::Behaviour;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Reader;
use crate::support::unique;
use crate::support::wasmill::Pipeline;

const RECORDS: u64 = 4000;
const OFFSET: i64 = 777;
const LIMIT: Duration = Duration::from_secs(60);

/// Retries the record until it has been tried three times.
const THREE_TIMES: Behaviour = Behaviour {
    before: "",
    after: "(if (i32.lt_u (i32.load (i32.add (local.get $attempts) (i32.shl (local.get $bad) (i32.const 2)))) (i32.const 3))
        (then (call $drop_output (local.get $counts) (local.get $bad)) (call $retry (local.get $bad))))",
};

#[test]
fn a_record_that_succeeds_after_retries_keeps_its_position() {
    let input = java::create("retry-in", 1, &[]);
    let output = java::create("retry-out", 1, &[]);
    let group = unique("retry");
    let feed = Feed::fill(&input, RECORDS);
    let policy = "[on_error]\nretries = 3\nbackoff = { from = \"50ms\", to = \"200ms\" }";
    let pipeline = Pipeline::new(&input, &output, &group, policy);
    pipeline.install(&component::with(0, OFFSET, THREE_TIMES));
    let mut process = pipeline.run();
    process.wait("all records to be committed", LIMIT, |_| java::committed(&group, &input) == feed.stop());
    assert_eq!(process.metric("wasmill_retries_total"), Some(3.0));
    let inputs = java::dump(&input, 0);
    let outputs = java::dump(&output, 0);
    assert!(inputs == outputs, "every record is there once, in the order of the input");
}

#[test]
fn spent_retries_stop_the_pipeline() {
    let input = java::create("spent-in", 1, &[]);
    let output = java::create("spent-out", 1, &[]);
    let group = unique("spent");
    let feed = Feed::fill(&input, RECORDS);
    let reader = Reader::start(&output);
    let policy = "[on_error]\nretries = 2\nbackoff = { from = \"50ms\", to = \"200ms\" }";
    let pipeline = Pipeline::new(&input, &output, &group, policy);
    pipeline.install(&component::with(0, OFFSET, THREE_TIMES));
    let mut process = pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(1));
    let log = process.log();
    assert!(log.contains("planted reason") && log.contains(&OFFSET.to_string()), "{log}");
    assert_eq!(java::committed(&group, &input), [OFFSET]);
    assert_eq!(reader.tally().heights, [OFFSET]);

    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    process.wait("the rest to be committed", LIMIT, |_| java::committed(&group, &input) == feed.stop());
    let tally = reader.tally();
    assert_eq!(reader.missing(&feed), (0, String::new()));
    assert_eq!((tally.repeats, tally.disorder), (0, 0));
}

#[test]
fn other_partitions_continue_while_a_record_waits() {
    let input = java::create("wait-in", 2, &[]);
    let output = java::create("wait-out", 2, &[]);
    let group = unique("wait");
    let feed = Feed::fill(&input, RECORDS);
    let fed = feed.stop();
    let always = Behaviour {
        before: "",
        after: "(call $drop_output (local.get $counts) (local.get $bad)) (call $retry (local.get $bad))",
    };
    let policy = "[on_error]\nretries = \"forever\"\nbackoff = { from = \"100ms\", to = \"10s\" }";
    let pipeline = Pipeline::new(&input, &output, &group, policy);
    pipeline.install(&component::with(0, OFFSET, always));
    let mut process = pipeline.run();
    process.wait("the other partition to be committed and this one up to its record", LIMIT, |_| {
        java::committed(&group, &input) == [OFFSET, fed[1]]
    });
    // The probe names the record, with its position and the plugin's reason, and stays ready.
    process.wait("the record's name at the probe", LIMIT, |process| {
        process.get("/readyz?verbose").is_some_and(|(status, checks)| {
            let named = format!("[-]retries: topic {input}, partition 0, offset {OFFSET}: tried ");
            status == 200 && checks.contains(&named) && checks.contains("planted reason")
        })
    });
    process.wait("its age", LIMIT, |process| process.metric("wasmill_retry_age_seconds").is_some_and(|age| age > 5.0));
    process.wait("its line", LIMIT, |process| process.log().contains("a record has been retried for"));
    let log = process.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("a record has been retried for")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for part in ["planted reason", &format!("\"offset\":{OFFSET}"), "\"partition\":0", "\"attempts\":", "\"pipeline\":"]
    {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    assert!(log.lines().next().is_some_and(|line| line.contains("metrics and probes are served")), "{log}");
    let first = format!("starts pipeline `pipeline`, group `{group}`, brokers ");
    assert!(log.contains(&first) && log.contains("`step-one` runs plugin.wasm") && log.contains("(sha256 "), "{log}");
    // The pipeline waits and has not stopped: it can be drained like any other.
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    assert_eq!(java::committed(&group, &input), [OFFSET, fed[1]]);
}
