//! `wasmill test`: runs the test cases next to a pipeline's file, without a broker.

use std::fmt::Write as _;
use std::path::Path;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap::ValueEnum;
use serde_json::json;

use super::args::Compiled;
use super::args::PipelineFile;
use super::args::ProcessFile;
use super::exit_code::Exit;
use super::load;
use super::print;
use crate::config;
use crate::dry_run::cases;
use crate::dry_run::cases::Verdict;

/// Runs the test cases of pipelines without a broker: `orders.test.toml` beside `orders.toml`.
///
/// Exit code 1: a case failed. Exit code 78: a pipeline or its cases can't be run.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill test orders.toml
  wasmill test pipelines/*.toml --format junit > report.xml
  wasmill test orders.toml --filter email --bless

A case:
  [[case]]
  name = \"an email is masked\"
  input = ['{\"email\":\"a@example.org\"}']
  expect = ['{\"email\":\"***\"}']     # or expect_file = \"out.ndjson\", or expect_error = \"bad-json\"")]
pub(super) struct Args {
    /// Pipeline files
    #[arg(value_name = "FILE", required = true, env = "WASMILL_FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    service: ProcessFile,
    #[command(flatten)]
    compiled: Compiled,
    /// Run only the cases whose name contains this text
    #[arg(long, value_name = "TEXT", env = "WASMILL_FILTER")]
    filter: Option<String>,
    /// Write the present outputs into the files that cases name with `expect_file`
    #[arg(long)]
    bless: bool,
    /// The format of the results
    #[arg(long, value_enum, default_value = "human", env = "WASMILL_TEST_FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for people
    Human,
    /// One JSON object on each line
    Json,
    /// JUnit XML, for build servers
    Junit,
}

/// The test cases of a file and their results.
struct Suite {
    file: PathBuf,
    verdicts: Vec<Verdict>,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let mut suites = Vec::new();
    for file in &args.files {
        suites.push(suite(args, file)?);
    }
    let text = match args.format {
        Format::Human => suites.iter().map(human).collect(),
        Format::Json => suites.iter().map(lines).collect(),
        Format::Junit => junit(&suites),
    };
    // If the reader has closed the pipe, the exit code still reports the result.
    print::data(&text)?;
    let verdicts = || suites.iter().flat_map(|suite| &suite.verdicts);
    match (verdicts().filter(|verdict| verdict.result.is_err()).count(), verdicts().count()) {
        (0, 0) => Err(Exit::Usage("test: no case has that name".into())),
        (0, all) if args.format == Format::Human => print::data(&format!("{all} passed\n")).map(drop),
        (0, _) => Ok(()),
        (failed, all) => Err(Exit::Stopped(format!("{failed} of {all} cases failed"))),
    }
}

fn suite(args: &Args, file: &Path) -> Result<Suite, Exit> {
    let config =
        load::file(&PipelineFile { path: file.to_owned(), set: Vec::new(), service: args.service.clone() }, None)?;
    let cases = config::cases(&config::cases_path(file)).map_err(Exit::Invalid)?;
    let steps = load::steps(&config, &args.compiled)?;
    let is_meant = |case: &&config::Case| args.filter.as_ref().is_none_or(|text| case.name.contains(text.as_str()));
    let mut verdicts = Vec::new();
    for case in cases.iter().filter(is_meant) {
        if args.bless {
            cases::bless(&config, &steps, case).map_err(|why| Exit::Invalid(format!("case `{}`: {why}", case.name)))?;
        }
        verdicts.push(cases::run(&config, &steps, case));
    }
    Ok(Suite { file: file.to_owned(), verdicts })
}

fn human(suite: &Suite) -> String {
    let mut text = String::new();
    for Verdict { name, result, took } in &suite.verdicts {
        let word = if result.is_ok() { "ok    " } else { "FAILED" };
        // Writing to a String can't fail.
        let _ = writeln!(text, "{word} {} {name} ({took:.1?})", suite.file.display());
        if let Err(why) = result {
            why.lines().for_each(|line| text.push_str(&format!("       {line}\n")));
        }
    }
    text
}

fn lines(suite: &Suite) -> String {
    let line = |verdict: &Verdict| {
        let why = verdict.result.as_ref().err();
        let (file, seconds) = (suite.file.display().to_string(), verdict.took.as_secs_f64());
        json!({ "file": file, "case": verdict.name, "ok": why.is_none(), "seconds": seconds, "why": why }).to_string()
            + "\n"
    };
    suite.verdicts.iter().map(line).collect()
}

fn junit(suites: &[Suite]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for Suite { file, verdicts } in suites {
        let failures = verdicts.iter().filter(|verdict| verdict.result.is_err()).count();
        let (name, all) = (xml(&file.display().to_string()), verdicts.len());
        // Writing to a String can't fail.
        let _ = writeln!(text, "  <testsuite name=\"{name}\" tests=\"{all}\" failures=\"{failures}\">");
        for Verdict { name: case, result, took } in verdicts {
            let (case, seconds) = (xml(case), took.as_secs_f64());
            let _ = write!(text, "    <testcase classname=\"{name}\" name=\"{case}\" time=\"{seconds:.6}\"");
            let _ = match result {
                Ok(()) => writeln!(text, "/>"),
                Err(why) => writeln!(text, ">\n      <failure>{}</failure>\n    </testcase>", xml(why)),
            };
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// Text escaped for XML; characters that XML can't represent become U+FFFD.
fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(c),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
