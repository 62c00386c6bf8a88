//! What signals do, in every phase of every command.
//!
//! A handler of our own is there from the first moment on: the kernel ignores TERM and INT for the first process of a container that
//! has none. Until a pipeline runs, nothing is under way that an end would cut short, so the first TERM or INT ends the process. Then
//! the first drains, the second leaves at once; HUP reloads. The handler itself only wakes a thread; the thread may do anything. Leaving at
//! once means without destructors: nothing more is committed.

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
use crate::telemetry;

/// What is called; it may take a lock, but doesn't wait for anything that takes time.
pub(super) type Call = Arc<dyn Fn() + Send + Sync>;

/// The thread that waits for signals, for as long as the process lives.
pub(super) struct Signals {
    handle: iterator::Handle,
    /// Locked for the time of one decision, by the thread and by the command that goes on to its next phase. What is called under it is
    /// a [`Call`].
    phase: Arc<Mutex<Phase>>,
}

/// Why signals can't be heeded.
pub(super) enum StartError {
    Handler(io::Error),
    Thread(io::Error),
}

/// How far the command is.
enum Phase {
    /// Nothing would be cut short.
    Alone,
    /// A service that has not begun: its components are compiled.
    Starting {
        asked: bool,
    },
    /// A service whose pipeline is being started: it is drained as soon as it is there.
    Beginning {
        asked: bool,
        /// The signal that told it to end.
        ended: Option<i32>,
    },
    Running {
        drain: Call,
        reload: Call,
        draining: bool,
    },
}

/// What is to be done about a signal.
#[derive(Debug, PartialEq, Eq)]
enum Deed {
    Nothing,
    /// As if there were no handler.
    Die,
    /// Ended as told, with nothing done yet.
    Leave,
    /// A second signal.
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
    /// From now on TERM and INT end the process.
    ///
    /// # Errors
    /// If the machine refuses the thread or the handler.
    pub(super) fn start() -> Result<Signals, StartError> {
        let mut signals = iterator::Signals::new([SIGTERM, SIGINT]).map_err(StartError::Handler)?;
        let handle = signals.handle();
        let phase = Arc::new(Mutex::new(Phase::Alone));
        let seen = Arc::clone(&phase);
        let wait = move || {
            for signal in &mut signals {
                heed(&seen, signal);
            }
        };
        // It ends with the process: what a signal may find is not over before.
        thread::Builder::new().name("signals".into()).spawn(wait).map_err(StartError::Thread)?;
        Ok(Signals { handle, phase })
    }

    /// The command is a service, which HUP doesn't end.
    ///
    /// # Errors
    /// If the machine refuses the handler.
    pub(super) fn serve(&self) -> io::Result<()> {
        self.enter(Phase::Starting { asked: false });
        self.handle.add_signal(SIGHUP)
    }

    /// The pipeline is about to run: from now on a signal can't end the process with nothing done.
    pub(super) fn begin(&self) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = matches!(*phase, Phase::Starting { asked: true });
        *phase = Phase::Beginning { asked, ended: None };
    }

    /// The pipeline runs: TERM and INT drain it, HUP reloads. What came before is done now.
    pub(super) fn run(&self, drain: Call, reload: Call) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, ended) = match *phase {
            Phase::Beginning { asked, ended } => (asked, ended),
            Phase::Alone | Phase::Starting { .. } | Phase::Running { .. } => (false, None),
        };
        if let Some(signal) = ended {
            say_draining(signal);
            drain();
        } else if asked {
            reload();
        }
        *phase = Phase::Running { drain, reload, draining: ended.is_some() };
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

fn heed(phase: &Mutex<Phase>, signal: i32) {
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
        }
        (Deed::Reload, Phase::Running { reload, .. }) => reload(),
        (Deed::Nothing | Deed::Drain | Deed::Reload, _) => {}
    }
}

fn say_draining(signal: i32) {
    tracing::info!("signal {signal}: a second one ends at once, without a commit");
}

/// Ends by the signal, so that a shell knows that a loop is to end. The first process of a container can't: no signal kills it.
fn die(signal: i32) -> ! {
    telemetry::flush();
    if process::id() != 1 {
        // It doesn't come back; what could go wrong is that the signal has no default.
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
        Phase::Running { drain: Arc::new(|| ()), reload: Arc::new(|| ()), draining: false }
    }

    #[test]
    fn a_command_that_is_no_service_dies_of_the_first_signal() {
        assert_eq!(Phase::Alone.on(SIGTERM), Deed::Die);
        assert_eq!(Phase::Alone.on(SIGINT), Deed::Die);
    }

    #[test]
    fn a_service_leaves_while_nothing_was_begun_and_drains_from_then_on() {
        let mut phase = Phase::Starting { asked: false };
        assert_eq!((phase.on(SIGHUP), phase.on(SIGTERM)), (Deed::Nothing, Deed::Leave));
        let mut phase = Phase::Beginning { asked: false, ended: None };
        assert_eq!((phase.on(SIGINT), phase.on(SIGINT)), (Deed::Nothing, Deed::LeaveAtOnce));
        let mut phase = running();
        assert_eq!((phase.on(SIGHUP), phase.on(SIGTERM)), (Deed::Reload, Deed::Drain));
        assert_eq!((phase.on(SIGHUP), phase.on(SIGINT)), (Deed::Reload, Deed::LeaveAtOnce));
    }
}
