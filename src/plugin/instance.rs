//! One instance of a plugin: its store, its limits, and one call at a time.
//!
//! All calls of the guest go through [`entered`]. Invariant: after a failure whose kind spoils the instance, it is not
//! called again, and its uncollected counts are dropped. `reducer.rs` has the calls of plugins with state.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::Trap;

use crate::batch::View;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::outcome;
use crate::outcome::Caps;
use crate::outcome::Outcome;
use crate::plugin::Settings;
use crate::plugin::classify;
use crate::plugin::classify::Entry;
use crate::plugin::contract::Answer;
use crate::plugin::contract::CAPS;
use crate::plugin::contract::LIFTED_BYTES_MAX;
use crate::plugin::contract::Linked;
use crate::plugin::contract::Plugin;
use crate::plugin::contract::RawOutcome;
use crate::plugin::deadline::Deadline;
use crate::plugin::engine::Engine;
use crate::plugin::host::Effects;
use crate::plugin::host::Host;

/// The contract has no resources. Those of WASI are streams of the runtime and what it polls; a handle takes a few bytes.
const HANDLES_MAX: usize = 4096;

/// An instance of a plugin, ready to process records.
pub struct Instance {
    settings: Arc<Settings>,
    store: Store<Host>,
    plugin: Plugin,
    ports: u32,
    deadline: Deadline,
}

impl Instance {
    /// Instantiates the plugin and calls its `init`.
    pub(super) fn new(
        engine: &Engine,
        settings: &Arc<Settings>,
        linked: &Linked,
        host: Host,
    ) -> Result<Instance, Failure> {
        let timeout = settings.timeout.init;
        let (mut store, mut deadline) = if linked.is_module() {
            let modules = &engine.engines().modules;
            let flag = engine.clock().flag(modules).map_err(|error| {
                Failure::new(
                    Kind::Memory,
                    Some(Arc::clone(&settings.name)),
                    format!("instantiate: {}", classify::explained(&format!("{error:#}"))),
                )
            })?;
            (Store::new(modules, host), Deadline::by_flag(timeout, engine.clock(), flag))
        } else {
            (Store::new(&engine.engines().components, host), Deadline::by_epoch(timeout, engine.clock()))
        };
        store.limiter(|host| &mut host.limiter);
        store.set_hostcall_fuel(LIFTED_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        store.epoch_deadline_trap();
        let plugin =
            entered(&mut store, &deadline, Entry::Instantiate, settings, |store| linked.instantiate(store, &deadline))?;
        let init = entered(&mut store, &deadline, Entry::Init, settings, |store| {
            plugin.init(store, &settings.settings.0, &settings.ports)
        })?;
        deadline.set_timeout(settings.timeout.call);
        let ports = u32::try_from(settings.ports.len()).unwrap_or(u32::MAX);
        let init =
            init.map_err(|text| quiet(settings, Failure::new(Kind::Error, Some(Arc::clone(&settings.name)), text)));
        match starved(&init, Entry::Init, store.data(), settings) {
            Some(failure) => Err(failure),
            None => init.map(|()| Instance { settings: Arc::clone(settings), store, plugin, ports, deadline }),
        }
    }

    /// Passes records to the plugin and validates its result.
    ///
    /// # Errors
    /// A failure of the whole call, whose effects must be dropped. When its kind [spoils the
    /// instance](Kind::spoils_instance), the instance must not be called again.
    pub fn process(&mut self, input: &View<'_>) -> Result<Outcome, Failure> {
        let Settings { outputs_per_record, output_bytes_per_record: bytes_per_record, .. } = *self.settings;
        let caps = Caps { outputs_per_record, bytes_per_record, ..CAPS };
        self.called(
            Entry::Process,
            |plugin, store, step| {
                Ok(match plugin.process(store, step, input)? {
                    RawOutcome::Outcome(columns) => Ok(Ok(columns)),
                    RawOutcome::Malformed(text) => Ok(Err(text)),
                    RawOutcome::Error(text) => Err(text),
                })
            },
            |columns, ports| outcome::check(input, columns?, ports, caps),
        )
    }

    /// Calls a function of the guest, and checks what it returned with `check`, which is given the number of ports. When
    /// the call fails, its effects are dropped.
    pub(super) fn called<R, T: Reported>(
        &mut self,
        entry: Entry,
        call: impl FnOnce(&Plugin, &mut Store<Host>, &Arc<str>) -> Answer<R>,
        check: impl FnOnce(R, u32) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let Instance { settings, store, plugin, ports, deadline } = self;
        let step = &settings.name;
        let returned = entered(store, deadline, entry, settings, |store| call(plugin, store, step));
        let result = match returned {
            Ok(Ok(returned)) => check(returned, *ports).map_err(|broken| {
                Failure::new(Kind::BadOutput, Some(Arc::clone(step)), format!("{}{broken}", entry.prefix()))
            }),
            Ok(Err(text)) => Err(quiet(settings, Failure::new(Kind::Error, Some(Arc::clone(step)), text))),
            Err(failure) => Err(failure),
        };
        let result = starved(&result, entry, store.data(), settings).map_or(result, Err);
        if result.is_err() {
            self.store.data_mut().metrics.discard();
        }
        result
    }

    /// Takes what the calls counted since the last take. If a call's outcome is dropped, its effects must be dropped,
    /// too.
    pub fn take_effects(&mut self) -> Effects {
        self.store.data_mut().metrics.take()
    }

    /// Bytes of its memories and tables.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().limiter.bytes()
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("step", &self.settings.name).finish_non_exhaustive()
    }
}

