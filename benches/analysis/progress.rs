//! How far a group has come, by its committed offsets, and what its changelogs take on the broker's disk.

use std::fs;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer as _;

use crate::PARTITIONS;
use crate::cluster::Cluster;
use crate::cluster::config;
use crate::kafka;

const ANSWER: Duration = Duration::from_secs(5);

/// A group and the topic that it reads.
pub(crate) struct Progress {
    watcher: BaseConsumer,
    partitions: TopicPartitionList,
}

impl Progress {
    pub(crate) fn of(cluster: &Cluster, group: &str, topic: &str) -> Progress {
        // Else the answer waits for the end of each transaction.
        let watcher = config(cluster.brokers())
            .set("group.id", group)
            .set("isolation.level", "read_uncommitted")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(topic, 0, PARTITIONS - 1);
        Progress { watcher, partitions }
    }

    /// The committed offsets of all partitions, added up.
    pub(crate) fn committed(&self) -> i64 {
        // The group's coordinator may not be there yet.
        let Ok(offsets) = self.watcher.committed_offsets(self.partitions.clone(), ANSWER) else { return 0 };
        offsets.elements().iter().filter_map(|partition| partition.offset().to_raw()).map(|offset| offset.max(0)).sum()
    }
}

/// The topics of a group's changelogs, and the bytes of their logs on the broker's disk.
pub(crate) fn changelogs(group: &str) -> (Vec<String>, u64) {
    let (mut topics, mut bytes) = (Vec::new(), 0);
    for node in fs::read_dir(kafka::folder()).unwrap() {
        let Ok(logs) = fs::read_dir(node.unwrap().path().join("logs")) else { continue };
        for log in logs {
            let log = log.unwrap();
            let name = log.file_name().into_string().unwrap();
            let is_own = name.strip_prefix(group).is_some_and(|rest| rest.starts_with(['.', '-']));
            let Some((topic, _)) = name.rsplit_once('-').filter(|(topic, _)| is_own && topic.ends_with("changelog"))
            else {
                continue;
            };
            if !topics.iter().any(|known| known == topic) {
                topics.push(topic.to_owned());
            }
            for file in fs::read_dir(log.path()).unwrap() {
                let file = file.unwrap();
                if file.path().extension().is_some_and(|extension| extension == "log") {
                    bytes += file.metadata().unwrap().len();
                }
            }
        }
    }
    (topics, bytes)
}
