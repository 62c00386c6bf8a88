//! The pipelines of one process.
//!
//! Each has a thread that loads its plugins, starts it and waits for its end, and a worker, executors, clients and limits of its own. They
//! share the engine, the cache of compiled components and the HTTP server. What happens to one, `lifecycle` decides; this module carries it
//! out. Invariant: nothing that one of them does ends another one, or the process. One that can't start, stops at a record or panics is
//! failed, and probes, metrics and the API show it with the reason. Only a signal ends the process: it drains all of them. A process that
//! was started with one file is an exception: it ends with its pipeline.

mod apart;
mod board;
mod files;
mod folder;
mod lifecycle;
mod member;
mod waits;

use std::mem;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::Once;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::mpsc;
use std::time::Instant;

use super::args::Compiled;
use super::args::PipelineFile;
use super::args::ProcessFile;
use super::check;
use super::exit_code::Exit;
use super::instance::Instances;
use super::load;
use super::service;
use super::service::Written;
use super::signals::Signals;
use crate::admin::Access;
use crate::budget::MemoryBudget;
use crate::config;
use crate::config::Process;
use crate::plugin::Engine;
use crate::reload::UntilDone;
use crate::telemetry;
use folder::Folder;
use lifecycle::Action;
use lifecycle::Event;
use member::Member;

pub(super) use files::files;

/// What is the same for all pipelines of a process.
pub(super) struct Shared {
    /// Values that override those of each file.
    pub(super) set: Vec<String>,
    /// The address of metrics and probes, instead of the files'.
    pub(super) http: Option<SocketAddr>,
    /// The policy file, if there is one.
    pub(super) policy: Option<PathBuf>,
    /// Who may change something.
    pub(super) access: Access,
    /// Whether these users may watch records of pipelines whose files don't say.
    pub(super) serves_tap: bool,
    /// Whether the process stays when its pipelines have ended. [`run`] sets it.
    pub(super) stays: bool,
    /// Whether the files are watched.
    pub(super) watch: bool,
    pub(super) instances: Arc<Instances>,
    /// The file with the settings of the process.
    pub(super) service: ProcessFile,
    /// The settings that it had at the start.
    pub(super) own: Process,
    /// What the pipelines share.
    pub(super) memory: Arc<MemoryBudget>,
}

/// All pipelines of the process.
struct Fleet {
    shared: Shared,
    engine: Engine,
    /// The address that the files have to agree on.
    listen: SocketAddr,
    /// Whether the process was started with one file, and ends with its pipeline.
    is_alone: bool,
    signals: Arc<Signals>,
    /// From now on signals drain the pipelines.
    heeds: Once,
    /// Asks for a look at the folders.
    looks: mpsc::Sender<()>,
    /// Locked for copies and for one decision at a time. Pipelines are told to drain or to reload under it, which sends a message.
    inner: Mutex<Inner>,
    /// Notified when something of `inner` changed.
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Whether a signal asked to drain.
    is_ending: bool,
    /// How many pipelines load their plugins, which takes a core each.
    loading: usize,
    /// In the order in which they are shown.
    members: Vec<Member>,
    /// The number of the next member.
    next: u64,
    /// What is dropped when the reloads have ended that are being asked for.
    until_done: Option<UntilDone>,
    /// How the only pipeline ended, which ends the process.
    over: Option<Result<(), Exit>>,
}

/// Finds the fleet from callbacks that exist before it does.
type Later = Arc<OnceLock<Weak<Fleet>>>;

