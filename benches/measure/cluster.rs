//! A broker, and clients that manage its topics.
//!
//! Nothing here is measured; it uses the safe binding.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminClient;
use rdkafka::admin::AdminOptions;
use rdkafka::admin::NewTopic;
use rdkafka::admin::TopicReplication;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer as _;
use rdkafka::producer::BaseProducer;

use crate::STEP;
use crate::kafka;

/// How long to wait for the broker.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

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
}

/// Settings of a client.
pub(crate) fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    // The group is not used: partitions are assigned by hand.
    config.set("bootstrap.servers", brokers).set("group.id", "benchmark").set("allow.auto.create.topics", "false");
    config
}
