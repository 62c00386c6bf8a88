//! What operators do with the pipelines of a process: by the API and the command line, and by files that come, change and go.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support;
use crate::support::component;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::random::Random;
use crate::support::say;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);

/// A folder of pipelines, and what each of them delivers.
struct Mill {
    folder: TempDir,
    deliveries: Vec<(String, Delivery, String)>,
}

impl Mill {
    fn new(name: &str, pipelines: usize) -> Mill {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pipelines")).unwrap();
        for (plugin, bytes) in [("tee", component::tee()), ("split", component::split(2))] {
            fs::write(folder.path().join(format!("{plugin}.wasm")), bytes).unwrap();
        }
        let deliveries = (0..pipelines).map(|number| {
            let delivery = Delivery::new(&format!("{name}-{number}"), 2, "session_timeout = \"6s\"");
            let text = fs::read_to_string(delivery.pipeline.file()).unwrap();
            (format!("p{number}"), delivery, text)
        });
        let mill = Mill { deliveries: deliveries.collect(), folder };
        (0..pipelines).for_each(|number| mill.write(number));
        mill
    }

    fn file(&self, number: usize) -> PathBuf {
        self.folder.path().join("pipelines").join(format!("{}.toml", self.deliveries[number].0))
    }

    /// Writes the file of a pipeline as it was at first.
    fn write(&self, number: usize) {
        self.put(number, &self.deliveries[number].2);
    }

