//! What pipelines of one process share: the CPU by weight, memory up to a limit, and the connection of `wasmill.toml`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::support;
use crate::support::broker;
use crate::support::clock;
use crate::support::component;
use crate::support::component::Behaviour;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(120);

/// A folder of pipelines that name no brokers, with a `wasmill.toml` that does. Plugins lie beside it.
struct Folder(TempDir);

impl Folder {
    /// `more` is added to `wasmill.toml`.
    fn new(plugins: &[(&str, Vec<u8>)], more: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        fs::create_dir(folder.path("pipelines")).unwrap();
        for (name, plugin) in plugins {
            fs::write(folder.path(&format!("{name}.wasm")), plugin).unwrap();
        }
        folder.write("wasmill", &format!("[kafka]\n{}\n\n{more}\n", broker::of_wasmill()));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("pipelines").join(format!("{name}.toml")), text).unwrap();
    }

    /// Adds a pipeline with a plugin, and `more` in its file. Returns the topics that it reads and writes.
    fn add(&self, name: &str, plugin: &str, partitions: usize, step: &str, more: &str) -> [String; 2] {
        let topics = ["in", "out"].map(|topic| java::create(&format!("{name}-{topic}"), partitions, &[]));
        let group = unique(name);
        let [input, output] = &topics;
        java::permit(&[input], &[output], &group);
        let text = format!(
            "[[step]]\nname = \"{plugin}\"\nwasm = \"../{plugin}.wasm\"\n{step}\n\n[output.main]\ntopic = \"{output}\"\n\n[input]\n\
             topics = [\"{input}\"]\ngroup = \"{group}\"\n\n{more}\n"
        );
        self.write(name, &text);
        topics
    }

    fn run(&self) -> Process {
        Process::fleet(&self.path("pipelines"))
    }
}

/// The value of a series, whose line begins like this.
fn value(process: &Process, series: &str) -> f64 {
    let text = process.get("/metrics").map(|(_, text)| text).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or(0.0)
}

/// The records that a pipeline has processed.
fn processed(process: &Process, pipeline: &str) -> f64 {
    value(process, &format!("wasmill_records_processed_total{{outcome=\"emitted\",pipeline=\"{pipeline}\"}}"))
}

fn records(value: &str, count: usize) -> Vec<Raw> {
    let value = Some(value.as_bytes().to_vec());
    vec![Raw { timestamp: 1_700_000_000_000, key: None, value, headers: Vec::new() }; count]
}

/// Both pipelines have more records than they can process, on all of their executors.
#[test]
fn the_plugins_of_a_busy_pipeline_get_the_share_of_its_weight() {
    const PARTITIONS: usize = 4;
    let _alone = support::load();
    let folder = Folder::new(&[("faulty", component::faulty())], "");
    let limits = |weight| format!("[limits]\nparallelism = {PARTITIONS}\nweight = {weight}");
    // On a busy machine, a call of the light one takes long.
    let step = "batch = 16\ntimeout = \"4s\"";
    let heavy = folder.add("heavy", "faulty", PARTITIONS, step, &limits(30));
    let light = folder.add("light", "faulty", PARTITIONS, step, &limits(3));
    for [input, _] in [&heavy, &light] {
        for partition in 0..PARTITIONS {
            for _ in 0..5 {
                java::produce(input, partition, &records("busy 2000", 1_000));
            }
        }
    }
    let mut process = folder.run();
    process.wait("both to process", LIMIT, |process| {
        ["heavy", "light"].iter().all(|pipeline| processed(process, pipeline) > 0.0)
    });
    let counts = |process: &Process| ["heavy", "light"].map(|pipeline| processed(process, pipeline));
    let (before, watch) = (counts(&process), clock::Watch::start());
    process.wait("enough of the heavy one", LIMIT, |process| counts(process)[0] > before[0] + 8_000.0);
    let (after, took) = (counts(&process), watch.elapsed().as_secs_f64());
    let [heavy, light] = [0, 1].map(|index| (after[index] - before[index]) / took);
    let ratio = heavy / light.max(1.0 / took);
    say(&format!("weights 30 and 3: {heavy:.0} and {light:.0} records a second, a ratio of {ratio:.1}"));
    assert!(ratio > 3.0, "{ratio}");
    // With nobody beside it, the light one gets what it can use.
    process.wait("the heavy one to be done", LIMIT, |process| counts(process)[0] >= 20_000.0);
    let (before, watch) = (counts(&process)[1], clock::Watch::start());
    process.wait("more of the light one", LIMIT, |process| counts(process)[1] > before + 1_500.0);
    let alone = (counts(&process)[1] - before) / watch.elapsed().as_secs_f64();
    say(&format!("the light one alone: {alone:.0} records a second"));
    assert!(alone > light, "{alone} alone, {light} before");
}

