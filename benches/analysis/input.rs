//! What the contestants read, and what has to come out.
//!
//! Records come in the order of their times, which are in the past. The last record of each partition is two minutes behind all others: it
//! closes their windows. Nothing here is measured.

use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;
use std::time::Duration;

use crate::Field;
use crate::PARTITIONS;
use crate::cluster::WAIT;
use crate::unix_ms;

/// The size of a value.
const VALUE_BYTES: usize = 100;
/// A window, in ms.
pub(crate) const MINUTE: i64 = 60_000;
/// How long ago the first window begins.
const AGO: i64 = 30 * MINUTE;

/// A topic with records.
pub(crate) struct Input {
    pub(crate) topic: String,
    /// Where the first window begins, in ms.
    start: i64,
    /// How many records there are of each key, by window.
    counts: Vec<Vec<u32>>,
    /// Where each partition ends, added up.
    pub(crate) end: i64,
}

/// How the keys of a topic come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    /// At random, each as likely as the others.
    Uniform,
    /// One after the other, again and again.
    InTurn,
}

impl Input {
    /// Fills a new topic with `records` of `keys` keys, whose times are in this many windows.
    pub(crate) fn fill(
        field: &Field,
        topic: &str,
        records: usize,
        keys: usize,
        windows: usize,
        draw: Draw,
        closes: bool,
    ) -> Input {
        field.cluster.create(topic, PARTITIONS, &[]);
        let producer = field.cluster.producer();
        let start = unix_ms() / MINUTE * MINUTE - AGO;
        let mut counts = vec![vec![0; keys]; windows];
        for n in 0..records {
            let key = match draw {
                Draw::Uniform => usize::try_from(mixed(n as u64) % keys as u64).unwrap(),
                Draw::InTurn => n % keys,
            };
            let window = n * windows / records;
            counts[window][key] += 1;
            let time = start + i64::try_from(n * windows * 60_000 / records).unwrap();
            let (key, value) = (name(key), value(n));
            send(&producer, BaseRecord::to(topic).key(&key).payload(&value).timestamp(time));
        }
        let mut end = i64::try_from(records).unwrap();
        if closes {
            end += i64::from(PARTITIONS);
            let time = start + MINUTE * i64::try_from(windows + 1).unwrap();
            tail(&producer, topic, time);
        }
        producer.flush(WAIT).unwrap();
        Input { topic: topic.to_owned(), start, counts, end }
    }

    /// Adds a record to each partition, in the last window.
    pub(crate) fn prolong(&mut self, field: &Field) {
        let producer = field.cluster.producer();
        tail(&producer, &self.topic, self.start + MINUTE * i64::try_from(self.counts.len()).unwrap() - 1);
        producer.flush(WAIT).unwrap();
        self.end += i64::from(PARTITIONS);
    }

    /// Where the windows begin, in ms.
    pub(crate) fn windows(&self) -> impl Iterator<Item = i64> {
        (self.start..).step_by(60_000).take(self.counts.len())
    }

    /// How many records there are of a key, by window.
    pub(crate) fn counts(&self) -> &[Vec<u32>] {
        &self.counts
    }
}

/// A record for each partition, with a key of its own.
fn tail(producer: &BaseProducer, topic: &str, time: i64) {
    for partition in 0..PARTITIONS {
        let key = format!("{TAIL}{partition}");
        let value = value(0);
        send(producer, BaseRecord::to(topic).key(&key).payload(&value).timestamp(time).partition(partition));
    }
}

fn send(producer: &BaseProducer, mut record: BaseRecord<'_, String, String>) {
    while let Err((error, refused)) = producer.send(record) {
        assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
        producer.poll(Duration::from_millis(10));
        record = refused;
    }
    producer.poll(Duration::ZERO);
}

/// How the keys of the last records begin.
pub(crate) const TAIL: &str = "tail-";
/// How all other keys begin.
pub(crate) const NAME: &str = "key-";

fn name(key: usize) -> String {
    format!("{NAME}{key:08}")
}

fn value(n: usize) -> String {
    let mut value = format!(r#"{{"id":{n},"total":{}.{:02},"note":""#, n % 1000, n % 100);
    value.extend(std::iter::repeat_n('x', VALUE_BYTES - value.len() - 2));
    value.push_str("\"}");
    value
}

/// A number that looks random: the finalizer of splitmix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
