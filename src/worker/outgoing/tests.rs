//! Tests of a run on its way to the producer.

use std::collections::BTreeMap;

use super::*;
use crate::batch::NO_TOPIC;
use crate::batch::OutputColumns;
use crate::batch::Outputs;
use crate::kafka::settings::Partition;
use crate::record::AssignmentIds;
use crate::record::TopicPartition;
use crate::worker::effects::Layer;

/// The result of records with values of these sizes, each forwarded unchanged.
fn outgoing(sizes: &[usize]) -> Outgoing {
    outgoing_to(sizes, &[], &[])
}

/// The same, where records name topics: `of` has the index of each record's topic.
fn outgoing_to(sizes: &[usize], topics: &[&str], of: &[u32]) -> Outgoing {
    let mut batch = Batch::new(TopicPartition { topic: "in".into(), partition: 0 });
    for (offset, &bytes) in (10..).zip(sizes) {
        batch.push(offset, 1, 0, None, Some(&vec![b'x'; bytes]), std::iter::empty());
    }
    let topics = topics.iter().map(|&topic| (0, topic.into())).collect();
    let columns = OutputColumns { topics, ..OutputColumns::default() };
    let parents = (0..u32::try_from(sizes.len()).unwrap()).collect();
    let outputs = Outputs::from_checked(columns, parents, Vec::new(), of.to_vec());
    let layer =
        Layer { step: 0, digest: "d".into(), input: None, roots: Vec::new(), calls: vec![(0..sizes.len(), outputs)] };
    let mut effects = Effects::default();
    effects.layers.push(layer);
    let mut ran = RunResult {
        executor: 0,
        strand: 0,
        run: 0,
        first: Seq::first_of(AssignmentIds::default().issue(|_| false)),
        range: 0..sizes.len(),
        batch: Arc::new(batch),
        outputs: vec![1; sizes.len()],
        failed: Vec::new(),
        effects,
        counted: Vec::new(),
        failure: None,
        last: true,
    };
    Outgoing::new(&mut ran, sizes.len(), Vec::new())
}

fn check(outgoing: &mut Outgoing, limit: usize, told: u64, continues: bool) -> Check {
    let output = Written {
        name: "main".into(),
        topic: Some("t".into()),
        partition: Partition::ByKey,
        compression: "none".into(),
        librdkafka: BTreeMap::new(),
    };
    let limits = TopicLimits { bytes: vec![Some(limit)], ..TopicLimits::default() };
    let routes = Routes::only_main(1);
    let steps = ["one".into()];
    outgoing.check(Rules { limits: &limits, told, outputs: &[output], routes: &routes, steps: &steps, continues })
}

fn roots(check: &Check) -> Option<Vec<usize>> {
    let Check::Send(too_large) = check else { return None };
    Some(too_large.iter().map(|found| found.root).collect())
}

#[test]
fn a_too_large_output_waits_for_a_newer_answer_and_is_checked_again() {
    let sizes = [100, 5000, 100, 6000];
    let mut fits = outgoing(&sizes);
    assert_eq!(roots(&check(&mut fits, 10_000, 1, true)), Some(vec![]));
    let mut grown = outgoing(&sizes);
    assert!(matches!(check(&mut grown, 1000, 1, true), Check::Ask));
    assert!(matches!(check(&mut grown, 1000, 1, true), Check::Wait));
    assert_eq!(roots(&check(&mut grown, 10_000, 2, true)), Some(vec![]), "the limit is another one");
    for (continues, refused) in [(true, vec![1, 3]), (false, vec![1])] {
        let mut same = outgoing(&sizes);
        assert!(matches!(check(&mut same, 1000, 7, continues), Check::Ask));
        assert_eq!(roots(&check(&mut same, 1000, 8, continues)), Some(refused));
        assert_eq!(roots(&check(&mut same, 1000, 8, continues)), Some(vec![]), "it was looked at");
    }
}

#[test]
fn a_failed_record_keeps_sent_outputs_and_a_stop_drops_the_records_above_it() {
    let routes = Routes::only_main(1);
    let mut outgoing = outgoing(&[1, 2, 3, 4]);
    let next = |outgoing: &mut Outgoing| {
        let (root, layer) = outgoing.peek(&routes).map(|output| (output.root, output.layer))?;
        outgoing.advance(layer);
        Some(root)
    };
    assert_eq!(next(&mut outgoing), Some(0));
    assert_eq!((outgoing.give_up(0, &routes), outgoing.give_up(1, &routes)), (0, 1));
    assert_eq!(next(&mut outgoing), Some(2));
    outgoing.end_before(outgoing.seq(3));
    assert!(outgoing.holds(2) && !outgoing.holds(3));
    assert_eq!(next(&mut outgoing), None);
    assert_eq!((outgoing.offset(2), outgoing.place(2)), (12, 2));
}

#[test]
fn topics_are_looked_up_once_and_a_record_with_one_that_cannot_be_written_is_named_alone() {
    let routes = Routes::only_main(1);
    let steps = ["one".into()];
    let of = [0, NO_TOPIC, 1, 0, 2, 1];
    let mut looked = Vec::new();
    let mut name = |outgoing: &mut Outgoing, unknown: &str, continues: bool| {
        let look = |output: usize, topic: &Arc<str>| {
            looked.push((output, topic.to_string()));
            match &**topic {
                topic if topic == unknown => TopicLook::Unknown,
                "missing" => TopicLook::Fails(Failure::new(failure::Kind::Refused, None, "it doesn't exist")),
                _ => TopicLook::Writable,
            }
        };
        match outgoing.name((&routes, &steps), |_| continues, look) {
            Naming::Unknown => None,
            Naming::Known(found) => Some(found.iter().map(|found| found.root).collect::<Vec<_>>()),
        }
    };
    let mut run = outgoing_to(&[1; 6], &["eu", "missing", "us"], &of);
    assert_eq!(name(&mut run, "us", true), None, "nothing is sent before the answer");
    assert_eq!(name(&mut run, "", true), Some(vec![2, 5]));
    assert_eq!(name(&mut run, "", true), Some(vec![]), "it was looked at");
    let mut stops = outgoing_to(&[1; 6], &["eu", "missing", "us"], &of);
    assert_eq!(name(&mut stops, "us", false), Some(vec![2]), "nothing behind it is sent");
    assert_eq!(name(&mut outgoing(&[1; 3]), "", true), Some(vec![]));
    assert_eq!(looked.len(), 5 + 5 + 2);
    assert!(looked.iter().all(|(output, _)| *output == 0));
}
