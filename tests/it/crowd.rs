//! Fifty pipelines in one process: what they cost, and what the worst of them do to the others.
//!
//! It prints its figures. `WASMILL_TEST_PROGRAM` names another build of the program, as figures of one without optimisation mean little.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::kafka;
use crate::support;
use crate::support::broker;
use crate::support::clock::Watch;
use crate::support::component;
use crate::support::delay;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);
const PIPELINES: usize = 50;
/// Those that have work of their own.
const BUSY: [&str; 5] = ["quiet", "looping", "panicking", "frozen", "flooding"];
/// Only the worker of the pipeline with exactly-once delivery begins transactions.
const PANICS: (&str, &str) = ("WASMILL_FAILPOINT", "transaction-begun=panic@1");

/// A folder of pipelines through `plugins/faulty`.
struct Crowd {
    folder: TempDir,
    topics: BTreeMap<&'static str, [String; 2]>,
}

impl Crowd {
    fn new(elsewhere: &kafka::Node) -> Crowd {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pipelines")).unwrap();
        fs::write(folder.path().join("plugin.wasm"), component::faulty()).unwrap();
        let mut crowd = Crowd { folder, topics: BTreeMap::new() };
        let idle = delay::topics("crowd-idle");
        for number in BUSY.len()..PIPELINES {
            crowd.add(&format!("idle-{number}"), &idle, "", &broker::of_wasmill());
        }
        for name in BUSY {
            let topics = delay::topics(&format!("crowd-{name}"));
            let here = broker::of_wasmill();
            let (more, kafka) = match name {
                "panicking" => ("delivery = \"exactly_once\"", here),
                "frozen" => ("", format!("brokers = [\"{}\"]", elsewhere.brokers())),
                "looping" => ("on_error", here),
                _ => ("", here),
            };
            crowd.add(name, &topics, more, &kafka);
            if name == "frozen" {
                broker::create_at(elsewhere, &topics.each_ref().map(String::as_str));
            }
            crowd.topics.insert(name, topics);
        }
        crowd
    }

    fn add(&self, name: &str, [input, output]: &[String; 2], more: &str, kafka: &str) {
        let on_error = if more == "on_error" { "\n[on_error]\nthen = \"skip\"\n" } else { "" };
        let pipeline = Pipeline::new(input, output, &unique(name), on_error);
        let text = fs::read_to_string(pipeline.file()).unwrap().replacen(&broker::of_wasmill(), kafka, 1);
        let text = if more.starts_with("delivery") { format!("{more}\n{text}") } else { text };
        fs::write(self.folder.path().join("pipelines").join(format!("{name}.toml")), text).unwrap();
    }

    fn run(&self, variables: &[(&str, &str)]) -> Process {
        Process::fleet_in(&self.folder.path().join("pipelines"), variables, &[])
    }

    fn produce(&self, name: &str, value: &str, count: usize) {
        let record = Raw { value: Some(value.as_bytes().to_vec()), ..Raw::default() };
        java::produce(&self.topics[name][0], 0, &vec![record; count]);
    }
}

/// When each pipeline got into the state that it is in.
fn states(process: &Process) -> BTreeMap<String, (String, String)> {
    let (_, body) = process.get("/api/v1/pipelines").unwrap();
    let all: Value = serde_json::from_str(&body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |one: &Value| (text(&one["name"]), (text(&one["state"]), text(&one["since"])));
    all["pipelines"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn fifty_pipelines_cost_little_and_the_worst_of_them_do_nothing_to_a_quiet_one() {
    let _alone = support::load();
    let seconds = if support::full() { 30 } else { 8 };
    let elsewhere = kafka::Node::start(broker::jars()).unwrap();
    let crowd = Crowd::new(&elsewhere);
    // Fills the cache of compiled components, and commits where each group starts.
    let mut process = crowd.run(&[]);
    process.ready();
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());

    let watch = Watch::start();
    let mut process = crowd.run(&[PANICS]);
    process.ready();
    let ready = watch.elapsed();
    let (cpu, watch) = (process.cpu(), Watch::start());
    process.wait("an idle while", LIMIT, |_| watch.elapsed() >= Duration::from_secs(seconds));
    let idle = (process.cpu() - cpu).as_secs_f64() / watch.elapsed().as_secs_f64();
    let resident = process.memory("VmRSS") >> 20;
    let quiet = delay::measure(&mut process, &crowd.topics["quiet"], seconds);
    let before = states(&process);

    crowd.produce("looping", "loop", 100);
    crowd.produce("flooding", "log", 50_000);
    crowd.produce("panicking", "a", 1);
    broker::signal(&elsewhere, "STOP");
    let beside = delay::measure(&mut process, &crowd.topics["quiet"], seconds);
    say(&format!(
        "crowd: {PIPELINES} pipelines ready after {ready:?}; idle {:.2} % of a core, {resident} MiB resident; a quiet one's p50 and p99: \
         {quiet:?} ms, and {beside:?} ms beside one that loops, one that panics, one whose broker is frozen and one that floods its log",
        idle * 100.0
    ));
    process.wait("the frozen one to wait for its broker", LIMIT, |process| states(process)["frozen"].0 == "waiting");
    let after = states(&process);
    if env::var_os("WASMILL_TEST_PROGRAM").is_none() {
        assert_eq!(after["panicking"].0, "failed", "{}", process.log());
    }
    for (name, state) in &before {
        let is_bad = BUSY[1..4].contains(&name.as_str());
        assert!(is_bad || after[name] == *state, "{name}: {state:?}, then {:?}", after[name]);
    }
    assert!(resident < 400, "{resident} MiB");
    broker::signal(&elsewhere, "CONT");
    process.terminate();
    process.exit(LIMIT);
}