#[expect(clippy::disallowed_methods, reason = "a command that waits")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Runs the pipelines of these files and folders until a signal has drained them, or the only one has ended.
///
/// # Errors
/// If no file is valid, two of them are in each other's way, or nothing can be served. Or if not all records were committed at the end, or
/// the only pipeline has failed.
pub(super) fn run(paths: &[PathBuf], shared: Shared, compiled: &Compiled, signals: &Arc<Signals>) -> Result<(), Exit> {
    signals.serve().map_err(|error| Exit::Bug(format!("handle signals: {error}")))?;
    let is_alone = matches!(paths, [path] if !path.is_dir());
    let shared = Shared { stays: !is_alone, ..shared };
    let later = Later::default();
    let files = files(paths, shared.watch)?;
    let read: Vec<(PathBuf, Result<Written, Exit>)> =
        (0..).zip(files).map(|(number, path)| (path.clone(), shared.read(&path, number, &later))).collect();
    let valid: Vec<&config::Pipeline> = read.iter().filter_map(|(_, read)| Some(&read.as_ref().ok()?.config)).collect();
    apart::apart(&valid)?;
    let listen = match (&valid[..], shared.http) {
        ([], _) if !read.is_empty() => return Err(all_invalid(read)),
        ([], listen) => listen.unwrap_or(config::HTTP_LISTEN),
        (valid, _) => apart::address(valid)?,
    };
    if let ([only], true) = (&valid[..], is_alone) {
        telemetry::set_pipeline(&only.name);
    }
    let (looks, asked) = mpsc::channel();
    let access = shared.access.clone();
    let engine = load::engine(compiled)?;
    let fleet = Arc::new(Fleet {
        shared,
        engine,
        listen,
        is_alone,
        signals: Arc::clone(signals),
        heeds: Once::new(),
        looks,
        inner: Mutex::default(),
        changed: Condvar::new(),
    });
    // Only this line sets it.
    let _ = later.set(Arc::downgrade(&fleet));
    let begun: Vec<_> = read.into_iter().map(|(path, read)| (fleet.add(&path, &read), read)).collect();
    let server = service::serve(listen, Arc::new(board::FleetBoard(Arc::clone(&fleet))), access, signals)?;
    if !is_alone {
        fleet.heed();
    }
    for (number, begun) in begun {
        fleet.start(number, begun);
    }
    let watch = if is_alone && !fleet.shared.watch { None } else { Some(Folder::start(&fleet, paths, asked)?) };
    fleet.begun();
    signals.ready();
    let ended = fleet.wait();
    drop(watch);
    service::let_go(server);
    ended
}

/// The end of a process whose files are all invalid.
fn all_invalid(read: Vec<(PathBuf, Result<Written, Exit>)>) -> Exit {
    let reports: Vec<String> =
        read.into_iter().filter_map(|(_, read)| Some(read.err()?.message().trim_end().to_owned())).collect();
    Exit::Invalid(reports.join("\n\n"))
}

impl Shared {
    /// Reads a file, and checks it.
    fn read(&self, path: &Path, number: u64, fleet: &Later) -> Result<Written, Exit> {
        let fleet = Arc::clone(fleet);
        let probe = Box::new(move |_: &config::Pipeline, new: &config::Pipeline| {
            if let Some(fleet) = fleet.get().and_then(Weak::upgrade) {
                fleet.fits(number, new).map_err(|exit| exit.message().to_owned())?;
            }
            check::online(new)
        });
        let (instances, serves_tap, stays) = (Arc::clone(&self.instances), self.serves_tap, self.stays);
        let adapt = move |config: &mut config::Pipeline| {
            config.serves_tap.get_or_insert(serves_tap);
            config.kafka.takes_orders_as = stays.then(|| config.name.clone());
            instances.name(config)
        };
        load::written(&self.file(path), self.http, self.policy.clone(), adapt, probe)
    }

    /// A file, with what the command line overrides in it.
    fn file(&self, path: &Path) -> PipelineFile {
        PipelineFile { path: path.to_owned(), set: self.set.clone(), service: self.service.clone() }
    }
}

impl Fleet {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on signals drain all pipelines, and have them read their files again.
    fn heed(self: &Arc<Fleet>) {
        self.heeds.call_once(|| {
            self.signals.begin();
            let (drained, reloaded) = (Arc::clone(self), Arc::clone(self));
            self.signals
                .run(Arc::new(move || drained.drain()), Arc::new(move |until_done| reloaded.reload(until_done)));
        });
    }

