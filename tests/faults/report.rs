//! docs/fault-report.md: a line for each result, the newest of its kind.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::rows::ROWS;
use crate::rows::Row;
use crate::support::clock;

pub(crate) const PASSED: &str = "pass";
pub(crate) const FAILED: &str = "**FAIL**";
const NOT_RUN: &str = "not run";
const MARK: &str = "@@";

const HEAD: &str = "\
# Faults injected, and what came of them

`cargo xtask faults` runs this matrix and writes this page: a real Kafka node for each row, a load, a fault, and Kafka's own Java client that counts
what arrived.
`--only F7` runs a row, `--from F14` goes on there, `--full` takes the long schedules, `--seed N` repeats one.
A line is the last run of its row; a fault counts only if it hit a process with records in flight and lag above zero.
*Missing* are records that the topic acknowledged to their sender and that never arrived; *repeated* are outputs that came again, which delivery at
least once permits within a bound; *disorder* are records of a key that came in another order, repeats aside.

| row | fault | injected | seed | run (UTC) | result | figures |
|---|---|---|---|---|---|---|
";

/// What came of a row, or of a variant of it.
#[derive(Clone, Debug)]
pub(crate) struct Result {
    pub(crate) row: String,
    pub(crate) outcome: &'static str,
    pub(crate) injected: String,
    pub(crate) figures: String,
}

impl Result {
    pub(crate) fn passed(row: &str, injected: &str, figures: &str) -> Result {
        Result::new(row, PASSED, injected, figures)
    }

    pub(crate) fn failed(row: &str, injected: &str, why: &str) -> Result {
        Result::new(row, FAILED, injected, why)
    }

    pub(crate) fn not_run(row: &str, why: &str) -> Result {
        Result::new(row, NOT_RUN, "", why)
    }

    fn new(row: &str, outcome: &'static str, injected: &str, figures: &str) -> Result {
        let plain = |text: &str| {
            let text: String =
                text.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { ' ' }).collect();
            let text: String = text.replace('|', "/").chars().take(600).collect();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        Result { row: row.to_owned(), outcome, injected: plain(injected), figures: plain(figures) }
    }

    /// As a line that [`Result::parse`] understands.
    pub(crate) fn line(&self) -> String {
        [MARK, &self.row, self.outcome, &self.injected, &self.figures].join("\t")
    }

    pub(crate) fn parse(line: &str) -> Option<Result> {
        let fields: Vec<&str> = line.strip_prefix(MARK)?.split('\t').skip(1).collect();
        let [row, outcome, injected, figures] = fields[..] else { return None };
        Some(Result::new(row, if outcome == PASSED { PASSED } else { FAILED }, injected, figures))
    }
}

/// The page.
#[derive(Debug)]
pub(crate) struct Report {
    path: PathBuf,
}

impl Report {
    /// The page of the documentation, or, for a run that is to leave no trace in the sources, one beside the build.
    pub(crate) fn open(aside: bool) -> Report {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Report { path: root.join(if aside { "target/fault-report.md" } else { "docs/fault-report.md" }) }
    }

    pub(crate) fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// Puts a line where its older one was, or where its row belongs.
    pub(crate) fn put(&mut self, row: &Row, seed: u64, result: &Result) {
        let when = jiff::Timestamp::from_millisecond(i64::try_from(clock::unix_ms()).unwrap()).unwrap().to_string();
        let Result { row: name, outcome, injected, figures } = result;
        let seed = if injected.is_empty() { "-".to_owned() } else { seed.to_string() };
        let fault = row.fault;
        let line = format!("| {name} | {fault} | {injected} | {seed} | {} | {outcome} | {figures} |", &when[..16]);
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let mut lines: Vec<String> =
            text.lines().filter(|line| line.starts_with("| F") && name_of(line) != name).map(str::to_owned).collect();
        lines.push(line);
        lines.sort_by_key(|line| {
            let name = name_of(line);
            let row = name.split('/').next().unwrap_or(name);
            (ROWS.iter().position(|known| known.id == row), name.to_owned())
        });
        fs::write(&self.path, format!("{HEAD}{}\n", lines.join("\n"))).unwrap();
    }
}

fn name_of(line: &str) -> &str {
    line.split('|').nth(1).unwrap_or_default().trim()
}

/// A row that is a test of another binary: it is run, and its word counts.
pub(crate) fn of_test(row: &str, binary: &str, filter: &str, full: bool) -> Result {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "test",
        "--package",
        "wasmill",
        // As this test is built, so that nothing is built again.
        "--features",
        "failpoints",
        "--test",
        binary,
        "--",
        filter,
    ]);
    if full {
        command.env("WASMILL_FULL", "1");
    }
    let injected = format!("by `cargo test --test {binary} {filter}`");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts: Vec<&str> = text.lines().filter(|line| line.starts_with("test result:")).collect();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let figures: Vec<&str> = said
        .lines()
        .filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            !name.contains(' ') && line.contains(": ") && !line.starts_with(['{', ' ']) && !line.contains("WASMILL_")
        })
        .collect();
    let last = figures[figures.len().saturating_sub(3)..].join("; ");
    let ran = counts.iter().any(|line| line.starts_with("test result: ok. ") && !line.contains("ok. 0 passed"));
    if output.status.success() && ran {
        Result::passed(row, &injected, &format!("{}; {last}", counts.join(" ").replace("test result: ", "")))
    } else {
        Result::failed(row, &injected, &format!("{}: {}", output.status, counts.join(" ")))
    }
}
