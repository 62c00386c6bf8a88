//! What signals do: the first TERM or INT drains, the second leaves at once; HUP reloads.
//!
//! The handler itself only wakes a thread; the thread may do anything. Leaving at once means without destructors: nothing
//! more is committed.

use std::io;
use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;

use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator;

use super::exit_code::Exit;
use crate::pipeline::Handle;
use crate::telemetry;

/// The thread that waits for signals; dropping it stops and joins it.
pub(super) struct Signals {
    handle: iterator::Handle,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// From now on TERM and INT drain the pipeline, and HUP calls `reload`.
    pub(super) fn start(pipeline: Handle, reload: Arc<dyn Fn() + Send + Sync>) -> io::Result<Signals> {
        let mut signals = iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = signals.handle();
        let wait = move || {
            let mut draining = false;
            for signal in &mut signals {
                if signal == SIGHUP {
                    reload();
                } else if draining {
                    let number = u8::try_from(signal).unwrap_or(u8::MAX);
                    telemetry::flush();
                    signal_hook::low_level::exit(i32::from(Exit::Signal(number).code()));
                } else {
                    draining = true;
                    tracing::info!("signal {signal}: a second one ends at once, without a commit");
                    pipeline.drain();
                }
            }
        };
        let thread = thread::Builder::new().name("signals".into()).spawn(wait)?;
        Ok(Signals { handle, thread: Some(thread) })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was reported by its hook.
            let _ = thread.join();
        }
    }
}
