//! Trouble in a group: a member frozen for longer than its session (F5), a storm of joins and leaves (F14), slow calls and long retry waits
//! during rebalances (F15, F16), and a very slow plugin (F17).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::thread;
use std::time::Duration;

use crate::load::Load;
use crate::load::MAX_IN_FLIGHT;
use crate::load::PARTITIONS;
use crate::load::seconds;
use crate::proxy::PRODUCE;
use crate::rows::Case;
use crate::support::broker;
use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(120);
/// The maximum number of outputs of a topic that a worker may have sent to the broker without an answer: five requests per partition, each
/// with a share of the load during `linger.ms`, and what had accumulated before.
const ON_THE_WIRE: u64 = 10_000;
/// The number of records in flight of a worker without acknowledgements at which it is cut off.
const QUEUED: f64 = 19_000.0;

pub(crate) fn frozen(case: &Case) {
    case.inject("stopped", "SIGSTOP of one of two workers for three sessions of 3 s, then SIGCONT", || {
        gone_for_a_while(
            case,
            Load::new("zombie"),
            "",
            |one| broker::signal(one.id(), "STOP"),
            |one| {
                broker::signal(one.id(), "CONT");
            },
        )
    });
    case.inject(
        "cut-off",
        "no answer to Produce comes back to one of two workers until 19,000 records are in flight, then nothing passes between it and the broker for \
         three sessions of 3 s",
        || {
            let proxy = broker::proxy();
            let direct = format!("[\"{}\"]", broker::brokers());
            gone_for_a_while(
                case,
                Load::new("zombie"),
                &direct,
                |one| {
                    // By now the outputs on the wire have reached the broker: outputs that arrive later were only queued.
                    proxy.swallow(PRODUCE, 1);
                    one.wait("outputs to be queued", LIMIT, |one| {
                        one.metric("wasmill_in_flight_records").is_some_and(|records| records > QUEUED)
                    });
                    proxy.cut();
                },
                |_| {
                    proxy.relent();
                    // Otherwise it waits a minute for its answers.
                    proxy.reset();
                },
            )
        },
    );
}

/// Two processes with the same host name and different state folders, as in containers, take the same id: each ends the other's
/// transactions.
pub(crate) fn same_id(case: &Case) {
    case.inject("", "a second process with another `--state` and so the same transactional id, until each has lost three transactions", || {
        let load = Load::new("same-id");
        let mut one = load.start();
        let (in_flight, lag) = load.busy(&mut one);
        let other = load.pipeline().folder().join("other-state");
        let mut two = load.pipeline().run_in(&[("WASMILL_STATE", other.to_str().unwrap())], &[]);
        two.ready();
        let mut times = 0.0;
        two.wait("both to lose transactions to each other", LIMIT, |two| {
            let [first, second] = [&one, two].map(|process| process.aborted().unwrap_or(0.0));
            times = first + second;
            first >= 3.0 && second >= 3.0
        });
        two.terminate();
        assert_eq!(two.exit(Duration::from_secs(25)), Some(0), "the exit code");
        let resumes = load.resumes(&mut one);
        let verdict = load.finish(one);
        format!("lag {lag}, in flight {in_flight}; {times} transactions aborted; next record after {resumes:.1?}; {verdict}")
    });
}

/// One of two workers is away for longer than its session, and returns after the other one has delivered everything. The outputs that it
/// had on the wire may arrive late, and may stay the last value of their keys; the outputs that it had only queued must not arrive.
fn gone_for_a_while(
    case: &Case,
    load: Load,
    brokers: &str,
    leave: impl Fn(&mut Process),
    come: impl Fn(&Process),
) -> String {
    let mut one = load.start();
    let set = format!("kafka.brokers={brokers}");
    let mut two = if brokers.is_empty() { load.pipeline().run() } else { load.pipeline().run_with(&["--set", &set]) };
    two.ready();
    two.wait("both to have partitions", LIMIT, |_| {
        java::members(load.group()).is_some_and(|members| members.len() == 2 && !members.contains(&0))
    });
    let (in_flight, lag) = load.busy(&mut one);
    let at = clock::unix_ms();
    leave(&mut one);
    let may_repeat = load.may_repeat(at);
    two.wait("the other one to have all partitions", LIMIT, |_| {
        java::members(load.group()).is_some_and(|members| members == [PARTITIONS])
    });
    thread::sleep(Duration::from_secs(4) + Duration::from_millis(case.below(1000)));
    // After this the other worker sends nothing more, so an old value that arrives now would stay the last one.
    load.stop_feed();
    two.wait("the lag to reach zero", LIMIT, |_| java::lag(load.group(), load.input()) == 0);
    let back = clock::unix_ms();
    come(&one);
    one.wait("both to have partitions again", LIMIT, |_| {
        java::members(load.group()).is_some_and(|members| members.len() == 2 && !members.contains(&0))
    });
    let lost = lost(&one);
    one.terminate();
    assert_eq!(one.exit(Duration::from_secs(25)), Some(0), "the exit code");
    let late = load.delivery.appended(back, clock::unix_ms());
    let verdict = load.finish_late(two);
    assert!(verdict.repeats <= may_repeat, "{} repeated, {may_repeat} allowed", verdict.repeats);
    assert!(late <= ON_THE_WIRE, "{late} outputs came late, {ON_THE_WIRE} may have been on the wire");
    format!(
        "lag {lag}, in flight {in_flight}; partitions lost {lost} times; {late} outputs came late; {verdict} (at most {may_repeat})"
    )
}