    fn put(&self, number: usize, text: &str) {
        let beside = self.folder.path().join("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.file(number)).unwrap();
    }

    fn run(&self) -> Process {
        Process::fleet_with(&self.folder.path().join("pipelines"), &["--watch"])
    }

    fn feeds(&self, rate: u32) -> Vec<Feed> {
        self.deliveries.iter().map(|(_, delivery, _)| Feed::start(&delivery.input, rate, 97, 20, 0)).collect()
    }

    /// Waits until everything is delivered, ends the process, and verifies that nothing is lost or repeated.
    fn finish(&self, mut process: Process, feeds: &[Feed]) {
        for feed in feeds {
            feed.stop();
        }
        process.wait("the lag to reach zero", LIMIT, |_| {
            self.deliveries.iter().all(|(_, delivery, _)| java::lag(&delivery.group, &delivery.input) == 0)
        });
        process.terminate();
        assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
        for ((name, delivery, _), feed) in self.deliveries.iter().zip(feeds) {
            assert_eq!(delivery.assert_delivered(feed).repeats, 0, "{name}: every end was a clean one");
        }
    }
}

/// The state of a pipeline in the metrics; `None` if they don't have it.
fn of_metrics(process: &Process, name: &str) -> Option<String> {
    let (_, body) = process.get("/metrics")?;
    let beginning = format!("wasmill_pipeline_state{{pipeline=\"{name}\",state=\"");
    let line = body.lines().find(|line| line.starts_with(&beginning) && line.ends_with(" 1"))?;
    Some(line.strip_prefix(&beginning)?.split('"').next()?.to_owned())
}

/// The same in the API.
fn of_api(process: &Process, name: &str) -> Option<String> {
    let (status, body) = process.get(&format!("/api/v1/pipelines/{name}"))?;
    let detail: Value = serde_json::from_str(&body).unwrap();
    (status == 200).then(|| detail["state"].as_str().unwrap().to_owned())
}

/// The same on the page.
fn of_page(process: &Process, name: &str) -> Option<String> {
    let (_, page) = process.get("/")?;
    let mut cells = page.lines().map(str::split_whitespace).find(|line| line.clone().next() == Some(name))?;
    Some(cells.nth(1)?.to_owned())
}

/// The same on the command line.
fn of_command(process: &Process, name: &str) -> Option<String> {
    let (_, text, _) = wasmill(process, &["status", name, "--json"]);
    let detail: Value = serde_json::from_str(&text).ok()?;
    Some(detail["state"].as_str()?.to_owned())
}

/// Runs a command about the process. Returns its exit code, and what it wrote.
fn wasmill(process: &Process, arguments: &[&str]) -> (Option<i32>, String, String) {
    let url = format!("http://{}", process.address());
    let output = Command::new(env!("CARGO_BIN_EXE_wasmill")).args(arguments).args(["--url", &url]).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

/// Waits until metrics, API, page and command line agree that a pipeline is in this state; `None`: that it isn't there.
fn wait_for(process: &mut Process, name: &str, state: Option<&str>) {
    process.wait(&format!("{name} to be {state:?}"), LIMIT, |process| of_metrics(process, name).as_deref() == state);
    // The state may not change any more by itself.
    for (place, found) in [
        ("the API", of_api(process, name)),
        ("the page", of_page(process, name)),
        ("the command line", of_command(process, name)),
    ] {
        assert_eq!(found.as_deref(), state, "{place}: {name}");
    }
}

#[test]
fn an_operator_pauses_stops_and_starts_a_pipeline_under_load() {
    let _alone = support::load();
    let mill = Mill::new("operators", 2);
    let feeds = mill.feeds(1_000);
    let mut process = mill.run();
    process.ready();
    let (_, one, _) = &mill.deliveries[0];
    let (_, other, _) = &mill.deliveries[1];
    process.wait_for_commits(&one.group, &one.input, LIMIT);

    let (code, _, said) = wasmill(&process, &["pause", "p0"]);
    assert_eq!(code, Some(0), "{said}");
    wait_for(&mut process, "p0", Some("paused"));
    process.wait("nothing to be in flight", LIMIT, |process| {
        let (_, body) = process.get("/api/v1/pipelines/p0").unwrap();
        let detail: Value = serde_json::from_str(&body).unwrap();
        detail["partitions"].as_array().unwrap().iter().all(|partition| partition["in_flight"] == 0)
    });
    let before = java::committed(&one.group, &one.input);
    // The other one goes on, while time passes in which this one would have committed.
    process.wait_for_commits(&other.group, &other.input, LIMIT);
    process.wait_for_commits(&other.group, &other.input, LIMIT);
    assert_eq!(java::committed(&one.group, &one.input), before, "it is paused");
    assert_eq!(process.get("/readyz").unwrap().0, 200, "a pause is as it should be");
    assert!(java::members(&one.group).is_some_and(|members| members == [2]), "it keeps its partitions");
    // A reload changes nothing about it.
    let text = mill.deliveries[0].2.replace("[kafka]", "[limits]\nmax_in_flight = { records = 5000 }\n\n[kafka]");
    mill.put(0, &text);
    process.wait("the reload", LIMIT, |process| process.log().contains("reloaded: "));
    wait_for(&mut process, "p0", Some("paused"));
    assert_eq!(wasmill(&process, &["resume", "p0"]).0, Some(0));
    wait_for(&mut process, "p0", Some("running"));
    process.wait_for_commits(&one.group, &one.input, LIMIT);

    assert_eq!(wasmill(&process, &["stop", "p0"]).0, Some(0));
    wait_for(&mut process, "p0", Some("stopped"));
    assert!(java::members(&one.group).is_none_or(|members| members.is_empty()), "it has left its group");
    let (code, _, said) = wasmill(&process, &["pause", "p0"]);
    assert!(code == Some(1) && said.contains("`start` starts it"), "{said}");
    assert_eq!(wasmill(&process, &["start", "p0"]).0, Some(0));
    wait_for(&mut process, "p0", Some("running"));
    process.wait_for_commits(&one.group, &one.input, LIMIT);
    let (code, _, said) = wasmill(&process, &["start", "p0"]);
    assert!(code == Some(1) && said.contains("running already"), "{said}");

    assert_eq!(wasmill(&process, &["restart", "p0"]).0, Some(0));
    process.wait("a second start by an operator", LIMIT, |process| {
        process.log().lines().filter(|line| line.contains("starts pipeline `p0`")).count() == 3
    });
    wait_for(&mut process, "p0", Some("running"));
    let (code, _, said) = wasmill(&process, &["restart", "nothing"]);
    assert!(code == Some(1) && said.contains("there are `p0`, `p1`"), "{said}");
    let (_, logs, _) = wasmill(&process, &["logs", "p0"]);
    assert!(logs.contains("paused by an operator") && !logs.contains("pipeline `p1`"), "{logs}");
    assert_eq!(process.log().lines().filter(|line| line.contains("starts pipeline `p1`")).count(), 1);
    mill.finish(process, &feeds);
}

/// What is known about a pipeline of [`folder_operations_under_load_lose_nothing`].
#[derive(Clone, Copy, Debug)]
struct Known {
    has_file: bool,
    is_broken: bool,
    is_paused: bool,
    state: Option<&'static str>,
}

/// Files come, change, break, are repaired and go at random, and operators pause, resume and restart, while records flow everywhere.
#[test]
fn folder_operations_under_load_lose_nothing() {
    let _alone = support::load();
    let (pipelines, operations) = if support::full() { (5, 100) } else { (3, 15) };
    let mut random = Random::seeded("folder");
    let mill = Mill::new("folder", pipelines);
    let feeds = mill.feeds(300);
    let mut process = mill.run();
    process.ready();
    let running = Known { has_file: true, is_broken: false, is_paused: false, state: Some("running") };
    let mut known = vec![running; pipelines];
    for operation in 0..operations {
        let number = usize::try_from(random.below(pipelines as u64)).unwrap();
        let name = mill.deliveries[number].0.clone();
        let said = change(&mill, &process, number, &mut known[number], random.below(6));
        say(&format!("folder: {operation}: {name}: {said}: {:?}", known[number]));
        wait_for(&mut process, &name, known[number].state);
    }
    for number in 0..pipelines {
        mill.write(number);
        let name = mill.deliveries[number].0.clone();
        process.wait("it to run or to be paused", LIMIT, |process| {
            of_metrics(process, &name).is_some_and(|state| state == "running" || state == "paused")
        });
        let _ = wasmill(&process, &["resume", &name]);
        wait_for(&mut process, &name, Some("running"));
    }
    mill.finish(process, &feeds);
}

/// Does something with a pipeline, and notes what follows from it.
fn change(mill: &Mill, process: &Process, number: usize, known: &mut Known, what: u64) -> &'static str {
    let name = mill.deliveries[number].0.as_str();
    if !known.has_file {
        mill.write(number);
        *known = Known { has_file: true, is_broken: false, is_paused: false, state: Some("running") };
        return "its file comes back";
    }
    let runs = known.state == Some("running") || known.state == Some("paused");
    match what {
        0 => {
            fs::remove_file(mill.file(number)).unwrap();
            *known = Known { has_file: false, is_broken: false, is_paused: false, state: None };
            "its file goes"
        }
        1 if !known.is_broken => {
            mill.put(number, "[kafka");
            known.is_broken = true;
            "its file breaks"
        }
        1 | 2 => {
            mill.write(number);
            known.is_broken = false;
            known.state = Some(if known.is_paused { "paused" } else { "running" });
            "its file is repaired"
        }
        3 if runs => {
            let (code, _, said) = wasmill(process, &["pause", name]);
            assert_eq!(code, Some(0), "{said}");
            (known.is_paused, known.state) = (true, Some("paused"));
            "it is paused"
        }
        4 if runs => {
            let (code, _, said) = wasmill(process, &["resume", name]);
            assert_eq!(code, Some(0), "{said}");
            (known.is_paused, known.state) = (false, Some("running"));
            "it is resumed"
        }
        _ => {
            let starts = |process: &Process| {
                let (_, body) = process.get(&format!("/api/v1/pipelines/{name}")).unwrap();
                serde_json::from_str::<Value>(&body).unwrap()["since"].clone()
            };
            let before = starts(process);
            let (code, _, said) = wasmill(process, &["restart", name]);
            assert_eq!(code, Some(0), "{said}");
            support::clock::wait_until("the restart to begin", LIMIT, || starts(process) != before);
            known.state = Some(match (known.is_broken, known.is_paused) {
                (true, _) => "failed",
                (false, true) => "paused",
                (false, false) => "running",
            });
            "it is restarted"
        }
    }
}

/// A pipeline that stops at a record, and one that holds it: an operator leaves out exactly the record that is named.
#[test]
fn an_operator_leaves_out_the_record_at_which_a_pipeline_stopped_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pipelines")).unwrap();
    fs::write(folder.path().join("plugin.wasm"), component::faulty()).unwrap();
    let topics = ["stop", "hold"].map(|then| {
        let (input, output) = (
            java::create(&format!("skip-{then}-in"), 1, &[]),
            java::create("skip-out", 1, &["max.message.bytes=20000"]),
        );
        let group = support::unique("skip");
        let more = format!("\n[on_error]\nthen = \"{then}\"\n");
        let pipeline = Pipeline::new(&input, &output, &group, &more);
        let file = folder.path().join("pipelines").join(format!("{then}.toml"));
        fs::write(file, fs::read_to_string(pipeline.file()).unwrap()).unwrap();
        java::produce(&input, 0, &["a", "reject one", "b", &"x".repeat(50_000), "c"].map(record));
        (then, input, output, group)
    });
    let mut process = Process::fleet(&folder.path().join("pipelines"));
    let skip = |process: &Process, (then, input, ..): &(&str, String, String, String), offset: &str| {
        wasmill(process, &["skip", then, "--topic", input, "--partition", "0", "--offset", offset])
    };
    for (topic, state) in topics.iter().zip(["failed", "halted"]) {
        let (then, input, output, group) = topic;
        for offset in ["1", "3"] {
            wait_for(&mut process, then, Some(state));
            assert_eq!(stopped_at(&process, then), Some(offset.parse().unwrap()), "{then}");
            let (code, _, said) = skip(&process, topic, "2");
            assert!(
                code == Some(1) && said.contains(&format!("topic {input}, partition 0, offset {offset}")),
                "{said}"
            );
            let (code, _, said) = skip(&process, topic, offset);
            assert!(code == Some(0) && said.contains("left out if it fails again"), "{said}");
            process.wait("it to go on", LIMIT, |process| stopped_at(process, then) != Some(offset.parse().unwrap()));
        }
        wait_for(&mut process, then, Some("running"));
        process.wait("the end to be committed", LIMIT, |_| java::committed(group, input) == [5]);
        let (code, _, said) = skip(&process, topic, "3");
        assert!(code == Some(1) && said.contains("no record has stopped it"), "{said}");
        let values: Vec<_> = java::dump(output, 0).into_iter().map(|(_, raw)| raw.value.unwrap()).collect();
        assert_eq!(values, [b"a", b"b", b"c"], "{then}");
        let log = process.log();
        let left_out = |offset: &str| {
            log.lines().any(|line| line.contains("skipped") && line.contains(&**input) && line.contains(offset))
        };
        assert!(left_out("\"offset\":1") && left_out("\"offset\":3"), "{log}");
    }
}

