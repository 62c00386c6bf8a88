//! `wasmill dlq`: dead letters are listed, shown, and replayed once, in order, whatever kills the replay.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support;
use crate::support::broker;
use crate::support::component;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::java::Reader;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(90);
const PARTITIONS: usize = 3;
const ONCE: [&str; 2] = ["--set", "delivery=\"exactly_once\""];

struct Case {
    input: String,
    output: String,
    dead: String,
    group: String,
    pipeline: Pipeline,
}

impl Case {
    fn new(name: &str, more: &str) -> Case {
        Case::with_partitions(name, PARTITIONS, more)
    }

    fn with_partitions(name: &str, partitions: usize, more: &str) -> Case {
        let create = |end: &str| java::create(&format!("{name}-{end}"), partitions, &[]);
        let [input, output, dead] = ["in", "out", "dead"].map(create);
        let group = unique(name);
        java::permit(&[&input], &[&output, &dead, &input], &group);
        java::permit(&[&dead], &[], &format!("{group}.dlq"));
        let pipeline = Pipeline::of(&format!(
            "[[step]]\nname = \"step-one\"\nwasm = \"../plugin.wasm\"\nbatch = 1\n\n\
             [output.main]\ntopic = \"{output}\"\n\n[input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n\n\
             [on_error]\ndead_letter = \"{dead}\"\nretries = 0\n{more}\n"
        ));
        Case { input, output, dead, group, pipeline }
    }

    /// Runs the pipeline until everything is committed.
    fn run(&self, more: &[&str]) {
        let mut process = self.pipeline.run_with(more);
        process.wait("all records to be committed", LIMIT, |_| java::lag(&self.group, &self.input) == 0);
        process.terminate();
        assert_eq!(process.exit(LIMIT), Some(0));
    }

    /// Runs a command to its end. Returns its exit code, and what it wrote to stdout and stderr.
    fn dlq(&self, verb: &str, more: &[&str]) -> (i32, String, String) {
        let mut process = self.pipeline.dlq(verb, more);
        let code = process.exit(LIMIT).unwrap();
        (code, process.out(), process.log())
    }

    fn replay(&self, more: &[&str]) -> String {
        let (code, out, log) = self.dlq("replay", more);
        assert_eq!((code, out.as_str()), (0, ""), "{log}");
        log
    }

    /// Records that select what `plugins/faulty` does.
    fn produce(&self, partition: usize, values: &[&str]) {
        let record = |(n, value): (i64, &&str)| Raw {
            timestamp: 1_700_000_000_000 + n,
            key: Some(format!("key-{n}").into_bytes()),
            value: Some(value.as_bytes().to_vec()),
            headers: vec![(b"own".to_vec(), None)],
        };
        let records: Vec<Raw> = (0..).zip(values).map(record).collect();
        java::produce(&self.input, partition, &records);
    }

    /// The values in a topic, sorted.
    fn values(topic: &str) -> Vec<String> {
        let text = |(_, raw): (i64, Raw)| String::from_utf8(raw.value.unwrap()).unwrap();
        let mut values: Vec<String> =
            (0..PARTITIONS).flat_map(|partition| java::dump(topic, partition)).map(text).collect();
        values.sort_unstable();
        values
    }
}

