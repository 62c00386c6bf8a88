//! Exactly-once delivery: kill -9 under load, and a reader of committed records finds each record's outputs once.

use std::env;
use std::thread;
use std::time::Duration;

use crate::support;
use crate::support::broker;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::random::Random;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Process;

const RATE: u32 = 10_000;
/// A killed member is noticed after the session timeout, and then the backlog must be processed.
const RECOVERY: Duration = Duration::from_secs(60);

#[test]
fn kill_9_repeats_nothing_and_loses_nothing() {
    kill_under_load("once", kills(4), "");
}

#[test]
fn kill_9_of_a_static_member_repeats_nothing() {
    let instance = format!("instance_id = \"{}\"", unique("once-static"));
    kill_under_load("once-static", kills(2), &instance);
}

/// How often a process is killed: more often in the long schedule.
fn kills(short: u64) -> u64 {
    if env::var("WASMILL_FULL").is_ok_and(|full| full == "1") { 30 } else { short }
}

fn kill_under_load(test: &str, kills: u64, instance: &str) {
    broker::brokers();
    let _alone = support::load();
    let mut random = Random::seeded(test);
    let more = format!("session_timeout = \"6s\"\n{instance}");
    let delivery = Delivery::new(test, 3, &more);
    let Delivery { input, group, pipeline, .. } = &delivery;
    let state = pipeline.folder().join("state");
    let run =
        || pipeline.run_with(&["--set", "delivery=\"exactly_once\"", "--state", state.to_str().unwrap_or_default()]);

    let feed = Feed::start(input, RATE, 997, 20, 0);
    let mut process = run();
    for kill in 1..=kills {
        let before = java::committed(group, input);
        process.wait("new commits", RECOVERY, |_| {
            let now = java::committed(group, input);
            now.iter().zip(&before).all(|(now, before)| now > before)
        });
        // Anywhere in a transaction.
        thread::sleep(Duration::from_millis(random.below(2500)));
        process.wait("records in flight", Duration::from_secs(20), |process| {
            process.metric("wasmill_in_flight_records").is_some_and(|records| records > 0.0)
        });
        process.kill();
        process = run();
        say(&format!("{test}: kill {kill} of {kills}"));
    }
    feed.stop();
    finish(process, group, input);
    let tally = delivery.assert_delivered(&feed);
    say(&format!("{test}: {} records, {} repeated after {kills} kills", tally.fresh, tally.repeats));
    assert_eq!(tally.repeats, 0, "outputs that a reader of committed records finds twice");
}

/// Waits until the process has caught up, and ends it.
fn finish(mut process: Process, group: &str, input: &str) {
    process.wait("the lag to reach zero", RECOVERY, |_| java::lag(group, input) == 0);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
}
