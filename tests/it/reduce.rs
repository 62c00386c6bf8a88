//! Plugins with windows: they count as `std:aggregate` does, and what one does wrong leaves its cells as they were and goes the way of the
//! policy.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::support::broker;
use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const WINDOW_MS: i64 = 60_000;
const RECOVERY: Duration = Duration::from_secs(60);

/// A pipeline with `plugins/faulty_reduce` and its topics.
struct Case {
    input: String,
    output: String,
    dead: String,
    group: String,
    pipeline: Pipeline,
}

impl Case {
    fn new(name: &str, window: &str, settings: &str, then: &str) -> Case {
        let [input, output, dead] = ["in", "out", "dead"].map(|topic| java::create(&format!("{name}-{topic}"), 1, &[]));
        let group = unique(name);
        java::permit(&[&input], &[&output, &dead, &format!("{group}.count.changelog")], &group);
        let dead_letter = if then == "dead_letter" { format!("dead_letter = \"{dead}\"\n") } else { String::new() };
        let pipeline = Pipeline::of(&format!(
            "[[step]]\nname = \"count\"\nwasm = \"../plugin.wasm\"\ntimeout = \"300ms\"\n\
             window = {{ lateness = \"0s\", idle = \"1s\", {window} }}\nsettings = {{ {settings} }}\n\n\
             [state]\ncreate = true\n\n[output.main]\ntopic = \"{output}\"\n\n\
             [on_error]\n{dead_letter}then = \"{then}\"\nbackoff = {{ from = \"50ms\", to = \"50ms\" }}\n\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\nsession_timeout = \"6s\"\n"
        ));
        pipeline.install(&component::plugin("faulty_reduce"));
        Case { input, output, dead, group, pipeline }
    }

    /// The counts by key and start of the window.
    fn counts(&self) -> BTreeMap<(String, i64), u64> {
        let mut counts = BTreeMap::new();
        for (_, record) in java::dump(&self.output, 0) {
            let result: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            let key = result["key"].as_str().unwrap().to_owned();
            assert_eq!(record.key.as_deref(), Some(key.as_bytes()), "the output's key");
            assert_eq!(record.timestamp + 1, result["to"].as_i64().unwrap(), "the output's time");
            let count = result["count"].as_u64().unwrap();
            assert_eq!(
                counts.insert((key, result["from"].as_i64().unwrap()), count),
                None,
                "a result that is there twice"
            );
        }
        counts
    }

    fn dead(&self) -> Vec<(Raw, BTreeMap<String, String>)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let read = |(_, raw): (i64, Raw)| {
            let headers = raw.headers.iter();
            let headers = headers.map(|(name, value)| (text(name), text(value.as_deref().unwrap_or_default())));
            let headers = headers.collect();
            (raw, headers)
        };
        java::dump(&self.dead, 0).into_iter().map(read).collect()
    }
}

fn record(time: i64, key: &str, value: &str) -> Raw {
    Raw { timestamp: time, key: Some(key.into()), value: Some(value.into()), headers: Vec::new() }
}

fn some_hours_ago() -> i64 {
    (i64::try_from(clock::unix_ms()).unwrap() / WINDOW_MS - 240) * WINDOW_MS
}

fn end(mut process: Process) {
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
}

/// Overlapping windows are made of slices, which the plugin merges; a record is folded once. The process is killed in between.
#[test]
fn a_plugin_counts_records_by_key_in_overlapping_windows() {
    broker::brokers();
    let case = Case::new("reduce-hops", "size = \"1m\", every = \"20s\"", "", "stop");
    let base = some_hours_ago();
    let mut expected = BTreeMap::new();
    let mut made = Vec::new();
    for n in 0..6_000_i64 {
        let (time, key) = (base + n * 50, format!("k{}", n % 700));
        made.push(record(time, &key, "good"));
        let last = time.div_euclid(20_000) * 20_000;
        for start in [last - 40_000, last - 20_000, last] {
            *expected.entry((key.clone(), start)).or_insert(0) += 1;
        }
    }
    let (first, second) = made.split_at(3_000);
    java::produce(&case.input, 0, first);
    let mut process = case.pipeline.run();
    process.wait("half of the records", RECOVERY, |_| java::committed(&case.group, &case.input)[0] >= 2_500);
    process.kill();
    java::produce(&case.input, 0, second);
    let mut process = case.pipeline.run();
    process.wait("all results", RECOVERY, |_| java::records(&case.output)[0] >= expected.len());
    end(process);
    assert_eq!(case.counts(), expected);
}

