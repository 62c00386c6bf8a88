//! The first thing that a new user runs: host and plugin from source, an embedded broker, records in and out.

use std::fs;
use std::path::Path;

use crate::stage;
use crate::stage::Stages;
use crate::tools;
use crate::wasm;

const ARGUMENTS: [&str; 4] = ["dev", "examples/orders/pipeline.toml", "--feed", "examples/orders/input.ndjson"];

/// Builds everything, as the tests do, so that neither builds what the other has built, and becomes `wasmill dev` on the example: it ends by itself, or by ctrl-c.
///
/// # Errors
/// What could not be built.
pub(crate) fn run() -> Result<(), String> {
    let root = stage::root();
    let mut stages = Stages::default();
    stages.run("tools", tools::for_host)?;
    stages.run("plugins for WebAssembly", wasm::build)?;
    stage::say(&format!(
        "a first build compiles most of {} crates: some minutes; the next ones take seconds",
        crates(root)
    ));
    stages.run("host", || stage::succeed(stage::cargo(root, "build").args(["--bin", "wasmill"])))?;
    stage::say(&format!("==> wasmill {}", ARGUMENTS.join(" ")));
    let mut host = stage::cargo(root, "run");
    stage::become_it(host.args(["--quiet", "--bin", "wasmill", "--"]).args(ARGUMENTS))
}

/// How many packages the lock file names.
fn crates(root: &Path) -> usize {
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    lock.lines().filter(|line| *line == "[[package]]").count()
}
