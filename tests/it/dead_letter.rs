//! Records that fail permanently are written to the dead-letter topic unchanged, and all others are processed in order.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crate::support;
use crate::support::broker;
use crate::support::canary::CANARY;
use crate::support::component;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::java::Reader;
use crate::support::random::Random;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(120);
/// The step's `timeout`.
const TIMEOUT: Duration = Duration::from_millis(400);
const PARTITIONS: usize = 4;
/// The memory of each plugin instance.
const MEMORY_MIB: u32 = 16;
const PARALLELISM: u32 = 2;
/// The maximum message size of the output topic.
const OUTPUT_BYTES_MAX: usize = 16_384;

/// Values that make `plugins/faulty` fail, and what their dead letters say.
const FAULTS: [(&str, &str, &str); 7] = [
    ("trap", "wasmill.trap", "trap"),
    ("loop", "wasmill.timeout", "timeout"),
    ("grow", "wasmill.memory", "memory"),
    ("reject not-mine", "wasmill.reject", "not-mine"),
    ("port 99", "wasmill.bad-output", "bad-output"),
    ("error", "wasmill.error", "error"),
    ("large", "wasmill.too-large", "too-large"),
];

/// A pipeline with three topics through `plugins/faulty`; the output keeps the partitions of the input.
struct Case {
    input: String,
    output: String,
    dead: String,
    group: String,
    pipeline: Pipeline,
}

impl Case {
    fn new(name: &str, on_error: &str) -> Case {
        let input = java::create(&format!("{name}-in"), PARTITIONS, &[]);
        let output = java::create(&format!("{name}-out"), PARTITIONS, &["max.message.bytes=16384"]);
        let dead = java::create(&format!("{name}-dead"), PARTITIONS, &[]);
        let group = unique(name);
        let pipeline = Pipeline::of(&format!(
            "[[step]]\nname = \"faulty\"\nwasm = \"../plugin.wasm\"\ntimeout = \"{}ms\"\nmemory = \"{MEMORY_MIB} MiB\"\n\n\
             [output.main]\ntopic = \"{output}\"\npartition = \"same_as_input\"\n\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n\n\
             [limits]\nparallelism = {PARALLELISM}\n\n\
             [on_error]\ndead_letter = \"{dead}\"\n{on_error}\n",
            TIMEOUT.as_millis()
        ));
        pipeline.install(&component::faulty());
        Case { input, output, dead, group, pipeline }
    }

    /// Runs until the offsets in `fed` are committed.
    fn run(&self, fed: &[i64]) -> Process {
        self.run_with_loops(fed, 0)
    }

    /// The same with `loops` records that never end. Each takes its timeout twice, once with others and once alone, on `PARALLELISM`
    /// executors.
    fn run_with_loops(&self, fed: &[i64], loops: u32) -> Process {
        let looping = TIMEOUT * (2 * loops / PARALLELISM);
        let mut process = self.pipeline.run();
        let limit = LIMIT + looping;
        process.wait("all records to be committed", limit, |_| java::committed(&self.group, &self.input) == fed);
        process
    }
}

/// A dead letter: the partition and offset of the input record, its exception, code and attempts, and the record.
type Grave = ((usize, i64), [String; 3], Raw);

/// All dead letters of a topic. The records themselves have `own` headers.
fn graves(topic: &str, own: usize) -> Vec<Grave> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let read = |(_, mut raw): (i64, Raw)| {
        let ours: BTreeMap<String, String> = raw
            .headers
            .split_off(own)
            .iter()
            .map(|(name, value)| (text(name), text(value.as_ref().unwrap())))
            .collect();
        let place =
            (ours["__streams.errors.partition"].parse().unwrap(), ours["__streams.errors.offset"].parse().unwrap());
        let says = ["__streams.errors.exception", "wasmill-code", "wasmill-attempts"].map(|name| ours[name].clone());
        assert_eq!(ours["wasmill-step"], "faulty");
        assert_eq!(ours["wasmill-digest"].len(), 64);
        assert!(ours["wasmill-time"].ends_with('Z'), "{}", ours["wasmill-time"]);
        (place, says, raw)
    };
    (0..PARTITIONS).flat_map(|partition| java::dump(topic, partition)).map(read).collect()
}

