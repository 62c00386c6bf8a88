//! A cluster of two brokers, one of which dies: partition leaders and the group's coordinator move to the other one,
//! and back.

use std::time::Duration;

use crate::support;
use crate::support::broker;
use crate::support::clock;
use crate::support::component;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn no_record_is_lost_when_a_broker_dies_and_comes_back() {
    let _alone = support::load();
    broker::on_the_pair_alone(|second| {
        let input = java::create_on("moved-in", &[&[2, 1], &[1, 2], &[2, 1]], &[]);
        assert_eq!(java::leaders(&input), [2, 1, 2]);
        // The second broker coordinates half of all groups, once it is leader again of what it lost in an earlier test.
        let group = clock::wait_for("a group that the second broker coordinates", LIMIT, || {
            java::elect();
            (0..20).map(|_| unique("moved")).find(|group| java::coordinator(group) == 2)
        });
        let delivery = Delivery::from(input, "moved", group, 3, "session_timeout = \"6s\"");
        assert!(java::leaders(&delivery.main).contains(&2), "the outputs are on both");
        let feed = Feed::start(&delivery.input, 5000, 997, 20, 0);
        let mut process = delivery.pipeline.run();
        continues(&delivery, &mut process);
        second.kill().expect("it can be killed");
        process.wait("leaders and coordinator to move", LIMIT, |_| {
            java::leaders(&delivery.input) == [1; 3] && java::coordinator(&delivery.group) == 1
        });
        continues(&delivery, &mut process);
        second.start_again().expect("it starts again");
        process.wait("leaders and coordinator to move back", LIMIT, |_| {
            java::elect();
            java::leaders(&delivery.input) == [2, 1, 2] && java::coordinator(&delivery.group) == 2
        });
        continues(&delivery, &mut process);
        feed.stop();
        process.wait("the lag to reach zero", LIMIT, |_| java::lag(&delivery.group, &delivery.input) == 0);
        process.terminate();
        assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
        delivery.assert_delivered(&feed);
    });
}

#[test]
fn only_the_partition_without_a_leader_waits_and_it_is_named() {
    let _alone = support::load();
    broker::on_the_pair_alone(|second| {
        let input = java::create_on("led-in", &[&[1], &[2]], &[]);
        let output = java::create_on("led-out", &[&[1]], &[]);
        let group = unique("led");
        let pipeline = Pipeline::new(&input, &output, &group, "");
        pipeline.install(&component::forward());
        let records: Vec<Raw> = (0..100).map(record).collect();
        java::produce(&input, 0, &records);
        java::produce(&input, 1, &records);
        second.kill().expect("it can be killed");
        let mut process = pipeline.run();
        process.wait("the partition that has a leader", LIMIT, |_| java::committed(&group, &input)[0] == 100);
        let name = format!("{input}/1");
        process.wait("the other one to be named", LIMIT, |process| {
            process.get("/readyz?verbose").is_some_and(|(_, text)| text.contains(&name))
                && process.log().contains(&name)
        });
        assert_eq!(java::committed(&group, &input), [100, -1]);
        second.start_again().expect("it starts again");
        process.wait("both", LIMIT, |_| java::committed(&group, &input) == [100, 100]);
        process.terminate();
        assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
        assert_eq!(java::records(&output), [200], "nothing is lost or repeated");
    });
}

fn record(number: usize) -> Raw {
    Raw { timestamp: 1, key: None, value: Some(number.to_string().into_bytes()), headers: Vec::new() }
}

/// Waits until new records arrive in every partition and are committed.
fn continues(delivery: &Delivery, process: &mut Process) {
    let heights = delivery.tally().heights;
    process.wait("every partition to go on", LIMIT, |_| {
        let committed = java::committed(&delivery.group, &delivery.input);
        committed.iter().enumerate().all(|(at, committed)| *committed > heights.get(at).copied().unwrap_or(0))
    });
}
