//! The workers of one pipeline: start, status, stop. Other modules hold a [`Handle`].
//!
//! Combines the checked configuration with what the worker needs, and creates the first instances, so that a plugin's `init` can
//! still prevent the start. It has no thread and makes no Kafka calls.

mod asking;
mod health;
mod plugin_cells;
pub mod windowed;

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;

pub use asking::CellReader;
pub use asking::OpenWindows;
pub use asking::StateWindow;
pub use asking::json_key;
pub use asking::json_time;
pub use health::Check;
pub use health::Health;

use crate::config;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::metrics::State;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::record::RecordId;
use crate::sink::DeadLetters;
use crate::worker;
use crate::worker::Changer;
use crate::worker::FirstInstances;
use crate::worker::OfDefault;
use crate::worker::Operator;
use crate::worker::Replacement;
use crate::worker::StateAsker;
use crate::worker::Status;
use crate::worker::Swapper;
use crate::worker::Timeouts;
use crate::worker::UsedExecutors;
use crate::worker::Worker;

pub use crate::worker::AppliedUpTo;
pub use crate::worker::End;
pub use crate::worker::GroupMember;
pub use crate::worker::KeyCells;
pub use crate::worker::LastFailure;
pub use crate::worker::ListPosition;
pub use crate::worker::ListedCell;
pub use crate::worker::PartitionStatus;
pub use crate::worker::RecordAt;
pub use crate::worker::RecordPlace;
pub use crate::worker::StateAnswer;
pub use crate::worker::StateQuestion;
pub use crate::worker::StateReply;
pub use crate::worker::WantedState;
pub use crate::worker::WindowedStatus;

