//! The engine that all steps share: wasmtime's configuration, the host's functions, and the clock of deadlines.
//!
//! It owns the one thread that moves wasmtime's epoch. Invariant: the epoch moves while any [`Engine`] exists, as every
//! step holds one, so a guest that never returns is always stopped.

use std::io;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Config;
use wasmtime::OptLevel;
use wasmtime::WasmBacktraceDetails;
use wasmtime::component::Linker;

use crate::plugin::compile::Compiler;
use crate::plugin::contract;
use crate::plugin::host::Host;

/// The length of an epoch: how far past its deadline a guest can get.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Guests get wasmtime's default stack: a thread that runs them needs this much and what the host itself uses (an
/// overflow in the guest is a trap, one in the host ends the process).
pub(super) const STACK_BYTES_MAX: usize = 512 << 10;

/// What is needed to compile and run plugins. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasmtime: wasmtime::Engine,
    compiler: Compiler,
    linker: Linker<Host>,
    epochs: EpochThread,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime doesn't run on this machine.
    #[error("set up the WebAssembly engine: {0:#}")]
    Wasmtime(wasmtime::Error),
    /// The thread of deadlines didn't start.
    #[error("start the thread that stops plugins at their deadline: {0}")]
    Thread(io::Error),
}

impl Engine {
    /// Sets the engine up and starts its thread.
    ///
    /// # Errors
    /// If the machine lacks what wasmtime needs, or a thread can't be started.
    pub fn new(compiler: Compiler) -> Result<Engine, EngineError> {
        let wasmtime = wasmtime::Engine::new(&config()).map_err(EngineError::Wasmtime)?;
        let mut linker = Linker::new(&wasmtime);
        contract::link(&mut linker).map_err(EngineError::Wasmtime)?;
        let epochs = EpochThread::start(wasmtime.clone()).map_err(EngineError::Thread)?;
        Ok(Engine { inner: Arc::new(Inner { wasmtime, compiler, linker, epochs }) })
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.wasmtime
    }

    pub(super) fn compiler(&self) -> &Compiler {
        &self.inner.compiler
    }

    pub(super) fn linker(&self) -> &Linker<Host> {
        &self.inner.linker
    }

    /// The time since the engine was made, in units of [`TICK`].
    pub(super) fn clock(&self) -> Ticks {
        Ticks(Arc::clone(&self.inner.epochs.ticks))
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// A clock that moves with the epoch: coarse, free to read, and never set back.
#[derive(Clone)]
pub(super) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Epochs until a call that may take `timeout` is stopped: one more than it has, as the current one is partly over.
pub(super) fn epochs_in(timeout: Duration) -> u64 {
    let ticks = timeout.as_nanos().div_ceil(TICK.as_nanos());
    // wasmtime adds this to the current epoch: half the range can't overflow.
    u64::try_from(ticks).unwrap_or(u64::MAX).min(u64::MAX / 2) + 1
}

/// What the code depends on: the process that compiles and the one that runs must have the same.
pub(super) fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.cranelift_opt_level(OptLevel::Speed);
    config.max_wasm_stack(STACK_BYTES_MAX);
    // A plugin that keeps its debug information gets files and lines in its backtraces.
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    // What no supported guest language needs is not there to be attacked. Threads and GC aren't even built.
    config.wasm_memory64(false);
    config.wasm_relaxed_simd(false);
    // Memory keeps wasmtime's default of 4 GiB of reserved addresses with a guard: no bounds check, and no copy to grow.
    config
}

/// Moves the epoch; ends when it is dropped.
struct EpochThread {
    ticks: Arc<AtomicU64>,
    /// Set once, by `drop`; the thread alone waits for it.
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl EpochThread {
    fn start(engine: wasmtime::Engine) -> io::Result<EpochThread> {
        let ticks = Arc::new(AtomicU64::new(0));
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let thread = thread::Builder::new().name("epoch".into()).spawn({
            let ticks = Arc::clone(&ticks);
            let stop = Arc::clone(&stop);
            move || {
                let (stopped, bell) = &*stop;
                let mut guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
                while !*guard {
                    guard = bell.wait_timeout(guard, TICK).unwrap_or_else(PoisonError::into_inner).0;
                    ticks.fetch_add(1, Ordering::Relaxed);
                    engine.increment_epoch();
                }
            }
        })?;
        Ok(EpochThread { ticks, stop, thread: Some(thread) })
    }
}

impl Drop for EpochThread {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // It can't panic, and there would be nobody left to tell.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_before_its_timeout() {
        assert_eq!(epochs_in(Duration::ZERO), 1);
        assert_eq!(epochs_in(Duration::from_nanos(1)), 2);
        assert_eq!(epochs_in(TICK), 2);
        assert_eq!(epochs_in(TICK * 3 + Duration::from_nanos(1)), 5);
        assert_eq!(epochs_in(Duration::MAX), u64::MAX / 2 + 1);
    }
}
