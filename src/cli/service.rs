//! A pipeline together with its metrics, probes and signals.
//!
//! Probes are answered before the components are compiled, so that a slow start is visible. Everything stops in the
//! order in which its owner here is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::exit_code::Exit;
use super::settings;
use super::signals::Signals;
use crate::admin;
use crate::admin::Access;
use crate::admin::Board;
use crate::admin::Look;
use crate::admin::Operation;
use crate::admin::Refused;
use crate::admin::Served;
use crate::budget::MemoryAccount;
use crate::budget::MemoryBudget;
use crate::config;
use crate::config::Referenced;
use crate::kafka;
use crate::metrics::Metrics;
use crate::pipeline;
use crate::pipeline::Check;
use crate::pipeline::End;
use crate::pipeline::Handle;
use crate::pipeline::Health;
use crate::pipeline::ReloadPreview;
use crate::plugin::Step;
use crate::record::RecordId;
use crate::reload;
use crate::reload::Reloader;
use crate::telemetry;

/// The parts that run before the pipeline starts.
pub(super) struct Service {
    metrics: Arc<Metrics>,
    started: Arc<OnceLock<Handle>>,
    signals: Arc<Signals>,
    server: admin::Server,
}

/// The contents of the pipeline's file, and how to read it again.
pub(super) struct Written {
    pub(super) config: config::Pipeline,
    /// The files that it was read from.
    pub(super) files: Vec<Referenced>,
    pub(super) load: reload::Load,
    /// Checks whether the pipeline can change to another configuration while it runs.
    pub(super) probe: reload::Probe,
}

/// A running pipeline.
pub(super) struct Running {
    pub(super) handle: Handle,
    pub(super) metrics: Arc<Metrics>,
    _reloader: Reloader,
    _server: admin::Server,
}

impl Service {
    /// Creates the metrics and binds the HTTP address of the file. From now on HUP doesn't end the process.
    pub(super) fn listen(
        config: &config::Pipeline,
        memory: &Arc<MemoryBudget>,
        signals: &Arc<Signals>,
    ) -> Result<Service, Exit> {
        signals.serve().map_err(|error| Exit::Bug(format!("handle signals: {error}")))?;
        telemetry::set_pipeline(&config.name);
        let metrics = metrics(config, memory);
        let started: Arc<OnceLock<Handle>> = Arc::default();
        let (in_look, in_board) = (Arc::clone(&started), Arc::clone(&started));
        let (name, file, read) = (config.name.clone(), config.file.clone(), Arc::new(config.clone()));
        let look = move || {
            let running = in_look.get().cloned();
            let health = running.as_ref().map_or_else(|| starting(&format!("pipeline/{name}")), Handle::health);
            let (state, reason) = running.as_ref().map_or_else(
                || (None, "it loads its plugins".to_owned()),
                |running| {
                    let (state, reason) = running.state();
                    (Some(state), reason)
                },
            );
            let config = running.as_ref().map_or_else(|| Arc::clone(&read), Handle::config);
            let stopped_at = running.as_ref().and_then(Handle::stopped_at);
            Look { health, state, reason, file: file.clone(), running, stopped_at, config: Some(config) }
        };
        let served = Served::new(config.name.as_str().into(), Arc::clone(&metrics), look);
        let board = Single { served, started: in_board };
        let server = serve(config.http, Arc::new(board), Access::default(), signals)?;
        Ok(Service { metrics, started, signals: Arc::clone(signals), server })
    }

    /// What the pipeline holds of the memory of the process.
    pub(super) fn memory(&self) -> &Arc<MemoryAccount> {
        &self.metrics.memory
    }

    /// The address of metrics and probes.
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Starts the pipeline. From now on signals drain it.
    pub(super) fn start(self, steps: &[Step], written: Written, watch: bool) -> Result<Running, Exit> {
        let Service { metrics, started, signals, server } = self;
        signals.begin();
        let (handle, reloader) = start(steps, written, watch, &metrics)?;
        // Only this line sets it.
        let _ = started.set(handle.clone());
        let drained = handle.clone();
        signals.run(Arc::new(move || drained.drain()), reloader.asker());
        signals.ready();
        Ok(Running { handle, metrics, _reloader: reloader, _server: server })
    }
}