pub(crate) fn storm(case: &Case) {
    let length = Duration::from_secs(if case.full { 120 } else { 20 });
    let injected = format!(
        "a second worker comes or goes every 2 s for {} s, by SIGTERM or kill -9; cooperative (eager is refused by the configuration)",
        length.as_secs()
    );
    case.inject("", &injected, || {
        let load = Load::new("storm");
        let mut first = load.start();
        let (in_flight, lag) = load.busy(&mut first);
        let watch = clock::Watch::start();
        let mut second: Option<Process> = None;
        let (mut joins, mut kills) = (0, 0);
        while watch.elapsed() < length {
            second = match second.take() {
                None => {
                    joins += 1;
                    Some(load.pipeline().run())
                }
                Some(process) if case.below(3) == 0 => {
                    kills += 1;
                    process.kill();
                    None
                }
                Some(mut process) => {
                    process.terminate();
                    // It may not have installed its signal handler yet: then the signal itself ends it.
                    process.exit(Duration::from_secs(25));
                    None
                }
            };
            thread::sleep(Duration::from_secs(2));
            assert_eq!(first.ended(), None, "the first one stays");
        }
        if let Some(mut process) = second {
            process.terminate();
            process.exit(Duration::from_secs(25));
        }
        let calm = clock::Watch::start();
        let heights = load.delivery.tally().heights;
        first.wait("every partition to move after the storm", Duration::from_secs(30), |_| {
            load.delivery.tally().heights.iter().zip(&heights).all(|(now, before)| now > before)
        });
        let idle = calm.elapsed();
        let lost = series(&first, "wasmill_rebalances_total{", "kind=\"lost\"");
        let may_repeat = kills * (MAX_IN_FLIGHT + 10_000);
        let verdict = load.finish(first);
        assert!(verdict.repeats <= may_repeat, "{} repeated, {may_repeat} allowed", verdict.repeats);
        format!(
            "lag {lag}, in flight {in_flight}; {joins} joins, {kills} kills, the first lost partitions {lost} times; all partitions \
             moved {} after the storm; {verdict}",
            seconds(idle)
        )
    });
}

/// A pipeline through `plugins/faulty` with one call per record.
struct Slow {
    input: String,
    output: String,
    group: String,
    pipeline: Pipeline,
}

impl Slow {
    fn new(name: &str, timeout: &str, drain: &str, input_more: &str, more: &str) -> Slow {
        let input = java::create(&format!("{name}-in"), PARTITIONS, &[]);
        let output = java::create(&format!("{name}-out"), PARTITIONS, &[]);
        let group = unique(name);
        let step = format!("timeout = \"{timeout}\"\nbatch = 1");
        let more = format!("{input_more}\n[limits]\ndrain_timeout = \"{drain}\"\nparallelism = 2\n\n{more}");
        let pipeline = Pipeline::with_step(&input, &output, &group, &more, &step);
        pipeline.install(&component::faulty());
        Slow { input, output, group, pipeline }
    }

    fn run(&self) -> Process {
        self.pipeline.run_with(&["--set", "output.main.partition=same_as_input"])
    }

    fn feed(&self, values: &[&str]) -> Vec<i64> {
        let records: Vec<Raw> = (0..)
            .zip(values)
            .map(|(number, value)| Raw {
                timestamp: 1_700_000_000_000 + number,
                key: Some(b"k".to_vec()),
                value: Some(value.as_bytes().to_vec()),
                headers: Vec::new(),
            })
            .collect();
        for partition in 0..PARTITIONS {
            java::produce(&self.input, partition, &records);
        }
        vec![i64::try_from(values.len()).unwrap(); PARTITIONS]
    }

