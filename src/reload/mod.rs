//! Applies changes of a pipeline's file and of its components while the pipeline runs.
//!
//! One thread waits for a signal, or for a change of any file that the pipeline's file refers to. It reads everything again and loads what
//! has changed next to the running pipeline. When everything is loaded, and has passed the pipeline's test cases if `reload.test` is set,
//! it is swapped in. Invariant: if a file is invalid, the pipeline continues unchanged, and the problem is reported once: in the log, in
//! the metrics and by `/readyz?verbose`. A reload never stops a pipeline.

mod difference;
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::config;
use crate::config::Held;
use crate::config::Referenced;
use crate::dry_run::cases;
use crate::dry_run::cases::Verdict;
use crate::failpoint;
use crate::failpoint::Point;
use crate::journal::PastReload;
use crate::metrics::Metrics;
use crate::pipeline::Handle;
use crate::pipeline::ReloadPreview;
use crate::pipeline::StartError;
use crate::plugin::Step;
use crate::plugin::bundled;
use crate::telemetry;
use difference::Difference;
use watch::Watch;

/// What the reload thread needs.
pub struct Settings {
    /// The configuration that the pipeline was started with.
    pub config: config::Pipeline,
    /// The steps that the pipeline runs.
    pub steps: Vec<Step>,
    /// The files that the configuration was read from, with their contents at that time.
    pub files: Vec<Referenced>,
    /// Reads and checks the file again.
    pub load: Load,
    /// Checks the settings of a loaded step, given by its number.
    pub verify: fn(&config::Pipeline, usize, &Step) -> Result<(), String>,
    /// Checks with the brokers whether the pipeline can change from the first configuration to the second. Called when more than steps
    /// changed.
    pub probe: Probe,
    /// Whether to watch the files; otherwise only a request starts a reload.
    pub watch: bool,
    /// The running pipeline.
    pub handle: Handle,
    /// The metrics that count reloads.
    pub metrics: Arc<Metrics>,
}

/// See [`Settings::load`].
pub type Load = Box<dyn Fn() -> Loaded + Send>;

/// The result of reading a pipeline's file.
pub struct Loaded {
    /// The pipeline, or a report of everything that is wrong.
    pub config: Result<config::Pipeline, String>,
    /// The file and those that it refers to, even if it is invalid.
    pub files: Vec<Referenced>,
}

/// See [`Settings::probe`].
pub type Probe = Box<dyn Fn(&config::Pipeline, &config::Pipeline) -> Result<(), String> + Send>;

/// The reload thread; dropping it stops and joins it.
pub struct Reloader {
    inbox: mpsc::Sender<Event>,
    thread: Option<JoinHandle<()>>,
}

/// What is dropped when a reload that was asked for has ended, whether or not it succeeded.
pub type UntilDone = Arc<dyn Send + Sync>;

/// Asks for a reload.
pub type Asker = Arc<dyn Fn(UntilDone) + Send + Sync>;

enum Event {
    /// A reload was requested.
    Asked(UntilDone),
    /// Somebody wants to know what a reload would change.
    Would(ReloadPreview),
    /// Something happened in a watched folder.
    Touched,
    Stop,
}

/// A change is applied once two looks this far apart find the same: a file may be written in several steps.
const QUIET: Duration = Duration::from_millis(300);
/// The watch may miss changes, for example on network file systems. So the files are also checked this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Reloader {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(settings: Settings) -> io::Result<Reloader> {
        let (inbox, events) = mpsc::channel();
        settings.metrics.set_reload_successful(true);
        let touched = {
            let inbox = inbox.clone();
            move || drop(inbox.send(Event::Touched))
        };
        let watch = settings.watch.then(|| Watch::new(touched));
        let mut reload = Reload::new(settings);
        let run = move || reload.run(&events, watch);
        let thread = telemetry::spawn("reload", run)?;
        Ok(Reloader { inbox, thread: Some(thread) })
    }

    /// A function that requests a reload, whether or not a file has changed.
    #[must_use]
    pub fn asker(&self) -> Asker {
        let inbox = self.inbox.clone();
        // Sending fails only if the thread has ended.
        Arc::new(move |until_done| drop(inbox.send(Event::Asked(until_done))))
    }

    /// Asks what a reload would change. The answer is dropped if the thread has ended.
    pub fn would_reload(&self, answer: ReloadPreview) {
        // Sending fails only if the thread has ended.
        let _ = self.inbox.send(Event::Would(answer));
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        // Sending fails only if the thread has ended.
        let _ = self.inbox.send(Event::Stop);
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged a panic of that thread.
            let _ = thread.join();
        }
    }
}

