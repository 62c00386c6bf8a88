//! The first thing that a new user runs: host and plugin from source, an embedded broker, records in and out.

use crate::stage;
use crate::stage::Stages;
use crate::tools;
use crate::wasm;

const ARGUMENTS: [&str; 4] = ["dev", "examples/orders/pipeline.toml", "--feed", "examples/orders/input.ndjson"];

/// Builds everything and becomes `wasmill dev` on the example: it ends by itself, or by ctrl-c.
///
/// # Errors
/// What could not be built.
pub(crate) fn run() -> Result<(), String> {
    let root = stage::root();
    let mut stages = Stages::default();
    stages.run("tools", tools::for_host)?;
    stages.run("plugins for WebAssembly", wasm::build)?;
    stages.run("host", || stage::succeed(stage::cargo(root, "build").args(["--release", "--bin", "wasmill"])))?;
    stage::say(&format!("==> wasmill {}", ARGUMENTS.join(" ")));
    let mut host = stage::cargo(root, "run");
    stage::become_it(host.args(["--release", "--quiet", "--bin", "wasmill", "--"]).args(ARGUMENTS))
}
