//! Exactly-once delivery: kill -9 under load, and a reader of committed records finds each record's outputs once.

use std::thread;
use std::time::Duration;

use crate::support;
use crate::support::broker;
use crate::support::clock;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::random::Random;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const RATE: u32 = 10_000;
/// A killed member is noticed after the session timeout, and then the backlog must be processed.
const RECOVERY: Duration = Duration::from_secs(60);

/// Two processes on one file, one of them a static member: one of the two is killed under load and comes back, again and again.
#[test]
fn kill_9_repeats_nothing_and_loses_nothing() {
    broker::brokers();
    let _alone = support::load();
    let test = "once";
    let (kills, rate) = if support::full() { (30, 2 * RATE) } else { (3, RATE) };
    let mut random = Random::seeded(test);
    let delivery = Delivery::new(test, 3, "session_timeout = \"6s\"");
    let Delivery { input, group, pipeline, .. } = &delivery;
    let feed = Feed::start(input, rate, 997, 20, 0);
    let instance = format!("input.instance_id=\"{}\"", unique("once-static"));
    let fixed = || pipeline.run_with(&["--set", "delivery=\"exactly_once\"", "--set", &instance]);
    let mut processes = vec![run(pipeline), fixed()];
    for kill in 1..=kills {
        let victim = usize::from(kill % 2 == 0);
        processes[victim].wait("records in flight", RECOVERY, |process| {
            process.metric("wasmill_in_flight_records").is_some_and(|records| records > 0.0)
        });
        // Anywhere in a transaction.
        thread::sleep(Duration::from_millis(random.below(1500)));
        processes.remove(victim).kill();
        processes.insert(victim, if victim == 0 { run(pipeline) } else { fixed() });
        say(&format!("{test}: kill {kill} of {kills} at lag {}", java::lag(group, input)));
        processes[victim].wait_for_commits(group, input, RECOVERY);
    }
    feed.stop();
    processes[0].wait("the lag to reach zero", RECOVERY, |_| java::lag(group, input) == 0);
    for mut process in processes {
        process.terminate();
        assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    }
    // A process that came back with another number than it had leaves its old transaction to the broker.
    clock::wait_until("the last transaction to end", RECOVERY, || java::open_transactions(group).is_empty());
    let tally = delivery.assert_delivered(&feed);
    say(&format!("{test}: {} records, {} repeated after {kills} kills", tally.fresh, tally.repeats));
    assert_eq!(tally.repeats, 0, "outputs that a reader of committed records finds twice");
}

/// Two processes on one file: each has an id of its own, and neither ends the other's transactions.
#[test]
fn members_come_and_go_and_nothing_is_repeated() {
    broker::brokers();
    let _alone = support::load();
    let delivery = Delivery::new("once-members", 3, "session_timeout = \"6s\"");
    let Delivery { input, group, pipeline, .. } = &delivery;
    let feed = Feed::start(input, RATE, 997, 20, 0);
    let mut first = run(pipeline);
    first.wait_for_commits(group, input, RECOVERY);
    let mut second = run(pipeline);
    second.wait("two members", RECOVERY, |_| java::members(group).is_some_and(|members| members.len() == 2));
    second.wait_for_commits(group, input, RECOVERY);
    first.terminate();
    assert_eq!(first.exit(Duration::from_secs(25)), Some(0));
    assert_not_fenced(&first);
    second.wait_for_commits(group, input, RECOVERY);
    let mut third = run(pipeline);
    third.wait("two members", RECOVERY, |_| java::members(group).is_some_and(|members| members.len() == 2));
    assert_not_fenced(&second);
    second.kill();
    third.wait_for_commits(group, input, RECOVERY);
    feed.stop();
    assert_not_fenced(&third);
    finish(third, group, input);
    // The killed process doesn't come back: readers of committed records wait until the broker aborts its transaction.
    clock::wait_until("the last transaction to end", RECOVERY, || delivery.missing(&feed).0 == 0);
    let tally = delivery.assert_delivered(&feed);
    assert_eq!(tally.repeats, 0, "outputs that a reader of committed records finds twice");
}

