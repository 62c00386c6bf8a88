//! Rebuilds a plugin when its source changes, while the pipeline runs.
//!
//! The files are polled and not watched: that works on every file system, and costs a few system calls for a plugin's
//! source. The built component replaces the old file, and the running pipeline reloads it like any other changed component.

use std::io;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Project;

/// The polling interval.
const LOOK: Duration = Duration::from_millis(300);

/// The thread that polls and builds; dropping it cancels a running build.
#[derive(Debug)]
pub struct Rebuild {
    /// Set once, by `drop`; only the thread waits for it.
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Rebuild {
    /// Starts polling the sources of these projects. `tell` is called on that thread with a message for each event.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(projects: Vec<Project>, tell: impl Fn(&str) + Send + 'static) -> io::Result<Rebuild> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let seen = Arc::clone(&stop);
        let mut states: Vec<_> = projects.iter().map(Project::sources).collect();
        let thread = thread::Builder::new().name("rebuild".into()).spawn(move || {
            while !stopped_after(&seen, LOOK) {
                for (project, known) in projects.iter().zip(&mut states) {
                    let now = project.sources();
                    // An editor or a checkout may be writing several files: the sources must stay unchanged for one
                    // interval.
                    if now == *known || stopped_after(&seen, LOOK) || project.sources() != now {
                        continue;
                    }
                    *known = now;
                    tell(&format!("the source of {} changed: building it", project.folder().display()));
                    match project.build_unless(&|| stopped_after(&seen, Duration::ZERO)) {
                        Err(_) if stopped_after(&seen, Duration::ZERO) => return,
                        Ok(built) => tell(&format!("built {}", built.output.display())),
                        Err(error) => tell(&format!("{error}; the previous build keeps running")),
                    }
                }
            }
        })?;
        Ok(Rebuild { stop, thread: Some(thread) })
    }
}

fn stopped_after(stop: &(Mutex<bool>, Condvar), wait: Duration) -> bool {
    let (stopped, bell) = stop;
    let guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
    let (guard, _) = bell.wait_timeout_while(guard, wait, |stopped| !*stopped).unwrap_or_else(PoisonError::into_inner);
    *guard
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // The thread doesn't panic, and nothing is left to report to.
            drop(thread.join());
        }
    }
}