/// A pipeline shows that it has failed while its clients are still being destroyed. What an operator asks for then is done afterwards.
#[test]
fn an_operator_may_skip_and_start_as_soon_as_a_pipeline_shows_that_it_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pipelines")).unwrap();
    fs::write(folder.path().join("plugin.wasm"), component::faulty()).unwrap();
    let topics = ["skipped", "started"].map(|name| {
        let [input, output] = ["in", "out"].map(|of| java::create(&format!("soon-{name}-{of}"), 1, &[]));
        let group = support::unique("soon");
        let pipeline = Pipeline::new(&input, &output, &group, "");
        let file = folder.path().join("pipelines").join(format!("{name}.toml"));
        fs::write(file, fs::read_to_string(pipeline.file()).unwrap()).unwrap();
        java::produce(&input, 0, &["a", "reject one", "b"].map(record));
        (name, input, group)
    });
    let held = [("WASMILL_FAILPOINT", "worker-ended=hold@3000")];
    let mut process = Process::fleet_in(&folder.path().join("pipelines"), &held, &[]);
    for (name, input, _) in &topics {
        process.wait("it to fail", LIMIT, |process| of_metrics(process, name).as_deref() == Some("failed"));
        let (code, _, said) = match *name {
            "skipped" => wasmill(&process, &["skip", name, "--topic", input, "--partition", "0", "--offset", "1"]),
            _ => wasmill(&process, &["start", name]),
        };
        assert_eq!(code, Some(0), "{said}");
    }
    let [(_, input, group), _] = &topics;
    process.wait("the end to be committed", LIMIT, |_| java::committed(group, input) == [3]);
    process.wait("the start", LIMIT, |process| {
        let (_, body) = process.get("/metrics").unwrap_or_default();
        body.contains("wasmill_pipeline_restarts_total{pipeline=\"started\"} 1")
    });
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}

