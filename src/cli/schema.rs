//! `wasmill schema`: the JSON Schema of a pipeline file, of a policy, or of the settings of a process.

use clap::Args as ClapArgs;
use clap::ValueEnum;

use super::exit_code::Exit;
use super::print;
use crate::config;

/// Prints the JSON Schema (draft 7) of pipeline files, of policies, or of the settings of a process, which lets editors complete keys and show what they mean.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill schema > pipeline.schema.json
  then, as the first line of a pipeline's file: #:schema ./pipeline.schema.json
  wasmill schema policy > policy.schema.json
  wasmill schema service > wasmill.schema.json")]
pub(super) struct Args {
    /// The kind of file
    #[arg(value_enum, default_value = "pipeline", env = "WASMILL_SCHEMA")]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Pipeline files
    Pipeline,
    /// Files for `--policy`
    Policy,
    /// The settings of a process: `wasmill.toml`
    Service,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let schema = match args.kind {
        Kind::Pipeline => config::schema(),
        Kind::Policy => config::policy_schema(),
        Kind::Service => config::process_schema(),
    };
    print::data(&format!("{schema:#}\n"))?;
    Ok(())
}
