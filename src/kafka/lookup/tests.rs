//! Tests of the lookup thread.

use super::*;
use crate::kafka::embedded::Broker;
use crate::kafka::limits::Batching;
use crate::kafka::settings::Output;
use crate::kafka::settings::producer;
use crate::kafka::sys::Side;

/// The number of requests that a producer has in flight at once, for outputs with this many partitions on one broker.
fn requests(partitions: [i32; 2]) -> String {
    let topics = [("in", 9), ("a", partitions[0]), ("b", partitions[1]), ("dead", 9)];
    let broker = Broker::start(&topics).unwrap();
    let settings = Settings {
        brokers: vec![broker.bootstrap().into()],
        outputs: vec![Output::example("a"), Output::example("b")],
        dead_letter: Some(Output::example("dead")),
        ..Settings::example()
    };
    let config = BTreeMap::from([("bootstrap.servers".to_owned(), broker.bootstrap().to_owned())]);
    let mut asker = LookupThread {
        client: Client::new(Side::Producer, &config, None).unwrap(),
        settings: settings.clone(),
        stop: Arc::default(),
        known: None,
        reported_limits: BTreeSet::new(),
        limits_unanswered: 0,
    };
    // The first try may time out while the client still connects.
    let answer = (0..10).find_map(|_| asker.topics().ok()).unwrap();
    let Answer::Topics { missing, limits } = answer else { panic!("{answer:?}") };
    assert_eq!((missing, limits.bytes.len()), (Vec::new(), 3));
    producer(&settings, 0, 1 << 20, &limits, Batching::Full)["max.in.flight.requests.per.connection"].clone()
}

#[test]
fn a_repeated_question_delays_no_other_and_is_kept_once() {
    let start = now();
    let later = start + DENIED_PAUSE;
    let partition = |number| TopicPartition { topic: "t".into(), partition: number };
    let mut agenda = Agenda::default();
    assert!(agenda.next(start).is_none() && agenda.due().is_none());
    agenda.add(1, Question::Probe(Vec::new(), None), start);
    let denied = agenda.next(start).unwrap();
    agenda.put_back(denied, later);
    // A question that is asked every few seconds is kept once.
    for number in 2..100 {
        agenda.add(number, Question::Ends(vec![partition(1)]), start);
    }
    for number in [100, 101] {
        agenda.add(number, Question::Ranges(vec![partition(2)]), start);
    }
    let numbers: Vec<u64> = std::iter::from_fn(|| agenda.next(start)).map(|pending| pending.number).collect();
    assert_eq!((numbers, agenda.due()), (vec![99, 100, 101], Some(later)));
    assert_eq!(agenda.next(later).unwrap().number, 1);
    // A newer question of the kind came while this one was being asked.
    agenda.add(103, Question::Limits, start);
    agenda.put_back(Pending { number: 102, question: Question::Limits, due: start }, later);
    assert_eq!((agenda.next(later).unwrap().number, agenda.due()), (103, None));
}

#[test]
fn a_broker_with_three_partitions_or_more_gets_one_request_fewer_up_to_five() {
    assert_eq!([[1, 1], [1, 2], [2, 2], [5, 1], [40, 1]].map(requests), ["5", "2", "3", "5", "5"]);
}
