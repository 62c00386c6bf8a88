//! `wasmill dlq replay`: runs dead letters through the pipeline's steps as they are now.

use std::collections::BTreeMap;
use std::io;
use std::io::IsTerminal;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use clap::Args as ClapArgs;

use super::Selection;
use crate::cli::args::Compiled;
use crate::cli::args::PipelineFile;
use crate::cli::exit_code::Exit;
use crate::cli::instance::Instances;
use crate::cli::load;
use crate::cli::print;
use crate::cli::print::Reader;
use crate::cli::rate::Rate;
use crate::cli::signals::Signals;
use crate::config;
use crate::dlq;
use crate::dlq::Choice;
use crate::dlq::Letter;
use crate::dlq::Replay;
use crate::dlq::ReplayOptions;
use crate::dlq::Scan;
use crate::dlq::Stopped;
use crate::dlq::Tally;
use crate::dry_run::Steps;
use crate::kafka::settings::Guarantee;
use crate::kafka::topic_reader::PartitionLog;
use crate::kafka::topic_reader::TopicReader;
use crate::telemetry;

/// Runs dead letters through the pipeline's steps as they are now, and sends their outputs.
///
/// A record that was replayed isn't replayed again: the progress is kept as offsets of the group GROUP.dlq, so the same command goes on
/// after an interruption. A record that fails again is a dead letter once more, and one that was replayed 3 times is left out. Records
/// that fail while it runs are left to the next replay. The pipeline may run meanwhile.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill dlq replay orders.toml --dry-run --limit 5
  wasmill dlq replay orders.toml --code bad-json --rate 100/s
  wasmill dlq replay orders.toml --to-input")]
pub(super) struct Args {
    #[command(flatten)]
    file: PipelineFile,
    #[command(flatten)]
    selection: Selection,
    /// Replay at most this many
    #[arg(long, value_name = "N", value_parser = super::limit(), env = "WASMILL_LIMIT")]
    limit: Option<u64>,
    /// Replay no faster than this, as in 100/s
    #[arg(long, value_name = "N/s", env = "WASMILL_RATE")]
    rate: Option<Rate>,
    /// Only print what each would become
    #[arg(long, env = "WASMILL_DRY_RUN")]
    dry_run: bool,
    /// Write the records back to the topics that they were read from, for the running pipeline, instead of running the steps here
    #[arg(long, conflicts_with = "dry_run", env = "WASMILL_TO_INPUT")]
    to_input: bool,
    /// Also those that were replayed 3 times already
    #[arg(long, env = "WASMILL_FORCE")]
    force: bool,
    #[command(flatten)]
    compiled: Compiled,
    /// The folder of the lock files that `delivery = "exactly_once"` takes; by default `wasmill` in the user's state folder
    #[arg(long, value_name = "DIR", env = "WASMILL_STATE")]
    state: Option<PathBuf>,
}

pub(super) fn run(args: &Args, signals: &Arc<Signals>) -> Result<(), Exit> {
    let config = load::file(&args.file, None)?;
    if let Some(windowed) = config.windowed.as_ref().filter(|_| !args.to_input) {
        return Err(Exit::Usage(format!(
            "dlq replay: step `{}` has windows, and a record that is run here changes none of those of the running pipeline; `--to-input` \
             writes the records back to their topic, for the running pipeline",
            windowed.name
        )));
    }
    let (mut config, topic) = super::connect(config, &args.file)?;
    let loaded = load::steps(&config, &args.compiled)?;
    if args.to_input {
        // No step is run.
        config.windowed = None;
    }
    if args.dry_run {
        let steps = Steps::new(&config, &loaded, None).map_err(Exit::Invalid)?;
        return rehearse(args, &config, &topic, steps);
    }
    let steps = Steps::live(&config, &loaded).map_err(Exit::Invalid)?;
    // An id of its own, beside that of a running pipeline.
    config.kafka.input.instance_id = None;
    let instances = Instances::new(args.state.clone());
    instances.name(&mut config).map_err(Exit::Invalid)?;
    let mut settings = config.kafka.clone();
    if let Guarantee::ExactlyOnce { transactional_id } = &mut settings.delivery {
        transactional_id.push_str("-dlq");
    }
    if args.to_input {
        settings.outputs.clear();
    }
    let stop = Arc::new(AtomicBool::new(false));
    signals.begin();
    let stopped = Arc::clone(&stop);
    signals.run(Arc::new(move || stopped.store(true, Ordering::Relaxed)), Arc::new(|_| ()));
    let options = ReplayOptions {
        filter: args.selection.filter(&config.name, args.force),
        limit: args.limit,
        rate: args.rate.map(|rate| rate.0),
        to_input: args.to_input,
    };
    let mut bar = Bar::new();
    let mut watch = |tally: &Tally, said: Option<&str>| bar.show(tally, said);
    let replay = Replay::new(&config, settings, (topic, steps), options, Arc::clone(&stop), &mut watch);
    let (tally, ended) = replay.run();
    bar.clear();
    telemetry::tell(&summary(&tally));
    match ended {
        Ok(()) if stop.load(Ordering::Relaxed) => Err(Exit::Stopped("interrupted; the same command goes on".into())),
        Ok(()) => Ok(()),
        Err(Stopped::Record(message)) => Err(Exit::Stopped(safe(&config, &message))),
        Err(Stopped::Invalid(message)) => Err(Exit::Invalid(safe(&config, &message))),
        Err(Stopped::Unreachable(message)) => Err(Exit::Unreachable(safe(&config, &message))),
    }
}

/// A message without the file's secrets, and in which nothing from a record can move the cursor.
fn safe(config: &config::Pipeline, message: &str) -> String {
    print::text(Some(config.hide(message).as_bytes()))
}

