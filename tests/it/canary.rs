//! No message of wasmill about a failure contains a byte of a record or a secret of a file.
//!
//! The records contain [`CANARY`], and the output of every process and every dead letter is searched for it. This file has failures
//! at the broker; those of plugins are in `dead_letter.rs`, and all feeds contain the canary.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::canary::CANARY;
use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(90);
const SIX_HOURS_MS: i64 = 6 * 3_600_000;

fn now_ms() -> i64 {
    i64::try_from(clock::unix_ms()).unwrap()
}

fn record(number: usize, timestamp: i64) -> Raw {
    let part = |name: &str| format!("{CANARY} {name} {number}").into_bytes();
    Raw {
        timestamp,
        key: Some(part("key")),
        value: Some(part("value")),
        headers: vec![(part("name"), Some(part("header")))],
    }
}

/// The records in the dead-letter topic, with their error messages.
fn letters(topic: &str) -> Vec<(Option<Vec<u8>>, String)> {
    let message = |raw: &Raw| {
        let of =
            |(name, value): &(Vec<u8>, Option<Vec<u8>>)| (name == b"__streams.errors.message").then(|| value.clone());
        String::from_utf8(raw.headers.iter().find_map(of).flatten().unwrap()).unwrap()
    };
    java::dump(topic, 0).into_iter().map(|(_, raw)| (raw.value.clone(), message(&raw))).collect()
}

/// The broker refuses one of 21 records in a request: only that one becomes a dead letter, with the broker's reason.
fn one_is_refused(name: &str, output: &[&str], guilty: Raw, reason: &str) {
    let anytime = "message.timestamp.after.max.ms=9223372036854775807";
    let input = java::create(&format!("{name}-in"), 1, &[anytime]);
    let output = java::create(&format!("{name}-out"), 1, output);
    let dead = java::create(&format!("{name}-dead"), 1, &[anytime]);
    let group = unique(name);
    let pipeline = Pipeline::new(&input, &output, &group, &format!("[on_error]\ndead_letter = \"{dead}\""));
    pipeline.install(&component::forward());
    let mut records: Vec<Raw> = (0..21).map(|number| record(number, now_ms())).collect();
    records[10] = guilty;
    java::produce(&input, 0, &records);
    let mut process = pipeline.run();
    process.wait("all records to be committed", LIMIT, |_| java::committed(&group, &input) == [21]);
    let letters = letters(&dead);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].0, records[10].value);
    assert!(letters[0].1.contains(reason), "{}", letters[0].1);
    assert!(process.log().contains(reason), "{}", process.log());
    process.get("/readyz?verbose").unwrap();
    process.get("/metrics").unwrap();
    records.remove(10);
    let passed: Vec<Raw> = java::dump(&output, 0).into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(passed, records);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
}

#[test]
fn a_timestamp_that_the_output_refuses_fails_with_the_brokers_message() {
    let guilty = record(10, now_ms() + SIX_HOURS_MS);
    one_is_refused("ahead", &["message.timestamp.after.max.ms=3600000"], guilty, "is out of range");
}

#[test]
fn a_record_without_a_key_for_a_compacted_output_fails_with_the_brokers_message() {
    let guilty = Raw { key: None, ..record(10, now_ms()) };
    one_is_refused("keyless", &["cleanup.policy=compact"], guilty, "cannot accept message without key");
}

#[test]
fn a_refused_output_stops_the_pipeline_with_the_brokers_message() {
    let input = java::create("keyless-stop-in", 1, &[]);
    let output = java::create("keyless-stop-out", 1, &["cleanup.policy=compact"]);
    let pipeline = Pipeline::new(&input, &output, &unique("keyless-stop"), "");
    pipeline.install(&component::forward());
    java::produce(&input, 0, &[Raw { key: None, ..record(0, now_ms()) }]);
    let mut process = pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(1));
    assert!(process.log().contains("cannot accept message without key"), "{}", process.log());
}

#[test]
fn more_rejects_than_their_share_stop_the_pipeline() {
    let input = java::create("share-in", 1, &[]);
    let output = java::create("share-out", 1, &[]);
    let group = unique("share");
    let policy = "[on_error]\nthen = \"skip\"\nmax_reject_share = 0.1";
    let pipeline = Pipeline::new(&input, &output, &group, policy);
    pipeline.install(&component::faulty());
    let value = |value: &str| Raw { value: Some(format!("{value} - - {CANARY}").into_bytes()), ..record(0, now_ms()) };
    // One in eleven is within the allowed share, one in two is not.
    let mut records: Vec<Raw> = (0..220).map(|n| value(if n % 11 == 0 { "reject told-to" } else { "n" })).collect();
    records.extend((0..100).map(|n| value(if n % 2 == 0 { "error" } else { "n" })));
    java::produce(&input, 0, &records);
    let mut process = pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(1));
    let log = process.log();
    assert!(log.contains("rejected 21 of the last 200 records") && log.contains("max_reject_share"), "{log}");
    let committed = java::committed(&group, &input)[0];
    assert!((221..230).contains(&committed), "{committed}");
}

/// A secret that a plugin's `init` or librdkafka knows and repeats in an error message.
#[test]
fn a_secret_in_a_refused_setting_is_shown_neither_by_run_nor_by_a_reload() {
    const TOKEN: &str = "s3cret-9Lx\\q";
    let (input, output) = (java::create("secret-in", 1, &[]), java::create("secret-out", 1, &[]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    let from_file = format!("${{file:{}}}", file.display());
    let hidden = |process: &Process, page: &str| {
        for text in [&*process.log(), &*process.out(), page] {
            assert!(!text.contains("s3cret"), "{text}");
        }
    };
    let body = |step: &str, more: &str| {
        format!(
            "[[step]]\nname = \"step-one\"\nwasm = \"../plugin.wasm\"\n{step}\n[output.main]\ntopic = \"{output}\"\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"secret\"\n{more}\n"
        )
    };
    // The plugin's `init` quotes an unknown word, and librdkafka a value that it can't use.
    let by_plugin = body(&format!("settings = {{ init = \"{from_file}\" }}"), "");
    let by_client = body("", &format!("librdkafka = {{ \"fetch.wait.max.ms\" = \"{from_file}\" }}"));
    for (bad, said) in [(&by_plugin, "unknown variant"), (&by_client, "fetch.wait.max.ms")] {
        let pipeline = Pipeline::of(bad);
        pipeline.install(&component::faulty());
        let mut process = pipeline.run();
        assert_eq!(process.exit(LIMIT), Some(78), "{}", process.log());
        assert!(process.log().contains(said), "{}", process.log());
        hidden(&process, "");
    }
    let pipeline = Pipeline::of(&body("", ""));
    pipeline.install(&component::faulty());
    let mut process = pipeline.run();
    process.ready();
    let path = pipeline.folder().join("0").join("pipeline.toml");
    let sound = fs::read_to_string(&path).unwrap();
    let head = &sound[..sound.find("[[step]]").unwrap()];
    for (bad, said) in [(&by_plugin, "unknown variant"), (&by_client, "fetch.wait.max.ms")] {
        replace(&path, &format!("{head}{bad}"));
        process.hang_up();
        let mut page = String::new();
        process.wait("the reload to be refused", LIMIT, |process| {
            page = process.get("/readyz?verbose").map(|(_, page)| page).unwrap_or_default();
            page.contains(said) && process.log().contains(said)
        });
        hidden(&process, &page);
    }
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
    hidden(&process, "");
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}
