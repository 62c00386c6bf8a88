//! `wasmill check` with a real broker: all mistakes are reported at once, each with its position, the reason and the fix.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::broker;
use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::unique;

/// `check` promises to end within this time; tests add a margin for a loaded machine.
const LIMIT: Duration = Duration::from_secs(10);

fn check(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    command.current_dir(folder).arg("check").args(arguments).env("NO_COLOR", "1").env("CHECK_PASSWORD", "hunter2");
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The findings of `--format json` as `line: message | help`.
fn findings(output: &Output) -> Vec<(u64, String, String)> {
    let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)));
    let of = |finding: &Value| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        assert!(finding["column"].as_u64().is_some() && !text("help").is_empty(), "{finding}");
        assert!(text("file").ends_with(".toml"), "{finding}");
        (finding["line"].as_u64().unwrap(), text("message"), text("help"))
    };
    all["findings"].as_array().unwrap().iter().map(of).collect()
}

fn pipeline(input: &str, output: &str, more: &str) -> String {
    format!(
        "[kafka]\nbrokers = [\"{}\"]\n[input]\ntopics = [{input}]\ngroup = \"{}\"\n[[step]]\nwasm = \"p.wasm\"\n\
         [output.main]\ntopic = \"{output}\"\n{more}",
        broker::brokers(),
        unique("check")
    )
}

#[test]
fn a_valid_pipeline_is_0_and_lists_the_topics_of_its_patterns() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.wasm"), component::forward()).unwrap();
    let (input, output) = (java::create("check-in", 3, &[]), java::create("check-out", 3, &[]));
    let pattern = format!("\"{input}\", '^{}$'", input.replace('.', "\\."));
    fs::write(folder.path().join("a.toml"), pipeline(&pattern, &output, "")).unwrap();
    let done = check(folder.path(), &["a.toml", "--deny-warnings"]);
    let said = text(&done);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.contains("a.toml: ok (1 step, 1 output)"), "{said}");
    assert!(said.contains(&format!("reads 1 topics now: {input}")), "{said}");
}

/// A plugin that comes with wasmill is checked like any other, whatever else is wrong in the file.
#[test]
fn a_mistake_in_a_jq_program_is_reported_beside_other_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[kafka]\nbrokers = [\"localhost:9092\"]\n[input]\ntopics = [\"in\"]\ngroup = \"jq\"\n\
                [[step]]\nuse = \"std:jq\"\nsettings = { program = \"select(.status >\" }\n\
                [output.main]\ntopic = \"out\"\n[limits]\nparallelism = 0\n";
    fs::write(folder.path().join("jq.toml"), file).unwrap();
    let done = check(folder.path(), &["jq.toml", "--offline", "--format", "json"]);
    assert_eq!(done.status.code(), Some(78), "{}", text(&done));
    let found = findings(&done);
    let lines: Vec<u64> = found.iter().map(|(line, ..)| *line).collect();
    assert_eq!(lines, [8, 12], "{found:?}");
    assert!(found[0].1.contains("`program`, line 1, column 17: expected"), "{found:?}");
}

