//! The topics of the benchmark: creates, fills, observes and reads them.
//!
//! Nothing here is measured; it uses the safe binding.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminClient;
use rdkafka::admin::AdminOptions;
use rdkafka::admin::NewTopic;
use rdkafka::admin::TopicReplication;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;

use crate::STEP;
use crate::kafka;
use crate::native_loop::Task;

const WAIT: Duration = Duration::from_secs(30);
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

/// A broker, and clients that manage its topics.
pub(crate) struct Cluster {
    brokers: String,
    admin: AdminClient<DefaultClientContext>,
    watcher: BaseConsumer,
    runtime: tokio::runtime::Runtime,
    _node: kafka::Node,
}

impl Cluster {
    pub(crate) fn start(node: kafka::Node) -> Cluster {
        let brokers = node.brokers();
        let admin = config(&brokers).create().unwrap();
        let watcher = config(&brokers).create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Cluster { brokers, admin, watcher, runtime, _node: node }
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    pub(crate) fn create(&self, topic: &str, partitions: i32, configs: &[&str]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for config in configs {
            let (key, value) = config.split_once('=').unwrap();
            new = new.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(WAIT));
        let results = self.runtime.block_on(self.admin.create_topics([&new], &options)).unwrap();
        results[0].as_ref().unwrap();
        // The controller has created it; the broker knows it a moment later.
        let deadline = Instant::now() + WAIT;
        while !self.knows(topic) {
            assert!(Instant::now() < deadline, "the broker knows nothing of {topic}");
            thread::sleep(STEP);
        }
    }

    fn knows(&self, topic: &str) -> bool {
        let metadata = self.watcher.fetch_metadata(Some(topic), WAIT).unwrap();
        metadata.topics().iter().any(|known| known.name() == topic && known.error().is_none())
    }

    pub(crate) fn delete(&self, topic: &str) {
        let options = AdminOptions::new().operation_timeout(Some(WAIT));
        let results = self.runtime.block_on(self.admin.delete_topics(&[topic], &options)).unwrap();
        results[0].as_ref().unwrap();
    }

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

    /// A producer with a short linger time.
    pub(crate) fn producer(&self) -> BaseProducer {
        config(&self.brokers).set("linger.ms", "1").set("acks", "all").create().unwrap()
    }

    /// A consumer that starts at the end or at the beginning.
    pub(crate) fn reader(&self, topic: &str, partitions: i32, from: Offset) -> BaseConsumer {
        // With librdkafka's default backoff of a second for a full queue, the consumer sometimes stalls for a long time near the end
        // of a topic.
        let reader: BaseConsumer = config(&self.brokers)
            .set("fetch.wait.max.ms", "10")
            .set("queued.min.messages", "200000")
            .set("fetch.queue.backoff.ms", "5")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, from).unwrap();
        }
        reader.assign(&list).unwrap();
        reader
    }

    /// The number of records in a topic, and of the markers that end transactions.
    pub(crate) fn count(&self, topic: &str, partitions: i32) -> i64 {
        let end = |partition| match self.watcher.fetch_watermarks(topic, partition, WAIT) {
            Ok((_, end)) => end,
            // A new topic has no leader for a moment, and the client remembers that until it refreshes its metadata.
            Err(_) => {
                self.watcher.fetch_metadata(Some(topic), WAIT).unwrap();
                0
            }
        };
        (0..partitions).map(end).sum()
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

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    // The group is not used: partitions are assigned by hand.
    config.set("bootstrap.servers", brokers).set("group.id", "benchmark").set("allow.auto.create.topics", "false");
    config
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
