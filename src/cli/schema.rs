//! `wasmill schema`: the JSON Schema of a pipeline file.

use clap::Args as ClapArgs;

use super::exit_code::Exit;
use super::print;
use crate::config;

/// Prints the JSON Schema (draft 7) of pipeline files, which lets editors complete keys and show what they mean.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill schema > pipeline.schema.json
  then, as the first line of a pipeline's file: #:schema ./pipeline.schema.json")]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Result<(), Exit> {
    print::data(&format!("{:#}\n", config::schema()))?;
    Ok(())
}
