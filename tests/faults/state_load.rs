//! A load for a step with windows: orders with disorder and late records, windows that close all the time, and a partition that goes quiet.
//! At the end the results are compared with the windows of the input.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::load::PARTITIONS;
use crate::load::RECOVERY;
use crate::rows::Case;
use crate::support::clock;
use crate::support::clock::Watch;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::random::Random;
use crate::support::wasmill::Process;
use crate::support::wasmill::is_exactly_once;
use crate::support::windows::Closing;
use crate::support::windows::Delivery;
use crate::support::windows::Findings;
use crate::support::windows::Windowed;
use crate::support::windows::order;
use crate::support::windows::some_hours_ago;

/// The partition that goes quiet.
pub(crate) const QUIET: usize = PARTITIONS - 1;
/// The time between two batches of a partition, if the machine keeps up.
const EVERY: Duration = Duration::from_millis(50);
/// A partition that is fed must not be quiet for so long that the clock closes its windows: then the input alone does not tell the results.
/// A busy machine stops the feed for seconds.
const CLOSING: Closing = Closing { lateness_s: 10, idle_s: IDLE_S };
pub(crate) const IDLE_S: u64 = 15;
const GAP_MAX: Duration = Duration::from_secs(IDLE_S - 1);
/// With two processes on a file, the one that comes back may have another number than before: the broker ends its old transaction.
const TRANSACTION: Duration = Duration::from_secs(90);

/// What is fed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How many records a batch of a partition has.
    pub(crate) batch: i64,
    /// The event time between two records of a partition.
    pub(crate) step_ms: i64,
    pub(crate) customers: u64,
    /// How many records the quiet partition has; `None` if no partition goes quiet.
    pub(crate) quiet_after: Option<i64>,
    /// The event time of the first record.
    pub(crate) start_ms: i64,
    pub(crate) lateness_ms: i64,
}

/// A pipeline with windows under load.
#[derive(Debug)]
pub(crate) struct StateLoad {
    pub(crate) windowed: Windowed,
    stop: Arc<AtomicBool>,
    /// Returns the longest time for which a partition that is fed had no record.
    feed: JoinHandle<Duration>,
}

/// The counts at the end.
#[derive(Debug)]
pub(crate) struct StateVerdict(pub(crate) Findings);

impl fmt::Display for StateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { results, windows, repeats, late, faults } = &self.0;
        let (all, quiet) = (windows.iter().sum::<usize>(), windows.last().unwrap_or(&0));
        write!(f, "{results} results of {all} windows, {quiet} of them in the last partition: ")?;
        write!(f, "{} wrong or missing, {repeats} repeated; {late} late records", faults.len())
    }
}

impl StateLoad {
    /// A minute of event time passes in a second, and the last partition is quiet after two seconds.
    pub(crate) fn new(name: &str, case: &Case) -> StateLoad {
        StateLoad::with(name, case, "")
    }

    /// `more` is appended to the keys of `[kafka.librdkafka]`.
    pub(crate) fn with(name: &str, case: &Case, more: &str) -> StateLoad {
        let plan = Plan {
            batch: 50,
            step_ms: 60,
            customers: 100,
            quiet_after: Some(2000),
            start_ms: some_hours_ago(),
            lateness_ms: CLOSING.lateness_s * 1000,
        };
        StateLoad::feed(windowed(name, PARTITIONS, CLOSING, more), case, plan)
    }

    /// Starts to feed a pipeline's input.
    pub(crate) fn feed(windowed: Windowed, case: &Case, plan: Plan) -> StateLoad {
        let stop = Arc::new(AtomicBool::new(false));
        let (input, partitions, random) =
            (windowed.input.clone(), windowed.partitions, Random::from(case.below(1 << 40)));
        let is_stopped = Arc::clone(&stop);
        let feed = thread::spawn(move || feed(&input, partitions, plan, random, &is_stopped));
        StateLoad { windowed, stop, feed }
    }

    /// Starts a process, and waits until it commits.
    pub(crate) fn start(&self) -> Process {
        let mut process = self.windowed.run();
        self.resumes(&mut process);
        process
    }

    /// How long it takes until offsets of all partitions that are fed are committed further.
    pub(crate) fn resumes(&self, process: &mut Process) -> Duration {
        let watch = Watch::start();
        let committed = || java::committed(&self.windowed.group, &self.windowed.input);
        let before = committed();
        process.wait("new commits of the partitions that are fed", RECOVERY, |_| {
            committed().iter().zip(&before).take(QUIET).all(|(now, before)| now > before)
        });
        watch.elapsed()
    }

