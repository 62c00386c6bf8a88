//! The exposition of pipelines that run on embedded brokers: one with a plugin, and one with windows.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use super::MASK;
use super::read;
use super::root;

/// Enough for a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A pipeline that runs, and is killed with the test.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of a test")]
fn now() -> Instant {
    Instant::now()
}

fn get(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// The metrics of this pipeline when it has committed records and knows its lag.
fn exposition(file: &Path, feed: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    // It ends with its feed, which therefore lasts longer than this looks.
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("feed.ndjson");
    fs::write(&long, read(feed).repeat(1_000)).unwrap();
    command.arg("dev").arg(file).arg("--feed").arg(long).args(["--rate", "50/s"]);
    command.args(["--http", "127.0.0.1:0", "--log-format", "json"]);
    let mut dev = Dev(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(dev.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines
        .find_map(|line| Some(serde_json::from_str::<Value>(&line).ok()?["address"].as_str()?.to_owned()))
        .unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&log);
    thread::spawn(move || lines.for_each(|line| said.lock().unwrap().push(line)));
    let until = now() + LIMIT;
    loop {
        if let Some(body) = get(&address) {
            let has = |name: &str| body.lines().any(|line| line.starts_with(name) && !line.ends_with(" 0"));
            if has("wasmill_commits_total") && body.contains("\nwasmill_consumer_lag_records{") {
                return body;
            }
        }
        assert!(
            now() < until,
            "{} committed nothing in {LIMIT:?}:\n{}",
            file.display(),
            log.lock().unwrap().join("\n")
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// The labels of each metric.
pub(crate) fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let folder = tempfile::tempdir().unwrap();
    let orders = folder.path().join("orders.toml");
    let mask = root().join(MASK);
    let text =
        read("examples/orders/pipeline.toml").replace("../../plugins/target/wasm/mask.wasm", mask.to_str().unwrap());
    fs::write(&orders, text).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for body in [
        exposition(&orders, "examples/orders/input.ndjson"),
        exposition(&root().join("examples/revenue/pipeline.toml"), "examples/revenue/input.ndjson"),
    ] {
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let labels = found.entry(name.to_owned()).or_default();
            let inside =
                line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
            // A value never holds `="` in these pipelines.
            let names = inside.split("=\"").filter_map(|part| part.rsplit([',', '{']).next());
            labels.extend(names.filter(|name| !name.is_empty() && !name.contains('"')).map(str::to_owned));
        }
    }
    found
}
