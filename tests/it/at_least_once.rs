//! kill -9 under load: no record is lost, records of a key keep their order, and repeated records are bounded.

use std::env;
use std::thread;
use std::time::Duration;

use crate::kafka::profile::Profile;
use crate::support;
use crate::support::broker;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::random::Random;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Process;

/// Each record has two outputs.
const RATE: u32 = 10_000;
const MAX_IN_FLIGHT: u64 = 20_000;
/// `commit_every`, and how long a commit may take.
const COMMIT_MS: u64 = 1000 + 200;
/// A killed member is noticed after the session timeout; then the backlog must be processed.
const RECOVERY: Duration = Duration::from_secs(60);

#[test]
fn kill_9_loses_nothing() {
    kill_under_load("kill", kills(2), "");
}

#[test]
fn kill_9_of_a_static_member_loses_nothing() {
    let instance = format!("instance_id = \"{}\"", unique("static"));
    kill_under_load("kill-static", kills(1), &instance);
}

#[test]
fn kill_9_on_a_strict_cluster_loses_nothing() {
    broker::on(Profile::Strict, || kill_under_load("kill-strict", kills(1), ""));
}

#[test]
fn kill_9_on_two_brokers_loses_nothing() {
    broker::on(Profile::Pair, || kill_under_load("kill-pair", kills(1), ""));
}

/// How often a process is killed: more often in the long schedule.
fn kills(short: u64) -> u64 {
    if env::var("WASMILL_FULL").is_ok_and(|full| full == "1") { 10 } else { short }
}

fn kill_under_load(test: &str, kills: u64, instance: &str) {
    // Started before taking the lock below, so that other tests can load the machine meanwhile.
    broker::brokers();
    let _alone = support::load();
    let mut random = Random::seeded(test);
    // With a `linger.ms` of 100 ms some thousand records are in flight, which reveals a commit that doesn't wait for them.
    let more = format!(
        "session_timeout = \"6s\"\n{instance}\n[limits]\ncommit_every = \"1s\"\nmax_in_flight = {{ records = {MAX_IN_FLIGHT} }}\n\
         [kafka.librdkafka]\n\"linger.ms\" = \"100\""
    );
    let delivery = Delivery::new(test, 3, &more);
    let Delivery { input, group, pipeline, .. } = &delivery;

    let feed = Feed::start(input, RATE, 997, 20, 0);
    let mut process = pipeline.run();
    let mut repeats = 0;
    for kill in 1..=kills {
        settle(&mut process, &delivery, &[0; 3]);
        // The seed determines the time of the kill: anywhere between two commits, or right after one, when most records
        // could be lost.
        thread::sleep(Duration::from_millis(random.below(2500)));
        if random.below(2) == 0 {
            let before = java::committed(group, input);
            process.wait("a commit", Duration::from_secs(20), |_| java::committed(group, input) != before);
        }
        let lag = busy(&mut process, group, input);
        let at = process.kill();
        process = pipeline.run();

        let before = delivery.tally();
        settle(&mut process, &delivery, &before.heights);
        let after = delivery.tally().repeats;
        let acknowledged = delivery.appended(at - COMMIT_MS, at);
        let bound = MAX_IN_FLIGHT + acknowledged;
        say(&format!(
            "{test}: kill {kill} of {kills}: lag {lag}, repeated {} of at most {MAX_IN_FLIGHT} + {acknowledged}",
            after - repeats
        ));
        assert!(after - repeats <= bound, "kill {kill} repeated {} records, {bound} are allowed", after - repeats);
        repeats = after;
    }

    feed.stop();
    finish(process, group, input);
    let tally = delivery.assert_delivered(&feed);
    say(&format!("{test}: {} records, {} repeated after {kills} kills", tally.fresh, tally.repeats));
}

/// Waits until everything below `heights` is committed and more than that is delivered: then records repeated by the kill
/// have passed.
fn settle(process: &mut Process, delivery: &Delivery, heights: &[i64]) {
    process.wait("the group to pass what was delivered before", RECOVERY, |_| {
        let committed = java::committed(&delivery.group, &delivery.input);
        committed.iter().zip(heights).all(|(committed, height)| committed > height)
    });
    assert!(delivery.tally().fresh > 0);
}

/// Waits until there are records in flight and uncommitted records. Returns the number of the latter.
fn busy(process: &mut Process, group: &str, input: &str) -> i64 {
    let mut lag = 0;
    process.wait("records in flight and lag above zero", Duration::from_secs(20), |process| {
        lag = java::lag(group, input);
        lag > 0 && process.metric("wasmill_in_flight_records").is_some_and(|records| records > 0.0)
    });
    lag
}

/// Waits until the process has caught up, and ends it.
fn finish(mut process: Process, group: &str, input: &str) {
    process.wait("the lag to reach zero", RECOVERY, |_| java::lag(group, input) == 0);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
}
