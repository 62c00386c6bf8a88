//! The model: random inputs, schedules and crashes over the real code, compared with a batch.
//!
//! `WASMILL_SEEDS=20000 cargo test --release state::tests::model` runs this number of seeds of each
//! delivery instead of a few hundred, and counts how many of them find each rule that is left out.

use std::collections::BTreeMap;

use super::broker::Broker;
use super::input;
use super::input::Results;
use super::process::Broken;
use super::process::Process;
use super::random::Random;
use crate::state::Delivery;
use crate::state::Settings;

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    crashes: usize,
    outputs: usize,
    results: usize,
    /// Control records that were durable while a window was shown in part.
    partly: usize,
}

/// Steps after which the last process has to be done.
const STEPS_MAX: usize = 200_000;

/// Runs one seed. The error says what is wrong.
fn run(seed: u64, delivery: Delivery, broken: Broken) -> Result<Run, String> {
    let mut random = Random::new(seed);
    let window = input::random_window(&mut random);
    let log = input::random_log(&mut random, window.lateness());
    let settings = Settings { window, delivery, cell_max: 1_000, version: 1, is_early: false };
    let mut broker = Broker { is_slow: random.once_in(2), ..Broker::default() };
    let mut now = log[0].clock;
    let mut run = Run::default();
    let planned = random.below(6);
    loop {
        let mut process = Process::start(settings, broken, &log, &broker, now);
        let steps = if run.crashes < planned { 20 + random.below(600) } else { STEPS_MAX };
        for _ in 0..steps {
            now += if random.once_in(100) { random.within(10, 60) } else { i64::from(random.once_in(3)) };
            process.step(&mut random, &mut broker, now);
            if process.is_done(&broker) {
                break;
            }
        }
        let is_done = process.is_done(&broker);
        process.crash(&mut random, &mut broker);
        if run.crashes >= planned {
            if !is_done {
                return Err("it doesn't end".to_owned());
            }
            break;
        }
        run.crashes += 1;
        now += random.within(0, 30);
        if random.once_in(2) {
            broker.compact(&mut random);
        }
    }
    let expected = input::reference(&window, &log, &broker.controls);
    (run.outputs, run.results, run.partly) = (broker.outputs.len(), expected.len(), broker.partly);
    check(&broker, &expected, delivery).map(|()| run)
}

fn check(broker: &Broker, expected: &Results, delivery: Delivery) -> Result<(), String> {
    let mut results = Results::new();
    for output in &broker.outputs {
        let key = (output.end, output.key.clone());
        match results.get(&key) {
            None => _ = results.insert(key, output.result.clone()),
            Some(_) if delivery == Delivery::ExactlyOnce => return Err(format!("{output:?} is repeated")),
            Some(first) if *first != output.result => return Err(format!("{output:?} was {first:?} before")),
            Some(_) => {}
        }
    }
    if results == *expected {
        return Ok(());
    }
    let difference: BTreeMap<_, _> = expected
        .keys()
        .chain(results.keys())
        .filter(|key| expected.get(*key) != results.get(*key))
        .map(|key| (key, (expected.get(key), results.get(key))))
        .collect();
    Err(format!("expected and found: {difference:?}"))
}

/// The seeds of each delivery.
fn seeds(ordinary: u64) -> u64 {
    std::env::var("WASMILL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(ordinary)
}

fn every_result_is_that_of_a_batch(delivery: Delivery) {
    let mut all = Run::default();
    let seeds = seeds(200);
    for seed in 0..seeds {
        let run = run(seed, delivery, Broken::Nothing).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        all.crashes += run.crashes;
        all.outputs += run.outputs;
        all.results += run.results;
        all.partly += run.partly;
    }
    report(&format!("{delivery:?}: {seeds} seeds, {all:?}"));
    assert!(all.partly > 0 && all.crashes > 0 && all.results > 0, "the model covers what it should: {all:?}");
}

#[test]
fn every_result_is_that_of_a_batch_at_least_once() {
    every_result_is_that_of_a_batch(Delivery::AtLeastOnce);
}

#[test]
fn every_result_is_that_of_a_batch_exactly_once() {
    every_result_is_that_of_a_batch(Delivery::ExactlyOnce);
}

/// Without any one rule, the model finds a wrong result within this many seeds.
#[track_caller]
fn is_needed(broken: Broken, delivery: Delivery, within: u64) {
    if std::env::var("WASMILL_SEEDS").is_ok() {
        let found = (0..seeds(0)).filter(|&seed| run(seed, delivery, broken).is_err()).count();
        report(&format!("without {broken:?}, {delivery:?}: wrong in {found} of {} seeds", seeds(0)));
    }
    assert!((0..within).any(|seed| run(seed, delivery, broken).is_err()), "{broken:?} was not found");
}

#[test]
fn without_offset_stamps_records_are_folded_twice() {
    is_needed(Broken::Stamps, Delivery::AtLeastOnce, 200);
}

#[test]
fn without_the_control_record_before_tombstones_windows_lose_cells() {
    is_needed(Broken::TombstonesFirst, Delivery::AtLeastOnce, 1_000);
}

#[test]
fn without_outputs_before_the_changelog_windows_are_missing() {
    is_needed(Broken::ChangelogFirst, Delivery::AtLeastOnce, 1_000);
}

#[test]
fn without_reading_to_the_end_the_clock_makes_records_late() {
    is_needed(Broken::IdleBehind, Delivery::AtLeastOnce, 2_000);
    is_needed(Broken::IdleBehind, Delivery::ExactlyOnce, 2_000);
}

#[test]
fn without_waiting_for_the_control_record_a_window_is_shown_twice_with_different_results() {
    is_needed(Broken::IdleFirst, Delivery::AtLeastOnce, 5_000);
}

#[test]
fn without_the_removal_rule_windows_are_shown_again_from_fewer_cells() {
    is_needed(Broken::Removal, Delivery::AtLeastOnce, 1_000);
}

#[test]
fn without_a_cut_behind_all_outputs_a_late_record_is_sent_twice() {
    is_needed(Broken::CutInside, Delivery::ExactlyOnce, 2_000);
}

#[expect(clippy::print_stderr, reason = "a report on request")]
fn report(line: &str) {
    eprintln!("{line}");
}
