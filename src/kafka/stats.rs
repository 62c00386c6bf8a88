//! librdkafka's statistics: the few numbers that wasmill uses.
//!
//! librdkafka reports them as JSON every five seconds. A partition's end is `hi_offset`, the offset after its last
//! record; `ls_offset` is the offset after the last record that `read_committed` returns. `-1` and below mean unknown.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;

use crate::record::Offset;
use crate::record::TopicPartition;

/// The statistics of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The end of each assigned partition.
    pub ends: Vec<LogEnd>,
    /// The number of brokers that this client is connected to. Several connections to one broker, as to a group's
    /// coordinator, count once.
    pub connected_brokers: usize,
    /// Microseconds since a broker last answered; `None` without a connection. An open connection alone doesn't show
    /// that a broker works: a frozen one keeps it open.
    pub idle_us: Option<i64>,
}

/// The end of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset after its last record.
    pub end: Offset,
    /// The offset after the last record that no open transaction holds back, if known.
    pub stable: Option<Offset>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    brokers: BTreeMap<String, RawBroker>,
    #[serde(default)]
    topics: BTreeMap<String, RawTopic>,
}

#[derive(Deserialize)]
struct RawBroker {
    /// -1 for an address from the configuration that isn't known as a broker yet.
    nodeid: i64,
    state: String,
    rxidle: i64,
}

#[derive(Deserialize)]
struct RawTopic {
    #[serde(default)]
    partitions: BTreeMap<String, RawPartition>,
}

#[derive(Deserialize)]
struct RawPartition {
    partition: i32,
    /// Whether the partition is assigned: former ones stay in the statistics for a while.
    desired: bool,
    ls_offset: i64,
    hi_offset: i64,
}

/// Parses the statistics; `None` if the JSON isn't what librdkafka writes.
pub(super) fn parse(json: &str) -> Option<Stats> {
    let raw: Raw = serde_json::from_str(json).ok()?;
    let up: Vec<&RawBroker> = raw.brokers.values().filter(|broker| broker.state == "UP").collect();
    let mut ends = Vec::new();
    for (topic, RawTopic { partitions }) in raw.topics {
        let topic: std::sync::Arc<str> = topic.into();
        let known = partitions.values().filter(|p| p.desired && p.partition >= 0 && p.hi_offset >= 0);
        ends.extend(known.map(|p| LogEnd {
            partition: TopicPartition { topic: topic.clone(), partition: p.partition },
            end: Offset(p.hi_offset),
            stable: (p.ls_offset >= 0).then_some(Offset(p.ls_offset)),
        }));
    }
    let nodes: BTreeSet<i64> = up.iter().map(|broker| broker.nodeid).filter(|&node| node >= 0).collect();
    Some(Stats {
        ends,
        connected_brokers: nodes.len(),
        idle_us: up.iter().map(|broker| broker.rxidle).filter(|&idle| idle >= 0).min(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_assigned_partitions_and_connected_brokers_count() {
        let json = r#"{"ts":1,"brokers":{
            "a:1/1":{"nodeid":1,"state":"UP","rxidle":900,"x":[1]}, "b:1/2":{"nodeid":2,"state":"UP","rxidle":50},
            "GroupCoordinator":{"nodeid":2,"state":"UP","rxidle":70}, "a:1":{"nodeid":-1,"state":"UP","rxidle":80},
            "c":{"nodeid":3,"state":"DOWN","rxidle":1}},
            "topics":{"orders":{"age":3,"partitions":{
                "0":{"partition":0,"desired":true,"ls_offset":17,"hi_offset":19}, "1":{"partition":1,"desired":false,"ls_offset":4,"hi_offset":4},
                "2":{"partition":2,"desired":true,"ls_offset":-1001,"hi_offset":-1001}, "-1":{"partition":-1,"desired":false,"ls_offset":-1001,"hi_offset":-1001}}}}}"#;
        let stats = parse(json).unwrap();
        let partition = TopicPartition { topic: "orders".into(), partition: 0 };
        assert_eq!(stats.ends, [LogEnd { partition, end: Offset(19), stable: Some(Offset(17)) }]);
        assert_eq!((stats.connected_brokers, stats.idle_us), (2, Some(50)));
        assert_eq!(parse("{\"brokers\": 1}"), None);
    }
}
