//! The network between wasmill and its broker: lost answers (F10, F11), broken connections (F12), a slow (F18) or unavailable (F38)
//! output, and unknown error codes (F34).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::thread;
use std::time::Duration;

use crate::load::Load;
use crate::load::MAX_IN_FLIGHT;
use crate::load::PARTITIONS;
use crate::proxy::ADD_PARTITIONS_TO_TXN;
use crate::proxy::END_TXN;
use crate::proxy::HEARTBEAT;
use crate::proxy::OFFSET_COMMIT;
use crate::proxy::PRODUCE;
use crate::proxy::TXN_OFFSET_COMMIT;
use crate::rows::Case;
use crate::support::broker;
use crate::support::clock;
use crate::support::java;
use crate::support::wasmill::Process;

/// The timeout of a request without an answer; the default of a minute would make rows long.
pub(crate) const IMPATIENT: &str = "\"socket.timeout.ms\" = \"2000\"";

fn length(case: &Case, short: u64, full: u64) -> Duration {
    Duration::from_secs(if case.full { full } else { short })
}

pub(crate) fn commit_unanswered(case: &Case) {
    let every = 2 + case.below(2);
    let length = length(case, 15, 60);
    let injected = format!("one in {every} answers to OffsetCommit swallowed for {} s", length.as_secs());
    case.inject("", &injected, || {
        let proxy = broker::proxy();
        let load = Load::with("commit", IMPATIENT);
        let mut process = load.start();
        let (in_flight, lag) = load.busy(&mut process);
        proxy.swallow(OFFSET_COMMIT, every);
        let looks = forward_only(&load, &mut process, length);
        let swallowed = proxy.relent();
        assert!(swallowed > 0, "no answer was swallowed");
        looks.after(&load, &mut process);
        let verdict = load.finish(process);
        format!(
            "lag {lag}, in flight {in_flight}; {swallowed} swallowed, committed offsets looked at {} times, backward 0; {verdict}",
            looks.count
        )
    });
}

/// The answers that decide whether a transaction counts: each is lost now and then, and then all of them.
pub(crate) fn transaction_unanswered(case: &Case) {
    let few = if case.full { 10 } else { 3 };
    for (name, api) in
        [("EndTxn", END_TXN), ("TxnOffsetCommit", TXN_OFFSET_COMMIT), ("AddPartitionsToTxn", ADD_PARTITIONS_TO_TXN)]
    {
        let every = 5 + case.below(10);
        case.inject(name, &format!("one in {every} answers to {name} swallowed until {few} are"), || {
            let proxy = broker::proxy();
            let load = Load::with("unanswered", IMPATIENT);
            let mut process = load.start();
            let (in_flight, lag) = load.busy(&mut process);
            proxy.swallow(api, every);
            process.wait("answers to be swallowed", Duration::from_secs(240), |_| proxy.hits() >= few);
            let swallowed = proxy.relent();
            let resumes = load.resumes(&mut process);
            let verdict = load.finish(process);
            format!(
                "lag {lag}, in flight {in_flight}; {swallowed} swallowed; next record after {resumes:.1?}; {verdict}"
            )
        });
    }
}

/// Observed committed offsets.
struct Looks {
    count: u64,
    last: Vec<i64>,
}

impl Looks {
    fn look(&mut self, load: &Load) {
        let now = java::committed(load.group(), load.input());
        let backward = now.iter().zip(&self.last).any(|(now, last)| now < last);
        assert!(!backward, "committed offsets went back from {:?} to {now:?}", self.last);
        (self.count, self.last) = (self.count + 1, now);
    }

    /// Waits until every partition is committed beyond the observed offset.
    fn after(&self, load: &Load, process: &mut Process) {
        let last = self.last.clone();
        process.wait("every partition to be committed further", Duration::from_secs(60), |_| {
            java::committed(load.group(), load.input()).iter().zip(&last).all(|(now, last)| now > last)
        });
    }
}

