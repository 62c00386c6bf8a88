//! The WebAssembly host: the only module that uses wasmtime.
//!
//! A [`Step`] is a checked and compiled plugin; an [`Instance`] of it turns a batch of records into an outcome or a
//! failure, or folds it into [`Cells`] of keyed state, which the host keeps. Guests are untrusted: they run under a
//! deadline, a memory limit and a limit on their results. This module does not retry, and knows nothing about Kafka.

mod artifact;
pub mod bundled;
mod cells;
mod deadline_instrumentation;
mod classify;
mod compile;
mod componentize;
mod contract;
mod inline_memcpy;
mod deadline;
mod engine;
mod features;
mod file;
mod forbidden;
mod grants;
mod host;
mod instance;
mod limiter;
mod manifest;
mod network;
mod precompiled;
mod preview1;
mod program;
mod reducer;
mod schema;
mod signature;
mod step;
mod toolchain;
mod trust;
mod world;

pub use artifact::ArtifactError;
pub use artifact::Form;
pub use artifact::Inspection;
pub use artifact::admit;
pub use artifact::digest;
pub use artifact::inspect;
pub use cells::CELL_MAX;
pub use cells::Cells;
pub use cells::ChangedCells;
pub use compile::CompileLimits;
pub use compile::Compiler;
pub use compile::MORE_THREADS;
pub use compile::compile_from;
pub use engine::Engine;
pub use engine::EngineError;
pub use file::read;
pub use grants::Grant;
pub use grants::Grants;
pub use host::Effects;
pub use instance::Instance;
pub use manifest::Manifest;
pub use manifest::StateVersions;
pub use network::HttpGrant;
pub use network::Network;
pub use network::Origin;
pub use precompiled::Cache;
pub use reducer::ClosedWindows;
pub use reducer::Extracted;
pub use reducer::ExtractedKey;
pub use reducer::Folded;
pub use reducer::NO_TIME;
pub use schema::Fault;
pub use schema::What;
pub use step::LoadError;
pub use step::Step;
pub use toolchain::Toolchain;
pub use trust::Demand;
pub use trust::Signer;
pub use trust::signature_of;
pub use world::Export;
pub use world::Import;
pub use world::Misfit;
pub use world::Needs;
pub use world::World;
pub use world::misplaced;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::secret::Hidden;
use crate::secret::Secret;

/// One step of a pipeline, as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Unique in the pipeline.
    pub name: Arc<str>,
    /// The component, or a core module with the component model's names.
    pub wasm: PathBuf,
    /// The step's settings, a JSON object.
    pub settings: Secret,
    /// What the plugin may use besides log and metrics.
    pub allow: Grants,
    /// The names of its ports, `main` first.
    pub ports: Vec<String>,
    /// The longest times that calls may take.
    pub timeout: CallTimeouts,
    /// The memory limit of one instance in bytes, for all of its memories and tables together.
    pub memory_bytes: u64,
    /// The most records in one call.
    pub batch_records: usize,
    /// The most outputs for one record.
    pub outputs_per_record: u64,
    /// The most bytes of the outputs for one record, with what they take from it.
    pub output_bytes_per_record: u64,
    /// What the bytes of the component have to be. All of it has to hold.
    pub demands: Vec<Demand>,
    /// Values passed to the plugin that must not appear in its messages.
    pub hidden: Hidden,
}

/// The longest times that calls of a plugin may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTimeouts {
    /// A call with records.
    pub call: Duration,
    /// Instantiating the plugin, and its `init`, each.
    pub init: Duration,
}

impl From<Duration> for CallTimeouts {
    /// The same for all calls.
    fn from(timeout: Duration) -> CallTimeouts {
        CallTimeouts { call: timeout, init: timeout }
    }
}
