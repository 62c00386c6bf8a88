//! The time from producing a record to consuming it, at 10,000 records a second.
//!
//! The producer writes its time into the value, and the consumer, in the same process, uses the same clock. So the figures
//! include the share of the clients and the broker, which is the same for all contestants.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rdkafka::Message as _;
use rdkafka::Offset;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer as _;

use crate::PARTITIONS;
use crate::ROUNDS;
use crate::cluster::Cluster;
use crate::contestant::Contestant;
use crate::native_loop::Task;
use crate::spread::spread;

const RATE: u64 = 10_000;
/// Not counted: joining the group, first connections, caches.
const WARM_UP: Duration = Duration::from_secs(2);
/// Records that were sent while the group formed are not counted either.
const CAUGHT_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(60);
/// How much wasmill's median may exceed that of the native loop.
const GOAL_MS: f64 = 2.0;

pub(crate) fn run(cluster: &Cluster, plugins: &str) {
    println!(
        "{RATE} records/s, from producing to reading, {ROUNDS} rounds of {MEASURED:?}: median (least to greatest), ms"
    );
    println!("{:<30}{:>24}{:>24}", "", "p50", "p99");
    let contestants = [Contestant::Native(Task::Identity), Contestant::Wasmill("forward")];
    let mut rounds = [const { Vec::new() }; 2];
    // Not counted: the JVM still compiles the broker's code.
    for contestant in contestants {
        measure(cluster, contestant, plugins, ROUNDS);
    }
    for round in 0..ROUNDS {
        for (contestant, figures) in contestants.iter().zip(&mut rounds) {
            figures.push(measure(cluster, *contestant, plugins, round));
        }
    }
    for (contestant, figures) in contestants.iter().zip(&rounds) {
        let p50 = spread(figures.iter().map(|&(p50, _)| p50).collect());
        let p99 = spread(figures.iter().map(|&(_, p99)| p99).collect());
        println!("{:<30}{:>24}{:>24}", contestant.name(), p50.show(2), p99.show(2));
    }
    let above = spread(rounds[1].iter().zip(&rounds[0]).map(|(own, native)| own.0 - native.0).collect());
    let verdict = if above.median <= GOAL_MS { "met" } else { "MISSED" };
    println!("p50 above the native loop's, by round: {} ms  goal {GOAL_MS}: {verdict}", above.show(2));
}

/// The median and the 99th percentile in milliseconds.
pub(crate) fn measure(cluster: &Cluster, contestant: Contestant, plugins: &str, round: usize) -> (f64, f64) {
    let (input, output) =
        (format!("lat-in-{}-{round}", contestant.slug()), format!("lat-out-{}-{round}", contestant.slug()));
    cluster.create(&input, PARTITIONS, &[]);
    cluster.create(&output, PARTITIONS, &[]);
    let mut process = contestant.start(cluster.brokers(), &output, &input, &output, plugins);
    let began = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let sender = {
        let (producer, over) = (cluster.producer(), Arc::clone(&over));
        let input = input.clone();
        std::thread::spawn(move || {
            let mut sent = 0_u64;
            while !over.load(Ordering::Relaxed) {
                let due = u64::try_from(began.elapsed().as_micros()).unwrap() * RATE / 1_000_000;
                while sent < due {
                    let key = format!("{sent:08}");
                    let value = format!("{:0100}", began.elapsed().as_nanos());
                    producer.send(BaseRecord::to(&input).key(&key).payload(&value)).map_err(|(e, _)| e).unwrap();
                    sent += 1;
                }
                // A poll with a timeout of a millisecond busy-waits in the binding, and would take a core from the contestants.
                std::thread::sleep(Duration::from_millis(1));
                producer.poll(Duration::ZERO);
            }
            producer.flush(LIMIT).unwrap();
        })
    };
    let reader = cluster.reader(&output, PARTITIONS, Offset::Beginning);
    let mut latencies = Vec::new();
    // The end of the warm-up, which starts with the first output whose latency shows no backlog.
    let mut from = None;
    let mut latest = None;
    loop {
        assert!(
            began.elapsed() < LIMIT && process.is_alive(),
            "{} is too slow or gone: the last record took {latest:?}\n{}",
            contestant.name(),
            process.log()
        );
        let Some(message) = reader.poll(Duration::from_secs(1)) else { continue };
        let now = began.elapsed();
        let message = message.unwrap();
        let sent: u64 = std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap();
        let latency = now - Duration::from_nanos(sent);
        latest = Some(latency);
        if from.is_none() && latency < CAUGHT_UP {
            from = Some(now + WARM_UP);
        }
        let Some(from) = from else { continue };
        if now >= from + MEASURED {
            break;
        }
        if Duration::from_nanos(sent) >= from {
            latencies.push(latency.as_secs_f64() * 1e3);
        }
    }
    over.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    process.stop();
    cluster.delete(&input);
    cluster.delete(&output);
    latencies.sort_by(f64::total_cmp);
    assert!(!latencies.is_empty(), "nothing was measured");
    (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100])
}
