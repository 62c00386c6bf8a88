//! SIGTERM under load: what is in flight is finished and committed, so that no record is lost or repeated.

use std::env;
use std::time::Duration;

use crate::kafka::profile::Profile;
use crate::support;
use crate::support::broker;
use crate::support::clock;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::say;

/// `shutdown_timeout`'s default.
const LIMIT: Duration = Duration::from_secs(25);
/// On a cluster that doesn't reveal its limits, each start discovers them from refused batches, two of them for a tenth of the default. The
/// records in flight are then sent again.
const FOUND_OUT: u64 = 2 * 25_000;

#[test]
fn sigterm_under_load_loses_and_repeats_nothing() {
    terminate_under_load("term", times(2), 0);
}

#[test]
fn sigterm_on_a_strict_cluster_loses_nothing_and_repeats_only_what_its_limits_refuse() {
    broker::on(Profile::Strict, || terminate_under_load("term-strict", times(1), FOUND_OUT));
}

#[test]
fn sigterm_on_two_brokers_loses_and_repeats_nothing() {
    broker::on(Profile::Pair, || terminate_under_load("term-pair", times(1), 0));
}

/// How often a process is ended: more often in the long schedule.
fn times(short: u32) -> u32 {
    if env::var("WASMILL_FULL").is_ok_and(|full| full == "1") { 5 } else { short }
}

/// `start_repeats` records may be repeated because of a start, and none because of an end.
fn terminate_under_load(test: &str, times: u32, start_repeats: u64) {
    let _alone = support::load();
    let delivery = Delivery::new(test, 3, "session_timeout = \"6s\"");
    let Delivery { input, group, pipeline, .. } = &delivery;
    let feed = Feed::start(input, 10_000, 997, 20, 0);

    for time in 1..=times {
        let mut process = pipeline.run();
        let before = delivery.tally().fresh;
        process.wait("records in flight and new ones delivered", Duration::from_secs(60), |process| {
            let in_flight = process.metric("wasmill_in_flight_records").is_some_and(|records| records > 0.0);
            in_flight && java::lag(group, input) > 0 && delivery.tally().fresh > before + 10_000
        });
        let watch = clock::Watch::start();
        let started = delivery.tally().repeats;
        process.terminate();
        assert_eq!(process.exit(LIMIT), Some(0));
        let took = watch.elapsed();
        let tally = delivery.tally();
        say(&format!(
            "{test}: {time} of {times}: ended in {took:?}, {} delivered, {} repeated",
            tally.fresh, tally.repeats
        ));
        assert_eq!(java::committed(group, input), tally.heights, "all that was delivered is committed");
        assert_eq!(tally.repeats, started, "an end repeats nothing");
        assert!(tally.repeats <= u64::from(time) * start_repeats, "{} repeated", tally.repeats);
    }

    feed.stop();
    let mut process = pipeline.run();
    process.wait("the lag to reach zero", Duration::from_secs(60), |_| java::lag(group, input) == 0);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
    assert!(delivery.assert_delivered(&feed).repeats <= u64::from(times + 1) * start_repeats);
}
