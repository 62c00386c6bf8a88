//! Records that can't be helped: all of them (F20), and outputs around the topic's size limit (F22).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use crate::load;
use crate::rows::Case;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;

const PARTITIONS: usize = 2;
const LIMIT: Duration = Duration::from_secs(90);
/// What the matrix allows for each partition before the breaker stops the pipeline.
const LETTERS_MAX: usize = 200;

struct Poison {
    input: String,
    output: String,
    dead: String,
    group: String,
    pipeline: Pipeline,
}

impl Poison {
    fn new(name: &str, limit: &str) -> Poison {
        let input = java::create(&format!("{name}-in"), PARTITIONS, &[]);
        let output = java::create(&format!("{name}-out"), PARTITIONS, &[limit]);
        let dead = java::create(&format!("{name}-dead"), PARTITIONS, &[]);
        let group = unique(name);
        let more = format!("[on_error]\ndead_letter = \"{dead}\"");
        let pipeline = Pipeline::new(&input, &output, &group, &more);
        pipeline.install(&load::faulty());
        Poison { input, output, dead, group, pipeline }
    }
}

fn record(number: usize, value: Vec<u8>) -> Raw {
    let timestamp = 1_700_000_000_000 + i64::try_from(number).unwrap();
    Raw { timestamp, key: Some(format!("k{number}").into_bytes()), value: Some(value), headers: Vec::new() }
}

pub(crate) fn all(case: &Case) {
    case.inject("", "every one of 2000 records traps", || {
        let poison = Poison::new("all", "max.message.bytes=1048588");
        let records: Vec<Raw> = (0..1000).map(|number| record(number, b"trap".to_vec())).collect();
        for partition in 0..PARTITIONS {
            java::produce(&poison.input, partition, &records);
        }
        let mut process = poison.pipeline.run_with(load::SAME_PARTITION);
        assert_eq!(process.exit(LIMIT), Some(1), "the exit code; the log:\n{}", process.log());
        let letters: usize = (0..PARTITIONS).map(|partition| java::dump(&poison.dead, partition).len()).sum();
        let committed: i64 = java::committed(&poison.group, &poison.input).iter().map(|&at| at.max(0)).sum();
        assert!(letters <= LETTERS_MAX * PARTITIONS, "{letters} dead letters");
        // What is committed has its letter: nothing is lost by the stop.
        assert!(usize::try_from(committed).unwrap() <= letters, "{committed} committed, {letters} letters");
        assert!(process.log().contains("broke the plugin"), "the message:\n{}", process.log());
        format!(
            "stopped with code 1 after {letters} dead letters in {PARTITIONS} partitions, {committed} records committed"
        )
    });
}

pub(crate) fn sizes(case: &Case) {
    case.inject(
        "",
        "values of 3900 to 4100 bytes, one by one, to a topic with max.message.bytes = 4096; null and empty between",
        || {
            let poison = Poison::new("sizes", "max.message.bytes=4096");
            let mut records: Vec<Raw> = (3900..=4100).map(|size| record(size, vec![b'x'; size])).collect();
            records.insert(50, Raw { value: None, ..record(1, Vec::new()) });
            records.insert(100, record(2, Vec::new()));
            records.push(Raw { key: None, value: None, ..record(3, Vec::new()) });
            for one in &records {
                java::produce(&poison.input, 0, std::slice::from_ref(one));
            }
            let count = i64::try_from(records.len()).unwrap();
            let mut process = poison.pipeline.run_with(load::SAME_PARTITION);
            process.wait("all to be committed", LIMIT, |_| java::committed(&poison.group, &poison.input)[0] == count);
            let passed: Vec<Raw> = java::dump(&poison.output, 0).into_iter().map(|(_, raw)| raw).collect();
            let dead: Vec<Raw> =
                (0..PARTITIONS).flat_map(|partition| java::dump(&poison.dead, partition)).map(|(_, raw)| raw).collect();
            assert_eq!(passed.len() + dead.len(), records.len(), "each record is in one of the topics");
            let size = |raw: &Raw| raw.value.as_ref().map_or(0, Vec::len);
            let largest = passed.iter().map(size).max().unwrap();
            let smallest = dead.iter().map(size).min().unwrap();
            assert!(largest < smallest, "what passes is smaller than what doesn't: {largest}, {smallest}");
            let expected: Vec<&Raw> = records.iter().filter(|raw| size(raw) <= largest).collect();
            assert!(passed.iter().eq(expected), "what passes is in order and byte for byte");
            format!(
                "{} passed in order, up to {largest} bytes; {} dead letters, from {smallest} bytes on",
                passed.len(),
                dead.len()
            )
        },
    );
}
