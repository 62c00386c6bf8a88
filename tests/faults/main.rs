//! Fault injection under load: each row injects a fault and then verifies what arrived.
//!
//! `cargo xtask faults` runs it. Each row is a process of its own, with its own Kafka node and seed, and with Kafka's Java client as
//! the oracle. Its result is written to docs/fault-report.md as soon as it ends. Invariant: rows that were not run or that failed
//! are marked so there.

mod crash;
mod ending;
mod group;
#[path = "../../xtask/src/kafka.rs"]
#[expect(dead_code, reason = "xtask starts a node for people, the rows for themselves")]
mod kafka;
mod load;
mod machine;
mod network;
mod outage;
mod random_faults;
mod plugins;
mod proxy;
mod report;
mod rows;
mod state_crash;
mod state_group;
mod state_load;
mod state_scale;
#[expect(dead_code, reason = "shared with tests/it, which uses more of it")]
mod support;

use std::env;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use report::Report;
use report::Result;
use report::Scope;
use rows::Case;
use rows::How;
use rows::ROWS;
use rows::Row;
use support::clock;
use support::say;

/// The rows of `cargo xtask test`: the most valuable ones that fit into a few minutes. The integration tests have similar cases for
/// F2, F3 and F14.
const SLICE: [&str; 5] = ["F1", "F7", "F11", "F35", "F38"];
/// The row of the slice that is run with exactly-once delivery as well.
const SLICE_ONCE: &str = "F1";
/// The number of concurrent rows of the slice: they wait more than they compute. A row whose figures are published runs alone.
const AT_ONCE: usize = 2;

/// The arguments of the command line.
#[derive(Debug, Default)]
struct Arguments {
    only: Option<String>,
    from: Option<String>,
    seed: Option<u64>,
    full: bool,
    slice: bool,
    /// Set in the process of a row: runs this row and prints its results.
    here: Option<String>,
}

fn main() -> ExitCode {
    let arguments = match parse(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            say(&format!(
                "{error}\nusage: cargo xtask faults [--only ROW,ROW] [--from ROW] [--full] [--slice] [--seed N]"
            ));
            return ExitCode::from(2);
        }
    };
    if let Some(row) = arguments.here.as_deref().and_then(|id| ROWS.iter().find(|row| row.id == id)) {
        Case::run_here(row, arguments.full, arguments.slice);
        return ExitCode::SUCCESS;
    }
    let failed = run_all(&arguments);
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    say(&format!("failed: {}", failed.join(", ")));
    ExitCode::FAILURE
}

fn parse(mut words: impl Iterator<Item = String>) -> std::result::Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
        match word.as_str() {
            "--only" => arguments.only = Some(value()?),
            "--from" => arguments.from = Some(value()?),
            "--here" => arguments.here = Some(value()?),
            "--seed" => arguments.seed = Some(value()?.parse().map_err(|_| "`--seed` needs a number".to_owned())?),
            "--full" => arguments.full = true,
            "--slice" => arguments.slice = true,
            other => return Err(format!("unknown argument `{other}`")),
        }
    }
    let given = [&arguments.only, &arguments.from, &arguments.here].into_iter().flatten();
    for row in given.flat_map(|list| list.split(',')) {
        if !ROWS.iter().any(|known| known.id == row) {
            return Err(format!("there is no row `{row}`: they are F1 to F40, and `F1 state` and such"));
        }
    }
    Ok(arguments)
}

/// Runs the requested rows. Returns the failed ones.
fn run_all(arguments: &Arguments) -> Vec<String> {
    let scope = match arguments {
        Arguments { slice: true, .. } => Scope::Aside,
        Arguments { only: None, from: None, .. } => Scope::All,
        _ => Scope::Some,
    };
    // Compiled here, so that the processes of the rows find it.
    support::java::compile();
    let report = Mutex::new(Report::open(scope));
    let failed = Mutex::new(Vec::new());
    let from = arguments.from.as_ref().and_then(|from| ROWS.iter().position(|row| row.id == *from)).unwrap_or(0);
    let is_wanted = |row: &&Row| {
        arguments.only.as_ref().is_none_or(|only| only.split(',').any(|id| row.id == id))
            && (!arguments.slice || SLICE.contains(&row.id))
    };
    let rows = Mutex::new(ROWS[from..].iter().filter(is_wanted));
    let start = clock::Watch::start();
    let next = || rows.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run_rows = || {
        while let Some(row) = next() {
            run_row(arguments, row, &report, &failed);
        }
    };
    thread::scope(|threads| {
        for _ in 0..if arguments.slice { AT_ONCE } else { 1 } {
            threads.spawn(run_rows);
        }
    });
    let place = report.into_inner().unwrap_or_else(PoisonError::into_inner).place();
    say(&format!("==> all: {:.1} s; {place}", start.elapsed().as_secs_f64()));
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a row and adds its results to the report.
fn run_row(arguments: &Arguments, row: &Row, report: &Mutex<Report>, failed: &Mutex<Vec<String>>) {
    let watch = clock::Watch::start();
    let seed = arguments.seed.unwrap_or_else(clock::unix_ms);
    say(&format!("==> {} {}: seed {seed}", row.id, row.fault));
    let results = match row.how {
        How::Run(_) | How::Mount(_) => in_a_process(row, seed, arguments, false),
        How::Once(_) => in_a_process(row, seed, arguments, true),
        How::Both(_) => {
            let mut results = in_a_process(row, seed, arguments, false);
            // The slice has the row that needs it most.
            if !arguments.slice || row.id == SLICE_ONCE {
                results.extend(in_a_process(row, seed, arguments, true));
            }
            results
        }
        How::Test { binary, filter, .. } => vec![report::of_test(row.id, binary, filter, arguments.full)],
    };
    for result in results {
        if result.outcome == report::FAILED {
            failed.lock().unwrap_or_else(PoisonError::into_inner).push(result.row.clone());
        }
        say(&format!("    {} {}: {}", result.row, result.outcome, result.figures));
        report.lock().unwrap_or_else(PoisonError::into_inner).put(row, seed, &result);
    }
    say(&format!("==> {}: {:.1} s", row.id, watch.elapsed().as_secs_f64()));
}

/// Runs a row in a process of its own, with its own node, Java client and seed.
fn in_a_process(row: &Row, seed: u64, arguments: &Arguments, once: bool) -> Vec<Result> {
    let program = env::current_exe().expect("a process knows its program");
    let mut command = if matches!(row.how, How::Mount(_)) {
        let mut command = kafka::bound(Path::new("unshare"));
        command.arg("--mount").arg("--").arg(program);
        command
    } else {
        kafka::bound(&program)
    };
    if once {
        command.env("WASMILL_TEST_DELIVERY", "exactly_once");
    }
    command
        .args(["--here", row.id])
        .args(arguments.full.then_some("--full"))
        .args(arguments.slice.then_some("--slice"))
        .env("WASMILL_SEED", seed.to_string());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the test can start itself");
    let out = child.stdout.take().expect("it is piped");
    let mut results = Vec::new();
    for line in BufReader::new(out).lines().map_while(std::io::Result::ok) {
        results.extend(Result::parse(&line));
    }
    let status = child.wait().expect("it is our child");
    if !status.success() || results.is_empty() {
        results.push(Result::failed(row.id, "", &format!("the row's process ended with {status}")));
    }
    results
}
