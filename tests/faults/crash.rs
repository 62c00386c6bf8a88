//! Crashes at named points of a record's path (F1), and panics of single threads (F35).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use crate::load::Load;
use crate::load::seconds;
use crate::rows::Case;
use crate::support::clock;
use crate::support::java;
use crate::support::wasmill::Process;
use crate::support::wasmill::is_exactly_once;

/// A failpoint, and the passing at which the process aborts: the first number plus a random number up to the second.
const STEADY: [(&str, u64, u64); 5] = [
    ("after-poll", 20_000, 30_000),
    ("after-guest", 200, 400),
    ("after-enqueue", 20_000, 30_000),
    ("in-delivery", 15, 30),
    ("after-ack", 15, 30),
];
const AT_LEAST_ONCE: [(&str, u64, u64); 3] = [("after-store", 20, 40), ("commit-sent", 4, 5), ("commit-acked", 4, 5)];
const EXACTLY_ONCE: [(&str, u64, u64); 4] = [
    ("transaction-begun", 10, 20),
    ("transaction-ends", 10, 20),
    ("transaction-committed", 10, 20),
    ("commit-acked", 10, 20),
];
/// Failpoints that are passed only when another member joins or leaves: a second process does that.
const WITH_ANOTHER: [(&str, u64); 2] = [("in-revoke", 1), ("after-assign", 2)];

/// How long it may take until a failpoint is passed.
const REACHED: Duration = Duration::from_secs(60);
/// How long it may take until a thread's panic is noticed.
const NOTICED: Duration = Duration::from_secs(5);

pub(crate) fn sweep(case: &Case) {
    for time in 0..if case.full { 3 } else { 1 } {
        let name = |point: &str| if time == 0 { point.to_owned() } else { format!("{point}-{}", time + 1) };
        let own = if is_exactly_once() { &EXACTLY_ONCE[..] } else { &AT_LEAST_ONCE[..] };
        let is_short = case.slice && is_exactly_once();
        let steady = if is_short { &[] } else { &STEADY[..] };
        for (point, least, more) in steady.iter().chain(own).copied() {
            let at = least + case.below(more);
            crash_at(case, &name(point), point, at, false);
        }
        for (point, at) in WITH_ANOTHER.into_iter().filter(|_| !is_short) {
            crash_at(case, &name(point), point, at, true);
        }
    }
}

fn crash_at(case: &Case, name: &str, point: &str, at: u64, with_another: bool) {
    case.inject(name, &format!("abort() at passing {at} of {point}"), || {
        let load = Load::new("crash");
        let told = format!("{point}=abort@{at}");
        let mut process = load.pipeline().run_in(&[("WASMILL_FAILPOINT", &told)], &[]);
        let mut others = Vec::new();
        let mut in_flight = 0.0;
        let mut before_that = 0.0;
        if with_another {
            load.passes(&mut process, load.delivery.tally().fresh);
            // A revoke finishes what is in flight, so whether it was busy must be checked before the other process joins.
            before_that = load.busy(&mut process).0;
            others.push(load.pipeline().run());
        }
        let mut leaves = with_another && point == "after-assign";
        let status = clock::wait_for("the point to be reached", REACHED, || {
            if let Some(records) = process.metric("wasmill_in_flight_records") {
                in_flight = records;
            }
            // When the second process leaves, the first one gets its partitions back.
            if leaves && java::members(load.group()).is_some_and(|members| members.len() == 2) {
                leaves = false;
                others[0].terminate();
            }
            process.ended()
        });
        let at_ms = clock::unix_ms();
        let in_flight = in_flight.max(before_that);
        assert_eq!(status.code(), None, "it ended by itself with {status}; its log:\n{}", process.log());
        let lag = java::lag(load.group(), load.input());
        assert!(lag > 0 && in_flight > 0.0, "it was not busy: lag {lag}, in flight {in_flight}");
        let may_repeat = load.may_repeat(at_ms);

        let before = load.delivery.tally();
        let watch = clock::Watch::start();
        let mut next = load.pipeline().run();
        load.passes(&mut next, before.fresh);
        let back = watch.elapsed();
        for mut other in others {
            other.terminate();
            assert_eq!(other.exit(Duration::from_secs(25)), Some(0), "the exit code of the other one");
        }
        let verdict = load.finish(next);
        assert!(verdict.repeats <= may_repeat, "{} repeated, {may_repeat} allowed", verdict.repeats);
        format!(
            "lag {lag}, in flight {in_flight}; {verdict} (at most {may_repeat}); delivering again after {}",
            seconds(back)
        )
    });
}

pub(crate) fn panics(case: &Case) {
    for (thread, point, least, more) in
        [("worker", "after-store", 20, 40), ("executor", "after-guest", 200, 400), ("delivery", "in-delivery", 15, 30)]
    {
        let at = least + case.below(more);
        case.inject(thread, &format!("panic of the {thread}'s thread at passing {at} of {point}"), || {
            let load = Load::new("panic");
            let told = format!("{point}=panic@{at}");
            let mut process =
                load.pipeline().run_in(&[("WASMILL_FAILPOINT", &told)], &["--set", "shutdown_timeout=5s"]);
            let panicked = |process: &mut Process| process.log().contains("told to panic") || process.ended().is_some();
            let mut lag = 0;
            let mut in_flight = 0.0;
            clock::wait_until("the point to be reached", REACHED, || {
                if let Some(records) = process.metric("wasmill_in_flight_records") {
                    in_flight = records;
                }
                panicked(&mut process)
            });
            let watch = clock::Watch::start();
            lag += java::lag(load.group(), load.input());
            assert!(lag > 0 && in_flight > 0.0, "it was not busy: lag {lag}, in flight {in_flight}");
            let at_ms = clock::unix_ms();
            let mut noticed = None;
            let status = clock::wait_for("the process to end", Duration::from_secs(20), || {
                let ended = process.ended();
                let is_dead = process.get("/livez").is_none_or(|(status, _)| status != 200);
                let is_unready = process.get("/readyz").is_none_or(|(status, _)| status != 200);
                if noticed.is_none() && (is_dead || is_unready || ended.is_some()) {
                    noticed = Some(watch.elapsed());
                }
                assert!(noticed.is_some() || watch.elapsed() < NOTICED, "nobody noticed within {NOTICED:?}");
                ended
            });
            let (noticed, ended) = (noticed.unwrap(), watch.elapsed());
            assert_eq!(status.code(), Some(70), "the exit code; the log:\n{}", process.log());
            let may_repeat = load.may_repeat(at_ms);
            let next = load.start();
            let verdict = load.finish(next);
            assert!(verdict.repeats <= may_repeat, "{} repeated, {may_repeat} allowed", verdict.repeats);
            format!("noticed after {}, exit 70 after {}; {verdict}", seconds(noticed), seconds(ended))
        });
    }
}
