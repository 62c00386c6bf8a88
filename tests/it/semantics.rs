//! Guarantees that users of Kafka expect: keys go to the partitions that Kafka's own client chooses, aborted records are
//! not read, and lag reaches 0 even with gaps in the offsets.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Ending;
use crate::support::java::Raw;
use crate::support::random::Random;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);
/// Kafka's log cleaner looks for work every 15 s by default.
const COMPACTED: Duration = Duration::from_secs(120);

#[test]
fn keys_land_in_the_partitions_that_kafkas_own_client_chooses() {
    const PARTITIONS: usize = 12;
    let input = java::create("keys-in", 1, &[]);
    let output = java::create("keys-out", PARTITIONS, &[]);
    let reference = java::create("keys-java", PARTITIONS, &[]);
    let mut random = Random::seeded("keys");
    // A null key, which may go to any partition, an empty one, and all lengths up to 98, to cover each tail length of the
    // hash.
    let mut keys = vec![None, Some(Vec::new())];
    keys.extend((1..=98).map(|length| Some((0..length).map(|_| u8::try_from(random.below(256)).unwrap()).collect())));
    assert_eq!(keys.len(), 100);
    let chosen = java::choose(&reference, &keys);
    let record = |(number, key): (usize, &Option<Vec<u8>>)| Raw {
        timestamp: now(),
        key: key.clone(),
        value: Some(number.to_string().into_bytes()),
        ..Raw::default()
    };
    let records: Vec<Raw> = keys.iter().enumerate().map(record).collect();
    java::produce(&input, 0, &records);

    let group = unique("keys");
    let (_pipeline, mut process) = start(&input, &output, &group);
    process.wait("all keys", LIMIT, |_| java::committed(&group, &input) == [100]);
    let mut found = vec![None; keys.len()];
    for partition in 0..PARTITIONS {
        for (_, Raw { key, value, .. }) in java::dump(&output, partition) {
            let number: usize = String::from_utf8(value.unwrap()).unwrap().parse().unwrap();
            assert_eq!(key, keys[number]);
            assert_eq!(found[number].replace(i64::try_from(partition).unwrap()), None, "key {number} is there twice");
        }
    }
    assert!(found[0].is_some(), "the null key is somewhere");
    let found: Vec<i64> = found.into_iter().flatten().collect();
    assert_eq!(found[1..], chosen[1..]);
    let spread: BTreeSet<i64> = found.into_iter().collect();
    assert!(spread.len() > PARTITIONS / 2, "{spread:?}");
}

#[test]
fn aborted_records_are_not_read_and_lag_reaches_zero_behind_control_markers() {
    let input = java::create("aborts-in", 1, &[]);
    let output = java::create("aborts-out", 1, &[]);
    let group = unique("aborts");
    let mut number = 0;
    let mut records = |count: usize| -> Vec<Raw> {
        let next = |_| {
            number += 1;
            Raw {
                timestamp: now(),
                key: Some(b"k".to_vec()),
                value: Some(number.to_string().into_bytes()),
                ..Raw::default()
            }
        };
        (0..count).map(next).collect()
    };
    let mut wanted = Vec::new();
    let mut write = |plan: &[(Option<Ending>, usize)]| -> Vec<Raw> {
        for &(ending, count) in plan {
            let some = records(count);
            match ending {
                None => drop(java::produce(&input, 0, &some)),
                Some(ending) => java::transact(ending, &input, 0, &some),
            }
            if ending != Some(Ending::Abort) {
                wanted.extend(some);
            }
        }
        wanted.clone()
    };
    let (commit, abort) = (Some(Ending::Commit), Some(Ending::Abort));
    let mut expected =
        write(&[(abort, 7), (None, 10), (commit, 20), (abort, 30), (abort, 3), (commit, 5), (abort, 40)]);
    let (_pipeline, mut process) = start(&input, &output, &group);
    caught_up(&mut process, &group, &input);
    assert_eq!(arrived(&output), expected);
    // The topic ends with an aborted transaction, and then with another one, of which no record may be read.
    for plan in [[(commit, 2), (abort, 25)], [(abort, 4), (abort, 1)]] {
        expected = write(&plan);
        caught_up(&mut process, &group, &input);
        assert_eq!(arrived(&output), expected);
    }
}

#[test]
fn a_compacted_topic_is_read_across_its_gaps_and_lag_reaches_zero() {
    let configs =
        ["cleanup.policy=compact", "segment.ms=1", "min.cleanable.dirty.ratio=0.001", "max.compaction.lag.ms=1"];
    let input = java::create("compact-in", 1, &configs);
    let output = java::create("compact-out", 1, &[]);
    let group = unique("compact");
    // Each batch is a second later, which starts a new segment; only the last segment is never compacted.
    for round in 0..6_i64 {
        let record = |key: i64| Raw {
            timestamp: now() - 10_000 + 1000 * round,
            key: Some(format!("k{key}").into_bytes()),
            value: Some(format!("{round}/{key}").into_bytes()),
            ..Raw::default()
        };
        // One key fewer each time, so the last value of each key is in another round.
        java::produce(&input, 0, &(0..60 - 10 * round).map(record).collect::<Vec<_>>());
    }
    let left = || java::dump(&input, 0);
    clock::wait_until("compaction", COMPACTED, || left().len() <= 70);
    let (_pipeline, mut process) = start(&input, &output, &group);
    caught_up(&mut process, &group, &input);
    let mut values = left();
    let gaps = values.windows(2).filter(|pair| pair[1].0 > pair[0].0 + 1).count();
    assert!(gaps >= 3, "{values:?}");
    assert_eq!(arrived(&output), values.drain(..).map(|(_, raw)| raw).collect::<Vec<_>>());
    assert_eq!(java::committed(&group, &input), java::ends(&input));
}

/// Starts a pipeline that forwards. The folder is removed with the pipeline.
fn start(input: &str, output: &str, group: &str) -> (Pipeline, Process) {
    let pipeline = Pipeline::new(input, output, group, "");
    pipeline.install(&component::forward());
    let process = pipeline.run();
    (pipeline, process)
}

/// Waits until everything is committed according to the group and the metrics.
fn caught_up(process: &mut Process, group: &str, input: &str) {
    process.wait("the group's lag to be 0", LIMIT, |_| java::committed(group, input) == java::ends(input));
    for metric in ["wasmill_consumer_lag_records", "wasmill_consumer_lag_seconds"] {
        process.wait(metric, LIMIT, |process| process.metric(metric) == Some(0.0));
    }
}

fn arrived(output: &str) -> Vec<Raw> {
    java::dump(output, 0).into_iter().map(|(_, raw)| raw).collect()
}

fn now() -> i64 {
    i64::try_from(clock::unix_ms()).unwrap_or(i64::MAX)
}