/// The board of a process that runs one pipeline and ends with it.
struct Single {
    served: Arc<Served>,
    started: Arc<OnceLock<Handle>>,
}

impl Board for Single {
    fn pipelines(&self) -> Vec<Arc<Served>> {
        vec![Arc::clone(&self.served)]
    }

    fn operate(&self, pipeline: &str, operation: &Operation) -> Result<String, Refused> {
        if *self.served.name != *pipeline {
            return Err(Refused::Unknown);
        }
        let running = self.started.get().ok_or_else(|| Refused::Conflict("it is starting".to_owned()))?;
        match operation {
            Operation::Pause => running.pause(true),
            Operation::Resume => {
                running.pause(false);
                running.resume();
            }
            Operation::Restart | Operation::Stop | Operation::Start | Operation::Reload => {
                let what = format!(
                    "`dev` has no `{operation}`: it reads files again when they change, and ends with its pipeline"
                );
                return Err(Refused::Conflict(what));
            }
        }
        Ok(operation.meaning().to_owned())
    }

    fn skip(&self, pipeline: &str, record: &RecordId) -> Result<String, Refused> {
        if *self.served.name != *pipeline {
            return Err(Refused::Unknown);
        }
        let running = self.started.get().filter(|running| {
            running.stopped_at().is_some_and(|stopped| stopped.place == *record && stopped.may_be_left_out)
        });
        let running = running.ok_or_else(|| Refused::Conflict(format!("the record at {record} does not hold it")))?;
        running.leave_out(record.clone());
        Ok(format!("it goes on; the record at {record} is tried once more, and left out if it fails again"))
    }

    fn would_reload(&self, pipeline: &str, _: ReloadPreview) -> Result<(), Refused> {
        if *self.served.name != *pipeline {
            return Err(Refused::Unknown);
        }
        Err(Refused::Conflict("`dev` reads files again when they change".to_owned()))
    }
}

/// The metrics of a pipeline, with all of its steps, outputs and topics at 0. It takes its memory from that of the process.
pub(super) fn metrics(config: &config::Pipeline, memory: &Arc<MemoryBudget>) -> Arc<Metrics> {
    let native = config.native().map(|windowed| &*windowed.name);
    let steps: Vec<&str> = config.steps.iter().map(|step| &*step.name).chain(native).collect();
    let outputs: Vec<&str> = config.kafka.outputs.iter().map(|output| &*output.name).collect();
    let metrics = Metrics::in_process(memory, &config.name, &steps, &outputs);
    metrics.set_librdkafka(&kafka::version());
    add(config, &metrics);
    metrics
}

/// Adds what the pipeline reads and keeps to its metrics, at 0.
pub(super) fn add(config: &config::Pipeline, metrics: &Metrics) {
    config.windowed.iter().for_each(|windowed| metrics.add_windowed(&windowed.name));
    // Topics that match a pattern are added when they are found.
    for topic in config.kafka.input.topics.iter().filter(|topic| !topic.starts_with('^')) {
        metrics.add_topic(topic);
    }
}

/// Serves metrics and probes of these pipelines. A service manager that watches the process is told while all of them are alive.
pub(super) fn serve(
    listen: SocketAddr,
    board: Arc<dyn Board>,
    access: Access,
    signals: &Signals,
) -> Result<admin::Server, Exit> {
    let watched = Arc::clone(&board);
    let server = admin::Server::start(listen, board, access).map_err(|error| match error {
        admin::ServeError::Address(error) => Exit::Invalid(format!(
            "listen on {listen} for metrics and probes: {error}; set another address with `[http] listen` or --http"
        )),
        admin::ServeError::Loop(error) => Exit::Invalid(format!(
            "serve metrics and probes: {error}; raise the limit of open files: `ulimit -n`, a unit's `LimitNOFILE`"
        )),
        admin::ServeError::Thread(error) => Exit::no_thread("serves metrics and probes", &error),
    })?;
    tracing::info!(address = %server.local_addr(), "metrics and probes are served");
    signals.watch(Arc::new(move || watched.pipelines().iter().all(|served| served.look().health.live)));
    Ok(server)
}