/// Why a pipeline doesn't start.
#[derive(Debug)]
pub enum StartError {
    /// A plugin can't be started: its `init` returned an error, trapped or took too long.
    Plugin {
        /// The step.
        step: String,
        /// What went wrong.
        failure: Box<Failure>,
    },
    /// librdkafka refused a setting, or the operating system a thread.
    Kafka(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Plugin { step, failure } => {
                write!(f, "step `{step}` does not start: {}", failure.reason)?;
                if !failure.backtrace.is_empty() {
                    write!(f, "\n{}", failure.backtrace)?;
                }
                Ok(())
            }
            StartError::Kafka(reason) => write!(f, "{reason}"),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// The message with its position in the file, if it has one.
    #[must_use]
    pub fn told(&self, config: &config::Pipeline) -> String {
        let StartError::Plugin { step, failure } = self else { return self.to_string() };
        let mut report = config.report();
        config.add_unstarted(step, &failure.reason, &mut report);
        format!("{report}{}", failure.backtrace)
    }
}

/// Receives what a reload would change, or why it would be refused.
pub type ReloadPreview = Box<dyn FnOnce(Result<String, String>) + Send>;

/// A running pipeline. Clones of a handle refer to the same pipeline.
#[derive(Clone)]
pub struct Handle {
    /// Locked to copy or replace it.
    config: Arc<Mutex<Arc<config::Pipeline>>>,
    status: Arc<Status>,
    /// The first caller of `wait` takes it out; locked only for that, and no other lock is taken under it.
    worker: Arc<Mutex<Option<Worker>>>,
    operator: Operator,
    swap: Swapper,
    change: Changer,
    asker: StateAsker,
    /// The step with windows. A reload doesn't change it.
    windowed: Option<Arc<(String, CellReader)>>,
    metrics: Arc<Metrics>,
    /// The executors, which a reload may change. Locked to copy or replace it.
    executors: Arc<Mutex<UsedExecutors>>,
    /// The result of the last reload. Locked for a copy by the reload thread and by probes; never with another lock.
    reloaded: Arc<Mutex<Result<(), String>>>,
}

/// Starts a pipeline with loaded steps.
///
/// # Errors
/// See [`StartError`]. Unreachable brokers are not an error: the pipeline waits for them.
pub fn start(config: config::Pipeline, steps: &[Step], metrics: &Arc<Metrics>) -> Result<Handle, StartError> {
    steps.iter().for_each(|step| describe(metrics, step));
    let instances = FirstInstances::make(steps, config.limits.parallelism, None, instantiate)?;
    let used = instances.used.clone();
    for risk in config.kafka.risks() {
        tracing::warn!("{risk}");
    }
    let kept = Arc::new(Mutex::new(Arc::new(config.clone())));
    let settings = settings(config, steps);
    let windowed = settings.windowed.as_deref().and_then(|step| asking::reader(step, steps.last())).map(Arc::new);
    let worker = Worker::start(settings, 0, instances, Arc::clone(metrics)).map_err(StartError::Kafka)?;
    Ok(Handle {
        config: kept,
        status: Arc::clone(worker.status()),
        operator: worker.operator(),
        swap: worker.swapper(),
        change: worker.changer(),
        asker: worker.asker(),
        windowed,
        metrics: Arc::clone(metrics),
        executors: Arc::new(Mutex::new(used)),
        reloaded: Arc::new(Mutex::new(Ok(()))),
        worker: Arc::new(Mutex::new(Some(worker))),
    })
}

/// The worker's settings of a pipeline.
fn settings(config: config::Pipeline, steps: &[Step]) -> worker::Settings {
    let names = steps.iter().map(|step| Arc::clone(&step.settings().name));
    let names = names.chain(config.native().map(|windowed| Arc::clone(&windowed.name))).collect();
    let of_windows = |windowed| windowed::step(windowed, &config.kafka.delivery, &config.routes, steps.last());
    let windowed = config.windowed.map(of_windows);
    worker::Settings {
        steps: names,
        windowed: windowed.map(Arc::new),
        kafka: config.kafka,
        policy: config.policy,
        order: config.order,
        dead_letters: DeadLetters { pipeline: config.name, worker: 0, dialect: config.dialect },
        routes: config.routes,
        records_per_second: config.limits.records_per_second,
        max_in_flight_records: config.limits.max_in_flight_records,
        max_in_flight_bytes: config.limits.max_in_flight_bytes,
        timeouts: Timeouts { drain: config.limits.drain_timeout, shutdown: config.shutdown_timeout },
        niceness: niceness(&config.limits),
    }
}

/// The niceness of the executors.
fn niceness(limits: &config::Limits) -> i32 {
    worker::niceness(
        OfDefault { value: limits.weight, default: config::WEIGHT_DEFAULT },
        OfDefault { value: limits.parallelism, default: config::parallelism_default() },
    )
}

/// Which partitions are being restored, and how far; `None` if none is.
fn restoring(windowed: &[WindowedStatus]) -> Option<String> {
    let of = |partition: &WindowedStatus| {
        let (read, total) = partition.restoring.as_ref()?.read_of_total();
        Some(format!("{} ({read} of {total} changelog records)", partition.partition))
    };
    let all: Vec<String> = windowed.iter().filter_map(of).collect();
    let more = all.len().saturating_sub(RESTORING_SHOWN_MAX);
    let shown = all.iter().take(RESTORING_SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    match (all.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("being restored: {shown}")),
        (false, more) => Some(format!("being restored: {shown}, and {more} more")),
    }
}

/// A line for each partition of the step with windows.
fn partitions(windowed: &[WindowedStatus]) -> Vec<String> {
    let line = |WindowedStatus { partition, lag, watermark, restoring }: &WindowedStatus| {
        let watermark = match (watermark, restoring) {
            (_, Some(_)) => "being restored".to_owned(),
            (Some(ms), None) => format!("watermark {}", json_time(*ms).trim_matches('"')),
            (None, None) => "no watermark".to_owned(),
        };
        format!("   {partition}: lag {lag} records, {watermark}")
    };
    windowed.iter().take(PARTITIONS_SHOWN_MAX).map(line).collect()
}

/// The most partitions that `/readyz?verbose` names while they are restored, and that it has a line for.
const RESTORING_SHOWN_MAX: usize = 20;
const PARTITIONS_SHOWN_MAX: usize = 100;

/// Sets in the metrics which component a step runs.
fn describe(metrics: &Metrics, step: &Step) {
    let settings = step.settings();
    metrics.set_plugin_info(&settings.name, step.plugin(), step.version(), &step.digest()[..12]);
    metrics.set_plugin_limits(&settings.name, settings.memory_bytes, step.compile_time());
}

fn instantiate(step: &Step) -> Result<Instance, StartError> {
    let failed = |failure| StartError::Plugin { step: step.settings().name.to_string(), failure: Box::new(failure) };
    step.instantiate().map_err(failed)
}

impl Handle {
    /// Replaces running steps, given by their number, with other versions. The instances of used executors are created first, on the caller's thread,
    /// so either all steps are swapped or none, and an executor swaps all of them at once. Every record is processed by the old
    /// versions or by the new ones. Processing does not pause, and the consumer stays in its group.
    ///
    /// # Errors
    /// If an instance can't be created: nothing has changed then.
    pub fn swap(&self, steps: &[(usize, Step)]) -> Result<(), StartError> {
        if steps.is_empty() {
            return Ok(());
        }
        let executors = self.executors();
        let (numbers, new): (Vec<usize>, Vec<Step>) = steps.iter().cloned().unzip();
        let made = FirstInstances::make(&new, executors.executors(), Some(&executors), instantiate)?;
        let of_executor = |instances: Vec<(Step, Option<Instance>)>| {
            let of_step = |(number, (step, instance))| Replacement { number, step, instance };
            numbers.iter().copied().zip(instances).map(of_step).collect()
        };
        let replacements = made.of_executors.into_iter().map(of_executor).collect();
        steps.iter().for_each(|(_, step)| describe(&self.metrics, step));
        (self.swap)(replacements);
        self.read_cells_with(steps.iter().map(|(_, step)| step));
        Ok(())
    }

