//! `wasmill logs`: the last log lines of a pipeline.

use std::thread;
use std::time::Duration;

use clap::Args as ClapArgs;
use hyper::Method;

use super::Process;
use super::Token;
use super::path;
use crate::admin::view;
use crate::cli::exit_code::Exit;
use crate::cli::print;
use crate::cli::print::Reader;

/// Prints the last log lines of a pipeline and of its plugins.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill logs orders
  wasmill logs orders -f --url http://mill-0:9108")]
pub(in crate::cli) struct Logs {
    /// The name of the pipeline, as `wasmill status` lists it
    #[arg(value_name = "NAME", env = "WASMILL_NAME")]
    name: String,
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    token: Token,
    /// Print further lines as they come, until ctrl-c
    #[arg(short, long, env = "WASMILL_FOLLOW")]
    follow: bool,
}

/// How often further lines are asked for.
const EVERY: Duration = Duration::from_secs(1);

/// Prints the lines.
///
/// # Errors
/// If the process doesn't answer, or has no such pipeline.
pub(in crate::cli) fn run(args: &Logs) -> Result<(), Exit> {
    let mut after = 0;
    loop {
        let path = format!("{}/logs?after={after}", path(&args.name));
        let view::Logs { lines } = args.process.ask(&Method::GET, &path, args.token.get())?;
        let text: String =
            lines.iter().map(|line| format!("{} {:5} {}\n", line.at, line.level, visible(&line.text))).collect();
        if print::data(&text)? == Reader::Gone || !args.follow {
            return Ok(());
        }
        after = lines.last().map_or(after, |line| line.number);
        thread::sleep(EVERY);
    }
}

/// The text without what would move a terminal's cursor.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}
