//! The sandbox, tried: hostile plugins, random modules and damaged plugins, beside one that behaves.
//!
//! Each ends in a result, a failure of its call or a refusal; the host neither dies nor waits, and doesn't grow beyond its limits.
//! `WASMILL_FULL=1` tries all of it and also judges the neighbour's latencies, for which a machine must be quiet. `docs/security.md` says what
//! was tried.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../plugin_host/component.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod component;
mod corpus;
mod mutants;
mod neighbour;
mod smith;
mod support;
mod threats;
mod trial;

use std::time::Duration;

use neighbour::Latencies;
use neighbour::Neighbour;
use support::MIB;
use support::clock::Watch;
use support::random::Random;
use support::say;
use trial::Bounds;
use trial::Tally;
use trial::Trial;

/// A call that takes longer than its timeout by more than this has not been stopped. The machine of a test may be busy.
const LATE: Duration = Duration::from_secs(2);
/// The longest time that a call of the neighbour may take while it has a core.
const STUCK: Duration = Duration::from_secs(2);
/// In the full form, the neighbour's 99th percentile may have this many times the quiet figure.
const SLOWER: u32 = 2;

/// Every ending is one of those that the file says, and each form of it has the same one.
#[test]
fn each_plugin_of_the_corpus_ends_as_expected_and_harms_nobody_else() {
    let _alone = support::alone();
    let compile = Duration::from_secs(if support::is_full() { 20 } else { 5 });
    let bounds = Bounds { call: Duration::from_millis(250), compile };
    let files = corpus::files();
    assert!(files.len() >= 40 || std::env::var("WASMILL_CASE").is_ok(), "{} files", files.len());
    let mut wrong = Vec::new();
    let mut tally = Tally::default();
    beside_a_neighbour("corpus", || {
        for file in &files {
            let case = corpus::case(file);
            for (form, bytes) in &case.forms {
                let trial = trial::attempt(bytes, bounds);
                let ending = trial.ending.to_string();
                let what = format!("{} ({form}): {ending}", case.name);
                if std::env::var("WASMILL_VERBOSE").is_ok() {
                    say(&format!(
                        "{what}: {} {:?} {:?} {} MiB",
                        cut(&trial.reason),
                        trial.loading,
                        trial.late,
                        trial.grown / MIB
                    ));
                }
                if !case.expected.contains(&ending) {
                    wrong.push(format!("{what}, where {:?} is expected: {}", case.expected, cut(&trial.reason)));
                }
                wrong.extend(broken(&what, &trial));
                tally.add(&trial);
            }
        }
        format!("{} files, {tally}", files.len())
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn random_modules_end_in_a_result_a_failure_or_a_refusal() {
    let _alone = support::alone();
    let mut random = Random::seeded("random modules");
    let wanted = support::count("WASMILL_MODULES", 120, 5000);
    let bounds = Bounds { call: Duration::from_millis(50), compile: Duration::from_secs(10) };
    beside_a_neighbour("random modules", || {
        let mut tallies = smith::Shape::ALL.map(|shape| (shape, Tally::default()));
        for number in 0..wanted {
            let (shape, tally) = &mut tallies[number % smith::Shape::ALL.len()];
            let bytes = smith::module(*shape, &mut random);
            let trial = trial::attempt(&bytes, bounds);
            check(&format!("module {number}, {shape:?}"), &trial);
            tally.add(&trial);
        }
        let told: Vec<String> = tallies.iter().map(|(shape, tally)| format!("\n  {shape:?}: {tally}")).collect();
        told.concat()
    });
}

#[test]
fn damaged_plugins_end_in_a_result_a_failure_or_a_refusal() {
    let _alone = support::alone();
    let mut random = Random::seeded("damaged plugins");
    let wanted = support::count("WASMILL_MUTANTS", 240, 10_000);
    // Large plugins take long to compile, so each file has a share of the time.
    let time = Duration::from_secs(support::count("WASMILL_MUTANTS_SECONDS", 15, 3600) as u64);
    let bounds = Bounds { call: Duration::from_millis(100), compile: Duration::from_secs(20) };
    let plugins = mutants::plugins();
    assert!(plugins.len() >= 4, "{} plugins", plugins.len());
    beside_a_neighbour("damaged plugins", || {
        let mut told = String::new();
        let mut total = Tally::default();
        let began = Watch::start();
        for (index, plugin) in plugins.iter().enumerate() {
            let mut tally = Tally::default();
            let left = plugins.len() - index;
            let share = (wanted - total.trials()).div_ceil(left);
            let until = began.elapsed() + time.saturating_sub(began.elapsed()) / u32::try_from(left).unwrap();
            while tally.trials() < share && (began.elapsed() < until || tally.trials() < 2) {
                let bytes = plugin.mutant(&mut random);
                let trial = trial::attempt(&bytes, bounds);
                let what = format!("mutant {} of {}", tally.trials(), plugin.name);
                check(&what, &trial);
                tally.add(&trial);
                total.add(&trial);
            }
            told.push_str(&format!("\n  {} ({} KiB): {tally}", plugin.name, plugin.bytes() >> 10));
        }
        format!("{total}{told}")
    });
}

/// What a trial has broken of that which holds for all.
fn broken(what: &str, trial: &Trial) -> Option<String> {
    let most = trial::MEMORY + trial::SLACK;
    if trial.late >= LATE {
        return Some(format!("{what}: a call ended {:?} after its timeout", trial.late));
    }
    let grown = trial.grown / MIB;
    (trial.grown >= most).then(|| format!("{what}: the process grew by {grown} MiB, where {} are allowed", most / MIB))
}

fn check(what: &str, trial: &Trial) {
    assert_eq!(broken(what, trial), None);
}

/// Runs the trials beside a plugin that behaves, and says what came of them and how its calls did.
fn beside_a_neighbour(what: &str, trials: impl FnOnce() -> String) {
    let neighbour = Neighbour::start();
    let window = Duration::from_secs(if support::is_full() { 10 } else { 1 });
    let mut quiet = neighbour.watch(window);
    let idle = support::memory("VmRSS:");
    let told = trials();
    let during = Latencies::of(&neighbour.take());
    let left = support::memory("VmRSS:").saturating_sub(idle);
    quiet.extend(neighbour.watch(window));
    let quiet = Latencies::of(&quiet);
    say(&format!(
        "{what}: {told}\n  {} MiB more than before are resident afterwards\n  the neighbour, quiet: {quiet}\n  the neighbour, during: {during}",
        left / MIB
    ));
    assert!(during.longest_own < STUCK, "the neighbour waited {:?} for a call", during.longest_own);
    if support::is_full() {
        assert!(
            during.p99 < quiet.p99 * SLOWER,
            "the neighbour's p99 was {:?}, and {:?} when it was quiet",
            during.p99,
            quiet.p99
        );
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(300)]
}
