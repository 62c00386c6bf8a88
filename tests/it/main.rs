//! What wasmill does on a real Apache Kafka, as its own Java client sees it.
//!
//! One binary: all tests share a node, and each has topics and a group of its own. `WASMILL_TEST_BROKERS` names an
//! existing cluster instead, `WASMILL_FULL=1` runs the long schedules, `WASMILL_SEED` repeats one.

mod at_least_once;
mod canary;
mod check;
mod conformance;
mod dead_letter;
mod docs;
mod environments;
mod examples;
mod faults;
mod halt;
mod hostile;
#[expect(dead_code, reason = "xtask starts a node for people, the tests for themselves")]
#[path = "../../xtask/src/kafka.rs"]
mod kafka;
mod logging;
mod mask;
mod membership;
mod memory;
mod oracle;
mod outputs;
mod probes;
mod reload;
mod retry;
mod semantics;
mod security;
mod shutdown;
mod start;
mod stop;
mod support;
mod topics;
mod two_brokers;
