//! Contestants in turn on the same topic.

use crate::Field;
use crate::Size;
use crate::contestant::COUNT;
use crate::contestant::Contestant;
use crate::contestant::Form;
use crate::drain::Figures;
use crate::drain::drain;
use crate::input::Draw;
use crate::input::Input;
use crate::spread::spread;
use crate::streams::Emit;
use crate::streams::Store;
use crate::streams::Twin;
use crate::verdict;

/// The windows of the topic. The first one is read before the counted part begins.
const WINDOWS: usize = 5;
/// The least ratio of the rates with and without state.
const WITH_STATE: f64 = 0.8;

/// The settings of all forms; `settings` tries others.
const FAST: &[&str] = &["num.stream.threads=2", "statestore.cache.max.bytes=268435456", "batch.size=262144"];
const HEAP: &[&str] = &["-Xms1g", "-Xmx1g"];

/// The form that wasmill is compared with: it does the same, and keeps its counts on disk, as is its default.
pub(crate) const TWIN: Twin =
    Twin { name: "Kafka Streams", emit: Emit::Suppress, store: Store::RocksDb, settings: FAST, jvm: HEAP };

/// Other forms of both.
const VARIANTS: [Contestant; 8] = [
    Contestant::Wasmill(COUNT),
    Contestant::Wasmill(Form { name: "wasmill, each second", every: "1s", ..COUNT }),
    Contestant::Streams(Twin { name: "on window close, RocksDB", emit: Emit::OnClose, ..TWIN }),
    Contestant::Streams(Twin { name: "on window close, in memory", emit: Emit::OnClose, store: Store::Memory, ..TWIN }),
    Contestant::Streams(Twin {
        name: "the same, each second",
        emit: Emit::OnClose,
        store: Store::Memory,
        settings: &[FAST[0], FAST[1], FAST[2], "commit.interval.ms=1000"],
        ..TWIN
    }),
    Contestant::Streams(Twin { name: "suppress, in memory", store: Store::Memory, ..TWIN }),
    Contestant::Streams(Twin { name: "updates, RocksDB", emit: Emit::Updates, ..TWIN }),
    Contestant::Streams(Twin { name: "updates, in memory", emit: Emit::Updates, store: Store::Memory, ..TWIN }),
];

/// What was tried: each differs from the twin in what its name says.
const TRIED: [Twin; 9] = [
    TWIN,
    Twin { name: "1 thread", settings: &["num.stream.threads=1", FAST[1], FAST[2]], ..TWIN },
    Twin { name: "cache of 10 MiB (default)", settings: &[FAST[0], FAST[2]], ..TWIN },
    Twin { name: "no cache", settings: &[FAST[0], "statestore.cache.max.bytes=0", FAST[2]], ..TWIN },
    Twin { name: "batch.size 16 KiB (default)", settings: &[FAST[0], FAST[1]], ..TWIN },
    Twin { name: "linger.ms 5", settings: &[FAST[0], FAST[1], FAST[2], "linger.ms=5"], ..TWIN },
    Twin {
        name: "max.poll.records 5000",
        settings: &[FAST[0], FAST[1], FAST[2], "max.poll.records=5000", "buffered.records.per.partition=10000"],
        ..TWIN
    },
    Twin { name: "ParallelGC", jvm: &[HEAP[0], HEAP[1], "-XX:+UseParallelGC"], ..TWIN },
    Twin { name: "heap of 4 GiB", jvm: &["-Xms4g", "-Xmx4g"], ..TWIN },
];

fn fill(field: &Field, size: Size, topic: &str) -> Input {
    Input::fill(field, topic, size.lead + size.records, size.keys, WINDOWS, Draw::Uniform, true)
}

