//! `wasmill config show`: the values of a pipeline's file that take effect.

use clap::Args as ClapArgs;
use clap::Subcommand;

use super::args::PipelineFile;
use super::exit_code::Exit;
use super::fleet;
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
/// With a folder, prints that of each pipeline in it. The output is TOML that can be pasted back, except for secrets, which are shown as
/// `***`: passwords, and what came from `${file:..}`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill config show orders.toml
  wasmill config show pipelines/
  wasmill config show pipelines/orders.toml --service pipelines/wasmill.toml
  wasmill config show orders.toml --set input.group=orders-2")]
struct Show {
    #[command(flatten)]
    file: PipelineFile,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let Verb::Show(show) = &args.verb;
    let paths = [show.file.path.clone()];
    let service = show.file.service.of(&paths)?;
    // A mistake in it is one error, and not one for each pipeline.
    service.settings()?;
    let overrides = config::Overrides { set: show.file.set.clone(), http: None, service: service.file };
    let env = |name: &str| std::env::var_os(name);
    let files = fleet::files(&paths, false)?;
    let (pages, reports): (Vec<_>, Vec<_>) =
        files.iter().map(|file| config::show(file, &overrides, &env)).partition(Result::is_ok);
    let pages: Vec<String> = pages.into_iter().flatten().collect();
    print::data(&pages.join("\n"))?;
    let reports: Vec<String> = reports.into_iter().filter_map(Result::err).map(|report| report.to_string()).collect();
    if reports.is_empty() { Ok(()) } else { Err(Exit::Invalid(reports.join("\n"))) }
}
