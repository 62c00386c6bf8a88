//! `wasmill run`: runs a pipeline with the brokers that its file names.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args as ClapArgs;

use super::args::Compiled;
use super::args::Http;
use super::args::PipelineFile;
use super::check;
use super::exit_code::Exit;
use super::instance::Instances;
use super::load;
use super::service::Service;
use super::signals::Signals;
use crate::config;

/// Runs a pipeline until a signal shuts it down or a record stops it.
///
/// If no broker can be reached, it logs that and waits. On TERM and INT it finishes what is in flight, commits and leaves the group; a
/// second signal ends it at once. HUP reloads what has changed in the file and in all files that it refers to: steps, outputs, limits
/// and error handling in place, input and connection with a new consumer.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill run orders.toml
  wasmill run orders.toml --watch
  wasmill run orders.toml --set input.group=orders-2 --http 0.0.0.0:9108
  WASMILL_LOG=wasmill::kafka=debug,info wasmill run orders.toml --log-format json")]
pub(super) struct Args {
    #[command(flatten)]
    file: PipelineFile,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    compiled: Compiled,
    /// Reload when the file, its components or any file that it refers to changes, as HUP does
    #[arg(long, env = "WASMILL_WATCH")]
    watch: bool,
    /// The folder of the lock files that `delivery = "exactly_once"` takes; by default `wasmill` in the user's state folder
    #[arg(long, value_name = "DIR", env = "WASMILL_STATE")]
    state: Option<PathBuf>,
}

pub(super) fn run(args: &Args, signals: &Arc<Signals>) -> Result<(), Exit> {
    let probe = Box::new(|_: &config::Pipeline, new: &config::Pipeline| check::online(new));
    let instances = Instances::new(args.state.clone());
    let written = load::written(&args.file, args.http.listen, move |config| instances.name(config), probe)?;
    let service = Service::listen(&written.config, signals)?;
    let steps = load::steps(&written.config, &args.compiled)?;
    let watch = args.watch || written.config.reload.watch;
    service.start(&steps, written, watch)?.wait()
}