    fn executors(&self) -> UsedExecutors {
        self.executors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies another configuration, with all of its steps. Without `anew` in place: no records are handed out until everything in
    /// flight is settled, and the consumer stays in its group. With `anew`: the worker finishes, commits and leaves the group, and a
    /// new worker starts in its place.
    ///
    /// # Errors
    /// If something can't be created, or the pipeline doesn't become idle in time: nothing has changed then. Or if the pipeline ends
    /// meanwhile.
    pub fn change(&self, config: config::Pipeline, steps: &[Step], anew: bool) -> Result<(), StartError> {
        let before = self.executors();
        let instances = FirstInstances::make(steps, config.limits.parallelism, Some(&before), instantiate)?;
        let used = instances.used.clone();
        let next = Arc::new(config.clone());
        let change = worker::Change { settings: settings(config, steps), instances, anew };
        let (reply, answer) = mpsc::channel();
        (self.change)(change, reply);
        // The worker answers within its own time limits, and drops the question if it ends.
        let answer = answer.recv().unwrap_or_else(|_| Err("the pipeline has ended".to_owned()));
        answer.map_err(StartError::Kafka)?;
        *self.executors.lock().unwrap_or_else(PoisonError::into_inner) = used;
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = next;
        steps.iter().for_each(|step| describe(&self.metrics, step));
        self.read_cells_with(steps.iter());
        Ok(())
    }

    /// Keeps the configuration that has taken effect with a swap or a change, to show it.
    pub fn keep(&self, config: config::Pipeline) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// What was committed, once the pipeline has finished; before that, why it is in its state.
    #[must_use]
    pub fn committed(&self) -> String {
        self.status.committed().unwrap_or_else(|| self.status.state().1)
    }

    /// Whether the pipeline has finished and left its group. Its clients may be alive still, and [`Handle::wait`] returns later.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        self.status.committed().is_some()
    }

    /// Sets the result of the last reload, for probes.
    pub fn set_reloaded(&self, result: Result<(), String>) {
        *self.reloaded.lock().unwrap_or_else(PoisonError::into_inner) = result;
    }

