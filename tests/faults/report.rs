//! Writes docs/fault-report.md: a line for each result, all of the same revision.
//!
//! A run of all rows rewrites the page. A run of some rows replaces their lines, and drops lines of other revisions: the page describes one
//! state of the sources, and rows without a result are marked so.
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
# Injected faults and their results

`cargo xtask faults` runs this matrix and writes this page. For each row it starts a real Kafka node and a load, injects the fault, and counts the
records that arrived with Kafka's own Java client.
`--only F7` runs one row, `--from F14` starts at that row, `--full` uses the long schedules, `--seed N` repeats a schedule.
All rows are of one revision of the sources, as `git describe` names it: a run removes rows of other revisions, and a run of all rows rewrites the page.
A fault counts only if it hit a process with records in flight and lag above zero.
*Exactly once* in a row's name is `delivery = \"exactly_once\"`: the reader reads committed records, and none may be repeated or stale.
The load goes through two steps; each record is written to two of three outputs.

- *Missing* counts records that the input topic acknowledged and that lack an output.
- *Repeated* counts outputs that arrived more than once, which at-least-once delivery permits within a bound.
- *Disorder* counts records of a key that arrived out of order, not counting repeats.
- *Stale* counts keys whose last record is not their newest, repeats included: a compacted topic or a table would keep the wrong record.

| row | fault | injected | seed | revision | run (UTC) | result | figures |
|---|---|---|---|---|---|---|---|
";

/// The result of a row, or of a variant of it.
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

    fn new(row: &str, outcome: &'static str, injected: &str, figures: &str) -> Result {
        let plain = |text: &str| {
            let text: String =
                text.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { ' ' }).collect();
            let text: String = text.replace('|', "/").chars().take(600).collect();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        Result { row: row.to_owned(), outcome, injected: plain(injected), figures: plain(figures) }
    }

    /// The result as a line that [`Result::parse`] reads.
    pub(crate) fn line(&self) -> String {
        [MARK, &self.row, self.outcome, &self.injected, &self.figures].join("\t")
    }

    pub(crate) fn parse(line: &str) -> Option<Result> {
        let fields: Vec<&str> = line.strip_prefix(MARK)?.split('\t').skip(1).collect();
        let [row, outcome, injected, figures] = fields[..] else { return None };
        Some(Result::new(row, if outcome == PASSED { PASSED } else { FAILED }, injected, figures))
    }
}

/// The report page.
#[derive(Debug)]
pub(crate) struct Report {
    path: PathBuf,
    revision: String,
    lines: Vec<String>,
}

/// Which results a run writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All rows: no older results are kept.
    All,
    /// Some rows: other results of this revision are kept.
    Some,
    /// None in the sources: the page is written next to the build.
    Aside,
}

impl Report {
    pub(crate) fn open(scope: Scope) -> Report {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join(if scope == Scope::Aside { "target/fault-report.md" } else { "docs/fault-report.md" });
        let revision = revision(root);
        let text = if scope == Scope::Some { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        let is_kept = |line: &&str| field(line, 5) == revision && field(line, 7) != NOT_RUN;
        let lines = text.lines().filter(|line| line.starts_with("| F")).filter(is_kept).map(str::to_owned).collect();
        Report { path, revision, lines }
    }

    pub(crate) fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// Replaces the row's older line, or inserts the line where the row belongs, and writes the page.
    pub(crate) fn put(&mut self, row: &Row, seed: u64, result: &Result) {
        let Result { row: name, outcome, injected, figures } = result;
        let seed = if injected.is_empty() { "-".to_owned() } else { seed.to_string() };
        let when = jiff::Timestamp::from_millisecond(i64::try_from(clock::unix_ms()).unwrap()).unwrap().to_string();
        let (fault, revision) = (row.fault, &self.revision);
        self.lines.retain(|line| field(line, 1) != name);
        self.lines.push(format!(
            "| {name} | {fault} | {injected} | {seed} | {revision} | {} | {outcome} | {figures} |",
            &when[..16]
        ));
        self.write();
    }

    fn write(&self) {
        let mut lines = self.lines.clone();
        for Row { id, fault, .. } in &ROWS {
            if !lines.iter().any(|line| row_of(line) == *id) {
                let revision = &self.revision;
                lines.push(format!("| {id} | {fault} |  | - | {revision} | - | {NOT_RUN} | not in this revision |"));
            }
        }
        lines.sort_by_key(|line| (ROWS.iter().position(|known| known.id == row_of(line)), field(line, 1).to_owned()));
        fs::write(&self.path, format!("{HEAD}{}\n", lines.join("\n"))).unwrap();
    }
}

/// The revision of the sources, and whether they were changed since. The page itself is ignored, because it is being written.
fn revision(root: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(name) = git(&["describe", "--always"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ":!docs/fault-report.md"]);
    if changed.is_some_and(|changed| changed.is_empty()) { name } else { format!("{name}-dirty") }
}

fn field(line: &str, number: usize) -> &str {
    line.split('|').nth(number).unwrap_or_default().trim()
}

fn row_of(line: &str) -> &str {
    field(line, 1).split('/').next().unwrap_or_default()
}

/// Runs a row that is a test of another binary, and takes its result.
pub(crate) fn of_test(row: &str, binary: &str, filter: &str, full: bool) -> Result {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "test",
        "--package",
        "wasmill",
        // The same features as this test, so that nothing is rebuilt.
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
        let why = format!("{}: {}: {}", output.status, counts.join(" "), failures(&text).join("; "));
        Result::failed(row, &injected, &why)
    }
}

/// The failed tests, and the first line of each one's output.
fn failures(text: &str) -> Vec<String> {
    let mut lines = text.lines();
    let mut failures = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(test) = line.strip_prefix("thread '").and_then(|rest| rest.split('\'').next())
            && line.contains(" panicked at ")
        {
            failures.push(format!("{test}: {}", lines.next().unwrap_or_default()));
        }
    }
    failures
}
