//! `wasmill run`: runs pipelines with the brokers that their files name.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args as ClapArgs;

use super::args::Compiled;
use super::args::Http;
use super::args::Policy;
use super::args::ProcessFile;
use super::exit_code::Exit;
use super::fleet;
use super::fleet::Shared;
use super::instance::Instances;
use super::load;
use super::signals::Signals;
use super::traces;
use crate::admin::Access;
use crate::budget::MemoryBudget;

/// Runs a pipeline until a signal shuts it down or a record stops it. Or runs several in one process, until a signal: one that fails
/// stays in probes and metrics as failed, and the others run on.
///
/// If no broker can be reached, it logs that and waits. On TERM and INT it finishes what is in flight, commits and leaves the group; a
/// second signal ends it at once. HUP reloads what has changed in the file and in all files that it refers to: steps, outputs, limits
/// and error handling in place, input and connection with a new consumer.
///
/// OTEL_EXPORTER_OTLP_ENDPOINT names a collector for traces of records; docs/tracing.md has the other variables.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill run orders.toml
  wasmill run orders.toml --watch
  wasmill run pipelines/ --http 0.0.0.0:9108
  wasmill run pipelines/ --policy policy.toml
  wasmill run orders.toml --set input.group=orders-2 --http 0.0.0.0:9108
  WASMILL_LOG=wasmill::kafka=debug,info wasmill run orders.toml --log-format json")]
pub(super) struct Args {
    /// The pipeline file; several, or a folder of them, run in one process; in the variable, write one on each line
    #[arg(value_name = "FILE", required = true, value_delimiter = '\n', env = "WASMILL_FILE")]
    paths: Vec<PathBuf>,
    /// Override a value in every file, as in `--set limits.parallelism=2`; in the variable, write one on each line
    #[arg(long = "set", value_name = "KEY=VALUE", value_delimiter = '\n', env = "WASMILL_SET")]
    set: Vec<String>,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    compiled: Compiled,
    #[command(flatten)]
    policy: Policy,
    /// Reload when the file, its components or any file that it refers to changes, as HUP does
    #[arg(long, env = "WASMILL_WATCH")]
    watch: bool,
    #[command(flatten)]
    service: ProcessFile,
    /// The folder of the lock files that `delivery = "exactly_once"` takes; by default `wasmill` in the user's state folder
    #[arg(long, value_name = "DIR", env = "WASMILL_STATE")]
    state: Option<PathBuf>,
}

pub(super) fn run(args: &Args, signals: &Arc<Signals>) -> Result<(), Exit> {
    // A wrong policy is one error, and not one for each pipeline.
    load::policy(args.policy.file.as_deref())?;
    let service = args.service.of(&args.paths)?;
    let own = service.settings()?;
    let _traces = traces::start(own.trace_endpoint.as_deref())?;
    let shared = Shared {
        set: args.set.clone(),
        http: args.http.listen.or(own.http),
        policy: args.policy.file.clone(),
        access: Access::new(own.token.clone()),
        serves_tap: own.serves_tap,
        stays: false,
        watch: args.watch,
        instances: Arc::new(Instances::new(args.state.clone())),
        service,
        memory: MemoryBudget::new(own.memory),
        own,
    };
    fleet::run(&args.paths, shared, &args.compiled, signals)
}
