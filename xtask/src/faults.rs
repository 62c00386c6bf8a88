//! The faults that are injected under load: `tests/faults`, built with the feature `failpoints`.

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
    stages.run("faults", || matrix(which))
}

/// The matrix itself; plugins and Kafka are there.
///
/// # Errors
/// That a row failed, or the build.
pub(crate) fn matrix(which: &[&str]) -> Result<(), String> {
    let mut test = stage::cargo(stage::root(), "test");
    // The feature is of the host alone: nothing but the host is built again.
    test.args(["--package", "wasmill", "--features", "failpoints", "--test", "faults", "--"]);
    stage::succeed(test.args(which))
}
