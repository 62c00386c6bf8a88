//! Outputs that brokers refuse, and the records next to them: changing size limits, timestamps that a topic doesn't accept, and a blocked
//! output next to working ones.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::support::clock;
use crate::support::component;
use crate::support::full;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::java::Reader;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(120);
/// Divides intervals of seconds and minutes by ten.
const HASTE: (&str, &str) = ("WASMILL_HASTE", "10");
/// The input accepts records with any timestamp.
const ANY_TIME: &str = "message.timestamp.after.max.ms=9223372036854775807";
const HOUR_MS: i64 = 3_600_000;

/// Topics and a group for a pipeline with two steps: `plugin.wasm`, and one that routes by the field `to` of a JSON value.
struct Topics {
    input: String,
    main: String,
    audit: String,
    blocked: String,
    dead: String,
    group: String,
}

impl Topics {
    fn new(name: &str, input: &[&str]) -> Topics {
        let create = |what: &str, configs: &[&str]| java::create(&format!("{name}-{what}"), 1, configs);
        Topics {
            input: create("in", input),
            main: create("main", &[]),
            audit: create("audit", &[]),
            blocked: create("blocked", &[]),
            dead: create("dead", &[]),
            group: unique(name),
        }
    }

    /// `main` is appended to the keys of that output, `on_error` to those of `[on_error]`.
    fn pipeline(&self, main: &str, on_error: &str) -> Pipeline {
        let route = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/target/wasm/route.wasm");
        let Topics { input, main: topic, audit, blocked, group, .. } = self;
        let pipeline = Pipeline::of(&format!(
            "[input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n\n\
             [[step]]\nname = \"first\"\nwasm = \"../plugin.wasm\"\n\n\
             [[step]]\nname = \"route\"\nwasm = \"{}\"\n\
             settings = {{ field = \"to\", routes = {{ audit = \"audit\", blocked = \"blocked\" }}, default = \"main\" }}\n\n\
             [output.main]\ntopic = \"{topic}\"\n{main}\n[output.audit]\ntopic = \"{audit}\"\n[output.blocked]\ntopic = \"{blocked}\"\n\n\
             [limits]\nmax_in_flight = {{ records = {IN_FLIGHT} }}\n\n\
             [on_error]\n{on_error}\n",
            route.display()
        ));
        pipeline.install(&component::forward());
        pipeline
    }

    fn buries(&self) -> String {
        format!("dead_letter = \"{}\"", self.dead)
    }

    fn committed(&self, process: &mut Process) {
        process.wait("all to be committed", LIMIT, |_| {
            java::committed(&self.group, &self.input) == java::ends(&self.input)
        });
    }
}

const IN_FLIGHT: usize = 3000;

/// Lowers a limit while the pipeline runs. Records that still fit individually must not fail.
fn lowered(name: &str, on_error: impl Fn(&Topics) -> String) {
    let topics = Topics::new(name, &[]);
    let pipeline = topics.pipeline("", &on_error(&topics));
    let reader = Reader::start(&topics.main);
    let mut process = pipeline.run();
    let before = Feed::fill(&topics.input, 1000);
    topics.committed(&mut process);
    java::alter(&topics.main, "max.message.bytes=20000");
    let feed = Feed::start(&topics.input, 200_000, 97, 200, 20_000);
    feed.end(LIMIT);
    topics.committed(&mut process);
    assert_eq!((reader.missing(&before), reader.missing(&feed)), ((0, String::new()), (0, String::new())));
    assert_eq!(java::records(&topics.dead), [0], "{}", process.log());
    let tally = reader.tally();
    assert_eq!((tally.disorder, tally.foreign), (0, 0));
    say(&format!("{name}: {} repeats of 21,000", tally.repeats));
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
}

#[test]
fn a_limit_that_is_lowered_while_it_runs_makes_no_dead_letters() {
    lowered("lowered", Topics::buries);
}