/// A record with the canary where the plugin doesn't repeat it: after the words of the value that the plugin reads.
fn record(number: usize, value: String) -> Raw {
    let name = format!("n-{CANARY}").into_bytes();
    let headers = vec![(name, Some(format!("{number} {CANARY}").into_bytes())), (b"\xff".to_vec(), None)];
    let timestamp = 1_700_000_000_000 + i64::try_from(number).unwrap();
    let key = Some(format!("k{}{CANARY}", number % 97).into_bytes());
    let words = value.split(' ').count();
    let fill = " -".repeat(4_usize.saturating_sub(words));
    Raw { timestamp, key, value: Some(format!("{value}{fill} {CANARY}").into_bytes()), headers }
}

/// Fills each partition of the input: one in a thousand records fails in each of the ways. Returns the records.
fn feed(topic: &str, records: usize, poison: bool) -> Vec<Vec<(Raw, Option<usize>)>> {
    let mut fed = Vec::new();
    for partition in 0..PARTITIONS {
        let made = (0..records / PARTITIONS).map(|n| {
            let number = n * PARTITIONS + partition;
            // The failures are spread out, with the first two next to each other.
            let way = (0..FAULTS.len()).find(|way| poison && n % 1000 == [500, 501, 20, 300, 700, 850, 120][*way]);
            let value = match way.map(|way| FAULTS[way].0) {
                Some("large") => format!("large {}", "x".repeat(OUTPUT_BYTES_MAX)),
                Some(value) => value.to_owned(),
                None => format!("n{number}"),
            };
            (record(number, value), way)
        });
        let made: Vec<(Raw, Option<usize>)> = made.collect();
        for chunk in made.chunks(2000) {
            let raw: Vec<Raw> = chunk.iter().map(|(raw, _)| raw.clone()).collect();
            java::produce(topic, partition, &raw);
        }
        fed.push(made);
    }
    fed
}

#[test]
fn records_that_break_the_plugin_in_any_way_are_dead_lettered_and_others_stay_in_order() {
    let _alone = support::load();
    let records = if support::full() { 500_000 } else { 24_000 };
    let quiet = Case::new("quiet", "");
    feed(&quiet.input, records, false);
    let each = i64::try_from(records / PARTITIONS).unwrap();
    let quiet = quiet.run(&[each; PARTITIONS]).memory("VmHWM");

    let case = Case::new("poison", "");
    let fed = feed(&case.input, records, true);
    let process = case.run_with_loops(&[each; PARTITIONS], u32::try_from(records / 1000).unwrap());
    let peak = process.memory("VmHWM");
    let bar = quiet + (u64::from(PARALLELISM * MEMORY_MIB + 32) << 20);
    say(&format!(
        "dead letters: {records} records, peak RSS {} MiB, quiet {} MiB, allowed {} MiB",
        peak >> 20,
        quiet >> 20,
        bar >> 20
    ));

    let mut expected: Vec<Grave> = Vec::new();
    for (partition, fed) in fed.iter().enumerate() {
        let passed: Vec<&Raw> = fed.iter().filter(|(_, way)| way.is_none()).map(|(raw, _)| raw).collect();
        let found = java::dump(&case.output, partition);
        assert_eq!(found.len(), passed.len(), "partition {partition}");
        assert!(found.iter().map(|(_, raw)| raw).eq(passed), "partition {partition} is in order and byte for byte");
        let lost = (0..).zip(fed).filter_map(|(offset, (raw, way))| {
            let (_, exception, code) = FAULTS[(*way)?];
            Some(((partition, offset), [exception, code, "1"].map(String::from), raw.clone()))
        });
        expected.extend(lost);
    }
    let mut found = graves(&case.dead, 2);
    in_order(&found);
    found.sort_by_key(|(place, _, _)| *place);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!((&found.0, &found.1), (&expected.0, &expected.1));
        assert!(found.2 == expected.2, "{:?} is not as it was", found.0);
    }
    assert_eq!(found.len(), expected.len());
    let count = Some(f64::from(u32::try_from(expected.len()).unwrap()));
    assert_eq!(process.metric("wasmill_dead_letters_total"), count);
    assert!(process.get("/metrics").unwrap().1.contains("kind=\"too_large\""));
    assert!(peak <= bar, "the peak is {peak} bytes, where {bar} are allowed");
}

