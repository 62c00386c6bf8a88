//! Regenerates the files that are made from the sources: the bindings of the contract, the schema of pipeline files, and the tables
//! in the documentation.
//!
//! The tests that check these files also know how to generate them, so this task runs the tests in a mode that writes the files.

use crate::stage;
use crate::wasm;

/// Runs these tests.
///
/// # Errors
/// If one of them fails for another reason.
pub(crate) fn run() -> Result<(), String> {
    let mut command = stage::cargo(&stage::plugins(), "test");
    command.args(["--package", wasm::BINDINGS, "--quiet"]).env("WASMILL_BLESS", "1");
    stage::succeed(&mut command)?;
    let mut command = stage::cargo(stage::root(), "test");
    command.args(["--package", "wasmill", "--test", "configuration", "--quiet"]).env("WASMILL_BLESS", "1");
    stage::succeed(&mut command)
}
