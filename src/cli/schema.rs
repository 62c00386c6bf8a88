//! `wasmill schema`: the JSON Schema of a pipeline file, or of a policy.

use clap::Args as ClapArgs;
use clap::ValueEnum;

use super::exit_code::Exit;
use super::print;
use crate::config;

/// Prints the JSON Schema (draft 7) of pipeline files or of policies, which lets editors complete keys and show what they mean.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill schema > pipeline.schema.json
  then, as the first line of a pipeline's file: #:schema ./pipeline.schema.json
  wasmill schema policy > policy.schema.json")]
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
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let schema = match args.kind {
        Kind::Pipeline => config::schema(),
        Kind::Policy => config::policy_schema(),
    };
    print::data(&format!("{schema:#}\n"))?;
    Ok(())
}
