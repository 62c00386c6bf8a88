//! What exactly-once delivery and order by key cost: pairs of alternating runs against the defaults, on the same topic, and the latency of
//! each combination. For `docs/choosing.md`.

use crate::LEAD;
use crate::PARTITIONS;
use crate::RECORDS;
use crate::ROUNDS;
use crate::WARM_UP;
use crate::cluster::Cluster;
use crate::contestant::Contestant;
use crate::contestant::Key;
use crate::drain;
use crate::latency;
use crate::native_loop::Task;
use crate::pairs::Better;
use crate::pairs::in_turn;
use crate::pairs::tell;
use crate::spread::spread;

const DEFAULT: &str = "";
const ONCE: &str = "delivery = \"exactly_once\"";
const BY_KEY: &str = "order = \"key\"";
const BOTH: &str = "delivery = \"exactly_once\"\norder = \"key\"";
/// How much worse a combination may be than the defaults.
const GOALS: [(&str, f64); 3] = [(ONCE, 0.1), (BY_KEY, 0.05), (BOTH, 0.15)];

/// Runs all tasks, or one.
pub(crate) fn throughput(cluster: &Cluster, plugins: &str, only: Option<&str>) {
    println!("against the defaults, {ROUNDS} pairs: median (least to greatest); ratios are of each pair");
    let tasks = [("identity", Task::Identity, "forward"), ("json", Task::Json, "json")];
    for (key, task, plugin) in tasks.into_iter().filter(|(key, ..)| only.is_none_or(|only| only == *key)) {
        let input = format!("deliveries-{key}");
        cluster.create(&input, PARTITIONS, &[]);
        let expected = cluster.fill(&input, LEAD + RECORDS, task);
        for (place, (lines, goal)) in GOALS.into_iter().enumerate() {
            let both = [lines, DEFAULT].map(|lines| Contestant::Tuned { plugin, key: Key::Top(lines) });
            // The defaults take part in each: their groups and topics need names of their own.
            let go = |contestant, round| drain(cluster, contestant, plugins, &input, 100 * place + round, expected);
            for round in ROUNDS..ROUNDS + WARM_UP {
                both.iter().for_each(|&contestant| _ = go(contestant, round));
            }
            let pairs: Vec<_> =
                (0..ROUNDS).map(|round| in_turn(round, both, |contestant| go(contestant, round))).collect();
            let of = |value: fn(&crate::Figures) -> f64| {
                pairs.iter().map(|[one, other]| [value(one), value(other)]).collect()
            };
            println!("{}", both[0].name());
            tell(&format!("  {key}, thousand records/s"), of(|figures| figures.rate), Better::More, goal);
            tell(&format!("  {key}, CPU s per million"), of(|figures| figures.cpu), Better::Less, goal);
        }
    }
}

pub(crate) fn latencies(cluster: &Cluster, plugins: &str) {
    println!(
        "\nforwarding, 10,000 records/s, {ROUNDS} rounds: ms from producing to reading, median (least to greatest)"
    );
    println!("{:<60}{:>24}{:>24}", "", "p50", "p99");
    let all = [DEFAULT, ONCE, BY_KEY, BOTH].map(|lines| Contestant::Tuned { plugin: "forward", key: Key::Top(lines) });
    all.iter().for_each(|&contestant| _ = latency::measure(cluster, contestant, plugins, ROUNDS));
    let mut rounds = [const { Vec::new() }; 4];
    for round in 0..ROUNDS {
        for (contestant, figures) in all.iter().zip(&mut rounds) {
            figures.push(latency::measure(cluster, *contestant, plugins, round));
        }
    }
    for (contestant, figures) in all.iter().zip(&rounds) {
        let p50 = spread(figures.iter().map(|&(p50, _)| p50).collect());
        let p99 = spread(figures.iter().map(|&(_, p99)| p99).collect());
        let name = if contestant.name().is_empty() { "the defaults".to_owned() } else { contestant.name() };
        println!("{name:<60}{:>24}{:>24}", p50.show(2), p99.show(2));
    }
}