    /// Whether a pipeline with this configuration is in the way of no other one than its former self.
    ///
    /// # Errors
    /// If one has its name or group, or it wants another address.
    fn fits(&self, number: u64, config: &config::Pipeline) -> Result<(), Exit> {
        if config.http != self.listen {
            let place = config.place(config.spans.http);
            let what = format!(
                "{place}: metrics and probes would listen on {}, and the process has {}",
                config.http, self.listen
            );
            return Err(Exit::Invalid(format!("{what}: leave `http.listen` out")));
        }
        let inner = self.lock();
        let others = inner.members.iter().filter(|member| member.number != number);
        let others: Vec<Arc<config::Pipeline>> = others.filter_map(Member::config).collect();
        let mut all: Vec<&config::Pipeline> = others.iter().map(|config| &**config).collect();
        all.push(config);
        apart::apart(&all)
    }

    /// Takes an event about a member, and carries out what follows. Nothing happens if it is gone.
    fn tell(&self, inner: &mut Inner, number: u64, event: Event) {
        if let Some(member) = inner.members.iter_mut().find(|member| member.number == number) {
            match member.life.handle(now(), event) {
                Some(Action::Begin) => member.begin(),
                Some(Action::Drain) => member.drain(),
                Some(Action::Reload) => member.reload(inner.until_done.clone().unwrap_or_else(|| Arc::new(()))),
                Some(Action::Forget) => {
                    tracing::info!("pipeline `{}` is gone: its file was removed", member.served.name);
                    telemetry::forget(&member.served.name);
                }
                None => {}
            }
        }
        inner.members.retain(|member| !member.life.is_gone());
        self.changed.notify_all();
    }

    fn tell_all(&self, event: Event) {
        let mut inner = self.lock();
        let numbers: Vec<u64> = inner.members.iter().map(|member| member.number).collect();
        numbers.into_iter().for_each(|number| self.tell(&mut inner, number, event));
    }

    /// Drains every pipeline. Those that load their plugins don't start.
    fn drain(&self) {
        self.lock().is_ending = true;
        self.tell_all(Event::End);
        self.changed.notify_all();
    }

    /// Has every pipeline read its file again, those that have failed too, and looks for files that came or went.
    fn reload(&self, until_done: UntilDone) {
        // Each pipeline reports a mistake in the file.
        if self.shared.service.settings().is_ok_and(|now| now != self.shared.own) {
            tracing::warn!(
                "`[http]`, `[limits]` or `[service]` of wasmill.toml has changed, which takes effect with the next start of the process"
            );
        }
        self.lock().until_done = Some(until_done);
        self.tell_all(Event::Changed);
        self.lock().until_done = None;
        // An error means that there are no folders.
        let _ = self.looks.send(());
    }

    /// Waits until every pipeline has been started or has failed, or the process ends.
    fn begun(&self) {
        let is_starting = |inner: &mut Inner| {
            let is_over = inner.is_ending || inner.over.is_some();
            !is_over && inner.members.iter().any(|member| member.life.is_starting())
        };
        drop(self.changed.wait_while(self.lock(), is_starting));
    }

    /// Waits until a signal has drained all pipelines, or the only one has ended.
    ///
    /// # Errors
    /// If one of them didn't commit all of its records in time, or how the only one ended.
    fn wait(&self) -> Result<(), Exit> {
        let have_ended = |inner: &Inner| inner.is_ending && inner.members.iter().all(|member| member.life.has_ended());
        let is_busy = |inner: &mut Inner| inner.over.is_none() && !have_ended(inner);
        let mut inner = self.changed.wait_while(self.lock(), is_busy).unwrap_or_else(PoisonError::into_inner);
        if let Some(over) = inner.over.take() {
            return over;
        }
        if self.is_alone {
            return inner.members.first_mut().map_or(Ok(()), |member| mem::replace(&mut member.ended, Ok(())));
        }
        let late = |member: &Member| match &member.ended {
            Err(Exit::DeadlinePassed(why)) => Some(format!("pipeline `{}`: {why}", member.served.name)),
            Err(_) | Ok(()) => None,
        };
        let late: Vec<String> = inner.members.iter().filter_map(late).collect();
        if late.is_empty() { Ok(()) } else { Err(Exit::DeadlinePassed(late.join("\n"))) }
    }
}
