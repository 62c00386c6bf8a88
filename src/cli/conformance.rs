//! `wasmill conformance`: checks whether a plugin complies with the contract.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::value::RawValue;

use super::args::Compiled;
use super::exit_code::Exit;
use super::load;
use super::print;
use crate::dry_run::conformance;
use crate::dry_run::line;

/// Checks that a plugin keeps the contract; needs no pipeline.
///
/// The plugin gets unusual records: nulls, every byte, broken JSON, large values and thousands of headers. Each is sent alone and in
/// calls of 1, 7 and 128 records, repeatedly. If the plugin keeps state, its cells, their merging and its windows are checked, too.
/// Exit code 1: the plugin breaks a rule. Exit code 78: the file is not a plugin.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill conformance mask.wasm
  wasmill conformance route.wasm --settings '{\"field\":\"type\",\"routes\":{\"refund\":\"refunds\"}}' --port refunds
  wasmill conformance mask.wasm --records orders.ndjson")]
pub(super) struct Args {
    /// The plugin's file
    #[arg(value_name = "WASM", env = "WASMILL_WASM")]
    path: PathBuf,
    /// The plugin's settings, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", env = "WASMILL_SETTINGS")]
    settings: String,
    /// A port besides `main`; can be given several times
    #[arg(long = "port", value_name = "NAME")]
    ports: Vec<String>,
    /// A file with more values to send, one on each line
    #[arg(long, value_name = "FILE", env = "WASMILL_RECORDS")]
    records: Option<PathBuf>,
    /// The longest time that one call may take
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    compiled: Compiled,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    // Passed on as text: a number may have more digits than any Rust type holds.
    let settings: &RawValue = serde_json::from_str(&args.settings)
        .map_err(|error| Exit::Usage(format!("conformance: --settings is not JSON: {error}")))?;
    let records = args.records.as_deref().map_or_else(|| Ok(Vec::new()), line::values).map_err(Exit::Invalid)?;
    let engine = load::engine(&args.compiled)?;
    let step = conformance::load(&engine, &args.path, settings.get().to_owned(), &args.ports, args.timeout)
        .map_err(|error| Exit::Invalid(error.to_string()))?;
    let findings = conformance::examine(&step, &records);
    let mut broken = 0;
    for finding in &findings {
        let line = match &finding.result {
            Ok(()) => match &finding.untried {
                None => format!("ok      {}", finding.rule),
                Some(why) => format!("untried {}\n        {}", finding.rule, why.replace('\n', "\n        ")),
            },
            Err(why) => {
                broken += 1;
                format!("BROKEN  {}\n        {}", finding.rule, why.replace('\n', "\n        "))
            }
        };
        // If the reader has closed the pipe, the exit code still reports the result.
        print::data(&format!("{line}\n"))?;
    }
    match broken {
        0 => Ok(()),
        1 => Err(Exit::Stopped("the plugin breaks 1 rule of the contract".into())),
        _ => Err(Exit::Stopped(format!("the plugin breaks {broken} rules of the contract"))),
    }
}