/// The plugin of one pipeline takes all that is left, is refused more, and its record fails. The other pipeline delivers meanwhile.
#[test]
fn a_plugin_that_takes_the_memory_of_the_process_fails_and_other_pipelines_go_on() {
    let plugins = [("faulty", component::faulty()), ("plugin", component::forward())];
    let folder = Folder::new(&plugins, "[limits]\nmemory = \"48 MiB\"");
    let skips = "[limits]\nparallelism = 2\n[on_error]\nthen = \"skip\"";
    let [grows, _] = folder.add("grows", "faulty", 1, "memory = \"1 GiB\"", skips);
    let [quiet, output] = folder.add("quiet", "plugin", 1, "", "[limits]\nparallelism = 2");
    let mut process = folder.run();
    process.ready();
    java::produce(&grows, 0, &records("grow", 20));
    let refused = "wasmill_step_errors_total{kind=\"memory\",pipeline=\"grows\",step=\"faulty\"}";
    process.wait("memory to be refused", LIMIT, |process| value(process, refused) > 0.0);
    java::produce(&quiet, 0, &records("a", 1_000));
    process.wait("the other one to deliver", LIMIT, |_| java::records(&output) == [1_000]);
    let skipped = "wasmill_records_processed_total{outcome=\"skipped\",pipeline=\"grows\"}";
    process.wait("all records that grow to be skipped", LIMIT, |process| value(process, skipped) >= 20.0);
    let log = process.log();
    assert!(log.contains("needs more memory than the pipelines of this process may have together"), "{log}");
    assert!(log.contains("of 48 MiB, which is `[limits] memory` in wasmill.toml"), "{log}");
    assert!((value(&process, "wasmill_process_memory_limit_bytes") - f64::from(48 << 20)).abs() < 1.0);
    // What the refused instances had is free again.
    let held = value(&process, "wasmill_process_memory_bytes{kind=\"plugins\"}");
    assert!(held > 0.0 && held < f64::from(32 << 20), "{held}");
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}

/// An instance keeps nearly all of the memory. Nothing would ever fall, so the process says what holds it, and all pipelines move on slowly.
#[test]
fn memory_that_is_kept_is_named_and_pipelines_go_on_slowly() {
    let keeps = component::with(0, 0, Behaviour { before: "(drop (memory.grow (i32.const 470)))", after: "" });
    let folder = Folder::new(&[("keeps", keeps), ("plugin", component::forward())], "[limits]\nmemory = \"32 MiB\"");
    let two = "[limits]\nparallelism = 2";
    let [kept, kept_output] = folder.add("keeping", "keeps", 1, "", two);
    let [quiet, output] = folder.add("quiet", "plugin", 1, "", two);
    let mut process = folder.run();
    process.ready();
    assert!(process.get("/readyz?verbose").unwrap().1.contains("[+]memory"));
    java::produce(&kept, 0, &records("a", 1));
    process.wait("what holds the memory to be named", LIMIT, |process| {
        process.log().contains("little is left of the memory of all pipelines, and it won't fall by itself")
    });
    let (status, checks) = process.get("/readyz?verbose").unwrap();
    assert_eq!(status, 200, "records flow: {checks}");
    assert!(
        checks.contains("[-]memory") && checks.contains("of 32 MiB are held: `keeping` (plugins 29 MiB"),
        "{checks}"
    );
    java::produce(&quiet, 0, &records("a", 1_000));
    java::produce(&kept, 0, &records("b", 1_000));
    process.wait("both to deliver", LIMIT, |_| {
        java::records(&output) == [1_000] && java::records(&kept_output) == [1_001]
    });
    let waited = "wasmill_waiting_seconds_total{pipeline=\"quiet\",reason=\"memory\"}";
    process.wait("the wait to be counted", LIMIT, |process| value(process, waited) > 0.0);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}

/// The pipelines of a folder name no brokers. `check` and `run` agree, and a change of the connection is taken over by a reload.
#[test]
fn the_connection_of_the_process_is_that_of_its_pipelines_and_is_reloaded() {
    let folder = Folder::new(&[("plugin", component::forward())], "");
    let [one, one_output] = folder.add("one", "plugin", 1, "", "");
    let [two, two_output] = folder.add("two", "plugin", 1, "", "[kafka]\nclient_id = \"mine\"");
    let mut process = folder.run();
    process.ready();
    for input in [&one, &two] {
        java::produce(input, 0, &records("a", 10));
    }
    process.wait("both to deliver", LIMIT, |_| {
        [&one_output, &two_output].iter().all(|topic| java::records(topic) == [10])
    });
    let text = fs::read_to_string(folder.path("pipelines/wasmill.toml")).unwrap();
    folder.write("wasmill", &text.replacen("[kafka]\n", "[kafka]\nclient_id = \"all\"\n", 1));
    process.hang_up();
    process.wait("the reload of both", LIMIT, |process| {
        let log = process.log();
        let said = |pipeline: &str, text: &str| {
            let of = format!("\"pipeline\":\"{pipeline}\"");
            log.lines().any(|line| line.contains(text) && line.contains(&of))
        };
        // The second one has a `client_id` of its own.
        said("one", "reloaded: `[kafka]` with a new consumer") && said("two", "reloaded: nothing has changed")
    });
    // A mistake in it is refused by each, and changes nothing.
    folder.write("wasmill", &text.replacen("[kafka]\n", "[kafka]\nclient = \"all\"\n", 1));
    process.hang_up();
    process.wait("the refusal", LIMIT, |process| {
        let log = process.log();
        log.contains("not reloaded") && log.contains("wasmill.toml:2") && log.contains("unknown field `client`")
    });
    for input in [&one, &two] {
        java::produce(input, 0, &records("a", 10));
    }
    process
        .wait("both to go on", LIMIT, |_| [&one_output, &two_output].iter().all(|topic| java::records(topic) == [20]));
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}