/// wasmill, wasmill without state and Kafka Streams, several times.
pub(crate) fn in_turn(field: &Field, size: Size) {
    let contestants = [Contestant::Wasmill(COUNT), Contestant::Stateless, Contestant::Streams(TWIN)];
    println!(
        "count by key and minute, exactly once: {} records behind the first {}, {} keys, {WINDOWS} windows; {} rounds: median (least to \
         greatest)",
        size.records, size.lead, size.keys, size.rounds
    );
    let input = fill(field, size, "rounds");
    let mut rounds = contestants.map(|_| Vec::with_capacity(size.rounds));
    for round in 0..size.warm_up + size.rounds {
        let mut places = [0, 1, 2];
        if round % 2 == 1 {
            places.reverse();
        }
        for place in places {
            let figures = drain(field, size, &contestants[place], &input, round);
            if round >= size.warm_up {
                rounds[place].push(figures);
            }
        }
    }
    head();
    for (contestant, figures) in contestants.iter().zip(&rounds) {
        tell(contestant, figures);
    }
    let [own, stateless, streams] = &rounds;
    let ratio = |other: &[Figures], value: fn(&Figures) -> f64| {
        spread(own.iter().zip(other).map(|(own, other)| value(own) / value(other)).collect())
    };
    println!(
        "wasmill to Kafka Streams, of the same round: rate {}, CPU {}, memory {}, changelog {}",
        ratio(streams, |f| f.rate).show(2),
        ratio(streams, |f| f.cpu).show(2),
        ratio(streams, |f| f.rss).show(2),
        ratio(streams, |f| f.changelog).show(2)
    );
    field.cluster.delete(&input.topic);
    if stateless.iter().any(|f| !f.rate.is_finite()) {
        return;
    }
    let with_state = ratio(stateless, |f| f.rate);
    println!(
        "with state to without: rate {}, CPU {}; goal {WITH_STATE} of the rate: {}",
        with_state.show(2),
        ratio(stateless, |f| f.cpu).show(2),
        verdict(with_state.median >= WITH_STATE)
    );
}

/// Other forms of both, a run each.
pub(crate) fn variants(field: &Field, size: Size) {
    println!("\nother forms, a run each; *each second* commits that often, the others ten times as often");
    once(field, size, "variants", &VARIANTS);
}

/// What was tried to make Kafka Streams fast.
pub(crate) fn settings(field: &Field, size: Size) {
    println!("Kafka Streams with other settings, a run each");
    once(field, size, "settings", &TRIED.map(Contestant::Streams));
}

fn once(field: &Field, size: Size, topic: &str, contestants: &[Contestant]) {
    let input = fill(field, size, topic);
    head();
    for (round, contestant) in contestants.iter().enumerate() {
        tell(contestant, &[drain(field, size, contestant, &input, round)]);
    }
    field.cluster.delete(&input.topic);
}

/// Where each contestant spends its CPU time.
pub(crate) fn threads(field: &Field, size: Size) {
    let input = fill(field, size, "threads");
    head();
    for contestant in [Contestant::Wasmill(COUNT), Contestant::Stateless, Contestant::Streams(TWIN)] {
        let figures = drain(field, size, &contestant, &input, 0);
        tell(&contestant, std::slice::from_ref(&figures));
        for (name, cpu) in figures.threads.iter().filter(|(_, cpu)| *cpu >= 0.01) {
            println!("    {name:<24}{cpu:>8.2} CPU s per million");
        }
    }
}

fn head() {
    println!(
        "{:<28}{:>22}{:>22}{:>10}{:>9}{:>12}{:>20}{:>10}",
        "",
        "thousand records/s",
        "CPU s per million",
        "broker's",
        "RSS MiB",
        "started, s",
        "changelog B/record",
        "results"
    );
}

fn tell(contestant: &Contestant, figures: &[Figures]) {
    if figures.iter().any(|f| !f.rate.is_finite()) {
        return println!("{:<28}{:>22}", contestant.name(), "too few records");
    }
    let of = |value: fn(&Figures) -> f64| spread(figures.iter().map(value).collect());
    println!(
        "{:<28}{:>22}{:>22}{:>10.2}{:>9.0}{:>12.1}{:>20.1}{:>10}",
        contestant.name(),
        of(|f| f.rate).show(0),
        of(|f| f.cpu).show(2),
        of(|f| f.broker).median,
        of(|f| f.rss).median,
        of(|f| f.start).median,
        of(|f| f.changelog).median,
        figures[0].results
    );
}
