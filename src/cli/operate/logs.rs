//! `wasmill logs`: the last log lines of a pipeline.

use std::ops::ControlFlow;

use clap::Args as ClapArgs;
use hyper::Method;

use super::Process;
use super::Token;
use super::path;
use super::read;
use crate::admin::view;
use crate::admin::view::LogLine;
use crate::admin::view::StreamMissed;
use crate::admin::view::StreamNotice;
use crate::cli::exit_code::Exit;
use crate::cli::print;
use crate::cli::print::Reader;
use crate::telemetry;

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

/// Prints the lines.
///
/// # Errors
/// If the process doesn't answer, or has no such pipeline.
pub(in crate::cli) fn run(args: &Logs) -> Result<(), Exit> {
    let path = format!("{}/logs", path(&args.name));
    if !args.follow {
        let view::Logs { lines } = args.process.ask(&Method::GET, &path, args.token.get())?;
        return print::data(&lines.iter().map(line).collect::<String>()).map(drop);
    }
    args.process.follow(&format!("{path}?follow=1"), args.token.get(), |(event, data)| {
        let text = match event {
            "line" => line(&read(data)?),
            "missed" => {
                telemetry::tell(&format!("{} lines came too fast to be kept", read::<StreamMissed>(data)?.count));
                return Ok(ControlFlow::Continue(()));
            }
            "end" => return Err(Exit::Stopped(read::<StreamNotice>(data)?.text)),
            // Of a later version.
            _ => return Ok(ControlFlow::Continue(())),
        };
        let reader = print::data(&text)?;
        Ok(if reader == Reader::Gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}

fn line(line: &LogLine) -> String {
    format!("{} {:5} {}\n", line.at, line.level, visible(&line.text))
}

/// The text without what would move a terminal's cursor.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}
