//! `wasmill dev`: runs a pipeline on an embedded broker, fed from a file, and prints its output to stdout.
//!
//! The brokers in the file are never contacted. The embedded broker keeps only the last 5 MiB of a partition, whether or not older
//! records were read, so the feeder never runs far ahead of the pipeline.

mod feeder;
mod progress;

use std::collections::BTreeSet;
use std::io;
use std::io::IsTerminal;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::TryRecvError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use clap::Args as ClapArgs;

use super::args::Compiled;
use super::args::Http;
use super::args::PipelineFile;
use super::exit_code::Exit;
use super::load;
use super::print;
use super::print::Shown;
use super::rate::Rate;
use super::service::Running;
use super::service::Service;
use super::signals::Signals;
use super::traces;
use crate::author::Project;
use crate::author::Rebuild;
use crate::budget::MemoryBudget;
use crate::config;
use crate::dry_run::line::LineFormat;
use crate::kafka::embedded::Broker;
use crate::kafka::embedded::Feeder;
use crate::kafka::embedded::Tail;
use crate::kafka::embedded::TailRecord;
use crate::kafka::settings::Guarantee;
use crate::kafka::settings::Start;
use crate::pipeline::End;
use crate::pipeline::Handle;
use crate::plugin::bundled;
use crate::record::is_reserved_topic;
use crate::record::is_topic_name;
use crate::telemetry;

use feeder::Feed;
use progress::Progress;
use progress::Windows;

/// Runs a pipeline on an embedded broker and prints what comes out.
///
/// It ignores the brokers, TLS and SASL of the file, and creates the topics. It ends when all records of the feed have been processed,
/// or with ctrl-c; with windows, when they have closed by `idle`, too. It reloads changes of the file and its components. A component whose
/// folder has a `plugin.toml` is built again when its source changes.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill dev orders.toml --feed orders.ndjson
  wasmill dev orders.toml --feed orders.ndjson --rate 10/s --partitions 4
  wasmill dev orders.toml --feed records.ndjson --format record > out.ndjson")]
pub(super) struct Args {
    #[command(flatten)]
    file: PipelineFile,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    compiled: Compiled,
    /// Feed the lines of this file into the first input topic
    #[arg(long, value_name = "FILE", env = "WASMILL_FEED")]
    feed: Option<PathBuf>,
    /// Feed no faster than this rate, as in 10/s
    #[arg(long, value_name = "N/s", requires = "feed", env = "WASMILL_RATE")]
    rate: Option<Rate>,
    /// The format of a line of the feed
    #[arg(long, value_enum, default_value = "value", env = "WASMILL_FORMAT")]
    format: LineFormat,
    /// Partitions of each topic
    #[arg(long, value_name = "N", default_value = "1", env = "WASMILL_PARTITIONS")]
    partitions: NonZeroU16,
    /// Create this topic, too, for records that name it; those that `topics_allowed` names without a wildcard are created anyway
    #[arg(long = "topic", value_name = "TOPIC", env = "WASMILL_TOPICS", value_delimiter = ',', value_parser = topic)]
    topics: Vec<String>,
    /// How records are printed; by default as text on a terminal, else as JSON
    #[arg(long, value_enum, env = "WASMILL_PRINT")]
    print: Option<Print>,
}

/// How a record is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Print {
    /// A line for a person: topic, partition, offset, key and value; a dead letter with its reason
    Text,
    /// A JSON object on each line, which `--format record` reads back
    Json,
}

fn topic(text: &str) -> Result<String, String> {
    let is_usable = is_topic_name(text) && !is_reserved_topic(text);
    is_usable.then(|| text.to_owned()).ok_or_else(|| "it can't be a topic's name".to_owned())
}

