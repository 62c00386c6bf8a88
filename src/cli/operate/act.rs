//! `wasmill pause`, `resume`, `restart`, `stop`, `start`, `reload` and `skip`.

use clap::Args as ClapArgs;
use hyper::Method;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use super::Process;
use super::Token;
use super::path;
use crate::admin::Operation;
use crate::admin::view::Operated;
use crate::cli::exit_code::Exit;
use crate::telemetry;

/// What is asked for, of which pipeline.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill pause orders
  wasmill resume orders --url http://mill-0:9108
  WASMILL_TOKEN=\"$(cat token)\" wasmill restart orders")]
pub(in crate::cli) struct Act {
    /// The name of the pipeline, as `wasmill status` lists it
    #[arg(value_name = "NAME", env = "WASMILL_NAME")]
    name: String,
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    token: Token,
}

/// What `reload` takes.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill reload orders --dry-run
  wasmill reload orders")]
pub(in crate::cli) struct Reload {
    #[command(flatten)]
    act: Act,
    /// Change nothing, and say what would be
    #[arg(long, env = "WASMILL_DRY_RUN")]
    dry_run: bool,
}

/// What `skip` takes: the record, so that none is left out by accident.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill status orders
  wasmill skip orders --topic orders --partition 0 --offset 1041")]
pub(in crate::cli) struct Skip {
    #[command(flatten)]
    act: Act,
    /// The topic of the record
    #[arg(long, value_name = "TOPIC", env = "WASMILL_TOPIC")]
    topic: String,
    /// The record's partition
    #[arg(long, value_name = "NUMBER", env = "WASMILL_PARTITION")]
    partition: i32,
    /// The record's offset
    #[arg(long, value_name = "NUMBER", env = "WASMILL_OFFSET")]
    offset: i64,
}

/// Asks the process for an operation.
///
/// # Errors
/// If it isn't done.
pub(in crate::cli) fn run(args: &Act, operation: Operation) -> Result<(), Exit> {
    ask(args, operation.label())
}

/// Asks for a reload, or what it would change.
///
/// # Errors
/// If it isn't done, or would be refused.
pub(in crate::cli) fn reload(Reload { act, dry_run }: &Reload) -> Result<(), Exit> {
    ask(act, if *dry_run { "reload?dry_run=1" } else { Operation::Reload.label() })
}

/// Leaves out the record at which the pipeline has stopped.
///
/// # Errors
/// If it isn't done.
pub(in crate::cli) fn skip(Skip { act, topic, partition, offset }: &Skip) -> Result<(), Exit> {
    let topic = utf8_percent_encode(topic, NON_ALPHANUMERIC);
    ask(act, &format!("skip?topic={topic}&partition={partition}&offset={offset}"))
}

fn ask(args: &Act, operation: &str) -> Result<(), Exit> {
    let path = format!("{}/{operation}", path(&args.name));
    let done: Operated = args.process.ask(&Method::POST, &path, args.token.get())?;
    telemetry::tell(&format!("{}: {}", done.pipeline, done.result));
    Ok(())
}
