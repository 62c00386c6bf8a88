//! The benchmarks. They print ratios to native code of the same process, as absolute times say little on a shared machine.

use crate::kafka;
use crate::stage;
use crate::stage::Stages;
use crate::tools;
use crate::wasm;

const BOUNDARY: &str = "boundary";
/// On the command line, and as a target of cargo's.
const END_TO_END: [&str; 2] = ["end-to-end", "end_to_end"];

/// Runs one benchmark, which gets what follows its name, or both.
///
/// # Errors
/// An unknown name, or what failed.
pub(crate) fn run(which: &[&str]) -> Result<(), String> {
    let (targets, arguments): (&[&str], &[&str]) = match which {
        [] => (&[BOUNDARY, END_TO_END[1]], &[]),
        [name, rest @ ..] if *name == BOUNDARY => (&[BOUNDARY], rest),
        [name, rest @ ..] if END_TO_END.contains(name) => (&END_TO_END[1..], rest),
        [name, ..] => return Err(format!("no benchmark `{name}`: there are {BOUNDARY} and {}", END_TO_END[0])),
    };
    let mut stages = Stages::default();
    stages.run("tools", tools::for_host)?;
    stages.run("plugins for WebAssembly", wasm::build)?;
    if targets.contains(&END_TO_END[1]) {
        stages.run("Apache Kafka", || kafka::prepare().map(|_| ()))?;
    }
    for target in targets {
        stages.run(&format!("benchmark {target}"), || {
            let mut bench = stage::cargo(stage::root(), "bench");
            stage::succeed(bench.args(["--bench", target, "--"]).args(arguments))
        })?;
    }
    Ok(())
}
