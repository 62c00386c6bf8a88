//! The contracts with plugins as Rust types, and their mapping to the crate's own types.
//!
//! A plugin has a track (`0.1` or `1`) and a world (columns, typed records, or cells by key and window). It runs as a
//! component or, with columns and without grants, as a core module; the types here hide the difference. Input columns
//! are lowered directly from the batch's slices, and output columns are lifted as whole lists: one copy each way.
//! `typed.rs` converts typed records to the same columns, and `reducer.rs` has the functions of plugins with state. The
//! guest's results are taken as they are; `outcome::check` and `plugin::cells` validate them.

mod module;
mod reducer;
mod typed;
mod v0;
mod v1;
mod v1_1;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::batch::OutputColumns;
use crate::batch::View;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::outcome::Caps;
use crate::outcome::Columns;
use crate::plugin::deadline::Deadline;
use crate::plugin::host;
use crate::plugin::host::Host;
use crate::plugin::program::Compiled;
use crate::plugin::world::Track;
use crate::plugin::world::World;

pub(super) use v1::columnar::wasmill::plugin::log::Level;

use v1::columnar::wasmill::plugin::columns;
use v1::columnar::wasmill::plugin::types;

pub(super) use module::fits;
pub(super) use reducer::Answer;
pub(super) use reducer::Plugin as ReducerPlugin;
pub(super) use reducer::RawFailed;

/// The most outputs of one call. It is far more than a useful plugin makes, and no more than the worker can hold for
/// one batch.
const OUTPUTS_MAX: usize = 1_000_000;
/// The most bytes of these outputs, including those taken from the input: the default bound of a worker's bytes in
/// flight.
const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// The limits of one call's outcome. Those of a record are the step's.
pub(super) const CAPS: Caps = Caps {
    outputs: OUTPUTS_MAX as u64,
    bytes: OUTPUT_BYTES_MAX as u64,
    outputs_per_record: OUTPUTS_MAX as u64,
    bytes_per_record: OUTPUT_BYTES_MAX as u64,
};
/// The most bytes copied out of a guest in one call: the data, the columns of all outputs (port, partition, timestamp
/// and three lengths each), and room for header lengths and failures. Lists can alias each other in guest memory, so
/// this bounds the host's memory where the guest's own limit doesn't.
pub(super) const LIFTED_BYTES_MAX: usize = OUTPUT_BYTES_MAX + OUTPUTS_MAX * (4 + 4 + 8 + 3 * 4) + (16 << 20);
/// The message if a guest returns more.
pub(super) const TOO_MUCH: &str = "more data than one call may return";

/// A linked plugin, ready for instantiation. The types of its functions have been checked.
pub(super) enum Linked {
    Module(module::Linked),
    V0Columnar(v0::columnar::ColumnarPre<Host>),
    V0Typed(v0::typed::TypedPre<Host>),
    V1Columnar(v1::columnar::ColumnarPre<Host>),
    V1Typed(v1::typed::TypedPre<Host>),
    WaitingColumnar(v1::waiting_columnar::ColumnarPre<Host>),
    WaitingTyped(v1::waiting_typed::TypedPre<Host>),
    Reducer(reducer::Linked),
}

/// An instance of a plugin.
pub(super) enum Plugin {
    Module(Box<module::Plugin>),
    V0Columnar(v0::columnar::Columnar),
    V0Typed(v0::typed::Typed),
    V1Columnar(v1::columnar::Columnar),
    V1Typed(v1::typed::Typed),
    WaitingColumnar(v1::waiting_columnar::Columnar),
    WaitingTyped(v1::waiting_typed::Typed),
    Reducer(Box<reducer::Plugin>),
}

/// The result of a call.
pub(super) enum RawOutcome {
    /// Columns that aren't validated yet.
    Outcome(Columns),
    /// The plugin's error for the whole call.
    Error(String),
    /// What columns can't express, or that the plugin has no such function.
    Malformed(String),
}

/// Defines the interfaces of wasmill that are always granted, for all tracks, since they return no data.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    for track in Track::ALL {
        let mut log = linker.instance(&track.interface("log"))?;
        log.func_wrap("write", |mut store: StoreContextMut<'_, Host>, (level, message): (Level, String)| {
            store.data_mut().write_log(level, &message);
            Ok(())
        })?;
        let mut metrics = linker.instance(&track.interface("metrics"))?;
        metrics.func_wrap("count", |mut store: StoreContextMut<'_, Host>, (name, by): (String, u64)| {
            store.data_mut().metrics.count(&name, by);
            Ok(())
        })?;
        metrics.func_wrap("observe", |mut store: StoreContextMut<'_, Host>, (name, value): (String, f64)| {
            store.data_mut().metrics.observe(&name, value);
            Ok(())
        })?;
    }
    let mut topics = linker.instance(&Track::V1.interface("topics"))?;
    topics.func_wrap("number", |mut store: StoreContextMut<'_, Host>, (port, name): (u32, String)| {
        let number = store.data_mut().topics.number(port, &name);
        Ok((number.ok_or_else(|| wasmtime::Error::msg(host::TOO_MANY))?,))
    })
}

