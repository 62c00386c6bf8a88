//! The contracts with plugins in Rust types, and the mapping between them and the crate's own.
//!
//! A component is of one track (`0.1` or `1`) and of one world (columns or typed records); from here on nobody needs to know which.
//! Input columns are lowered straight from the batch's slices and output columns are lifted as whole lists: one copy each way.
//! Typed records are turned into the same columns in `typed.rs`. What the guest says is taken as it came; `outcome::check`
//! judges it.

mod typed;
mod v0;
mod v1;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::StoreContextMut;
use wasmtime::component::Component;
use wasmtime::component::Linker;

use crate::batch::OutputColumns;
use crate::batch::View;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::outcome::Columns;
use crate::plugin::host;
use crate::plugin::host::Host;
use crate::plugin::world::Track;
use crate::plugin::world::World;

pub(super) use v1::columnar::wasmill::plugin::log::Level;

use v1::columnar::wasmill::plugin::columns;
use v1::columnar::wasmill::plugin::types;

/// A linked component, of which instances are made. The functions' types were checked.
pub(super) enum Linked {
    V0Columnar(v0::columnar::ColumnarPre<Host>),
    V0Typed(v0::typed::TypedPre<Host>),
    V1Columnar(v1::columnar::ColumnarPre<Host>),
    V1Typed(v1::typed::TypedPre<Host>),
}

/// An instance of a component.
pub(super) enum Plugin {
    V0Columnar(v0::columnar::Columnar),
    V0Typed(v0::typed::Typed),
    V1Columnar(v1::columnar::Columnar),
    V1Typed(v1::typed::Typed),
}

/// What a plugin returned of a call.
pub(super) enum Returned {
    /// Columns that nobody checked yet.
    Outcome(Columns),
    /// What the plugin says of the whole call.
    Error(String),
    /// Typed verdicts that no columns can say.
    Malformed(String),
}

/// Defines the interfaces that are always granted, for all tracks, as nothing flows back through them, and those that may be.
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
    host::link(linker)
}

impl Linked {
    /// Links a component to what it imports and looks its functions up.
    pub(super) fn new(
        linker: &Linker<Host>,
        component: &Component,
        track: Track,
        world: World,
    ) -> wasmtime::Result<Linked> {
        let pre = linker.instantiate_pre(component)?;
        Ok(match (track, world) {
            (Track::V0, World::Transform) => Linked::V0Typed(v0::typed::TypedPre::new(pre)?),
            (Track::V0, _) => Linked::V0Columnar(v0::columnar::ColumnarPre::new(pre)?),
            (Track::V1, World::Transform) => Linked::V1Typed(v1::typed::TypedPre::new(pre)?),
            (Track::V1, _) => Linked::V1Columnar(v1::columnar::ColumnarPre::new(pre)?),
        })
    }

    pub(super) fn instantiate(&self, store: &mut Store<Host>) -> wasmtime::Result<Plugin> {
        Ok(match self {
            Linked::V0Columnar(pre) => Plugin::V0Columnar(pre.instantiate(store)?),
            Linked::V0Typed(pre) => Plugin::V0Typed(pre.instantiate(store)?),
            Linked::V1Columnar(pre) => Plugin::V1Columnar(pre.instantiate(store)?),
            Linked::V1Typed(pre) => Plugin::V1Typed(pre.instantiate(store)?),
        })
    }
}

impl Plugin {
    /// Calls `init`; the inner error is the plugin's.
    pub(super) fn init(
        &self,
        store: &mut Store<Host>,
        settings: &str,
        ports: &[String],
    ) -> wasmtime::Result<Result<(), String>> {
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        match self {
            Plugin::V0Columnar(plugin) => plugin.wasmill_plugin_batch_handler().call_init(store, settings, &ports),
            Plugin::V0Typed(plugin) => plugin.wasmill_plugin_handler().call_init(store, settings, &ports),
            Plugin::V1Columnar(plugin) => plugin.wasmill_plugin_batch_handler().call_init(store, settings, &ports),
            Plugin::V1Typed(plugin) => plugin.wasmill_plugin_handler().call_init(store, settings, &ports),
        }
    }

    /// Calls `process`.
    pub(super) fn process(
        &self,
        store: &mut Store<Host>,
        step: &Arc<str>,
        input: &View<'_>,
    ) -> wasmtime::Result<Returned> {
        let source = input.source();
        let source = types::Source {
            topic: &source.topic,
            // Kafka numbers partitions from 0 up.
            partition: source.partition.unsigned_abs(),
        };
        let batch = columns::Batch {
            offsets: input.offsets,
            timestamps: input.timestamps,
            attempts: input.attempts,
            layout: input.layout,
            data: input.data,
        };
        let returned = match self {
            Plugin::V0Columnar(plugin) => plugin.wasmill_plugin_batch_handler().call_process(store, source, batch)?,
            Plugin::V1Columnar(plugin) => plugin.wasmill_plugin_batch_handler().call_process(store, source, batch)?,
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
            Ok(outcome) => Returned::Outcome(taken(outcome, step)),
            Err(text) => Returned::Error(text),
        })
    }
}

fn taken(outcome: columns::Outcome, step: &Arc<str>) -> Columns {
    let columns::Outcome { counts, ports, partitions, timestamps, layout, data, failures } = outcome;
    Columns {
        counts,
        outputs: OutputColumns { ports, partitions, timestamps, layout, data },
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
