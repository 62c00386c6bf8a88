//! The WebAssembly host: the only room that knows wasmtime.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One step of a pipeline, as its file describes it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Unique in the pipeline.
    pub name: Arc<str>,
    /// The component, or the core module with embedded component metadata.
    pub wasm: PathBuf,
    /// The step's settings, a JSON object.
    pub settings: String,
    /// The names of its ports, `main` first.
    pub ports: Vec<String>,
    /// The longest time that one call may take.
    pub timeout: Duration,
    /// Bytes of memory that one instance may have, over all its memories and tables.
    pub memory_bytes: u64,
    /// Records that one call gets at most.
    pub batch_records: usize,
}
