//! `wasmill config show`: the values of a pipeline's file that take effect.

use clap::Args as ClapArgs;
use clap::Subcommand;

use super::args::PipelineFile;
use super::exit_code::Exit;
use super::print;
use crate::config;

/// Shows the configuration of a pipeline.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill config show orders.toml
  wasmill config show orders.toml --set input.group=orders-2")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print every value that takes effect, and where it came from
    Show(Show),
}

/// Prints every value that takes effect, and where it came from: a line of the file, `--set`, or the default.
///
/// The output is TOML that can be pasted back, except for secrets, which are shown as `***`: passwords, and what came from `${file:..}`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill config show orders.toml
  wasmill config show orders.toml --set input.group=orders-2")]
struct Show {
    #[command(flatten)]
    file: PipelineFile,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let Verb::Show(show) = &args.verb;
    let overrides = config::Overrides { set: show.file.set.clone(), http: None };
    let env = |name: &str| std::env::var_os(name);
    let text = config::show(&show.file.path, &overrides, &env).map_err(|report| Exit::Invalid(report.to_string()))?;
    print::data(&text)?;
    Ok(())
}
