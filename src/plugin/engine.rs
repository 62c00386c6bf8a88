//! The engine that all steps share: wasmtime's engines, the compiler, the host's functions, and the clock of deadlines.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::runtime::Handle;
use tokio::runtime::Runtime;
use wasmtime::component::Linker;

use crate::budget::MemoryAccount;
use crate::plugin::compile::Compiler;
use crate::plugin::contract;
use crate::plugin::deadline::Clock;
use crate::plugin::host::Host;
use crate::plugin::program::Engines;

/// Threads that wait for the connections of all plugins.
const RUNTIME_THREADS: usize = 2;
/// Threads that look up hosts, and read files.
const RUNTIME_BLOCKING_THREADS: usize = 64;

/// The shared parts for compiling and running plugins. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    /// Where the memory of instances is taken from.
    memory: Arc<MemoryAccount>,
}

struct Inner {
    engines: Engines,
    compiler: Compiler,
    linker: Linker<Host>,
    clock: Clock,
    /// Locked to get it or to start it.
    runtime: Mutex<Option<Runtime>>,
}

/// Why the engine could not be created.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime doesn't run on this machine.
    #[error("set up the WebAssembly engine: {0:#}")]
    Wasmtime(wasmtime::Error),
    /// The deadline thread didn't start.
    #[error("start the thread that stops plugins at their deadline: {0}")]
    Thread(io::Error),
}

impl Engine {
    /// Creates the engine and starts its thread.
    ///
    /// # Errors
    /// If the machine lacks what wasmtime needs, or a thread can't be started.
    pub fn new(compiler: Compiler) -> Result<Engine, EngineError> {
        let engines = Engines::new().map_err(EngineError::Wasmtime)?;
        let mut linker = Linker::new(&engines.components);
        contract::link(&mut linker).map_err(EngineError::Wasmtime)?;
        let clock = Clock::start(engines.components.clone()).map_err(EngineError::Thread)?;
        Ok(Engine {
            inner: Arc::new(Inner { engines, compiler, linker, clock, runtime: Mutex::default() }),
            memory: Arc::default(),
        })
    }

    /// The same engine for the plugins of a pipeline: the memory of their instances is taken from its account.
    #[must_use]
    pub fn for_pipeline(&self, memory: &Arc<MemoryAccount>) -> Engine {
        Engine { inner: Arc::clone(&self.inner), memory: Arc::clone(memory) }
    }

    pub(super) fn memory(&self) -> &Arc<MemoryAccount> {
        &self.memory
    }

    pub(super) fn engines(&self) -> &Engines {
        &self.inner.engines
    }

    pub(super) fn compiler(&self) -> &Compiler {
        &self.inner.compiler
    }

    pub(super) fn linker(&self) -> &Linker<Host> {
        &self.inner.linker
    }

    /// The threads that serve the connections and files of plugins that wait for them. They start with the first such plugin.
    ///
    /// # Errors
    /// If a thread can't be started.
    pub(super) fn runtime(&self) -> io::Result<Handle> {
        let mut runtime = self.inner.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let started = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .max_blocking_threads(RUNTIME_BLOCKING_THREADS)
            .thread_name("plugin-io")
            .enable_io()
            .enable_time()
            .build()?;
        let handle = started.handle().clone();
        *runtime = Some(started);
        Ok(handle)
    }

    /// The clock of deadlines.
    pub(super) fn clock(&self) -> &Clock {
        &self.inner.clock
    }
}

/// A thread that reads a file or looks up a host may be stuck, so they aren't waited for.
impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
