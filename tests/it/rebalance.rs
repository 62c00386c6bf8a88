//! A second process joins and leaves under load: partitions change hands, nothing is lost and none stands still for long.

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

/// For a partition, from one delivered record to the next.
const STANDSTILL: Duration = Duration::from_secs(10);

#[test]
fn a_second_process_joins_and_leaves_under_load() {
    let _alone = support::load();
    let input = java::create("join-in", 3, &[]);
    let output = java::create("join-out", 3, &[]);
    let group = unique("join");
    let pipeline = Pipeline::new(&input, &output, &group, "session_timeout = \"6s\"");
    pipeline.install(&component::forward());
    let reader = Reader::start(&output);
    let feed = Feed::start(&input, 20_000, 997, 20, 0);

    let mut first = pipeline.run();
    first.wait("every partition to be delivered", Duration::from_secs(60), |_| {
        let heights = reader.tally().heights;
        heights.len() == 3 && heights.iter().all(|&height| height > 0)
    });
    for time in 1..=2 {
        let mut second = pipeline.run();
        let join = moves_on(&mut first, &reader, &group, &[1, 2], STANDSTILL);
        second.ready();
        second.terminate();
        let leave = moves_on(&mut first, &reader, &group, &[3], STANDSTILL);
        assert_eq!(second.exit(Duration::from_secs(25)), Some(0));
        say(&format!(
            "join: {time} of 2: longest standstill of a partition {join:?} at the join, {leave:?} at the leave"
        ));
    }

    let fed = feed.stop();
    first.wait("the lag to reach zero", Duration::from_secs(60), |_| java::lag(&group, &input) == 0);
    first.terminate();
    assert_eq!(first.exit(Duration::from_secs(25)), Some(0));
    let tally = reader.tally();
    say(&format!("join: {} records, {} repeated", tally.fresh, tally.repeats));
    assert_eq!(reader.missing(&feed), (0, String::new()));
    assert_eq!((tally.disorder, tally.foreign), (0, 0));
    assert_eq!(tally.heights, fed);
}

/// Waits until the members have these numbers of partitions and every partition has moved since; the longest time
/// that one did not, which may be `limit`.
pub(crate) fn moves_on(
    process: &mut Process,
    reader: &Reader,
    group: &str,
    wanted: &[usize],
    limit: Duration,
) -> Duration {
    let start = clock::Watch::start();
    let mut heights = reader.tally().heights;
    let mut moved = vec![Duration::ZERO; heights.len()];
    let mut longest = Duration::ZERO;
    let mut settled = None;
    process.wait("the group to settle and every partition to move", Duration::from_secs(60), |_| {
        let now = start.elapsed();
        let tally = reader.tally();
        for (partition, &height) in tally.heights.iter().enumerate() {
            longest = longest.max(now.saturating_sub(moved[partition]));
            if height > heights[partition] {
                heights[partition] = height;
                moved[partition] = now;
            }
        }
        assert!(longest < limit, "a partition stood still for {longest:?}");
        if settled.is_none() {
            let mut members = java::members(group).unwrap_or_default();
            members.sort_unstable();
            settled = (members == wanted).then_some(now);
        }
        settled.is_some_and(|settled| moved.iter().all(|&moved| moved > settled))
    });
    longest
}