/// The lines of `list --format json`: code, partition, records and those that are left.
fn listed(out: &str) -> Vec<(String, u64, u64, u64)> {
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| row[name].as_u64().unwrap();
        (row["code"].as_str().unwrap().to_owned(), number("partition"), number("records"), number("left"))
    };
    let mut rows: Vec<_> = out.lines().map(row).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn dead_letters_are_listed_and_shown_in_both_dialects() {
    for (name, more) in [("dlq-list", ""), ("dlq-connect", "dialect = \"connect\"")] {
        let case = Case::new(name, more);
        case.pipeline.install(&component::faulty());
        case.produce(0, &["a", "reject bad-json", "reject bad-json", "trap"]);
        case.produce(2, &["reject bad-json", "b"]);
        case.run(&[]);
        // What another program wrote isn't counted.
        java::produce(&case.dead, 1, &[Raw { timestamp: 1, value: Some(b"foreign".to_vec()), ..Raw::default() }]);

        let (code, out, _) = case.dlq("list", &["--format", "json"]);
        let expected = [("bad-json", 0, 2, 2), ("bad-json", 2, 1, 1), ("trap", 0, 1, 1)];
        let expected = expected.map(|(code, partition, records, left)| (code.to_owned(), partition, records, left));
        assert_eq!((code, listed(&out)), (0, expected.to_vec()));
        let (_, out, log) = case.dlq("list", &["--limit", "1"]);
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with("STEP      KIND    CODE      INPUT"), "{out}");
        assert!(lines[1].contains(&format!("reject  bad-json  {}[0]        2     2  ", case.input)), "{out}");
        assert!(log.contains("1 records left out: other pipelines or programs"), "{log}");
        for (arguments, records) in [
            (["--code", "trap"], 1),
            (["--key", "key-0"], 1),
            (["--step", "step-one"], 4),
            (["--step", "other"], 0),
            (["--since", "1h"], 4),
            (["--until", "1h"], 0),
        ] {
            let (_, out, _) = case.dlq("list", &[&arguments[..], &["--format", "json"]].concat());
            let sum: u64 = listed(&out).iter().map(|row| row.2).sum();
            assert_eq!(sum, records, "{arguments:?}");
        }

        let (_, out, _) = case.dlq("show", &["--code", "trap", "--format", "json"]);
        let shown: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(shown["source"], serde_json::json!({"topic": case.input, "partition": 0, "offset": 3}));
        assert_eq!(
            (&shown["kind"], &shown["step"], &shown["replays"]),
            (&"trap".into(), &"step-one".into(), &0.into())
        );
        let record = serde_json::json!({
            "key": "key-3", "value": "trap", "headers": [["own", null]], "timestamp": 1_700_000_000_003_i64,
        });
        assert_eq!(shown["record"], record);
        let place = format!("{}:{}", shown["partition"], shown["offset"]);
        let (_, out, _) = case.dlq("show", &["--at", &place]);
        let head = format!("partition {}, offset {}: {}[0]@3\n", shown["partition"], shown["offset"], case.input);
        assert!(out.starts_with(&head) && out.matches("partition ").count() == 1, "{out}");
        for line in
            ["  key        key-3\n", "  header     own: null\n", "  value      trap\n", "  tries      1, replayed 0\n"]
        {
            assert!(out.contains(line), "{line}: {out}");
        }
    }
}

#[test]
fn all_come_back_once_each_through_kills_and_a_signal() {
    come_back("dlq-kill", &[]);
}

#[test]
fn with_exactly_once_delivery_kills_repeat_nothing() {
    assert_eq!(come_back("dlq-kill-once", &ONCE), 0, "outputs that a reader of committed records finds twice");
}

