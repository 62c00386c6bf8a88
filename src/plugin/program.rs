//! The programs to compile: components, and core modules that run without the component model; with wasmtime's
//! configuration for both.
//!
//! Each kind needs its own engine, because they are stopped in different ways: components by wasmtime's epoch, which an
//! engine checks in all of its code, and core modules by the checks of `checks.rs`. Both kinds are rewritten before
//! they are compiled, in the process that compiles them.

use std::borrow::Cow;

use wasmparser::Parser;
use wasmtime::Config;
use wasmtime::Engine;
use wasmtime::Module;
use wasmtime::OptLevel;
use wasmtime::WasmBacktraceDetails;
use wasmtime::component::Component;

use crate::plugin::deadline_instrumentation;
use crate::plugin::features;
use crate::plugin::inline_memcpy;

/// The stack for guests, twice wasmtime's default: the parsers of interpreters call themselves for each level of a document. A
/// thread that runs guests needs this much in addition to the host's own use, of the 2 MiB that threads have by default: an overflow in
/// the guest is a trap, but one in the host ends the process.
const STACK_BYTES_MAX: usize = 1 << 20;

/// A valid binary to compile.
pub(super) enum Program<'a> {
    /// A component.
    Component(Cow<'a, [u8]>),
    /// A core module that runs without the component model.
    Module(&'a [u8]),
}

impl Program<'_> {
    /// The kind of program in these bytes.
    pub(super) fn of(bytes: &[u8]) -> Program<'_> {
        match Parser::is_component(bytes) {
            true => Program::Component(Cow::Borrowed(bytes)),
            false => Program::Module(bytes),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Program::Component(bytes) => bytes,
            Program::Module(bytes) => bytes,
        }
    }
}

/// A program's native code, loaded.
pub(super) enum Compiled {
    Component(Component),
    Module(Module),
}

/// wasmtime's engines. Cheap to clone.
#[derive(Clone)]
pub(super) struct Engines {
    /// The engine for components.
    pub(super) components: Engine,
    /// The engine for core modules.
    pub(super) modules: Engine,
}

impl Engines {
    /// # Errors
    /// If the machine lacks what wasmtime needs.
    pub(super) fn new() -> wasmtime::Result<Engines> {
        let mut components = config();
        components.epoch_interruption(true);
        let mut modules = config();
        // For the flag that the checks read. Guests can't use these features: `features::validate` rejects them.
        modules.wasm_threads(true).shared_memory(true);
        Ok(Engines { components: Engine::new(&components)?, modules: Engine::new(&modules)? })
    }

    /// The engine that a program is compiled for.
    pub(super) fn of(&self, program: &Program<'_>) -> &Engine {
        match program {
            Program::Component(_) => &self.components,
            Program::Module(_) => &self.modules,
        }
    }

    /// Compiles a program and loads its code.
    pub(super) fn compile(&self, program: &Program<'_>) -> wasmtime::Result<Compiled> {
        let ready = self.ready(program)?;
        Ok(match program {
            Program::Component(_) => Compiled::Component(Component::from_binary(&self.components, &ready)?),
            Program::Module(_) => Compiled::Module(Module::from_binary(&self.modules, &ready)?),
        })
    }

    /// Compiles a program, for another process to load.
    pub(super) fn precompile(&self, program: &Program<'_>) -> wasmtime::Result<Vec<u8>> {
        let ready = self.ready(program)?;
        match program {
            Program::Component(_) => self.components.precompile_component(&ready),
            Program::Module(_) => self.modules.precompile_module(&ready),
        }
    }

    /// The program in the form that is compiled.
    fn ready<'a>(&self, program: &'a Program<'_>) -> wasmtime::Result<Cow<'a, [u8]>> {
        Ok(match program {
            Program::Component(component) => inline_memcpy::shortened(component),
            Program::Module(module) => {
                // The placement of checks is only correct for these features.
                if features::validate(module).is_err() {
                    return Err(wasmtime::Error::msg("it uses what plugins can't"));
                }
                let checked = deadline_instrumentation::added(&inline_memcpy::shortened(module));
                Cow::Owned(checked.map_err(|error| wasmtime::Error::msg(error.to_string()))?)
            }
        })
    }
}

/// The configuration that the code depends on: the compiling process and the running one must use the same.
fn config() -> Config {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed);
    config.max_wasm_stack(STACK_BYTES_MAX);
    // If a plugin contains debug information, its backtraces have files and lines.
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    // Features that no supported guest language needs are off, to keep the attack surface small. GC isn't even compiled
    // in.
    config.wasm_threads(false);
    config.wasm_memory64(false);
    config.wasm_relaxed_simd(false);
    // Memories keep wasmtime's default of 4 GiB of reserved address space with a guard: no bounds checks, and growing
    // copies nothing.
    config
}
