//! Several pipelines in one process.
//!
//! Each has a thread that loads its plugins, starts it and waits for its end, and a worker, executors, clients and limits of its own. They
//! share the engine, the cache of compiled components and the HTTP server. Invariant: nothing that one of them does ends another one, or the
//! process. One that can't start, stops at a record or panics is failed, and probes and metrics show it with the reason. If the folder's
//! `wasmill.toml` says so, its file is read again after a wait, and it is started again. Only a signal ends the process: it drains all of
//! them.

use std::env;
use std::mem;
use std::net::SocketAddr;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::args::Compiled;
use super::args::PipelineFile;
use super::check;
use super::exit_code::Exit;
use super::instance::Instances;
use super::load;
use super::service;
use super::service::Written;
use super::signals::Signals;
use crate::admin;
use crate::admin::Served;
use crate::config;
use crate::config::Process;
use crate::config::Restart;
use crate::config::Span;
use crate::kafka;
use crate::metrics::Metrics;
use crate::metrics::State;
use crate::pipeline::Check;
use crate::pipeline::Handle;
use crate::pipeline::Health;
use crate::plugin::Engine;
use crate::reload::Reloader;
use crate::reload::UntilDone;
use crate::telemetry;

/// What is the same for all pipelines of a process.
pub(super) struct Shared {
    /// Values that override those of each file.
    pub(super) set: Vec<String>,
    /// The address of metrics and probes, instead of the files'.
    pub(super) http: Option<SocketAddr>,
    /// Whether the files are watched.
    pub(super) watch: bool,
    pub(super) instances: Arc<Instances>,
    /// How failed pipelines are started again.
    pub(super) restart: Option<Restart>,
}

/// All pipelines of the process.
struct Fleet {
    shared: Shared,
    engine: Engine,
    members: Vec<Member>,
    /// Locked for copies and for one decision at a time. Pipelines are told to drain or to reload under it, which sends a message.
    stages: Mutex<Stages>,
    /// Notified when something of `stages` changed.
    changed: Condvar,
}

struct Member {
    name: Arc<str>,
    path: PathBuf,
    metrics: Arc<Metrics>,
    serves_state: bool,
}

struct Stages {
    /// Whether a signal asked to drain.
    draining: bool,
    /// How many pipelines load their plugins, which takes a core each.
    loading: usize,
    /// Of each member.
    of: Vec<Stage>,
    /// What each member was last started with; `None` while its file has never been valid.
    configs: Vec<Option<config::Pipeline>>,
}

enum Stage {
    /// It loads its plugins.
    Starting,
    Running {
        handle: Handle,
        reloader: Reloader,
    },
    /// With the time at which it is started again, if it is.
    Ended(Result<(), Exit>, Option<Instant>),
}