    fn committed(&self, fed: &[i64]) -> bool {
        java::committed(&self.group, &self.input) == fed
    }

    /// Checks that every output partition equals its input partition, record for record.
    fn assert_copied(&self) {
        for partition in 0..PARTITIONS {
            let values = |topic| java::dump(topic, partition).into_iter().map(|(_, raw)| raw).collect::<Vec<_>>();
            let (input, output) = (values(&self.input), values(&self.output));
            let differs = input.iter().zip(&output).position(|(input, output)| input != output);
            assert!(
                input == output,
                "each record is there once and in order; partition {partition} has {} of {}, and differs at {differs:?}: {:?}",
                output.len(),
                input.len(),
                differs.map(|at| (&input[at], &output[at]))
            );
        }
    }
}

/// The sum of a metric's series that have a label.
fn series(process: &Process, name: &str, label: &str) -> f64 {
    let (_, page) = process.get("/metrics").unwrap();
    let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// How many times this process lost partitions: "lost" means an eviction.
fn lost(process: &Process) -> f64 {
    series(process, "wasmill_rebalances_total{", "\"lost\"")
}

pub(crate) fn revoke_in_a_call(case: &Case) {
    case.inject("", "a worker joins while calls of about 4 s run, drain_timeout 12 s", || {
        let slow = Slow::new("call", "11s", "12s", "", "");
        let fed = slow.feed(&["a", "busy 24000000", "busy 24000000", "b", "c"]);
        let mut one = slow.run();
        one.wait("the slow call to run", LIMIT, |_| java::committed(&slow.group, &slow.input).contains(&1));
        assert!(java::lag(&slow.group, &slow.input) > 0);
        let watch = clock::Watch::start();
        let mut two = slow.run();
        two.wait("both to have partitions", LIMIT, |_| {
            java::members(&slow.group).is_some_and(|members| members.len() == 2 && !members.contains(&0))
        });
        let shared = watch.elapsed();
        one.wait("all to be committed", LIMIT, |_| slow.committed(&fed));
        slow.assert_copied();
        let evictions = lost(&one) + lost(&two);
        assert!(evictions.abs() < 0.5, "lost {evictions} times");
        format!("shared after {}, lost 0 times, nothing repeated, order kept", seconds(shared))
    });
}

pub(crate) fn paused_and_moved(case: &Case) {
    case.inject("", "a worker comes and goes while records wait 4 s for a retry, fetching paused", || {
        let slow = Slow::new("pause", "1s", "5s", "", "[on_error]\nretries = 5");
        let fed = slow.feed(&["a", "retry 2 4000", "b", "c"]);
        let mut one = slow.run();
        one.wait("a record to wait", LIMIT, |process| process.metric("wasmill_retries_total").is_some_and(|n| n > 0.0));
        let mut two = slow.run();
        two.wait("both to have partitions", LIMIT, |_| {
            java::members(&slow.group).is_some_and(|members| members.len() == 2 && !members.contains(&0))
        });
        two.terminate();
        assert_eq!(two.exit(Duration::from_secs(25)), Some(0), "the exit code");
        let watch = clock::Watch::start();
        one.wait("the lag to reach zero", LIMIT, |_| slow.committed(&fed));
        slow.assert_copied();
        format!("lag 0 {} after the last move; nothing repeated, order kept", seconds(watch.elapsed()))
    });
}

pub(crate) fn slow_plugin(case: &Case) {
    // More calls than fit into `max_poll_interval`, even if each takes only a second.
    const RECORDS: usize = 14;
    case.inject("", "calls of 1 to 2 s, max_poll_interval 10 s, session_timeout 6 s", || {
        let more = "session_timeout = \"6s\"\nmax_poll_interval = \"10s\"";
        let slow = Slow::new("slow", "3100ms", "3200ms", more, "[on_error]\nthen = \"stop\"");
        let fed = slow.feed(&["busy 8000000"; RECORDS]);
        let mut one = slow.run();
        let watch = clock::Watch::start();
        one.wait("all to be committed", LIMIT, |_| slow.committed(&fed));
        let took = watch.elapsed();
        assert!(took > Duration::from_secs(10), "it was to be slow, and took {took:?}");
        assert!(lost(&one).abs() < 0.5, "it lost its partitions");
        assert!(series(&one, "wasmill_rebalances_total{", "\"revoke\"").abs() < 0.5, "it was revoked");
        slow.assert_copied();
        format!(
            "{} records in {}, never out of the group; RSS {} MiB",
            RECORDS * PARTITIONS,
            seconds(took),
            one.memory("VmRSS") >> 20
        )
    });
}
