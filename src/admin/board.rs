//! What the server asks of the process that it is in: its pipelines, and what an operator wants of them.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::state::Desk;
use crate::config;
use crate::metrics::Metrics;
use crate::metrics::State;
use crate::pipeline::Handle;
use crate::pipeline::Health;
use crate::pipeline::RecordAt;
use crate::pipeline::ReloadPreview;
use crate::record::RecordId;

/// The pipelines of a process. Its methods are called on the server's threads.
pub trait Board: Send + Sync {
    /// All pipelines, in the order in which they are shown.
    fn pipelines(&self) -> Vec<Arc<Served>>;

    /// Does what an operator asks for, or begins it. Returns what is done now, for people.
    ///
    /// # Errors
    /// If it can't be done.
    fn operate(&self, pipeline: &str, operation: &Operation) -> Result<String, Refused>;

    /// Has a pipeline go on that stopped at this record, or that this record holds. The record is tried once more, and left out if it fails
    /// again. Returns what is done now, for people.
    ///
    /// # Errors
    /// If it can't be done, or it has stopped at another record.
    fn skip(&self, pipeline: &str, record: &RecordId) -> Result<String, Refused>;

    /// Asks what a reload of the pipeline's file would change, for people, or why it would be refused. The answer comes on another thread,
    /// soon; it is dropped if the pipeline ends.
    ///
    /// # Errors
    /// If it can't be asked.
    fn would_reload(&self, pipeline: &str, answer: ReloadPreview) -> Result<(), Refused>;
}

/// A pipeline of the process.
pub struct Served {
    /// Its name.
    pub name: Arc<str>,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    look: Box<dyn Fn() -> Look + Send + Sync>,
    pub(super) desk: Desk,
}

/// A pipeline as it is now.
pub struct Look {
    /// What probes say of it.
    pub health: Health,
    /// Its state at the moment of the reason; `None`: the metrics have it.
    pub state: Option<State>,
    /// Why it is in its state.
    pub reason: String,
    /// Its file.
    pub file: PathBuf,
    /// The pipeline, if it runs.
    pub running: Option<Handle>,
    /// The record at which it has stopped, or that holds it.
    pub stopped_at: Option<RecordAt>,
    /// What it runs with, or was last started with; `None` while its file has never been valid.
    pub config: Option<Arc<config::Pipeline>>,
}

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Stop reading: what is in flight is finished and committed, and the partitions are kept.
    Pause,
    /// Go on after a pause, or after a record that holds the pipeline.
    Resume,
    /// Drain it, and start it anew from its file.
    Restart,
    /// Drain it. It leaves its group, and stays stopped.
    Stop,
    /// Start one that has stopped or failed, from its file.
    Start,
    /// Read its file again, as HUP does.
    Reload,
}

/// Why an operation isn't done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such pipeline.
    Unknown,
    /// The pipeline is in a state in which this can't be done: which, and what can be.
    Conflict(String),
}

impl Served {
    /// A pipeline; `look` is called on the server's threads, for each request about it.
    #[must_use]
    pub fn new(name: Arc<str>, metrics: Arc<Metrics>, look: impl Fn() -> Look + Send + Sync + 'static) -> Arc<Served> {
        Arc::new(Served { name, metrics, look: Box::new(look), desk: Desk::default() })
    }

    /// The pipeline as it is now.
    #[must_use]
    pub fn look(&self) -> Look {
        (self.look)()
    }
}

impl Look {
    /// Whether its state is shown to everybody who can reach the server.
    pub(super) fn serves_state(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.serves_state)
    }

    /// Whether users who may give orders may watch its records as they pass.
    pub(super) fn serves_tap(&self) -> bool {
        self.config.as_ref().and_then(|config| config.serves_tap).unwrap_or(false)
    }

    /// The names of its steps, in order; none if they aren't known.
    pub(super) fn steps(&self) -> Vec<String> {
        let steps = self.config.iter().flat_map(|config| {
            let native = config.native().map(|windowed| windowed.name.to_string());
            config.steps.iter().map(|step| step.name.to_string()).chain(native)
        });
        steps.collect()
    }

    /// The topic of an output.
    pub(super) fn topic(&self, output: &str) -> Option<String> {
        let mut outputs = self.config.iter().flat_map(|config| &config.kafka.outputs);
        outputs.find(|written| &*written.name == output).and_then(|written| written.topic.clone())
    }

    /// The values that take effect, with their origins and without secrets, as TOML.
    ///
    /// # Errors
    /// If its file has never been valid, or a file that a value refers to can't be read any more.
    pub(super) fn shown_config(&self) -> Result<String, String> {
        let file = self.file.display();
        let config = self
            .config
            .as_ref()
            .ok_or_else(|| format!("{file} has not been valid since the process started: `wasmill check` says why"))?;
        config::show_read(config, &|name| env::var_os(name)).map_err(|report| report.to_string())
    }
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 6] =
        [Operation::Pause, Operation::Resume, Operation::Restart, Operation::Stop, Operation::Start, Operation::Reload];

    /// Its name in the path of the API and on the command line.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Operation::Pause => "pause",
            Operation::Resume => "resume",
            Operation::Restart => "restart",
            Operation::Stop => "stop",
            Operation::Start => "start",
            Operation::Reload => "reload",
        }
    }

    /// What it does, for a person who is about to ask for it.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Operation::Pause => {
                "stops reading; what is in flight is finished and committed, and the partitions are kept. It goes on with resume, and after \
                 a restart of the process"
            }
            Operation::Resume => "goes on reading after a pause, and tries a record again that holds the pipeline",
            Operation::Restart => {
                "finishes what is in flight, commits, leaves the group, and starts again from the file; starts a failed pipeline"
            }
            Operation::Stop => {
                "finishes what is in flight, commits and leaves the group. It stays stopped until start, or a restart of the process"
            }
            Operation::Start => "starts a pipeline that was stopped or has failed, from its file",
            Operation::Reload => {
                "reads the file again and applies what has changed; a failed pipeline is started with it. If the file is invalid, nothing \
                 changes"
            }
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