/// What a function of a plugin returned, for which records may have failed.
pub(super) trait Reported {
    /// Why the first failed record failed, if one did.
    fn first_failure(&self) -> Option<&Failure>;
}

impl Reported for Outcome {
    fn first_failure(&self) -> Option<&Failure> {
        self.failed.first().map(|failed| &failed.failure)
    }
}

impl Reported for () {
    fn first_failure(&self) -> Option<&Failure> {
        None
    }
}

/// The failure of a call that was refused memory, if it then returned an error, or failures of records. An interpreter turns the refusal into an
/// exception, which fails records that a fresh instance would process, and it stays as full as it is: so the call failed for
/// lack of memory, as if it had trapped. A call that did without the memory is left alone.
fn starved<T: Reported>(
    result: &Result<T, Failure>,
    entry: Entry,
    host: &Host,
    settings: &Settings,
) -> Option<Failure> {
    let refusal = host.limiter.refused()?;
    let told = match result {
        Ok(returned) => returned.first_failure()?,
        Err(failure) if failure.kind == Kind::Error => failure,
        Err(_) => return None,
    };
    let refused = classify::refused(refusal, &host.limiter);
    let reason = format!("{}{refused}; it returned: {}", entry.prefix(), told.reason);
    Some(quiet(settings, Failure::new(Kind::Memory, Some(Arc::clone(&settings.name)), reason)))
}

/// Calls the guest under its deadline, and classifies an error.
fn entered<T>(
    store: &mut Store<Host>,
    deadline: &Deadline,
    entry: Entry,
    settings: &Settings,
    call: impl FnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
) -> Result<T, Failure> {
    store.data_mut().limiter.forget_refusal();
    store.data_mut().forget_last_error();
    let timeout =
        if matches!(entry, Entry::Instantiate | Entry::Init) { settings.timeout.init } else { settings.timeout.call };
    store.data_mut().begin_waiting(timeout);
    deadline.begin(store);
    let returned = call(store);
    let is_late = deadline.end();
    store.data_mut().end_lines();
    let error = match returned {
        Ok(returned) if !is_late => return Ok(returned),
        Ok(_) => Trap::Interrupt.into(),
        Err(error) => error,
    };
    let failure = classify::classify(&error, entry, is_late, store.data(), settings.timeout, &settings.name);
    Err(quiet(settings, failure))
}

/// The failure without the hidden values of the settings: its text comes from the guest.
fn quiet(settings: &Settings, failure: Failure) -> Failure {
    Failure {
        reason: settings.hidden.hide(&failure.reason),
        backtrace: settings.hidden.hide(&failure.backtrace),
        ..failure
    }
}
