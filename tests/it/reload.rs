//! Plugins are swapped under load, and invalid files change nothing.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::support;
use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Reader;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);
/// The time between two versions.
const EVERY: Duration = Duration::from_secs(1);
const OK: &str = "wasmill_plugin_reloads_total{pipeline=\"pipeline\",result=\"ok\",step=\"step-one\"}";
const FAILED: &str = "wasmill_config_reloads_total{pipeline=\"pipeline\",result=\"failed\"}";
const SUCCESSFUL: &str = "wasmill_config_last_reload_successful{pipeline=\"pipeline\"}";
const ASSIGNED: &str = "wasmill_rebalances_total{kind=\"assign\",pipeline=\"pipeline\"}";

#[test]
fn a_version_each_second_under_load_loses_and_repeats_nothing_and_leaves_the_group_alone() {
    let _alone = support::load();
    let versions = if env::var("WASMILL_FULL").is_ok_and(|full| full == "1") { 120 } else { 15 };
    let input = java::create("swap-in", 3, &[]);
    let output = java::create("swap-out", 3, &[]);
    let group = unique("swap");
    let pipeline = Pipeline::new(&input, &output, &group, "");
    pipeline.install(&component::stamped(1));
    let reader = Reader::start(&output);
    let feed = Feed::start(&input, 10_000, 997, 20, 0);
    let mut process = pipeline.run_with(&["--watch"]);
    process.wait("records of the first version", LIMIT, |_| reader.appended(1, 1) > 0);
    let assigned = process.metric(ASSIGNED);

    for version in 2..=versions {
        let watch = clock::Watch::start();
        pipeline.install(&component::stamped(version));
        process.wait("the next version's records", LIMIT, |_| reader.appended(version.into(), version.into()) > 0);
        clock::wait_until("a second to pass", LIMIT, || watch.elapsed() >= EVERY);
    }

    assert_eq!(process.metric(ASSIGNED), assigned, "the group was not left");
    assert_eq!(process.metric(OK), Some(f64::from(versions - 1)));
    assert_eq!(process.metric(FAILED), Some(0.0));
    let pauses = swap_pauses(&process);
    let fed = feed.stop();
    process.wait("the lag to reach zero", LIMIT, |_| java::lag(&group, &input) == 0);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
    let tally = reader.tally();
    assert_eq!(reader.missing(&feed), (0, String::new()));
    assert_eq!((tally.repeats, tally.disorder, tally.foreign), (0, 0, 0));
    assert_eq!(tally.heights, fed);
    let stamped: Vec<u64> = (1..=versions).map(|version| reader.appended(version.into(), version.into())).collect();
    assert_eq!(stamped.iter().sum::<u64>(), tally.fresh, "each record by one version");
    say(&format!("swap: {} records by {versions} versions, {pauses}", tally.fresh));
}

/// It is no file that could change.
#[test]
fn a_plugin_that_comes_with_wasmill_is_not_loaded_again() {
    let [input, output] = ["in", "out"].map(|topic| java::create(&format!("bundled-{topic}"), 1, &[]));
    let group = unique("bundled");
    java::permit(&[&input], &[&output], &group);
    let pipeline = Pipeline::of(&format!(
        "[[step]]\nuse = \"std:mask\"\nsettings = {{ fields = [\"/email\"] }}\n\n[output.main]\ntopic = \"{output}\"\n\n\
         [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n"
    ));
    let mut process = pipeline.run_with(&["--watch"]);
    process.ready();
    process.hang_up();
    process.wait("the reload", LIMIT, |process| process.log().contains("reloaded: nothing has changed"));
    assert!(!process.log().contains("new settings"), "{}", process.log());
}

/// Ends the feed and the process: every record was output once and in order.
fn ends_whole(mut process: Process, reader: &Reader, feed: &Feed, group: &str, input: &str) {
    feed.stop();
    process.wait("the lag to reach zero", LIMIT, |_| java::lag(group, input) == 0);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
    assert_eq!(reader.missing(feed), (0, String::new()));
    let tally = reader.tally();
    assert_eq!((tally.repeats, tally.disorder, tally.foreign), (0, 0, 0));
}