impl Linked {
    /// Whether the plugin runs as a core module.
    pub(super) fn is_module(&self) -> bool {
        matches!(self, Linked::Module(_))
    }

    /// Whether its instances may wait for something outside of them.
    pub(super) fn may_wait(&self) -> bool {
        matches!(self, Linked::WaitingColumnar(_) | Linked::WaitingTyped(_))
    }

    /// Links a plugin to its imports and looks up its functions. One that `may_wait` is granted `http` or `files`.
    pub(super) fn new(
        linker: &Linker<Host>,
        compiled: Compiled,
        track: Track,
        world: World,
        may_wait: bool,
    ) -> wasmtime::Result<Linked> {
        let pre = match compiled {
            Compiled::Module(module) => return Ok(Linked::Module(module::Linked::new(module)?)),
            Compiled::Component(component) => {
                let mut linker = linker.clone();
                match may_wait {
                    true => host::link_granted(&mut linker)?,
                    false => host::link(&mut linker, &component)?,
                }
                linker.instantiate_pre(&component)?
            }
        };
        Ok(match (track, world) {
            (Track::V1, World::Transform) if may_wait => Linked::WaitingTyped(v1::waiting_typed::TypedPre::new(pre)?),
            (Track::V1, World::TransformBatch) if may_wait => {
                Linked::WaitingColumnar(v1::waiting_columnar::ColumnarPre::new(pre)?)
            }
            _ if may_wait => return Err(wasmtime::Error::msg(NO_WAITING)),
            (_, World::Reduce) => Linked::Reducer(reducer::Linked::new(pre, false)?),
            (_, World::ReduceBy) => Linked::Reducer(reducer::Linked::new(pre, true)?),
            (Track::V0, World::Transform) => Linked::V0Typed(v0::typed::TypedPre::new(pre)?),
            (Track::V0, _) => Linked::V0Columnar(v0::columnar::ColumnarPre::new(pre)?),
            (Track::V1, World::Transform) => Linked::V1Typed(v1::typed::TypedPre::new(pre)?),
            (Track::V1, _) => Linked::V1Columnar(v1::columnar::ColumnarPre::new(pre)?),
        })
    }

    /// Creates an instance with this deadline.
    pub(super) fn instantiate(&self, store: &mut Store<Host>, deadline: &Deadline) -> wasmtime::Result<Plugin> {
        Ok(match self {
            Linked::Module(module) => match deadline {
                Deadline::Flag { flag, .. } => Plugin::Module(Box::new(module.instantiate(store, flag)?)),
                Deadline::Epoch { .. } => return Err(wasmtime::Error::msg("a core module has no epochs")),
            },
            Linked::V0Columnar(pre) => Plugin::V0Columnar(pre.instantiate(store)?),
            Linked::V0Typed(pre) => Plugin::V0Typed(pre.instantiate(store)?),
            Linked::V1Columnar(pre) => Plugin::V1Columnar(pre.instantiate(store)?),
            Linked::V1Typed(pre) => Plugin::V1Typed(pre.instantiate(store)?),
            Linked::WaitingColumnar(pre) => {
                let waiting = store.data().waiting()?;
                Plugin::WaitingColumnar(waiting.run(pre.instantiate_async(store))?)
            }
            Linked::WaitingTyped(pre) => {
                let waiting = store.data().waiting()?;
                Plugin::WaitingTyped(waiting.run(pre.instantiate_async(store))?)
            }
            Linked::Reducer(linked) => Plugin::Reducer(Box::new(linked.instantiate(store)?)),
        })
    }
}

impl Plugin {
    /// Calls `init`. The inner error is the plugin's.
    pub(super) fn init(
        &self,
        store: &mut Store<Host>,
        settings: &str,
        ports: &[String],
    ) -> wasmtime::Result<Result<(), String>> {
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        match self {
            Plugin::Module(plugin) => plugin.init(store, settings, &ports),
            Plugin::V0Columnar(plugin) => plugin.wasmill_plugin_batch_handler().call_init(store, settings, &ports),
            Plugin::V0Typed(plugin) => plugin.wasmill_plugin_handler().call_init(store, settings, &ports),
            Plugin::V1Columnar(plugin) => plugin.wasmill_plugin_batch_handler().call_init(store, settings, &ports),
            Plugin::V1Typed(plugin) => plugin.wasmill_plugin_handler().call_init(store, settings, &ports),
            Plugin::WaitingColumnar(plugin) => {
                let waiting = store.data().waiting()?;
                waiting.run(plugin.wasmill_plugin_batch_handler().call_init(store, settings, &ports))
            }
            Plugin::WaitingTyped(plugin) => {
                let waiting = store.data().waiting()?;
                waiting.run(plugin.wasmill_plugin_handler().call_init(store, settings, &ports))
            }
            Plugin::Reducer(plugin) => plugin.init(store, settings, &ports),
        }
    }

