//! A load of numbered records through a pipeline with two steps and three outputs, and the verification of the result.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt;
use std::time::Duration;

use crate::support::clock;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;
use crate::support::wasmill::is_exactly_once;

/// Records per second. Each record has two outputs.
const RATE: u32 = 10_000;
pub(crate) const MAX_IN_FLIGHT: u64 = 20_000;
/// `commit_every`, and how long a commit may take.
const COMMIT_MS: u64 = 500 + 300;
/// A dead member is noticed after the session timeout; then the backlog must be processed.
pub(crate) const RECOVERY: Duration = Duration::from_secs(90);
pub(crate) const PARTITIONS: usize = 3;

/// Topics, a continuous feed, a counting reader, and the pipeline between them.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) delivery: Delivery,
    feed: Feed,
}

/// The counts at the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) records: u64,
    pub(crate) repeats: u64,
    pub(crate) stale: u64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { records, repeats, stale } = self;
        write!(f, "{records} records, 0 missing, {repeats} repeated, 0 disorder, {stale} stale")
    }
}

impl Load {
    pub(crate) fn new(name: &str) -> Load {
        Load::with(name, "")
    }

    /// `more` is appended to the keys of `[kafka.librdkafka]`.
    pub(crate) fn with(name: &str, more: &str) -> Load {
        Load::in_group(name, unique(name), more)
    }

    /// The same at a rate that one core keeps up with while faults stop the pipeline half of the time, so that the backlog of half an hour is
    /// small.
    pub(crate) fn for_long(name: &str, more: &str) -> Load {
        Load::at(RATE / 4, name, unique(name), more)
    }

    pub(crate) fn in_group(name: &str, group: String, more: &str) -> Load {
        Load::at(RATE, name, group, more)
    }

    fn at(rate: u32, name: &str, group: String, more: &str) -> Load {
        let delivery = deliver(name, group, &format!("records = {MAX_IN_FLIGHT}"), more);
        let feed = Feed::start(&delivery.input, rate, 997, 20, 0);
        Load { delivery, feed }
    }

    /// A feed of `count` records of almost the default maximum size, all produced in advance, with a limit on bytes in flight.
    pub(crate) fn large(name: &str, count: u64, max_bytes: u64) -> Load {
        let delivery = deliver(name, unique(name), &format!("bytes = {max_bytes}"), "");
        let feed = Feed::start(&delivery.input, 200, 997, 900_000, count);
        feed.end(RECOVERY);
        Load { delivery, feed }
    }

    pub(crate) fn input(&self) -> &str {
        &self.delivery.input
    }

    pub(crate) fn group(&self) -> &str {
        &self.delivery.group
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.delivery.pipeline
    }

    /// Ends the feed. Returns the number of records in each partition.
    pub(crate) fn stop_feed(&self) -> Vec<i64> {
        self.feed.stop()
    }

    /// Starts a process of the pipeline, and waits until it has delivered something.
    pub(crate) fn start(&self) -> Process {
        let before = self.delivery.tally().fresh;
        let mut process = self.pipeline().run();
        self.passes(&mut process, before);
        process
    }

    /// Waits until more than `before` records have arrived.
    pub(crate) fn passes(&self, process: &mut Process, before: u64) {
        process.wait("new records to arrive", RECOVERY, |_| self.delivery.tally().fresh > before);
    }

    /// Waits until there are records in flight and uncommitted records for the fault to hit. Returns both numbers.
    pub(crate) fn busy(&self, process: &mut Process) -> (f64, i64) {
        let mut found = (0.0, 0);
        process.wait("records in flight and lag above zero", Duration::from_secs(20), |process| {
            let lag = java::lag(self.group(), self.input());
            found = (process.metric("wasmill_in_flight_records").unwrap_or(0.0), lag);
            found.0 > 0.0 && lag > 0
        });
        found
    }

    /// The number of records that a fault at `at` may cause to be repeated: those in flight, and those acknowledged since the last commit.
    pub(crate) fn may_repeat(&self, at: u64) -> u64 {
        if is_exactly_once() {
            return 0;
        }
        MAX_IN_FLIGHT + self.delivery.appended(at - COMMIT_MS, at)
    }

    /// Ends the feed, waits until everything is committed, ends the process and counts. No record may be missing, out of order, foreign or
    /// stale.
    pub(crate) fn finish(self, process: Process) -> Verdict {
        let verdict = self.finish_late(process);
        assert_eq!(verdict.stale, 0, "keys that end with an old value");
        verdict
    }

    /// Like [`Load::finish`], but allows old values that arrived late.
    pub(crate) fn finish_late(self, mut process: Process) -> Verdict {
        let fed = self.feed.stop();
        process.wait("the lag to reach zero", RECOVERY, |_| java::lag(self.group(), self.input()) == 0);
        process.terminate();
        assert_eq!(process.exit(Duration::from_secs(25)), Some(0), "the exit code of the last process");
        let tally = self.delivery.assert_complete(&self.feed);
        assert_eq!(tally.fresh, fed.iter().map(|&fed| u64::try_from(fed).unwrap()).sum::<u64>());
        if is_exactly_once() {
            assert_eq!((tally.repeats, tally.stale), (0, 0), "repeated outputs, and keys that end with an old value");
        }
        Verdict { records: tally.fresh, repeats: tally.repeats, stale: tally.stale }
    }

    /// How long it takes from now until a new record arrives.
    pub(crate) fn resumes(&self, process: &mut Process) -> Duration {
        let watch = clock::Watch::start();
        let before = self.delivery.tally().fresh;
        self.passes(process, before);
        watch.elapsed()
    }
}

/// A pipeline with the limits that the rows rely on. `more` is appended to the keys of `[kafka.librdkafka]`.
fn deliver(name: &str, group: String, max_in_flight: &str, more: &str) -> Delivery {
    // With a `linger.ms` of 100 ms a thousand records are in flight, which reveals a commit that doesn't wait for them.
    let settings = format!(
        "session_timeout = \"3s\"\n[limits]\ncommit_every = \"500ms\"\nmax_in_flight = {{ {max_in_flight} }}\n\
         [kafka.librdkafka]\n\"linger.ms\" = \"100\"\n{more}"
    );
    Delivery::in_group(name, group, PARTITIONS, &settings)
}

/// A duration as text.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