/// Checks that the dead letters of an input partition are in order within each partition of their topic.
fn in_order(graves: &[Grave]) {
    let mut last: BTreeMap<(usize, Vec<u8>), i64> = BTreeMap::new();
    for ((partition, offset), _, raw) in graves {
        let before = last.insert((*partition, raw.key.clone().unwrap()), *offset);
        assert!(before.is_none_or(|before| before < *offset), "partition {partition}: {before:?} before {offset}");
    }
}

/// Its neighbours are in the same call, and pass.
#[test]
fn a_record_beyond_the_bounds_of_its_outputs_fails_alone() {
    let case = Case::new("bounds", "");
    let long = "x".repeat(4_000);
    let values = ["a", "emit 3", "emit 4", "b", &*long, "c"];
    let records: Vec<Raw> = values.iter().enumerate().map(|(n, value)| record(n, (*value).to_owned())).collect();
    java::produce(&case.input, 0, &records);
    let bounds = ["--set", "limits.outputs_per_record=3", "--set", "limits.output_bytes_per_record=3 KiB"];
    let mut process = case.pipeline.run_with(&bounds);
    process.wait("all records to be committed", LIMIT, |_| java::committed(&case.group, &case.input)[0] == 6);
    let passed: Vec<Raw> = java::dump(&case.output, 0).into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(passed, [0, 1, 1, 1, 3, 5].map(|place| records[place].clone()));
    let says = ["wasmill.bad-output", "bad-output", "1"].map(String::from);
    let mut graves = graves(&case.dead, 2);
    graves.sort_by_key(|(place, _, _)| *place);
    assert_eq!(graves, [2, 4].map(|place| ((0, i64::try_from(place).unwrap()), says.clone(), records[place].clone())));
    let headers =
        (0..PARTITIONS).flat_map(|partition| java::dump(&case.dead, partition)).flat_map(|(_, raw)| raw.headers);
    let told: Vec<String> =
        headers.filter_map(|(_, value)| Some(String::from_utf8_lossy(&value?).into_owned())).collect();
    for reason in ["has 4 outputs, where `limits.outputs_per_record` is 3", "have more than 3072 bytes"] {
        assert!(told.iter().any(|told| told.contains(reason)), "{reason} in {told:?}");
    }
}

#[test]
fn every_rejected_record_is_counted() {
    let case = Case::new("counts", "");
    java::produce(&case.input, 0, &vec![record(0, "reject".to_owned()); 300]);
    let process = case.run(&[300, 0, 0, 0]);
    assert_eq!(process.metric("wasmill_step_records_in_total"), Some(300.0));
    assert_eq!(process.metric("wasmill_step_errors_total"), Some(300.0));
    assert_eq!(process.metric("wasmill_dead_letters_total"), Some(300.0));
}

#[test]
fn retries_are_spent_before_a_dead_letter() {
    let case = Case::new("spent", "retries = 2\nbackoff = { from = \"50ms\", to = \"50ms\" }");
    let records: Vec<Raw> = ["a", "retry 9", "b", "retry 1", "c"]
        .iter()
        .enumerate()
        .map(|(number, value)| record(number, (*value).to_owned()))
        .collect();
    java::produce(&case.input, 0, &records);
    let process = case.run(&[5, 0, 0, 0]);
    let passed: Vec<Raw> = java::dump(&case.output, 0).into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(passed, [0, 2, 3, 4].map(|place| records[place].clone()));
    let says = ["wasmill.retry", "retry", "3"].map(String::from);
    assert_eq!(graves(&case.dead, 2), [((0, 1), says, records[1].clone())]);
    assert_eq!(process.metric("wasmill_dead_letters_total"), Some(1.0));
}

