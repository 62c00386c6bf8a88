//! `wasmill schema`: the JSON Schema of a pipeline's file.

use std::io;
use std::io::Write as _;

use clap::Args as ClapArgs;

use super::exit_code::Exit;
use crate::config;

/// Prints the JSON Schema (draft 7) of pipeline files, with which editors complete keys and show what they mean.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill schema > pipeline.schema.json
  then, as the first line of a pipeline's file: #:schema ./pipeline.schema.json")]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Result<(), Exit> {
    // If nobody reads stdout, there is nobody to tell.
    let _ = writeln!(io::stdout(), "{:#}", config::schema());
    Ok(())
}
