//! One component instance: its store, its limits, and one call at a time.
//!
//! Every way into the guest passes [`Instance::enter`] or is given its deadline at birth. Invariant: after a failure whose
//! kind spoils the instance nobody calls it again; what it had counted is dropped with it.

use std::sync::Arc;

use wasmtime::Store;

use crate::batch::View;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::outcome;
use crate::outcome::Caps;
use crate::outcome::Outcome;
use crate::plugin::Settings;
use crate::plugin::classify;
use crate::plugin::classify::Entry;
use crate::plugin::contract::Linked;
use crate::plugin::contract::Plugin;
use crate::plugin::contract::Returned;
use crate::plugin::engine::Engine;
use crate::plugin::engine::epochs_in;
use crate::plugin::host::Effects;
use crate::plugin::host::Host;

/// Outputs that one call may make: 4 million records a second at a call of a quarter of a second, and no more than the
/// worker could hold for one batch.
const OUTPUTS_MAX: u64 = 1_000_000;
/// Bytes that they may have with what they take from the input: the default bound of all bytes in flight of a worker.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// What wasmtime may copy out of a guest in one call: the bytes, the columns of all outputs (port, partition, timestamp and
/// three lengths each), and room for lengths of headers and for failures. Lists can alias each other in guest memory, so
/// this bounds the host's memory where the guest's own limit doesn't.
const LIFTED_BYTES_MAX: u64 = OUTPUT_BYTES_MAX + OUTPUTS_MAX * (4 + 4 + 8 + 3 * 4) + (16 << 20);
/// The contract has no resources.
const HANDLES_MAX: usize = 16;

/// A plugin that is ready for records.
pub struct Instance {
    settings: Arc<Settings>,
    store: Store<Host>,
    plugin: Plugin,
    ports: u32,
    epochs: u64,
}

impl Instance {
    /// Instantiates the component and calls its `init`.
    pub(super) fn new(
        engine: &Engine,
        settings: &Arc<Settings>,
        component: &Linked,
        host: Host,
    ) -> Result<Instance, Failure> {
        let mut store = Store::new(engine.wasmtime(), host);
        store.limiter(|host| &mut host.limiter);
        store.set_hostcall_fuel(usize::try_from(LIFTED_BYTES_MAX).unwrap_or(usize::MAX));
        store.set_max_component_handles(HANDLES_MAX);
        store.epoch_deadline_trap();
        let epochs = epochs_in(settings.timeout);
        store.set_epoch_deadline(epochs);
        let plugin = match component.instantiate(&mut store) {
            Ok(plugin) => plugin,
            Err(error) => return Err(failed(&error, Entry::Instantiate, &store, settings)),
        };
        let ports = u32::try_from(settings.ports.len()).unwrap_or(u32::MAX);
        let mut instance = Instance { settings: Arc::clone(settings), store, plugin, ports, epochs };
        instance.enter();
        match instance.plugin.init(&mut instance.store, &settings.settings.0, &settings.ports) {
            Ok(Ok(())) => Ok(instance),
            Ok(Err(text)) => Err(Failure::new(Kind::Error, Some(Arc::clone(&settings.name)), text)),
            Err(error) => Err(failed(&error, Entry::Init, &instance.store, settings)),
        }
    }

    /// Gives the plugin a run of records and checks what it made of them.
    ///
    /// # Errors
    /// A fault of the whole call: none of its effects may be kept. When the kind [spoils the
    /// instance](Kind::spoils_instance), it must not be called again.
    pub fn process(&mut self, input: &View<'_>) -> Result<Outcome, Failure> {
        self.enter();
        let step = &self.settings.name;
        let broken = |broken| Failure::new(Kind::BadOutput, Some(Arc::clone(step)), broken);
        let outcome = match self.plugin.process(&mut self.store, step, input) {
            Ok(Returned::Outcome(columns)) => outcome::check(input, columns, self.ports, CAPS).map_err(broken),
            Ok(Returned::Malformed(text)) => Err(broken(text)),
            Ok(Returned::Error(text)) => Err(Failure::new(Kind::Error, Some(Arc::clone(step)), text)),
            Err(error) => Err(failed(&error, Entry::Process, &self.store, &self.settings)),
        };
        if outcome.is_err() {
            self.store.data_mut().metrics.discard();
        }
        outcome
    }

    /// What the calls since the last taking counted. A call whose outcome is dropped must have its effects dropped too.
    pub fn take_effects(&mut self) -> Effects {
        self.store.data_mut().metrics.take()
    }

    /// Bytes of its memories and tables.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().limiter.bytes()
    }

    fn enter(&mut self) {
        self.store.set_epoch_deadline(self.epochs);
        self.store.data_mut().limiter.forget_refusal();
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("step", &self.settings.name).finish_non_exhaustive()
    }
}

const CAPS: Caps = Caps { outputs: OUTPUTS_MAX, bytes: OUTPUT_BYTES_MAX };

fn failed(error: &wasmtime::Error, entry: Entry, store: &Store<Host>, settings: &Settings) -> Failure {
    classify::classify(error, entry, &store.data().limiter, settings.timeout, &settings.name)
}