/// What `add` does wrong leaves the cells as they were. The record goes to the dead letters, and the others are counted.
#[test]
fn a_fault_in_add_leaves_the_cells_as_they_were() {
    broker::brokers();
    let faults = [
        ("trap", "trap"),
        ("loop", "timeout"),
        ("error", "error"),
        ("reject", "told-to"),
        ("too-few-lengths", "bad-output"),
        ("length-below-2", "bad-output"),
        ("bytes-left-over", "bad-output"),
        ("cell-too-large", "bad-output"),
        ("failures-out-of-order", "bad-output"),
    ];
    let base = some_hours_ago();
    let running = faults.map(|(fault, code)| {
        let case =
            Case::new(&format!("reduce-{fault}"), "size = \"1m\"", &format!("fault = \"{fault}\""), "dead_letter");
        let values = |n: i64| if n == 150 { "a bad one" } else { "good" };
        let made: Vec<Raw> = (0..300).map(|n| record(base + n, &format!("k{}", n % 3), values(n))).collect();
        java::produce(&case.input, 0, &made);
        (case.pipeline.run(), case, code)
    });
    for (mut process, case, code) in running {
        process.wait("the results", RECOVERY, |_| java::records(&case.output)[0] >= 3);
        end(process);
        let counts: Vec<u64> = case.counts().into_values().collect();
        assert_eq!(counts, [99, 100, 100], "{code}: all but the bad record, which has the key k0");
        let dead = case.dead();
        let [(raw, headers)] = &dead[..] else { panic!("{} dead letters", dead.len()) };
        assert_eq!((raw.value.as_deref(), &*headers["wasmill-code"]), (Some(&b"a bad one"[..]), code));
        assert_eq!((&*headers["wasmill-step"], &*headers["__streams.errors.offset"]), ("count", "150"));
    }
}

/// A record that is to be retried is folded once, in its place.
#[test]
fn a_record_that_add_wants_again_is_folded_once() {
    broker::brokers();
    let case = Case::new("reduce-retry", "size = \"1m\"", "fault = \"retry\", attempts = 2", "stop");
    let base = some_hours_ago();
    let values = |n: i64| if n % 50 == 7 { "bad" } else { "good" };
    let made: Vec<Raw> = (0..300).map(|n| record(base + n, &format!("k{}", n % 3), values(n))).collect();
    java::produce(&case.input, 0, &made);
    // Every call lasts longer than a transaction, so that each transaction is closed while a call is out.
    let hold = [("WASMILL_FAILPOINT", "after-guest=hold@150")];
    let mut process = case.pipeline.run_in(&hold, &["--set", "limits.transaction_every=\"50ms\""]);
    process.wait("the results", RECOVERY, |_| java::records(&case.output)[0] >= 3);
    assert!(process.metric("wasmill_retries_total").is_some_and(|retries| retries >= 12.0));
    end(process);
    assert_eq!(case.counts().into_values().collect::<Vec<_>>(), [100, 100, 100]);
}

