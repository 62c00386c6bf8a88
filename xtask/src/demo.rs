//! The first thing that a new user runs: host and plugin from source, an embedded broker, records in and out.

use std::env;
use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::process::Command;
use std::thread;

use crate::stage;
use crate::stage::Stages;
use crate::story;
use crate::toolchain;
use crate::tools;
use crate::wasm;

const INPUT: &str = "examples/orders/input.ndjson";
/// The example with windows, slow enough to watch them close.
const REVENUE: [&str; 6] =
    ["dev", "examples/revenue/pipeline.toml", "--feed", "examples/revenue/input.ndjson", "--rate", "1/s"];
/// What to look at there.
const WATCH: &str = "one order a second comes in. Order 7 closes the minute 10:00: the results of DE and SE come out. Order 8 is late. Order 10 closes the
minute 10:01. The minute 10:02 closes when no order has come for ten seconds";
const ARGUMENTS: [&str; 4] = ["dev", "examples/orders/pipeline.toml", "--feed", INPUT];
/// The demo has no heavy load: it needs neither the allocator nor optimised code.
const BUILD: [&str; 5] =
    ["--bin", "wasmill", "--no-default-features", "--config", "profile.dev.package.wasmill.opt-level=0"];
/// The only plugin that the example needs.
pub(crate) const PLUGIN: &str = "mask";

/// Builds what the example needs, as the tests do, so that neither builds what the other has built, and runs it. On a terminal it
/// tells the story; else it becomes `wasmill dev`, whose JSON lines can be piped on.
///
/// # Errors
/// What could not be built, or why the example failed.
pub(crate) fn run() -> Result<(), String> {
    let root = stage::root();
    let mut stages = Stages::default();
    stages.run("tools", tools::for_host)?;
    // Two cores are busy when both are built at once: each ends in a few long crates.
    let plugin = thread::spawn(|| wasm::build_only(&[PLUGIN]));
    stage::say("a first build takes about 10 minutes on two cores, the next ones seconds; cargo counts the crates");
    stages.run("host", || stage::succeed(stage::cargo(root, "build").args(BUILD)))?;
    stages.run("plugin for WebAssembly", || {
        plugin.join().unwrap_or_else(|_| Err("the thread that builds the plugin panicked".into()))
    })?;
    stage::say(&format!("==> wasmill {}", ARGUMENTS.join(" ")));
    if io::stdout().is_terminal() {
        let screen = story()?;
        // Who closed the terminal reads no more.
        let _: io::Result<()> = io::stdout().write_all(screen.as_bytes());
        return Ok(());
    }
    stage::become_it(&mut wasmill(&ARGUMENTS)?)
}

/// Builds wasmill and shows how windows close. The example needs no plugin.
///
/// # Errors
/// What could not be built.
pub(crate) fn revenue() -> Result<(), String> {
    let root = stage::root();
    let mut stages = Stages::default();
    stages.run("tools", tools::for_host)?;
    stages.run("host", || stage::succeed(stage::cargo(root, "build").args(BUILD)))?;
    stage::say(&format!("==> wasmill {}\n{WATCH}", REVENUE.join(" ")));
    stage::become_it(&mut wasmill(&REVENUE)?)
}

/// Runs the example with the program that was built last, and tells what it did.
///
/// # Errors
/// Why the example failed.
pub(crate) fn story() -> Result<String, String> {
    story::tell(&mut wasmill(&ARGUMENTS)?, &stage::root().join(INPUT))
}

/// The program lies where this one does.
fn wasmill(arguments: &[&str]) -> Result<Command, String> {
    let own = env::current_exe().map_err(|error| format!("find the built program: {error}"))?;
    let mut wasmill = toolchain::program(own.with_file_name("wasmill"), stage::root());
    wasmill.args(arguments);
    Ok(wasmill)
}
