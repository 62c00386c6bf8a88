//! A pipeline of the process, and the thread that runs it.

use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::Weak;
use std::thread;
use std::time::Duration;

use super::Fleet;
use super::Inner;
use super::lifecycle::Event;
use super::lifecycle::Lifecycle;
use super::now;
use super::waits::Waits;
use crate::admin::Look;
use crate::admin::Served;
use crate::cli::exit_code::Exit;
use crate::cli::load;
use crate::cli::service;
use crate::cli::service::Written;
use crate::config;
use crate::kafka;
use crate::metrics::Metrics;
use crate::metrics::State;
use crate::pipeline::Check;
use crate::pipeline::Handle;
use crate::pipeline::Health;
use crate::pipeline::RecordAt;
use crate::pipeline::ReloadPreview;
use crate::record::RecordId;
use crate::reload;
use crate::reload::FileIdentity;
use crate::reload::Reloader;
use crate::reload::UntilDone;
use crate::telemetry;

/// A pipeline of the process.
pub(super) struct Member {
    /// Never the number of another one.
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) served: Arc<Served>,
    pub(super) life: Lifecycle,
    /// What runs, and the thread that reloads it.
    running: Option<(Handle, Reloader)>,
    /// How it ended the last time.
    pub(super) ended: Result<(), Exit>,
    /// The record at which it stopped the last time.
    stopped_at: Option<RecordAt>,
    /// The record that it leaves out when it is started the next time, if that fails again.
    left_out: Option<RecordId>,
    /// What it was last started with; `None` while its file has never been valid.
    config: Option<Arc<config::Pipeline>>,
    /// Whether an operator has paused it.
    pub(super) is_paused: bool,
    /// Whether its thread has to begin it.
    begins: bool,
    /// The files that it depends on when they were last read.
    pub(super) seen: Vec<(PathBuf, Option<FileIdentity>)>,
}

impl Member {
    /// What it runs with, or was last started with.
    pub(super) fn config(&self) -> Option<Arc<config::Pipeline>> {
        self.running.as_ref().map(|(handle, _)| handle.config()).or_else(|| self.config.clone())
    }

    pub(super) fn begin(&mut self) {
        self.begins = true;
        self.served.metrics.set_state(State::Starting);
    }

    pub(super) fn drain(&self) {
        if let Some((handle, _)) = &self.running {
            if self.life.leaves_for_good() {
                handle.drain_for_good();
            } else {
                handle.drain();
            }
        }
    }

    /// Has it read its file again. `until_done` is dropped after that.
    pub(super) fn reload(&self, until_done: UntilDone) {
        if let Some((_, reloader)) = &self.running {
            (reloader.asker())(until_done);
        }
    }

