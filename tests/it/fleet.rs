//! Several pipelines in one process: what one does ends no other one, and a signal drains all of them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support;
use crate::support::component;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);

/// A folder with the files of pipelines, whose plugins lie beside it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pipelines")).unwrap();
        let plugins = [("plugin", component::forward()), ("tee", component::tee()), ("split", component::split(2))];
        for (name, plugin) in plugins {
            fs::write(folder.path().join(format!("{name}.wasm")), plugin).unwrap();
        }
        Folder(folder)
    }

    fn add(&self, name: &str, pipeline: &Pipeline) {
        self.write(name, &fs::read_to_string(pipeline.file()).unwrap());
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join("pipelines").join(format!("{name}.toml")), text).unwrap();
    }

    fn run(&self) -> Process {
        Process::fleet(&self.0.path().join("pipelines"))
    }
}

/// The state of a pipeline, as its metrics say.
fn state(process: &Process, pipeline: &str) -> Option<String> {
    let (_, body) = process.get("/metrics")?;
    let beginning = format!("wasmill_pipeline_state{{pipeline=\"{pipeline}\",state=\"");
    let line = body.lines().find(|line| line.starts_with(&beginning) && line.ends_with(" 1"))?;
    Some(line.strip_prefix(&beginning)?.split('"').next()?.to_owned())
}

/// Two pipelines deliver under load while three others can't be read, can't load their plugin, or stop at a record.
#[test]
fn what_one_pipeline_does_ends_no_other_one_and_a_signal_drains_all() {
    let _alone = support::load();
    let [one, two] = ["fleet-one", "fleet-two"].map(|test| Delivery::new(test, 3, "session_timeout = \"6s\""));
    let feeds = [&one, &two].map(|delivery| Feed::start(&delivery.input, 2_000, 997, 20, 0));
    let (input, output, group) = (java::create("fleet-in", 1, &[]), java::create("fleet-out", 1, &[]), unique("fleet"));
    java::permit(&[&input], &[&output], &group);
    let masks = |settings: &str| {
        Pipeline::of(&format!(
            "[[step]]\nuse = \"std:mask\"\nsettings = {settings}\n\n[output.main]\ntopic = \"{output}\"\n\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n"
        ))
    };
    let folder = Folder::new();
    folder.add("one", &one.pipeline);
    folder.add("two", &two.pipeline);
    folder.add("stops", &masks("{ fields = [\"/email\"] }"));
    let missing = fs::read_to_string(one.pipeline.file()).unwrap().replace("../tee.wasm", "../missing.wasm");
    folder.write("missing", &missing.replace(&one.group, "another-group"));
    folder.write("broken", "[input\n");

    let mut process = folder.run();
    process.wait("both to deliver", LIMIT, |_| [&one, &two].iter().all(|delivery| delivery.tally().fresh > 2_000));
    let record = Raw { value: Some(b"nonsense".to_vec()), ..Raw::default() };
    java::produce(&input, 0, &[record]);
    process
        .wait("the record to stop its pipeline", LIMIT, |process| state(process, "stops").as_deref() == Some("failed"));
    for (pipeline, expected) in [("one", "running"), ("two", "running"), ("missing", "failed"), ("broken", "failed")] {
        assert_eq!(state(&process, pipeline).as_deref(), Some(expected), "{pipeline}");
    }
    let (status, text) = process.get("/readyz").unwrap();
    assert_eq!(status, 503);
    assert!(text.starts_with("not ready: `broken`, `missing`, `stops`;"), "{text}");
    assert_eq!(process.get("/readyz?pipeline=one").unwrap().0, 200);
    let (_, why) = process.get("/readyz?verbose&pipeline=stops").unwrap();
    let place = format!("topic {input}, partition 0, offset 0");
    assert!(why.contains("[-]pipeline/stops: failed: ") && why.contains(&place), "{why}");
    let (_, why) = process.get("/readyz?verbose&pipeline=missing").unwrap();
    assert!(why.contains("missing.wasm"), "{why}");
    assert_eq!(process.get("/livez").unwrap().0, 200);

    // The others go on, and nothing that they have in flight is lost or repeated at the end.
    let before = [&one, &two].map(|delivery| delivery.tally().fresh);
    process.wait("both to go on", LIMIT, |_| {
        [&one, &two].iter().zip(before).all(|(delivery, before)| delivery.tally().fresh > before + 4_000)
    });
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
    for (delivery, name) in [(&one, "one"), (&two, "two")] {
        let tally = delivery.tally();
        assert_eq!(java::committed(&delivery.group, &delivery.input), tally.heights, "{name}: all that was delivered");
        assert_eq!(tally.repeats, 0, "{name}");
    }
    let log = process.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |pipeline: &str, text: &str| {
        lines
            .iter()
            .any(|line| line["pipeline"] == *pipeline && line["message"].as_str().unwrap_or_default().contains(text))
    };
    for (pipeline, text) in [
        ("one", "ended: shut down"),
        ("two", "ended: shut down"),
        ("stops", "ended: stopped by a failure"),
        ("stops", "the pipeline has failed, and the others run on: "),
        ("missing", "the pipeline has failed, and the others run on: "),
        ("broken", "the pipeline has failed, and the others run on: "),
    ] {
        assert!(said(pipeline, text), "`{text}` of {pipeline} is missing in\n{log}");
    }
    feeds.iter().for_each(|feed| drop(feed.stop()));
}

