//! Kafka: consumer, producer, and lookups. The only module that uses rdkafka.
//!
//! It decides nothing about records: it reports what happened, in types of its own, and executes calls. It doesn't know
//! plugins, partition states or the config file.

mod answer;
mod classify;
pub mod changelog;
pub mod changelog_topic;
pub mod command;
pub mod connection;
pub mod consumer;
pub mod embedded;
pub mod limits;
pub mod lookup;
pub mod members;
pub mod membership;
mod oidc;
pub mod offset_metadata;
pub mod partitioner;
pub mod probe;
pub mod producer;
pub mod settings;
pub mod stats;
mod sys;
mod tag;
mod token;
mod token_command;
mod token_keeper;
pub mod topic_reader;
pub mod transaction;

pub use classify::of_named;
pub use command::Commands;
pub use consumer::Consumer;
pub use lookup::Lookup;
pub use producer::Producer;
pub use settings::Settings;

/// librdkafka's version.
#[must_use]
pub fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
