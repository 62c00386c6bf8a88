//! Renews what is generated from the sources: the bindings of the contract, the schema of pipeline files, the tables of the
//! documentation, and the demo's screen in the README.
//!
//! The tests that hold these files current know how to make them, so they are run with the order to write.

use crate::demo;
use crate::stage;
use crate::story;
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
    stage::succeed(&mut command)?;
    wasm::build_only(&[demo::PLUGIN])?;
    story::hold_in_readme(&demo::story()?, true)
}