struct Reload {
    config: config::Pipeline,
    steps: Vec<Step>,
    load: Load,
    verify: fn(&config::Pipeline, usize, &Step) -> Result<(), String>,
    probe: Probe,
    handle: Handle,
    metrics: Arc<Metrics>,
    /// The digests of the files that were last applied or refused.
    seen: Digests,
    looks: Vec<Look>,
}

/// The digests of files; `None` for a file that can't be read.
type Digests = BTreeMap<PathBuf, Option<String>>;

/// A file when it was last checked.
struct Look {
    file: PathBuf,
    identity: Option<FileIdentity>,
    digest: Option<String>,
}

/// Values that change whenever the file behind a name changes: device, inode, size and times.
pub type FileIdentity = [i64; 7];

/// The identity of the file behind a name; `None` if there is no file.
#[must_use]
pub fn identity(file: &Path) -> Option<FileIdentity> {
    let metadata = fs::metadata(file).ok()?;
    let of = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
    Some([
        of(metadata.dev()),
        of(metadata.ino()),
        of(metadata.size()),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ])
}

/// Whether a component declares other versions of its state than the one that runs, so that the state has to be restored with them.
///
/// # Errors
/// It can't read what the one that runs may have written.
fn reads_state(old: &Step, new: &Step) -> Result<bool, String> {
    let [before, after] = [old, new].map(|step| step.state().cloned().unwrap_or_default());
    if let Some(lost) = before.reads.iter().find(|version| !after.reads.contains(version)) {
        return Err(format!(
            "step `{}`: the state may have cells of version {lost}, and the component reads {:?}; build it so that it reads them (`reads`), \
             or restart the process, which tells whether there are any",
            new.settings().name,
            after.reads
        ));
    }
    Ok(before != after || old.world() != new.world())
}

#[expect(clippy::disallowed_methods, reason = "the clock of a shell")]
fn now() -> Instant {
    Instant::now()
}

fn quoted(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("`{part}`")).collect::<Vec<_>>().join(", ")
}

/// Why a reload changed nothing.
struct Refused {
    /// The step that was the reason, if it was one.
    step: Option<usize>,
    reason: String,
}

/// A bug.
fn panicked() -> Refused {
    Refused { step: None, reason: "wasmill itself failed; please report the lines above".to_owned() }
}

/// A checked change that isn't applied yet.
struct Prepared {
    config: config::Pipeline,
    /// The steps that differ, by number.
    changed: Vec<(usize, Step)>,
    /// What is changed in place, and what with a new consumer: see [`Difference`].
    in_place: Vec<&'static str>,
    anew: Vec<&'static str>,
}

impl Reload {
    fn new(settings: Settings) -> Reload {
        let Settings { config, files, steps, load, verify, probe, watch: _, handle, metrics } = settings;
        let mut reload =
            Reload { config, steps, load, verify, probe, handle, metrics, seen: Digests::new(), looks: Vec::new() };
        reload.see(&files);
        // A component may have changed after it was loaded. Those that come with wasmill are no files.
        for step in reload.steps.iter().filter(|step| bundled::name(&step.settings().wasm).is_none()) {
            reload.seen.insert(step.settings().wasm.clone(), Some(step.digest().to_string()));
        }
        reload
    }

