//! The examples do what their pages say, and `dev` outputs everything that it is fed.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
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
    let text = fs::read_to_string(input).unwrap();
    let parsed = text.lines().map(serde_json::from_str);
    let mut expected: Vec<Value> = parsed.filter_map(Result::ok).collect();
    expected.iter_mut().for_each(hide);
    let printed = records(&process);
    let of = |topic: &str| -> Vec<&str> {
        printed
            .iter()
            .filter(|record| record["topic"] == topic)
            .map(|record| record["value"].as_str().unwrap())
            .collect()
    };
    let clean: Vec<Value> = of("orders.clean").into_iter().map(|value| serde_json::from_str(value).unwrap()).collect();
    assert_eq!(clean, expected);
    // The last order is cut off.
    assert_eq!((of("orders.dead"), expected.len()), (vec![text.lines().last().unwrap()], text.lines().count() - 1));
}

#[test]
fn the_test_cases_of_the_examples_pass_and_a_wrong_one_is_reported() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wasmill = |arguments: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
        command.current_dir(root).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (orders, route) = ("examples/orders/pipeline.toml", "examples/route/pipeline.toml");
    let (stamp, jq) = ("examples/stamp/pipeline.toml", "examples/jq/pipeline.toml");
    let (revenue, top) = ("examples/revenue/pipeline.toml", "examples/top/pipeline.toml");
    let (code, out, errors) = wasmill(&["test", orders, route, stamp, jq, revenue, top], "");
    assert_eq!((code, out.matches("ok ").count()), (Some(0), 24), "{out}{errors}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.toml");
    let plugin = root.join("plugins/target/wasm/mask.wasm");
    let text = fs::read_to_string(root.join(orders)).unwrap();
    fs::write(&file, text.replace("../../plugins/target/wasm/mask.wasm", plugin.to_str().unwrap())).unwrap();
    let case = |expect: &str| {
        let case = format!("[[case]]\nname = \"a & b\"\ninput = ['{{\"email\":\"a\"}}']\n{expect}\n");
        fs::write(folder.path().join("orders.test.toml"), case).unwrap();
    };
    let file = file.to_str().unwrap();
    case("expect = ['{\"email\":\"a\"}', 'more']");
    let (code, out, _) = wasmill(&["test", file], "");
    assert_eq!(code, Some(1), "{out}");
    for part in ["FAILED", "output 0:", "***", "output 1 is missing"] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    let (code, out, _) = wasmill(&["test", file, "--format", "junit"], "");
    assert!(code == Some(1) && out.contains("failures=\"1\"") && out.contains("name=\"a &amp; b\""), "{out}");
    case("expect_error = \"bad-json\"");
    assert_eq!(wasmill(&["test", file], "").0, Some(1), "it doesn't fail");
    case("expect_file = \"out.ndjson\"");
    assert_eq!(wasmill(&["test", file], "").0, Some(1), "the file isn't there");
    assert_eq!(wasmill(&["test", file, "--bless"], "").0, Some(0));
    assert_eq!(wasmill(&["test", file], "").0, Some(0));
    case("expect = []\nidle = false");
    let (code, out, _) = wasmill(&["test", file], "");
    assert!(code == Some(1) && out.contains("the pipeline has no step with windows"), "{out}");
    case("expekt = []");
    let (code, _, errors) = wasmill(&["test", file], "");
    assert!(code == Some(78) && errors.contains("orders.test.toml") && errors.contains("line 4"), "{errors}");

    // The output of `try` is valid input for `try`, and failures are reported with the line number.
    let (code, out, errors) = wasmill(&["try", file, "--key", "k", "--trace"], "{\"email\":\"a\"}\nnonsense\n{}\n");
    assert_eq!((code, out.lines().count()), (Some(1), 2), "{out}{errors}");
    assert!(errors.contains("line 2: step `mask`: reject (bad-json)") && errors.contains("mask: 1 in"), "{errors}");
    let (code, again, _) = wasmill(&["try", file, "--format", "record", "--step", "mask"], &out);
    assert_eq!((code, again), (Some(0), out));
    let (code, _, errors) = wasmill(&["try", file, "--step", "musk"], "");
    assert!(code == Some(78) && errors.contains("there is no step `musk`: there are mask"), "{errors}");
}

/// Hides the personal fields at any depth: in this input every `name` is a person's.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if HIDDEN.contains(&name.as_str()) {
                    *value = "***".into();
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn dev_outputs_a_feed_of_50_mb_completely() {
    let alone = support::load();
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
    drop(alone);
    let numbers: Vec<u64> = values(&process).iter().map(|value| value["n"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..lines), "{} of {lines} lines came out", numbers.len());
}

/// On the embedded broker, windows that the feed leaves open close by `idle`.
#[test]
fn revenue_on_the_embedded_broker_is_that_of_the_test_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/revenue");
    let mut process = Process::dev(&folder.join("pipeline.toml"), &folder.join("input.ndjson"));
    assert_eq!(process.exit(LIMIT), Some(0));
    let of =
        |record: &Value| ["topic", "key", "value"].map(|field| record[field].as_str().unwrap_or_default().to_owned());
    let expected = fs::read_to_string(folder.join("expected.ndjson")).unwrap();
    let mut expected: Vec<_> = expected.lines().map(|line| of(&serde_json::from_str(line).unwrap())).collect();
    let mut printed: Vec<_> = records(&process).iter().map(of).collect();
    expected.sort();
    printed.sort();
    assert_eq!(printed, expected);
    assert!(process.log().contains("step `per-minute` computes its windows at least once"), "{}", process.log());
}