#[test]
fn a_limit_that_is_lowered_while_it_runs_stops_no_pipeline() {
    lowered("lowered-stop", |_| "then = \"stop\"".to_owned());
}

#[test]
fn a_limit_that_is_raised_while_it_runs_takes_effect_at_once() {
    let topics = Topics::new("raised", &["max.message.bytes=10000000"]);
    java::alter(&topics.main, "max.message.bytes=20000");
    let pipeline = topics.pipeline("", &topics.buries());
    let mut process = pipeline.run();
    java::produce(&topics.input, 0, &[record(0, json("small"), clock_ms())]);
    topics.committed(&mut process);
    java::alter(&topics.main, "max.message.bytes=200000");
    java::produce(&topics.input, 0, &[record(1, json(&"x".repeat(100_000)), clock_ms())]);
    topics.committed(&mut process);
    // More than the producer was created for, and at most half of what the topic accepts then.
    java::alter(&topics.main, "max.message.bytes=10000000");
    java::produce(&topics.input, 0, &[record(2, json(&"x".repeat(4_000_000)), clock_ms())]);
    topics.committed(&mut process);
    assert_eq!((java::records(&topics.main), java::records(&topics.dead)), (vec![3], vec![0]), "{}", process.log());
}

fn clock_ms() -> i64 {
    i64::try_from(clock::unix_ms()).unwrap()
}

/// A value for the second step.
fn json(text: &str) -> String {
    format!("{{\"text\":\"{text}\"}}")
}

fn record(number: usize, value: String, timestamp: i64) -> Raw {
    Raw {
        timestamp,
        key: Some(format!("k{number}").into_bytes()),
        value: Some(value.into_bytes()),
        headers: Vec::new(),
    }
}

/// 21 records in one batch. The record at offset 10 has a timestamp six hours ahead.
fn one_ahead(topics: &Topics) -> Vec<Raw> {
    let now = clock_ms();
    let at = |n: usize| if n == 10 { now + 6 * HOUR_MS } else { now + i64::try_from(n).unwrap() };
    let records: Vec<Raw> = (0..21).map(|n| record(n, json(&n.to_string()), at(n))).collect();
    java::produce(&topics.input, 0, &records);
    records
}

#[test]
fn only_the_record_with_a_refused_timestamp_is_dead_lettered_and_a_header_keeps_the_timestamp() {
    let topics = Topics::new("ahead", &[ANY_TIME]);
    let records = one_ahead(&topics);
    let pipeline = topics.pipeline("", &topics.buries());
    let mut process = pipeline.run();
    topics.committed(&mut process);
    let passed: Vec<Raw> = java::dump(&topics.main, 0).into_iter().map(|(_, raw)| raw).collect();
    let innocent: Vec<Raw> = records.iter().enumerate().filter(|(n, _)| *n != 10).map(|(_, raw)| raw.clone()).collect();
    assert_eq!(distinct(&passed), innocent);
    let buried = java::dump(&topics.dead, 0);
    assert_eq!(buried.len(), 1, "{}", process.log());
    let letter = &buried[0].1;
    assert_eq!((&letter.key, &letter.value), (&records[10].key, &records[10].value));
    assert!((letter.timestamp - clock_ms()).abs() < HOUR_MS, "{}", letter.timestamp);
    let header = |name: &str| {
        let found = letter.headers.iter().find(|(own, _)| own == name.as_bytes());
        found.and_then(|(_, value)| String::from_utf8(value.clone()?).ok())
    };
    assert_eq!(header("wasmill-timestamp"), Some(records[10].timestamp.to_string()));
    assert_eq!(header("__streams.errors.offset").as_deref(), Some("10"));
    assert_eq!(header("wasmill-code").as_deref(), Some("refused"));
}