#[test]
fn the_permission_for_transactions_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.wasm"), component::forward()).unwrap();
    let (input, output) = (java::create("check-in", 1, &[]), java::create("check-out", 1, &[]));
    let file = format!("delivery = \"exactly_once\"\n{}", pipeline(&format!("\"{input}\""), &output, ""));
    fs::write(folder.path().join("once.toml"), &file).unwrap();
    let done = check(folder.path(), &["once.toml"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    let group = file.split("group = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    java::allow("somebody", "transactional_id", &format!("wasmill-{group}-check"), "write");
    let done = check(folder.path(), &["once.toml", "--format", "json"]);
    assert_eq!(done.status.code(), Some(78), "{}", text(&done));
    let (_, message, help) = findings(&done).remove(0);
    assert_eq!(message, format!("no permission to use transactional ids that begin with `wasmill-{group}-`"));
    assert!(help.contains(&format!("--transactional-id wasmill-{group}- --resource-pattern-type prefixed")), "{help}");
}

/// Ten mistakes on all levels of one pipeline: none hides another.
#[test]
fn ten_planted_mistakes_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.wasm"), component::forward()).unwrap();
    fs::write(folder.path().join("text.wasm"), "no wasm").unwrap();
    let there = java::create("check-there", 1, &[]);
    let locked = java::create("check-locked", 1, &[]);
    let half = java::create("check-half", 1, &[]);
    java::allow("somebody", "topic", &locked, "all");
    java::allow("ANONYMOUS", "topic", &half, "read");
    let group = unique("check-group");
    java::allow("somebody", "group", &group, "all");
    let brokers = broker::brokers();
    let near = format!("{}x", there);
    let file = format!(
        "[kafka]\nbrokers = [\"{brokers}\"]\n\
         [input]\ntopics = [\"{near}\", \"{locked}\", \"^loop-.*\"]\ngroup = \"{group}\"\n\
         [[step]]\nname = \"one\"\nwasm = \"text.wasm\"\n\
         [[step]]\nname = \"two\"\nwasm = \"q.wasm\"\n\
         [[step]]\nname = \"three\"\nwasm = \"p.wasm\"\ntimeout = \"1 parsec\"\n\
         [output.main]\ntopic = \"loop-back\"\n\
         [output.half]\ntopic = \"{half}\"\ncompresion = \"zstd\"\n\
         [output.gone]\ntopic = \"check-gone\"\n\
         [limits]\nparallelism = 0\n"
    );
    fs::write(folder.path().join("ten.toml"), file).unwrap();
    let done = check(folder.path(), &["ten.toml", "--format", "json"]);
    assert_eq!(done.status.code(), Some(78), "{}", text(&done));
    let found = findings(&done);
    let create = format!("kafka-topics.sh --bootstrap-server {brokers} --create --topic");
    let grant = |rest: &str| {
        format!(
            "kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal User:NAME --operation Describe --operation {rest}"
        )
    };
    let expected = [
        (
            4,
            format!("the input topic `{near}` does not exist"),
            format!("did you mean `{there}`? Or create it: {create} {near}"),
        ),
        (4, format!("no permission to read the input topic `{locked}`"), grant(&format!("Read --topic {locked}"))),
        (5, format!("no permission to read the consumer group `{group}`"), grant(&format!("Read --group {group}"))),
        (8, "step `one`: text.wasm: it is neither".to_owned(), "name a `.wasm` file".to_owned()),
        (11, "the component `q.wasm` doesn't exist".to_owned(), "did you mean `p.wasm`?".to_owned()),
        (15, "`timeout`: `1 parsec` is not a time".to_owned(), "\"200ms\"".to_owned()),
        (
            17,
            "output `main` writes `loop-back`, which the input reads by `^loop-.*`".to_owned(),
            "circulate for ever".to_owned(),
        ),
        (
            19,
            format!("no permission to write the topic `{half}` of output `half`"),
            grant(&format!("Write --topic {half}")),
        ),
        (20, "unknown field `compresion`".to_owned(), "did you mean `compression`?".to_owned()),
        (22, "the topic `check-gone` of output `gone` does not exist".to_owned(), format!("{create} check-gone")),
        (24, "`parallelism`: 0 is out of range".to_owned(), "from 1 to 1024".to_owned()),
    ];
    for (line, message, help) in &expected {
        let is_it =
            |found: &&(u64, String, String)| found.0 == *line && found.1.contains(message) && found.2.contains(help);
        assert!(found.iter().any(|found| is_it(&found)), "line {line}, {message}, {help} is missing in {found:#?}");
    }
}

#[test]
fn warnings_pass_unless_they_are_denied() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.wasm"), component::forward()).unwrap();
    let (input, output) = (java::create("warn-in", 4, &[]), java::create("warn-out", 2, &[]));
    let whole =
        pipeline(&format!("\"{input}\", \"^nothing-like-this-.*\""), &output, "partition = \"same_as_input\"\n");
    let group = whole.lines().find(|line| line.starts_with("group")).unwrap();
    fs::write(folder.path().join("warn.toml"), whole.replace(&format!("{group}\n"), "")).unwrap();
    let done = check(folder.path(), &["warn.toml"]);
    let said = text(&done);
    assert_eq!(done.status.code(), Some(0), "{said}");
    for part in [
        "warning: the consumer group `warn` is named after the file",
        "warning: the pattern `^nothing-like-this-.*` matches no existing topic",
        "has 2 partitions and the input 4",
        &format!("--alter --topic {output} --partitions 4"),
        "warn.toml: ok, with 3 warnings",
    ] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
    assert_eq!(check(folder.path(), &["warn.toml", "--deny-warnings"]).status.code(), Some(78));
}

