//! Throughput and latency from topic to topic on a real Apache Kafka, compared with a native loop that calls librdkafka directly.
//!
//! `end_to_end PLUGINS`: in each round every contestant drains the same topic once, one process after the other. Prints medians, and
//! the spread of the ratios to the native loop of the same round. Every output is read back and compared by digest. *Steady* counts
//! only the outputs after the first million, by the time at which the broker appended them; CPU is that of the contestant's process
//! during the same part. Then it measures the latency at 10,000 records a second.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at whatever is wrong")]
#![expect(clippy::print_stdout, reason = "the figures are its output")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../measure/cluster.rs"]
mod cluster;
mod contestant;
mod deliveries;
#[expect(dead_code, reason = "xtask starts a node for people, this benchmark for itself")]
#[path = "../../xtask/src/kafka.rs"]
mod kafka;
mod latency;
mod native_loop;
mod pairs;
#[path = "../measure/process.rs"]
mod process;
#[path = "../measure/spread.rs"]
mod spread;
mod topics;
mod tuning;

use std::time::Duration;
use std::time::Instant;

use cluster::Cluster;
use contestant::Contestant;
use native_loop::Task;
use spread::spread;
use topics::Digest;

/// The same allocator as in wasmill, also for the native loop: it replaces `malloc` in the whole process.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The number of rounds whose median is printed.
const ROUNDS: usize = 5;
/// The number of earlier rounds that are not counted: in these the JVM compiles the broker's code, which takes CPU time from
/// contestants that use all cores.
const WARM_UP: usize = 3;
/// The number of first outputs, which are not counted. librdkafka's idempotent producer may request its id only half a second after
/// its creation. The records that were processed until then are sent in a burst, which would make the rate look higher than it is.
const LEAD: usize = 1_000_000;
/// The number of counted outputs.
const RECORDS: usize = 2_000_000;
const PARTITIONS: i32 = 4;
/// The time limit of a contestant.
const LIMIT: Duration = Duration::from_secs(60);
/// A contestant is done after this number of checks in a row without new outputs.
const STANDS: u32 = 10;
/// How often to check a contestant's progress.
const STEP: Duration = Duration::from_millis(20);

/// A contestant of a task, with its goals relative to the native loop: the minimum rate and the maximum CPU time.
type Entry = (Contestant, Option<(f64, f64)>);

/// The tasks and their contestants, the native loop first.
const TASKS: [(&str, Task, &[Entry]); 2] = [
    (
        "identity",
        Task::Identity,
        &[
            (Contestant::Native(Task::Identity), None),
            (Contestant::Wasmill("forward"), Some((0.65, 1.7))),
            (Contestant::Wasmill("copy"), Some((0.5, 2.0))),
        ],
    ),
    (
        "JSON edit",
        Task::Json,
        &[(Contestant::Native(Task::Json), None), (Contestant::Wasmill("json"), Some((1.1, 1.3)))],
    ),
];

fn main() {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // The native loop is this program, too, in a process of its own.
        ["native", brokers, group, input, output, task] => {
            let task = if task == "json" { Task::Json } else { Task::Identity };
            native_loop::run(brokers, group, input, output, task);
        }
        [plugins] => {
            throughput(&cluster(), plugins, None);
            latency::run(&cluster(), plugins);
        }
        [plugins, "latency"] => latency::run(&cluster(), plugins),
        [plugins, "deliveries"] => {
            let cluster = cluster();
            deliveries::throughput(&cluster, plugins, None);
            deliveries::latencies(&cluster, plugins);
        }
        [plugins, "deliveries", "latency"] => deliveries::latencies(&cluster(), plugins),
        [plugins, "deliveries", task] => deliveries::throughput(&cluster(), plugins, Some(task)),
        [plugins, "tuning"] => tuning::run(&cluster(), plugins),
        [plugins, "against", binary] => pairs::run(&cluster(), plugins, binary),
        [plugins, task] => throughput(&cluster(), plugins, Some(task)),
        _ => println!(
            "usage: end_to_end PLUGINS [identity | json | latency | deliveries [identity | json | latency] | tuning | against BINARY]"
        ),
    }
}

fn cluster() -> Cluster {
    Cluster::start(kafka::Node::start(&kafka::prepare().unwrap()).unwrap())
}

/// The result of one run of a contestant.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// Thousands of records per second.
    rate: f64,
    /// CPU seconds per million records.
    cpu: f64,
    /// Peak resident memory, MiB.
    rss: f64,
}