    /// Pauses it, or lets it go on, now or as soon as it runs.
    pub(super) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        if let Some((handle, _)) = &self.running {
            handle.pause(is_paused);
            if !is_paused {
                handle.resume();
            }
        }
    }

    /// The record at which it has stopped, or that holds it.
    pub(super) fn stopped_at(&self) -> Option<RecordAt> {
        match &self.running {
            Some((handle, _)) => handle.stopped_at(),
            None => self.stopped_at.clone().filter(|_| self.life.has_failed()),
        }
    }

    /// Leaves a record out if it fails again, now if the pipeline runs, or when it is started. `false` if it has to be started.
    pub(super) fn leave_out(&mut self, record: &RecordId) -> bool {
        match &self.running {
            // While its clients are destroyed, which may take seconds, it takes no more requests.
            Some((handle, _)) if !handle.has_finished() => {
                handle.leave_out(record.clone());
                true
            }
            Some(_) | None => {
                self.left_out = Some(record.clone());
                false
            }
        }
    }

    /// Asks what a reload would change. `false` if it doesn't run.
    pub(super) fn would_reload(&self, answer: ReloadPreview) -> bool {
        if let Some((_, reloader)) = &self.running {
            reloader.would_reload(answer);
        }
        self.running.is_some()
    }

    /// The pipeline as it is now.
    fn look(&self, is_ending: bool) -> Look {
        let name = format!("pipeline/{}", self.served.name);
        let own = self.served.metrics.state().state;
        let ((state, reason), health) = match &self.running {
            Some((handle, _)) => (handle.state(), handle.health()),
            None if !self.life.has_ended() => {
                ((own, "it reads its file and loads its plugins".to_owned()), service::starting(&name))
            }
            None => {
                let (ready, reason) = self.why(is_ending);
                let detail = format!("{}: {reason}", own.label());
                let checks = vec![Check { ok: ready, name, detail }];
                // What has ended doesn't make the process restart.
                ((own, reason), Health { live: true, ready, checks, ..Health::default() })
            }
        };
        Look {
            health,
            state: Some(state),
            reason,
            file: self.path.clone(),
            running: self.running.as_ref().map(|(handle, _)| handle.clone()),
            stopped_at: self.stopped_at(),
            config: self.config(),
        }
    }

    /// Why it has ended, and whether it is as it should be.
    fn why(&self, is_ending: bool) -> (bool, String) {
        let again = self.life.again().map(|again| again.saturating_duration_since(now()).as_secs());
        let again = again.map_or_else(String::new, |left| format!(" (started again in {left} s)"));
        match &self.ended {
            Err(exit) if self.life.has_failed() => (false, format!("{}{again}", exit.message().trim_end())),
            Err(exit) => (!is_ending, format!("stopped; it had ended before: {}", exit.message().trim_end())),
            Ok(()) if is_ending => (false, "the process ends".to_owned()),
            Ok(()) => (true, "an operator has stopped it".to_owned()),
        }
    }
}

/// The state of a pipeline that has ended. One that was drained late is not a failed one.
pub(super) fn ended_as(exit: Option<&Exit>) -> State {
    if exit.is_none_or(|exit| matches!(exit, Exit::DeadlinePassed(_))) { State::Stopped } else { State::Failed }
}

impl Fleet {
    /// Adds a pipeline that is being started. One whose file is invalid has the name of its file. Returns its number.
    pub(super) fn add(self: &Arc<Fleet>, path: &Path, read: &Result<Written, Exit>) -> u64 {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        let config = read.as_ref().ok().map(|written| Arc::new(written.config.clone()));
        let served = self.served(&inner, number, path, config.as_deref());
        let seen = self.seen(path);
        inner.members.push(Member {
            number,
            path: path.to_owned(),
            served,
            life: Lifecycle::new(),
            running: None,
            ended: Ok(()),
            stopped_at: None,
            left_out: None,
            config,
            is_paused: false,
            begins: false,
            seen,
        });
        inner.members.sort_by(|one, other| one.served.name.cmp(&other.served.name));
        number
    }

    /// Adds and starts the pipeline of a file that wasn't there before.
    pub(super) fn adopt(self: &Arc<Fleet>, path: &Path) {
        let number = self.lock().next;
        // Only the thread that looks at folders adds pipelines by now, so the number stays free.
        let read = self.shared.read(path, number, &self.itself());
        let read = read.and_then(|written| self.fits(number, &written.config).map(|()| written));
        let number = self.add(path, &read);
        self.start(number, read);
    }

