//! What signals do, in every phase of every command.
//!
//! The process installs a handler at its start, because the kernel ignores TERM and INT for the first process of a container if that has no
//! handler. Until a pipeline runs, there is no work that must be finished, so the first TERM or INT ends the process. After that the first
//! one drains the pipeline and the second one ends the process at once; HUP reloads. The handler only wakes a thread, which may run any
//! code. Ending at once means that no destructors run and nothing more is committed.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator;
use signal_hook::low_level;

use super::exit_code::Exit;
use super::notify::IsAlive;
use super::notify::Notifier;
use crate::reload::Asker;
use crate::telemetry;

/// A callback of the signal thread. It may take a lock, but must not wait for anything slow.
pub(super) type Call = Arc<dyn Fn() + Send + Sync>;

/// The thread that waits for signals, for the lifetime of the process.
pub(super) struct Signals {
    handle: iterator::Handle,
    /// Locked for one decision at a time, by the signal thread and by the command when it enters its next phase. A [`Call`] may be called
    /// under it.
    phase: Arc<Mutex<Phase>>,
    notifier: Notifier,
}

/// Why signals can't be handled.
pub(super) enum StartError {
    Handler(io::Error),
    Thread(io::Error),
}

/// The phase of the command.
enum Phase {
    /// Nothing needs to be finished.
    Alone,
    /// A service that compiles its components.
    Starting {
        asked: bool,
    },
    /// A service that is starting its pipeline, which will be drained as soon as it has started if a signal asked for that.
    Beginning {
        asked: bool,
        /// The signal that asked to drain.
        ended: Option<i32>,
    },
    Running {
        drain: Call,
        reload: Asker,
        draining: bool,
    },
}

/// The response to a signal.
#[derive(Debug, PartialEq, Eq)]
enum Deed {
    Nothing,
    /// End the process by the signal, as if there were no handler.
    Die,
    /// Exit successfully: nothing has been done yet.
    Leave,
    /// End at once, after a second signal.
    LeaveAtOnce,
    Drain,
    Reload,
}

impl Phase {
    fn on(&mut self, signal: i32) -> Deed {
        match (self, signal == SIGHUP) {
            (Phase::Alone, _) => Deed::Die,
            (Phase::Starting { asked } | Phase::Beginning { asked, .. }, true) => {
                *asked = true;
                Deed::Nothing
            }
            (Phase::Starting { .. }, false) => Deed::Leave,
            (Phase::Beginning { ended, .. }, false) if ended.is_some() => Deed::LeaveAtOnce,
            (Phase::Beginning { ended, .. }, false) => {
                *ended = Some(signal);
                Deed::Nothing
            }
            (Phase::Running { .. }, true) => Deed::Reload,
            (Phase::Running { draining, .. }, false) if *draining => Deed::LeaveAtOnce,
            (Phase::Running { draining, .. }, false) => {
                *draining = true;
                Deed::Drain
            }
        }
    }
}

impl Signals {
    /// Installs the handler. From now on TERM and INT end the process.
    ///
    /// # Errors
    /// If the thread or the handler can't be created.
    pub(super) fn start() -> Result<Signals, StartError> {
        let mut signals = iterator::Signals::new([SIGTERM, SIGINT]).map_err(StartError::Handler)?;
        let handle = signals.handle();
        let phase = Arc::new(Mutex::new(Phase::Alone));
        let notifier = Notifier::start().map_err(StartError::Thread)?;
        let (seen, told) = (Arc::clone(&phase), notifier.clone());
        let wait = move || {
            for signal in &mut signals {
                heed(&seen, &told, signal);
            }
        };
        // The thread is never joined: it serves signals until the process ends.
        thread::Builder::new().name("signals".into()).spawn(wait).map_err(StartError::Thread)?;
        Ok(Signals { handle, phase, notifier })
    }

    /// Marks the command as a service: HUP doesn't end it.
    ///
    /// # Errors
    /// If the handler can't be installed.
    pub(super) fn serve(&self) -> io::Result<()> {
        self.enter(Phase::Starting { asked: false });
        self.handle.add_signal(SIGHUP)
    }

