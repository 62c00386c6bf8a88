//! Wasmill runs your code between Kafka topics: one binary, one TOML file, one WebAssembly component.
//!
//! The modules in the order in which a record meets them:
//!
//! ```text
//! config -> pipeline -> worker { kafka::consumer -> batch -> partition -> [executor: plugin] -> sink -> kafka::producer
//!                                -> [delivery: acknowledged] -> partition -> store, commit }
//! ```
//!
//! `tests/tidy.rs` enforces which module may import which; `ARCHITECTURE.md` is the longer map.

/// The vocabulary: where a record is and what it holds.
pub mod record;
/// Values that are never printed.
pub mod secret;
/// Everything that can go wrong, classified by how wasmill responds.
pub mod failure;
/// Records of one partition in one flat arena, in the layout that the guest sees.
pub mod batch;
/// Log lines, for people or as JSON.
pub mod telemetry;
/// Copies of single records as they pass, for people who look.
pub mod tap;
/// What happened last to a pipeline, for people who look at it.
pub mod journal;
/// What a plugin returned for its records, and the check that the contract allows it.
pub mod outcome;
/// Tests only: points on a record's path where a test can kill the process.
pub mod failpoint;
/// Traces of records, for a collector.
pub mod trace;
/// All metrics of a pipeline.
pub mod budget;
pub mod metrics;
/// Pure: one partition's path from fetched to committed.
pub mod partition;
/// Pure: keyed state of steps with windows, exact through crashes.
pub mod state;
/// Pure: what `std:aggregate` computes over the records of a window.
pub mod aggregate;
/// Pure: which output a record goes to, and what a dead letter holds.
pub mod sink;
/// The only importer of rdkafka.
pub mod kafka;
/// The only importer of wasmtime.
pub mod plugin;
/// The shell: one thread that owns the consumer, the partitions and the producer.
pub mod worker;
/// Metrics, probes and the version over HTTP.
pub mod admin;
pub mod config;
pub mod pipeline;
/// Runs the steps without Kafka: for `try`, for test cases, and before a plugin is swapped.
pub mod dry_run;
/// The dead-letter topic of a pipeline: what is in it, and the way of its records back.
pub mod dlq;
/// Applies changes of the file and its components while the pipeline runs.
pub mod reload;
/// Plugin sources: creating a project from a template, and building it.
pub mod author;
pub mod cli;
