//! What the service manager is told over `NOTIFY_SOCKET`, as systemd reads it: ready, reloading, stopping, and alive.
//!
//! A thread of its own sends, so that a manager that reads nothing delays neither a pipeline nor its end. Without the variable, or in a
//! command that runs no pipeline, nothing is sent. Invariant: after `STOPPING=1` nothing says that the process is ready.

use std::env;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use sd_notify::NotifyState;

use crate::reload::UntilDone;

/// The way to the thread that sends. Clones lead to the same one.
#[derive(Clone)]
pub(super) struct Notifier(Option<mpsc::Sender<Event>>);

enum Event {
    /// The process serves, and its pipelines have been started.
    Ready,
    /// A reload was asked for.
    Reloading,
    /// It has ended.
    Reloaded,
    /// The process drains.
    Stopping,
    /// From now on this says whether the process is alive.
    Watch(Arc<IsAlive>),
}

/// Says whether the process is alive.
pub(super) type IsAlive = dyn Fn() -> bool + Send + Sync;

/// A reload of all pipelines, which has ended when this value is dropped.
struct Reload(Notifier);

impl Notifier {
    /// Starts the thread, if there is a service manager that wants to be told.
    ///
    /// # Errors
    /// If there are no more threads.
    pub(super) fn start() -> io::Result<Notifier> {
        if env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
            return Ok(Notifier(None));
        }
        let (events, inbox) = mpsc::channel();
        let every = sd_notify::watchdog_enabled().filter(|longest| !longest.is_zero()).map(|longest| longest / 2);
        // The thread is never joined: it tells until the process ends.
        thread::Builder::new().name("notify".into()).spawn(move || tell(&inbox, every, send))?;
        Ok(Notifier(Some(events)))
    }

    /// The process serves, and its pipelines have been started or have failed.
    pub(super) fn ready(&self) {
        self.pass(Event::Ready);
    }

    /// A reload was asked for. It has ended when the last copy of the returned value is dropped.
    pub(super) fn reloading(&self) -> UntilDone {
        self.pass(Event::Reloading);
        Arc::new(Reload(self.clone()))
    }

    /// The process drains.
    pub(super) fn stopping(&self) {
        self.pass(Event::Stopping);
    }

    /// What has to be alive for the service manager to leave the process alone.
    pub(super) fn watch(&self, is_alive: Arc<IsAlive>) {
        self.pass(Event::Watch(is_alive));
    }

    fn pass(&self, event: Event) {
        if let Some(events) = &self.0 {
            // Sending fails only if the thread has ended.
            let _ = events.send(event);
        }
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.0.pass(Event::Reloaded);
    }
}

/// What the service manager knows.
#[derive(Debug, Default)]
struct Told {
    ready: bool,
    stopping: bool,
    /// How many reloads have not ended.
    reloads: usize,
}

/// What the service manager is told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Ready,
    Reloading,
    Stopping,
    Alive,
}

impl Told {
    fn on(&mut self, event: &Event) -> Option<News> {
        match event {
            Event::Ready => {
                self.ready = true;
                (!self.stopping).then_some(News::Ready)
            }
            Event::Reloading => {
                self.reloads += 1;
                (self.ready && !self.stopping && self.reloads == 1).then_some(News::Reloading)
            }
            Event::Reloaded => {
                self.reloads = self.reloads.saturating_sub(1);
                (self.ready && !self.stopping && self.reloads == 0).then_some(News::Ready)
            }
            Event::Stopping => {
                let is_first = !self.stopping;
                self.stopping = true;
                is_first.then_some(News::Stopping)
            }
            Event::Watch(_) => None,
        }
    }
}

/// Tells what happens, and every so often that the process is alive, until nobody can report anything more.
fn tell(inbox: &mpsc::Receiver<Event>, every: Option<Duration>, send: impl Fn(&News)) {
    let mut told = Told::default();
    let mut watched: Arc<IsAlive> = Arc::new(|| true);
    let mut next = every.map(|_| now());
    loop {
        let event = match next {
            Some(next) => inbox.recv_timeout(next.saturating_duration_since(now())),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(event) => {
                if let Some(news) = told.on(&event) {
                    send(&news);
                }
                if let Event::Watch(is_alive) = event {
                    watched = is_alive;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if watched() {
                    send(&News::Alive);
                }
                next = every.map(|every| now() + every);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn send(news: &News) {
    let sent = match news {
        News::Ready => sd_notify::notify(&[NotifyState::Ready]),
        // The time is for `Type=notify-reload`.
        News::Reloading => {
            NotifyState::monotonic_usec_now().and_then(|since| sd_notify::notify(&[NotifyState::Reloading, since]))
        }
        News::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        News::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    };
    if let Err(error) = sent {
        tracing::warn!("the service manager at NOTIFY_SOCKET wasn't told {news:?}: {error}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of a shell")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn ready_again_when_the_last_reload_has_ended_and_never_after_stopping() {
        let mut told = Told::default();
        let said = [
            (Event::Reloading, None),
            (Event::Ready, Some(News::Ready)),
            (Event::Reloaded, Some(News::Ready)),
            (Event::Reloading, Some(News::Reloading)),
            (Event::Reloading, None),
            (Event::Reloaded, None),
            (Event::Reloaded, Some(News::Ready)),
            (Event::Reloading, Some(News::Reloading)),
            (Event::Stopping, Some(News::Stopping)),
            (Event::Reloaded, None),
            (Event::Ready, None),
            (Event::Stopping, None),
        ];
        for (number, (event, news)) in said.iter().enumerate() {
            assert_eq!(told.on(event), *news, "event {number}");
        }
    }

    /// The service manager ends a process that is silent for too long.
    #[test]
    fn a_process_with_a_pipeline_that_is_not_alive_is_silent() {
        let live = Arc::new(AtomicBool::new(false));
        let (events, inbox) = mpsc::channel();
        let (sender, news) = mpsc::channel();
        let looked = sender.clone();
        let seen = Arc::clone(&live);
        let is_alive = move || {
            // Only the test's end closes the channel.
            let _ = looked.send("looked");
            seen.load(Ordering::Relaxed)
        };
        events.send(Event::Watch(Arc::new(is_alive))).unwrap();
        let thread = thread::spawn(move || {
            tell(&inbox, Some(Duration::from_millis(5)), |_| {
                let _ = sender.send("alive");
            });
        });
        let next = || news.recv_timeout(Duration::from_secs(60)).unwrap();
        // One may have been sent before the first look.
        let first: Vec<_> = (0..20).map(|_| next()).skip_while(|what| *what == "alive").collect();
        assert!(first.iter().all(|what| *what == "looked"), "{first:?}");
        live.store(true, Ordering::Relaxed);
        while next() != "alive" {}
        drop(events);
        thread.join().unwrap();
    }
}
