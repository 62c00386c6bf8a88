//! Writes what is generated from the sources anew: the bindings of the contract, the schema of pipeline files, and the tables of the
//! documentation.
//!
//! The tests that hold these files current know how they are made; they are run and told to write.

use crate::stage;
use crate::wasm;

/// Runs them.
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
