//! Fault injection under load: runs `tests/faults`, built with the feature `failpoints`.

use std::process::Command;

use crate::kafka;
use crate::stage;
use crate::stage::Stages;
use crate::tools;
use crate::wasm;

/// Runs rows of the fault matrix. The arguments in `which` are passed on to the tests.
///
/// # Errors
/// If something can't be built, or a row fails.
pub(crate) fn run(which: &[&str]) -> Result<(), String> {
    let mut stages = Stages::default();
    stages.run("tools", tools::for_host)?;
    stages.run("plugins for WebAssembly", wasm::build)?;
    stages.run("Apache Kafka for the tests", || kafka::prepare().map(|_| ()))?;
    stages.run("faults", || stage::succeed(matrix(&mut stage::cargo(stage::root(), "test")).args(which)))
}

/// Adds the arguments that run the fault matrix to a `cargo test`. The matrix needs the plugins and
/// Kafka. Its own arguments follow.
pub(crate) fn matrix(test: &mut Command) -> &mut Command {
    // Only the host has the feature, so only the host is rebuilt.
    test.args(["--package", "wasmill", "--features", "failpoints", "--test", "faults", "--"])
}
