//! Order by key: one partition uses all executors, each key stays in order, and a record that waits for a retry holds back few others.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use crate::support;
use crate::support::broker;
use crate::support::clock::Watch;
use crate::support::component;
use crate::support::component::Behaviour;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::java::Reader;
use crate::support::random::Random;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const KEYS: u32 = 1000;
const RECOVERY: Duration = Duration::from_secs(60);
/// Calls of one record that take a millisecond, on 64 executors.
const SLOW: (&str, &str) = ("WASMILL_FAILPOINT", "after-guest=hold@1");
const WIDE: [&str; 2] = ["--set", "limits.parallelism=64"];

#[test]
fn kill_9_keeps_the_order_of_each_key() {
    kill_under_load("key-order", &["--set", "order=\"key\""]);
}

#[test]
fn kill_9_with_exactly_once_delivery_keeps_the_order_of_each_key_and_repeats_nothing() {
    let repeats = kill_under_load("key-once", &["--set", "order=\"key\"", "--set", "delivery=\"exactly_once\""]);
    assert_eq!(repeats, 0, "outputs that a reader of committed records finds twice");
}

fn pipeline(name: &str, more: &str) -> (String, String, String, Pipeline) {
    let [input, output] = ["in", "out"].map(|end| java::create(&format!("{name}-{end}"), 1, &[]));
    let group = unique(name);
    let pipeline =
        Pipeline::with_step(&input, &output, &group, &format!("session_timeout = \"6s\"\n{more}"), "batch = 1");
    pipeline.install(&component::forward());
    (input, output, group, pipeline)
}

fn fill(topic: &str, records: u64) -> Feed {
    let feed = Feed::start(topic, 100_000, KEYS, 20, records);
    feed.end(RECOVERY);
    feed
}

/// Returns how many outputs were repeated.
fn kill_under_load(name: &str, more: &[&str]) -> u64 {
    broker::brokers();
    let _alone = support::load();
    let mut random = Random::seeded(name);
    let (input, output, group, pipeline) = pipeline(name, "");
    let arguments = [&WIDE, more].concat();
    let reader = Reader::start(&output);
    let kills = if support::full() { 5 } else { 1 };
    let feed = Feed::start(&input, 10_000, KEYS, 20, 0);
    let mut process = pipeline.run_in(&[SLOW], &arguments);
    for kill in 1..=kills {
        process.wait_for_commits(&group, &input, RECOVERY);
        thread::sleep(Duration::from_millis(random.below(1500)));
        process.kill();
        process = pipeline.run_in(&[SLOW], &arguments);
        say(&format!("{name}: kill {kill} of {kills}"));
    }
    let fed = feed.stop();
    process.wait("the lag to reach zero", RECOVERY, |_| java::lag(&group, &input) == 0);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    let tally = reader.tally();
    assert_eq!(reader.missing(&feed), (0, String::new()), "records that are missing");
    assert_eq!(
        (tally.disorder, tally.foreign, tally.stale),
        (0, 0, 0),
        "disorder, foreign records, keys that end with an old value"
    );
    assert_eq!((tally.heights, java::committed(&group, &input)), (fed.clone(), fed));
    say(&format!("{name}: {} records, {} repeated after {kills} kills", tally.fresh, tally.repeats));
    tally.repeats
}

/// Each call takes 100 ms, so that the speed of the machine counts for little: the calls that were out at once are a tenth of the
/// records that the step took in a second. Commits are behind while a strand with many keys is not as far as the others.
#[test]
fn one_partition_uses_all_executors() {
    const CALL: Duration = Duration::from_millis(100);
    broker::brokers();
    let _alone = support::load();
    let (input, _, _, pipeline) = pipeline("key-wide", "");
    fill(&input, 10_000).stop();
    let hold = format!("after-guest=hold@{}", CALL.as_millis());
    let mut at_once = Vec::new();
    for (order, records) in [("partition", 20.0), ("key", 3200.0)] {
        let order = format!("order=\"{order}\"");
        let mut process = pipeline.run_in(&[("WASMILL_FAILPOINT", &hold)], &[&WIDE[..], &["--set", &order]].concat());
        let taken = |process: &Process| process.metric("wasmill_step_records_in_total").unwrap_or(0.0);
        process.wait("the first record", RECOVERY, |process| taken(process) > 0.0);
        let (watch, first) = (Watch::start(), taken(&process));
        process.wait("more records", RECOVERY, |process| taken(process) >= first + records);
        let calls = (taken(&process) - first) * CALL.as_secs_f64() / watch.elapsed().as_secs_f64();
        say(&format!("{order}: {calls:.1} calls at once"));
        at_once.push(calls);
        process.kill();
    }
    assert!(at_once[0] < 2.0 && at_once[1] > 32.0, "{at_once:?} of 64");
}

