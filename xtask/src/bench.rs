//! The benchmarks. They print ratios to other programs of the same run, because absolute times mean little on a shared machine.

use std::path::PathBuf;

use crate::kafka;
use crate::stage;
use crate::stage::Stages;
use crate::tools;
use crate::wasm;

const ANALYSIS: &str = "analysis";
const BOUNDARY: &str = "boundary";
const END_TO_END: &str = "end_to_end";

/// Runs all benchmarks, or only the named one with the arguments that follow its name.
///
/// # Errors
/// If the name is unknown, or a step fails.
pub(crate) fn run(which: &[&str]) -> Result<(), String> {
    let (names, arguments): (&[&str], &[&str]) = match which {
        [] => (&[BOUNDARY, END_TO_END, ANALYSIS], &[]),
        [name, rest @ ..] if *name == ANALYSIS => (&[ANALYSIS], rest),
        [name, rest @ ..] if *name == BOUNDARY => (&[BOUNDARY], rest),
        [name, rest @ ..] if *name == END_TO_END => (&[END_TO_END], rest),
        [name, ..] => {
            return Err(format!("no benchmark `{name}`: there are {BOUNDARY}, {END_TO_END} and {ANALYSIS}"));
        }
    };
    let mut stages = Stages::default();
    if names.iter().any(|&name| name != ANALYSIS) {
        stages.run("tools", tools::for_host)?;
        stages.run("plugins for WebAssembly", wasm::build_for_bench)?;
    }
    for &name in names {
        let mut files = Vec::new();
        if name != ANALYSIS {
            files.push(wasm::bench_folder());
        }
        if name == BOUNDARY {
            stages.run("the JSON edit with fat LTO", build_careful)?;
            files.push(careful());
        } else {
            stages.run("Apache Kafka", || kafka::prepare().map(|_| ()))?;
        }
        stages.run(&format!("benchmark {name}"), || {
            let mut bench = stage::cargo(stage::root(), "bench");
            stage::succeed(bench.args(["--bench", name, "--"]).args(&files).args(arguments))
        })?;
    }
    Ok(())
}

/// Builds the native JSON edit in the plugins' workspace, whose release profile uses fat LTO.
fn build_careful() -> Result<(), String> {
    let mut cargo = stage::cargo(&stage::plugins(), "build");
    stage::succeed(cargo.args(["--release", "--package", "bench", "--example", "native_json"]))
}

fn careful() -> PathBuf {
    stage::plugins().join("target/release/examples/native_json")
}