/// The files that the arguments stand for. A folder stands for its pipeline files.
///
/// # Errors
/// If a folder can't be read, or has none.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Exit> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unread = |error: std::io::Error| Exit::Invalid(format!("read the folder {}: {error}", path.display()));
        let entries: Result<Vec<_>, _> = path.read_dir().map_err(unread)?.collect();
        let mut found: Vec<PathBuf> = entries.map_err(unread)?.into_iter().map(|entry| entry.path()).collect();
        found.retain(|file| is_pipeline(file));
        if found.is_empty() {
            let what =
                "has no pipeline file: each `NAME.toml` in it is one, but not `NAME.test.toml` and `wasmill.toml`";
            return Err(Exit::Invalid(format!("the folder {} {what}", path.display())));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// The file of the process in a folder of pipelines.
const OWN_FILE: &str = "wasmill.toml";

fn is_pipeline(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // Editors and volumes of Kubernetes have hidden files.
    let is_other = name == OWN_FILE || name.ends_with(".test.toml") || name.starts_with('.');
    name.ends_with(".toml") && !is_other && file.is_file()
}

/// The settings of the process: those of the `wasmill.toml` in one of the folders.
///
/// # Errors
/// If the file is invalid, or several folders have one.
pub(super) fn settings(paths: &[PathBuf]) -> Result<Process, Exit> {
    let found: Vec<PathBuf> = paths.iter().map(|path| path.join(OWN_FILE)).filter(|file| file.is_file()).collect();
    match &found[..] {
        [] => Ok(Process::default()),
        [file] => config::process(file, &|name| env::var_os(name)).map_err(|report| Exit::Invalid(report.to_string())),
        [first, second, ..] => {
            let [first, second] = [first, second].map(|file| file.display());
            Err(Exit::Invalid(format!(
                "{second}: a process has one such file, and {first} is another: remove one of them"
            )))
        }
    }
}

/// Runs the pipelines of these files until a signal has drained them.
///
/// # Errors
/// If no file is valid, two of them are in each other's way, or nothing can be served. Or if not all records were committed at the end.
pub(super) fn run(
    files: Vec<PathBuf>,
    shared: Shared,
    compiled: &Compiled,
    signals: &Arc<Signals>,
) -> Result<(), Exit> {
    signals.serve().map_err(|error| Exit::Bug(format!("handle signals: {error}")))?;
    let read: Vec<_> = files
        .into_iter()
        .map(|path| {
            let read = shared.read(&path);
            (path, read)
        })
        .collect();
    let valid: Vec<&config::Pipeline> = read.iter().filter_map(|(_, read)| Some(&read.as_ref().ok()?.config)).collect();
    apart(&valid)?;
    let listen = match &valid[..] {
        [] => {
            let reports = read.into_iter().filter_map(|(_, read)| Some(read.err()?.message().trim_end().to_owned()));
            return Err(Exit::Invalid(reports.collect::<Vec<_>>().join("\n\n")));
        }
        valid => address(valid)?,
    };
    let engine = load::engine(compiled)?;
    let (fleet, begun) = fleet(read, shared, engine);
    let fleet = Arc::new(fleet);
    let _server = service::serve(listen, fleet.served(), signals)?;
    signals.begin();
    for (number, begun) in begun.into_iter().enumerate() {
        fleet.start(number, begun);
    }
    let (drained, reloaded) = (Arc::clone(&fleet), Arc::clone(&fleet));
    signals.run(Arc::new(move || drained.drain()), Arc::new(move |until_done| reloaded.reload(&until_done)));
    fleet.begun();
    signals.ready();
    fleet.wait()
}

impl Shared {
    /// Reads a file, and checks it.
    fn read(&self, path: &Path) -> Result<Written, Exit> {
        let file = PipelineFile { path: path.to_owned(), set: self.set.clone() };
        let probe = Box::new(|_: &config::Pipeline, new: &config::Pipeline| check::online(new));
        let instances = Arc::clone(&self.instances);
        load::written(&file, self.http, move |config| instances.name(config), probe)
    }
}

/// Refuses two pipelines with one name, or with one consumer group.
fn apart(pipelines: &[&config::Pipeline]) -> Result<(), Exit> {
    let name = |pipeline: &config::Pipeline| (pipeline.name.clone(), pipeline.spans.name);
    let group = |pipeline: &config::Pipeline| {
        (pipeline.kafka.input.group.clone(), pipeline.spans.group.or(pipeline.spans.name))
    };
    for (number, one) in pipelines.iter().enumerate() {
        for before in &pipelines[..number] {
            let of_both = |of: &dyn Fn(&config::Pipeline) -> (String, Option<Span>)| [of(before), of(one)];
            let [(first, at), (second, here)] = of_both(&name);
            if first == second {
                let what = "metrics, probes and log lines are told apart by it: set another `name`";
                return Err(doubled("name", &first, (before, at), (one, here), what));
            }
            let [(first, at), (second, here)] = of_both(&group);
            if first == second {
                let what = "each would get a part of the other's records: set another `input.group`";
                return Err(doubled("consumer group", &first, (before, at), (one, here), what));
            }
        }
    }
    Ok(())
}

fn doubled(
    what: &str,
    value: &str,
    (first, at): (&config::Pipeline, Option<Span>),
    (second, here): (&config::Pipeline, Option<Span>),
    help: &str,
) -> Exit {
    let [first, second] = [(first, at), (second, here)].map(|(pipeline, span)| pipeline.place(span));
    Exit::Invalid(format!("{second}: the {what} `{value}` is also that of {first}; {help}"))
}

/// The address of metrics and probes, which has to be the same in all files.
fn address(pipelines: &[&config::Pipeline]) -> Result<SocketAddr, Exit> {
    let (first, others) = pipelines.split_first().ok_or_else(|| Exit::Bug("there is no pipeline".to_owned()))?;
    match others.iter().find(|other| other.http != first.http) {
        None => Ok(first.http),
        Some(other) => {
            let [one, two] = [first, other].map(|pipeline| pipeline.place(pipeline.spans.http));
            Err(Exit::Invalid(format!(
                "{two}: metrics and probes would listen on {}, and by {one} on {}: a process has one address for all pipelines; leave \
                 `http.listen` out, or name the address with --http",
                other.http, first.http
            )))
        }
    }
}

/// The members in the order of their files, and what each begins with. A file that is invalid is a member that failed.
fn fleet(
    read: Vec<(PathBuf, Result<Written, Exit>)>,
    shared: Shared,
    engine: Engine,
) -> (Fleet, Vec<Result<Written, Exit>>) {
    let taken: Vec<String> =
        read.iter().filter_map(|(_, read)| Some(read.as_ref().ok()?.config.name.clone())).collect();
    let (mut members, mut begun, mut configs) = (Vec::new(), Vec::new(), Vec::new());
    for (path, read) in read {
        let (name, metrics, serves_state) = match &read {
            Ok(Written { config, .. }) => (config.name.clone(), service::metrics(config), config.serves_state),
            Err(_) => {
                // The name that it has unless the file says otherwise.
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let name = if taken.contains(&name) { path.display().to_string() } else { name };
                let metrics = Metrics::new(&name, &[], &[]);
                metrics.set_librdkafka(&kafka::version());
                (name, metrics, false)
            }
        };
        configs.push(read.as_ref().ok().map(|written| written.config.clone()));
        members.push(Member { name: name.into(), path, metrics, serves_state });
        begun.push(read);
    }
    let of = members.iter().map(|_| Stage::Starting).collect();
    let stages = Mutex::new(Stages { draining: false, loading: 0, of, configs });
    (Fleet { shared, engine, members, stages, changed: Condvar::new() }, begun)
}

/// The state of a pipeline that has ended. One that was drained late is not a failed one.
fn ended_as(exit: Option<&Exit>) -> State {
    if exit.is_none_or(|exit| matches!(exit, Exit::DeadlinePassed(_))) { State::Stopped } else { State::Failed }
}

#[expect(clippy::disallowed_methods, reason = "a command that waits")]
fn now() -> Instant {
    Instant::now()
}

/// The waits before a pipeline is started again.
#[derive(Debug)]
struct Waits {
    restart: Restart,
    next: Duration,
}

impl Waits {
    fn new(restart: Restart) -> Waits {
        Waits { restart, next: restart.from }
    }

    /// The wait after it ran for this long: twice the last one, and the first one again if it ran for longer than the longest wait.
    fn after(&mut self, ran: Duration) -> Duration {
        let wait = if ran > self.restart.to { self.restart.from } else { self.next };
        self.next = (wait * 2).min(self.restart.to);
        wait
    }
}

impl Fleet {
    fn lock(&self) -> MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the HTTP server asks.
    fn served(self: &Arc<Fleet>) -> Vec<Served> {
        let one = |(number, member): (usize, &Member)| {
            let (healthy, running) = (Arc::clone(self), Arc::clone(self));
            Served {
                name: Arc::clone(&member.name),
                metrics: Arc::clone(&member.metrics),
                health: Arc::new(move || healthy.health(number)),
                state: member.serves_state.then(|| Arc::new(move || running.handle(number)) as Arc<admin::Running>),
            }
        };
        self.members.iter().enumerate().map(one).collect()
    }

    fn handle(&self, number: usize) -> Option<Handle> {
        match &self.lock().of[number] {
            Stage::Running { handle, .. } => Some(handle.clone()),
            Stage::Starting | Stage::Ended(..) => None,
        }
    }

    fn health(&self, number: usize) -> Health {
        let name = format!("pipeline/{}", self.members[number].name);
        let detail = match &self.lock().of[number] {
            Stage::Starting => return service::starting(&name),
            Stage::Running { handle, .. } => return handle.health(),
            Stage::Ended(Ok(()), _) => "stopped".to_owned(),
            Stage::Ended(Err(exit), again) => {
                let left = again.map(|again| again.saturating_duration_since(now()).as_secs());
                let again = left.map_or_else(String::new, |left| format!(" (started again in {left} s)"));
                format!("{}{again}: {}", ended_as(Some(exit)).label(), exit.message().trim_end())
            }
        };
        // What has ended doesn't make the process restart.
        Health { live: true, ready: false, checks: vec![Check { ok: false, name, detail }], ..Health::default() }
    }

    /// Starts the thread of a pipeline.
    fn start(self: &Arc<Fleet>, number: usize, begun: Result<Written, Exit>) {
        let fleet = Arc::clone(self);
        let run = move || {
            telemetry::in_pipeline(Arc::clone(&fleet.members[number].name), || fleet.keep(number, begun));
        };
        if let Err(error) = thread::Builder::new().name(format!("pipeline-{number}")).spawn(run) {
            self.end(number, Err(Exit::no_thread("runs a pipeline", &error)), None);
        }
    }

    /// Runs a pipeline until it has ended for good.
    fn keep(&self, number: usize, mut begun: Result<Written, Exit>) {
        let mut waits = self.shared.restart.map(Waits::new);
        loop {
            let start = now();
            let ran = panic::catch_unwind(AssertUnwindSafe(|| self.run_one(number, begun?)));
            let ended = ran.unwrap_or_else(|_| Err(Exit::Bug("its thread panicked; see the log".to_owned())));
            let goes_on = ended_as(ended.as_ref().err()) == State::Failed && !self.lock().draining;
            let ran = now().saturating_duration_since(start);
            let wait = waits.as_mut().filter(|_| goes_on).map(|waits| waits.after(ran));
            self.end(number, ended, wait);
            if wait.is_none_or(|wait| !self.waits(wait)) {
                return;
            }
            self.members[number].metrics.restarts.inc();
            begun = self.begin_again(number);
        }
    }

    /// Waits. `false` if the process is drained meanwhile.
    fn waits(&self, wait: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), wait, |stages| !stages.draining);
        !waited.unwrap_or_else(PoisonError::into_inner).0.draining
    }

    /// Reads the file of a failed pipeline again.
    ///
    /// # Errors
    /// If it is invalid, or in the way of another pipeline.
    fn begin_again(&self, number: usize) -> Result<Written, Exit> {
        let Member { name, path, metrics, .. } = &self.members[number];
        metrics.set_state(State::Starting);
        self.lock().of[number] = Stage::Starting;
        let written = self.shared.read(path)?;
        let config = &written.config;
        if *config.name != **name {
            let place = config.place(config.spans.name);
            let what = format!("{place}: its name is now `{}`, and metrics have it as `{name}`", config.name);
            return Err(Exit::Invalid(format!("{what}: start the process again")));
        }
        let mut stages = self.lock();
        let others = stages.configs.iter().enumerate().filter(|(other, _)| *other != number);
        let mut all: Vec<&config::Pipeline> = others.filter_map(|(_, config)| config.as_ref()).collect();
        all.push(config);
        apart(&all)?;
        stages.configs[number] = Some(config.clone());
        service::add(config, metrics);
        Ok(written)
    }

    /// Loads a pipeline's plugins, starts it and waits for its end.
    fn run_one(&self, number: usize, written: Written) -> Result<(), Exit> {
        let steps = {
            let _turn = self.turn();
            load::steps_of(&self.engine, &written.config)?
        };
        if self.lock().draining {
            return Ok(());
        }
        let watch = self.shared.watch || written.config.reload.watch;
        let (handle, reloader) = service::start(&steps, written, watch, &self.members[number].metrics)?;
        {
            let mut stages = self.lock();
            if stages.draining {
                handle.drain();
            }
            stages.of[number] = Stage::Running { handle: handle.clone(), reloader };
        }
        self.changed.notify_all();
        service::said_last(handle.wait(), &handle)
    }

    /// Waits until a core is free for compiling, and takes it until the value is dropped.
    fn turn(&self) -> Turn<'_> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let waited = self.changed.wait_while(self.lock(), |stages| stages.loading >= cores);
        waited.unwrap_or_else(PoisonError::into_inner).loading += 1;
        Turn(self)
    }

    /// A pipeline has ended, and is started again after this wait, if there is one.
    fn end(&self, number: usize, ended: Result<(), Exit>, wait: Option<Duration>) {
        let state = ended_as(ended.as_ref().err());
        self.members[number].metrics.set_state(state);
        if let Err(exit) = &ended
            && state == State::Failed
        {
            tracing::error!("the pipeline has failed, and the others run on: {}", exit.message().trim_end());
        }
        if let Some(wait) = wait {
            tracing::info!("the pipeline is started again in {wait:?}");
        }
        let again = wait.map(|wait| now() + wait);
        let before = mem::replace(&mut self.lock().of[number], Stage::Ended(ended, again));
        self.changed.notify_all();
        // A reload that is under way is waited for here, where it delays nothing.
        drop(before);
    }

    /// Drains every pipeline. Those that load their plugins don't start.
    fn drain(&self) {
        let mut stages = self.lock();
        stages.draining = true;
        for stage in &stages.of {
            if let Stage::Running { handle, .. } = stage {
                handle.drain();
            }
        }
        drop(stages);
        self.changed.notify_all();
    }

    /// Has every running pipeline read its file again.
    fn reload(&self, until_done: &UntilDone) {
        for stage in &self.lock().of {
            if let Stage::Running { reloader, .. } = stage {
                reloader.asker()(Arc::clone(until_done));
            }
        }
    }

    /// Waits until every pipeline has been started or has failed, or a signal drains them.
    fn begun(&self) {
        let is_starting =
            |stages: &mut Stages| !stages.draining && stages.of.iter().any(|stage| matches!(stage, Stage::Starting));
        drop(self.changed.wait_while(self.lock(), is_starting));
    }

    /// Waits until a signal has drained all pipelines.
    ///
    /// # Errors
    /// If one of them didn't commit all of its records in time.
    fn wait(&self) -> Result<(), Exit> {
        let is_busy =
            |stages: &mut Stages| !stages.draining || stages.of.iter().any(|stage| !matches!(stage, Stage::Ended(..)));
        let stages = self.changed.wait_while(self.lock(), is_busy).unwrap_or_else(PoisonError::into_inner);
        let late = |(member, stage): (&Member, &Stage)| match stage {
            Stage::Ended(Err(Exit::DeadlinePassed(why)), _) => Some(format!("pipeline `{}`: {why}", member.name)),
            Stage::Starting | Stage::Running { .. } | Stage::Ended(..) => None,
        };
        let late: Vec<String> = self.members.iter().zip(&stages.of).filter_map(late).collect();
        if late.is_empty() { Ok(()) } else { Err(Exit::DeadlinePassed(late.join("\n"))) }
    }
}

