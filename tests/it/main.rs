//! Tests of wasmill on a real Apache Kafka, observed by Kafka's own Java client.
//!
//! A single binary: all tests share a node, and each has its own topics and group. `WASMILL_TEST_BROKERS` selects
//! an existing cluster instead, `WASMILL_FULL=1` runs the long schedules, and `WASMILL_SEED` repeats a schedule.

mod asking;
mod at_least_once;
mod bounds;
mod canary;
mod check;
mod conformance;
mod crowd;
mod dead_letter;
mod dlq;
mod docs;
mod enrich;
mod environments;
mod exactly_once;
mod examples;
mod faults;
mod fleet;
mod halt;
mod hostile;
mod hostile_clients;
mod instances;
#[expect(dead_code, reason = "xtask starts a node for people, the tests for themselves")]
#[path = "../../xtask/src/kafka.rs"]
mod kafka;
mod logging;
mod mask;
mod membership;
mod memory;
mod named_topics;
mod oauth;
mod on_call;
mod operators;
mod oracle;
mod order;
mod outputs;
mod page;
mod policies;
mod probes;
mod reduce;
mod reload;
mod retry;
mod semantics;
mod security;
mod shares;
mod shutdown;
mod start;
mod stop;
mod support;
mod taps;
mod topics;
mod traces;
mod two_brokers;
mod windows;