    /// What the server shows of a pipeline.
    fn served(
        self: &Arc<Fleet>,
        inner: &Inner,
        number: u64,
        path: &Path,
        config: Option<&config::Pipeline>,
    ) -> Arc<Served> {
        let (name, metrics) = match config {
            Some(config) => (config.name.clone(), service::metrics(config, &self.shared.memory)),
            None => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let is_taken = |member: &Member| member.number != number && *member.served.name == *name;
                let name = if inner.members.iter().any(is_taken) { path.display().to_string() } else { name };
                let metrics = Metrics::in_process(&self.shared.memory, &name, &[], &[]);
                metrics.set_librdkafka(&kafka::version());
                (name, metrics)
            }
        };
        let fleet = Arc::downgrade(self);
        Served::new(name.into(), metrics, move || look(&fleet, number))
    }

    /// Starts the thread of a pipeline.
    pub(super) fn start(self: &Arc<Fleet>, number: u64, begun: Result<Written, Exit>) {
        let fleet = Arc::clone(self);
        let run = move || fleet.keep(number, begun);
        if let Err(error) = thread::Builder::new().name(format!("pipeline-{number}")).spawn(run) {
            self.end(number, Err(Exit::no_thread("runs a pipeline", &error)), None);
        }
    }

    /// Runs something for a pipeline, which log lines name meanwhile. All lines name the only one of a process anyway.
    fn within<T>(&self, number: u64, run: impl FnOnce() -> T) -> T {
        let inner = self.lock();
        let member = inner.members.iter().find(|member| member.number == number).filter(|_| !self.is_alone);
        let name = member.map(|member| Arc::clone(&member.served.name));
        drop(inner);
        match name {
            Some(name) => telemetry::in_pipeline(name, run),
            None => run(),
        }
    }

    /// Runs a pipeline until it is gone or the process ends.
    fn keep(self: &Arc<Fleet>, number: u64, mut begun: Result<Written, Exit>) {
        let mut waits = self.shared.own.restart.map(Waits::new);
        loop {
            let has_failed = self.within(number, || {
                let start = now();
                let ran = panic::catch_unwind(AssertUnwindSafe(|| self.run_one(number, begun?)));
                let ended = ran.unwrap_or_else(|_| Err(Exit::Bug("its thread panicked; see the log".to_owned())));
                let has_failed = ended_as(ended.as_ref().err()) == State::Failed;
                let ran = now().saturating_duration_since(start);
                let wait = waits.as_mut().filter(|_| has_failed).map(|waits| waits.after(ran));
                self.end(number, ended, wait);
                has_failed
            });
            if !self.waits(number) {
                return;
            }
            begun = self.within(number, || self.begin_again(number, has_failed));
        }
    }

    /// Waits until a pipeline has to be begun again. `false` if it is gone, or the process ends.
    fn waits(&self, number: u64) -> bool {
        let mut inner = self.lock();
        loop {
            self.tell(&mut inner, number, Event::Tick);
            let is_ending = inner.is_ending;
            let Some(member) = inner.members.iter_mut().find(|member| member.number == number) else { return false };
            if std::mem::take(&mut member.begins) {
                return true;
            }
            if is_ending {
                return false;
            }
            let left = member.life.again().map_or(Duration::MAX, |again| again.saturating_duration_since(now()));
            // A wait of this length never ends by itself; a longer one could overflow.
            let left = left.min(Duration::from_secs(86_400));
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Reads the file of a pipeline again.
    ///
    /// # Errors
    /// If it is invalid, or in the way of another pipeline.
    fn begin_again(self: &Arc<Fleet>, number: u64, has_failed: bool) -> Result<Written, Exit> {
        let gone = || Exit::Bug("the pipeline is gone".to_owned());
        let path = {
            let mut inner = self.lock();
            let member = inner.members.iter_mut().find(|member| member.number == number).ok_or_else(gone)?;
            if has_failed {
                member.served.metrics.restarts.inc();
            }
            member.seen = self.seen(&member.path);
            member.path.clone()
        };
        let written = self.shared.read(&path, number, &self.itself())?;
        let config = &written.config;
        self.fits(number, config)?;
        let mut inner = self.lock();
        let at = inner.members.iter().position(|member| member.number == number).ok_or_else(gone)?;
        if *inner.members[at].served.name != *config.name || inner.members[at].config.is_none() {
            // Its metrics have the name, its steps and its outputs.
            let restarts = inner.members[at].served.metrics.restarts.get();
            inner.members[at].served = self.served(&inner, number, &path, Some(config));
            inner.members[at].served.metrics.restarts.inc_by(restarts);
        } else {
            service::add(config, &inner.members[at].served.metrics);
        }
        inner.members[at].config = Some(Arc::new(config.clone()));
        Ok(written)
    }

    fn itself(self: &Arc<Fleet>) -> super::Later {
        let later = super::Later::default();
        // Only this line sets it.
        let _ = later.set(Arc::downgrade(self));
        later
    }

    /// Loads a pipeline's plugins, starts it and waits for its end.
    fn run_one(self: &Arc<Fleet>, number: u64, written: Written) -> Result<(), Exit> {
        self.fits(number, &written.config)?;
        let memory = {
            let inner = self.lock();
            let member = inner.members.iter().find(|member| member.number == number);
            member.map(|member| Arc::clone(&member.served.metrics.memory)).unwrap_or_default()
        };
        let steps = {
            let _turn = self.turn();
            load::steps_of(&self.engine.for_pipeline(&memory), &written.config)?
        };
        // Until now a signal ends a process that has only this pipeline, as nothing has begun.
        self.heed();
        let metrics = {
            let inner = self.lock();
            match inner.members.iter().find(|member| member.number == number) {
                Some(member) if !member.life.is_leaving() => Arc::clone(&member.served.metrics),
                Some(_) | None => return Ok(()),
            }
        };
        let watch = self.shared.watch || written.config.reload.watch;
        let (handle, reloader) = service::start(&steps, written, watch, &metrics)?;
        {
            let mut inner = self.lock();
            let Some(member) = inner.members.iter_mut().find(|member| member.number == number) else {
                return Err(Exit::Bug("the pipeline is gone".to_owned()));
            };
            if member.is_paused {
                handle.pause(true);
            }
            if let Some(record) = member.left_out.take() {
                handle.leave_out(record);
            }
            member.running = Some((handle.clone(), reloader));
            self.tell(&mut inner, number, Event::Started);
        }
        service::said_last(handle.wait(), &handle)
    }

    /// Waits until a core is free for compiling, and takes it until the value is dropped.
    fn turn(&self) -> Turn<'_> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let waited = self.changed.wait_while(self.lock(), |inner| inner.loading >= cores);
        waited.unwrap_or_else(PoisonError::into_inner).loading += 1;
        Turn(self)
    }

    /// A pipeline has ended, and is started again after this wait, if there is one.
    fn end(&self, number: u64, ended: Result<(), Exit>, wait: Option<Duration>) {
        let state = ended_as(ended.as_ref().err());
        let mut inner = self.lock();
        let is_ending = inner.is_ending;
        let Some(member) = inner.members.iter_mut().find(|member| member.number == number) else { return };
        let was_asked = member.life.is_leaving();
        if let Err(exit) = &ended
            && state == State::Failed
            && !self.is_alone
        {
            exit.log("the pipeline has failed, and the others run on: ");
        }
        member.served.metrics.set_state(if was_asked && !is_ending { State::Stopped } else { state });
        let before = member.running.take();
        member.stopped_at = before.as_ref().and_then(|(handle, _)| handle.stopped_at());
        if self.is_alone && !was_asked {
            inner.over = Some(ended);
            drop(inner);
            self.changed.notify_all();
            return;
        }
        member.ended = ended;
        self.tell(&mut inner, number, Event::Ended { has_failed: state == State::Failed, again: wait });
        let again = inner.members.iter().find(|member| member.number == number).and_then(|member| member.life.again());
        drop(inner);
        if let Some(wait) = wait.filter(|_| again.is_some()) {
            tracing::info!("the pipeline is started again in {wait:?}");
        }
        // A reload that is under way is waited for here, where it delays nothing.
        drop(before);
    }

    /// The files of a pipeline as they are now.
    fn seen(&self, path: &Path) -> Vec<(PathBuf, Option<FileIdentity>)> {
        let files = load::referenced(&self.shared.file(path), self.shared.policy.as_deref());
        files.into_iter().map(|file| (file.clone(), reload::identity(&file))).collect()
    }
}

/// The pipeline of a fleet with this number as it is now.
fn look(fleet: &Weak<Fleet>, number: u64) -> Look {
    let found = fleet.upgrade().and_then(|fleet| {
        let inner = fleet.lock();
        inner.members.iter().find(|member| member.number == number).map(|member| member.look(inner.is_ending))
    });
    found.unwrap_or_else(|| {
        let reason = "its file was removed".to_owned();
        let health = Health { live: true, ..Health::default() };
        Look { health, state: None, reason, file: PathBuf::new(), running: None, stopped_at: None, config: None }
    })
}

/// A core that is taken for compiling.
struct Turn<'a>(&'a Fleet);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().loading -= 1;
        self.0.changed.notify_all();
    }
}
