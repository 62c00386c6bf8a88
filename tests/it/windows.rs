//! Windows over keyed state: the results equal those that a separate computation makes of the input topic, through kills, disorder, late
//! records and a quiet partition.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support;
use crate::support::broker;
use crate::support::clock;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::random::Random;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const WINDOW_MS: i64 = 60_000;
const LATENESS_MS: i64 = 10_000;
const RECOVERY: Duration = Duration::from_secs(60);

/// The topics of a pipeline with a step that counts and sums for each key and minute.
struct Setup {
    input: String,
    output: String,
    late: String,
    group: String,
    pipeline: Pipeline,
    delivery: Delivery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    AtLeastOnce,
    ExactlyOnce,
}

/// A result: key, start of the window.
type Window = (String, i64);
/// Orders, and their total in cents.
type Sums = (u64, i64);

fn setup(name: &str, partitions: usize, window: &str, delivery: Delivery) -> Setup {
    let [input, output, late] =
        ["in", "out", "late"].map(|topic| java::create(&format!("windows-{name}-{topic}"), partitions, &[]));
    let group = unique(name);
    java::permit(&[&input], &[&output, &late, &format!("{group}.per-minute.changelog")], &group);
    let pipeline = Pipeline::of(&format!(
        "[[step]]\nname = \"per-minute\"\nuse = \"std:aggregate\"\nkey = \"json:/customer\"\nsame_partition = true\n\
         window = {{ size = \"1m\", lateness = \"10s\", {window} }}\n\
         settings = {{ orders = \"count\", revenue = \"sum:/total\" }}\n\n\
         [state]\ncreate = true\n\n[output.main]\ntopic = \"{output}\"\n\n[output.late]\ntopic = \"{late}\"\n\n\
         [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\nsession_timeout = \"6s\"\n"
    ));
    Setup { input, output, late, group, pipeline, delivery }
}

impl Setup {
    fn run(&self) -> Process {
        match self.delivery {
            Delivery::AtLeastOnce => self.pipeline.run_with(&[
                "--set",
                "delivery=\"at_least_once\"",
                "--set",
                "limits.commit_every=\"200ms\"",
            ]),
            // The default of a pipeline with windows.
            Delivery::ExactlyOnce => self.pipeline.run(),
        }
    }
}

