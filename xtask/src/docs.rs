//! Regenerates the files that are made from the sources: the bindings of the contract, the schema of pipeline files, the tables in the
//! documentation, and the demo's screen in the README.
//!
//! The tests that check these files also know how to generate them, so this task runs the tests in a mode that writes the files.

use crate::demo;
use crate::stage;
use crate::story;
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
    stage::succeed(&mut command)?;
    wasm::build_only(&[demo::PLUGIN])?;
    story::hold_in_readme(&demo::story()?, true)
}