/// Polls the committed offsets, and checks that they never go back.
fn forward_only(load: &Load, process: &mut Process, length: Duration) -> Looks {
    let mut looks = Looks { count: 0, last: vec![-1; 3] };
    let watch = clock::Watch::start();
    while watch.elapsed() < length {
        assert_eq!(process.ended(), None, "wasmill goes on");
        looks.look(load);
        thread::sleep(Duration::from_millis(20));
    }
    looks
}

pub(crate) fn produce_unanswered(case: &Case) {
    let every = 20 + case.below(20);
    let length = length(case, 15, 60);
    case.inject("", &format!("one in {every} answers to Produce swallowed for {} s", length.as_secs()), || {
        let proxy = broker::proxy();
        let load = Load::with("produce", IMPATIENT);
        let mut process = load.start();
        let (in_flight, lag) = load.busy(&mut process);
        proxy.swallow(PRODUCE, every);
        forward_only(&load, &mut process, length);
        let swallowed = proxy.relent();
        assert!(swallowed > 0, "no answer was swallowed");
        let log = process.log();
        let verdict = load.finish(process);
        // The broker recognizes a batch that is sent again only among the last five. librdkafka may send more than five after a batch
        // whose answer is lost; the broker then treats the repeated batch as a gap, and the producer can't continue. Only a proxy can
        // cause this, because a real connection that loses an answer also loses all later ones. A new producer sends the unacknowledged
        // records.
        let is_gap = |line: &&str| line.contains("a delivery failed") && line.contains("rewound sequence number");
        let allowed = log.lines().filter(is_gap).map(|_| MAX_IN_FLIGHT).sum::<u64>();
        assert!(verdict.repeats <= allowed, "{} repeats, {allowed} allowed; its log:\n{log}", verdict.repeats);
        format!("lag {lag}, in flight {in_flight}; {swallowed} swallowed; {verdict} (at most {allowed})")
    });
}

pub(crate) fn flapping(case: &Case) {
    let length = length(case, 15, 60);
    case.inject("", &format!("every connection reset each 200 to 2000 ms for {} s", length.as_secs()), || {
        let proxy = broker::proxy();
        let load = Load::new("flap");
        let mut process = load.start();
        let (in_flight, lag) = load.busy(&mut process);
        let before = load.delivery.tally().fresh;
        let watch = clock::Watch::start();
        let (mut times, mut connections) = (0, 0);
        let delay = Duration::from_millis(case.below(5));
        proxy.delay(delay);
        while watch.elapsed() < length {
            thread::sleep(Duration::from_millis(200 + case.below(1800)));
            connections += proxy.reset();
            times += 1;
            assert_eq!(process.ended(), None, "wasmill goes on");
            assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200), "livez");
        }
        let progress = load.delivery.tally().fresh - before;
        assert!(progress > 0, "nothing arrived meanwhile");
        proxy.relent();
        let verdict = load.finish(process);
        format!(
            "lag {lag}, in flight {in_flight}; {connections} connections reset in {times} goes, answers {delay:?} late; {progress} \
             records arrived meanwhile; {verdict}"
        )
    });
}

pub(crate) fn unknown_codes(case: &Case) {
    // A code of Kafka 4 that librdkafka doesn't know by name, and codes that no version of Kafka has yet.
    for (name, api, every) in
        [("heartbeat", HEARTBEAT, 3), ("offset-commit", OFFSET_COMMIT, 3), ("produce", PRODUCE, 40)]
    {
        let code = [128, 119, 2000, 31_999][usize::try_from(case.below(4)).unwrap()];
        case.inject(name, &format!("error code {code} in one of {every} answers to {name} for 8 s"), || {
            let proxy = broker::proxy();
            let load = Load::new("code");
            let mut process = load.start();
            let (in_flight, lag) = load.busy(&mut process);
            proxy.answer_with(api, code, every);
            let watch = clock::Watch::start();
            while watch.elapsed() < Duration::from_secs(8) {
                assert_eq!(process.ended(), None, "wasmill goes on; its log:\n{}", process.log());
                assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200), "livez");
                thread::sleep(Duration::from_millis(100));
            }
            let changed = proxy.relent();
            assert!(changed > 0, "no answer was changed");
            let resumes = load.resumes(&mut process);
            let verdict = load.finish(process);
            format!("lag {lag}, in flight {in_flight}; {changed} answers changed; next record after {resumes:.1?}; {verdict}")
        });
    }
}

