//! `wasmill run`: runs a pipeline with the brokers that its file names.

use std::sync::Arc;

use clap::Args as ClapArgs;

use super::args::Compiled;
use super::args::Http;
use super::args::PipelineFile;
use super::check;
use super::exit_code::Exit;
use super::load;
use super::service::Service;
use super::signals::Signals;
use crate::config;

/// Runs until a signal drains it or a record stops it.
///
/// Without a reachable broker it waits and says so. TERM and INT finish what is in flight, commit and leave the group; a
/// second one leaves at once. HUP takes over what has changed in the file and all files that it refers to: steps, outputs, limits and what is done
/// about errors in place, anything of the input and the connection with a new consumer.
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
    /// Take over changes of the file, its components and all files that it refers to while it runs, as HUP does
    #[arg(long, env = "WASMILL_WATCH")]
    watch: bool,
}

pub(super) fn run(args: &Args, signals: &Arc<Signals>) -> Result<(), Exit> {
    let probe = Box::new(|_: &config::Pipeline, new: &config::Pipeline| check::online(new));
    let written = load::written(&args.file, args.http.listen, |_| (), probe)?;
    let service = Service::listen(&written.config, signals)?;
    let steps = load::steps(&written.config, &args.compiled)?;
    let watch = args.watch || written.config.reload.watch;
    service.start(&steps, written, watch)?.wait()
}
