//! Plugins that fold records into cells, and their mapping to the crate's own types.
//!
//! The functions of `keyer` are looked up in the same instance as those of `reducer`. What the guest returns is taken as
//! it is; `plugin::cells`, `plugin::reducer` and `outcome::check` validate it.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::batch;
use super::columns;
use super::failure;
use super::source;
use super::taken;
use super::v1_1;
use crate::batch::View;
use crate::failure::Failure;
use crate::outcome::Columns;
use crate::plugin::cells::Cells;
use crate::plugin::host::Host;
use crate::plugin::reducer::ClosedWindows;

pub(in crate::plugin) use v1_1::keyer::exports::wasmill::plugin::keyer::Extracted;
pub(in crate::plugin) use v1_1::reducer::wasmill::plugin::cells::Changes;

use v1_1::reducer::exports::wasmill::plugin::reducer::Windows;
use v1_1::reducer::wasmill::plugin::cells;

/// The result of a call: what the plugin returned, or its error for the whole call.
pub(in crate::plugin) type Answer<T> = Result<std::result::Result<T, String>>;

/// Failed records, each with its index.
pub(in crate::plugin) type RawFailed = Vec<(u32, Failure)>;

/// A linked plugin, ready for instantiation.
pub(in crate::plugin) struct Linked {
    pre: InstancePre<Host>,
    reducer: v1_1::reducer::ReducingIndices,
    keyer: Option<v1_1::keyer::KeyingIndices>,
}

/// An instance of a plugin.
pub(in crate::plugin) struct Plugin {
    reducer: v1_1::reducer::Reducing,
    keyer: Option<v1_1::keyer::Keying>,
}

impl Linked {
    /// # Errors
    /// If it lacks a function.
    pub(super) fn new(pre: InstancePre<Host>, has_keyer: bool) -> Result<Linked> {
        let reducer = v1_1::reducer::ReducingIndices::new(&pre)?;
        let keyer = has_keyer.then(|| v1_1::keyer::KeyingIndices::new(&pre)).transpose()?;
        Ok(Linked { pre, reducer, keyer })
    }

    pub(super) fn instantiate(&self, store: &mut Store<Host>) -> Result<Plugin> {
        let instance = self.pre.instantiate(&mut *store)?;
        let reducer = self.reducer.load(&mut *store, &instance)?;
        let keyer = self.keyer.as_ref().map(|keyer| keyer.load(&mut *store, &instance)).transpose()?;
        Ok(Plugin { reducer, keyer })
    }
}

impl Plugin {
    pub(super) fn init(&self, store: &mut Store<Host>, settings: &str, ports: &[&str]) -> Answer<()> {
        self.reducer.wasmill_plugin_reducer().call_init(store, settings, ports)
    }

    /// Folds records into their cells.
    pub(in crate::plugin) fn add(
        &self,
        store: &mut Store<Host>,
        step: &Arc<str>,
        input: &View<'_>,
        cells: Cells<'_>,
    ) -> Answer<(Changes, RawFailed)> {
        let reducer = self.reducer.wasmill_plugin_reducer();
        let folded = reducer.call_add(store, source(input), batch(input), lowered(cells))?;
        Ok(folded.map(|folded| (folded.changes, failed(folded.failures, step))))
    }

    /// Merges pairs of cells.
    pub(in crate::plugin) fn merge(&self, store: &mut Store<Host>, pairs: Cells<'_>) -> Answer<Changes> {
        self.reducer.wasmill_plugin_reducer().call_merge(store, lowered(pairs))
    }

    /// Asks for the outputs of windows.
    pub(in crate::plugin) fn emit(
        &self,
        store: &mut Store<Host>,
        step: &Arc<str>,
        windows: &ClosedWindows<'_>,
    ) -> Answer<Columns> {
        let &ClosedWindows { ref keyed, starts, ends, closed } = windows;
        let windows = Windows { keyed: batch(keyed), starts, ends, closed };
        store.data_mut().topics.begin();
        let outcome = self.reducer.wasmill_plugin_reducer().call_emit(&mut *store, windows)?;
        Ok(outcome.map(|outcome| {
            let mut columns = taken(outcome, step);
            columns.outputs.topics = store.data_mut().topics.take();
            columns
        }))
    }

    /// Asks for the keys of records; `None` if the plugin exports no `keyer`.
    pub(in crate::plugin) fn keys(
        &self,
        store: &mut Store<Host>,
        step: &Arc<str>,
        input: &View<'_>,
    ) -> Option<Answer<(Extracted, RawFailed)>> {
        let keyer = self.keyer.as_ref()?.wasmill_plugin_keyer();
        let extracted = keyer.call_keys(store, batch(input));
        Some(extracted.map(|extracted| {
            extracted.map(|mut extracted| {
                let failures = std::mem::take(&mut extracted.failures);
                (extracted, failed(failures, step))
            })
        }))
    }
}

fn lowered(cells: Cells<'_>) -> cells::Cells<'_> {
    let Cells { index, lengths, data } = cells;
    cells::Cells { index, lengths, data }
}

fn failed(failures: Vec<columns::Failed>, step: &Arc<str>) -> RawFailed {
    failures.into_iter().map(|failed| (failed.index, failure(failed.failure, step))).collect()
}