    /// Marks that the pipeline is about to start: from now on a signal drains it.
    pub(super) fn begin(&self) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = matches!(*phase, Phase::Starting { asked: true });
        *phase = Phase::Beginning { asked, ended: None };
    }

    /// Marks that the pipeline runs: TERM and INT drain it, HUP reloads. Signals that arrived before are handled now.
    pub(super) fn run(&self, drain: Call, reload: Asker) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, ended) = match *phase {
            Phase::Beginning { asked, ended } => (asked, ended),
            Phase::Alone | Phase::Starting { .. } | Phase::Running { .. } => (false, None),
        };
        if let Some(signal) = ended {
            say_draining(signal);
            drain();
            self.notifier.stopping();
        } else if asked {
            reload(self.notifier.reloading());
        }
        *phase = Phase::Running { drain, reload, draining: ended.is_some() };
    }

    /// Tells the service manager that the process serves, and that its pipelines have been started.
    pub(super) fn ready(&self) {
        self.notifier.ready();
    }

    /// Tells the service manager, from now on, while this says that the process is alive.
    pub(super) fn watch(&self, is_alive: Arc<IsAlive>) {
        self.notifier.watch(is_alive);
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

fn heed(phase: &Mutex<Phase>, notifier: &Notifier, signal: i32) {
    let mut phase = phase.lock().unwrap_or_else(PoisonError::into_inner);
    match (phase.on(signal), &*phase) {
        (Deed::Die, _) => die(signal),
        (Deed::Leave, _) => {
            tracing::info!("signal {signal}: ended before the pipeline was started");
            telemetry::flush();
            low_level::exit(i32::from(Exit::Fine.code()));
        }
        (Deed::LeaveAtOnce, _) => leave(signal),
        (Deed::Drain, Phase::Running { drain, .. }) => {
            say_draining(signal);
            drain();
            notifier.stopping();
        }
        (Deed::Reload, Phase::Running { reload, .. }) => reload(notifier.reloading()),
        (Deed::Nothing | Deed::Drain | Deed::Reload, _) => {}
    }
}

fn say_draining(signal: i32) {
    tracing::info!("signal {signal}: a second one ends at once, without a commit");
}

/// Ends the process by the signal, so that a shell also stops its loop. The first process of a container can't do that: it isn't killed by
/// signals.
fn die(signal: i32) -> ! {
    telemetry::flush();
    if process::id() != 1 {
        // Doesn't return, unless the signal has no default action.
        let _ = low_level::emulate_default_handler(signal);
    }
    leave(signal)
}

fn leave(signal: i32) -> ! {
    telemetry::flush();
    let number = u8::try_from(signal).unwrap_or(u8::MAX);
    low_level::exit(i32::from(Exit::Signal(number).code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Phase {
        Phase::Running { drain: Arc::new(|| ()), reload: Arc::new(|_| ()), draining: false }
    }

    #[test]
    fn the_first_signal_ends_a_command_that_is_not_a_service() {
        assert_eq!(Phase::Alone.on(SIGTERM), Deed::Die);
        assert_eq!(Phase::Alone.on(SIGINT), Deed::Die);
    }

    #[test]
    fn a_service_exits_before_its_start_and_drains_after_it() {
        let mut phase = Phase::Starting { asked: false };
        assert_eq!((phase.on(SIGHUP), phase.on(SIGTERM)), (Deed::Nothing, Deed::Leave));
        let mut phase = Phase::Beginning { asked: false, ended: None };
        assert_eq!((phase.on(SIGINT), phase.on(SIGINT)), (Deed::Nothing, Deed::LeaveAtOnce));
        let mut phase = running();
        assert_eq!((phase.on(SIGHUP), phase.on(SIGTERM)), (Deed::Reload, Deed::Drain));
        assert_eq!((phase.on(SIGHUP), phase.on(SIGINT)), (Deed::Reload, Deed::LeaveAtOnce));
    }
}
