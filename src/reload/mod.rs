//! A running pipeline takes over what has changed in its file and its components.
//!
//! One thread waits for a signal or for the watch, reads everything anew, and makes what has changed ready beside what runs; only
//! when all of it is ready, and passes the pipeline's test cases if it has to, is it swapped in. Invariant: whatever is wrong with a file, the pipeline runs on as it was, and it is
//! said once: in the log, in the metrics and by `/readyz?verbose`. It never stops a pipeline.

mod difference;
mod watch;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
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
use crate::metrics::Metrics;
use crate::pipeline::Handle;
use crate::plugin;
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
    /// Reads and checks the file again; the error is for people.
    pub load: Box<dyn Fn() -> Result<config::Pipeline, String> + Send>,
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
    load: Box<dyn Fn() -> Result<config::Pipeline, String> + Send>,
    verify: fn(&config::Pipeline, usize, &Step) -> Result<(), String>,
    probe: Probe,
    handle: Handle,
    metrics: Arc<Metrics>,
    /// The digests of the files that were last taken or refused, in the order of [`Reload::files`].
    seen: Vec<Option<String>>,
    looks: Vec<Look>,
}

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
        let Settings { config, steps, load, verify, probe, watch: _, handle, metrics } = settings;
        let mut reload =
            Reload { config, steps, load, verify, probe, handle, metrics, seen: Vec::new(), looks: Vec::new() };
        reload.seen = reload.look();
        // A component may have changed since it was loaded.
        for (seen, step) in reload.seen[1..].iter_mut().zip(&reload.steps) {
            *seen = Some(step.digest().to_string());
        }
        reload
    }

    fn run(&mut self, events: &mpsc::Receiver<Event>, mut watch: Option<Watch>) {
        let mut pending = None;
        // A file may have changed before the watch is there.
        let mut look_at = watch.is_some().then(|| now() + QUIET);
        loop {
            if let Some(watch) = &mut watch {
                watch.follow(&self.files());
            }
            let event = match look_at {
                Some(at) => events.recv_timeout(at.saturating_duration_since(now())),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Asked) => {
                    self.seen = self.look();
                    self.reload();
                }
                // Sooner, but not put off: something else in the folder may be written all the time.
                Ok(Event::Touched) => look_at = look_at.map(|at| at.min(now() + QUIET)),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let found = self.look();
                    if found == self.seen {
                        pending = None;
                    } else if pending.as_ref() == Some(&found) {
                        pending = None;
                        self.seen = found;
                        self.reload();
                    } else {
                        pending = Some(found);
                    }
                    look_at = Some(now() + if pending.is_some() { QUIET } else { LOOK_EVERY });
                }
            }
        }
    }

    /// The pipeline's file and its components.
    fn files(&self) -> Vec<PathBuf> {
        let components = self.config.steps.iter().map(|step| step.wasm.clone());
        std::iter::once(self.config.file.clone()).chain(components).collect()
    }

    /// What the files hold now; `None` for one that can't be read. Files are compared by what they hold: a new time alone is no
    /// new version, and on Kubernetes the names stay while a link beside them moves. Only a file that was touched is read.
    fn look(&mut self) -> Vec<Option<String>> {
        let files = self.files();
        let mut looks = Vec::with_capacity(files.len());
        for file in files {
            let identity = identity(&file);
            let known =
                self.looks.iter().find(|look| look.file == file && look.identity == identity && identity.is_some());
            let digest = match known {
                Some(look) => look.digest.clone(),
                None => fs::read(&file).ok().map(|bytes| plugin::digest(&bytes)),
            };
            looks.push(Look { file, identity, digest });
        }
        let digests = looks.iter().map(|look| look.digest.clone()).collect();
        self.looks = looks;
        digests
    }

    fn reload(&mut self) {
        let attempt = self.attempt();
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
            Err(Refused { reason, .. }) => tracing::error!("not reloaded, everything runs on as it was: {reason}"),
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
        for case in config::cases(&config::cases_path(&config.file))? {
            let Verdict { name, result, .. } = cases::run(config, &steps, &case);
            result.map_err(|why| format!("test case `{name}` fails:\n{why}"))?;
        }
        Ok(())
    }

    /// Makes everything ready that has changed, and swaps it in. What was done, or `None` if there was nothing to do.
    fn attempt(&mut self) -> Result<Option<String>, Refused> {
        let config = (self.load)().map_err(|reason| Refused { step: None, reason })?;
        let refused = |reason| Refused { step: None, reason };
        let Difference { in_place, anew, restart } = Difference::of(&self.config, &config);
        if !restart.is_empty() {
            return Err(refused(format!(
                "{} changed, which takes effect with the next start: restart it, or take the change back",
                quoted(&restart)
            )));
        }
        if !(in_place.is_empty() && anew.is_empty()) {
            (self.probe)(&self.config, &config).map_err(refused)?;
        }
        let mut changed = Vec::new();
        for (number, settings) in config.steps.iter().enumerate() {
            let step = &self.steps[number];
            let is_same_file = fs::read(&settings.wasm).is_ok_and(|bytes| plugin::digest(&bytes) == **step.digest());
            if is_same_file && settings == step.settings() {
                continue;
            }
            let loaded = step.reload(settings.clone());
            let loaded = loaded.map_err(|error| Refused { step: Some(number), reason: error.to_string() })?;
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
        taken.map_err(|error| Refused { step: first, reason: error.to_string() })?;
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
