//! The faults that are injected under load: `tests/faults`, built with the feature `failpoints`.

use std::process::Command;

use crate::kafka;
use crate::stage;
use crate::stage::Stages;
use crate::tools;
use crate::wasm;

/// Runs rows of the matrix; `which` goes to the tests as it is.
///
/// # Errors
/// What could not be built, or that a row failed.
pub(crate) fn run(which: &[&str]) -> Result<(), String> {
    let mut stages = Stages::default();
    stages.run("tools", tools::for_host)?;
    stages.run("plugins for WebAssembly", wasm::build)?;
    stages.run("Apache Kafka for the tests", || kafka::prepare().map(|_| ()))?;
    stages.run("faults", || stage::succeed(matrix(&mut stage::cargo(stage::root(), "test")).args(which)))
}

/// Makes a `cargo test` that of the matrix itself; plugins and Kafka are there. Its arguments follow.
pub(crate) fn matrix(test: &mut Command) -> &mut Command {
    // The feature is of the host alone: nothing but the host is built again.
    test.args(["--package", "wasmill", "--features", "failpoints", "--test", "faults", "--"])
}