/// HUP has each pipeline read its own file: the one that changed changes, and the other one stays as it is.
#[test]
fn a_reload_changes_the_pipeline_whose_file_changed() {
    let topics = |name: &str| ["in", "out"].map(|topic| java::create(&format!("fleet-{name}-{topic}"), 1, &[]));
    let ([changed, before], [stays, other]) = (topics("change"), topics("stay"));
    let group = unique("fleet-change");
    let folder = Folder::new();
    folder.add("change", &Pipeline::new(&changed, &before, &group, ""));
    folder.add("stay", &Pipeline::new(&stays, &other, &unique("fleet-stay"), ""));
    let mut process = folder.run();
    process.ready();
    let after = java::create("fleet-elsewhere", 1, &[]);
    java::permit(&[], &[&after], &group);
    let text = fs::read_to_string(folder.0.path().join("pipelines/change.toml")).unwrap();
    folder.write("change", &text.replace(&before, &after));
    process.hang_up();
    process.wait("the reload", LIMIT, |process| {
        process.log().lines().any(|line| line.contains("reload") && line.contains("\"pipeline\":\"change\""))
            && process.metric("wasmill_config_reloads_total") > Some(0.0)
    });
    let feeds = [&changed, &stays].map(|input| Feed::fill(input, 100));
    process.wait("both to deliver", LIMIT, |_| [&after, &other].iter().all(|topic| java::records(topic) == [100]));
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
    assert_eq!(java::records(&before), [0]);
    drop(feeds);
}

/// With `[service] restart` a failed pipeline is started again with its file as it is then, and the others are not touched.
#[test]
fn a_failed_pipeline_is_started_again_with_its_file_as_it_is_then() {
    let [fails, breaks, stays] = ["fails", "breaks", "stays"].map(|name| {
        let [input, output] = ["in", "out"].map(|topic| java::create(&format!("fleet-{name}-{topic}"), 1, &[]));
        (Pipeline::new(&input, &output, &unique(&format!("fleet-{name}")), ""), input, output)
    });
    let folder = Folder::new();
    folder.write("wasmill", "[service]\nrestart = { from = \"200ms\", to = \"1s\" }\n");
    folder.add("fails", &fails.0);
    folder.add("stays", &stays.0);
    let text = fs::read_to_string(breaks.0.file()).unwrap();
    folder.write("breaks", &text.replace("[input]", "[input"));
    fs::rename(folder.0.path().join("plugin.wasm"), folder.0.path().join("away.wasm")).unwrap();
    fs::write(folder.0.path().join("stays.wasm"), component::forward()).unwrap();
    let own = fs::read_to_string(stays.0.file()).unwrap();
    folder.write("stays", &own.replace("../plugin.wasm", "../stays.wasm"));

    let mut process = folder.run();
    process.wait("three starts of each that fails", LIMIT, |process| {
        ["fails", "breaks"].iter().all(|pipeline| restarts(process, pipeline) >= 2)
    });
    process.wait("the other one to run", LIMIT, |process| state(process, "stays").as_deref() == Some("running"));
    let (status, why) = process.get("/readyz?verbose&pipeline=breaks").unwrap();
    assert_eq!(status, 503, "{why}");
    fs::rename(folder.0.path().join("away.wasm"), folder.0.path().join("plugin.wasm")).unwrap();
    folder.write("breaks", &text);
    process.wait("all to run", LIMIT, |process| {
        ["fails", "breaks", "stays"].iter().all(|pipeline| state(process, pipeline).as_deref() == Some("running"))
    });
    let all = [&fails, &breaks, &stays];
    let feeds = all.map(|(_, input, _)| Feed::fill(input, 100));
    process.wait("all to deliver", LIMIT, |_| all.iter().all(|(_, _, output)| java::records(output) == [100]));
    assert_eq!(restarts(&process, "stays"), 0);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
    drop(feeds);
}

/// How often a pipeline was started after it had failed.
fn restarts(process: &Process, pipeline: &str) -> u64 {
    let Some((_, body)) = process.get("/metrics") else { return 0 };
    let beginning = format!("wasmill_pipeline_restarts_total{{pipeline=\"{pipeline}\"}} ");
    body.lines().find_map(|line| line.strip_prefix(&beginning)?.parse().ok()).unwrap_or(0)
}

/// Each would get a part of the other's records. A process with such files does nothing.
#[test]
fn two_files_with_one_group_are_refused() {
    let one = Delivery::new("fleet-double", 1, "");
    let folder = Folder::new();
    folder.add("a", &one.pipeline);
    folder.add("b", &one.pipeline);
    let mut process = folder.run();
    assert_eq!(process.exit(LIMIT), Some(78));
    let log = process.log();
    let group = format!("the consumer group `{}` is also that of", one.group);
    assert!(log.contains(&group) && log.contains("a.toml:") && log.contains("b.toml:"), "{log}");
}
