//! Requested shutdowns: under load (F3), while the output is unreachable (F4), and while a broker is frozen (F37).

use std::time::Duration;

use crate::load::Load;
use crate::load::seconds;
use crate::proxy::PRODUCE;
use crate::rows::Case;
use crate::support::broker;
use crate::support::clock;
use crate::support::java;

/// `shutdown_timeout`'s default.
const LIMIT: Duration = Duration::from_secs(25);

pub(crate) fn terminated(case: &Case) {
    let times = if case.full { 5 } else { 2 };
    case.inject("", &format!("SIGTERM {times} times"), || {
        let load = Load::new("term");
        let mut longest = Duration::ZERO;
        for _ in 0..times {
            let mut process = load.start();
            load.passes(&mut process, load.delivery.tally().fresh + case.below(20_000));
            load.busy(&mut process);
            let watch = clock::Watch::start();
            process.terminate();
            assert_eq!(process.exit(LIMIT), Some(0), "the exit code");
            longest = longest.max(watch.elapsed());
            let tally = load.delivery.tally();
            assert_eq!(
                java::committed(load.group(), load.input()),
                tally.heights,
                "all that was delivered is committed"
            );
            assert_eq!(tally.repeats, 0, "repeated after a drain");
        }
        let next = load.start();
        let verdict = load.finish(next);
        assert_eq!(verdict.repeats, 0);
        format!("{verdict}; exit 0 within {}", seconds(longest))
    });
}

pub(crate) fn terminated_without_output(case: &Case) {
    for (name, injected) in [
        ("produce", "no answer to Produce comes back, then SIGTERM with shutdown_timeout = 6s"),
        ("black-hole", "nothing at all comes back from the broker, then SIGTERM with shutdown_timeout = 6s"),
    ] {
        case.inject(name, injected, || {
            let proxy = broker::proxy();
            let load = Load::new("cut");
            let mut process = load.pipeline().run_with(&["--set", "shutdown_timeout=6s"]);
            load.passes(&mut process, case.below(20_000));
            load.busy(&mut process);
            let at = clock::unix_ms();
            let pile = if name == "produce" {
                proxy.swallow(PRODUCE, 1);
                5000.0
            } else {
                // Nothing more is read either.
                proxy.hold(true);
                0.0
            };
            let watch = clock::Watch::start();
            let mut in_flight = 0.0;
            process.wait("what is in flight to stay there", Duration::from_secs(20), |process| {
                in_flight = process.metric("wasmill_in_flight_records").unwrap_or(0.0);
                in_flight > pile && watch.elapsed() > Duration::from_secs(1)
            });
            let lag = java::lag(load.group(), load.input());
            let watch = clock::Watch::start();
            process.terminate();
            let code = process.exit(Duration::from_secs(12));
            let took = watch.elapsed();
            assert_eq!(code, Some(75), "the exit code; the log:\n{}", process.log());
            assert!(process.log().contains("will be repeated"), "it says what will be repeated:\n{}", process.log());
            proxy.relent();
            let may_repeat = load.may_repeat(at);
            let next = load.start();
            let verdict = load.finish(next);
            assert!(verdict.repeats <= may_repeat, "{} repeated, {may_repeat} allowed", verdict.repeats);
            format!("lag {lag}, in flight {in_flight}; exit 75 after {}; {verdict}", seconds(took))
        });
    }
}

/// `shutdown_timeout` in this row, and how much longer an end may take.
const SHUTDOWN: Duration = Duration::from_secs(5);
const BEYOND: Duration = Duration::from_secs(1);

pub(crate) fn terminated_while_frozen(case: &Case) {
    let times = if case.full { 10 } else { 2 };
    case.inject("", &format!("SIGSTOP to the broker, then SIGTERM with shutdown_timeout = 5s, {times} times"), || {
        let load = Load::new("iced");
        let timeout = format!("shutdown_timeout=\"{}s\"", SHUTDOWN.as_secs());
        let mut ends = Vec::new();
        let mut may_repeat = 0;
        for _ in 0..times {
            let mut process = load.pipeline().run_with(&["--set", &timeout]);
            load.passes(&mut process, load.delivery.tally().fresh + case.below(20_000));
            load.busy(&mut process);
            let node = broker::node().id();
            broker::signal(node, "STOP");
            let at = clock::unix_ms();
            // Requests have been sent, and their answers never arrive.
            process.wait("records to stay in flight", Duration::from_secs(20), |process| {
                process.metric("wasmill_in_flight_records").is_some_and(|records| records > 0.0)
            });
            let watch = clock::Watch::start();
            process.terminate();
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                process.exit(SHUTDOWN + Duration::from_secs(20))
            }));
            let took = watch.elapsed();
            broker::signal(node, "CONT");
            let code = ended.unwrap_or_else(|_| panic!("it did not end; the log:\n{}", process.log()));
            assert_eq!(code, Some(75), "the exit code; the log:\n{}", process.log());
            ends.push(took);
            may_repeat += load.may_repeat(at);
        }
        let all: Vec<String> = ends.iter().map(|&took| seconds(took)).collect();
        let late = ends.iter().filter(|&&took| took > SHUTDOWN + BEYOND).count();
        assert_eq!(late, 0, "ends after {}", all.join(", "));
        let next = load.start();
        let verdict = load.finish(next);
        assert!(verdict.repeats <= may_repeat, "{} repeated, {may_repeat} allowed", verdict.repeats);
        format!("ends after {}; {verdict}", all.join(", "))
    });
}
