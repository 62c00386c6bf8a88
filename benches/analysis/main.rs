//! Records counted by key and minute, exactly once: wasmill beside Kafka Streams on the same Apache Kafka, and beside itself without state.
//!
//! `analysis [--quick] [PART]`: in each round every contestant reads the same topic as a new group, one process after the other, in
//! an order that is turned around from round to round. Every result is read back and compared with counts that were made while the topic
//! was filled. The first records of the topic are not counted, so neither the start of a JVM nor most of its compiling is. `docs/windows-benchmark.md`
//! says what is measured and how.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at whatever is wrong")]
#![expect(clippy::print_stdout, reason = "the figures are its output")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../measure/cluster.rs"]
mod cluster;
mod contestant;
mod discard;
mod drain;
mod input;
#[expect(dead_code, reason = "xtask starts a node for people, this benchmark for itself")]
#[path = "../../xtask/src/kafka.rs"]
mod kafka;
#[path = "../measure/process.rs"]
mod process;
mod progress;
mod restore;
mod results;
mod rounds;
#[path = "../measure/spread.rs"]
mod spread;
mod streams;
mod table;

use std::time::Duration;
use std::time::SystemTime;

use cluster::Cluster;
use streams::Streams;

/// The same allocator as in wasmill.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PARTITIONS: i32 = 8;
/// How often to look at a contestant's progress.
const STEP: Duration = Duration::from_millis(20);
const USAGE: &str = "\
usage: analysis [--quick] [PART]

  rounds     wasmill, wasmill without state and Kafka Streams, in turn
  variants   other forms of Kafka Streams, a run each
  restore    a million keys: memory, and the time to restore them
  table      the tables alone, without Kafka
  settings   what was tried to make Kafka Streams fast, a run each
  threads    the CPU time of each thread

Without PART: the first four.";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// The first records of the topic, which are not counted.
    lead: usize,
    /// The counted records.
    records: usize,
    keys: usize,
    rounds: usize,
    /// Rounds before those, which are not counted: in them the JVM compiles the broker's code.
    warm_up: usize,
    /// The keys of the part `restore`.
    restored: usize,
}

const FULL: Size =
    Size { lead: 500_000, records: 2_000_000, keys: 100_000, rounds: 5, warm_up: 1, restored: 1_000_000 };
const QUICK: Size = Size { lead: 50_000, records: 200_000, keys: 100_000, rounds: 1, warm_up: 0, restored: 100_000 };

/// The broker and what the contestants need.
struct Field {
    cluster: Cluster,
    /// The process of the broker.
    broker: u32,
    streams: Streams,
}

impl Field {
    fn start() -> Field {
        let streams = Streams::prepare();
        let node = kafka::Node::start(&kafka::prepare().unwrap()).unwrap();
        Field { broker: node.id(), cluster: Cluster::start(node), streams }
    }
}

fn main() {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (quick, arguments): (Vec<&str>, Vec<&str>) =
        arguments.iter().map(String::as_str).partition(|argument| *argument == "--quick");
    let size = if quick.is_empty() { FULL } else { QUICK };
    match arguments[..] {
        [] => {
            let field = Field::start();
            rounds::in_turn(&field, size);
            rounds::variants(&field, size);
            restore::run(&field, size);
            table::run(size);
        }
        ["rounds"] => rounds::in_turn(&Field::start(), size),
        ["variants"] => rounds::variants(&Field::start(), size),
        ["settings"] => rounds::settings(&Field::start(), size),
        ["threads"] => rounds::threads(&Field::start(), size),
        ["restore"] => restore::run(&Field::start(), size),
        ["table"] => table::run(size),
        _ => println!("{USAGE}"),
    }
}

/// A goal, and whether it is met.
fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

/// In ms since 1970-01-01 UTC: the clock that the broker uses for the times of records.
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A count in millions.
fn millions(count: i64) -> f64 {
    f64::from(i32::try_from(count).unwrap()) / 1e6
}

/// A number of ms in seconds.
fn seconds(ms: i64) -> f64 {
    f64::from(i32::try_from(ms).unwrap()) / 1e3
}