/// An order of a customer at a time.
fn order(time: i64, customer: u64, cents: i64) -> Raw {
    let value = format!(r#"{{"customer":"c{customer}","total":{}.{:02}}}"#, cents / 100, cents % 100);
    Raw { timestamp: time, key: None, value: Some(value.into_bytes()), headers: Vec::new() }
}

/// An amount in cents.
fn cents(amount: &Value) -> i64 {
    format!("{:.0}", amount.as_f64().unwrap() * 100.0).parse().unwrap()
}

/// What the windows of a partition are, by the rule that the documentation states, record by record. Also how many records were late.
fn reference(records: &[(i64, Raw)], results: &mut BTreeMap<Window, Sums>) -> usize {
    let (mut greatest, mut late) = (i64::MIN, 0);
    for (_, record) in records {
        let time = record.timestamp;
        let start = time.div_euclid(WINDOW_MS) * WINDOW_MS;
        if start + WINDOW_MS <= greatest.saturating_sub(LATENESS_MS) {
            late += 1;
        } else {
            let order: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            let cents = cents(&order["total"]);
            let sums = results.entry((order["customer"].as_str().unwrap().to_owned(), start)).or_default();
            *sums = (sums.0 + 1, sums.1 + cents);
        }
        greatest = greatest.max(time);
    }
    late
}

/// All results in a topic, in their order.
fn results(topic: &str, partitions: usize) -> Vec<(Window, Sums)> {
    let all = (0..partitions).flat_map(|partition| java::dump(topic, partition));
    let read = |(_, record): (i64, Raw)| {
        let result: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let key = result["key"].as_str().unwrap().to_owned();
        assert_eq!(record.key.as_deref(), Some(key.as_bytes()), "the result's key");
        let end = record.timestamp + 1;
        ((key, end - WINDOW_MS), (result["orders"].as_u64().unwrap(), cents(&result["revenue"])))
    };
    all.map(read).collect()
}

/// Fails unless each window of the input has its result: exactly once, or at least once and always the same.
fn assert_exact(setup: &Setup, partitions: usize) -> (usize, usize) {
    let is_once = setup.delivery == Delivery::ExactlyOnce;
    let (mut expected, mut late) = (BTreeMap::new(), 0);
    for partition in 0..partitions {
        late += reference(&java::dump(&setup.input, partition), &mut expected);
    }
    let found = results(&setup.output, partitions);
    let mut once = BTreeMap::new();
    for (window, sums) in &found {
        match once.insert(window.clone(), *sums) {
            None => {}
            Some(_) if is_once => panic!("a result that is there twice: {window:?}"),
            Some(other) => assert_eq!(*sums, other, "two results of {window:?}"),
        }
    }
    for (window, sums) in &expected {
        assert_eq!(once.get(window), Some(sums), "the result of {window:?}");
    }
    assert_eq!(once.len(), expected.len(), "results of windows that are none");
    let sent: usize = java::records(&setup.late).iter().sum();
    assert!(sent == late || !is_once && sent > late, "{sent} of {late} late records in their output");
    (found.len(), late)
}

/// A base time whose windows have all ended.
fn some_hours_ago() -> i64 {
    (i64::try_from(clock::unix_ms()).unwrap() / WINDOW_MS - 240) * WINDOW_MS
}

/// Records in order close windows by their times. A quiet partition's last window is closed by the clock. Late records go to their output.
#[test]
fn windows_close_by_time_and_by_the_clock_and_late_records_go_to_their_output() {
    close_windows("basic", Delivery::ExactlyOnce);
}

#[test]
fn windows_close_with_at_least_once() {
    close_windows("basic-alo", Delivery::AtLeastOnce);
}

fn close_windows(name: &str, delivery: Delivery) {
    broker::brokers();
    let setup = setup(name, 2, "idle = \"2s\"", delivery);
    let base = some_hours_ago();
    java::produce(&setup.input, 0, &[order(base, 1, 1050), order(base + 1, 2, 1), order(base + 59_999, 1, 250)]);
    java::produce(&setup.input, 1, &[order(base + 5, 3, 99)]);
    let mut process = setup.run();
    // The quiet partitions.
    process.wait("the results of the quiet partitions", RECOVERY, |_| {
        java::records(&setup.output).iter().sum::<usize>() == 3
    });
    // In time, then two windows later, then late.
    let later = base + 10 * WINDOW_MS;
    java::produce(&setup.input, 0, &[order(later, 1, 5), order(later + 3 * WINDOW_MS, 1, 6), order(later + 1, 1, 7)]);
    process.wait("the results after a jump", RECOVERY, |_| java::records(&setup.output).iter().sum::<usize>() == 5);
    process.wait("the late record", RECOVERY, |_| java::records(&setup.late).iter().sum::<usize>() == 1);
    assert_eq!(process.metric("wasmill_late_records_total"), Some(1.0));
    assert!(process.metric("wasmill_idle_advances_total").is_some_and(|advances| advances >= 2.0));
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    assert_eq!(assert_exact(&setup, 2), (5, 1));
}

/// Two processes on one file under load, with disorder, late records and a partition that goes quiet: one of the two is killed, again and
/// again, and every result is there once.
#[test]
fn kill_9_changes_no_result() {
    kill("kills", Delivery::ExactlyOnce);
}

/// The same at least once: the results may repeat, and are the same.
#[test]
fn kill_9_changes_no_result_with_at_least_once() {
    kill("kills-alo", Delivery::AtLeastOnce);
}

fn kill(name: &str, delivery: Delivery) {
    broker::brokers();
    let _alone = support::load();
    let (kills, records) = if support::full() { (20, 300_000) } else { (4, 60_000) };
    let setup = setup(name, 3, "idle = \"20s\"", delivery);
    let mut random = Random::seeded(&format!("windows-{name}"));
    let run = || setup.run();
    let mut processes: Vec<Process> = vec![run(), run()];
    let base = some_hours_ago();
    let chunk = 1_500;
    let chunks = records / chunk;
    let mut killed = 0;
    for at in 0..chunks {
        for partition in 0..3 {
            // The third partition is quiet from the middle on.
            if partition == 2 && at > chunks / 2 {
                continue;
            }
            let made: Vec<Raw> = (0..chunk / 3)
                .map(|n| {
                    // A minute takes 1,000 records of a partition.
                    let time = base + i64::try_from(at * (chunk / 3) + n).unwrap() * 60;
                    let back = match random.below(100) {
                        0 => 120_000 + i64::try_from(random.below(60_000)).unwrap(),
                        1..=30 => i64::try_from(random.below(9_000)).unwrap(),
                        _ => 0,
                    };
                    // A customer's orders are all in one partition.
                    order(
                        time - back,
                        random.below(200) * 3 + partition as u64,
                        i64::try_from(random.below(10_000)).unwrap(),
                    )
                })
                .collect();
            java::produce(&setup.input, partition, &made);
        }
        if at * kills / chunks >= killed && at > 0 {
            let victim = killed % 2;
            killed += 1;
            processes.remove(victim).kill();
            processes.insert(victim, run());
            // Anywhere in a restore or a transaction.
            thread::sleep(Duration::from_millis(random.below(1500)));
        }
    }
    say(&format!("windows: {records} records are sent, {killed} kills"));
    processes[0].wait("the lag to reach zero", 2 * RECOVERY, |_| java::lag(&setup.group, &setup.input) == 0);
    let mut expected = BTreeMap::new();
    for partition in 0..3 {
        reference(&java::dump(&setup.input, partition), &mut expected);
    }
    processes[0].wait("the last windows", 2 * RECOVERY, |_| {
        let distinct = || results(&setup.output, 3).into_iter().map(|(window, _)| window).collect::<BTreeSet<_>>();
        java::records(&setup.output).iter().sum::<usize>() >= expected.len()
            && (delivery == Delivery::ExactlyOnce || distinct().len() >= expected.len())
    });
    for mut process in processes {
        process.terminate();
        assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    }
    // A process that came back with another number than it had leaves its old transaction to the broker.
    clock::wait_until("the last transaction to end", RECOVERY, || java::open_transactions(&setup.group).is_empty());
    let (found, late) = assert_exact(&setup, 3);
    say(&format!("windows, {delivery:?}: {found} results of {} windows; {late} late records", expected.len()));
}

/// Tables that need more memory than they may have stop the pipeline with their figures. With more memory it goes on, and nothing is lost.
#[test]
fn a_state_that_outgrows_its_memory_stops_the_pipeline_and_loses_nothing() {
    broker::brokers();
    let setup = setup("memory", 1, "idle = \"2s\"", Delivery::ExactlyOnce);
    let base = some_hours_ago();
    for chunk in 0..20 {
        let orders: Vec<Raw> =
            (0..2_000).map(|n| order(base + n, u64::try_from(chunk * 2_000 + n).unwrap(), n)).collect();
        java::produce(&setup.input, 0, &orders);
    }
    let mut small = setup.pipeline.run_with(&["--set", "state.memory=\"1 MiB\""]);
    assert_eq!(small.exit(RECOVERY), Some(1), "the exit code");
    let log = small.log();
    assert!(log.contains("its state has outgrown `state.memory`") && log.contains("step `per-minute`"), "{log}");
    let mut process = setup.pipeline.run();
    process.wait("all results", RECOVERY, |_| java::records(&setup.output).iter().sum::<usize>() == 40_000);
    assert!(process.metric("wasmill_state_cells").is_some());
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    assert_eq!(assert_exact(&setup, 1), (40_000, 0));
}

/// A changelog topic that is missing, would lose state, or doesn't fit the input is refused with the way out.
#[test]
fn a_changelog_topic_that_would_lose_state_is_refused() {
    broker::brokers();
    let setup = setup("topic", 2, "idle = \"2s\"", Delivery::ExactlyOnce);
    let refused = |more: &[&str]| {
        let mut process = setup.pipeline.run_with(more);
        assert_eq!(process.exit(RECOVERY), Some(78), "the exit code");
        process.log()
    };
    let log = refused(&["--set", "state.create=false"]);
    let topic = format!("{}.per-minute.changelog", setup.group);
    assert!(log.contains(&format!("the changelog topic `{topic}` does not exist")), "{log}");
    assert!(log.contains("--partitions 2 --config cleanup.policy=compact"), "{log}");
    java::produce(&setup.input, 0, &[order(some_hours_ago(), 1, 1)]);
    let mut process = setup.pipeline.run();
    process.wait("a result", RECOVERY, |_| java::records(&setup.output).iter().sum::<usize>() == 1);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    assert!(process.log().contains("created the changelog topic"), "{}", process.log());
    java::alter(&topic, "cleanup.policy=delete");
    let log = refused(&[]);
    assert!(log.contains("`cleanup.policy=delete`, which removes state"), "{log}");
    java::alter(&topic, "cleanup.policy=compact");
    // Other functions than those that computed the cells.
    java::produce(&setup.input, 0, &[order(some_hours_ago() + 60 * WINDOW_MS, 1, 1)]);
    let mut process = setup.pipeline.run_with(&["--set", "step.0.window.idle=\"never\""]);
    process.wait("the record to be committed", RECOVERY, |_| java::lag(&setup.group, &setup.input) == 0);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    let mut process = setup.pipeline.run_with(&["--set", "step.0.settings.largest=\"max:/total\""]);
    assert_eq!(process.exit(RECOVERY), Some(1), "the exit code");
    assert!(process.log().contains("computed with other functions"), "{}", process.log());
}