/// Returns how many outputs were repeated.
fn come_back(name: &str, more: &[&str]) -> u64 {
    let records = if support::full() { 10_000 } else { 4000 };
    broker::brokers();
    let _alone = support::load();
    let case = Case::new(name, "");
    let feed = Feed::fill(&case.input, records);
    case.pipeline.install(&component::rejecting());
    case.run(more);
    case.pipeline.install(&component::forward());
    let reader = Reader::start(&case.output);
    let rate = [&["--rate", "1500/s"], more].concat();
    for (done, is_killed) in [(records / 5, true), (records * 2 / 5, false), (records * 3 / 5, true)] {
        let mut process = case.pipeline.dlq("replay", &rate);
        process.wait("a part to be replayed", LIMIT, |_| reader.tally().fresh > done);
        if is_killed {
            process.kill();
        } else {
            let before = reader.tally().repeats;
            process.terminate();
            assert_eq!(process.exit(Duration::from_secs(10)), Some(1));
            assert!(process.log().contains("interrupted; the same command goes on"), "{}", process.log());
            assert_eq!(reader.tally().repeats, before, "a signal repeats nothing");
        }
    }
    // A reader of committed records may be behind.
    let log = case.replay(more);
    let tally = reader.tally();
    say(&format!(
        "{name}: {} of {records} came back, {} repeated after 2 kills and a signal; {log}",
        tally.fresh, tally.repeats
    ));
    assert_eq!(reader.missing(&feed), (0, String::new()), "records that are missing");
    assert_eq!((tally.fresh, tally.disorder, tally.foreign), (records, 0, 0));
    // At most a chunk was in flight at each kill.
    assert!(tally.repeats <= 2 * 512, "{tally:?}");
    assert!(case.replay(more).contains("replayed 0\n"));
    assert_eq!(
        reader.tally().fresh + reader.tally().repeats,
        tally.fresh + tally.repeats,
        "a second replay does nothing"
    );
    assert_eq!(
        case.dlq("list", &["--format", "json"]).1.lines().filter(|line| !line.contains("\"left\":0")).count(),
        0
    );
    tally.repeats
}

/// It has no partition, and the first one's session has to end.
#[test]
fn a_second_replay_waits_and_takes_over_when_the_first_is_killed() {
    const RECORDS: u64 = 3000;
    let case = Case::with_partitions("dlq-two", 1, "");
    let feed = Feed::fill(&case.input, RECORDS);
    case.pipeline.install(&component::rejecting());
    case.run(&[]);
    case.pipeline.install(&component::forward());
    let reader = Reader::start(&case.output);
    let mut first = case.pipeline.dlq("replay", &["--rate", "300/s"]);
    first.wait("a part to be replayed", LIMIT, |_| reader.tally().fresh > RECORDS / 10);
    let mut second = case.pipeline.dlq("replay", &[]);
    second.wait("two members", LIMIT, |_| {
        java::members(&format!("{}.dlq", case.group)).is_some_and(|members| members.len() == 2)
    });
    first.kill();
    assert_eq!(second.exit(LIMIT), Some(0), "{}", second.log());
    assert_eq!(reader.missing(&feed), (0, String::new()), "records that are missing");
    let tally = reader.tally();
    assert!((tally.fresh, tally.disorder) == (RECORDS, 0) && tally.repeats <= 512, "{tally:?}");
}

#[test]
fn dead_letters_of_another_name_are_left_alone_and_said() {
    let case = Case::new("dlq-name", "");
    case.pipeline.install(&component::faulty());
    case.produce(0, &["reject a", "reject b"]);
    case.run(&[]);
    case.pipeline.install(&component::forward());
    let log = case.replay(&["--set", "name=\"renamed\"", "--set", &format!("input.group=\"{}\"", case.group)]);
    assert!(log.contains("replayed 0, 2 left out that another pipeline wrote"), "{log}");
    assert!(case.replay(&[]).contains("replayed 2\n"));
}

#[test]
fn a_replay_that_may_not_write_its_output_says_so_and_the_next_one_does_all() {
    for (name, more) in [("dlq-denied", &[][..]), ("dlq-denied-once", &ONCE)] {
        let case = Case::new(name, "");
        case.pipeline.install(&component::rejecting());
        case.produce(0, &["a", "b"]);
        case.run(more);
        case.pipeline.install(&component::forward());
        java::allow("ANONYMOUS", "topic", &case.output, "read");
        let (code, _, log) = case.dlq("replay", more);
        let wanted = format!("--operation Write --topic {}", case.output);
        assert!(code == 78 && log.contains(&wanted), "{code} {log}");
        java::allow("ANONYMOUS", "topic", &case.output, "all");
        assert!(case.replay(more).contains("replayed 2\n"));
        assert_eq!(Case::values(&case.output), ["a", "b"]);
    }
}