/// A window that `merge` or `emit` can't do goes to the dead letters with its cell. The other windows have their results.
#[test]
fn a_fault_in_merge_or_emit_loses_one_window() {
    broker::brokers();
    let faults = [
        ("merge", "trap", "trap"),
        ("merge", "bytes-missing", "bad-output"),
        ("emit", "trap", "trap"),
        ("emit", "reject", "told-to"),
        ("emit", "retry", "retry"),
        ("emit", "too-few-lengths", "bad-output"),
    ];
    let base = some_hours_ago();
    let running = faults.map(|(place, fault, code)| {
        let settings = format!("fault = \"{fault}\", in = \"{place}\"");
        let name = format!("reduce-{place}-{fault}");
        let case = Case::new(&name, "size = \"1m\", every = \"30s\"", &settings, "dead_letter");
        // Two slices of the window from `base` on, so that it has something to merge.
        let made =
            [("a", 0, "good"), ("b", 1, "bad"), ("a", 30_000, "good"), ("b", 30_001, "good"), ("c", 30_002, "good")];
        let made = made.map(|(key, at, value)| record(base + at, key, value));
        java::produce(&case.input, 0, &made);
        (case.pipeline.run(), case, place, code)
    });
    for (mut process, case, place, code) in running {
        let ends = if place == "emit" { 6 } else { 7 };
        process.wait("the results", RECOVERY, |_| {
            java::records(&case.output)[0] >= ends && java::records(&case.dead)[0] >= 8 - ends
        });
        end(process);
        let counts = case.counts();
        assert_eq!((counts.len(), counts[&("a".to_owned(), base)]), (ends, 2), "{place} {code}: {counts:?}");
        assert!(!counts.contains_key(&("b".to_owned(), base)), "{counts:?}");
        let dead = case.dead();
        assert_eq!(dead.len(), 8 - ends);
        let (raw, headers) = dead.last().unwrap();
        assert_eq!((raw.key.as_deref(), &*headers["wasmill-code"]), (Some(&b"b"[..]), code));
        assert_eq!(headers["wasmill-window-end"], (base + 60_000).to_string());
        // The cell of the plugin: a count, and a mark.
        assert_eq!((raw.value.as_ref().unwrap().len(), raw.timestamp), (9, base + 59_999));
    }
}

