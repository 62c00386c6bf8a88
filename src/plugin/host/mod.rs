//! What a guest can access: the data of its store and the interfaces that it may be granted, each in its own file.
//!
//! Everything here is bounded, because the guest decides how often it calls and with what. Nothing here decides the
//! outcome of a record.

mod granted;
mod log;
mod metrics;
mod preview1;
mod printed;
mod requests;
mod topics;
mod wasi;
mod wasi_linker;

pub use metrics::Effects;

pub(super) use granted::Granted;
pub(super) use granted::link_granted;
pub(super) use log::LogGate;
pub(super) use log::PluginName;
pub(super) use metrics::Names;
pub(super) use preview1::function as preview1_function;
pub(super) use requests::Client;
pub(super) use requests::system_lookup;
pub(super) use topics::TOO_MANY;
pub(super) use wasi::Refused;
pub(super) use wasi::WasiState;
pub(super) use wasi_linker::link;

use std::sync::Arc;

use crate::plugin::limiter::Limiter;
use log::Log;
use metrics::Metrics;
use printed::Printed;
use topics::Topics;

/// The data of one instance's store.
pub(super) struct Host {
    pub(super) limiter: Limiter,
    pub(super) metrics: Metrics,
    pub(super) topics: Topics,
    /// Whether a core module may call the host. As in the component model, it may not while it allocates for the host
    /// or frees its result.
    pub(super) may_call: bool,
    log: Log,
    printed: Printed,
    given: WasiState,
    granted: Option<Box<Granted>>,
}

impl Host {
    /// The data of an instance of a step with this many ports.
    pub(super) fn new(
        limiter: Limiter,
        ports: usize,
        given: WasiState,
        granted: Option<Box<Granted>>,
        gate: Arc<LogGate>,
        plugin: Arc<PluginName>,
        names: Arc<Names>,
    ) -> Host {
        Host {
            limiter,
            metrics: Metrics::new(names),
            topics: Topics::new(ports),
            may_call: false,
            log: Log::new(gate, plugin),
            printed: Printed::default(),
            given,
            granted,
        }
    }
}
