//! The effect of tunable settings: curves for `docs/operations.md`.
//!
//! There is no native loop here: each line is the median of several runs with one setting changed and the others at their defaults.
//! The lines take turns, because the broker gets faster while it runs.

use crate::Figures;
use crate::LEAD;
use crate::PARTITIONS;
use crate::RECORDS;
use crate::WARM_UP;
use crate::cluster::Cluster;
use crate::contestant::Contestant;
use crate::contestant::Key;
use crate::drain;
use crate::latency;
use crate::native_loop::Task;
use crate::spread::spread;

const ROUNDS: usize = 3;

/// For the JSON edit: rate, CPU time and memory.
const THROUGHPUT: [Key; 11] = [
    Key::Step("batch = 1"),
    Key::Step("batch = 16"),
    Key::Step("batch = 128"),
    Key::Step("batch = 1024"),
    Key::Limits("parallelism = 1"),
    Key::Limits("parallelism = 2"),
    Key::Limits("parallelism = 4"),
    Key::Limits("max_in_flight = { records = 1000 }"),
    Key::Limits("max_in_flight = { records = 5000 }"),
    Key::Limits("max_in_flight = { records = 25000 }"),
    Key::Limits("max_in_flight = { records = 100000 }"),
];

/// For forwarding: the time from producing to consuming, at 10,000 records a second.
const LATENCY: [Key; 5] = [
    Key::Librdkafka("'linger.ms' = 0"),
    Key::Librdkafka("'linger.ms' = 2"),
    Key::Librdkafka("'linger.ms' = 50"),
    Key::Step("batch = 1"),
    Key::Step("batch = 1024"),
];

pub(crate) fn run(cluster: &Cluster, plugins: &str) {
    println!("JSON edit, {RECORDS} records behind the first {LEAD}, {ROUNDS} rounds: median (least to greatest)");
    println!("{:<40}{:>24}{:>22}{:>9}", "", "thousand records/s", "CPU s per million", "RSS MiB");
    let input = "in-tuning";
    cluster.create(input, PARTITIONS, &[]);
    let expected = cluster.fill(input, LEAD + RECORDS, Task::Json);
    // Not counted: the JVM still compiles the broker's code.
    for round in ROUNDS..ROUNDS + WARM_UP {
        drain(cluster, Contestant::Wasmill("json"), plugins, input, round, expected);
    }
    let mut rounds = THROUGHPUT.map(|_| Vec::with_capacity(ROUNDS));
    for round in 0..ROUNDS {
        for (key, figures) in THROUGHPUT.into_iter().zip(&mut rounds) {
            figures.push(drain(cluster, tuned("json", key), plugins, input, round, expected));
        }
    }
    for (key, figures) in THROUGHPUT.into_iter().zip(&rounds) {
        let of = |value: fn(&Figures) -> f64| spread(figures.iter().map(value).collect());
        println!(
            "{:<40}{:>24}{:>22}{:>9.0}",
            tuned("json", key).name(),
            of(|f| f.rate).show(0),
            of(|f| f.cpu).show(2),
            of(|f| f.rss).median
        );
    }
    println!(
        "\nforwarding, 10,000 records/s, {ROUNDS} rounds: ms from producing to reading, median (least to greatest)"
    );
    println!("{:<40}{:>24}{:>24}", "", "p50", "p99");
    for key in LATENCY {
        let contestant = tuned("forward", key);
        let rounds: Vec<(f64, f64)> =
            (0..ROUNDS).map(|round| latency::measure(cluster, contestant, plugins, round)).collect();
        let p50 = spread(rounds.iter().map(|&(p50, _)| p50).collect());
        let p99 = spread(rounds.iter().map(|&(_, p99)| p99).collect());
        println!("{:<40}{:>24}{:>24}", contestant.name(), p50.show(2), p99.show(2));
    }
}

fn tuned(plugin: &'static str, key: Key) -> Contestant {
    Contestant::Tuned { plugin, key }
}
