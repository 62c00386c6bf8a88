//! The only room that knows rdkafka.

pub mod settings;

pub use settings::Settings;
