//! `wasmill pause`, `resume`, `restart`, `stop`, `start` and `reload`.

use clap::Args as ClapArgs;
use hyper::Method;

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

/// Asks the process for an operation.
///
/// # Errors
/// If it isn't done.
pub(in crate::cli) fn run(args: &Act, operation: Operation) -> Result<(), Exit> {
    let path = format!("{}/{operation}", path(&args.name));
    let done: Operated = args.process.ask(&Method::POST, &path, args.token.get())?;
    telemetry::tell(&format!("{}: {}", done.pipeline, done.result));
    Ok(())
}
