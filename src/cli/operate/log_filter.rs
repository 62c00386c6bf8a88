//! `wasmill log-filter`: shows or sets what a process logs.

use clap::Args as ClapArgs;
use hyper::Method;

use super::Process;
use super::Token;
use crate::admin::LogFilterRequest;
use crate::admin::LogFilterView;
use crate::cli::exit_code::Exit;
use crate::cli::print;

/// Shows or sets which log lines a process writes.
///
/// Without a filter it prints the one that is in use.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill log-filter
  wasmill log-filter info,wasmill=debug --for 10m
  wasmill log-filter info,wasmill::kafka=debug --url http://mill-0:9108")]
pub(in crate::cli) struct LogFilter {
    /// The new filter: a level, or levels by module, as in `info,wasmill::kafka=debug`
    #[arg(value_name = "FILTER", env = "WASMILL_NEW_LOG")]
    wanted: Option<String>,
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    token: Token,
    /// Go back to the filter before after this time, as in `10m`
    #[arg(long = "for", value_name = "TIME", requires = "wanted", env = "WASMILL_FOR")]
    time: Option<String>,
}

/// Prints the filter that is in use, after setting it if one is given.
///
/// # Errors
/// If the process doesn't answer, or refuses the filter.
pub(in crate::cli) fn run(args: &LogFilter) -> Result<(), Exit> {
    let path = "/api/v1/log";
    let LogFilterView { filter, until, then } = match &args.wanted {
        None => args.process.ask(&Method::GET, path, None)?,
        Some(wanted) => {
            let wanted = LogFilterRequest { filter: wanted.clone(), time: args.time.clone() };
            let body = serde_json::to_string(&wanted).map_err(|error| Exit::Bug(error.to_string()))?;
            args.process.send(&Method::PUT, path, args.token.get(), &body)?
        }
    };
    let returns = until.zip(then).map_or_else(String::new, |(until, then)| format!("  (until {until}, then {then})"));
    print::data(&format!("{filter}{returns}\n")).map(drop)
}
