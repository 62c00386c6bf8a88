//! The memory that a full topic needs with default limits.

use std::env;
use std::time::Duration;

use crate::support;
use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;

const MIB: u64 = 1 << 20;
/// How much the process may grow above its size when it is ready and idle.
const GROWTH: u64 = 128 * MIB;
const PARTITIONS: usize = 4;
const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn draining_a_full_topic_takes_a_bounded_memory() {
    let _alone = support::load();
    let records = if env::var("WASMILL_FULL").is_ok_and(|full| full == "1") { 2_000_000 } else { 300_000 };
    let input = java::create("drain-in", PARTITIONS, &[]);
    let output = java::create("drain-out", PARTITIONS, &[]);
    let group = unique("drain");
    let pipeline = Pipeline::new(&input, &output, &group, "");
    pipeline.install(&component::forward());

    let mut quiet = pipeline.run();
    quiet.ready();
    quiet.wait("its start to be committed", LIMIT, |_| java::committed(&group, &input) == [0; PARTITIONS]);
    let idle = quiet.memory("VmRSS");
    quiet.terminate();
    assert_eq!(quiet.exit(Duration::from_secs(25)), Some(0));

    let feed = Feed::start(&input, 200_000, 997, 0, records);
    feed.end(LIMIT);
    let fed = feed.stop();
    let watch = clock::Watch::start();
    let mut process = pipeline.run();
    process.wait("all of it to be committed", LIMIT, |_| java::committed(&group, &input) == fed);
    let took = watch.elapsed();
    let peak = process.memory("VmHWM");
    say(&format!(
        "drain: {records} records in {took:?}; the quiet process has {} MiB, the peak is {} MiB, {} MiB above it",
        idle / MIB,
        peak / MIB,
        peak.saturating_sub(idle) / MIB
    ));
    assert!(peak < idle + GROWTH, "{} MiB above the quiet process", (peak - idle) / MIB);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
}
