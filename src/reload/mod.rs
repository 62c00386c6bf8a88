//! A running pipeline takes over what has changed in its file and its components.
//!
//! One thread waits for a signal or for the watch of all files that the pipeline's refers to, reads everything anew, and makes what has changed ready beside what runs; only
//! when all of it is ready, and passes the pipeline's test cases if it has to, is it swapped in. Invariant: whatever is wrong with a file, the pipeline runs on as it was, and it is
//! said once: in the log, in the metrics and by `/readyz?verbose`. It never stops a pipeline.

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
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::config;
use crate::config::Held;
use crate::config::Referenced;
use crate::failpoint;
use crate::failpoint::Point;
use crate::metrics::Metrics;
use crate::pipeline::Handle;
use crate::plugin::Step;
use crate::trial::cases;
use crate::trial::cases::Verdict;
use difference::Difference;
use watch::Watch;

/// What it needs to know.
pub struct Settings {
    /// The pipeline as it was started, as its file says.
    pub config: config::Pipeline,
    /// Its steps as they run.
    pub steps: Vec<Step>,
    /// The files that it was made of, with what they held.
    pub files: Vec<Referenced>,
    /// Reads and checks the file again.
    pub load: Load,
    /// Says what is wrong with the settings of a step of this number, which was loaded with them.
    pub verify: fn(&config::Pipeline, usize, &Step) -> Result<(), String>,
    /// Says why the pipeline can't become another one, as far as the brokers know; it gets both. Asked when more than steps changed.
    pub probe: Probe,
    /// Whether changes of the files are looked for; else only a request counts.
    pub watch: bool,
    /// The running pipeline.
    pub handle: Handle,
    /// Where results are counted.
    pub metrics: Arc<Metrics>,
}

/// See [`Settings::load`].
pub type Load = Box<dyn Fn() -> Loaded + Send>;

/// What came of reading a pipeline's file.
pub struct Loaded {
    /// The pipeline, or all that is wrong: for people.
    pub config: Result<config::Pipeline, String>,
    /// The file and those that it refers to, however it came out.
    pub files: Vec<Referenced>,
}

/// See [`Settings::probe`].
pub type Probe = Box<dyn Fn(&config::Pipeline, &config::Pipeline) -> Result<(), String> + Send>;

/// The thread that reloads; dropping it stops and joins it.
pub struct Reloader {
    inbox: mpsc::Sender<Event>,
    thread: Option<JoinHandle<()>>,
}

enum Event {
    /// Somebody asks for it.
    Asked,
    /// Something happened in a folder that is watched.
    Touched,
    Stop,
}

/// A version is taken once it is the same at two looks that far apart: whoever writes a file may do so bit by bit.
const QUIET: Duration = Duration::from_millis(300);
/// The watch may miss something, as on network file systems; the files are looked at this often anyhow.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Reloader {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the machine refuses it.
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
        let thread = thread::Builder::new().name("reload".into()).spawn(run)?;
        Ok(Reloader { inbox, thread: Some(thread) })
    }

    /// A function that asks for a reload, whether or not a file has changed.
    #[must_use]
    pub fn asker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let inbox = self.inbox.clone();
        // It has ended already if this fails.
        Arc::new(move || drop(inbox.send(Event::Asked)))
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        // It has ended already if this fails.
        let _ = self.inbox.send(Event::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was reported by its hook.
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
    /// The digests of the files that were last taken or refused.
    seen: Digests,
    looks: Vec<Look>,
}

/// What files hold; `None` for one that can't be read.
type Digests = BTreeMap<PathBuf, Option<String>>;

/// A file when it was last looked at.
struct Look {
    file: PathBuf,
    identity: Option<[i64; 7]>,
    digest: Option<String>,
}

/// What changes whenever the file behind a name does: where it lies, its size and its times. `None` if there is none.
fn identity(file: &Path) -> Option<[i64; 7]> {
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

#[expect(clippy::disallowed_methods, reason = "the clock of a shell")]
fn now() -> Instant {
    Instant::now()
}

fn quoted(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("`{part}`")).collect::<Vec<_>>().join(", ")
}

/// Why nothing was changed.
struct Refused {
    /// The step it is about, if it is about one.
    step: Option<usize>,
    reason: String,
}

