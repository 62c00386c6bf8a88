//! `wasmill dlq`: looks into the dead-letter topic of a pipeline, and sends its records on their way again.

mod list;
mod replay;
mod show;

use std::sync::Arc;

use clap::Args as ClapArgs;
use clap::Subcommand;

use super::args::PipelineFile;
use super::exit_code::Exit;
use super::load;
use super::signals::Signals;
use super::time::Time;
use crate::config;
use crate::dlq;
use crate::dlq::Filter;
use crate::kafka::probe::Unanswered;
use crate::kafka::topic_reader::TopicReader;

/// Lists, shows and replays the dead letters of a pipeline.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill dlq list orders.toml
  wasmill dlq show orders.toml --code bad-json --limit 1
  wasmill dlq replay orders.toml --dry-run
  wasmill dlq replay orders.toml")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Count dead letters by reason
    List(list::Args),
    /// Print dead letters
    Show(show::Args),
    /// Run dead letters through the pipeline's steps again
    Replay(replay::Args),
}

/// Which dead letters are meant.
#[derive(Debug, ClapArgs)]
struct Selection {
    /// Only those that failed at this time or later: 2026-01-31T10:00:00Z, 2026-01-31, or a time ago as in 2h
    #[arg(long, value_name = "TIME", env = "WASMILL_SINCE")]
    since: Option<Time>,
    /// Only those that failed before this time
    #[arg(long, value_name = "TIME", env = "WASMILL_UNTIL")]
    until: Option<Time>,
    /// Only those with this code
    #[arg(long, value_name = "CODE", env = "WASMILL_CODE")]
    code: Option<String>,
    /// Only those that failed in this step; an empty name means that a broker refused an output
    #[arg(long, value_name = "NAME", env = "WASMILL_STEP")]
    step: Option<String>,
    /// Only those with this key
    #[arg(long, value_name = "TEXT", env = "WASMILL_KEY")]
    key: Option<String>,
}

impl Selection {
    fn filter(&self, pipeline: &str, force: bool) -> Filter {
        Filter {
            pipeline: Some(pipeline.to_owned()),
            since: self.since.map(|time| time.0),
            until: self.until.map(|time| time.0),
            code: self.code.clone(),
            step: self.step.clone(),
            key: self.key.clone().map(String::into_bytes),
            force,
        }
    }
}

pub(super) fn run(args: &Args, signals: &Arc<Signals>) -> Result<(), Exit> {
    match &args.verb {
        Verb::List(args) => list::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Replay(args) => replay::run(args, signals),
    }
}

/// Reads a pipeline's file, and connects to its dead-letter topic.
fn open(file: &PipelineFile) -> Result<(config::Pipeline, TopicReader), Exit> {
    connect(load::file(file, None)?, file)
}

/// Connects to the dead-letter topic of a pipeline.
fn connect(config: config::Pipeline, file: &PipelineFile) -> Result<(config::Pipeline, TopicReader), Exit> {
    let settings = dlq::settings(&config.kafka).ok_or_else(|| {
        Exit::Invalid(format!("{} has no dead-letter topic: set `on_error.dead_letter`", file.path.display()))
    })?;
    let topic = TopicReader::connect(settings, dlq::LIMIT).map_err(|unanswered| failed(&config, unanswered))?;
    Ok((config, topic))
}

/// A `--limit`.
fn limit() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..)
}

fn failed(config: &config::Pipeline, unanswered: Unanswered) -> Exit {
    match unanswered {
        Unanswered::Unreached(reason) => Exit::Unreachable(config.hide(&format!("the brokers don't answer: {reason}"))),
        Unanswered::Refused(reason) => Exit::Invalid(config.hide(&reason)),
    }
}