#[test]
fn a_signal_ends_a_replay_whose_plugin_asks_for_retries_without_end() {
    let case = Case::new("dlq-forever", "");
    case.pipeline.install(&component::rejecting());
    case.produce(0, &["retry 1000000000 0"]);
    case.run(&[]);
    case.pipeline.install(&component::faulty());
    let mut process = case.pipeline.dlq("replay", &["--set", "on_error.retries=\"forever\""]);
    process.wait("it to be retried", LIMIT, |process| process.log().contains("is retried: step `step-one`"));
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(15)), Some(1), "{}", process.log());
    case.pipeline.install(&component::forward());
    assert!(case.replay(&[]).contains("replayed 1\n"));
}

#[test]
fn a_plugin_that_is_still_broken_does_not_loop() {
    for (name, more) in [("dlq-broken", &[][..]), ("dlq-broken-once", &ONCE)] {
        let case = Case::new(name, "");
        case.pipeline.install(&component::faulty());
        case.produce(1, &["reject no", "a", "trap"]);
        case.run(more);
        for replays in 1..=3 {
            assert!(case.replay(more).contains("replayed 2, 2 of them dead letters again\n"));
            let (_, out, _) = case.dlq("show", &["--format", "json", "--limit", "100"]);
            let counts: Vec<u64> = out
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["replays"].as_u64().unwrap())
                .filter(|&count| count == replays)
                .collect();
            assert_eq!(counts, [replays, replays]);
        }
        let log = case.replay(more);
        assert!(log.contains("replayed 0, 2 left out that were replayed 3 times already (--force)"), "{log}");
        // A rule for a reason applies, too: the pipeline would stop here, and so does the replay.
        let stop = [more, &["--force", "--set", "on_error.code.no={then=\"stop\"}"]].concat();
        let (code, _, log) = case.dlq("replay", &stop);
        assert!(code == 1 && log.contains("stopped at the dead letter at partition"), "{code} {log}");
        case.pipeline.install(&component::forward());
        assert!(case.replay(&[more, &["--force"]].concat()).contains("replayed "));
        assert_eq!(Case::values(&case.output), ["a", "reject no", "trap"]);
        // Now even what was left out is done.
        assert!(case.replay(&[more, &["--force"]].concat()).contains("replayed 0\n"));
    }
}

#[test]
fn what_a_selection_leaves_out_is_replayed_later_and_a_rehearsal_changes_nothing() {
    let case = Case::new("dlq-select", "");
    case.pipeline.install(&component::faulty());
    case.produce(0, &["reject one", "reject two", "reject one", "reject two", "trap", "reject one"]);
    case.run(&[]);
    case.pipeline.install(&component::forward());
    let (code, out, _) = case.dlq("replay", &["--dry-run", "--code", "two"]);
    assert_eq!((code, out.matches("  -> ").count()), (0, 2), "{out}");
    assert!(out.contains(&format!("  -> {}  key-1  reject two", case.output)), "{out}");
    assert_eq!(Case::values(&case.output), [""; 0]);
    assert!(case.replay(&["--code", "two"]).contains("replayed 2\n"));
    assert!(case.replay(&["--code", "two"]).contains("replayed 0\n"));
    assert!(case.replay(&["--code", "one", "--limit", "2"]).contains("replayed 2\n"));
    let (_, out, _) = case.dlq("list", &["--format", "json"]);
    let left: Vec<_> = listed(&out).into_iter().map(|(code, _, records, left)| (code, records, left)).collect();
    let expected = [("one", 3, 1), ("trap", 1, 1), ("two", 2, 0)];
    assert_eq!(left, expected.map(|(code, records, left)| (code.to_owned(), records, left)));
    assert!(case.replay(&[]).contains("replayed 2\n"));
    let expected = ["reject one", "reject one", "reject one", "reject two", "reject two", "trap"];
    assert_eq!(Case::values(&case.output), expected);
    assert!(case.replay(&[]).contains("replayed 0\n"));
    let (code, out, log) = case.dlq("replay", &["--dry-run"]);
    assert_eq!((code, out.as_str()), (0, ""), "{log}");
}

