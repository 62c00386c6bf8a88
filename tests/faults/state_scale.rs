//! Much state: two processes that are restarted one after the other (F39), and the memory of a million keys (F40).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::load::seconds;
use crate::rows::Case;
use crate::state_load::IDLE_S;
use crate::state_load::Plan;
use crate::state_load::StateLoad;
use crate::state_load::end;
use crate::state_load::windowed;
use crate::support::clock::Watch;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;
use crate::support::wasmill::is_exactly_once;
use crate::support::windows::Closing;
use crate::support::windows::WINDOW_MS;
use crate::support::windows::Windowed;
use crate::support::windows::order;
use crate::support::windows::some_hours_ago;

const LIMIT: Duration = Duration::from_secs(120);

/// The keys that the restarted processes have, in partitions that both share evenly.
const KEYS: u64 = 100_000;
const PARTITIONS: usize = 4;
/// The window with all keys stays open meanwhile: it is the seventh, and six are behind it before it closes.
const CLOSING: Closing = Closing { lateness_s: 300, idle_s: IDLE_S };
const BEFORE: i64 = 6;
/// For how long a partition may be without a commit.
const OUT_OF_SERVICE_MAX: Duration = Duration::from_secs(3);

pub(crate) fn rolling(case: &Case) {
    let injected = format!("two processes with {KEYS} keys are restarted by SIGTERM, one after the other");
    case.inject("", &injected, || {
        let windowed = windowed("rolling", PARTITIONS, CLOSING, "");
        let base = some_hours_ago();
        fill(&windowed, base);
        let start_ms = base + BEFORE * WINDOW_MS;
        // A minute of event time takes ten seconds.
        let plan = Plan {
            batch: 20,
            step_ms: 15,
            customers: 500,
            quiet_after: None,
            start_ms,
            lateness_ms: CLOSING.lateness_s * 1000,
        };
        let load = StateLoad::feed(windowed, case, plan);
        let mut processes = [load.windowed.run(), load.windowed.run()];
        processes.iter_mut().for_each(Process::ready);
        are_shared(&load, &mut processes[0]);
        processes[0].wait("the keys to be read", LIMIT, |_| java::lag(&load.windowed.group, &load.windowed.input) < 5000);
        let usual = Observer::start(&load.windowed);
        thread::sleep(Duration::from_secs(3));
        let usual = usual.end();
        let mut figures = vec![format!("usually {}", longest(&usual))];
        let mut all = Vec::new();
        for number in 0..2 {
            let cells =
                |process: &Process| process.metric("wasmill_state_cells").unwrap_or(0.0);
            let [first, second] = &mut processes;
            first.wait("all keys to be in the tables of both", LIMIT, |first| cells(first) + cells(second) >= KEYS as f64);
            let observer = Observer::start(&load.windowed);
            end(&mut processes[number]);
            processes[number] = load.windowed.run();
            are_shared(&load, &mut processes[number]);
            advance(&load.windowed, &mut processes[number]);
            let gaps = observer.end();
            figures.push(format!("restart {}: {}", number + 1, longest(&gaps)));
            all.extend(gaps);
        }
        let [mut first, second] = processes;
        let restore = first.metric("wasmill_restore_seconds_sum").unwrap_or(0.0)
            / first.metric("wasmill_restore_seconds_count").unwrap_or(1.0);
        end(&mut first);
        let verdict = load.finish(second);
        let figures = format!(
            "longest time without a commit, for each partition: {}; a restore took {restore:.2} s on average; {verdict}",
            figures.join("; ")
        );
        assert!(all.iter().all(|gap| *gap < OUT_OF_SERVICE_MAX), "above {OUT_OF_SERVICE_MAX:?}: {figures}");
        figures
    });
}

/// One order of each key in one window, after a few orders in windows before it, which close during the row.
fn fill(windowed: &Windowed, base: i64) {
    let each = KEYS / PARTITIONS as u64;
    for partition in 0..PARTITIONS {
        let customer = |number: u64| number * PARTITIONS as u64 + partition as u64;
        let early = |number: u64| {
            let time = base + i64::try_from(number).unwrap() * BEFORE * WINDOW_MS / 600;
            order(time, customer(number), i64::try_from(number).unwrap())
        };
        java::produce(&windowed.input, partition, &(0..600).map(early).collect::<Vec<Raw>>());
        for chunk in 0..each / 2500 {
            let orders: Vec<Raw> = (chunk * 2500..(chunk + 1) * 2500)
                .map(|number| order(base + BEFORE * WINDOW_MS, customer(number), i64::try_from(number).unwrap()))
                .collect();
            java::produce(&windowed.input, partition, &orders);
        }
    }
}

