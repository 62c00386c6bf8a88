//! The cluster that all tests share: one node of our own, or the one that `WASMILL_TEST_BROKERS` names.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::kafka;

/// Where the brokers listen, as `host:port,host:port`.
pub(crate) fn brokers() -> &'static str {
    static BROKERS: OnceLock<String> = OnceLock::new();
    BROKERS.get_or_init(|| env::var("WASMILL_TEST_BROKERS").unwrap_or_else(|_| node().0.brokers()))
}

/// The node of our own, with its ports for TLS and SASL. Nobody drops a static: the kernel ends it with this process.
pub(crate) fn node() -> &'static (kafka::Node, kafka::Secured) {
    static NODE: OnceLock<(kafka::Node, kafka::Secured)> = OnceLock::new();
    NODE.get_or_init(|| kafka::Node::start_secured(jars()).unwrap())
}

/// The same, as wasmill is told.
pub(crate) fn of_wasmill() -> &'static str {
    brokers()
}

/// The folder with Kafka's jars.
pub(crate) fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| kafka::prepare().unwrap())
}