impl Reload {
    fn new(settings: Settings) -> Reload {
        let Settings { config, files, steps, load, verify, probe, watch: _, handle, metrics } = settings;
        let mut reload =
            Reload { config, steps, load, verify, probe, handle, metrics, seen: Digests::new(), looks: Vec::new() };
        reload.see(&files);
        // A component may have changed since it was loaded.
        for step in &reload.steps {
            reload.seen.insert(step.settings().wasm.clone(), Some(step.digest().to_string()));
        }
        reload
    }

    fn run(&mut self, events: &mpsc::Receiver<Event>, mut watch: Option<Watch>) {
        let mut pending = None;
        // A file may have changed before the watch is there.
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
                Ok(Event::Asked) => self.reload(),
                // Sooner, but not put off: something else in the folder may be written all the time.
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

    /// From now on these files count, as they were when they were read, or else as they are now.
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

    /// What the files hold now. They are compared by what they hold: a new time alone is no new version, and on Kubernetes the names
    /// stay while a link beside them moves. Only a file that was touched is read.
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
        // Before anything else is read of them: what changes from now on is seen.
        self.see(&files);
        let config = config.map_err(|reason| Refused { step: None, reason });
        // Much of what it calls reads what a stranger wrote. Nothing of this is half changed: each field is set when all is done.
        let attempt = panic::catch_unwind(AssertUnwindSafe(|| config.and_then(|config| self.attempt(config))));
        let attempt = attempt.unwrap_or_else(|_| {
            let reason = "wasmill itself failed; please report the lines above".to_owned();
            Err(Refused { step: None, reason })
        });
        if let Err(Refused { step: Some(step), .. }) = &attempt {
            self.count(*step, "failed");
        }
        // Who sees the count or the line finds the rest as it is.
        self.metrics.set_reload_successful(attempt.is_ok());
        self.handle.set_reloaded(attempt.as_ref().map(|_| ()).map_err(|refused| refused.reason.clone()));
        let result = if attempt.is_ok() { "ok" } else { "failed" };
        self.metrics.config_reloads.with_label_values(&[result]).inc();
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

    /// Runs the pipeline's test cases on the steps as they would be. Their calls have the steps' own bounds.
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

    /// Makes everything ready that has changed, and swaps it in. What was done, or `None` if there was nothing to do.
    fn attempt(&mut self, config: config::Pipeline) -> Result<Option<String>, Refused> {
        failpoint::pass(Point::InReload);
        let refused = |reason| Refused { step: None, reason };
        let Difference { in_place, anew, restart } = Difference::of(&self.config, &config);
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
            let is_same_file = config::digest(&settings.wasm).is_some_and(|digest| digest == **step.digest());
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
            changed.push((number, loaded));
        }
        let first = changed.first().map(|&(number, _)| number);
        let differs = !(in_place.is_empty() && anew.is_empty());
        if config.reload.test && (differs || !changed.is_empty()) {
            self.test(&config, &changed).map_err(|reason| Refused { step: first, reason })?;
        }
        let taken = if differs {
            let mut steps = self.steps.clone();
            for (number, step) in &changed {
                steps[*number] = step.clone();
            }
            self.handle.change(config.clone(), &steps, !anew.is_empty())
        } else {
            self.handle.swap(&changed)
        };
        taken.map_err(|error| Refused { step: first, reason: error.told(&config) })?;
        let said = changed.iter().map(|(number, step)| {
            let (name, from, to) = (&step.settings().name, self.steps[*number].digest(), step.digest());
            if from == to {
                format!("step `{name}`: new settings")
            } else {
                format!("step `{name}`: component {} -> {}", &from[..12], &to[..12])
            }
        });
        let mut said: Vec<String> = said.collect();
        if !in_place.is_empty() {
            said.push(format!("{} in place", quoted(&in_place)));
        }
        if !anew.is_empty() {
            said.push(format!("{} with a new consumer", quoted(&anew)));
        }
        for (number, step) in changed {
            self.steps[number] = step;
            self.count(number, "ok");
        }
        self.config = config;
        Ok((!said.is_empty()).then(|| said.join("; ")))
    }
}