fn are_shared(load: &StateLoad, process: &mut Process) {
    process.wait("both to have two partitions", LIMIT, |_| {
        java::members(&load.windowed.group).is_some_and(|members| members == [2, 2])
    });
}

/// Waits until every partition is committed further.
fn advance(windowed: &Windowed, process: &mut Process) {
    process.wait_for_commits(&windowed.group, &windowed.input, LIMIT);
}

fn longest(gaps: &[Duration]) -> String {
    gaps.iter().map(|&gap| seconds(gap)).collect::<Vec<_>>().join(", ")
}

/// Watches the committed offsets of a group, and keeps the longest time for which the one of each partition stayed.
struct Observer {
    stop: Arc<AtomicBool>,
    watching: JoinHandle<Vec<Duration>>,
}

impl Observer {
    fn start(windowed: &Windowed) -> Observer {
        let stop = Arc::new(AtomicBool::new(false));
        let (group, input, is_stopped) = (windowed.group.clone(), windowed.input.clone(), Arc::clone(&stop));
        let watching = thread::spawn(move || {
            let mut last = java::committed(&group, &input);
            let mut since = vec![Watch::start(); last.len()];
            let mut gaps = vec![Duration::ZERO; last.len()];
            while !is_stopped.load(Ordering::Relaxed) {
                let now = java::committed(&group, &input);
                for (partition, offset) in now.iter().enumerate() {
                    gaps[partition] = gaps[partition].max(since[partition].elapsed());
                    if *offset > last[partition] {
                        since[partition] = Watch::start();
                    }
                }
                last = now;
                thread::sleep(Duration::from_millis(10));
            }
            gaps
        });
        Observer { stop, watching }
    }

    fn end(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.watching.join().unwrap()
    }
}

const MANY_KEYS: u32 = 1_000_000;
const CELL_BYTES_MIN: usize = 16;
const MEMORY_MAX: u64 = 256 << 20;
const MIB: u64 = 1 << 20;

pub(crate) fn memory(case: &Case) {
    case.inject("", &format!("{MANY_KEYS} keys with a cell of at least {CELL_BYTES_MIN} bytes each"), || {
        let input = java::create("many-in", 4, &[]);
        let output = java::create("many-out", 4, &[]);
        let group = unique("many");
        let pipeline = Pipeline::of(&format!(
            "[[step]]\nname = \"per-day\"\nuse = \"std:aggregate\"\nwindow = {{ size = \"1d\", lateness = \"1h\" }}\n\
             settings = {{ count = \"count\", sum = \"sum:/seq\", most = \"max:/seq\", last = \"last:/partition\" }}\n\n\
             [state]\ncreate = true\n\n[output.main]\ntopic = \"{output}\"\n\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n"
        ));
        let feed = Feed::start(&input, 100_000, MANY_KEYS, 0, u64::from(MANY_KEYS));
        feed.end(LIMIT);
        let more: &[&str] = if is_exactly_once() { &[] } else { &["--set", "delivery=\"at_least_once\""] };
        let mut figures = Vec::new();
        for what in ["reading the input", "restored"] {
            let mut process = pipeline.run_with(more);
            let watch = Watch::start();
            process.wait("all keys to be in its tables", 5 * LIMIT, |process| {
                process.metric("wasmill_state_cells").is_some_and(|cells| cells >= f64::from(MANY_KEYS))
                    && java::lag(&group, &input) == 0
            });
            let took = watch.elapsed();
            let cell = cell_bytes(&process);
            assert!(cell >= CELL_BYTES_MIN, "a cell has {cell} bytes");
            let [peak, now, own] = ["VmHWM", "VmRSS", "RssAnon"].map(|what| process.memory(what));
            let tables = process.metric("wasmill_state_bytes").unwrap_or(0.0);
            figures.push(format!(
                "{what}: at most {} MiB, then {} MiB with {} MiB of its own, after {}; cells of {cell} bytes or more, tables {:.0} MiB",
                peak / MIB,
                now / MIB,
                own / MIB,
                seconds(took),
                tables / 1_048_576.0
            ));
            assert!(peak < MEMORY_MAX, "{}", figures.join("; "));
            end(&mut process);
        }
        figures.join("; ")
    });
}

/// The size of the smallest cell on a page of the process.
fn cell_bytes(process: &Process) -> usize {
    let (status, body) = process.get_records("/state/per-day?limit=1000").unwrap();
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let size = |entry: &serde_json::Value| entry["cell"].as_str().unwrap().trim_end_matches('=').len() * 3 / 4;
    answer["entries"].as_array().unwrap().iter().map(size).min().expect("there are cells")
}