/// A core that is taken for compiling.
struct Turn<'a>(&'a Fleet);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().loading -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A pipeline with this name, group and address in a file of the folder.
    fn pipeline(folder: &Path, file: &str, text: &str) -> config::Pipeline {
        let path = folder.join(file);
        let rest = "[kafka]\nbrokers = [\"a:9092\"]\n[[step]]\nuse = \"std:mask\"\nsettings = { fields = [\"/a\"] }\n\
                    [output.main]\ntopic = \"out\"\n";
        fs::write(&path, format!("{text}\n{rest}")).unwrap();
        config::examine(&path, &config::Overrides::default(), &|_| None).valid().map_err(|e| e.to_string()).unwrap()
    }

    #[test]
    fn two_pipelines_with_one_name_or_group_are_refused_with_both_places() {
        let folder = tempfile::tempdir().unwrap();
        let of = |file: &str, text: &str| pipeline(folder.path(), file, text);
        let input = "input.topics = [\"in\"]";
        let orders = of("orders.toml", input);
        let refused =
            |one: &config::Pipeline, two: &config::Pipeline| apart(&[one, two]).unwrap_err().message().to_owned();
        let same_name = of("b.toml", &format!("{input}\nname = \"orders\"\ninput.group = \"g\""));
        let message = refused(&orders, &same_name);
        assert!(
            message.contains("b.toml:2: the name `orders` is also that of ") && message.contains("orders.toml; "),
            "{message}"
        );
        let same_group = of("c.toml", &format!("name = \"c\"\n{input}\ninput.group = \"orders\""));
        let message = refused(&same_group, &orders);
        assert!(message.contains("orders.toml: the consumer group `orders` is also that of "), "{message}");
        assert!(message.contains("c.toml:3; ") && message.ends_with("set another `input.group`"), "{message}");
        assert!(apart(&[&orders, &of("d.toml", input)]).is_ok());
    }

    #[test]
    fn the_address_of_metrics_is_that_of_all_files() {
        let folder = tempfile::tempdir().unwrap();
        let of = |file: &str, text: &str| pipeline(folder.path(), file, text);
        let [one, two] = ["a.toml", "b.toml"].map(|file| of(file, "input.topics = [\"in\"]"));
        assert_eq!(address(&[&one, &two]).unwrap().port(), 9108);
        let other = of("c.toml", "input.topics = [\"in\"]\nhttp.listen = \"127.0.0.1:9200\"");
        let message = address(&[&one, &other]).unwrap_err().message().to_owned();
        assert!(message.contains("c.toml:2: metrics and probes would listen on 127.0.0.1:9200"), "{message}");
        assert!(message.contains("a.toml on 127.0.0.1:9108"), "{message}");
    }

    #[test]
    fn the_wait_before_a_start_doubles_up_to_the_longest_and_begins_anew_after_a_long_run() {
        let [from, to] = [10, 35].map(Duration::from_secs);
        let mut waits = Waits::new(Restart { from, to });
        let ran = [0, 1, 35, 2, 36, 0].map(|ran| waits.after(Duration::from_secs(ran)).as_secs());
        assert_eq!(ran, [10, 20, 35, 35, 10, 20]);
    }

    #[test]
    fn a_process_has_the_settings_of_the_one_folder_that_has_some() {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let paths = [&one, &two].map(|folder| folder.path().to_owned());
        assert_eq!(settings(&paths).unwrap(), Process::default());
        fs::write(two.path().join(OWN_FILE), "[http]\nlisten = \"0.0.0.0:9200\"\n").unwrap();
        assert_eq!(settings(&paths).unwrap().http.map(|http| http.port()), Some(9200));
        fs::write(one.path().join(OWN_FILE), "").unwrap();
        let message = settings(&paths).unwrap_err().message().to_owned();
        assert!(message.contains("a process has one such file"), "{message}");
        assert_eq!(settings(&[one.path().join("a.toml")]).unwrap(), Process::default(), "a file is no folder");
    }

    #[test]
    fn a_folder_stands_for_its_pipeline_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let empty = files(&[path.to_owned()]).unwrap_err();
        assert!(empty.message().contains("has no pipeline file"), "{}", empty.message());
        for name in ["b.toml", "a.toml", "a.test.toml", "wasmill.toml", ".a.toml", "notes.md"] {
            fs::write(path.join(name), "").unwrap();
        }
        fs::create_dir(path.join("c.toml")).unwrap();
        let single = PathBuf::from("single.toml");
        let found = files(&[single.clone(), path.to_owned()]).unwrap();
        assert_eq!(found, [single, path.join("a.toml"), path.join("b.toml")]);
    }
}
