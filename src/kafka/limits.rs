//! PURE. What the topics that are written take, and what follows from it for the producer.
//!
//! A broker refuses a batch as a whole, so a batch is no larger than the smallest of what the topics take. How large a record may be is the
//! broker's matter, but for one that is known not to fit.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::settings::MESSAGE_BYTES_MAX;
use super::settings::Output;
use crate::record::TopicPartition;

/// What the cluster says of the topics that are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicLimits {
    /// The largest batch in bytes that each topic takes: the outputs', and then the dead letters'. `None` where nobody said.
    pub bytes: Vec<Option<usize>>,
    /// The most partitions of outputs that one broker leads; 0 as long as nobody said.
    pub partitions_led: usize,
    /// Batches above this were refused as too large, whatever is said.
    pub learned: Option<usize>,
    /// The largest record in bytes that librdkafka shall take.
    pub largest: usize,
    /// The partitions of topics that nobody leads: what goes there waits.
    pub leaderless: Vec<TopicPartition>,
}

impl TopicLimits {
    /// What was found out: for each topic that is written, what it takes, and who leads its partitions, -1 being nobody. The dead letters'
    /// topic doesn't count for the partitions of outputs that a broker leads.
    pub(crate) fn of(outputs: &[Output], bytes: Vec<Option<usize>>, leaders: &[(String, Vec<i32>)]) -> TopicLimits {
        let mut partitions_led: BTreeMap<i32, usize> = BTreeMap::new();
        let mut leaderless = BTreeSet::new();
        for (topic, leaders) in leaders {
            let is_output = outputs.iter().any(|output| output.topic == *topic);
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

    /// How large a batch of several messages may be: no larger than the smallest of what the topics take, since a broker refuses it as
    /// a whole.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        let told = self.bytes.iter().map(|bytes| bytes.unwrap_or(BATCH_ASSUMED)).min();
        told.into_iter().chain(self.learned).min().unwrap_or(BATCH_ASSUMED).clamp(1, BATCH_ASSUMED)
    }

    /// What a broker's refusal of a batch of so many bytes teaches.
    pub fn learn(&mut self, refused: usize) {
        self.learned = Some((refused.min(self.batch_bytes()) / 4).max(1));
    }

    /// Makes room for a record of `bytes`, which was too large for a producer that takes records of `taken` bytes. `false` if no other
    /// producer takes more. What is known of the topics may be newer than that producer.
    pub fn make_room(&mut self, bytes: usize, taken: usize) -> bool {
        self.largest = bytes.saturating_mul(2);
        self.message_bytes() > taken
    }

    /// librdkafka's bound of a record, before it is compressed: how large it may be is the broker's matter. It is no larger than it has to
    /// be, as librdkafka allocates so much for a request if so much waits (2.12.1: `rd_kafka_msgset_writer_alloc_buf`).
    pub(crate) fn message_bytes(&self) -> usize {
        let told = self.bytes.iter().copied().flatten().max().unwrap_or(0);
        told.max(self.largest).clamp(BATCH_ASSUMED, MESSAGE_BYTES_MAX)
    }

    /// The largest record in bytes that an output's topic is known to take; `None` where the broker decides: nobody said, or what is
    /// sent is smaller than the record, as it is compressed.
    #[must_use]
    pub fn record_bytes(&self, place: usize, output: &Output) -> Option<usize> {
        self.bytes.get(place).copied().flatten().filter(|_| output.compression == "none")
    }
}

/// A batch's bound where nobody says what topics take: Kafka's default is a little more.
const BATCH_ASSUMED: usize = 1_000_000;

/// How many messages go to a broker in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// As many as there are. When a broker refuses a batch, nothing that was queued behind it is sent.
    Full,
    /// One, so that a refusal is about that one. What is behind it goes on.
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
            topic: "t".into(),
            partition: Partition::ByKey,
            compression: compression.into(),
            librdkafka: BTreeMap::new(),
        }
    }

    #[test]
    fn partitions_that_nobody_leads_are_named_and_those_of_outputs_are_counted_by_their_leaders() {
        let leaders = [("t".to_owned(), vec![1, -1, 2, 2]), ("dead".to_owned(), vec![2, 2, -1])];
        let limits = TopicLimits::of(&[output("none")], vec![None; 2], &leaders);
        let named: Vec<String> = limits.leaderless.iter().map(ToString::to_string).collect();
        assert_eq!((limits.partitions_led, named), (2, vec!["dead/2".to_owned(), "t/1".to_owned()]));
    }

    #[test]
    fn a_batch_is_no_larger_than_what_every_topic_takes() {
        assert_eq!(limits(&[]).batch_bytes(), 1_000_000);
        assert_eq!(limits(&[Some(5_000_000), None]).batch_bytes(), 1_000_000);
        assert_eq!(limits(&[Some(5_000_000), None, Some(20_000)]).batch_bytes(), 20_000);
        assert_eq!(limits(&[Some(0)]).batch_bytes(), 1);
    }

    #[test]
    fn refused_batches_teach_a_smaller_bound_until_it_is_taken() {
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
    fn room_is_made_for_larger_records_as_long_as_librdkafka_has_some() {
        let mut limits = limits(&[None, Some(2_000_000)]);
        assert_eq!(limits.message_bytes(), 2_000_000);
        assert!(limits.make_room(3_000_000, 2_000_000) && limits.message_bytes() == 6_000_000);
        assert!(limits.make_room(900_000_000, 6_000_000) && limits.message_bytes() == 1_000_000_000);
        assert!(!limits.make_room(2_000_000_000, 1_000_000_000), "it is refused for good then");
        limits.bytes = vec![Some(10_000_000)];
        assert!(limits.make_room(3_000_000, 1_000_000), "the topic takes more than when the producer was made");
    }

    #[test]
    fn a_record_is_measured_where_it_is_sent_as_it_is() {
        let limits = limits(&[Some(20_000), None]);
        assert_eq!(limits.record_bytes(0, &output("none")), Some(20_000));
        assert_eq!(limits.record_bytes(0, &output("zstd")), None);
        assert_eq!(limits.record_bytes(1, &output("none")), None);
        assert_eq!(limits.record_bytes(2, &output("none")), None);
    }
}
