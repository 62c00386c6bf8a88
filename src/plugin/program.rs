//! What is compiled: a component, or a core module that is run as it is; and wasmtime's configuration for either.
//!
//! The two need an engine each, since they are stopped in different ways: components by wasmtime's epoch, which it checks in all
//! code of an engine, and core modules by the checks of `checks.rs`. Both are written again before they are compiled, in the
//! process that compiles them.

use std::borrow::Cow;

use wasmparser::Parser;
use wasmtime::Config;
use wasmtime::Engine;
use wasmtime::Module;
use wasmtime::OptLevel;
use wasmtime::WasmBacktraceDetails;
use wasmtime::component::Component;

use crate::plugin::checks;
use crate::plugin::copies;
use crate::plugin::features;

/// Guests get wasmtime's default stack: a thread that runs them needs this much and what the host itself uses (an
/// overflow in the guest is a trap, one in the host ends the process).
const STACK_BYTES_MAX: usize = 512 << 10;

/// A valid binary that is to be compiled.
pub(super) enum Program<'a> {
    /// A component.
    Component(Cow<'a, [u8]>),
    /// A core module that is run without the component model.
    Module(&'a [u8]),
}

impl Program<'_> {
    /// What these bytes are.
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
    /// That of components.
    pub(super) components: Engine,
    /// That of core modules.
    pub(super) modules: Engine,
}

impl Engines {
    /// # Errors
    /// If the machine lacks what wasmtime needs.
    pub(super) fn new() -> wasmtime::Result<Engines> {
        let mut components = config();
        components.epoch_interruption(true);
        let mut modules = config();
        // For the flag that checks look at. What a guest itself may have is what is valid for the other engine.
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

    /// Compiles a program and loads it.
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

    /// A program as it is compiled.
    fn ready<'a>(&self, program: &'a Program<'_>) -> wasmtime::Result<Cow<'a, [u8]>> {
        Ok(match program {
            Program::Component(component) => copies::shortened(component),
            Program::Module(module) => {
                // Checks are placed by what is true of these features alone.
                if features::validate(module).is_err() {
                    return Err(wasmtime::Error::msg("it uses what plugins can't"));
                }
                let checked = checks::added(&copies::shortened(module));
                Cow::Owned(checked.map_err(|error| wasmtime::Error::msg(error.to_string()))?)
            }
        })
    }
}

/// What the code depends on: the process that compiles and the one that runs must have the same.
fn config() -> Config {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed);
    config.max_wasm_stack(STACK_BYTES_MAX);
    // A plugin that keeps its debug information gets files and lines in its backtraces.
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    // What no supported guest language needs is not there to be attacked. GC isn't even built.
    config.wasm_threads(false);
    config.wasm_memory64(false);
    config.wasm_relaxed_simd(false);
    // Memory keeps wasmtime's default of 4 GiB of reserved addresses with a guard: no bounds check, and no copy to grow.
    config
}