/// How many bytes per second a connection may produce: a small part of the load.
const SLOW: u64 = 100_000;

pub(crate) fn slow_output(case: &Case) {
    let length = length(case, 30, 600);
    let injected = format!("at most {SLOW} bytes of Produce a second for {} s", length.as_secs());
    case.inject("", &injected, || {
        let proxy = broker::proxy();
        let load = Load::new("slow-output");
        let mut process = load.start();
        let (in_flight, lag) = load.busy(&mut process);
        proxy.throttle(PRODUCE, SLOW);
        let watch = clock::Watch::start();
        // After ten seconds all buffers are full.
        let (mut settled, mut most) = (0, 0);
        while watch.elapsed() < length {
            thread::sleep(Duration::from_millis(250));
            assert_eq!(process.ended(), None, "wasmill outlives a slow output");
            assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200), "livez");
            let now = process.memory("VmRSS");
            most = most.max(now);
            if watch.elapsed() < Duration::from_secs(10) {
                settled = most;
            }
        }
        let piled = process.metric("wasmill_in_flight_records").unwrap_or(0.0);
        proxy.relent();
        assert!(most <= settled + (16 << 20), "{settled} bytes after 10 s became {most}");
        let verdict = load.finish(process);
        assert_eq!(verdict.repeats, 0, "repeated");
        format!(
            "lag {lag}, in flight {in_flight}, then {piled}; RSS {} MiB after 10 s, then at most {} MiB; livez 200 throughout; {verdict}",
            settled >> 20,
            most >> 20
        )
    });
}

/// The error code of a partition with too few in-sync replicas.
const NOT_ENOUGH_REPLICAS: i16 = 19;

pub(crate) fn output_away(case: &Case) {
    const MIB: u64 = 1 << 20;
    /// In MiB.
    const BOUND: u32 = 16;
    let length = length(case, 35, 600);
    let injected =
        format!("every answer to Produce says NOT_ENOUGH_REPLICAS for {} s; records of 900 kB", length.as_secs());
    case.inject("", &injected, || {
        let proxy = broker::proxy();
        let load = Load::large("output-away", 200, u64::from(BOUND) * MIB);
        // The proxy starts before wasmill: so nothing is acknowledged, and all of the input must still be read.
        proxy.answer_with(PRODUCE, NOT_ENOUGH_REPLICAS, 1);
        let mut process = load.pipeline().run();
        let in_flight = |process: &Process| process.metric("wasmill_in_flight_bytes").unwrap_or(0.0) / 1_048_576.0;
        process.wait("what is in flight to reach its bound", Duration::from_secs(20), |process| {
            in_flight(process) >= f64::from(BOUND)
        });
        let watch = clock::Watch::start();
        // After ten seconds all buffers are full.
        let (mut settled, mut most) = (0, 0);
        while watch.elapsed() < length {
            thread::sleep(Duration::from_millis(250));
            assert_eq!(process.ended(), None, "wasmill outlives an output that is away");
            assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200), "livez");
            most = most.max(process.memory("VmRSS"));
            if watch.elapsed() < Duration::from_secs(10) {
                settled = most;
            }
        }
        let piled = in_flight(&process);
        assert!(piled >= f64::from(BOUND), "the output was not away: {piled} MiB in flight");
        assert_eq!(java::committed(load.group(), load.input()), [0; PARTITIONS], "nothing of the input is done");
        let refused = proxy.relent();
        assert!(most <= settled + 16 * MIB, "{settled} bytes after 10 s became {most}");
        let verdict = load.finish(process);
        format!(
            "{refused} answers changed; in flight {piled:.1} MiB; RSS {} MiB after 10 s, then at most {} MiB; livez 200 throughout; {verdict}",
            settled / MIB,
            most / MIB
        )
    });
}
