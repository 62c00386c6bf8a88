//! `wasmill check`: a pipeline file and its components, without running them.

use std::io;
use std::io::Write;

use clap::Args as ClapArgs;

use super::args::PipelineFile;
use super::exit_code::Exit;
use super::load;

/// Checks the fields of a pipeline file, then the components of its steps: world, version and imports.
///
/// Only with --offline: brokers, topics and permissions are not checked yet.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill check --offline orders.toml && wasmill run orders.toml")]
pub(super) struct Args {
    #[command(flatten)]
    file: PipelineFile,
    /// Check the file and the components only
    #[arg(long, env = "WASMILL_OFFLINE")]
    offline: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    if !args.offline {
        return Err(Exit::Usage(
            "check: brokers and topics can't be checked yet; add --offline to check the file and its components".into(),
        ));
    }
    let config = load::file(&args.file, None)?;
    let steps = load::steps(&config)?;
    let outputs = config.kafka.outputs.len();
    // If nobody reads stdout, the code says it too.
    let _ =
        writeln!(io::stdout(), "{}: ok ({}, {})", config.name, plural(steps.len(), "step"), plural(outputs, "output"));
    Ok(())
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
