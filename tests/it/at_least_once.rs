//! kill -9 under load: nothing is lost, a key's records keep their order, and what is repeated has a bound.

use std::env;
use std::thread;
use std::time::Duration;

use crate::support;
use crate::support::component;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Reader;
use crate::support::random::Random;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const RATE: u32 = 20_000;
const MAX_IN_FLIGHT: u64 = 20_000;
/// `commit_every` and what a commit may take.
const COMMIT_MS: u64 = 1000 + 200;
/// A member that is killed is missed after the session timeout; then the backlog has to go.
const RECOVERY: Duration = Duration::from_secs(60);

#[test]
fn kill_9_loses_nothing() {
    kill_under_load("kill", kills().div_ceil(2), "");
}

#[test]
fn kill_9_of_a_static_member_loses_nothing() {
    let instance = format!("instance_id = \"{}\"", unique("static"));
    kill_under_load("kill-static", kills() / 2, &instance);
}

fn kills() -> u64 {
    if env::var("WASMILL_FULL").is_ok_and(|full| full == "1") { 20 } else { 5 }
}

fn kill_under_load(test: &str, kills: u64, instance: &str) {
    let _alone = support::load();
    let mut random = Random::seeded(test);
    let input = java::create(&format!("{test}-in"), 3, &[]);
    let output = java::create(&format!("{test}-out"), 3, &["message.timestamp.type=LogAppendTime"]);
    let group = unique(test);
    // Output batches that wait for 100 ms keep some thousand records in flight: a commit that doesn't wait for them shows.
    let more = format!(
        "session_timeout = \"6s\"\n{instance}\n[limits]\ncommit_every = \"1s\"\nmax_in_flight = {{ records = {MAX_IN_FLIGHT} }}\n\
         [kafka.librdkafka]\n\"linger.ms\" = \"100\""
    );
    let pipeline = Pipeline::new(&input, &output, &group, &more);
    pipeline.install(&component::forward());

    let reader = Reader::start(&output);
    let feed = Feed::start(&input, RATE, 997, 20, 0);
    let mut process = pipeline.run();
    let mut repeats = 0;
    for kill in 1..=kills {
        settle(&mut process, &group, &input, &reader, &[0; 3]);
        // The schedule is the seed's: somewhere between two commits, or, where most could be lost, right after one.
        thread::sleep(Duration::from_millis(random.below(2500)));
        if random.below(2) == 0 {
            let before = java::committed(&group, &input);
            process.wait("a commit", Duration::from_secs(20), |_| java::committed(&group, &input) != before);
        }
        let lag = busy(&mut process, &group, &input);
        let at = process.kill();
        process = pipeline.run();

        let before = reader.tally();
        settle(&mut process, &group, &input, &reader, &before.heights);
        let after = reader.tally().repeats;
        let acknowledged = reader.appended(at - COMMIT_MS, at);
        let bound = MAX_IN_FLIGHT + acknowledged;
        say(&format!(
            "{test}: kill {kill} of {kills}: lag {lag}, repeated {} of at most {MAX_IN_FLIGHT} + {acknowledged}",
            after - repeats
        ));
        assert!(after - repeats <= bound, "kill {kill} repeated {} records, {bound} are allowed", after - repeats);
        repeats = after;
    }

    let fed = feed.stop();
    finish(process, &group, &input);
    let tally = reader.tally();
    say(&format!("{test}: {} records, {} repeated after {kills} kills", tally.fresh, tally.repeats));
    assert_eq!(reader.missing(&feed), (0, String::new()));
    assert_eq!((tally.disorder, tally.foreign), (0, 0));
    assert_eq!(java::committed(&group, &input), fed);
}

/// Waits until everything below `heights` is committed and more than that is delivered: then a kill's repeats are over.
fn settle(process: &mut Process, group: &str, input: &str, reader: &Reader, heights: &[i64]) {
    process.wait("the group to pass what was delivered before", RECOVERY, |_| {
        let committed = java::committed(group, input);
        committed.iter().zip(heights).all(|(committed, height)| committed > height)
    });
    assert!(reader.tally().fresh > 0);
}

/// Waits for records in flight and records not committed; the number of the latter.
fn busy(process: &mut Process, group: &str, input: &str) -> i64 {
    let mut lag = 0;
    process.wait("records in flight and lag above zero", Duration::from_secs(20), |process| {
        lag = java::lag(group, input);
        lag > 0 && process.metric("wasmill_in_flight_records").is_some_and(|records| records > 0.0)
    });
    lag
}

/// Lets it catch up and ends it.
fn finish(mut process: Process, group: &str, input: &str) {
    process.wait("the lag to reach zero", RECOVERY, |_| java::lag(group, input) == 0);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
}
