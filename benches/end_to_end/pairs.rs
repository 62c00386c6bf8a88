//! Compares this wasmill with another one, for example of another revision: pairs of alternating throughput and latency runs on the
//! same topic.

use std::path::Path;

use crate::LEAD;
use crate::PARTITIONS;
use crate::RECORDS;
use crate::ROUNDS;
use crate::WARM_UP;
use crate::cluster::Cluster;
use crate::contestant::Contestant;
use crate::drain;
use crate::latency;
use crate::native_loop::Task;
use crate::spread::spread;

/// How much worse the median of this wasmill may be.
const GOAL: f64 = 0.03;

/// Whether higher or lower values of a figure are better.
#[derive(Clone, Copy)]
pub(crate) enum Better {
    More,
    Less,
}

pub(crate) fn run(cluster: &Cluster, plugins: &str, binary: &str) {
    assert!(Path::new(binary).is_file(), "{binary} is no file");
    let binary: &'static str = Box::leak(binary.to_owned().into_boxed_str());
    println!("this wasmill against {binary}, {ROUNDS} pairs: median (least to greatest); ratios are of each pair");
    for (key, task, plugin) in [("identity", Task::Identity, "forward"), ("json", Task::Json, "json")] {
        let input = format!("pairs-{key}");
        cluster.create(&input, PARTITIONS, &[]);
        let expected = cluster.fill(&input, LEAD + RECORDS, task);
        let both = [Contestant::Wasmill(plugin), Contestant::Other { plugin, binary }];
        let go = |contestant, round| drain(cluster, contestant, plugins, &input, round, expected);
        for round in ROUNDS..ROUNDS + WARM_UP {
            both.iter().for_each(|&contestant| _ = go(contestant, round));
        }
        let pairs: Vec<_> = (0..ROUNDS).map(|round| in_turn(round, both, |contestant| go(contestant, round))).collect();
        let of =
            |value: fn(&crate::Figures) -> f64| pairs.iter().map(|[one, other]| [value(one), value(other)]).collect();
        tell(&format!("{key}, thousand records/s"), of(|figures| figures.rate), Better::More, GOAL);
        tell(&format!("{key}, CPU s per million"), of(|figures| figures.cpu), Better::Less, GOAL);
    }
    let both = [Contestant::Wasmill("forward"), Contestant::Other { plugin: "forward", binary }];
    both.iter().for_each(|&contestant| _ = latency::measure(cluster, contestant, plugins, ROUNDS));
    let pairs = (0..ROUNDS).map(|round| in_turn(round, both, |one| latency::measure(cluster, one, plugins, round).0));
    tell("p50 at 10,000 records/s, ms", pairs.collect(), Better::Less, GOAL);
}

/// Runs both of a pair. The order alternates from pair to pair.
pub(crate) fn in_turn<T>(round: usize, [one, other]: [Contestant; 2], mut go: impl FnMut(Contestant) -> T) -> [T; 2] {
    if round.is_multiple_of(2) {
        let first = go(one);
        [first, go(other)]
    } else {
        let first = go(other);
        [go(one), first]
    }
}

/// Prints the figures of pairs; the median of their ratios may be so much worse than 1.
pub(crate) fn tell(what: &str, pairs: Vec<[f64; 2]>, better: Better, goal: f64) {
    let [one, other] = [0, 1].map(|which| spread(pairs.iter().map(|pair| pair[which]).collect()));
    let ratio = spread(pairs.iter().map(|[one, other]| one / other).collect());
    let is_met = match better {
        Better::More => ratio.median >= 1.0 - goal,
        Better::Less => ratio.median <= 1.0 + goal,
    };
    let verdict = if is_met { "within" } else { "NOT within" };
    println!("{what:<30}{:>24} against {:>24}: ratio {}, {verdict} {goal}", one.show(2), other.show(2), ratio.show(3));
}
