//! What a guest can reach: the data of its store and the interfaces it may be granted, one file for each.
//!
//! Everything in here is bounded, as a guest decides how often it is called and with what. Nothing here decides what
//! becomes of a record.

mod log;
mod metrics;
mod wasi;

pub use metrics::Effects;

pub(super) use log::LogGate;
pub(super) use metrics::Names;
pub(super) use wasi::Given;
pub(super) use wasi::Refused;
pub(super) use wasi::link;

use std::sync::Arc;

use crate::plugin::limiter::Limiter;
use log::Log;
use metrics::Metrics;

/// The data of one instance's store.
pub(super) struct Host {
    pub(super) limiter: Limiter,
    pub(super) metrics: Metrics,
    /// Whether a core module may call: not while it allocates for the host or frees what it returned, as the component model has it.
    pub(super) may_call: bool,
    log: Log,
    given: Given,
}

impl Host {
    pub(super) fn new(memory_bytes: u64, given: Given, gate: Arc<LogGate>, names: Arc<Names>) -> Host {
        Host {
            limiter: Limiter::new(memory_bytes),
            metrics: Metrics::new(names),
            may_call: false,
            log: Log::new(gate),
            given,
        }
    }
}