/// A window without a result stops the pipeline where the policy says so. Its state is kept: a component that can do it goes on.
#[test]
fn a_window_without_a_result_stops_the_pipeline_and_is_not_lost() {
    broker::brokers();
    let case = Case::new("reduce-stop", "size = \"1m\"", "fault = \"trap\", in = \"emit\"", "stop");
    let base = some_hours_ago();
    java::produce(
        &case.input,
        0,
        &[record(base, "a", "good"), record(base + 1, "b", "bad"), record(base + 2, "b", "good")],
    );
    let mut process = case.pipeline.run();
    assert_eq!(process.exit(RECOVERY), Some(1), "the exit code");
    let log = process.log();
    assert!(
        log.contains(&format!("the window from {base} to {} ms of key b has no result", base + WINDOW_MS)),
        "{log}"
    );
    let mut process = case.pipeline.run_with(&["--set", "step.0.settings.in=\"merge\""]);
    process.wait("the results", RECOVERY, |_| java::records(&case.output)[0] >= 2);
    end(process);
    assert_eq!(case.counts().into_values().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(java::records(&case.dead), [0]);
}

/// Open windows are shown early, again and again, until the last result of each comes when it closes.
#[test]
fn open_windows_are_shown_early_until_they_close() {
    broker::brokers();
    let case = Case::new("reduce-early", "size = \"1m\"", "", "stop");
    let base = some_hours_ago();
    let mut process =
        case.pipeline.run_with(&["--set", "step.0.emit.early=\"200ms\"", "--set", "step.0.window.idle=\"never\""]);
    let shown = || {
        let counts = java::dump(&case.output, 0).into_iter().map(|(_, record)| {
            let result: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            result["count"].as_u64().unwrap()
        });
        counts.collect::<Vec<_>>()
    };
    for count in 1..=3 {
        java::produce(&case.input, 0, &[record(base + i64::try_from(count).unwrap(), "a", "good")]);
        process.wait("an early result", RECOVERY, |_| shown().last() == Some(&count));
    }
    assert_eq!(shown(), [1, 2, 3], "a key is shown when its cell has changed");
    java::produce(&case.input, 0, &[record(base + WINDOW_MS, "b", "good")]);
    process.wait("the last result of `a`, and an early one of `b`", RECOVERY, |_| shown().len() >= 5);
    end(process);
    let mut last = shown().split_off(3);
    last.sort_unstable();
    assert_eq!(last, [1, 3]);
}

/// A plugin finds the keys and the times of records: `plugins/keyed`.
#[test]
fn a_plugin_finds_keys_and_times() {
    broker::brokers();
    let case = Case::new("reduce-by", "size = \"1m\"", "", "dead_letter");
    case.pipeline.install(&component::plugin("keyed"));
    let mut process = case.pipeline.run();
    assert_eq!(process.exit(RECOVERY), Some(78), "the exit code");
    assert!(process.log().contains("write `same_partition = true`"), "{}", process.log());
    let base = some_hours_ago();
    let values = [
        format!("a {base}"),
        format!("b {}", base + 1),
        "drop it".to_owned(),
        format!("a {}", base + 59_999),
        format!("null {}", base + 2),
        "c never".to_owned(),
        format!("a {}", base + WINDOW_MS),
    ];
    // Their own keys and times say something else.
    java::produce(&case.input, 0, &values.map(|value| record(base - 1, "own", &value)));
    let mut process = case.pipeline.run_with(&["--set", "step.0.same_partition=true"]);
    process.wait("the results", RECOVERY, |_| java::records(&case.output)[0] >= 4);
    end(process);
    let mut results: Vec<(i64, Value)> = java::dump(&case.output, 0)
        .into_iter()
        .map(|(_, record)| (record.timestamp, serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()))
        .collect();
    results.sort_by_key(|(time, result)| (*time, result["key"].to_string()));
    let result = |end: i64, key: Value, count: u64| (end - 1, serde_json::json!({ "key": key, "count": count }));
    let (first, second) = (base + WINDOW_MS, base + 2 * WINDOW_MS);
    let expected = [
        result(first, "a".into(), 2),
        result(first, "b".into(), 1),
        result(first, Value::Null, 1),
        result(second, "a".into(), 1),
    ];
    assert_eq!(results, expected);
    let dead = case.dead();
    let [(raw, headers)] = &dead[..] else { panic!("{} dead letters", dead.len()) };
    assert_eq!((raw.value.as_deref(), &*headers["wasmill-code"]), (Some(&b"c never"[..]), "no-time"));
}

/// The dead letter of a window has a cell, which is no record: it isn't written back to the input, and the records are.
#[test]
fn a_window_without_a_result_is_not_written_back_to_the_input() {
    broker::brokers();
    let case = Case::new("reduce-back", "size = \"1m\"", "fault = \"reject\", in = \"emit\"", "dead_letter");
    java::permit(&[&case.dead], &[&case.dead, &case.input], &format!("{}.dlq", case.group));
    let base = some_hours_ago();
    let ahead = i64::try_from(clock::unix_ms()).unwrap() + 3_600_000;
    let made = [record(base, "a", "good"), record(base + 1, "b", "bad"), record(ahead, "c", "good")];
    java::produce(&case.input, 0, &made);
    let mut process = case.pipeline.run();
    process.wait("the result and the dead letters", RECOVERY, |_| {
        (java::records(&case.output)[0], java::records(&case.dead)[0]) == (1, 2)
    });
    end(process);
    let mut replay = case.pipeline.dlq("replay", &["--to-input"]);
    assert_eq!(replay.exit(RECOVERY), Some(0), "the exit code");
    let log = replay.log();
    assert!(log.contains("replayed 1, 1 left out that are windows without a result\n"), "{log}");
    let back: Vec<Raw> = java::dump(&case.input, 0).into_iter().skip(3).map(|(_, record)| record).collect();
    let replays = vec![(b"wasmill-replays".to_vec(), Some(b"1".to_vec()))];
    assert_eq!(back, [Raw { headers: replays, ..record(ahead, "c", "good") }]);
}

/// A plugin with the next version of its state takes over while the pipeline runs: it goes on with the cells of the open windows. One that
/// can't read them is refused, and at a start it stops the pipeline.
#[test]
fn open_windows_go_on_with_the_next_version_of_a_plugins_state() {
    broker::brokers();
    let case = Case::new("reduce-next", "size = \"1m\"", "", "stop");
    case.pipeline.install(&component::plugin("keyed"));
    let more = ["--set", "step.0.same_partition=true", "--set", "step.0.window.idle=\"never\""];
    let mut process = case.pipeline.run_with(&more);
    let base = some_hours_ago();
    let count = |process: &mut Process, values: &[(&str, i64)]| {
        let records = values.iter().map(|(key, at)| record(base, "own", &format!("{key} {}", base + at)));
        java::produce(&case.input, 0, &records.collect::<Vec<_>>());
        process.wait("everything to be committed", RECOVERY, |_| java::lag(&case.group, &case.input) == 0);
    };
    let shown = |process: &Process, key: &str| {
        let (status, body) = process.get(&format!("/state/count/{key}?here")).unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, answer["windows"].as_array().map(Vec::len)), (200, Some(1)), "{answer}");
        answer["windows"][0]["value"].clone()
    };
    let value =
        |key: &str, count: u64, before: u64| serde_json::json!({ "key": key, "count": count, "before": before });
    count(&mut process, &[("a", 0), ("a", 1), ("a", 2), ("b", 3)]);
    assert_eq!(shown(&process, "a"), serde_json::json!({ "key": "a", "count": 3 }));

    let reloads = |result: &str| {
        format!("wasmill_plugin_reloads_total{{pipeline=\"pipeline\",result=\"{result}\",step=\"count\"}}")
    };
    case.pipeline.install(&component::plugin("keyed_next"));
    process.hang_up();
    process.wait("the next version", RECOVERY, |process| process.metric(&reloads("ok")) == Some(1.0));
    let said = "`the versions of the plugin's state` with a new consumer";
    process.wait("the line about it", RECOVERY, |process| process.log().contains(said));
    process.wait("its state to be restored", RECOVERY, |process| {
        process.get("/readyz").is_some_and(|(status, _)| status == 200)
            && process.log().matches("restored 2 cells").count() == 1
    });
    assert_eq!(shown(&process, "b"), value("b", 1, 1));
    count(&mut process, &[("a", 4), ("a", 5), ("c", 6)]);
    assert_eq!(["a", "b", "c"].map(|key| shown(&process, key)), [value("a", 5, 3), value("b", 1, 1), value("c", 1, 0)]);

    case.pipeline.install(&component::plugin("keyed"));
    process.hang_up();
    process.wait("the refusal", RECOVERY, |process| process.metric(&reloads("failed")) == Some(1.0));
    let said = "the state may have cells of version 2, and the component reads [1]";
    process.wait("the line about it", RECOVERY, |process| process.log().contains(said));
    let (status, checks) = process.get("/readyz?verbose").unwrap();
    assert!(status == 200 && checks.contains("[-]reload") && checks.contains(said), "{checks}");
    count(&mut process, &[("a", 7)]);
    assert_eq!(shown(&process, "a"), value("a", 6, 3));
    count(&mut process, &[("z", WINDOW_MS)]);
    process.wait("the results", RECOVERY, |_| java::records(&case.output)[0] >= 3);
    end(process);
    let mut results: Vec<Value> = java::dump(&case.output, 0)
        .into_iter()
        .map(|(_, record)| serde_json::from_slice(record.value.as_deref().unwrap()).unwrap())
        .collect();
    results.sort_by_key(|result: &Value| result["key"].to_string());
    assert_eq!(results, [value("a", 6, 3), value("b", 1, 1), value("c", 1, 0)]);
    let mut process = case.pipeline.run_with(&more);
    assert_eq!(process.exit(RECOVERY), Some(1), "the exit code");
    assert!(process.log().contains("written with version 2 of the plugin's state"), "{}", process.log());
}
