//! Tests of the producer, against a simulated cluster.

use super::*;

const END: usize = 1 << 36;
const _: () = assert!(END as u64 == Seq::END);

/// An output to `main` of this record.
fn tag(n: usize) -> Tag {
    Tag { kind: TagKind::Output(0), seq: Seq::first_of(AssignmentIds::default().issue(|_| false)).plus(n) }
}

use std::sync::mpsc;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka_sys::types::RDKafkaApiKey;
use rdkafka_sys::types::RDKafkaRespErr;

use crate::kafka::settings::Output;
use crate::record::AssignmentIds;
use crate::record::Headers;

/// Outputs of these names to these topics.
fn settings(brokers: String, outputs: &[(&str, &str)]) -> Settings {
    let output = |&(name, topic): &(&str, &str)| Output { name: name.into(), ..Output::example(topic) };
    Settings { brokers: vec![brokers], outputs: outputs.iter().map(output).collect(), ..Settings::example() }
}

const LIMIT: Duration = Duration::from_secs(60);

fn start(settings: &Settings, queue_bytes: usize, batching: Batching) -> (Producer, mpsc::Receiver<ProducerReport>) {
    let (sender, reports) = mpsc::channel();
    let report = move |report| drop(sender.send(report));
    let limits = TopicLimits::default();
    (Producer::start(settings, 0, queue_bytes, &limits, batching, report).unwrap(), reports)
}

/// The next undelivered batch. Other reports, such as a lost connection, are skipped.
fn next_failed(reports: &mpsc::Receiver<ProducerReport>) -> (Vec<Undelivered>, Option<Box<Sample>>) {
    loop {
        if let ProducerReport::Failed { batch, sample } = reports.recv_timeout(LIMIT).unwrap() {
            return (batch, sample);
        }
    }
}

fn record<'a>(key: &'a [u8], value: &'a [u8], lengths: &'a [i32], headers: &'a [u8]) -> OutRecord<'a> {
    OutRecord {
        parent: 0,
        port: 0,
        topic: None,
        partition: None,
        timestamp: 1,
        key: Some(key),
        value: Some(value),
        headers: Headers::new(lengths, headers),
    }
}

/// librdkafka stores a message's value where a consumer error has its text, so a careless read would leak the record.
#[test]
fn the_failure_of_a_rejected_record_contains_no_byte_of_the_record() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let (producer, reports) =
        start(&settings(cluster.bootstrap_servers(), &[("main", "t")]), 1 << 20, Batching::Single);
    for (error, code, words) in [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, "invalid_timestamp", "Broker: Invalid timestamp"),
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
            "invalid_record",
            "Broker: Broker failed to validate record",
        ),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "msg_size_too_large", "Broker: Message size too large"),
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            "topic_authorization_failed",
            "Broker: Topic authorization failed",
        ),
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        // At this size the allocator has no spare byte behind the value.
        let value = [b"canary-value".as_slice(), &[b'v'; 500]].concat();
        let record = record(b"canary-key", &value, &[11, 12], b"canary-namecanary-hvalue");
        producer.send(0, &record, -1, tag(0)).unwrap();
        let (batch, _) = next_failed(&reports);
        let [Undelivered { failure, is_verdict: true, .. }] = &batch[..] else { panic!("{batch:?}") };
        assert_eq!(&*failure.code, code);
        assert!(failure.reason.starts_with(&format!("an output to `t`: {words}")), "{failure:?}");
        assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
    }
}

#[test]
fn outputs_with_the_same_topic_are_counted_separately() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let outputs = [("main", "t"), ("audit", "t"), ("other", "t")];
    let (producer, reports) = start(&settings(cluster.bootstrap_servers(), &outputs), 1 << 20, Batching::Single);
    for (output, count) in [(0, 1), (1, 2)] {
        for _ in 0..count {
            let tag = Tag { kind: TagKind::Output(output), ..tag(0) };
            producer.send(output, &record(b"k", b"v", &[], b""), -1, tag).unwrap();
        }
    }
    producer.send(0, &record(b"k", b"v", &[], b""), -1, Tag { kind: TagKind::DeadLetter, ..tag(0) }).unwrap();
    let mut counts = [0; 3];
    let mut bytes = 0;
    while bytes < 4 * 2 {
        if let ProducerReport::Delivered = reports.recv_timeout(LIMIT).unwrap() {
            let delivered = producer.take_delivered();
            bytes += delivered.bytes;
            for (count, produced) in counts.iter_mut().zip(delivered.produced) {
                *count += produced.records;
            }
        }
    }
    assert_eq!(counts, [1, 2, 0]);
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP]);
    let tag = Tag { kind: TagKind::Output(2), ..tag(END - 1) };
    producer.send(2, &record(b"k", b"v", &[], b""), -1, tag).unwrap();
    assert_eq!(next_failed(&reports).0[0].tag, Some(tag));
}