#[test]
fn a_pipeline_stopped_by_a_timestamp_names_the_record_the_topic_and_the_setting() {
    let topics = Topics::new("ahead-stop", &[ANY_TIME]);
    let records = one_ahead(&topics);
    let pipeline = topics.pipeline("", "then = \"stop\"");
    let mut process = pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(1));
    let log = process.log();
    assert!(log.contains("offset 10") && log.contains(&topics.main), "{log}");
    assert!(log.contains("message.timestamp.after.max.ms"), "{log}");
    let passed: Vec<Raw> = java::dump(&topics.main, 0).into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(distinct(&passed)[..10], records[..10], "what is below it is delivered");
    assert_eq!(java::committed(&topics.group, &topics.input), [10]);
}

/// The records without their repetitions.
fn distinct(records: &[Raw]) -> Vec<Raw> {
    let mut found: Vec<Raw> = Vec::new();
    for record in records {
        if !found.contains(record) {
            found.push(record.clone());
        }
    }
    found
}

#[test]
fn a_compressed_topic_accepts_records_that_are_small_enough_when_compressed() {
    let topics = Topics::new("zstd", &["max.message.bytes=10000000"]);
    let now = clock_ms();
    let mut records: Vec<Raw> = (0..6).map(|n| record(n, json(&n.to_string()), now)).collect();
    records.insert(3, record(6, json(&"a".repeat(3_000_000)), now));
    java::produce(&topics.input, 0, &records);
    let pipeline = topics.pipeline("compression = \"zstd\"", "then = \"stop\"");
    let mut process = pipeline.run();
    topics.committed(&mut process);
    let passed: Vec<Raw> = java::dump(&topics.main, 0).into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(passed, records);
}

#[test]
fn a_blocked_output_repeats_no_more_than_what_is_in_flight_to_the_others() {
    let blocked_for = if full() { Duration::from_secs(60) } else { Duration::from_secs(12) };
    let topics = Topics::new("beside", &[]);
    let pipeline = topics.pipeline("", &topics.buries());
    let mut process = if full() { pipeline.run() } else { pipeline.run_in(&[HASTE], &[]) };
    process.ready();
    java::allow("ANONYMOUS", "topic", &topics.blocked, "describe");
    let to = |n: usize| match n % 10 {
        7 => "blocked",
        3 => "audit",
        _ => "main",
    };
    let value = |n: usize| format!("{{\"n\":{n},\"to\":\"{}\"}}", to(n));
    const COUNT: usize = 10_000;
    let records: Vec<Raw> = (0..COUNT).map(|n| record(n % 97, value(n), clock_ms())).collect();
    for chunk in records.chunks(1000) {
        java::produce(&topics.input, 0, chunk);
    }
    let says_so = |process: &Process| {
        process.get("/readyz?verbose").is_some_and(|(status, text)| {
            status == 503 && text.contains("halted") && text.contains(&topics.blocked) && text.contains("Write")
        })
    };
    process.wait("the halt", LIMIT, says_so);
    let watch = clock::Watch::start();
    process.wait("time to pass", LIMIT, |process| {
        assert!(says_so(process), "it flaps: {:?}", process.get("/readyz?verbose"));
        watch.elapsed() >= blocked_for
    });
    let before = [&topics.main, &topics.audit].map(|topic| java::records(topic)[0]);
    java::allow("ANONYMOUS", "topic", &topics.blocked, "all");
    topics.committed(&mut process);
    let mut repeats = 0;
    for (name, topic) in [("main", &topics.main), ("audit", &topics.audit), ("blocked", &topics.blocked)] {
        let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for (_, raw) in java::dump(topic, 0) {
            *seen.entry(raw.value.unwrap()).or_default() += 1;
        }
        let wanted = (0..COUNT).filter(|&n| to(n) == name).count();
        assert_eq!(seen.len(), wanted, "{name}");
        if name != "blocked" {
            repeats += seen.values().sum::<usize>() - wanted;
        }
    }
    say(&format!("blocked output: {repeats} repeats to the others, {before:?} delivered while it was blocked"));
    assert!(repeats <= IN_FLIGHT, "{repeats} repeats");
    assert_eq!(process.log().matches("halted, retrying").count(), 1, "it is said once");
}
