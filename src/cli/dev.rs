//! `wasmill dev`: a pipeline on an embedded broker, fed from a file, with what comes out on stdout.
//!
//! The file's own brokers are never contacted. The feed stays behind what the embedded broker keeps: it throws away what
//! lies 5 MiB back in a partition, read or not, so the feeder refuses to run ahead of the pipeline.

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

use clap::Args as ClapArgs;

use super::args::Compiled;
use super::args::Http;
use super::args::PipelineFile;
use super::exit_code::Exit;
use super::load;
use super::print;
use super::print::Shown;
use super::service::Running;
use super::service::Service;
use super::signals::Signals;
use crate::author::Project;
use crate::author::Rebuild;
use crate::config;
use crate::kafka::embedded::Broker;
use crate::kafka::embedded::Feeder;
use crate::kafka::embedded::Tail;
use crate::kafka::embedded::TailRecord;
use crate::kafka::settings::Start;
use crate::pipeline::End;
use crate::pipeline::Handle;
use crate::plugin::bundled;
use crate::telemetry;
use crate::trial::line::LineFormat;

use feeder::Feed;
use feeder::Rate;
use progress::Progress;

/// Runs a pipeline on an embedded broker and prints what comes out.
///
/// It ignores the brokers, TLS and SASL of the file, and creates the topics. It ends when all records of the feed have been processed,
/// or with ctrl-c. It reloads changes of the file and its components. A component whose folder has a `plugin.toml` is built again when
/// its source changes.
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
}

