//! Everything that has to hold before a change goes in. CI runs exactly this.
//!
//! All stages use the one dev profile, so that nothing is compiled twice. Nothing is skipped: what is missing is
//! installed or fails the stage that needs it.

use std::process::Command;

use crate::faults;
use crate::kafka;
use crate::stage;
use crate::stage::Stages;
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

/// All but the faults, which are built with a feature of their own.
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

/// Runs the stages, up to the first that fails.
///
/// # Errors
/// The name of that stage and why it failed.
pub(crate) fn run(length: Length) -> Result<(), String> {
    let root = stage::root();
    let plugins = stage::plugins();
    let host = |subcommand: &str| stage::cargo(root, subcommand);
    let guests = |subcommand: &str| stage::cargo(&plugins, subcommand);
    let test = |arguments: &[&str]| {
        let mut command = host("test");
        command.args(arguments);
        if length == Length::Full {
            command.env("WASMILL_FULL", "1");
        }
        stage::succeed(&mut command)
    };
    let strict =
        |mut clippy: Command| stage::succeed(clippy.args(["--workspace", "--all-targets", "--", "-D", "warnings"]));

    let mut stages = Stages::default();
    stages.run("format", || {
        stage::succeed(host("fmt").args(["--all", "--check"]))?;
        stage::succeed(guests("fmt").args(["--all", "--check"]))
    })?;
    stages.run("tools", tools::for_host)?;
    stages.run("clippy, host", || strict(host("clippy")))?;
    stages.run("clippy, host with failpoints", || {
        let mut clippy = host("clippy");
        clippy.args(["--package", "wasmill", "--features", "failpoints", "--bin", "wasmill", "--test", "faults"]);
        stage::succeed(clippy.args(["--", "-D", "warnings"]))
    })?;
    stages.run("clippy, plugins", || strict(guests("clippy")))?;
    stages.run("alerts", || {
        tools::for_alerts()?;
        let mut promtool = stage::program("promtool", root);
        stage::succeed(promtool.args(["test", "rules", "deploy/prometheus/alerts_test.yaml"]))
    })?;
    stages.run("unit and model tests", || test(&["--workspace", "--lib", "--bins"]))?;
    stages.run("tests of the plugins", || stage::succeed(guests("test").arg("--workspace")))?;
    stages.run("plugins for WebAssembly", wasm::build)?;
    stages.run("Apache Kafka for the tests", || kafka::prepare().map(|_| ()))?;
    stages.run("examples in the documentation", || test(&["--package", "wasmill", "--doc"]))?;
    stages.run("integration tests, on the mock and on a real broker", || test(&INTEGRATION))?;
    stages.run("a slice of the faults", || faults::matrix(&["--slice"]))?;
    stages.sum_up();
    Ok(())
}
