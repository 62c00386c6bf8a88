//! A stop, whatever its cause: everything below the failed record is delivered and committed before the process ends, without
//! delay, and the message tells the truth.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;

/// `shutdown_timeout`'s default is 25 s: an end that takes that long is not immediate.
const AT_ONCE: Duration = Duration::from_secs(20);

fn record(value: &str) -> Raw {
    Raw { timestamp: 1_700_000_000_000, key: None, value: Some(value.as_bytes().to_vec()), headers: Vec::new() }
}

fn values(topic: &str) -> Vec<String> {
    let text = |(_, raw): (i64, Raw)| String::from_utf8(raw.value.unwrap()).unwrap();
    java::dump(topic, 0).into_iter().map(text).collect()
}

/// The result of a pipeline through `plugins/faulty` whose dead letters don't fit into their topic.
struct Stopped {
    input: String,
    output: String,
    dead: String,
    group: String,
    pipeline: Pipeline,
    log: String,
}

/// Runs one batch of these values until the process ends by itself.
fn stopped(name: &str, batch: &[&str], limit: usize) -> Stopped {
    let limit = format!("max.message.bytes={limit}");
    let input = java::create(&format!("{name}-in"), 1, &[]);
    let output = java::create(&format!("{name}-out"), 1, &[&limit]);
    let dead = java::create(&format!("{name}-dead"), 1, &[&limit]);
    let group = unique(name);
    let pipeline = Pipeline::of(&format!(
        "[[step]]\nname = \"work\"\nwasm = \"../plugin.wasm\"\n\n[output.main]\ntopic = \"{output}\"\n\n\
         [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n\n[on_error]\ndead_letter = \"{dead}\"\n"
    ));
    pipeline.install(&component::faulty());
    let records: Vec<Raw> = batch.iter().map(|value| record(value)).collect();
    java::produce(&input, 0, &records);
    let watch = clock::Watch::start();
    let mut process = pipeline.run();
    assert_eq!(process.exit(Duration::from_secs(60)), Some(1), "{}", process.log());
    let log = process.log();
    assert!(log.contains("stopped at topic"), "{log}");
    // Measured from the first line about the stop, because starting may take long on a busy machine.
    assert!(!log.contains("will be repeated"), "nothing waited for its deadline, in {:?}: {log}", watch.elapsed());
    Stopped { input, output, dead, group, pipeline, log }
}

#[test]
fn an_output_too_large_for_its_topic_and_the_dead_letters_stops_after_all_earlier_records() {
    let large = "x".repeat(50_000);
    let batch = ["v0", "v1", "v2", &large, "after0", "after1", "after2"];
    let Stopped { input, output, dead, group, pipeline, log } = stopped("stop-large", &batch, 20_000);
    assert_eq!(values(&output), ["v0", "v1", "v2"]);
    assert_eq!(values(&dead), [""; 0]);
    assert_eq!(java::committed(&group, &input), [3]);
    assert!(
        log.contains("offset 3") && log.contains("everything below this record is delivered and committed"),
        "{log}"
    );
    assert!(log.contains("nothing at or above it is delivered"), "{log}");
    assert!(
        log.contains(&format!("--group {group} --topic {input}:0 --reset-offsets --to-offset 4 --execute")),
        "{log}"
    );
    let raise = format!("--entity-name {dead} --add-config max.message.bytes=5");
    assert!(log.contains("kafka-configs.sh --bootstrap-server") && log.contains(&raise), "{log}");
    assert!(!log.contains("a dead letter is being written"), "none is: {log}");
    assert!(log.contains("ended: stopped by a failure") && log.contains(&format!("committed {input}/0 at 3")), "{log}");

    // With room for its dead letter the record is dead-lettered, and the pipeline continues.
    let roomy = java::create("stop-large-roomy", 1, &[]);
    let mut process = pipeline.run_with(&["--set", &format!("on_error.dead_letter=\"{roomy}\"")]);
    process.wait("the rest to be committed", AT_ONCE * 3, |_| java::committed(&group, &input) == [7]);
    process.terminate();
    assert_eq!(process.exit(AT_ONCE), Some(0));
    assert_eq!(values(&output), ["v0", "v1", "v2", "after0", "after1", "after2"]);
    assert_eq!(values(&roomy).len(), 1);
    assert!(process.log().contains("ended: shut down"), "{}", process.log());
}

#[test]
fn a_rejected_record_whose_dead_letter_does_not_fit_stops_before_later_records() {
    let large = format!("reject {}", "x".repeat(50_000));
    let batch = ["v0", "reject small", &large, "reject other", "after0"];
    let Stopped { input, output, dead, group, log, .. } = stopped("stop-reject", &batch, 20_000);
    assert_eq!(values(&output), ["v0"]);
    assert_eq!(values(&dead), ["reject small"], "nothing above the stop is given up either");
    assert_eq!(java::committed(&group, &input), [2]);
    assert!(
        log.contains("offset 2") && log.contains("everything below this record is delivered and committed"),
        "{log}"
    );
    assert!(log.contains("nothing at or above it is delivered"), "{log}");
}
