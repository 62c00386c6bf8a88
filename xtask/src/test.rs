//! All checks that a change must pass. CI runs exactly this.
//!
//! All stages use the dev profile and the feature `failpoints`, so that nothing is compiled twice: the feature adds calls that do
//! nothing unless a fault test enables one. No check is skipped: a missing tool is installed, or the stage that needs it fails.

use std::path::Path;
use std::process::Command;
use std::thread;

use crate::demo;
use crate::deploy;
use crate::dist;
use crate::faults;
use crate::image;
use crate::kafka;
use crate::languages;
use crate::stage;
use crate::stage::Stages;
use crate::story;
use crate::toolchain;
use crate::tools;
use crate::wasm;

/// The length of the tests' random schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// For CI.
    Short,
    /// For a release.
    Full,
}

/// All integration tests except the fault matrix, which needs other arguments.
const INTEGRATION: [&str; 15] = [
    "--workspace",
    "--test",
    "cli",
    "--test",
    "configuration",
    "--test",
    "deploy",
    "--test",
    "it",
    "--test",
    "plugin_host",
    "--test",
    "sandbox",
    "--test",
    "tidy",
];

/// The integration tests that must pass with exactly-once delivery too, where they don't set a delivery themselves.
const IN_BOTH_DELIVERIES: [&str; 15] = [
    "dead_letter::",
    "halt::",
    "hostile::",
    "membership::",
    "outputs::",
    "policies::",
    "reload::",
    "retry::",
    "security::",
    "semantics::",
    "shutdown::",
    "start::",
    "stop::",
    "topics::",
    "two_brokers::",
];

/// The number of concurrent tests per core: they mostly wait for brokers, sessions and timeouts.
const AT_ONCE: usize = 2;

/// Makes cargo run tests under valgrind, which fails them if they read memory that is freed or uninitialized.
const VALGRIND: &str = "target.'cfg(unix)'.runner = ['valgrind', '--quiet', '--error-exitcode=99', '--num-callers=30']";

/// Runs the stages, up to the first failure.
///
/// # Errors
/// The stage's name, and why it failed.
pub(crate) fn run(length: Length) -> Result<(), String> {
    let root = stage::root();
    let plugins = stage::plugins();
    let command = |arguments: &[&str]| {
        let mut command = linted(root, "test", &["--features", "failpoints"]);
        command.args(arguments);
        if length == Length::Full {
            command.env("WASMILL_FULL", "1");
        }
        command
    };
    let host = |arguments: &[&str]| stage::succeed(&mut command(arguments));
    let threads = (thread::available_parallelism().map_or(1, usize::from) * AT_ONCE).to_string();

    let mut stages = Stages::default();
    stages.run("format", || {
        let check = |folder| stage::succeed(stage::cargo(folder, "fmt").args(["--all", "--check"]));
        check(root).and_then(|()| check(&plugins))
    })?;
    stages.run("tools", tools::for_host)?;
    // While the host compiles, missing tools are downloaded, and the plugins are built on cores that the host's build leaves idle.
    let beside = thread::spawn(move || {
        tools::for_alerts()?;
        tools::for_jq()?;
        tools::for_unit()?;
        tools::for_page()?;
        kafka::prepare()?;
        wasm::prepare()?;
        wasm::build_for_tests()?;
        languages::prepare(length)?;
        // Lints and tests the plugins natively.
        stage::succeed(&mut linted(&plugins, "test", &["--workspace", "--all-targets"]))?;
        stage::succeed(&mut linted(&plugins, "test", &["--package", "wasmill-sdk", "--all-features", "--doc"]))
    });
    stages.run("build and clippy, host", || host(&["--no-run", "--workspace", "--all-targets"]))?;
    stages.run("unit and model tests", || host(&["--workspace", "--lib", "--bins"]))?;
    if length == Length::Full {
        stages.run("librdkafka's memory, under valgrind", || {
            tools::for_memory()?;
            // Only the library's tests: they use the system's allocator, whose blocks valgrind can check, unlike jemalloc's.
            let kafka = ["--package", "wasmill", "--lib", "kafka::", "--", "--test-threads=1"];
            host(&[&["--config", VALGRIND], &kafka[..]].concat())
        })?;
    }
    stages.run("examples in the documentation", || host(&["--package", "wasmill", "--doc"]))?;
    stages.run("downloads, and the plugins: build, clippy and tests", || {
        beside.join().unwrap_or_else(|_| Err("the thread beside the compiler panicked".into()))
    })?;
    stages.run("the demo, against the README's screen", || story::hold_in_readme(&demo::story()?, false))?;
    stages.run("languages: the SDKs, and a plugin in each", || languages::test(length))?;
    stages.run("alerts", || {
        let mut promtool = toolchain::program("promtool", root);
        stage::succeed(promtool.args(["test", "rules", "deploy/prometheus/alerts_test.yaml"]))
    })?;
    stages.run("the unit, by systemd's rules", || deploy::unit(root))?;
    stages.run("the image, without a container engine", || image::attempt(root))?;
    stages.run("integration tests, on the mock and on a real broker", || {
        host(&[&INTEGRATION[..], &["--", "--test-threads", &threads]].concat())
    })?;
    if length == Length::Full {
        stages.run("integration tests with exactly-once delivery", || {
            let tests = [&["--test", "it", "--", "--test-threads", &threads][..], &IN_BOTH_DELIVERIES].concat();
            stage::succeed(command(&tests).env("WASMILL_TEST_DELIVERY", "exactly_once"))
        })?;
    }
    stages.run("a slice of the faults", || {
        stage::succeed(faults::matrix(&mut linted(root, "test", &[])).arg("--slice"))
    })?;
    if length == Length::Full {
        stages.run("the manifests, built by Kustomize", || deploy::kustomizations(root))?;
        stages.run("an installation", || install(root))?;
        stages.run("a release's archive", dist::run)?;
    }
    stages.sum_up();
    Ok(())
}

/// Installs the program as the README says, and asks it for its version and its plugins.
fn install(root: &Path) -> Result<(), String> {
    let folder = root.join("target/installed");
    // Most dependencies are those of the tests. The program isn't optimised, as it only has to start.
    let quick = ["--debug", "--config", "profile.dev.package.wasmill.opt-level=0", "--target-dir", "target"];
    let mut cargo = linted(root, "install", &["--path", ".", "--locked", "--force", "--features", "failpoints"]);
    stage::succeed(cargo.args(quick).arg("--root").arg(&folder))?;
    let program = folder.join("bin/wasmill");
    for (arguments, expected) in [(&["--version"][..], "wasmill "), (&["inspect", "std:"][..], "std:mask")] {
        let output = Command::new(&program).args(arguments).output();
        let output = output.map_err(|error| format!("running {}: {error}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.contains(expected) {
            return Err(format!("the installed `wasmill {}` doesn't print `{expected}`:\n{text}", arguments.join(" ")));
        }
    }
    Ok(())
}

/// A `cargo test` or `cargo install` that also lints the workspace during compilation, and fails on warnings.
///
/// This is how `cargo clippy` works, combined with the tests: `cargo clippy` by itself would compile every dependency again only to
/// check it.
fn linted(folder: &Path, subcommand: &str, arguments: &[&str]) -> Command {
    let mut command = stage::cargo(folder, subcommand);
    command.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver").env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    command.args(arguments);
    command
}