fn throughput(cluster: &Cluster, plugins: &str, only: Option<&str>) {
    println!(
        "{RECORDS} records behind the first {LEAD}, {PARTITIONS} partitions; {ROUNDS} rounds: median (least to greatest); ratios are to the \
         native loop of the same round"
    );
    println!(
        "{:<30}{:>24}{:>22}{:>9}   ratio of rates, of CPU times",
        "", "thousand records/s", "CPU s per million", "RSS MiB"
    );
    for (name, task, contestants) in TASKS {
        let key = if matches!(task, Task::Json) { "json" } else { "identity" };
        if only.is_some_and(|only| only != key) {
            continue;
        }
        let input = format!("in-{key}");
        cluster.create(&input, PARTITIONS, &[]);
        let expected = cluster.fill(&input, LEAD + RECORDS, task);
        for round in ROUNDS..ROUNDS + WARM_UP {
            for (contestant, _) in contestants {
                drain(cluster, *contestant, plugins, &input, round, expected);
            }
        }
        let mut rounds = vec![Vec::with_capacity(ROUNDS); contestants.len()];
        for round in 0..ROUNDS {
            for (place, (contestant, _)) in contestants.iter().enumerate() {
                rounds[place].push(drain(cluster, *contestant, plugins, &input, round, expected));
            }
        }
        for ((contestant, goals), figures) in contestants.iter().zip(&rounds) {
            let of = |value: fn(&Figures) -> f64| spread(figures.iter().map(value).collect());
            let mut line = format!("{:<30}", format!("{name}, {}", contestant.name()));
            line.push_str(&format!("{:>24}", of(|f| f.rate).show(0)));
            line.push_str(&format!("{:>22}", of(|f| f.cpu).show(2)));
            line.push_str(&format!("{:>9.0}", of(|f| f.rss).median));
            if let Some((rate, cpu)) = goals {
                let ratio = |value: fn(&Figures) -> f64| {
                    spread(figures.iter().zip(&rounds[0]).map(|(own, native)| value(own) / value(native)).collect())
                };
                let (rates, cpus) = (ratio(|f| f.rate), ratio(|f| f.cpu));
                let verdict = if rates.median >= *rate && cpus.median <= *cpu { "met" } else { "MISSED" };
                line.push_str(&format!("   {}, {}  goal {rate}, {cpu}: {verdict}", rates.show(2), cpus.show(2)));
            }
            println!("{line}");
        }
    }
}

/// Runs a contestant until it has processed everything from `input` into a new topic.
fn drain(
    cluster: &Cluster,
    contestant: Contestant,
    plugins: &str,
    input: &str,
    round: usize,
    expected: Digest,
) -> Figures {
    let output = format!("{input}-{}-{round}", contestant.slug());
    cluster.create(&output, PARTITIONS, &["message.timestamp.type=LogAppendTime"]);
    let began = Instant::now();
    let mut process = contestant.start(cluster.brokers(), &output, input, &output, plugins);
    let wanted = i64::try_from(LEAD + RECORDS).unwrap();
    let lead = i64::try_from(LEAD).unwrap();
    // CPU time and number of outputs when the uncounted first outputs were seen.
    let mut started: Option<(f64, i64)> = None;
    // With transactions the number includes their markers, so the end is where it doesn't grow any more.
    let (mut before, mut stands) = (0, 0);
    loop {
        let there = cluster.count(&output, PARTITIONS);
        stands = if there == before { stands + 1 } else { 0 };
        before = there;
        if started.is_none() && there >= lead {
            started = Some((process.cpu_seconds(), there));
        }
        if there >= wanted && stands >= STANDS {
            break;
        }
        let failed = if process.is_alive() { began.elapsed() >= LIMIT } else { true };
        assert!(
            !failed,
            "{}: {there} of {wanted} records, then it stands still or is gone\n{}",
            contestant.name(),
            process.log()
        );
        std::thread::sleep(STEP);
    }
    let (cpu, rss) = (process.cpu_seconds(), process.peak_rss_mib());
    process.stop();
    let (digest, took) = cluster.read(&output, PARTITIONS, LEAD, wanted.unsigned_abs());
    assert!(digest == expected, "{} made {digest:?} of {expected:?}", contestant.name());
    cluster.delete(&output);
    let (cpu_before, records_before) = started.unwrap();
    let millions = |count: i64| f64::from(i32::try_from(count).unwrap()) / 1e6;
    Figures {
        rate: millions(wanted - lead) / took.as_secs_f64() * 1e3,
        cpu: (cpu - cpu_before) / millions(wanted - records_before),
        rss,
    }
}
