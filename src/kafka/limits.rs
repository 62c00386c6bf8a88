//! PURE. The limits of the topics that are written, and the producer's limits that follow from them.
//!
//! A broker refuses a batch as a whole, so a batch is no larger than the smallest limit of the topics. The broker
//! decides how large a record may be, except for one that is known not to fit.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::settings::MESSAGE_BYTES_MAX;
use super::settings::Output;
use crate::record::TopicPartition;

/// What the cluster reports about the topics that are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicLimits {
    /// The largest batch in bytes that each topic accepts: the outputs' topics, then the dead-letter topic. `None` if
    /// unknown.
    pub bytes: Vec<Option<usize>>,
    /// The most partitions of outputs that one broker leads; 0 if unknown.
    pub partitions_led: usize,
    /// The bound learned from batches that were refused as too large. It applies even if a topic reports more.
    pub learned: Option<usize>,
    /// The largest record in bytes that librdkafka must accept.
    pub largest: usize,
    /// The partitions without a leader. Records for them wait.
    pub leaderless: Vec<TopicPartition>,
}

impl TopicLimits {
    /// The limits from the answers of the cluster: for each topic that is written, the largest batch it accepts and the
    /// leaders of its partitions, -1 for none. `partitions_led` doesn't count the dead-letter topic.
    pub(crate) fn of(outputs: &[Output], bytes: Vec<Option<usize>>, leaders: &[(String, Vec<i32>)]) -> TopicLimits {
        let mut partitions_led: BTreeMap<i32, usize> = BTreeMap::new();
        let mut leaderless = BTreeSet::new();
        for (topic, leaders) in leaders {
            let is_output = outputs.iter().any(|output| output.topic.as_ref() == Some(topic));
            for (partition, &leader) in (0..).zip(leaders) {
                if leader < 0 {
                    leaderless.insert(TopicPartition { topic: topic.as_str().into(), partition });
                } else if is_output {
                    *partitions_led.entry(leader).or_default() += 1;
                }
            }
        }
        let partitions_led = partitions_led.into_values().max().unwrap_or(0);
        TopicLimits { bytes, partitions_led, leaderless: leaderless.into_iter().collect(), ..TopicLimits::default() }
    }

    /// The largest batch of several messages: the smallest limit of the topics, since a broker refuses a batch as a
    /// whole.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        let told = self.bytes.iter().map(|bytes| bytes.unwrap_or(BATCH_ASSUMED)).min();
        told.into_iter().chain(self.learned).min().unwrap_or(BATCH_ASSUMED).clamp(1, BATCH_ASSUMED)
    }

    /// Lowers the bound of a batch after a broker refused one of `refused` bytes.
    pub fn learn(&mut self, refused: usize) {
        self.learned = Some((refused.min(self.batch_bytes()) / 4).max(1));
    }

    /// Makes room for a record of `bytes` that was too large for a producer that takes records of `taken` bytes.
    /// `false` if no new producer would take more. The known limits of the topics may be newer than that producer.
    pub fn make_room(&mut self, bytes: usize, taken: usize) -> bool {
        self.largest = bytes.saturating_mul(2);
        self.message_bytes() > taken
    }

    /// librdkafka's bound on a record before compression. It only has to be large enough, since the broker decides. It
    /// is no larger than necessary because librdkafka allocates that much for a request when that much is queued
    /// (2.12.1: `rd_kafka_msgset_writer_alloc_buf`).
    pub(crate) fn message_bytes(&self) -> usize {
        let told = self.bytes.iter().copied().flatten().max().unwrap_or(0);
        told.max(self.largest).clamp(BATCH_ASSUMED, MESSAGE_BYTES_MAX)
    }

    /// The largest record in bytes that an output's topic is known to accept. `None` if the broker decides: the limit
    /// is unknown, or compression makes the record smaller when it is sent.
    #[must_use]
    pub fn record_bytes(&self, place: usize, output: &Output) -> Option<usize> {
        self.bytes.get(place).copied().flatten().filter(|_| output.compression == "none")
    }
}

/// The bound of a batch if the topics' limits are unknown. Kafka's default is slightly larger.
const BATCH_ASSUMED: usize = 1_000_000;

/// How many messages go to a broker in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// As many as are queued. When a broker refuses a batch, the messages queued behind it are not sent.
    Full,
    /// One, so that a refusal concerns that message alone. The messages behind it are sent.
    Single,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::settings::Partition;

    fn limits(bytes: &[Option<usize>]) -> TopicLimits {
        TopicLimits { bytes: bytes.to_vec(), ..TopicLimits::default() }
    }

    fn output(compression: &str) -> Output {
        Output {
            name: "main".into(),
            topic: Some("t".into()),
            partition: Partition::ByKey,
            compression: compression.into(),
            librdkafka: BTreeMap::new(),
        }
    }

    #[test]
    fn partitions_without_a_leader_are_named_and_those_of_outputs_are_counted_by_leader() {
        let leaders = [("t".to_owned(), vec![1, -1, 2, 2]), ("dead".to_owned(), vec![2, 2, -1])];
        let limits = TopicLimits::of(&[output("none")], vec![None; 2], &leaders);
        let named: Vec<String> = limits.leaderless.iter().map(ToString::to_string).collect();
        assert_eq!((limits.partitions_led, named), (2, vec!["dead/2".to_owned(), "t/1".to_owned()]));
    }

    #[test]
    fn a_batch_is_no_larger_than_every_topic_accepts() {
        assert_eq!(limits(&[]).batch_bytes(), 1_000_000);
        assert_eq!(limits(&[Some(5_000_000), None]).batch_bytes(), 1_000_000);
        assert_eq!(limits(&[Some(5_000_000), None, Some(20_000)]).batch_bytes(), 20_000);
        assert_eq!(limits(&[Some(0)]).batch_bytes(), 1);
    }

    #[test]
    fn refused_batches_lower_the_bound_until_a_batch_is_accepted() {
        let mut limits = limits(&[None]);
        let mut tries = 0;
        while limits.batch_bytes() > 20_000 {
            limits.learn(limits.batch_bytes());
            tries += 1;
        }
        assert_eq!((limits.batch_bytes(), tries), (15_625, 3));
        limits.learn(4000);
        assert_eq!(limits.batch_bytes(), 1000, "less than what it was");
        limits.learn(0);
        assert_eq!(limits.batch_bytes(), 1);
    }

    #[test]
    fn room_is_made_for_larger_records_up_to_librdkafkas_maximum() {
        let mut limits = limits(&[None, Some(2_000_000)]);
        assert_eq!(limits.message_bytes(), 2_000_000);
        assert!(limits.make_room(3_000_000, 2_000_000) && limits.message_bytes() == 6_000_000);
        assert!(limits.make_room(900_000_000, 6_000_000) && limits.message_bytes() == 1_000_000_000);
        assert!(!limits.make_room(2_000_000_000, 1_000_000_000), "it is refused for good then");
        limits.bytes = vec![Some(10_000_000)];
        assert!(limits.make_room(3_000_000, 1_000_000), "the topic takes more than when the producer was made");
    }

    #[test]
    fn a_records_size_is_checked_only_without_compression() {
        let limits = limits(&[Some(20_000), None]);
        assert_eq!(limits.record_bytes(0, &output("none")), Some(20_000));
        assert_eq!(limits.record_bytes(0, &output("zstd")), None);
        assert_eq!(limits.record_bytes(1, &output("none")), None);
        assert_eq!(limits.record_bytes(2, &output("none")), None);
    }
}