/// How long one look at the outputs may take: the ends of the feed and of the pipeline are noticed after it.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn run(args: &Args, signals: &Arc<Signals>) -> Result<(), Exit> {
    // The embedded broker is made for the topics of the file, and is then what the file means whenever it is read.
    let bootstrap: Arc<OnceLock<String>> = Arc::default();
    let adapt = {
        let bootstrap = Arc::clone(&bootstrap);
        move |config: &mut config::Pipeline| bootstrap.get().into_iter().for_each(|broker| embed(config, broker))
    };
    let mut written = load::written(&args.file, args.http.listen, adapt, Box::new(keeps_its_topics))?;
    let config = &written.config;
    let input = input_topic(config, args)?;
    let partitions = i32::from(args.partitions.get());
    let made: BTreeSet<&str> = config.kafka.written().map(|output| output.topic.as_str()).collect();
    let made: Vec<(&str, i32)> = made.into_iter().map(|topic| (topic, partitions)).collect();
    let read = config.kafka.input.topics.iter().map(String::as_str).filter(|topic| !topic.starts_with('^'));
    let topics: Vec<(&str, i32)> = read.map(|topic| (topic, partitions)).chain(made.iter().copied()).collect();
    let broker = Broker::start(&topics).map_err(Exit::Bug)?;
    let tail = Tail::new(broker.bootstrap(), &made).map_err(Exit::Bug)?;
    let names = config.kafka.outputs.iter().map(|output| Arc::clone(&output.name)).collect();
    embed(&mut written.config, broker.bootstrap());
    // Nobody else sets it.
    let _ = bootstrap.set(broker.bootstrap().to_owned());

    let service = Service::listen(&written.config, signals)?;
    let address = service.local_addr();
    let steps = load::steps(&written.config, &args.compiled)?;
    let rebuild = rebuild(&written.config)?;
    let running = service.start(&steps, written, true)?;
    let progress = Arc::new(Progress::new(Arc::clone(&running.metrics), names));
    let ended = await_end(&running.handle)?;
    let end = feed(args, input, &broker, &progress).and_then(|feed| {
        telemetry::tell(&format!("metrics: http://{address}/metrics   broker: {}   ctrl-c ends", broker.bootstrap()));
        show(&running, &ended, &tail, feed, &progress)
    });
    drop(rebuild);
    if end.is_err() {
        running.handle.drain();
        // Within its own deadline. An error says that it has ended by a bug, of which the log tells.
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

/// Begins to feed the topic, if there is something to feed.
fn feed(args: &Args, topic: Option<String>, broker: &Broker, progress: &Arc<Progress>) -> Result<Option<Feed>, Exit> {
    let (Some(path), Some(topic)) = (&args.feed, topic) else { return Ok(None) };
    let feeder = Feeder::new(broker.bootstrap(), &topic).map_err(Exit::Bug)?;
    Feed::start(feeder, Arc::clone(progress), path, args.format, args.rate).map(Some)
}

/// The embedded broker has the topics that it was started with, and no others.
fn keeps_its_topics(old: &config::Pipeline, new: &config::Pipeline) -> Result<(), String> {
    let written = |config: &config::Pipeline| -> Vec<_> {
        config.kafka.written().map(|output| (Arc::clone(&output.name), output.topic.clone())).collect()
    };
    if old.kafka.input == new.kafka.input && written(old) == written(new) {
        return Ok(());
    }
    Err("`dev` creates topics only when it starts: restart it for other topics".to_owned())
}

/// Builds the steps' plugins again when their source changes, as far as they have source here.
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

/// The topic that is fed: the first of the file.
fn input_topic(config: &config::Pipeline, args: &Args) -> Result<Option<String>, Exit> {
    if args.feed.is_none() {
        return Ok(None);
    }
    let topic = config.kafka.input.topics.iter().find(|topic| !topic.starts_with('^'));
    topic.cloned().map(Some).ok_or_else(|| {
        Exit::Usage("dev: --feed needs a topic by name, but `input.topics` has patterns only; add one".into())
    })
}

/// Points the pipeline at the embedded broker and at nothing else.
fn embed(config: &mut config::Pipeline, broker: &str) {
    config.kafka.brokers = vec![broker.to_owned()];
    config.connection.clear();
    config.kafka.tls = None;
    config.kafka.sasl = None;
    config.kafka.librdkafka.clear();
    config.kafka.input.instance_id = None;
    config.kafka.reports_topic_limits = false;
    // The broker is new: what was fed before the group formed is meant to be read.
    config.kafka.input.start = Start::Earliest;
}

/// Prints outputs until the pipeline ended; drains it when the feed is through.
fn show(
    running: &Running,
    ended: &Receiver<End>,
    tail: &Tail,
    mut feed: Option<Feed>,
    progress: &Progress,
) -> Result<End, Exit> {
    let printer = Printer::new(progress);
    let mut fed = None;
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
        if fed.is_some_and(|records| progress.is_through(records)) {
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

/// Waits for the end of the pipeline beside the loop that prints.
fn await_end(handle: &Handle) -> Result<Receiver<End>, Exit> {
    let (send, ended) = mpsc::channel();
    let waited = handle.clone();
    let wait = move || {
        // An error says that nobody waits any more.
        let _ = send.send(waited.wait());
    };
    // The thread ends with the pipeline, which this command outlives.
    let started = thread::Builder::new().name("dev-end".into()).spawn(wait);
    started.map(|_| ended).map_err(|error| Exit::no_thread("waits for the end", &error))
}

/// Writes records to stdout.
struct Printer<'a> {
    pretty: bool,
    color: bool,
    progress: &'a Progress,
}

impl<'a> Printer<'a> {
    fn new(progress: &'a Progress) -> Printer<'a> {
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Printer { pretty: io::stdout().is_terminal(), color, progress }
    }

    /// What can't be written ends the command; a reader who has seen enough doesn't: the records are still counted in the summary.
    fn print(&self, record: &TailRecord) -> Result<(), Exit> {
        let bytes = [&record.key, &record.value].map(|field| field.as_ref().map_or(0, |bytes| bytes.len() as u64));
        self.progress.print(bytes[0] + bytes[1]);
        let shown = Shown {
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
        };
        let line = if self.pretty { print::pretty(shown, self.color) } else { print::line(shown, &record.headers) };
        print::data(&format!("{line}\n")).map(drop)
    }
}