/// A window that the plugin fails on is named, and those after it have their results.
#[test]
fn try_names_a_window_whose_result_a_plugin_fails_to_make() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plugin.wasm"), component::plugin("faulty_reduce")).unwrap();
    let text = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\n[input]\ntopics = [\"orders\"]\ngroup = \"g\"\n[[step]]\nname = \"count\"\n\
                wasm = \"plugin.wasm\"\nwindow = { size = \"1m\" }\nsettings = { fault = \"trap\", in = \"emit\" }\n\
                [output.main]\ntopic = \"counts\"\n";
    fs::write(folder.path().join("pipe.toml"), text).unwrap();
    let record = |key: &str, value: &str, time: i64| {
        format!("{{\"key\":\"{key}\",\"value\":\"{value}\",\"timestamp\":{time}}}\n")
    };
    let input = [record("a", "bad", 0), record("b", "good", 1), record("a", "good", 60_000)].concat();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    command.current_dir(&folder).args(["try", "pipe.toml", "--format", "record"]);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let (out, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), out.lines().count()), (Some(1), 2), "{out}{said}");
    assert!(out.contains("\\\"key\\\":\\\"b\\\"") && out.contains("\\\"from\\\":60000"), "{out}");
    assert!(said.contains("orders/0: the window from 0 to 60000 ms of key a has no result"), "{said}");
    assert!(said.contains("1 window has no result"), "{said}");
}

/// The records that `dev` printed.
fn records(process: &Process) -> Vec<Value> {
    process.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The values of the records that `dev` printed.
fn values(process: &Process) -> Vec<Value> {
    records(process).iter().map(|record| serde_json::from_str(record["value"].as_str().unwrap()).unwrap()).collect()
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

/// `inspect` prints the `allow` block that a refused step needs, and `check` warns about an unused grant.
#[test]
fn a_plugin_has_time_random_numbers_and_environment_only_if_its_step_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/target/wasm");
    for plugin in ["stamp.wasm", "mask.wasm"] {
        fs::copy(plugins.join(plugin), folder.path().join(plugin)).unwrap();
    }
    let wasmill = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
        // The plugin doesn't get the environment of the process.
        let output = command.current_dir(&folder).args(arguments).env("REGION", "host").output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let pipeline = |plugin: &str, allow: &str| {
        let text = format!(
            "[kafka]\nbrokers = [\"localhost:9092\"]\n[input]\ntopics = [\"orders\"]\ngroup = \"g\"\n\
             [[step]]\nwasm = \"{plugin}\"\n{allow}\n[output.main]\ntopic = \"orders.stamped\"\n"
        );
        fs::write(folder.path().join("pipe.toml"), text).unwrap();
    };
    let check = ["check", "--offline", "pipe.toml"];

    pipeline("stamp.wasm", "");
    let (code, said) = wasmill(&check);
    assert_eq!(code, Some(78), "{said}");
    for part in ["pipe.toml:7:8", "wasi:clocks/wall-clock@0.2.0 (the time)", "clock = true, env = {", "random = true"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let (code, said) = wasmill(&["inspect", "stamp.wasm"]);
    let block = said.split_once("[step.allow]\n").map(|(_, block)| format!("[step.allow]\n{block}")).unwrap();
    pipeline("stamp.wasm", &block);
    assert_eq!((code, wasmill(&check).0), (Some(0), Some(0)), "{block}");

    pipeline("stamp.wasm", "allow = { clock = true, random = true, env = { REGION = \"eu-1\", OTHER = 1 } }");
    fs::write(folder.path().join("in.ndjson"), "{}\n").unwrap();
    let (code, said) = wasmill(&["dev", "pipe.toml", "--feed", "in.ndjson"]);
    assert!(code == Some(0) && said.contains("eu-1") && !said.contains("2026-01-01"), "{said}");
    let stamped = said.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()).unwrap();
    let header = |name: &str| {
        let headers = stamped["headers"].as_array().unwrap().iter();
        headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap().to_owned()).next().unwrap()
    };
    assert_eq!(header("region"), "eu-1");
    let at: u64 = header("processed-at").parse().unwrap();
    assert!(at > 1_780_000_000_000, "{at} is not now");

    pipeline("mask.wasm", "allow = { clock = true }");
    let (code, said) = wasmill(&check);
    assert!(code == Some(0) && said.contains("doesn't use `allow.clock`"), "{said}");
    for (allow, parts) in [
        ("allow = { clok = true }", ["unknown field `clok`", "did you mean `clock`?"]),
        (
            "allow = { http = [\"tiers\"] }",
            ["`tiers` can't be in `http`", "write scheme, host and, if need be, the port"],
        ),
        ("allow = { env = [\"REGION\"] }", ["`step.allow.env`: expected a table, found a list", "REGION = \"eu-1\""]),
        ("allow = { env = { \"A=B\" = \"1\" } }", ["`A=B` can't be the name of a variable", "write a name"]),
    ] {
        pipeline("stamp.wasm", allow);
        let (code, said) = wasmill(&check);
        assert!(code == Some(78) && parts.iter().all(|part| said.contains(part)), "{allow}: {said}");
        assert!(!said.contains("wasn't granted"), "{allow}: {said}");
    }
}
