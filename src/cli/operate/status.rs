//! `wasmill status` and `wasmill top`: what the pipelines of a process do.

use std::io;
use std::io::IsTerminal as _;
use std::thread;
use std::time::Duration;

use clap::Args as ClapArgs;
use hyper::Method;

use super::Process;
use super::path;
use crate::admin::view::Detail;
use crate::admin::view::Pipelines;
use crate::admin::view::Summary;
use crate::admin::view::columns;
use crate::cli::exit_code::Exit;
use crate::cli::print;
use crate::cli::print::Reader;

/// Shows the pipelines of a process, or one with its partitions and steps. Ends with exit code 1 if one of them isn't ready.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill status
  wasmill status orders --url http://mill-0:9108
  wasmill status --json | jq -r '.pipelines[] | select(.state == \"failed\").name'")]
pub(in crate::cli) struct Status {
    /// The name of a pipeline; all of them without it
    #[arg(value_name = "NAME", env = "WASMILL_NAME")]
    name: Option<String>,
    #[command(flatten)]
    process: Process,
    /// Print the answer as JSON
    #[arg(long, env = "WASMILL_JSON")]
    json: bool,
    /// Show it again every two seconds, until ctrl-c
    #[arg(short, long, env = "WASMILL_WATCH_STATUS")]
    watch: bool,
}

/// How often it is shown again.
const EVERY: Duration = Duration::from_secs(2);
/// Clears the terminal.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Prints what the process answers. `refreshes`: again and again.
///
/// # Errors
/// If the process doesn't answer, or a pipeline isn't ready.
pub(in crate::cli) fn run(args: &Status, refreshes: bool) -> Result<(), Exit> {
    loop {
        let (text, unready) = once(args)?;
        let clear = if (refreshes || args.watch) && io::stdout().is_terminal() { CLEAR } else { "" };
        if print::data(&format!("{clear}{text}"))? == Reader::Gone {
            return Ok(());
        }
        if !(refreshes || args.watch) {
            let what = || Exit::Stopped(format!("not ready: {}", unready.join(", ")));
            return if unready.is_empty() { Ok(()) } else { Err(what()) };
        }
        thread::sleep(EVERY);
    }
}

/// What to print, and the pipelines that aren't ready.
fn once(args: &Status) -> Result<(String, Vec<String>), Exit> {
    let unready = |summary: &Summary| (!summary.ready).then(|| format!("`{}` is {}", summary.name, summary.state));
    if let Some(name) = &args.name {
        let detail: Detail = args.process.ask(&Method::GET, &path(name), None)?;
        let text = if args.json { json(&detail)? } else { page(&detail) };
        return Ok((text, unready(&detail.summary).into_iter().collect()));
    }
    let all: Pipelines = args.process.ask(&Method::GET, "/api/v1/pipelines", None)?;
    let text = if args.json { json(&all)? } else { table(&all.pipelines) };
    Ok((text, all.pipelines.iter().filter_map(unready).collect()))
}

fn json(value: &impl serde::Serialize) -> Result<String, Exit> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Exit::Bug(error.to_string()))?;
    Ok(format!("{text}\n"))
}

/// All pipelines.
fn table(pipelines: &[Summary]) -> String {
    let mut lines =
        vec![["PIPELINE", "STATE", "LAG", "IN", "OUT", "FAILURES", "DEAD", "SINCE"].map(str::to_owned).to_vec()];
    for summary in pipelines {
        lines.push(vec![
            summary.name.clone(),
            summary.state.clone(),
            lag(summary),
            summary.records.consumed.to_string(),
            summary.records.produced.to_string(),
            summary.records.failures.to_string(),
            summary.records.dead_lettered.to_string(),
            summary.since.clone(),
        ]);
    }
    let mut text = columns(&lines);
    for summary in pipelines.iter().filter(|summary| summary.state != "running") {
        text.push_str(&format!("\n{}: {}\n", summary.name, summary.reason.trim_end()));
    }
    text
}

fn lag(summary: &Summary) -> String {
    match summary.lag.seconds {
        seconds if seconds > 0.0 => format!("{} ({seconds:.0} s)", summary.lag.records),
        _ => summary.lag.records.to_string(),
    }
}

/// One pipeline.
fn page(detail: &Detail) -> String {
    let Detail { summary, checks, partitions, steps, outputs, .. } = detail;
    let group = summary.group.as_ref().map_or_else(String::new, |group| format!(", group {group}"));
    let mut text =
        format!("{}: {} since {}{group}\n{}\n", summary.name, summary.state, summary.since, summary.reason.trim_end());
    for check in checks.iter().filter(|check| !check.ok) {
        text.push_str(&format!("[-]{}: {}\n", check.name, check.detail));
    }
    let mut lines =
        vec![["PARTITION", "COMMITTED", "END", "LAG", "IN FLIGHT", "WATERMARK"].map(str::to_owned).to_vec()];
    lines.extend(partitions.iter().map(|partition| {
        vec![
            format!("{}/{}", partition.topic, partition.partition),
            partition.committed.to_string(),
            partition.end.to_string(),
            partition.lag.records.to_string(),
            partition.in_flight.to_string(),
            partition.watermark.clone().unwrap_or_default(),
        ]
    }));
    text.push_str(&format!("\n{}", columns(&lines)));
    let mut lines = vec![["STEP", "IN", "OUT", "P99 MS", "FAILURES"].map(str::to_owned).to_vec()];
    lines.extend(steps.iter().map(|step| {
        let errors: Vec<String> = step.errors.iter().map(|error| format!("{} {}", error.kind, error.count)).collect();
        let p99 = step.p99.map_or_else(String::new, |seconds| format!("{:.3}", seconds * 1e3));
        vec![step.name.clone(), step.records_in.to_string(), step.records_out.to_string(), p99, errors.join(", ")]
    }));
    text.push_str(&format!("\n{}", columns(&lines)));
    let mut lines = vec![["OUTPUT", "TOPIC", "RECORDS", "ERRORS"].map(str::to_owned).to_vec()];
    lines.extend(outputs.iter().map(|output| {
        let topic = output.topic.clone().unwrap_or_default();
        vec![output.name.clone(), topic, output.records.to_string(), output.errors.to_string()]
    }));
    text.push_str(&format!("\n{}", columns(&lines)));
    if let Some(failure) = &summary.last_failure {
        text.push_str(&format!(
            "\nlast failure, {}: topic {}, partition {}, offset {}: {}\n",
            failure.at, failure.topic, failure.partition, failure.offset, failure.what
        ));
    }
    text
}
