//! Everything that has to hold before a change goes in. CI runs exactly this.
//!
//! All stages use the one dev profile and the feature `failpoints`, so that nothing is compiled twice: it adds calls that do nothing
//! until a fault test names one. Nothing is skipped: what is missing is
//! installed or fails the stage that needs it.

use std::path::Path;
use std::process::Command;
use std::thread;

use crate::demo;
use crate::faults;
use crate::kafka;
use crate::stage;
use crate::stage::Stages;
use crate::story;
use crate::toolchain;
use crate::tools;
use crate::wasm;

/// How long the random schedules of the tests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// As in CI.
    Short,
    /// As before a release.
    Full,
}

/// All but the faults, which get arguments of their own.
const INTEGRATION: [&str; 11] = [
    "--workspace",
    "--test",
    "cli",
    "--test",
    "configuration",
    "--test",
    "it",
    "--test",
    "plugin_host",
    "--test",
    "tidy",
];

/// How many of them run at once for each core: they wait for brokers, sessions and timeouts more than they compute.
const AT_ONCE: usize = 2;

/// Has cargo run tests under valgrind, which fails them when memory is read that was freed or never written.
const VALGRIND: &str = "target.'cfg(unix)'.runner = ['valgrind', '--quiet', '--error-exitcode=99', '--num-callers=30']";

/// Runs the stages, up to the first that fails.
///
/// # Errors
/// The name of that stage and why it failed.
pub(crate) fn run(length: Length) -> Result<(), String> {
    let root = stage::root();
    let plugins = stage::plugins();
    let host = |arguments: &[&str]| {
        let mut command = linted(root, &["--features", "wasmill/failpoints"]);
        command.args(arguments);
        if length == Length::Full {
            command.env("WASMILL_FULL", "1");
        }
        stage::succeed(&mut command)
    };

    let mut stages = Stages::default();
    stages.run("format", || {
        let check = |folder| stage::succeed(stage::cargo(folder, "fmt").args(["--all", "--check"]));
        check(root).and_then(|()| check(&plugins))
    })?;
    stages.run("tools", tools::for_host)?;
    // While the host is compiled, what is missing comes over the network, and the plugins take the core that a long crate leaves idle.
    let beside = thread::spawn(move || {
        tools::for_alerts()?;
        kafka::prepare()?;
        wasm::prepare()?;
        wasm::build_for_tests()?;
        // Lints and tests of the plugins, as programs of this machine.
        stage::succeed(&mut linted(&plugins, &["--workspace", "--all-targets"]))?;
        stage::succeed(&mut linted(&plugins, &["--package", "wasmill-sdk", "--all-features", "--doc"]))
    });
    stages.run("build and clippy, host", || host(&["--no-run", "--workspace", "--all-targets"]))?;
    stages.run("unit and model tests", || host(&["--workspace", "--lib", "--bins"]))?;
    if length == Length::Full {
        stages.run("librdkafka's memory, under valgrind", || {
            tools::for_memory()?;
            // The library's tests don't have the program's allocator, into whose pieces valgrind can't see.
            let kafka = ["--package", "wasmill", "--lib", "kafka::", "--", "--test-threads=1"];
            host(&[&["--config", VALGRIND], &kafka[..]].concat())
        })?;
    }
    stages.run("examples in the documentation", || host(&["--package", "wasmill", "--doc"]))?;
    stages.run("downloads, and the plugins: build, clippy and tests", || {
        beside.join().unwrap_or_else(|_| Err("the thread beside the compiler panicked".into()))
    })?;
    stages.run("the demo, against the README's screen", || story::hold_in_readme(&demo::story()?, false))?;
    stages.run("alerts", || {
        let mut promtool = toolchain::program("promtool", root);
        stage::succeed(promtool.args(["test", "rules", "deploy/prometheus/alerts_test.yaml"]))
    })?;
    stages.run("integration tests, on the mock and on a real broker", || {
        let threads = thread::available_parallelism().map_or(1, usize::from) * AT_ONCE;
        host(&[&INTEGRATION[..], &["--", "--test-threads", &threads.to_string()]].concat())
    })?;
    stages.run("a slice of the faults", || stage::succeed(faults::matrix(&mut linted(root, &[])).arg("--slice")))?;
    stages.sum_up();
    Ok(())
}

/// `cargo test` that lints the workspace while it compiles it, and fails on a warning.
///
/// It is what `cargo clippy` does, on the way to the tests: that command alone would compile every dependency once more, only to
/// look at it.
fn linted(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = stage::cargo(folder, "test");
    command.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver").env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    command.args(arguments);
    command
}
