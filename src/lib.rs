//! Wasmill runs your code between Kafka topics: one binary, one TOML file, one WebAssembly component.

pub mod batch;
pub mod failure;
pub mod kafka;
pub mod outcome;
pub mod partition;
pub mod pipeline;
pub mod plugin;
pub mod record;
pub mod sink;
