//! Records that are watched as they pass, and what else the page shows of single records: with `wasmill tap`, by the API, and by clients
//! that never read.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::support;
use crate::support::broker;
use crate::support::component;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(120);

/// A command about a process, whose output is read line by line. It is killed when dropped.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(process: &Process, arguments: &[&str]) -> Running {
        let url = format!("http://{}", process.address());
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
        let command = command.args(arguments).args(["--url", &url]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Running { child, out }
    }

    /// A tap, when it is open.
    fn tap(process: &Process, arguments: &[&str]) -> Running {
        let mut tap = Running::start(process, &[&["tap"], arguments].concat());
        let mut line = String::new();
        BufReader::new(tap.child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("watching `"), "{line}");
        tap
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// Reads lines until one contains this text.
    fn until(&mut self, text: &str) {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the output ends without {text}");
            if line.contains(text) {
                return;
            }
        }
    }

    /// Waits for its end. Returns its exit code.
    fn end(&mut self) -> Option<i32> {
        while !self.line().is_empty() {}
        self.child.wait().unwrap().code()
    }

    /// The next record.
    fn record(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command about the process to its end. Returns its exit code, and what it wrote.
fn wasmill(process: &Process, arguments: &[&str]) -> (Option<i32>, String, String) {
    let url = format!("http://{}", process.address());
    let output = Command::new(env!("CARGO_BIN_EXE_wasmill")).args(arguments).args(["--url", &url]).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

/// Asks for something and never reads the answer.
fn unread(process: &Process, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(process.address()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream
}

fn dropped(process: &Process, kind: &str) -> u64 {
    let (_, metrics) = process.get("/metrics").unwrap();
    let of = |line: &&str| line.starts_with("wasmill_http_streams_dropped_total{") && line.contains(kind);
    metrics.lines().find(of).unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// Clients that open taps and read nothing hold up no record, take little memory, and are closed.
#[test]
fn taps_that_nobody_reads_hold_up_nothing_and_are_closed() {
    let _alone = support::load();
    let delivery = Delivery::new("taps", 2, "session_timeout = \"6s\"");
    let feed = Feed::start(&delivery.input, 1_000, 97, 4_000, 0);
    let mut process = delivery.pipeline.run_with(&["--set", "http.tap=true"]);
    process.ready();
    process.wait_for_commits(&delivery.group, &delivery.input, LIMIT);
    let before = process.memory("VmRSS");
    let taps: Vec<TcpStream> = (0..8).map(|_| unread(&process, "/api/v1/pipelines/pipeline/tap")).collect();
    process.wait("all taps to be open", LIMIT, |process| {
        process.log().lines().filter(|line| line.contains("an operator watches records")).count() == 8
    });
    let (status, text) = process.get_records("/api/v1/pipelines/pipeline/tap").unwrap();
    assert!(status == 429 && text.contains("too many taps are open"), "{text}");
    // All the time until they are closed, records are delivered and probes are answered.
    let mut rounds = 0;
    while dropped(&process, "\"tap\"") < 8 {
        process.wait_for_commits(&delivery.group, &delivery.input, Duration::from_secs(20));
        assert_eq!(process.get("/livez").unwrap().0, 200);
        rounds += 1;
        assert!(rounds < 200, "the taps stay open");
    }
    let grown = process.memory("VmHWM").saturating_sub(before) >> 20;
    say(&format!("taps: {rounds} commits while 8 taps were not read, and at most {grown} MiB more"));
    assert!(grown < 150, "{grown} MiB");
    drop(taps);
    let (code, out, err) = wasmill(&process, &["tap", "pipeline", "--step", "split", "--when", "out", "--limit", "3"]);
    assert_eq!((code, out.lines().count()), (Some(0), 3), "{err}");
    feed.stop();
    process.wait("the lag to reach zero", LIMIT, |_| java::lag(&delivery.group, &delivery.input) == 0);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
    assert_eq!(delivery.assert_delivered(&feed).repeats, 0);
}

/// A folder with one pipeline through `plugins/faulty`, and its topics.
struct Mill {
    folder: tempfile::TempDir,
    input: String,
    group: String,
    text: String,
}

impl Mill {
    fn new(name: &str) -> Mill {
        let [input, output, dead] = ["in", "out", "dead"].map(|topic| java::create(&format!("{name}-{topic}"), 1, &[]));
        let group = unique(name);
        java::permit(&[&input], &[&output, &dead], &group);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pipelines")).unwrap();
        fs::write(folder.path().join("plugin.wasm"), component::faulty()).unwrap();
        let text = format!(
            "[kafka]\n{}\n\n[[step]]\nname = \"faulty\"\nwasm = \"../plugin.wasm\"\n\n[output.main]\ntopic = \"{output}\"\n\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n\n[on_error]\ndead_letter = \"{dead}\"\n",
            broker::of_wasmill()
        );
        let mill = Mill { folder, input, group, text };
        mill.put("p.toml", &mill.text);
        mill.put("wasmill.toml", "[http]\ntap = true\n");
        mill
    }

    fn pipelines(&self) -> std::path::PathBuf {
        self.folder.path().join("pipelines")
    }

    fn put(&self, name: &str, text: &str) {
        let beside = self.folder.path().join("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, Path::new(&self.pipelines()).join(name)).unwrap();
    }

    fn produce(&self, values: &[&str]) {
        let raw = |value: &&str| Raw {
            timestamp: 1_700_000_000_000,
            key: Some(b"k".to_vec()),
            value: Some(value.as_bytes().to_vec()),
            headers: vec![(b"h".to_vec(), Some(b"\xff".to_vec()))],
        };
        java::produce(&self.input, 0, &values.iter().map(raw).collect::<Vec<_>>());
    }
}

fn detail(process: &Process) -> Value {
    serde_json::from_str(&process.get_records("/api/v1/pipelines/p").unwrap().1).unwrap()
}

/// What goes in, comes out and fails, also after a reload that makes new executors and after a restart of the pipeline.
#[test]
fn a_tap_shows_records_at_each_point_and_outlives_reloads_and_restarts() {
    let mill = Mill::new("tap-points");
    let mut process = Process::fleet_with(&mill.pipelines(), &["--watch"]);
    process.ready();
    let mut failed = Running::tap(&process, &["p", "--when", "failed"]);
    let mut found = Running::tap(&process, &["p", "--step", "faulty", "--match", "needle"]);
    let mut keyed = Running::tap(&process, &["p", "--key", "none"]);
    mill.produce(&["hay", "reject not-mine", "a needle"]);
    let record = failed.record();
    assert_eq!(
        (&record["when"], &record["offset"], &record["value"]),
        (&json!("failed"), &json!(1), &json!("reject not-mine"))
    );
    assert_eq!((&record["failure"]["kind"], &record["failure"]["code"]), (&json!("reject"), &json!("not-mine")));
    let [before, after] = [found.record(), found.record()];
    assert_eq!((&before["when"], &before["output"], &before["offset"]), (&json!("in"), &Value::Null, &json!(2)));
    assert_eq!((&after["when"], &after["output"]["name"]), (&json!("out"), &json!("main")));
    assert!(after["output"]["topic"].as_str().unwrap().contains("tap-points-out"), "{after}");
    assert_eq!(after["headers"], json!([["h", { "base64": "/w==" }]]));

    let reloads = |process: &Process| process.log().lines().filter(|line| line.contains("reloaded: ")).count();
    mill.put("p.toml", &mill.text.replace("[on_error]", "[limits]\nparallelism = 2\n\n[on_error]"));
    process.wait("the reload", LIMIT, |process| reloads(process) == 1);
    mill.produce(&["a second needle"]);
    assert_eq!([found.record(), found.record()].map(|record| record["offset"].clone()), [json!(3), json!(3)]);
    assert_eq!(wasmill(&process, &["restart", "p"]).0, Some(0));
    process.wait("a second start", LIMIT, |process| {
        process.log().lines().filter(|line| line.contains("starts pipeline `p`")).count() == 2
    });
    mill.produce(&["a third needle", "trap"]);
    assert_eq!([found.record(), found.record()].map(|record| record["offset"].clone()), [json!(4), json!(4)]);
    assert_eq!(failed.record()["failure"]["kind"], "trap");
    process.wait("all records to be committed", LIMIT, |_| java::committed(&mill.group, &mill.input) == [6]);

    // The page and the API name the last dead letters, failures and reloads.
    process.wait("the dead letters to be known", LIMIT, |process| {
        detail(process)["newest_dead_letters"].as_array().unwrap().len() == 2
    });
    let known = detail(&process);
    let newest = &known["newest_dead_letters"][0];
    assert_eq!(
        (&newest["offset"], &newest["kind"], &newest["step"]),
        (&json!(5), &json!("trap"), &json!("faulty")),
        "{known}"
    );
    assert_eq!(known["newest_dead_letters"][1]["offset"], 1, "{known}");
    assert!(known["last_failures"][0]["what"].as_str().unwrap().contains("trap"), "{known}");
    assert!(known["reloads"]["newest"][0]["what"].as_str().unwrap().contains("`[limits]` in place"), "{known}");
    let (_, config) = process.get_records("/api/v1/pipelines/p/config").unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let toml = config["toml"].as_str().unwrap();
    assert!(toml.contains("parallelism = 2") && toml.contains("p.toml:"), "{toml}");

    // A reload takes the right away, and the taps with it.
    mill.put("p.toml", &mill.text.replace("[on_error]", "[http]\ntap = false\n\n[on_error]"));
    assert_eq!(found.end(), Some(1));
    let (code, _, err) = wasmill(&process, &["tap", "p"]);
    assert!(code == Some(1) && err.contains("write `tap = true` in `[http]`"), "{err}");
    assert_eq!(keyed.line(), "", "no record has that key");
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}

/// Lines are followed as they come, and the filter of the log is set for a while.
#[test]
fn the_log_is_followed_and_its_filter_is_changed_while_the_process_runs() {
    let mill = Mill::new("tap-log");
    let mut process = Process::fleet(&mill.pipelines());
    process.ready();
    let mut lines = Running::start(&process, &["logs", "p", "-f"]);
    lines.until("starts pipeline `p`");
    assert_eq!(wasmill(&process, &["log-filter"]).1, "info\n");
    let (code, out, err) = wasmill(&process, &["log-filter", "warn,wasmill=debug", "--for", "5s"]);
    assert!(
        code == Some(0) && out.starts_with("warn,wasmill=debug  (until 2") && out.ends_with(", then info)\n"),
        "{out}{err}"
    );
    let (code, _, err) = wasmill(&process, &["log-filter", "wran"]);
    assert!(code == Some(1) && err.contains("`wran` is no level"), "{err}");
    process.wait("the filter before to be back", LIMIT, |process| wasmill(process, &["log-filter"]).1 == "info\n");
    assert!(process.log().contains("the log filter is `info` again"));
    assert_eq!(wasmill(&process, &["pause", "p"]).0, Some(0));
    lines.until("paused by an operator");
    assert_eq!(wasmill(&process, &["log-filter", "error"]).0, Some(0));
    assert_eq!(wasmill(&process, &["resume", "p"]).0, Some(0));
    process.wait("the pipeline to run", LIMIT, |process| detail(process)["state"] == "running");
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
    assert!(!process.log().contains("an operator has resumed it"), "only errors are logged: {}", process.log());
    assert_eq!(lines.end(), Some(69), "the stream ends with the process");
}
