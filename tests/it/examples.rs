//! The examples do what their pages say, and `dev` brings out all that it was fed.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support;
use crate::support::clock;
use crate::support::component;
use crate::support::say;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(120);
const HIDDEN: [&str; 3] = ["email", "phone", "name"];

#[test]
fn orders_come_out_masked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/orders");
    let plugin = folder.join("../../plugins/target/wasm/mask.wasm");
    assert!(plugin.exists(), "{} is missing: cargo xtask plugins builds it", plugin.display());
    let input = folder.join("input.ndjson");
    let mut process = Process::dev(&folder.join("pipeline.toml"), &input);
    assert_eq!(process.exit(LIMIT), Some(0));
    let mut expected: Vec<Value> =
        fs::read_to_string(input).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    expected.iter_mut().for_each(hide);
    assert_eq!(values(&process), expected);
}

/// Hides the personal fields of an order itself, and of nothing inside it.
fn hide(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        for (_, value) in fields.iter_mut().filter(|(name, _)| HIDDEN.contains(&name.as_str())) {
            *value = "***".into();
        }
    }
}

#[test]
fn dev_brings_out_a_feed_of_50_mb_complete() {
    let _alone = support::load();
    let pipeline = Pipeline::new("fed", "came.out", "feed", "");
    pipeline.install(&component::forward());
    let pad = "x".repeat(80);
    let mut text = String::new();
    let mut lines = 0_u64;
    while text.len() < 50 << 20 {
        writeln!(text, "{{\"n\":{lines},\"pad\":\"{pad}\"}}").unwrap();
        lines += 1;
    }
    let input = pipeline.folder().join("input.ndjson");
    fs::write(&input, text).unwrap();
    let watch = clock::Watch::start();
    let mut process = Process::dev(&pipeline.file(), &input);
    assert_eq!(process.exit(LIMIT), Some(0));
    say(&format!("dev: {lines} lines, 50 MiB, in {:?}", watch.elapsed()));
    let numbers: Vec<u64> = values(&process).iter().map(|value| value["n"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..lines), "{} of {lines} lines came out", numbers.len());
}

/// The values of the records that `dev` printed.
fn values(process: &Process) -> Vec<Value> {
    let of = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        serde_json::from_str(record["value"].as_str().unwrap()).unwrap()
    };
    process.out().lines().map(of).collect()
}

#[test]
fn payments_go_to_the_topic_of_their_type_byte_for_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/route");
    let plugin = folder.join("../../plugins/target/wasm/route.wasm");
    assert!(plugin.exists(), "{} is missing: cargo xtask plugins builds it", plugin.display());
    let input = folder.join("input.ndjson");
    let mut process = Process::dev(&folder.join("pipeline.toml"), &input);
    assert_eq!(process.exit(LIMIT), Some(0));
    let text = fs::read_to_string(input).unwrap();
    let expected = text.lines().map(|line| {
        let payment: Value = serde_json::from_str(line).unwrap();
        let topic = match payment["payment"]["type"].as_str() {
            Some("refund") => "payments.refunds",
            Some("chargeback" | "dispute") => "payments.disputes",
            _ => "payments.other",
        };
        (topic.to_owned(), line.to_owned())
    });
    let mut expected: Vec<_> = expected.collect();
    let output = process.out();
    let came = output.lines().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        (record["topic"].as_str().unwrap().to_owned(), record["value"].as_str().unwrap().to_owned())
    });
    let mut came: Vec<_> = came.collect();
    expected.sort();
    came.sort();
    assert_eq!(came, expected);
}