#[test]
fn silent_brokers_are_69_in_time_unless_there_are_other_errors() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.wasm"), component::forward()).unwrap();
    // Bound, so that no other process listens there: the kernel accepts connections, which are never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (name, address) in [("silent", &silent), ("gone", &gone)] {
        let whole = pipeline("\"in\"", "out", "").replace(broker::brokers(), address);
        fs::write(folder.path().join("a.toml"), &whole).unwrap();
        fs::write(folder.path().join("b.toml"), whole.replace("topic =", "topik =")).unwrap();
        let watch = clock::Watch::start();
        let done = check(folder.path(), &["a.toml", "--format", "json"]);
        assert!(watch.elapsed() < LIMIT, "{name}: {:?}", watch.elapsed());
        assert_eq!(done.status.code(), Some(69), "{name}: {}", text(&done));
        let [(line, message, help)] = &findings(&done)[..] else { panic!("{}", text(&done)) };
        assert!(
            *line == 2 && message.contains("no broker answers") && help.contains(address.as_str()),
            "{message} {help}"
        );
        let done = check(folder.path(), &["a.toml", "b.toml", "--format", "github"]);
        assert_eq!(done.status.code(), Some(78), "{name}: {}", text(&done));
        let said = text(&done);
        assert!(said.contains("::error file=a.toml,line=2,col=11::no broker answers"), "{said}");
        assert!(
            said.contains("::error file=b.toml,line=9,col=1::unknown field `topik`%0Ahelp: did you mean"),
            "{said}"
        );
    }
}

/// Connects with a password from the environment to a listener without SASL: the mistake is reported, the password isn't.
#[test]
fn no_secret_is_shown_or_sent_unencrypted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.wasm"), component::forward()).unwrap();
    let sasl = "sasl = { mechanism = \"SCRAM-SHA-256\", username = \"me\", password = \"${CHECK_PASSWORD}\" }";
    let whole = pipeline("\"in-${CHECK_PASSWORD}\"", "out", "").replacen("brokers", &format!("{sasl}\nbrokers"), 1);
    fs::write(folder.path().join("a.toml"), &whole).unwrap();
    let done = check(folder.path(), &["a.toml"]);
    let said = text(&done);
    assert!(matches!(done.status.code(), Some(69 | 78)), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    // `tls` is misspelt: the password isn't sent over what would be an unencrypted connection.
    fs::write(folder.path().join("a.toml"), whole.replacen("sasl =", "tsl = true\nsasl =", 1)).unwrap();
    let done = check(folder.path(), &["a.toml"]);
    let said = text(&done);
    assert_eq!(done.status.code(), Some(78), "{said}");
    assert!(said.contains("no broker was asked") && !said.contains("hunter2"), "{said}");
    // A topic from a file is asked about, and reported by its position only.
    fs::write(folder.path().join("topic"), "in-hunter2").unwrap();
    fs::write(folder.path().join("a.toml"), pipeline("\"${file:topic}\"", "out", "")).unwrap();
    let done = check(folder.path(), &["a.toml"]);
    let said = text(&done);
    assert_eq!(done.status.code(), Some(78), "{said}");
    assert!(said.contains("the input topic `***` does not exist") && !said.contains("hunter2"), "{said}");
}
