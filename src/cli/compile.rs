//! `wasmill compile-component`: the child process that compiles a component for another wasmill process.
//!
//! The command is hidden: its output is native code for exactly this version.

use std::io;

use clap::Parser;

use super::exit_code::Exit;
use crate::plugin;

/// The command's name.
pub(super) const VERB: &str = "compile-component";

/// Reads a component from stdin and writes its native code to stdout.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Bytes of addresses that this process may use
    #[arg(long, value_name = "BYTES")]
    memory: u64,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    plugin::compile_from(io::stdin().lock(), io::stdout().lock(), args.memory).map_err(Exit::Invalid)
}
