//! Builds a plugin again when its source changes, beside the pipeline that runs it.
//!
//! The files are looked at from time to time and not watched: that works on every file system, and costs a few calls for a
//! plugin's source. What is built is put in place; who runs it takes it over as any other change of a component.

use std::io;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Project;

/// The time between two looks.
const LOOK: Duration = Duration::from_millis(300);

/// The thread that looks and builds; a build that runs when it is dropped is given up.
#[derive(Debug)]
pub struct Rebuild {
    /// Set once, by `drop`; the thread alone waits for it.
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Rebuild {
    /// Starts looking at the sources of these projects. `tell` is called with what happened, on that thread.
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
                    // Half of what an editor or a checkout writes is no version: it has to stand still for a look.
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
            // It can't panic, and there would be nobody left to tell.
            drop(thread.join());
        }
    }
}