    /// The functions of a plugin with state.
    pub(super) fn reducer(&self) -> Option<&reducer::Plugin> {
        match self {
            Plugin::Reducer(plugin) => Some(plugin),
            Plugin::Module(_)
            | Plugin::V0Columnar(_)
            | Plugin::V0Typed(_)
            | Plugin::V1Columnar(_)
            | Plugin::V1Typed(_)
            | Plugin::WaitingColumnar(_)
            | Plugin::WaitingTyped(_) => None,
        }
    }

    /// Calls `process`.
    pub(super) fn process(
        &self,
        store: &mut Store<Host>,
        step: &Arc<str>,
        input: &View<'_>,
    ) -> wasmtime::Result<RawOutcome> {
        store.data_mut().topics.begin();
        let mut returned = self.call_process(store, step, input)?;
        if let RawOutcome::Outcome(columns) = &mut returned {
            columns.outputs.topics = store.data_mut().topics.take();
        }
        Ok(returned)
    }

    fn call_process(&self, store: &mut Store<Host>, step: &Arc<str>, input: &View<'_>) -> wasmtime::Result<RawOutcome> {
        let (source, batch) = (source(input), batch(input));
        let returned = match self {
            Plugin::Module(plugin) => return plugin.process(store, step, input),
            Plugin::Reducer(_) => return Ok(RawOutcome::Malformed(NO_PROCESS.to_owned())),
            Plugin::V0Columnar(plugin) => plugin.wasmill_plugin_batch_handler().call_process(store, source, batch)?,
            Plugin::V1Columnar(plugin) => plugin.wasmill_plugin_batch_handler().call_process(store, source, batch)?,
            Plugin::WaitingColumnar(plugin) => {
                let waiting = store.data().waiting()?;
                waiting.run(plugin.wasmill_plugin_batch_handler().call_process(store, source, batch))?
            }
            Plugin::WaitingTyped(plugin) => {
                let (handler, waiting) = (plugin.wasmill_plugin_handler(), store.data().waiting()?);
                return typed::process(input, step, |batch| waiting.run(handler.call_process(store, source, batch)));
            }
            Plugin::V0Typed(plugin) => {
                let handler = plugin.wasmill_plugin_handler();
                return typed::process(input, step, |batch| handler.call_process(store, source, batch));
            }
            Plugin::V1Typed(plugin) => {
                let handler = plugin.wasmill_plugin_handler();
                return typed::process(input, step, |batch| handler.call_process(store, source, batch));
            }
        };
        Ok(match returned {
            Ok(outcome) => RawOutcome::Outcome(taken(outcome, step)),
            Err(text) => RawOutcome::Error(text),
        })
    }
}

/// The message if a plugin has grants that its contract doesn't go with.
const NO_WAITING: &str = "`allow.http` and `allow.files` are for plugins of the worlds `transform-batch` and `transform` of the contract 1, without state";

/// The message if the host calls a function that a plugin with state doesn't have.
const NO_PROCESS: &str =
    "the plugin doesn't export `process`; a plugin of the world `transform-batch` or `transform` does";

fn source<'a>(input: &View<'a>) -> types::Source<'a> {
    let source = input.source();
    // Kafka numbers partitions from 0.
    types::Source { topic: &source.topic, partition: source.partition.unsigned_abs() }
}

fn batch<'a>(input: &View<'a>) -> columns::Batch<'a> {
    let &View { offsets, timestamps, attempts, layout, data, .. } = input;
    columns::Batch { offsets, timestamps, attempts, layout, data }
}

fn taken(outcome: columns::Outcome, step: &Arc<str>) -> Columns {
    let columns::Outcome { counts, ports, partitions, timestamps, layout, data, failures } = outcome;
    Columns {
        counts,
        outputs: OutputColumns { ports, partitions, timestamps, layout, data, topics: Vec::new() },
        failed: failures.into_iter().map(|failed| (failed.index, failure(failed.failure, step))).collect(),
    }
}

fn failure(failure: types::Failure, step: &Arc<str>) -> Failure {
    let step = Arc::clone(step);
    match failure {
        types::Failure::Reject(reject) => Failure::reject(step, &reject.code, reject.reason),
        types::Failure::Retry(retry) => Failure {
            delay: retry.delay_ms.map(|ms| Duration::from_millis(ms.into())),
            ..Failure::new(Kind::Retry, Some(step), retry.reason)
        },
    }
}