    /// Ends the feed, waits until every window has its result, ends the process and compares.
    ///
    /// # Panics
    /// If a result is missing or wrong.
    pub(crate) fn finish(self, process: Process) -> StateVerdict {
        let windowed = self.settle(process);
        StateVerdict(windowed.assert_exact())
    }

    /// Like [`StateLoad::finish`], and returns what is wrong instead of failing for it.
    pub(crate) fn finish_inexact(self, process: Process) -> StateVerdict {
        let windowed = self.settle(process);
        StateVerdict(windowed.examine())
    }

    fn settle(self, mut process: Process) -> Windowed {
        let StateLoad { windowed, stop, feed } = self;
        stop.store(true, Ordering::Relaxed);
        let gap = feed.join().unwrap();
        assert!(gap < GAP_MAX, "the feed itself paused for {gap:?}, so the clock may have closed windows too early");
        process.wait("the lag to reach zero", RECOVERY, |_| java::lag(&windowed.group, &windowed.input) == 0);
        end(&mut process);
        // Nothing follows, so the clock may close the last windows soon.
        let mut last = windowed.run_in(&[], &["--set", "step.0.window.idle=\"1s\""]);
        settle(&windowed, &mut last);
        end(&mut last);
        clock::wait_until("the last transaction to end", TRANSACTION, || {
            java::open_transactions(&windowed.group).is_empty()
        });
        windowed
    }
}

pub(crate) fn end(process: &mut Process) {
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0), "the exit code");
}

/// A pipeline with the delivery of this process. `more` is appended to the keys of `[kafka.librdkafka]`.
pub(crate) fn windowed(name: &str, partitions: usize, closing: Closing, more: &str) -> Windowed {
    let delivery = if is_exactly_once() { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce };
    let settings = format!("session_timeout = \"3s\"\n[kafka.librdkafka]\n\"linger.ms\" = \"20\"\n{more}");
    Windowed::new(name, partitions, closing, delivery, &settings)
}

/// Waits until a process has committed all of the input, and every window has a result.
pub(crate) fn settle(windowed: &Windowed, process: &mut Process) {
    process.wait("the lag to reach zero", RECOVERY, |_| java::lag(&windowed.group, &windowed.input) == 0);
    let expected = windowed.expected().windows.len();
    // What is missing is told by the comparison.
    let watch = Watch::start();
    process.wait("the results of all windows", 2 * RECOVERY, |_| {
        windowed.has_results(expected) || watch.elapsed() > RECOVERY
    });
}

/// Feeds all partitions until it is told to stop.
fn feed(input: &str, partitions: usize, plan: Plan, mut random: Random, stop: &AtomicBool) -> Duration {
    let mut sent = 0;
    let mut longest = Duration::ZERO;
    let mut last = vec![Watch::start(); partitions];
    while !stop.load(Ordering::Relaxed) {
        let round = Watch::start();
        for (partition, last) in last.iter_mut().enumerate() {
            if partition + 1 == partitions && plan.quiet_after.is_some_and(|after| sent >= after) {
                continue;
            }
            let orders: Vec<Raw> = (sent..sent + plan.batch)
                .map(|number| an_order(plan, number, partition, partitions, &mut random))
                .collect();
            java::produce(input, partition, &orders);
            if sent > 0 {
                longest = longest.max(last.elapsed());
            }
            *last = Watch::start();
        }
        sent += plan.batch;
        thread::sleep(EVERY.saturating_sub(round.elapsed()));
    }
    longest
}

/// One in a hundred is late, and a third comes out of order. A customer's orders are all in one partition.
fn an_order(plan: Plan, number: i64, partition: usize, partitions: usize, random: &mut Random) -> Raw {
    let mut below = |bound: i64| i64::try_from(random.below(u64::try_from(bound).unwrap())).unwrap();
    let back = match below(100) {
        0 => plan.lateness_ms + 110_000 + below(60_000),
        1..=30 => below(9_000),
        _ => 0,
    };
    let cents = below(10_000);
    let customer = random.below(plan.customers) * partitions as u64 + partition as u64;
    order(plan.start_ms + number * plan.step_ms - back, customer, cents)
}