/// An output larger than the queue must not be `Full` for ever: that would block the pipeline.
#[test]
fn an_output_larger_than_the_queue_is_sent_or_rejected_by_name() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let settings = settings(cluster.bootstrap_servers(), &[("main", "t")]);
    // More than the queue's minimum size.
    let value = vec![0; 20 << 20];
    let sent = |limits: &TopicLimits| {
        let producer = Producer::start(&settings, 0, 1 << 20, limits, Batching::Full, |_| ()).unwrap();
        producer.send(0, &record(b"k", &value, &[], b""), -1, tag(0))
    };
    let known = TopicLimits { bytes: vec![Some(32 << 20)], ..TopicLimits::default() };
    assert!(sent(&known).is_ok(), "its topic takes it");
    let mut unknown = TopicLimits { bytes: vec![None], ..TopicLimits::default() };
    let Err(SendError::Failed(failure)) = sent(&unknown) else { panic!("nobody knows what its topic takes") };
    assert_eq!(failure.kind, failure::Kind::TooLarge);
    assert!(unknown.make_room(value.len(), unknown.message_bytes()) && sent(&unknown).is_ok(), "the broker decides");
}

#[test]
fn nothing_is_sent_behind_a_refused_batch_and_its_error_is_no_messages_verdict() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    let settings = settings(cluster.bootstrap_servers(), &[("main", "t")]);
    let (producer, reports) = start(&settings, 1 << 20, Batching::Full);
    // They wait for the first connection and are sent together.
    let send = |n| producer.send(0, &record(b"k", b"v", &[], b""), -1, tag(n));
    (0..3).for_each(|seq| send(seq).unwrap());
    let (batch, sample) = next_failed(&reports);
    assert!(batch.len() > 1 && batch.iter().all(|message| !message.is_verdict) && sample.is_none(), "{batch:?}");
    assert!(producer.is_spent());
    assert!(matches!(send(3), Err(SendError::Full)), "its reason is on the way");
    assert!(producer.take_delivered().runs.is_empty());
}

#[test]
fn a_failure_that_an_operator_must_fix_comes_with_a_copy_that_can_be_sent() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[denied]);
    let settings = settings(cluster.bootstrap_servers(), &[("main", "t")]);
    let (producer, reports) = start(&settings, 1 << 20, Batching::Full);
    producer.send(0, &record(b"key", b"value", &[1, 2], b"nvv"), -1, tag(5)).unwrap();
    let (_, sample) = next_failed(&reports);
    let sample = sample.unwrap();
    assert_eq!((sample.output(), sample.bytes()), (0, 8));
    drop(producer);
    let (producer, reports) = start(&settings, 1 << 20, Batching::Full);
    producer.send_sample(&sample).unwrap();
    while !matches!(reports.recv_timeout(LIMIT).unwrap(), ProducerReport::Delivered) {}
    let Delivered { runs, has_sample, bytes, .. } = producer.take_delivered();
    assert_eq!((runs, has_sample, bytes), (Vec::new(), true, 8));
}

#[test]
fn topics_that_records_name_are_counted_after_the_outputs_and_named_in_failures() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["t", "t.eu", "t.us"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let settings = settings(cluster.bootstrap_servers(), &[("main", "t")]);
    let (mut producer, reports) = start(&settings, 1 << 20, Batching::Single);
    let named: [(usize, Arc<str>); 2] = [(0, "t.eu".into()), (0, "t.us".into())];
    for known in 0..=named.len() {
        producer.add_named(&settings, &named[..known]).unwrap();
    }
    let send = |output: usize, n: usize| {
        let tag = Tag { kind: TagKind::Output(output), ..tag(n) };
        producer.send(output, &record(b"k", b"v", &[], b""), -1, tag).unwrap();
    };
    [(2, 0), (2, 1), (1, 2)].into_iter().for_each(|(output, n)| send(output, n));
    let mut counts = [0; 3];
    while counts.iter().sum::<u64>() < 3 {
        if let ProducerReport::Delivered = reports.recv_timeout(LIMIT).unwrap() {
            for (count, produced) in counts.iter_mut().zip(producer.take_delivered().produced) {
                *count += produced.records;
            }
        }
    }
    assert_eq!(counts, [0, 1, 2]);
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    send(1, 3);
    let failed = next_failed(&reports).0;
    assert!(failed[0].output == 1 && failed[0].failure.reason.starts_with("an output to `t.eu`: "), "{failed:?}");
}

#[test]
fn consecutive_records_form_one_run() {
    let mut runs = Vec::new();
    let mut ids = AssignmentIds::default();
    let [one, other] = [0, 1].map(|_| ids.issue(|_| false));
    for (assignment, n) in [(one, 4), (one, 5), (one, 5), (other, 6), (other, 8)] {
        extend(&mut runs, Tag { kind: TagKind::Output(0), seq: Seq::first_of(assignment).plus(n) });
    }
    let found: Vec<_> = runs.iter().map(|run| (run.first.assignment(), run.first.n(), run.last.n())).collect();
    assert_eq!(found, [(one, 4, 5), (one, 5, 5), (other, 6, 6), (other, 8, 8)]);
}
