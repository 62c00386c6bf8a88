//! Looks for pipeline files that came, went or were repaired while the process runs.
//!
//! A pipeline that runs watches its own files. This thread looks at the folders, and at the files of pipelines that have failed: at
//! intervals if files are watched, and whenever a signal asks for it. What is found at an interval counts when two looks find the same, as
//! a file may be written in several steps, and an editor may remove it for a moment.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Fleet;
use super::files;
use super::lifecycle::Event;
use crate::cli::exit_code::Exit;
use crate::reload::FileIdentity;
use crate::reload::identity;

/// The interval between looks.
const EVERY: Duration = Duration::from_millis(500);

/// The thread; dropping it stops and joins it.
pub(super) struct Folder {
    stop: Arc<AtomicBool>,
    looks: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    /// Starts the thread. `asked` asks it for a look.
    pub(super) fn start(fleet: &Arc<Fleet>, paths: &[PathBuf], asked: mpsc::Receiver<()>) -> Result<Folder, Exit> {
        let stop: Arc<AtomicBool> = Arc::default();
        let mut look = Looking { fleet: Arc::clone(fleet), paths: paths.to_vec(), before: None, unread: None };
        let (watch, stops, looks) = (fleet.shared.watch, Arc::clone(&stop), fleet.looks.clone());
        let run = move || {
            while !stops.load(Ordering::Relaxed) {
                let woken = if watch {
                    asked.recv_timeout(EVERY)
                } else {
                    asked.recv().map_err(|_| RecvTimeoutError::Disconnected)
                };
                match woken {
                    _ if stops.load(Ordering::Relaxed) => {}
                    Ok(()) => look.now(),
                    Err(RecvTimeoutError::Timeout) => look.again(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = thread::Builder::new().name("folder".into()).spawn(run);
        let thread = thread.map_err(|error| Exit::no_thread("looks at the folder of pipelines", &error))?;
        Ok(Folder { stop, looks, thread: Some(thread) })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // An error means that the thread has ended.
        let _ = self.looks.send(());
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged a panic of that thread.
            let _ = thread.join();
        }
    }
}

/// What has to be done after a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    /// Files that no pipeline has, as they are.
    new: BTreeMap<PathBuf, FileIdentity>,
    /// Pipelines whose file is not there any more.
    gone: BTreeSet<u64>,
    /// Failed pipelines of which a file has changed, with the files as they are.
    changed: BTreeMap<u64, Vec<(PathBuf, Option<FileIdentity>)>>,
}

struct Looking {
    fleet: Arc<Fleet>,
    /// Files and folders, as the command line names them.
    paths: Vec<PathBuf>,
    /// What the last look found.
    before: Option<Found>,
    /// Why the folder couldn't be read the last time; it is logged once.
    unread: Option<String>,
}

impl Looking {
    /// Looks, and takes what is there.
    fn now(&mut self) {
        if let Some(found) = self.look() {
            self.take(&found);
        }
        self.before = None;
    }

    /// Looks, and takes what the last look has found, too.
    fn again(&mut self) {
        let Some(found) = self.look() else { return };
        let before = self.before.replace(found.clone()).unwrap_or_default();
        let mut stable = found;
        stable.new.retain(|path, identity| before.new.get(path) == Some(identity));
        stable.gone.retain(|number| before.gone.contains(number));
        stable.changed.retain(|number, files| before.changed.get(number) == Some(files));
        self.take(&stable);
    }

    /// What is there; `None` if a folder can't be read, which changes nothing.
    fn look(&mut self) -> Option<Found> {
        let files = match files(&self.paths, true) {
            Ok(files) => files,
            Err(exit) => {
                let why = exit.message().to_owned();
                if self.unread.as_ref() != Some(&why) {
                    tracing::warn!("the folder of pipelines can't be read, so nothing is changed: {why}");
                }
                self.unread = Some(why);
                return None;
            }
        };
        self.unread = None;
        let mut found = Found::default();
        let inner = self.fleet.lock();
        let is_new = |file: &&PathBuf| !inner.members.iter().any(|member| member.path == **file);
        found.new = files.iter().filter(is_new).filter_map(|file| Some((file.clone(), identity(file)?))).collect();
        let is_gone = |path: &PathBuf| !files.contains(path) && !self.paths.contains(path);
        let gone = inner.members.iter().filter(|member| is_gone(&member.path));
        found.gone = gone.map(|member| member.number).collect();
        for member in inner.members.iter().filter(|member| member.life.has_failed()) {
            let now: Vec<_> = member.seen.iter().map(|(file, _)| (file.clone(), identity(file))).collect();
            if now != member.seen {
                found.changed.insert(member.number, now);
            }
        }
        Some(found)
    }

    fn take(&self, found: &Found) {
        for number in &found.gone {
            self.fleet.tell(&mut self.fleet.lock(), *number, Event::Remove);
        }
        for number in found.changed.keys() {
            self.fleet.tell(&mut self.fleet.lock(), *number, Event::Changed);
        }
        for path in found.new.keys() {
            tracing::info!("{} is new, and is started", path.display());
            self.fleet.adopt(path);
        }
    }
}