    /// The answer to a probe.
    #[must_use]
    pub fn health(&self) -> Health {
        let (state, why) = self.status.state();
        let check = |ok: bool, name: &str, why: &str| Check {
            ok,
            name: name.into(),
            detail: if ok { "ok".to_owned() } else { why.to_owned() },
        };
        let threads: Vec<Check> = self
            .status
            .threads()
            .map(|(name, alive)| check(alive, &format!("thread/{name}"), "is stuck or has ended; see the log"))
            .into();
        let live = threads.iter().all(|thread| thread.ok);
        let (answers, acknowledged) = (self.status.has_answers(), self.status.has_acknowledgements());
        // One that an operator has paused is as it should be.
        let running = matches!(state, State::Running | State::Paused);
        // Why a broker is unavailable, as long as that prevents the pipeline from running.
        let trouble = self.status.trouble().filter(|_| !(running && answers));
        let mut checks = vec![
            check(true, "config", ""),
            check(running, &format!("pipeline/{}", self.config().name), &format!("{}: {why}", state.label())),
            check(
                answers && trouble.is_none(),
                "brokers",
                trouble.as_deref().unwrap_or("no broker has answered for 15 s"),
            ),
            check(acknowledged, "outputs", "no output was acknowledged for 15 s"),
        ];
        let windowed = self.status.windowed();
        if self.windowed.is_some() {
            let restoring = restoring(&windowed);
            checks.push(check(restoring.is_none(), "state", restoring.as_deref().unwrap_or_default()));
        }
        checks.extend(threads.iter().cloned());
        let ready = checks.iter().all(|check| check.ok);
        // One partition waits and the others go on: like a failed reload, this doesn't make the pipeline unready.
        let retried = self.status.retried();
        checks.push(check(retried.is_none(), "retries", retried.as_deref().unwrap_or_default()));
        let held = self.status.held();
        checks.push(check(held.is_none(), "partitions", held.as_deref().unwrap_or_default()));
        // Records flow, if slowly.
        let holders = self.metrics.memory.budget().holders();
        let holders = holders.map(|holders| {
            format!("records are read a few at a time, as `[limits] memory` is nearly used up: {holders}")
        });
        checks.push(check(holders.is_none(), "memory", holders.as_deref().unwrap_or_default()));
        // The pipeline continues with its old configuration, so a failed reload alone doesn't make it unready.
        let reloaded = self.reloaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        checks.push(check(reloaded.is_ok(), "reload", reloaded.as_ref().err().map_or("", |why| why)));
        Health { live, ready, checks, threads, partitions: partitions(&windowed) }
    }

    /// Makes the pipeline go on if a record holds it.
    pub fn resume(&self) {
        self.operator.resume();
    }

    /// Pauses reading, or lets it go on. What is in flight is finished and committed, and the partitions are kept. A reload changes nothing
    /// about it.
    pub fn pause(&self, is_paused: bool) {
        self.operator.pause(is_paused);
    }

    /// Has a record tried once more if it holds the pipeline, and skipped if it fails for good. It stays so until the record is committed
    /// or the pipeline ends.
    pub fn leave_out(&self, place: RecordId) {
        self.operator.leave_out(place);
    }

    /// The record at which the pipeline has stopped, or that holds it.
    #[must_use]
    pub fn stopped_at(&self) -> Option<RecordAt> {
        self.status.stopped_at()
    }

    /// Its configuration. A reload changes it.
    #[must_use]
    pub fn config(&self) -> Arc<config::Pipeline> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The pipeline's state, and why it is in it.
    #[must_use]
    pub fn state(&self) -> (State, String) {
        self.status.state()
    }

    /// Its assigned partitions, and the last record that failed.
    #[must_use]
    pub fn progress(&self) -> (Vec<PartitionStatus>, Option<LastFailure>) {
        (self.status.assigned(), self.status.failed())
    }

    /// The partitions of its step with windows.
    #[must_use]
    pub fn watermarks(&self) -> Vec<WindowedStatus> {
        self.status.windowed()
    }

    /// Starts a shutdown: the pipeline finishes what is in flight, commits, leaves the group and ends.
    pub fn drain(&self) {
        self.operator.drain();
    }

    /// The same, and its place in the group isn't kept: it isn't expected to come back soon.
    pub fn drain_for_good(&self) {
        self.operator.drain_for_good();
    }

    /// Waits until the pipeline has ended. The first caller gets the real end; a second one always gets [`End::Drained`].
    #[must_use]
    pub fn wait(&self) -> End {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        worker.map_or(End::Drained, |mut worker| worker.wait())
    }
}
