//! Crashes of a pipeline with windows, at every point where its state, its results and its offsets become durable (F1 state).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use crate::load::PARTITIONS;
use crate::load::RECOVERY;
use crate::rows::Case;
use crate::state_load::StateLoad;
use crate::state_load::StateVerdict;
use crate::state_load::end;
use crate::state_load::settle;
use crate::state_load::windowed;
use crate::support::clock;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::wasmill::is_exactly_once;
use crate::support::windows::Closing;
use crate::support::windows::WINDOW_MS;
use crate::support::windows::Windowed;
use crate::support::windows::order;
use crate::support::windows::some_hours_ago;

/// A failpoint, and the passing at which the process aborts: the first number plus a random number up to the second.
type Range = (&'static str, u64, u64);

const UNDER_LOAD: [Range; 5] = [
    ("cell-enqueued", 100, 3000),
    ("control-enqueued", 6, 30),
    ("tombstone-enqueued", 50, 600),
    ("after-enqueue", 50, 600),
    ("after-ack", 10, 30),
];
const UNDER_LOAD_AT_LEAST_ONCE: [Range; 4] =
    [("cells-acked", 6, 30), ("control-acked", 6, 30), ("tombstones-acked", 6, 30), ("commit-sent", 3, 8)];
const UNDER_LOAD_EXACTLY_ONCE: [Range; 2] = [("transaction-ends", 3, 20), ("transaction-committed", 3, 20)];
/// The reading of a changelog, whose length decides the passing.
const IN_RESTORE: &str = "in-restore";
const RESTORED_MAX: u64 = 2000;

/// Keys of each partition whose windows the clock closes.
const KEYS: u64 = 100;
const RESULTS: u64 = KEYS * PARTITIONS as u64;
/// The windows of all partitions are folded in one cycle at least, and closed in another one: each of the partitions has two control records.
const CYCLES: Range = ("", PARTITIONS as u64 + 1, PARTITIONS as u64);
const BY_THE_CLOCK: [Range; 3] =
    [("after-enqueue", 1, RESULTS), ("control-enqueued", CYCLES.1, CYCLES.2), ("tombstone-enqueued", 1, RESULTS)];
const BY_THE_CLOCK_AT_LEAST_ONCE: [Range; 3] = [
    ("cells-acked", CYCLES.1, CYCLES.2),
    ("control-acked", CYCLES.1, CYCLES.2),
    ("tombstones-acked", CYCLES.1, CYCLES.2),
];
const BY_THE_CLOCK_EXACTLY_ONCE: [Range; 2] = [("transaction-ends", 2, 1), ("transaction-committed", 2, 1)];

/// How long it may take until a failpoint is passed.
const REACHED: Duration = Duration::from_secs(60);

pub(crate) fn sweep(case: &Case) {
    let times = if case.full { 5 } else { 1 };
    for time in 1..=times {
        let name = |what: &str| if times == 1 { what.to_owned() } else { format!("{what} {time}") };
        let crashes = under_load(case);
        let listed: Vec<String> = crashes.iter().map(|(point, at)| format!("{point} at passing {at}")).collect();
        let injected = format!("abort(), one after the other: {}", listed.join(", "));
        case.inject(&name("load"), &injected, || crash_under_load(case, &crashes));
        let crashes = by_the_clock(case);
        let listed: Vec<String> = crashes.iter().map(|(point, at)| format!("{point} at passing {at}")).collect();
        let injected = format!("abort() while the clock closes windows, one after the other: {}", listed.join(", "));
        case.inject(&name("clock"), &injected, || crash_by_the_clock(&crashes));
    }
}

/// All points in a random order, each with a random passing.
fn under_load(case: &Case) -> Vec<(&'static str, u64)> {
    let own = if is_exactly_once() { &UNDER_LOAD_EXACTLY_ONCE[..] } else { &UNDER_LOAD_AT_LEAST_ONCE[..] };
    let mut crashes = draw(case, &[&UNDER_LOAD, own].concat());
    // The first process has nothing to restore.
    let place = 1 + usize::try_from(case.below(crashes.len() as u64)).unwrap();
    crashes.insert(place, (IN_RESTORE, 1 + case.below(RESTORED_MAX)));
    crashes
}

fn by_the_clock(case: &Case) -> Vec<(&'static str, u64)> {
    let own = if is_exactly_once() { &BY_THE_CLOCK_EXACTLY_ONCE[..] } else { &BY_THE_CLOCK_AT_LEAST_ONCE[..] };
    draw(case, &[&BY_THE_CLOCK, own].concat())
}

fn draw(case: &Case, ranges: &[Range]) -> Vec<(&'static str, u64)> {
    let mut crashes: Vec<_> = ranges.iter().map(|&(point, least, more)| (point, least + case.below(more))).collect();
    for last in (1..crashes.len()).rev() {
        crashes.swap(last, usize::try_from(case.below(last as u64 + 1)).unwrap());
    }
    crashes
}

fn crash_under_load(case: &Case, crashes: &[(&str, u64)]) -> String {
    let load = StateLoad::new("state-crash", case);
    for &(point, at) in crashes {
        let at = if point == IN_RESTORE { at.min(changelog_records(&load.windowed)) } else { at };
        crash(&load.windowed, point, at);
        let lag = java::lag(&load.windowed.group, &load.windowed.input);
        assert!(lag > 0, "it was not busy at {point}");
    }
    let mut process = load.windowed.run();
    let resumed = load.resumes(&mut process);
    let verdict = load.finish(process);
    format!("{} crashes; commits again {resumed:.1?} after the last one; {verdict}", crashes.len())
}

/// The windows of a partition are closed by the clock alone: nothing follows them before all of them have their results.
fn crash_by_the_clock(crashes: &[(&str, u64)]) -> String {
    let closing = Closing { lateness_s: 10, idle_s: 1 };
    let windowed = windowed("state-clock", PARTITIONS, closing, "");
    let mut base = some_hours_ago();
    for &(point, at) in crashes {
        for partition in 0..PARTITIONS {
            let orders: Vec<Raw> = (0..KEYS)
                .map(|key| {
                    let number = i64::try_from(key).unwrap();
                    order(base + number, key * PARTITIONS as u64 + partition as u64, number)
                })
                .collect();
            java::produce(&windowed.input, partition, &orders);
        }
        base += 10 * WINDOW_MS;
        crash(&windowed, point, at);
        let mut process = windowed.run();
        settle(&windowed, &mut process);
        end(&mut process);
    }
    clock::wait_until("the last transaction to end", RECOVERY, || java::open_transactions(&windowed.group).is_empty());
    format!("{} crashes; {}", crashes.len(), StateVerdict(windowed.assert_exact()))
}

/// The number of records in the smallest of the changelog's partitions, as a restore reads them; at least 1.
fn changelog_records(windowed: &Windowed) -> u64 {
    let least = java::records(&windowed.changelog()).into_iter().min().unwrap_or(0);
    u64::try_from(least).unwrap().max(1)
}

/// Runs a process until it aborts at a passing of a point.
fn crash(windowed: &Windowed, point: &str, at: u64) {
    let told = format!("{point}=abort@{at}");
    let mut process = windowed.run_in(&[("WASMILL_FAILPOINT", &told)], &[]);
    let status = clock::wait_for(&format!("{told} to be reached"), REACHED, || process.ended());
    assert_eq!(status.code(), None, "it ended by itself with {status} instead of {told}; its log:\n{}", process.log());
}