    fn run(&mut self, events: &mpsc::Receiver<Event>, mut watch: Option<Watch>) {
        let mut pending = None;
        // A file may have changed before the watch started.
        let mut look_at = watch.is_some().then(|| now() + QUIET);
        loop {
            if let Some(watch) = &mut watch {
                watch.follow(self.seen.keys());
            }
            let event = match look_at {
                Some(at) => events.recv_timeout(at.saturating_duration_since(now())),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Asked(until_done)) => {
                    self.reload();
                    drop(until_done);
                }
                Ok(Event::Would(answer)) => answer(self.would_reload()),
                // Moves the check forward but never back: something else in the folder may be written all the time.
                Ok(Event::Touched) => look_at = look_at.map(|at| at.min(now() + QUIET)),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let found = self.look();
                    if found == self.seen {
                        pending = None;
                    } else if pending.as_ref() == Some(&found) {
                        pending = None;
                        self.reload();
                    } else {
                        pending = Some(found);
                    }
                    look_at = Some(now() + if pending.is_some() { QUIET } else { LOOK_EVERY });
                }
            }
        }
    }

    /// Sets the files to compare against: each as it was when it was read, or as it is now if it was not read.
    fn see(&mut self, files: &[Referenced]) {
        self.seen = files.iter().map(|file| (file.path.clone(), None)).collect();
        self.seen = self.look();
        for Referenced { path, held } in files {
            match held {
                Held::Unread => continue,
                Held::Nothing => self.seen.insert(path.clone(), None),
                Held::Digest(digest) => self.seen.insert(path.clone(), Some(digest.clone())),
            };
        }
    }

    /// The current digests of the files. Contents are compared: a new modification time alone is no change, and on Kubernetes the file
    /// names stay the same while a link next to them changes. Only files that were touched are read again.
    fn look(&mut self) -> Digests {
        let mut looks = Vec::with_capacity(self.seen.len());
        for file in self.seen.keys() {
            let identity = identity(file);
            let known =
                self.looks.iter().find(|look| look.file == *file && look.identity == identity && identity.is_some());
            let digest = match known {
                Some(look) => look.digest.clone(),
                None => config::digest(file),
            };
            looks.push(Look { file: file.clone(), identity, digest });
        }
        let digests = looks.iter().map(|look| (look.file.clone(), look.digest.clone())).collect();
        self.looks = looks;
        digests
    }

    fn reload(&mut self) {
        let Loaded { config, files } = (self.load)();
        // Before anything else is read, so that every later change is noticed.
        self.see(&files);
        let config = config.map_err(|reason| Refused { step: None, reason });
        // Much of the called code reads untrusted files. Unwind safe: `attempt` sets the fields only after everything has succeeded.
        let attempt = panic::catch_unwind(AssertUnwindSafe(|| config.and_then(|config| self.attempt(config))));
        let attempt = attempt.unwrap_or_else(|_| Err(panicked()));
        if let Err(Refused { step: Some(step), .. }) = &attempt {
            self.count(*step, "failed");
        }
        // Publishes the state before the counter and the log line, so that a reader of those finds the new state.
        self.metrics.set_reload_successful(attempt.is_ok());
        self.handle.set_reloaded(attempt.as_ref().map(|_| ()).map_err(|refused| refused.reason.clone()));
        let result = if attempt.is_ok() { "ok" } else { "failed" };
        self.metrics.config_reloads.with_label_values(&[result]).inc();
        if attempt.is_ok() {
            self.handle.resume();
        }
        let what = match &attempt {
            Ok(said) => said.clone().unwrap_or_else(|| "nothing has changed".to_owned()),
            Err(refused) => refused.reason.clone(),
        };
        let entry = PastReload { at_ms: telemetry::unix_ms(), is_ok: attempt.is_ok(), what };
        self.metrics.journal.reloaded(entry);
        match attempt {
            Ok(Some(said)) => tracing::info!("reloaded: {said}"),
            Ok(None) => tracing::info!("reloaded: nothing has changed"),
            Err(Refused { reason, .. }) => {
                tracing::error!("not reloaded, the pipeline keeps running unchanged: {reason}")
            }
        }
    }

    fn count(&self, step: usize, result: &str) {
        let name = &self.steps[step].settings().name;
        self.metrics.plugin_reloads.with_label_values(&[&**name, result]).inc();
    }

    /// Runs the pipeline's test cases with the changed steps. Each call has the limits of its step.
    fn test(&self, config: &config::Pipeline, changed: &[(usize, Step)]) -> Result<(), String> {
        let mut steps = self.steps.clone();
        for (number, step) in changed {
            steps[*number] = step.clone();
        }
        let file = config::cases_path(&config.file);
        for case in config::cases(&file)? {
            let Verdict { name, result, .. } = cases::run(config, &steps, &case);
            result.map_err(|why| format!("{}:{}: test case `{name}` fails:\n{why}", file.display(), case.line))?;
        }
        Ok(())
    }

    /// What a reload would change now.
    ///
    /// # Errors
    /// Why it would be refused.
    fn would_reload(&self) -> Result<String, String> {
        let prepare = || {
            let prepared = self.prepare((self.load)().config.map_err(|reason| Refused { step: None, reason })?)?;
            for (number, step) in &prepared.changed {
                let failed =
                    |failure| StartError::Plugin { step: step.settings().name.to_string(), failure: Box::new(failure) };
                let refused = |error: StartError| Refused { step: Some(*number), reason: error.told(&prepared.config) };
                step.instantiate().map_err(failed).map_err(refused)?;
            }
            Ok(prepared)
        };
        let prepared = panic::catch_unwind(AssertUnwindSafe(prepare)).unwrap_or_else(|_| Err(panicked()));
        let said =
            prepared.map(|prepared| prepared.said(&self.config, &self.steps)).map_err(|refused| refused.reason)?;
        Ok(said.unwrap_or_else(|| "nothing has changed".to_owned()))
    }

    /// Loads what has changed, and checks it. Nothing is changed yet.
    fn prepare(&self, config: config::Pipeline) -> Result<Prepared, Refused> {
        let refused = |reason| Refused { step: None, reason };
        let Difference { in_place, mut anew, restart } = Difference::of(&self.config, &config);
        if !restart.is_empty() {
            let mut report = config.report();
            for (part, at) in restart {
                let message = format!("`{part}` changed, which takes effect with the next start");
                report.add(at, message, "restart the process, or revert the change");
            }
            return Err(refused(report.to_string()));
        }
        if !(in_place.is_empty() && anew.is_empty()) {
            (self.probe)(&self.config, &config).map_err(refused)?;
        }
        let mut changed = Vec::new();
        for (number, settings) in config.steps.iter().enumerate() {
            let step = &self.steps[number];
            let is_bundled = bundled::name(&settings.wasm).is_some() && settings.wasm == step.settings().wasm;
            let is_same_file =
                is_bundled || config::digest(&settings.wasm).is_some_and(|digest| digest == **step.digest());
            if is_same_file && settings == step.settings() {
                continue;
            }
            let loaded = step.reload(settings.clone());
            let loaded = loaded.map_err(|error| {
                let mut report = config.report();
                config.add_unloaded(number, &error.to_string(), &mut report);
                Refused { step: Some(number), reason: report.to_string() }
            })?;
            (self.verify)(&config, number, &loaded).map_err(|reason| Refused { step: Some(number), reason })?;
            let has_other_state = reads_state(step, &loaded).map_err(|why| {
                let mut report = config.report();
                config.add_unloaded(number, &why, &mut report);
                Refused { step: Some(number), reason: report.to_string() }
            })?;
            if has_other_state {
                anew.push("the versions of the plugin's state");
            }
            changed.push((number, loaded));
        }
        let prepared = Prepared { config, changed, in_place, anew };
        if prepared.config.reload.test && !prepared.is_empty() {
            let step = prepared.first();
            self.test(&prepared.config, &prepared.changed).map_err(|reason| Refused { step, reason })?;
        }
        Ok(prepared)
    }

    /// Loads what has changed and swaps it in. Returns what was done, or `None` if nothing has changed.
    fn attempt(&mut self, config: config::Pipeline) -> Result<Option<String>, Refused> {
        failpoint::pass(Point::InReload);
        let prepared = self.prepare(config)?;
        let said = prepared.said(&self.config, &self.steps);
        let first = prepared.first();
        let Prepared { config, changed, in_place, anew } = prepared;
        let taken = if in_place.is_empty() && anew.is_empty() {
            self.handle.swap(&changed)
        } else {
            let mut steps = self.steps.clone();
            for (number, step) in &changed {
                steps[*number] = step.clone();
            }
            self.handle.change(config.clone(), &steps, !anew.is_empty())
        };
        taken.map_err(|error| Refused { step: first, reason: error.told(&config) })?;
        for (number, step) in changed {
            self.steps[number] = step;
            self.count(number, "ok");
        }
        self.handle.keep(config.clone());
        self.config = config;
        Ok(said)
    }
}

impl Prepared {
    /// Whether nothing has changed.
    fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.in_place.is_empty() && self.anew.is_empty()
    }

    /// The first step that has changed.
    fn first(&self) -> Option<usize> {
        self.changed.first().map(|&(number, _)| number)
    }

    /// What has changed, compared with this configuration and these steps; `None` if nothing has.
    fn said(&self, config: &config::Pipeline, before: &[Step]) -> Option<String> {
        let of_step = |(number, step): &(usize, Step)| {
            let (name, from, to) = (&step.settings().name, before[*number].digest(), step.digest());
            if from == to {
                format!("step `{name}`: new settings")
            } else {
                format!("step `{name}`: component {} -> {}", &from[..12], &to[..12])
            }
        };
        let mut said: Vec<String> = self.changed.iter().map(of_step).collect();
        if !self.in_place.is_empty() {
            said.push(format!("{} in place", quoted(&self.in_place)));
        }
        if !self.anew.is_empty() {
            said.push(format!("{} with a new consumer", quoted(&self.anew)));
        }
        if self.config.serves_tap != config.serves_tap {
            said.push("`http.tap` in place".to_owned());
        }
        (!said.is_empty()).then(|| said.join("; "))
    }
}