/// How long one poll of the outputs may take: the ends of the feed and of the pipeline are noticed after it.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn run(args: &Args, signals: &Arc<Signals>) -> Result<(), Exit> {
    // The embedded broker is started with the topics of the file. From then on it replaces the file's brokers whenever the file is
    // read.
    let bootstrap: Arc<OnceLock<String>> = Arc::default();
    let adapt = {
        let bootstrap = Arc::clone(&bootstrap);
        move |config: &mut config::Pipeline| {
            bootstrap.get().into_iter().for_each(|broker| embed(config, broker));
            Ok(())
        }
    };
    let mut written = load::written(&args.file, args.http.listen, None, adapt, Box::new(keeps_its_topics))?;
    let config = &written.config;
    let input = input_topic(config, args)?;
    let partitions = i32::from(args.partitions.get());
    let changelog = config.kafka.changelog.as_ref().map(|changelog| changelog.topic_name());
    let mut made: BTreeSet<&str> = config.kafka.topics_written().map(|(_, topic)| topic).collect();
    made.extend(args.topics.iter().map(String::as_str));
    made.extend(config.topics_by_name());
    // A changelog is not for people.
    let made = made.into_iter().filter(|&topic| changelog != Some(topic));
    let made: Vec<(&str, i32)> = made.map(|topic| (topic, partitions)).collect();
    let read = config.kafka.input.topics.iter().map(String::as_str).filter(|topic| !topic.starts_with('^'));
    let read = read.chain(changelog).map(|topic| (topic, partitions));
    let topics: Vec<(&str, i32)> = read.chain(made.iter().copied()).collect();
    let broker = Broker::start(&topics).map_err(Exit::Bug)?;
    let tail = Tail::new(broker.bootstrap(), &made).map_err(Exit::Bug)?;
    let names = config.kafka.outputs.iter().map(|output| Arc::clone(&output.name)).collect();
    let windows = config.windowed.as_ref().map(Windows::of);
    embed(&mut written.config, broker.bootstrap());
    // Only this line sets it.
    let _ = bootstrap.set(broker.bootstrap().to_owned());

    let _traces = traces::start(None)?;
    let service = Service::listen(&written.config, &MemoryBudget::new(None), signals)?;
    let address = service.local_addr();
    let steps = load::steps_of(&load::engine(&args.compiled)?.for_pipeline(service.memory()), &written.config)?;
    let rebuild = rebuild(&written.config)?;
    let running = service.start(&steps, written, true)?;
    let progress = Arc::new(Progress::new(Arc::clone(&running.metrics), names, windows));
    let ended = await_end(&running.handle)?;
    let end = feed(args, input, &broker, &progress).and_then(|feed| {
        if let Some(name) = progress.windows() {
            telemetry::tell(&format!(
                "step `{name}` computes its windows at least once: the embedded broker has no transactions; state is gone when `dev` ends"
            ));
        }
        telemetry::tell(&format!("metrics: http://{address}/metrics   broker: {}   ctrl-c ends", broker.bootstrap()));
        show(&running, &ended, &tail, feed, Printer::new(args.print, &progress))
    });
    drop(rebuild);
    if end.is_err() {
        running.handle.drain();
        // The drain has a deadline of its own. An error means that the pipeline ended because of a bug, which is in the log.
        let _ = ended.recv();
    }
    telemetry::tell(&progress.summary());
    match end {
        Ok(end) => running.end(end),
        Err(exit) => {
            tracing::info!(exit_code = exit.code(), "ended: the command failed");
            Err(exit)
        }
    }
}

/// Starts feeding the topic, if `--feed` is given.
fn feed(args: &Args, topic: Option<String>, broker: &Broker, progress: &Arc<Progress>) -> Result<Option<Feed>, Exit> {
    let (Some(path), Some(topic)) = (&args.feed, topic) else { return Ok(None) };
    let feeder = Feeder::new(broker.bootstrap(), &topic).map_err(Exit::Bug)?;
    Feed::start(feeder, Arc::clone(progress), path, args.format, args.rate).map(Some)
}

/// Refuses a change of topics: the embedded broker has only the topics that it was started with.
fn keeps_its_topics(old: &config::Pipeline, new: &config::Pipeline) -> Result<(), String> {
    let written = |config: &config::Pipeline| -> Vec<_> {
        config.kafka.written().map(|output| (Arc::clone(&output.name), output.topic.clone())).collect()
    };
    if old.kafka.input == new.kafka.input && written(old) == written(new) {
        return Ok(());
    }
    Err("`dev` creates topics only when it starts: restart it for other topics".to_owned())
}

/// Rebuilds plugins when their source changes, for those whose source is found.
fn rebuild(config: &config::Pipeline) -> Result<Option<Rebuild>, Exit> {
    let components: BTreeSet<&PathBuf> =
        config.steps.iter().map(|step| &step.wasm).filter(|path| bundled::name(path).is_none()).collect();
    let projects = components.into_iter().filter_map(|wasm| Project::of(wasm).transpose());
    let projects = projects.map(|project| project.map(|project| project.sharing(load::user_cache())));
    let projects: Vec<Project> = projects.collect::<Result<_, _>>().map_err(Exit::Invalid)?;
    if projects.is_empty() {
        return Ok(None);
    }
    for project in &projects {
        telemetry::tell(&format!("{} is built again when its source changes", project.folder().display()));
    }
    let started = Rebuild::start(projects, telemetry::tell);
    started.map(Some).map_err(|error| Exit::no_thread("builds plugins again", &error))
}