/// How long executors paused, according to the histogram's buckets.
fn swap_pauses(process: &Process) -> String {
    let bucket = |le: &str| {
        process
            .metric(&format!(
                "wasmill_plugin_swap_seconds_bucket{{pipeline=\"pipeline\",step=\"step-one\",le=\"{le}\"}}"
            ))
            .unwrap_or(0.0)
    };
    let all = bucket("+Inf");
    let bounds = ["0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.1"];
    let p99 = bounds.into_iter().find(|le| bucket(le) >= all * 0.99).unwrap_or("more than 0.1");
    format!("{all} swaps of an executor, p99 at most {p99} s")
}

#[test]
fn bad_files_change_nothing_and_are_told_once() {
    let input = java::create("bad-in", 1, &[]);
    let output = java::create("bad-out", 1, &[]);
    let group = unique("bad");
    let pipeline = Pipeline::new(&input, &output, &group, "");
    pipeline.install(&component::stamped(1));
    let reader = Reader::start(&output);
    let feed = Feed::start(&input, 1_000, 97, 20, 0);
    let mut process = pipeline.run_with(&["--watch"]);
    process.wait("records of the first version", LIMIT, |_| reader.appended(1, 1) > 0);

    let path = pipeline.folder().join("plugin.wasm");
    let good = component::stamped(1);
    let foreign = wat::parse_str("(component)").unwrap();
    let mut failed = 0;
    let mut expect_failure = |process: &mut Process, what: &str, says: &str| {
        failed += 1;
        process.wait(what, LIMIT, |process| process.metric(FAILED) == Some(f64::from(failed)));
        assert_eq!(process.metric(SUCCESSFUL), Some(0.0), "{what}");
        let (status, checks) = process.get("/readyz?verbose").unwrap();
        assert_eq!(status, 200, "{what}: what runs is ready\n{checks}");
        assert!(checks.contains("[-]reload") && checks.contains(says), "{what}: {says} is not in\n{checks}");
        let before = reader.appended(1, 1);
        process.wait("the old version to go on", LIMIT, |_| reader.appended(1, 1) > before);
    };
    pipeline.install(b"not a component");
    expect_failure(&mut process, "a corrupt file", "neither a WebAssembly component");
    pipeline.install(&good[..good.len() / 2]);
    expect_failure(&mut process, "a truncated file", "not valid WebAssembly");
    pipeline.install(&foreign);
    expect_failure(&mut process, "a component of another world", "exports don't fit");
    fs::remove_file(&path).unwrap();
    expect_failure(&mut process, "a deleted file", "no such file");

    // Written in two steps: half of the file stays long enough to be noticed, and then it is complete.
    let second = component::stamped(2);
    fs::write(&path, &second[..second.len() / 2]).unwrap();
    expect_failure(&mut process, "a half-written file", "not valid WebAssembly");
    fs::write(&path, &second).unwrap();
    let expect_version = |process: &mut Process, what: &str, version: u64| {
        process.wait(what, LIMIT, |_| reader.appended(version, version) > 0);
        process.wait("the reload to be told", LIMIT, |process| process.metric(SUCCESSFUL) == Some(1.0));
        assert!(process.get("/readyz?verbose").unwrap().1.contains("[+]reload"));
    };
    expect_version(&mut process, "the rest of it", 2);

    // As Kubernetes mounts files: the file's name is a link through another link, which is swapped.
    for version in [3, 4] {
        let data = pipeline.folder().join(format!("..data-{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("plugin.wasm"), component::stamped(version)).unwrap();
        let beside = pipeline.folder().join("..data.new");
        symlink(&data, &beside).unwrap();
        fs::rename(&beside, pipeline.folder().join("..data")).unwrap();
        if version == 3 {
            let name = pipeline.folder().join("plugin.link");
            symlink("..data/plugin.wasm", &name).unwrap();
            fs::rename(&name, &path).unwrap();
        }
        expect_version(&mut process, "the version behind the link", version.into());
    }
    // A new modification time alone is not a change.
    let reloads = process.metric(OK);
    fs::write(&path, component::stamped(4)).unwrap();
    pipeline.install(&component::stamped(5));
    expect_version(&mut process, "the last version", 5);
    assert_eq!(process.metric(OK), reloads.map(|reloads| reloads + 1.0));
    assert_eq!(process.metric(FAILED), Some(5.0));
    assert_eq!(process.log().matches("not reloaded").count(), 5, "each mistake is told once\n{}", process.log());

    ends_whole(process, &reader, &feed, &group, &input);
}

#[test]
fn a_signal_reloads_a_changed_file_and_refuses_what_needs_a_restart() {
    let input = java::create("hup-in", 1, &[]);
    let output = java::create("hup-out", 1, &[]);
    let group = unique("hup");
    let pipeline = Pipeline::new(&input, &output, &group, "");
    pipeline.install(&component::stamped(1));
    let mut process = pipeline.run();
    process.ready();
    process.hang_up();
    process.wait("a reload without changes", LIMIT, |process| process.log().contains("nothing has changed"));

    let file = pipeline.folder().join("0/pipeline.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[[step]]", "[[step]]\ntimeout = \"2s\"")).unwrap();
    process.hang_up();
    process.wait("the step's new settings", LIMIT, |process| process.metric(OK) == Some(1.0));
    // A dedicated thread writes log lines, so a line may appear after the event.
    process.wait("the line about it", LIMIT, |process| process.log().contains("step `step-one`: new settings"));

    // A version that the pipeline's own test cases refuse, which is accepted once the cases are changed.
    let cases = |stamp: u32| {
        let case = format!(
            "[[case]]\nname = \"stamped\"\ninput = [\"x\"]\nexpect = [{{ value = \"x\", timestamp = {stamp} }}]\n"
        );
        fs::write(pipeline.folder().join("0/pipeline.test.toml"), case).unwrap();
    };
    cases(1);
    fs::write(
        &file,
        text.replace("[http]", "[reload]\ntest = true\n[http]").replace("[[step]]", "[[step]]\ntimeout = \"2s\""),
    )
    .unwrap();
    pipeline.install(&component::stamped(2));
    process.hang_up();
    process.wait("the case to refuse", LIMIT, |process| process.log().contains("test case `stamped` fails"));
    assert_eq!(process.metric(OK), Some(1.0));
    assert_eq!(process.metric(SUCCESSFUL), Some(0.0));
    cases(2);
    process.hang_up();
    process.wait("the case to pass", LIMIT, |process| process.metric(SUCCESSFUL) == Some(1.0));
    assert_eq!(process.metric(OK), Some(2.0));

    fs::write(&file, text.replace("name = \"step-one\"", "name = \"other\"")).unwrap();
    process.hang_up();
    process.wait("the refusal", LIMIT, |process| process.metric(SUCCESSFUL) == Some(0.0));
    let is_told = |log: &str| log.contains("takes effect with the next start") && log.contains("pipeline.toml:");
    process.wait("the line about it", LIMIT, |process| is_told(&process.log()));

    fs::write(&file, text.replace("[[step]]", "[[stop]]")).unwrap();
    process.hang_up();
    process.wait("the finding", LIMIT, |process| process.log().contains("unknown field `stop`"));
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
}

/// If the panic ended the reload thread, no change would ever be applied again.
#[test]
#[cfg(feature = "failpoints")]
fn a_panic_during_a_reload_is_reported_and_the_next_reload_works() {
    let input = java::create("panic-in", 1, &[]);
    let output = java::create("panic-out", 1, &[]);
    let pipeline = Pipeline::new(&input, &output, &unique("panic"), "");
    pipeline.install(&component::forward());
    let mut process = pipeline.run_in(&[("WASMILL_FAILPOINT", "in-reload=panic@1")], &[]);
    process.ready();
    process.hang_up();
    process.wait("the failure", LIMIT, |process| process.metric(SUCCESSFUL) == Some(0.0));
    let line = "not reloaded, the pipeline keeps running unchanged: wasmill itself failed";
    process.wait("the line about it", LIMIT, |process| process.log().contains(line));
    process.hang_up();
    process.wait("the next one", LIMIT, |process| process.metric(SUCCESSFUL) == Some(1.0));
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
}

/// The consumer is not involved: outputs, limits and error policy change between two records.
#[test]
fn everything_except_the_input_changes_in_place_under_load() {
    let _alone = support::load();
    let input = java::create("place-in", 3, &[]);
    let [first, second, dead] = ["place-out", "place-other", "place-dead"].map(|name| java::create(name, 3, &[]));
    let group = unique("place");
    let pipeline = Pipeline::new(&input, &first, &group, "");
    pipeline.install(&component::forward());
    let (before, after) = (Reader::start(&first), Reader::start(&second));
    let feed = Feed::start(&input, 10_000, 997, 20, 0);
    let mut process = pipeline.run();
    process.wait("the first records", LIMIT, |_| before.tally().fresh > 10_000);
    let assigned = process.metric(ASSIGNED);
    let file = pipeline.folder().join("0/pipeline.toml");
    let text = fs::read_to_string(&file).unwrap();
    let mut reloads = 0;
    let mut become_ = |process: &mut Process, text: &str, says: &str, succeeds: bool| {
        fs::write(&file, text).unwrap();
        let before = process.metric(OK_CONFIG).unwrap_or(0.0) + process.metric(FAILED).unwrap_or(0.0);
        process.hang_up();
        process.wait(says, LIMIT, |process| {
            process.metric(OK_CONFIG).unwrap_or(0.0) + process.metric(FAILED).unwrap_or(0.0) > before
        });
        assert_eq!(process.metric(SUCCESSFUL), Some(f64::from(u8::from(succeeds))), "{says}\n{}", process.log());
        process.wait(says, LIMIT, |process| process.log().contains(says));
        reloads += u32::from(succeeds);
    };
    let limits = "[limits]\nparallelism = 1\nmax_in_flight = { records = 5_000 }\n[http]";
    let limited = text.replace("[http]", limits);
    become_(&mut process, &limited, "`[limits]` in place", true);
    assert_eq!(process.metric("wasmill_plugin_instances{pipeline=\"pipeline\",step=\"step-one\"}"), Some(1.0));
    process.wait("the bound to hold", LIMIT, |process| in_flight(process).is_some_and(|records| records <= 5_000.0));
    let letters = limited.replace("[http]", &format!("[on_error]\ndead_letter = \"{dead}\"\n[http]"));
    become_(&mut process, &letters, "`[on_error]` in place", true);
    // A record that doesn't exist yet: if it existed at the start, it would have ended the pipeline.
    let rejected = java::ends(&input)[1] + 10_000;
    let reject = "(call $drop_output (local.get $counts) (local.get $bad)) (call $reject (local.get $bad))";
    pipeline.install(&component::with(1, rejected, component::Behaviour { before: "", after: reject }));
    become_(&mut process, &letters, "step `step-one`: component", true);
    process.wait("the dead letter", LIMIT, |_| java::records(&dead).iter().sum::<usize>() == 1);
    become_(&mut process, &letters.replace(&first, "no-such-topic"), "no-such-topic", false);
    become_(&mut process, &letters.replace(&first, &second), "`[output]` in place", true);
    process.wait("records in the other topic", LIMIT, |_| after.tally().fresh > 10_000);
    become_(&mut process, &text.replace(&first, &second), "`[on_error]`, `[limits]` in place", true);

    assert_eq!(process.metric(ASSIGNED), assigned, "the group was not left");
    let fed: i64 = feed.stop().iter().sum();
    process.wait("the lag to reach zero", LIMIT, |_| java::lag(&group, &input) == 0);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
    let (one, other) = (before.tally(), after.tally());
    for tally in [&one, &other] {
        assert_eq!((tally.repeats, tally.disorder, tally.foreign), (0, 0, 0));
    }
    let total = u64::try_from(fed).unwrap();
    assert_eq!(one.fresh + other.fresh + 1, total, "each record is in one of the two, or a dead letter");
    assert_eq!(before.missing(&feed).0 + after.missing(&feed).0, total + 1);
    say(&format!("in place: {reloads} changes, {} records in one topic and {} in the other", one.fresh, other.fresh));
}

const OK_CONFIG: &str = "wasmill_config_reloads_total{pipeline=\"pipeline\",result=\"ok\"}";

fn in_flight(process: &Process) -> Option<f64> {
    process.metric("wasmill_in_flight_records{pipeline=\"pipeline\"}")
}

/// The process stays, with its metrics and probes. What it has in flight is finished and committed first.
#[test]
fn a_changed_input_restarts_the_consumer_and_nothing_else() {
    let [one, two] = ["anew-one", "anew-two"].map(|name| java::create(name, 2, &[]));
    let output = java::create("anew-out", 2, &[]);
    let group = unique("anew");
    let pipeline = Pipeline::new(&one, &output, &group, "");
    pipeline.install(&component::forward());
    let reader = Reader::start(&output);
    let feed = Feed::start(&one, 5_000, 997, 20, 0);
    let mut process = pipeline.run();
    process.wait("the first records", LIMIT, |_| reader.tally().fresh > 5_000);
    let file = pipeline.folder().join("0/pipeline.toml");
    let text = fs::read_to_string(&file).unwrap();

    // No broker answers at this address, so nothing changes.
    let brokers = text.lines().find(|line| line.starts_with("brokers")).unwrap().to_owned();
    fs::write(&file, text.replace(&brokers, "brokers = [\"127.0.0.1:1\"]")).unwrap();
    process.hang_up();
    process.wait("the refusal", LIMIT, |process| process.metric(FAILED) == Some(1.0));
    let seen = reader.tally().fresh;
    process.wait("records to go on", LIMIT, |_| reader.tally().fresh > seen);

    let both = text.replace(&format!("[\"{one}\"]"), &format!("[\"{one}\", \"{two}\"]"));
    assert_ne!(both, text);
    fs::write(&file, both).unwrap();
    process.hang_up();
    let partitions = |process: &Process| process.metric("wasmill_assigned_partitions{pipeline=\"pipeline\"}");
    process.wait("the partitions of both", LIMIT, |process| partitions(process) == Some(4.0));
    assert!(process.log().contains("`[input]` with a new consumer"), "{}", process.log());
    process.ready();
    let seen = reader.tally().fresh;
    process.wait("records to go on", LIMIT, |_| reader.tally().fresh > seen);
    ends_whole(process, &reader, &feed, &group, &one);
}

/// As at the start, an invalid setting is reported with its position in the file.
#[test]
fn an_unknown_plugin_setting_is_refused_with_its_position() {
    let input = java::create("schema-in", 1, &[]);
    let output = java::create("schema-out", 1, &[]);
    let group = unique("schema");
    let pipeline = Pipeline::with_step(&input, &output, &group, "", "settings = { fields = [\"a\"] }");
    pipeline.install(include_bytes!("../plugins/kept/mask-1.0.0.wasm"));
    let mut process = pipeline.run();
    process.ready();
    let file = pipeline.folder().join("0/pipeline.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("fields =", "feilds =")).unwrap();
    process.hang_up();
    process.wait("the refusal", LIMIT, |process| process.metric(FAILED) == Some(1.0));
    for part in ["plugin `mask` has no `settings.feilds`", "pipeline.toml:", "did you mean `fields`?"] {
        process.wait(part, LIMIT, |process| process.log().contains(part));
    }
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
}
