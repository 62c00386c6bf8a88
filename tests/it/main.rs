//! What wasmill does on a real Apache Kafka, as its own Java client sees it.
//!
//! One binary: all tests share a node, and each has topics and a group of its own. `WASMILL_TEST_BROKERS` names an
//! existing cluster instead, `WASMILL_FULL=1` runs the long schedules, `WASMILL_SEED` repeats one.

mod at_least_once;
mod examples;
mod faults;
mod hostile;
#[expect(dead_code, reason = "xtask starts a node for people, the tests for themselves")]
#[path = "../../xtask/src/kafka.rs"]
mod kafka;
mod oracle;
mod rebalance;
mod retry;
mod security;
mod shutdown;
mod start;
mod support;
