//! Where a group starts reading: at `start` without a committed offset, and what happens if the committed offset no longer
//! exists.

use std::time::Duration;

use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Reader;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn latest_skips_existing_records_and_reads_new_ones() {
    let input = java::create("latest-in", 1, &[]);
    let output = java::create("latest-out", 1, &[]);
    let group = unique("latest");
    Feed::fill(&input, 500);
    let old = java::dump(&input, 0);
    let pipeline = Pipeline::new(&input, &output, &group, "start = \"latest\"");
    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    process.ready();
    process.wait("the partition", LIMIT, |process| process.metric("wasmill_assigned_partitions") == Some(1.0));
    let threads = process.niceness();
    let own = threads.iter().find(|(name, _)| name == "worker-0").unwrap().1;
    for (name, nice) in threads {
        let gives_way = name.starts_with("executor-");
        assert_eq!(nice, own + if gives_way { 5 } else { 0 }, "only plugins give way, and not {name}");
    }
    java::produce(&input, 0, &[old[7].1.clone()]);
    process.wait("the new record", LIMIT, |_| java::committed(&group, &input) == [501]);
    let arrived: Vec<_> = java::dump(&output, 0).into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(arrived, [old[7].1.clone()]);
}

/// A killed member blocks its group until its session expires. The brokers send nothing meanwhile, but they are alive.
#[test]
fn waiting_for_a_dead_member_does_not_make_the_brokers_count_as_dead() {
    let input = java::create("wait-in", 1, &[]);
    let output = java::create("wait-out", 1, &[]);
    let pipeline = Pipeline::new(&input, &output, &unique("wait"), "session_timeout = \"26s\"");
    pipeline.install(&component::forward());
    let is_assigned = |process: &Process| process.metric("wasmill_assigned_partitions") == Some(1.0);
    let mut process = pipeline.run();
    process.wait("the partition", LIMIT, is_assigned);
    process.kill();
    let mut process = pipeline.run();
    let watch = clock::Watch::start();
    process.wait("the partition", LIMIT, |process| {
        let checks = process.get("/readyz?verbose").map(|(_, checks)| checks).unwrap_or_default();
        assert!(!checks.contains("[-]brokers"), "{:?}: {checks}", watch.elapsed());
        is_assigned(process)
    });
    assert!(watch.elapsed() > Duration::from_secs(20), "it waited for {:?} only", watch.elapsed());
}

/// A pipeline whose group has committed 1000, and whose input begins at 1500 now.
fn gap(name: &str, more: &str) -> (Pipeline, String, String, String) {
    let input = java::create(&format!("{name}-in"), 1, &[]);
    let output = java::create(&format!("{name}-out"), 1, &[]);
    let group = unique(name);
    let pipeline = Pipeline::new(&input, &output, &group, more);
    pipeline.install(&component::forward());
    Feed::fill(&input, 1000);
    let mut process = pipeline.run();
    process.wait("the first thousand", LIMIT, |_| java::committed(&group, &input) == [1000]);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    Feed::fill(&input, 1000);
    java::delete_records(&input, 0, 1500);
    (pipeline, input, output, group)
}

#[test]
fn a_committed_offset_that_no_longer_exists_stops_the_pipeline_and_names_both_offsets() {
    let (pipeline, input, output, group) = gap("gap", "");
    let mut process = pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(1));
    let log = process.log();
    let message = log.lines().find(|line| line.contains(&input) && line.contains("1000") && line.contains("1500"));
    assert!(message.is_some_and(|line| line.contains("on_gap")), "{log}");
    assert_eq!(java::committed(&group, &input), [1000]);
    assert_eq!(java::records(&output), [1000]);
}

#[test]
fn on_gap_continue_reads_on_at_the_beginning_of_the_topic() {
    let (pipeline, input, output, group) = gap("gap-on", "on_gap = \"continue\"");
    let mut process = pipeline.run();
    process.wait("the rest", LIMIT, |_| java::committed(&group, &input) == [2000]);
    assert_eq!(process.metric("wasmill_records_missed_total"), Some(500.0));
    let rest: Vec<_> = java::dump(&input, 0).into_iter().map(|(_, raw)| raw).collect();
    let arrived: Vec<_> = java::dump(&output, 0).into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(rest.len(), 500);
    assert!(arrived[1000..] == rest);
}

#[test]
fn a_missing_topic_is_an_error_with_the_command_that_creates_it() {
    let output = java::create("absent-out", 1, &[]);
    let input = unique("absent-in");
    let pipeline = Pipeline::new(&input, &output, &unique("absent"), "");
    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(78));
    let log = process.log();
    assert!(log.contains("kafka-topics") && log.contains("--create") && log.contains(&input), "{log}");
}

#[test]
fn probes_and_metrics_show_a_pipeline_at_work() {
    let input = java::create("probe-in", 2, &[]);
    let output = java::create("probe-out", 2, &[]);
    let group = unique("probe");
    let feed = Feed::fill(&input, 3000);
    let reader = Reader::start(&output);
    let pipeline = Pipeline::new(&input, &output, &group, "");
    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    process.ready();
    process.wait("all to be committed", LIMIT, |_| java::committed(&group, &input) == feed.stop());
    let (status, checks) = process.get("/readyz?verbose").unwrap();
    assert_eq!(status, 200, "{checks}");
    assert!(checks.lines().all(|line| line.is_empty() || line.starts_with("[+]")), "{checks}");
    assert_eq!(process.get("/livez").unwrap().0, 200);
    for (metric, value) in [
        ("wasmill_records_consumed_total", 3000.0),
        ("wasmill_records_processed_total", 3000.0),
        ("wasmill_records_produced_total", 3000.0),
        ("wasmill_assigned_partitions", 2.0),
        ("wasmill_in_flight_records", 0.0),
    ] {
        process.wait(metric, LIMIT, |process| process.metric(metric) == Some(value));
    }
    process.wait("lag zero", LIMIT, |process| process.metric("wasmill_consumer_lag_records") == Some(0.0));
    assert_eq!(reader.tally().fresh, 3000);
}
