//! The contract `wasmill:plugin@0.1` in Rust types, and the mapping between them and the crate's own.
//!
//! Input columns are lowered straight from the batch's slices and output columns are lifted as whole lists: one copy each
//! way. What the guest says is taken as it came; `outcome::check` judges it. One such file exists for each track of the
//! contract.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::HasSelf;
use wasmtime::component::Linker;

use crate::batch::OutputColumns;
use crate::batch::View;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::outcome::Columns;
use crate::plugin::host::Host;

pub(super) use bindings::Host_ as Plugin;
pub(super) use bindings::Host_Pre as PluginPre;
pub(super) use bindings::wasmill::plugin::log;
pub(super) use bindings::wasmill::plugin::metrics;

use bindings::exports::wasmill::plugin::batch_handler;
use bindings::wasmill::plugin::types;

/// Generated from `wit/plugin.wit`. Its calls reuse handles whose types were checked when the component was loaded.
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package wasmill:host;
            world host {
                import wasmill:plugin/log@0.1.0;
                import wasmill:plugin/metrics@0.1.0;
                export wasmill:plugin/batch-handler@0.1.0;
            }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// Defines the interfaces that are always granted: nothing flows back through them.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    log::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    metrics::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)
}

/// Calls `init`; the inner error is the plugin's.
pub(super) fn init(
    plugin: &Plugin,
    store: &mut wasmtime::Store<Host>,
    settings: &str,
    ports: &[String],
) -> wasmtime::Result<Result<(), String>> {
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    plugin.wasmill_plugin_batch_handler().call_init(store, settings, &ports)
}

/// Calls `process`; the inner error is the plugin's.
pub(super) fn process(
    plugin: &Plugin,
    store: &mut wasmtime::Store<Host>,
    step: &Arc<str>,
    input: &View<'_>,
) -> wasmtime::Result<Result<Columns, String>> {
    let source = input.source();
    let source = batch_handler::Source {
        topic: &source.topic,
        // Kafka numbers partitions from 0 up.
        partition: source.partition.unsigned_abs(),
    };
    let batch = batch_handler::Batch {
        offsets: input.offsets,
        timestamps: input.timestamps,
        attempts: input.attempts,
        layout: input.layout,
        data: input.data,
    };
    let returned = plugin.wasmill_plugin_batch_handler().call_process(store, source, batch)?;
    Ok(returned.map(|outcome| columns(outcome, step)))
}

fn columns(outcome: batch_handler::Outcome, step: &Arc<str>) -> Columns {
    let batch_handler::Outcome { counts, ports, partitions, timestamps, layout, data, failures } = outcome;
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