#[test]
fn when_every_record_breaks_the_plugin_the_breaker_stops_the_pipeline() {
    let case = Case::new("all", "");
    for partition in 0..PARTITIONS {
        let records: Vec<Raw> = (0..1000).map(|number| record(number, "trap".to_owned())).collect();
        java::produce(&case.input, partition, &records);
    }
    // Restarting it again and again produces no more dead letters than one long run.
    for start in 0..4 {
        let mut process = case.pipeline.run();
        assert_eq!(process.exit(LIMIT), Some(1));
        let log = process.log();
        assert!(
            log.contains("broke on 41 of the last 41 records") && log.contains("told to trap"),
            "start {start}: {log}"
        );
    }
    let graves = graves(&case.dead, 2);
    let committed = java::committed(&case.group, &case.input);
    for (partition, committed) in committed.into_iter().enumerate() {
        let buried: Vec<i64> = graves
            .iter()
            .map(|(place, _, _)| *place)
            .filter(|place| place.0 == partition)
            .map(|place| place.1)
            .collect();
        assert!(buried.len() <= 40, "{} dead letters of partition {partition}", buried.len());
        let buried = i64::try_from(buried.len()).unwrap();
        assert_eq!(committed.max(0), buried, "partition {partition}: what is committed is buried, and nothing else");
    }
}

#[test]
fn a_skipped_record_is_counted_and_others_continue() {
    let input = java::create("skip-in", 1, &[]);
    let output = java::create("skip-out", 1, &[]);
    let group = unique("skip");
    let pipeline = Pipeline::new(&input, &output, &group, "[on_error]\nthen = \"skip\"");
    pipeline.install(&component::faulty());
    let values = ["a", "trap", "b", "reject", "c"];
    let records: Vec<Raw> = values.iter().enumerate().map(|(n, value)| record(n, (*value).to_owned())).collect();
    java::produce(&input, 0, &records);
    let mut process = pipeline.run();
    process.wait("all records to be committed", LIMIT, |_| java::committed(&group, &input) == [5]);
    let passed: Vec<Raw> = java::dump(&output, 0).into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(passed, [0, 2, 4].map(|place| records[place].clone()));
    let skipped = "outcome=\"skipped\",pipeline=\"pipeline\"} 2";
    process.wait("two to be counted", LIMIT, |process| {
        process.get("/metrics").is_some_and(|(_, text)| text.contains(skipped))
    });
}

#[test]
fn outputs_up_to_the_limit_of_their_topic_are_delivered_and_those_above_are_dead_letters() {
    let case = Case::new("limit", "");
    let records: Vec<Raw> = (0..400).map(|n| record(n, format!("v{}", "x".repeat(15_920 + n)))).collect();
    for chunk in records.chunks(50) {
        java::produce(&case.input, 0, chunk);
    }
    let process = case.run(&[400, 0, 0, 0]);
    let passed: Vec<Raw> = java::dump(&case.output, 0).into_iter().map(|(_, raw)| raw).collect();
    let buried: Vec<Raw> = graves(&case.dead, 2).into_iter().map(|(_, _, raw)| raw).collect();
    say(&format!(
        "limit: the largest value that passed has {} bytes",
        passed.last().unwrap().value.as_ref().unwrap().len()
    ));
    assert!(passed.len() > 250 && passed == records[..passed.len()]);
    assert_eq!(buried.len(), 400 - passed.len());
    // The lengths of the keys differ by a byte, so the limit isn't the same for all. Every record above it has a dead letter.
    assert!(records[passed.len()..].iter().all(|record| buried.contains(record)));
    let (_, metrics) = process.get("/metrics").unwrap();
    let errors: Vec<&str> = metrics.lines().filter(|line| line.starts_with("wasmill_produce_errors_total{")).collect();
    assert!(errors.iter().all(|line| line.contains("code=\"too-large\"")), "the broker refused some: {errors:?}");
}