#[test]
fn a_record_that_waits_for_a_retry_holds_back_the_few_keys_of_its_strand_and_the_commits() {
    const OFFSET: i64 = 777;
    const RECORDS: u64 = 8000;
    let (input, output, group, pipeline) = pipeline("key-wait", "\n[on_error]\nretries = \"forever\"");
    let feed = fill(&input, RECORDS);
    let always = Behaviour {
        before: "",
        after: "(call $drop_output (local.get $counts) (local.get $bad)) (call $retry (local.get $bad))",
    };
    pipeline.install(&component::with(0, OFFSET, always));
    let reader = Reader::start(&output);
    let mut process = pipeline.run_with(&[&WIDE[..], &["--set", "order=\"key\""]].concat());
    // 64 executors have 256 strands.
    process.wait("nearly all records", RECOVERY, |_| reader.tally().fresh > RECORDS * 98 / 100);
    process.wait("a commit", RECOVERY, |_| java::committed(&group, &input) != [-1]);
    assert_eq!(java::committed(&group, &input), [OFFSET], "only what has no gap below is committed");
    for (metric, least) in
        [("wasmill_retrying_strands", 1.0), ("wasmill_gap_records", 1000.0), ("wasmill_gap_age_seconds", 1.0)]
    {
        process.wait(metric, RECOVERY, |process| process.metric(metric).is_some_and(|value| value >= least));
    }
    pipeline.install(&component::forward());
    process.hang_up();
    process.wait("the lag to reach zero", RECOVERY, |_| java::lag(&group, &input) == 0);
    assert_eq!(reader.missing(&feed), (0, String::new()));
    let tally = reader.tally();
    assert_eq!((tally.fresh, tally.repeats, tally.disorder), (RECORDS, 0, 0));
}

/// Most keys are in other strands than the one that waits.
#[test]
fn a_key_that_is_retried_for_ten_seconds_does_not_delay_the_others() {
    broker::brokers();
    let _alone = support::full().then(support::load);
    // The broker's time, of the record and of its output.
    let create = |end: &str| java::create(&format!("key-delay-{end}"), 1, &["message.timestamp.type=LogAppendTime"]);
    let ([input, output], group) = (["in", "out"].map(create), unique("key-delay"));
    let pipeline = Pipeline::with_step(&input, &output, &group, "\n[on_error]\nretries = 1", "batch = 1");
    pipeline.install(&component::faulty());
    let mut process = pipeline.run_with(&[&WIDE[..], &["--set", "order=\"key\""]].concat());
    process.wait("the pipeline to be ready", RECOVERY, |process| {
        process.get("/readyz").is_some_and(|(status, _)| status == 200)
    });
    let feed = Feed::start(&input, 1000, KEYS, 20, 0);
    process.wait_for_commits(&group, &input, RECOVERY);
    let retry =
        Raw { timestamp: 1, key: Some(b"slow".to_vec()), value: Some(b"retry 1 10000".to_vec()), headers: Vec::new() };
    let slow = java::produce(&input, 0, &[retry]);
    process.wait("the retry to be waited for", RECOVERY, |process| {
        process.metric("wasmill_retrying_strands").is_some_and(|strands| strands > 0.0)
    });
    process.wait("the retry", RECOVERY, |_| java::committed(&group, &input)[0] > slow);
    feed.stop();
    process.wait("the lag to reach zero", RECOVERY, |_| java::lag(&group, &input) == 0);
    let written: BTreeMap<Vec<u8>, i64> =
        java::dump(&output, 0).into_iter().filter_map(|(_, raw)| Some((raw.value?, raw.timestamp))).collect();
    let read = java::dump(&input, 0);
    let delays = |are_after: bool| {
        let records = read.iter().filter(|(offset, _)| *offset != slow && (*offset > slow) == are_after);
        let delay = |(_, raw): &(i64, Raw)| Some(written.get(raw.value.as_ref()?)? - raw.timestamp);
        let mut delays: Vec<i64> = records.filter_map(delay).collect();
        delays.sort_unstable();
        (delays.len(), [50, 99].map(|share| delays[delays.len() * share / 100]))
    };
    let ((_, before), (records, [p50, p99])) = (delays(false), delays(true));
    say(&format!(
        "key-delay: p50 {p50} ms, p99 {p99} ms of {records} records in 10 s of a retry, {before:?} before it"
    ));
    assert!(records > 8000 && p99 < 1000, "{records} {p99}");
}