fn summary(tally: &Tally) -> String {
    let Tally { replayed, dead_lettered, skipped, exhausted, foreign, windows, .. } = *tally;
    let part = |count: u64, what: &str| if count == 0 { String::new() } else { format!(", {count} {what}") };
    format!(
        "replayed {replayed}{}{}{}{}{}",
        part(dead_lettered, "of them dead letters again"),
        part(skipped, "of them skipped"),
        part(exhausted, "left out that were replayed 3 times already (--force)"),
        part(foreign, "left out that another pipeline wrote"),
        part(windows, "left out that are windows without a result")
    )
}

/// Prints what each dead letter would become. Joins no group.
fn rehearse(args: &Args, config: &config::Pipeline, topic: &TopicReader, mut steps: Steps) -> Result<(), Exit> {
    let failed = |unanswered| super::failed(config, unanswered);
    let logs = topic.look(dlq::LIMIT).map_err(failed)?;
    let filter = args.selection.filter(&config.name, args.force);
    let scan = |log: &PartitionLog| (log.partition.partition, Scan::new(filter.clone(), log));
    let mut scans: BTreeMap<i32, Scan> = logs.iter().map(scan).collect();
    let from = scans.iter().map(|(&partition, scan)| (partition, scan.next())).collect();
    let (mut left, mut ended) = (args.limit.unwrap_or(u64::MAX), Ok(Reader::There));
    let read = dlq::read(topic, &logs, &from, |partition, offset, letter| {
        let choice = scans.get_mut(&partition).map(|scan| scan.see(offset, letter.as_ref()));
        let Some(letter) = letter.filter(|_| choice == Some(Choice::Replay)) else { return ControlFlow::Continue(()) };
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        ended = print::data(&rehearsed(&letter, &mut steps));
        if matches!(ended, Ok(Reader::There)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    ended?;
    read.map_err(failed)
}

fn rehearsed(letter: &Letter, steps: &mut Steps) -> String {
    let safe = |text: &str| print::text(Some(text.as_bytes()));
    let mut text = format!(
        "partition {}, offset {}: {}, {}\n",
        letter.partition,
        letter.offset,
        safe(&letter.source()),
        safe(&letter.failure.code)
    );
    let failure = &letter.failure;
    match steps.run_from(&failure.source, failure.offset, 0, &letter.record) {
        Ok(reaction) if reaction.outputs.is_empty() => text.push_str("  -> nothing\n"),
        Ok(reaction) => {
            for made in &reaction.outputs {
                let line = print::at_place(&made.topic, made.key.as_deref(), made.value.as_deref(), false);
                text.push_str(&format!("  -> {line}\n"));
            }
        }
        Err(failure) => text.push_str(&format!("  fails again: {}\n", safe(&failure.to_string()))),
    }
    text
}

/// The progress on stderr: a line that changes on a terminal, else a line now and then.
struct Bar {
    is_terminal: bool,
    began: Instant,
    shown: Option<Instant>,
    /// The last thing that was said.
    said: String,
}

/// How often the bar changes, and how often there is a line of its own.
const CHANGE: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(10);
/// The length of the bar.
const CELLS: u64 = 20;

impl Bar {
    fn new() -> Bar {
        Bar { is_terminal: io::stderr().is_terminal(), began: now(), shown: None, said: String::new() }
    }

    fn show(&mut self, tally: &Tally, said: Option<&str>) {
        let every = if self.is_terminal { CHANGE } else { LINE };
        let shown = *self.shown.get_or_insert(self.began);
        let is_news = !self.is_terminal && said.is_some_and(|said| said != self.said);
        if shown.elapsed() < every && !is_news {
            return;
        }
        self.shown = Some(now());
        said.unwrap_or_default().clone_into(&mut self.said);
        let said = said.map_or(String::new(), |said| format!(": {}", print::text(Some(said.as_bytes()))));
        let line = format!("{}{said}", line(tally, self.began.elapsed()));
        if self.is_terminal {
            // A terminal that is gone shows nothing.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
        } else {
            telemetry::tell(&line);
        }
    }

    fn clear(&self) {
        if self.is_terminal && self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(tally: &Tally, took: Duration) -> String {
    if tally.total == 0 {
        return "joining the group".into();
    }
    let done = (tally.seen * CELLS / tally.total).min(CELLS);
    let bar: String = (0..CELLS).map(|cell| if cell < done { '#' } else { '.' }).collect();
    let rate = tally.replayed as f64 / took.as_secs_f64().max(0.001);
    let again =
        if tally.dead_lettered == 0 { String::new() } else { format!(", {} failed again", tally.dead_lettered) };
    format!("[{bar}] {} of {} looked at, {} replayed{again}, {rate:.0}/s", tally.seen, tally.total, tally.replayed)
}

#[expect(clippy::disallowed_methods, reason = "a person watches the progress")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_and_the_summary_say_what_was_done() {
        let tally = Tally {
            seen: 50,
            total: 200,
            replayed: 40,
            dead_lettered: 3,
            exhausted: 2,
            foreign: 1,
            ..Tally::default()
        };
        assert_eq!(
            line(&tally, Duration::from_secs(2)),
            "[#####...............] 50 of 200 looked at, 40 replayed, 3 failed again, 20/s"
        );
        assert_eq!(line(&Tally::default(), Duration::ZERO), "joining the group");
        assert_eq!(
            summary(&tally),
            "replayed 40, 3 of them dead letters again, 2 left out that were replayed 3 times already (--force), \
             1 left out that another pipeline wrote"
        );
        assert_eq!(summary(&Tally::default()), "replayed 0");
        let tally = Tally { windows: 4, ..Tally::default() };
        assert_eq!(summary(&tally), "replayed 0, 4 left out that are windows without a result");
    }
}
