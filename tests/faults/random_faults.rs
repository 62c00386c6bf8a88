//! Random faults in sequence on one load (F36): the after-effects of one fault must not break wasmill at the next one.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use crate::load::Load;
use crate::network::IMPATIENT;
use crate::rows::Case;
use crate::support::broker;
use crate::support::clock;
use crate::support::wasmill::is_exactly_once;

const FAULTS: [&str; 7] = [
    "kill -9 of the worker",
    "SIGTERM of the worker",
    "SIGSTOP of the worker for 1 to 5 s",
    "kill -9 of the broker",
    "SIGSTOP of the broker for 1 to 5 s",
    "reset of all connections",
    "answers held back for 1 to 5 s",
];

/// The faults of the broker, which are left out with exactly once. A single broker that is frozen or killed while it ends a transaction may
/// write that the transaction is complete, and no marker for the group's offsets: seen with Kafka 4.3.1 in its logs, twice after a freeze
/// and once after a kill. The group then waits for those offsets until an operator ends the transaction. F7 and F8 have these faults by
/// themselves, with either delivery.
const BROKER_FAULTS: [usize; 2] = [3, 4];

pub(crate) fn many(case: &Case) {
    let length = Duration::from_secs(if case.full { 1800 } else { 90 });
    let used: Vec<usize> =
        (0..FAULTS.len()).filter(|&number| !(is_exactly_once() && BROKER_FAULTS.contains(&number))).collect();
    let names: Vec<&str> = used.iter().map(|&number| FAULTS[number]).collect();
    let injected = format!("for {} s, one after the other: {}", length.as_secs(), names.join(", "));
    case.inject("", &injected, || {
        let proxy = broker::proxy();
        let load = if case.full { Load::for_long("random", IMPATIENT) } else { Load::with("random", IMPATIENT) };
        let mut process = load.start();
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        let watch = clock::Watch::start();
        while watch.elapsed() < length {
            load.busy(&mut process);
            let number = used[usize::try_from(case.below(used.len() as u64)).unwrap_or(0)];
            *counts.entry(FAULTS[number]).or_default() += 1;
            let some = Duration::from_millis(1000 + case.below(4000));
            match number {
                0 => {
                    process.kill();
                    process = load.pipeline().run();
                }
                1 => {
                    process.terminate();
                    assert_eq!(process.exit(Duration::from_secs(25)), Some(0), "the exit code");
                    process = load.pipeline().run();
                }
                2 => {
                    broker::signal(process.id(), "STOP");
                    thread::sleep(some);
                    broker::signal(process.id(), "CONT");
                }
                3 => {
                    broker::node().kill().expect("it can be killed");
                    thread::sleep(some / 2);
                    broker::node().start_again().expect("it starts again");
                }
                4 => {
                    let node = broker::node().id();
                    broker::signal(node, "STOP");
                    thread::sleep(some);
                    broker::signal(node, "CONT");
                }
                5 => {
                    proxy.reset();
                }
                _ => {
                    proxy.hold(true);
                    thread::sleep(some);
                    proxy.relent();
                }
            }
            load.resumes(&mut process);
        }
        let verdict = load.finish(process);
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} x {name}")).collect();
        format!("{}; {verdict}", counts.join(", "))
    });
}
