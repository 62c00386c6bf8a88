//! Wasmill runs your code between Kafka topics: one binary, one TOML file, one WebAssembly component.
//!
//! The modules in the order in which a record meets them:
//!
//! ```text
//! config -> pipeline -> worker { kafka::consumer -> batch -> partition -> [executor: plugin] -> sink -> kafka::producer
//!                                -> [delivery: acknowledged] -> partition -> store, commit }
//! ```
//!
//! Who may import whom is held by `tests/tidy.rs`; `ARCHITECTURE.md` is the longer map.

/// Where a record is, and what it holds: the vocabulary.
pub mod record;
/// Values that are never shown.
pub mod secret;
/// What can go wrong, classed by what is done about it.
pub mod failure;
/// Records of one partition in one flat arena, the layout that the guest sees.
pub mod batch;
/// What a plugin said about its records, and whether it may say that.
pub mod outcome;
/// Tests only: where a process is made to die in the middle of a record's path.
pub mod failpoint;
/// Every number that a pipeline tells about itself.
pub mod metrics;
/// Pure: one partition's path from fetched to committed.
pub mod partition;
/// Pure: what an outcome becomes.
pub mod sink;
/// The only importer of rdkafka.
pub mod kafka;
/// The only importer of wasmtime.
pub mod plugin;
/// The shell: one thread that owns consumer, partitions and producer.
pub mod worker;
/// Log lines, for people or as JSON.
pub mod telemetry;
/// Metrics, probes and the version over HTTP.
pub mod admin;
pub mod config;
pub mod pipeline;
/// The steps without Kafka: for a person, for test cases, and before a swap.
pub mod dry_run;
/// What has changed in the file and its components is put in place while the pipeline runs.
pub mod reload;
/// Plugins as source: new ones, and building them.
pub mod author;
pub mod cli;