/// The topic that is fed: the first of the file that isn't a pattern.
fn input_topic(config: &config::Pipeline, args: &Args) -> Result<Option<String>, Exit> {
    if args.feed.is_none() {
        return Ok(None);
    }
    let topic = config.kafka.input.topics.iter().find(|topic| !topic.starts_with('^'));
    topic.cloned().map(Some).ok_or_else(|| {
        Exit::Usage("dev: --feed needs a topic by name, but `input.topics` has patterns only; add one".into())
    })
}

/// Makes the pipeline use only the embedded broker.
fn embed(config: &mut config::Pipeline, broker: &str) {
    config.kafka.brokers = vec![broker.to_owned()];
    config.connection.clear();
    config.kafka.tls = None;
    config.kafka.sasl = None;
    config.kafka.librdkafka.clear();
    config.kafka.input.instance_id = None;
    config.kafka.reports_topic_limits = false;
    // The transactions of the embedded broker are no real ones.
    config.kafka.delivery = Guarantee::AtLeastOnce;
    // The broker is new, so records that were fed before the group formed must be read, too.
    config.kafka.input.start = Start::Earliest;
}

/// Prints outputs until the pipeline has ended; drains it when the feed is done.
fn show(
    running: &Running,
    ended: &Receiver<End>,
    tail: &Tail,
    mut feed: Option<Feed>,
    printer: Printer<'_>,
) -> Result<End, Exit> {
    let (mut fed, mut through) = (None, None);
    let end = loop {
        if let Some(record) = tail.poll(LOOK) {
            printer.print(&record)?;
            continue;
        }
        match ended.try_recv() {
            Ok(end) => break end,
            Err(TryRecvError::Disconnected) => break End::Bug("the end of the pipeline was not reported".into()),
            Err(TryRecvError::Empty) => {}
        }
        if let Some(finished) = feed.as_ref().and_then(Feed::finished) {
            fed = Some(finished?);
            feed = None;
        }
        if fed.is_some_and(|records| printer.progress.is_through(records)) && are_closed(printer.progress, &mut through)
        {
            fed = None;
            running.handle.drain();
        }
    };
    drop(feed);
    while let Some(record) = tail.poll(LOOK) {
        printer.print(&record)?;
    }
    Ok(end)
}

/// Whether the windows have closed that close in a quiet partition. `through` is when every record was processed.
fn are_closed(progress: &Progress, through: &mut Option<Instant>) -> bool {
    let Some(idle) = progress.idle() else { return true };
    let since = *through.get_or_insert_with(|| {
        telemetry::tell(&format!("the feed has ended; open windows close after {idle:?} without a record (`idle`)"));
        now()
    });
    since.elapsed() >= GAUGED && progress.open_windows() == 0
}

/// After this time the number of open windows is of now.
const GAUGED: Duration = Duration::from_secs(3);

#[expect(clippy::disallowed_methods, reason = "a command that waits")]
fn now() -> Instant {
    Instant::now()
}

/// Waits for the end of the pipeline on a separate thread.
fn await_end(handle: &Handle) -> Result<Receiver<End>, Exit> {
    let (send, ended) = mpsc::channel();
    let waited = handle.clone();
    let wait = move || {
        // An error means that the receiver is gone.
        let _ = send.send(waited.wait());
    };
    // The thread ends with the pipeline, before this command does.
    let started = thread::Builder::new().name("dev-end".into()).spawn(wait);
    started.map(|_| ended).map_err(|error| Exit::no_thread("waits for the end", &error))
}

/// Writes records to stdout.
struct Printer<'a> {
    print: Print,
    color: bool,
    progress: &'a Progress,
}

impl<'a> Printer<'a> {
    fn new(print: Option<Print>, progress: &'a Progress) -> Printer<'a> {
        let is_terminal = io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let print = print.unwrap_or(if is_terminal { Print::Text } else { Print::Json });
        Printer { print, color: is_terminal && !no_color, progress }
    }

    /// A failed write ends the command, except to a closed pipe: the remaining records are still counted in the summary.
    fn print(&self, record: &TailRecord) -> Result<(), Exit> {
        let bytes = [&record.key, &record.value].map(|field| field.as_ref().map_or(0, |bytes| bytes.len() as u64));
        self.progress.print(bytes[0] + bytes[1]);
        let shown = Shown {
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        };
        let line = match self.print {
            Print::Text => print::pretty(shown, self.color),
            Print::Json => print::line(shown),
        };
        print::data(&format!("{line}\n")).map(drop)
    }
}
