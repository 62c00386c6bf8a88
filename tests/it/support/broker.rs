//! The cluster that all tests share: one node of our own, or the one that `WASMILL_TEST_BROKERS` names.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::kafka;

/// Where the brokers listen, as `host:port,host:port`.
pub(crate) fn brokers() -> &'static str {
    static BROKERS: OnceLock<(String, Option<kafka::Node>)> = OnceLock::new();
    let start = || match env::var("WASMILL_TEST_BROKERS") {
        Ok(brokers) => (brokers, None),
        Err(_) => {
            let node = kafka::Node::start(jars()).unwrap();
            // Nobody drops a static: the kernel ends the node with this process.
            (node.brokers(), Some(node))
        }
    };
    &BROKERS.get_or_init(start).0
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
