//! The benchmark of the boundary. It prints ratios to native code of the same process, as absolute times say little on a
//! shared machine. There is no end-to-end benchmark yet.

use crate::stage;
use crate::stage::Stages;
use crate::tools;
use crate::wasm;

const BOUNDARY: &str = "boundary";

/// Runs the benchmark, which gets what follows its name.
///
/// # Errors
/// An unknown name, or what failed.
pub(crate) fn run(which: &[&str]) -> Result<(), String> {
    let arguments: &[&str] = match which {
        [] => &[],
        [name, rest @ ..] if *name == BOUNDARY => rest,
        [name, ..] => return Err(format!("no benchmark `{name}`: there is {BOUNDARY}")),
    };
    let mut stages = Stages::default();
    stages.run("tools", tools::for_host)?;
    stages.run("plugins for WebAssembly", wasm::build)?;
    stages.run("benchmark boundary", || {
        let guest = stage::plugins().join("target/wasm/bench.wasm");
        let mut bench = stage::cargo(stage::root(), "bench");
        stage::succeed(bench.args(["--bench", BOUNDARY, "--"]).arg(guest).args(arguments))
    })
}
