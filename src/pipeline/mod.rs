//! The workers of one pipeline: start, status, stop. [`Handle`] is what others hold.
//!
//! It joins what `config` checked with what the worker needs, and makes the first instances, so that a plugin's `init` can
//! still keep the pipeline from starting. It has no thread and calls no Kafka.

mod health;

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

pub use health::Check;
pub use health::Health;

use crate::config;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::metrics::State;
use crate::plugin::Step;
use crate::sink::DeadLetters;
use crate::worker;
use crate::worker::Status;
use crate::worker::Worker;

pub use crate::worker::End;

/// Why a pipeline doesn't start.
#[derive(Debug)]
pub enum StartError {
    /// A plugin can't be made ready: its `init` returned an error, trapped or took too long.
    Plugin {
        /// The step.
        step: String,
        /// What happened.
        failure: Box<Failure>,
    },
    /// librdkafka refuses a setting, or the machine a thread.
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

/// A pipeline that runs. Copies of the handle are of the same pipeline.
#[derive(Clone)]
pub struct Handle {
    name: Arc<str>,
    status: Arc<Status>,
    /// Locked for the time of a call by those who drain, and for good by the one that waits for the end; no other lock is taken
    /// under it.
    worker: Arc<Mutex<Option<Worker>>>,
    drain: Arc<dyn Fn() + Send + Sync>,
}

/// Starts a pipeline with steps that were loaded.
///
/// # Errors
/// See [`StartError`]. Whether brokers can be reached doesn't matter: it waits for them.
pub fn start(config: config::Pipeline, steps: &[Step], metrics: &Arc<Metrics>) -> Result<Handle, StartError> {
    for step in steps {
        let settings = step.settings();
        let plugin = settings.wasm.file_stem().unwrap_or_default().to_string_lossy();
        metrics.set_plugin_info(&settings.name, &plugin, step.version(), &step.digest()[..12]);
        metrics.set_plugin_limits(&settings.name, settings.memory_bytes, step.compile_time());
    }
    let mut executors = Vec::with_capacity(config.limits.parallelism);
    for _ in 0..config.limits.parallelism {
        let mut instances = Vec::with_capacity(steps.len());
        for step in steps {
            let instance = step.instantiate().map_err(|failure| StartError::Plugin {
                step: step.settings().name.to_string(),
                failure: Box::new(failure),
            })?;
            instances.push((step.clone(), instance));
        }
        executors.push(instances);
    }
    let names = steps.iter().map(|step| Arc::clone(&step.settings().name));
    let dead_letters = DeadLetters {
        pipeline: config.name.clone(),
        worker: 0,
        dialect: config.dialect,
        digests: names.clone().zip(steps.iter().map(|step| step.digest().to_owned())).collect(),
    };
    for risk in config.kafka.risks() {
        tracing::warn!("{risk}");
    }
    let settings = worker::Settings {
        kafka: config.kafka,
        policy: config.policy,
        steps: names.collect(),
        dead_letters,
        routes: config.routes,
        max_in_flight_records: config.limits.max_in_flight_records,
        max_in_flight_bytes: config.limits.max_in_flight_bytes,
        drain_timeout: config.limits.drain_timeout,
        shutdown_timeout: config.shutdown_timeout,
    };
    let worker = Worker::start(settings, 0, executors, Arc::clone(metrics)).map_err(StartError::Kafka)?;
    Ok(Handle {
        name: config.name.into(),
        status: Arc::clone(worker.status()),
        drain: worker.drainer(),
        worker: Arc::new(Mutex::new(Some(worker))),
    })
}

impl Handle {
    /// What a probe is told.
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
            .map(|(name, alive)| {
                check(alive, &format!("thread/{name}"), "stands still or is gone; the log may hold why")
            })
            .into();
        let live = threads.iter().all(|thread| thread.ok);
        let (answers, acknowledged) = (self.status.has_answers(), self.status.has_acknowledgements());
        let running = state == State::Running;
        // Why a broker can't be talked to, while that keeps the pipeline from running.
        let trouble = self.status.trouble().filter(|_| !(running && answers));
        let mut checks = vec![
            check(true, "config", ""),
            check(running, &format!("pipeline/{}", self.name), &format!("{}: {why}", state.label())),
            check(answers && trouble.is_none(), "brokers", trouble.as_deref().unwrap_or("none has answered for 15 s")),
            check(acknowledged, "outputs", "none was acknowledged for 15 s"),
        ];
        checks.extend(threads.iter().cloned());
        Health { live, ready: checks.iter().all(|check| check.ok), checks, threads }
    }

    /// Asks it to finish what is in flight, commit, leave the group and end.
    pub fn drain(&self) {
        (self.drain)();
    }

    /// Waits until it ended. One caller gets the end; a second one is told that it was drained.
    #[must_use]
    pub fn wait(&self) -> End {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        worker.map_or(End::Drained, |mut worker| worker.wait())
    }
}