fn record(value: &str) -> Raw {
    Raw { value: Some(value.as_bytes().to_vec()), ..Raw::default() }
}

/// The offset at which a pipeline has stopped, by the API.
fn stopped_at(process: &Process, name: &str) -> Option<i64> {
    let (_, body) = process.get(&format!("/api/v1/pipelines/{name}"))?;
    serde_json::from_str::<Value>(&body).unwrap()["stopped_at"]["offset"].as_i64()
}

/// What a reload would change is told, and nothing is changed.
#[test]
fn a_reload_may_be_tried_without_changing_anything() {
    let mill = Mill::new("dry", 1);
    let mut process = Process::fleet(&mill.folder.path().join("pipelines"));
    process.ready();
    let dry = |process: &Process| wasmill(process, &["reload", "p0", "--dry-run"]);
    let (code, _, said) = dry(&process);
    assert!(code == Some(0) && said.contains("a reload would change: nothing has changed"), "{said}");
    let text = mill.deliveries[0].2.replace("[kafka]", "[limits]\nmax_in_flight = { records = 5000 }\n\n[kafka]");
    mill.put(0, &text);
    let (code, _, said) = dry(&process);
    assert!(code == Some(0) && said.contains("`[limits]` in place"), "{said}");
    mill.put(0, &text.replace("records = 5000", "recordz = 1"));
    let (code, _, said) = dry(&process);
    assert!(code == Some(1) && said.contains("would be refused") && said.contains("recordz"), "{said}");
    mill.put(0, &text);
    let reloads = |process: &Process| process.metric("wasmill_config_reloads_total").unwrap();
    assert_eq!(reloads(&process).to_bits(), 0.0_f64.to_bits(), "nothing was reloaded: {}", process.log());
    assert_eq!(wasmill(&process, &["reload", "p0"]).0, Some(0));
    process.wait("the reload", LIMIT, |process| reloads(process) > 0.0);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}
