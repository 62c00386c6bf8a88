//! The topics of the benchmark: fills and reads them.
//!
//! Nothing here is measured; it uses the safe binding.

use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::Offset;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;

use crate::cluster::Cluster;
use crate::cluster::WAIT;
use crate::native_loop::Task;

/// The size of values in the identity task.
const PLAIN_BYTES: usize = 100;
/// The size of values in the JSON task.
const ORDER_BYTES: usize = 215;

/// How long nothing may come before a topic counts as read to its end.
const SETTLED: Duration = Duration::from_millis(200);

/// The contents of a topic, independent of their order: the number of records, and a sum over their keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    records: u64,
    sum: u64,
}

impl Digest {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        // FNV-1a: good enough to notice a missing, duplicate or changed record.
        let hash = key
            .iter()
            .chain(value)
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        self.records += 1;
        self.sum = self.sum.wrapping_add(hash);
    }
}

impl Cluster {
    /// Fills a topic with the records of a task. Returns the digest of the expected outputs.
    pub(crate) fn fill(&self, topic: &str, records: usize, task: Task) -> Digest {
        let producer = self.producer();
        let mut digest = Digest::default();
        for n in 0..records {
            let (key, value) = record(n, task);
            let expected = match task {
                Task::Identity => value.clone(),
                Task::Json => {
                    let input = native::Input { key: None, value: Some(&value), headers: &[] };
                    native::json(input).unwrap().remove(0).value.unwrap()
                }
            };
            digest.add(&key, &expected);
            let mut record = BaseRecord::to(topic).key(&key[..]).payload(&value[..]);
            while let Err((error, refused)) = producer.send(record) {
                assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
                producer.poll(Duration::from_millis(10));
                record = refused;
            }
            if n % 1000 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(WAIT).unwrap();
        digest
    }

    /// Reads the committed records of a topic, of which there have to be `wanted`. Returns their digest, and the time between the records number `lead` and last, as the broker
    /// appended them.
    pub(crate) fn read(&self, topic: &str, partitions: i32, lead: usize, wanted: u64) -> (Digest, Duration) {
        let reader = self.reader(topic, partitions, Offset::Beginning);
        let mut digest = Digest::default();
        let mut times = Vec::new();
        while digest.records < wanted {
            let message = reader.poll(WAIT).expect("the records are there").unwrap();
            digest.add(message.key().unwrap(), message.payload().unwrap());
            times.push(message.timestamp().to_millis().unwrap());
        }
        assert!(reader.poll(SETTLED).is_none(), "there are more records than {wanted}");
        let last = *times.iter().max().unwrap();
        let (_, first, _) = times.select_nth_unstable(lead);
        (digest, Duration::from_millis(u64::try_from(last - *first).unwrap()))
    }
}

fn record(n: usize, task: Task) -> (Vec<u8>, Vec<u8>) {
    let key = format!("key{:05}", n % 100_000).into_bytes();
    let (mut value, end, bytes) = match task {
        Task::Identity => (format!("{n:010} "), "", PLAIN_BYTES),
        Task::Json => (
            format!(
                r#"{{"id":{n},"email":"someone{n}@example.org","phone":"+1 555 0100","total":12.5,"items":[1,2,3],"note":""#
            ),
            r#""}"#,
            ORDER_BYTES,
        ),
    };
    value.extend(std::iter::repeat_n('x', bytes - value.len() - end.len()));
    value.push_str(end);
    (key, value.into_bytes())
}