/// Three processes on one file and one host, in one folder of lock files.
#[test]
fn processes_that_run_side_by_side_do_not_fence_each_other() {
    broker::brokers();
    // The long schedule loads the machine.
    let _alone = support::full().then(support::load);
    let delivery = Delivery::new("once-three", 3, "session_timeout = \"6s\"");
    let Delivery { input, group, pipeline, .. } = &delivery;
    let feed = Feed::start(input, if support::full() { RATE } else { RATE / 10 }, 997, 20, 0);
    let mut processes: Vec<Process> = (0..3).map(|_| run(pipeline)).collect();
    processes[0].wait_for_commits(group, input, RECOVERY);
    let has_members =
        |_: &Process| java::members(group).is_some_and(|members| members.len() == 3 && members.iter().all(|&n| n == 1));
    processes[0].wait("a partition for each", RECOVERY, has_members);
    // A rebalance may end a transaction.
    let aborted = |processes: &[Process]| processes.iter().map(Process::aborted).collect::<Vec<Option<f64>>>();
    let before = aborted(&processes);
    let watch = clock::Watch::start();
    let time = Duration::from_secs(if support::full() { 60 } else { 5 });
    while watch.elapsed() < time {
        processes[0].wait_for_commits(group, input, RECOVERY);
    }
    feed.stop();
    processes[0].wait("the lag to reach zero", RECOVERY, |_| java::lag(group, input) == 0);
    assert_eq!(aborted(&processes), before, "the processes end each other's transactions");
    for mut process in processes {
        assert_not_fenced(&process);
        process.terminate();
        assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    }
    assert_eq!(delivery.assert_delivered(&feed).repeats, 0);
}

/// Frozen for longer than its transaction may take, while it stays in its group: nobody else has its partitions.
#[test]
fn a_transaction_that_the_broker_ends_is_done_again() {
    let delivery = Delivery::new("once-timeout", 3, "session_timeout = \"45s\"");
    let Delivery { input, group, pipeline, .. } = &delivery;
    let feed = Feed::start(input, RATE / 10, 997, 20, 0);
    let mut process = run(pipeline);
    process.wait_for_commits(group, input, RECOVERY);
    clock::wait_until("it to be frozen in a transaction", RECOVERY, || {
        process.freeze();
        // Not one whose end is already on its way to the broker.
        let is_open =
            (0..20).all(|_| java::open_transactions(group).iter().any(|transaction| transaction.ends_with("Ongoing")));
        if !is_open {
            process.thaw();
        }
        is_open
    });
    clock::wait_until("the broker to end the transaction", RECOVERY, || java::open_transactions(group).is_empty());
    process.thaw();
    process.wait_for_commits(group, input, RECOVERY);
    process.wait("the transaction to be counted", RECOVERY, |process| process.aborted() >= Some(1.0));
    feed.stop();
    finish(process, group, input);
    assert_eq!(delivery.assert_delivered(&feed).repeats, 0);
}

/// It comes back when another member has its partitions, and goes on to send what it had.
#[test]
fn a_member_that_was_frozen_past_its_session_repeats_nothing() {
    broker::brokers();
    let _alone = support::load();
    let delivery = Delivery::new("once-frozen", 3, "session_timeout = \"6s\"");
    let Delivery { input, group, pipeline, .. } = &delivery;
    let feed = Feed::start(input, RATE, 997, 20, 0);
    let mut frozen = run(pipeline);
    frozen.wait_for_commits(group, input, RECOVERY);
    let mut other = run(pipeline);
    other.wait("two members", RECOVERY, |_| java::members(group).is_some_and(|members| members.len() == 2));
    other.wait_for_commits(group, input, RECOVERY);
    frozen.freeze();
    other.wait_for_commits(group, input, RECOVERY);
    frozen.thaw();
    other.wait("two members again", RECOVERY, |_| java::members(group).is_some_and(|members| members.len() == 2));
    other.wait_for_commits(group, input, RECOVERY);
    feed.stop();
    other.wait("the lag to reach zero", RECOVERY, |_| java::lag(group, input) == 0);
    frozen.terminate();
    assert_eq!(frozen.exit(Duration::from_secs(25)), Some(0));
    finish(other, group, input);
    let tally = delivery.assert_delivered(&feed);
    assert_eq!(tally.repeats, 0, "outputs that a reader of committed records finds twice");
}

fn run(pipeline: &Pipeline) -> Process {
    pipeline.run_with(&["--set", "delivery=\"exactly_once\""])
}

/// Waits until the process has caught up, and ends it.
/// A process may abort a transaction of its own, when its group rebalances while it commits; no other process may.
fn assert_not_fenced(process: &Process) {
    assert!(!process.log().to_uppercase().contains("FENCED"), "{}", process.log());
}

fn finish(mut process: Process, group: &str, input: &str) {
    process.wait("the lag to reach zero", RECOVERY, |_| java::lag(group, input) == 0);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
}
