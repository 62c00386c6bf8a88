//! `wasmill state`: asks a running pipeline for the committed values of its step with windows, and creates its changelog topic.

mod create;
mod get;
mod list;
mod member;

use clap::Args as ClapArgs;
use clap::Subcommand;

use super::args::PipelineFile;
use super::exit_code::Exit;

/// Asks a running pipeline for the state of its step with windows, or creates the step's changelog topic.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill state ls orders.toml --prefix eu-
  wasmill state get orders.toml eu-17 --json
  wasmill state create orders.toml")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List keys with their values
    Ls(list::Args),
    /// Print the open windows of a key
    Get(get::Args),
    /// Create the changelog topic
    Create(create::Args),
}

/// Which pipeline is asked, and where.
#[derive(Debug, ClapArgs)]
struct Asked {
    #[command(flatten)]
    file: PipelineFile,
    /// Ask the process at this address, `host:port`; by default the file's `http.listen`
    #[arg(long, value_name = "ADDR", env = "WASMILL_AT")]
    at: Option<String>,
    /// Print JSON
    #[arg(long, env = "WASMILL_JSON")]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    match &args.verb {
        Verb::Ls(args) => list::run(args),
        Verb::Get(args) => get::run(args),
        Verb::Create(args) => create::run(args),
    }
}