#[test]
fn records_are_written_back_to_their_partition_and_counted() {
    let case = Case::new("dlq-input", "");
    case.pipeline.install(&component::faulty());
    case.produce(2, &["reject no", "reject no"]);
    case.run(&[]);
    for replay in 1..=3 {
        assert!(case.replay(&["--to-input"]).contains("replayed 2\n"));
        let back: Vec<Raw> = java::dump(&case.input, 2).into_iter().skip(2 * replay).map(|(_, raw)| raw).collect();
        let count = (b"wasmill-replays".to_vec(), Some(replay.to_string().into_bytes()));
        let expected = vec![(b"own".to_vec(), None), count];
        assert_eq!(back.iter().map(|raw| raw.headers.clone()).collect::<Vec<_>>(), [expected.clone(), expected]);
        // Their keys may have led to different partitions of the dead-letter topic.
        let times: BTreeSet<i64> = back.iter().map(|raw| raw.timestamp).collect();
        assert_eq!(times, BTreeSet::from([1_700_000_000_000, 1_700_000_000_001]));
        case.run(&[]);
    }
    let log = case.replay(&["--to-input"]);
    assert!(log.contains("replayed 0, 2 left out"), "{log}");
    // A dead letter's headers don't lead to other topics.
    let elsewhere = ["--force", "--to-input", "--set", "input.topics=[\"elsewhere\"]"];
    let (code, _, log) = case.dlq("replay", &elsewhere);
    assert!(code == 1 && log.contains("the pipeline doesn't read that topic"), "{code} {log}");
}

/// Output topics that refuse a record: it is a dead letter once more, and the others arrive.
#[test]
fn a_refused_output_is_a_dead_letter_again() {
    let case = Case::new("dlq-refused", "");
    case.pipeline.install(&component::faulty());
    let large = format!("reject {}", "x".repeat(30_000));
    case.produce(0, &["reject a", &large, "reject b"]);
    case.run(&[]);
    case.pipeline.install(&component::forward());
    java::alter(&case.output, "max.message.bytes=10000");
    assert!(case.replay(&[]).contains("replayed 3, 1 of them dead letters again\n"));
    assert_eq!(Case::values(&case.output), ["reject a", "reject b"]);
    let (_, out, _) = case.dlq("list", &["--format", "json"]);
    assert!(listed(&out).iter().any(|row| row.0 == "too-large" && row.3 == 1), "{out}");
    java::alter(&case.output, "max.message.bytes=1000000");
    assert!(case.replay(&[]).contains("replayed 1\n"));
    assert_eq!(Case::values(&case.output).len(), 3);
}

#[test]
fn without_a_dead_letter_topic_or_brokers_it_says_what_to_do() {
    let case = Case::new("dlq-wrong", "");
    case.pipeline.install(&component::forward());
    let none = Pipeline::new(&case.input, &case.output, &case.group, "");
    none.install(&component::forward());
    let mut process: Process = none.dlq("list", &[]);
    assert_eq!(process.exit(LIMIT), Some(78));
    assert!(process.log().contains("set `on_error.dead_letter`"), "{}", process.log());
    let (code, _, log) = case.dlq("list", &["--set", "on_error.dead_letter=\"dlq-missing\""]);
    assert!(code == 78 && log.contains("--create --topic dlq-missing"), "{code} {log}");
    let (code, _, log) = case.dlq("list", &["--set", "kafka.brokers=[\"127.0.0.1:1\"]"]);
    assert!(code == 69 && log.contains("the brokers don't answer"), "{code} {log}");
    let (code, _, log) = case.dlq("show", &["--at", "x"]);
    assert!(code == 2 && log.contains("PARTITION:OFFSET"), "{code} {log}");
}