#[test]
fn a_record_that_fits_no_dead_letter_stops_the_pipeline() {
    let input = java::create("bury-in", 1, &[]);
    let output = java::create("bury-out", 1, &[]);
    let dead = java::create("bury-dead", 1, &["max.message.bytes=2000"]);
    let group = unique("bury");
    let pipeline = Pipeline::new(&input, &output, &group, &format!("[on_error]\ndead_letter = \"{dead}\""));
    pipeline.install(&component::faulty());
    let small = record(0, "reject".to_owned());
    // The first one fits with only position and code as added headers.
    let tight = record(1, format!("reject - {}", "x".repeat(1500)));
    let large = record(2, format!("reject - {}", "x".repeat(1950)));
    java::produce(&input, 0, &[small, tight.clone(), large]);
    let mut process = pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(1));
    let log = process.log();
    assert!(log.contains("offset 2") && log.contains("takes 2000 bytes") && log.contains(&dead), "{log}");
    assert_eq!(java::committed(&group, &input), [2]);
    let buried = java::dump(&dead, 0);
    assert_eq!(buried.len(), 2);
    assert_eq!((&buried[1].1.value, buried[1].1.headers.len()), (&tight.value, 2 + 4));
}

#[test]
fn kill_9_loses_neither_outputs_nor_dead_letters() {
    kill_under_load("dead-letter-kill", &[]);
}

#[test]
fn kill_9_with_exactly_once_delivery_repeats_neither_outputs_nor_dead_letters() {
    let (repeats, again) = kill_under_load("dead-letter-once", &["--set", "delivery=\"exactly_once\""]);
    assert_eq!((repeats, again), (0, 0), "outputs and dead letters that a reader of committed records finds twice");
}

/// Returns how many outputs and how many dead letters were repeated.
fn kill_under_load(name: &str, more: &[&str]) -> (u64, usize) {
    broker::brokers();
    let _alone = support::load();
    let mut random = Random::seeded(name);
    let kills = if support::full() { 10 } else { 3 };
    let case = Case::new(name, "");
    let more = [&["--set", "input.session_timeout=6s"], more].concat();
    let reader = Reader::start(&case.output);
    let feed = Feed::start(&case.input, 5000, 997, 20, 0);
    let mut planted: BTreeSet<(usize, i64)> = BTreeSet::new();
    let mut process = case.pipeline.run_with(&more);
    for kill in 1..=kills {
        let before = reader.tally().fresh;
        process.wait("new outputs", LIMIT, |_| reader.tally().fresh > before + 2000);
        // Two rounds, so that some records are in flight and others are done when it is killed.
        for round in 0..2 {
            for partition in 0..PARTITIONS {
                let records: Vec<Raw> =
                    ["trap", "reject", "error"].iter().map(|value| record(0, (*value).to_owned())).collect();
                let first = java::produce(&case.input, partition, &records);
                planted.extend((first..first + 3).map(|offset| (partition, offset)));
            }
            if round == 0 {
                let known = process.metric("wasmill_dead_letters_total").unwrap_or(0.0);
                process.wait("new dead letters", LIMIT, |process| {
                    process.metric("wasmill_dead_letters_total").is_some_and(|count| count > known)
                });
            }
        }
        thread::sleep(Duration::from_millis(random.below(300)));
        let lag = java::lag(&case.group, &case.input);
        process.kill();
        say(&format!("{name}: kill {kill} of {kills} at lag {lag}"));
        process = case.pipeline.run_with(&more);
    }
    feed.stop();
    process.wait("the lag to reach zero", LIMIT, |_| java::lag(&case.group, &case.input) == 0);
    let graves = graves(&case.dead, 2);
    let buried: BTreeSet<(usize, i64)> = graves.iter().map(|(place, _, _)| *place).collect();
    say(&format!("{name}: {} planted, {} dead letters", planted.len(), graves.len()));
    assert_eq!(buried, planted, "each record that was planted is buried, and no other");
    assert_eq!(reader.missing(&feed), (0, String::new()));
    let tally = reader.tally();
    assert_eq!((tally.disorder, tally.foreign), (0, 0));
    (tally.repeats, graves.len() - planted.len())
}
