//! What a guest can access: the data of its store and the interfaces that it may be granted, each in its own file.
//!
//! Everything here is bounded, because the guest decides how often it calls and with what. Nothing here decides the
//! outcome of a record.

mod log;
mod metrics;
mod wasi;

pub use metrics::Effects;

pub(super) use log::LogGate;
pub(super) use log::PluginName;
pub(super) use metrics::Names;
pub(super) use wasi::Refused;
pub(super) use wasi::WasiState;
pub(super) use wasi::link;

use std::sync::Arc;

use crate::plugin::limiter::Limiter;
use log::Log;
use metrics::Metrics;

/// The data of one instance's store.
pub(super) struct Host {
    pub(super) limiter: Limiter,
    pub(super) metrics: Metrics,
    /// Whether a core module may call the host. As in the component model, it may not while it allocates for the host
    /// or frees its result.
    pub(super) may_call: bool,
    log: Log,
    given: WasiState,
}

impl Host {
    pub(super) fn new(
        limiter: Limiter,
        given: WasiState,
        gate: Arc<LogGate>,
        plugin: Arc<PluginName>,
        names: Arc<Names>,
    ) -> Host {
        Host { limiter, metrics: Metrics::new(names), may_call: false, log: Log::new(gate, plugin), given }
    }
}
