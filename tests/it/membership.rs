//! A second process joins and leaves again and again under load, alternating between SIGTERM and kill -9: no record is lost, no
//! partition stays unassigned, and repeated records are bounded.

use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support;
use crate::support::clock;
use crate::support::component;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

/// The maximum time between two delivered records of a partition.
const STANDSTILL: Duration = Duration::from_secs(10);
/// The same if a member was killed, whose session must expire first.
const STANDSTILL_KILLED: Duration = Duration::from_secs(30);
/// `limits.max_in_flight_records`.
const MAX_IN_FLIGHT: u64 = 20_000;
/// `commit_every`, and how long a commit may take.
const COMMIT_MS: u64 = 1000 + 200;
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_process_comes_and_goes_by_term_and_kill_and_nothing_is_lost() {
    let _alone = support::load();
    let times = if env::var("WASMILL_FULL").is_ok_and(|full| full == "1") { 10 } else { 4 };
    let more = format!(
        "session_timeout = \"6s\"\n[limits]\ncommit_every = \"1s\"\nmax_in_flight = {{ records = {MAX_IN_FLIGHT} }}"
    );
    let delivery = Delivery::new("member", 3, &more);
    let Delivery { input, group, pipeline, .. } = &delivery;
    let feed = Feed::start(input, 10_000, 997, 20, 0);

    let mut first = pipeline.run();
    first.wait("every partition to be delivered", LIMIT, |_| {
        let heights = delivery.tally().heights;
        heights.len() == 3 && heights.iter().all(|&height| height > 0)
    });
    for time in 1..=times {
        let before = delivery.tally().repeats;
        let mut second = pipeline.run();
        let join = moves_on(&mut first, &delivery, &[1, 2], STANDSTILL);
        let joined = delivery.tally().repeats;
        let (how, standstill, bound) = if time % 2 == 1 {
            second.terminate();
            assert_eq!(second.exit(Duration::from_secs(25)), Some(0));
            ("SIGTERM", STANDSTILL, 0)
        } else {
            let at = kill(second);
            // Its last records are in the topic, so the answer counts all of them.
            ("kill -9", STANDSTILL_KILLED, MAX_IN_FLIGHT + delivery.appended(at - COMMIT_MS, at))
        };
        let leave = moves_on(&mut first, &delivery, &[3], standstill);
        let left = delivery.tally().repeats;
        say(&format!(
            "member: {time} of {times}: joined, longest standstill {join:?}, {} repeated; left by {how}, {leave:?}, {} repeated of \
             at most {bound}",
            joined - before,
            left - joined
        ));
        assert_eq!(joined, before, "partitions were drained and committed before they went to the second process");
        assert!(left - joined <= bound, "{how} repeated {} records, {bound} are allowed", left - joined);
    }

    feed.stop();
    first.wait("the lag to reach zero", LIMIT, |_| java::lag(group, input) == 0);
    first.terminate();
    assert_eq!(first.exit(Duration::from_secs(25)), Some(0));
    let tally = delivery.assert_delivered(&feed);
    say(&format!("member: {} records, {} repeated after {times} comings and goings", tally.fresh, tally.repeats));
}

/// A static member keeps its place over a restart. It gives it up where nobody will have its name again: when the file of the pipeline is
/// removed, when an operator stops it, when the file gives it another name, and where the name is that of a Deployment's pod.
#[test]
fn a_static_member_that_will_not_come_back_leaves_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let pipelines = folder.path().join("pipelines");
    fs::create_dir(&pipelines).unwrap();
    fs::write(folder.path().join("plugin.wasm"), component::faulty()).unwrap();
    let add = |name: &str, id: &str| {
        let [input, output] = ["in", "out"].map(|of| java::create(&format!("static-{name}-{of}"), 1, &[]));
        let group = unique(&format!("static-{name}"));
        let more = format!("session_timeout = \"45s\"\ninstance_id = \"{id}\"\n");
        let pipeline = Pipeline::new(&input, &output, &group, &more);
        let text = fs::read_to_string(pipeline.file()).unwrap();
        fs::write(pipelines.join(format!("{name}.toml")), &text).unwrap();
        (group, text)
    };
    let (stays, _) = add("stays", "orders-0");
    let (renamed, text) = add("renamed", "orders-0");
    let (generated, _) = add("generated", "orders-6d4cf56db6-x7k2p");
    let (removed, _) = add("removed", "orders-0");
    let (stopped, _) = add("stopped", "orders-0");
    let mut process = Process::fleet(&pipelines);
    process.ready();
    let members = |group: &str| java::members(group).map(|members| members.len());
    for group in [&stays, &renamed, &generated, &removed, &stopped] {
        process.wait("the member", LIMIT, |_| members(group) == Some(1));
    }
    // Well before a session is over.
    let soon = Duration::from_secs(20);
    fs::remove_file(pipelines.join("removed.toml")).unwrap();
    fs::write(pipelines.join("renamed.toml"), text.replace("orders-0", "orders-1")).unwrap();
    process.hang_up();
    let url = format!("http://{}", process.address());
    let stop = Command::new(env!("CARGO_BIN_EXE_wasmill")).args(["stop", "stopped", "--url", &url]).output().unwrap();
    assert!(stop.status.success(), "{stop:?}");
    process.wait("the member that an operator stopped to leave", soon, |_| java::is_left(&stopped));
    process.wait("the member whose file is gone to leave", soon, |_| java::is_left(&removed));
    process.wait("the reload", soon, |process| process.log().contains("reloaded: "));
    process.wait("the member with the new name to be alone", soon, |_| members(&renamed) == Some(1));
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
    assert!(java::is_left(&generated), "its pod's name won't come back");
    assert_eq!((members(&stays), members(&renamed)), (Some(1), Some(1)), "their places are kept");
}

/// Kills a process with kill -9 that has records in flight. Returns the time of the kill.
fn kill(mut process: Process) -> u64 {
    process.wait("records in flight", LIMIT, |process| {
        process.metric("wasmill_in_flight_records").is_some_and(|records| records > 0.0)
    });
    let at = process.kill();
    assert!(at <= clock::unix_ms());
    at
}

/// Waits until the members have these numbers of partitions and every partition has advanced since. Returns the longest time
/// that a partition did not advance, at most `limit`.
fn moves_on(process: &mut Process, delivery: &Delivery, wanted: &[usize], limit: Duration) -> Duration {
    let start = clock::Watch::start();
    let mut heights = delivery.tally().heights;
    let mut moved = vec![Duration::ZERO; heights.len()];
    let mut longest = Duration::ZERO;
    let mut settled = None;
    process.wait("the group to settle and every partition to move", Duration::from_secs(60), |_| {
        let now = start.elapsed();
        let tally = delivery.tally();
        for (partition, &height) in tally.heights.iter().enumerate() {
            longest = longest.max(now.saturating_sub(moved[partition]));
            if height > heights[partition] {
                heights[partition] = height;
                moved[partition] = now;
            }
        }
        assert!(longest < limit, "a partition stood still for {longest:?}");
        if settled.is_none() {
            let mut members = java::members(&delivery.group).unwrap_or_default();
            members.sort_unstable();
            settled = (members == wanted).then_some(now);
        }
        settled.is_some_and(|settled| moved.iter().all(|&moved| moved > settled))
    });
    longest
}