/// Starts a pipeline, and the thread that reloads it.
pub(super) fn start(
    steps: &[Step],
    written: Written,
    watch: bool,
    metrics: &Arc<Metrics>,
) -> Result<(Handle, Reloader), Exit> {
    let config = written.config.clone();
    tracing::info!("{}", config.hide(&said_first(&config, steps)));
    let handle = pipeline::start(config, steps, metrics);
    let handle = handle.map_err(|error| Exit::Invalid(error.told(&written.config)))?;
    let reloader = Reloader::start(reload::Settings {
        config: written.config,
        files: written.files,
        steps: steps.to_vec(),
        load: written.load,
        verify: settings::verify,
        probe: written.probe,
        watch,
        handle: handle.clone(),
        metrics: Arc::clone(metrics),
    });
    let reloader = reloader.map_err(|error| Exit::no_thread("reloads", &error))?;
    Ok((handle, reloader))
}

impl Running {
    /// Logs how the pipeline ended, and stops everything around it.
    pub(super) fn end(self, end: End) -> Result<(), Exit> {
        let exit = said_last(end, &self.handle);
        let_go(self);
        exit
    }
}

/// Drops something on another thread, so that neither a running reload nor a slow HTTP client delays the end.
pub(super) fn let_go(what: impl Send + 'static) {
    let (over, wait) = mpsc::channel::<()>();
    let dropped = thread::Builder::new().name("reaper".into()).spawn(move || {
        drop(what);
        drop(over);
    });
    if dropped.is_ok() {
        // Returns when the other end of the channel is dropped, or after the time limit.
        let _ = wait.recv_timeout(LETTING_GO_MAX);
    }
}

/// Logs how a pipeline ended, and returns what that is for the process that runs only this one.
pub(super) fn said_last(end: End, handle: &Handle) -> Result<(), Exit> {
    let how = match &end {
        End::Drained => "shut down: nothing will be repeated",
        End::Stopped(_) | End::StoppedAt(..) => "stopped by a failure",
        End::DeadlinePassed(_) => "out of time: records will be repeated",
        End::Invalid(_) => "the configuration can't run",
        End::Bug(_) => "failed by a bug",
    };
    let exit = exit_of(end);
    let code = exit.as_ref().err().map_or(0, Exit::code);
    telemetry::count_out();
    tracing::info!(exit_code = code, "ended: {how}; {}", handle.committed());
    exit
}

/// How long to wait for the reload thread and the HTTP server after the pipeline has ended.
const LETTING_GO_MAX: Duration = Duration::from_millis(200);

/// The exit of the process for the end of a pipeline.
fn exit_of(end: End) -> Result<(), Exit> {
    match end {
        End::Drained => Ok(()),
        End::Stopped(message) => Err(Exit::Stopped(message)),
        End::StoppedAt(message, place) => Err(Exit::StoppedAt(message, Box::new(place))),
        End::DeadlinePassed(message) => Err(Exit::DeadlinePassed(message)),
        End::Invalid(message) => Err(Exit::Invalid(message)),
        End::Bug(message) => Err(Exit::Bug(message)),
    }
}

/// A summary of the pipeline in one line.
fn said_first(config: &config::Pipeline, steps: &[Step]) -> String {
    let steps: Vec<String> = steps
        .iter()
        .map(|step| {
            let settings = step.settings();
            let file = settings.wasm.file_name().unwrap_or_default().to_string_lossy();
            let version = if step.version().is_empty() { "without a version" } else { step.version() };
            format!("`{}` runs {file} {version} (sha256 {})", settings.name, &step.digest()[..12])
        })
        .collect();
    format!(
        "wasmill {} starts pipeline `{}`, group `{}`, brokers {}; {}",
        env!("CARGO_PKG_VERSION"),
        config.name,
        config.kafka.input.group,
        config.kafka.brokers.join(","),
        steps.join(", ")
    )
}

/// The health of a pipeline that loads its plugins; `name` is that of the check.
pub(super) fn starting(name: &str) -> Health {
    let checks = vec![
        Check { ok: true, name: "config".into(), detail: "ok".into() },
        Check { ok: false, name: name.into(), detail: "starting".into() },
    ];
    Health { live: true, ready: false, checks, ..Health::default() }
}
