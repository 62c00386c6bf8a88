//! Stages: commands that are announced, timed, and must succeed.
//!
//! The output of a stage is not captured. Invariant: after a failed stage nothing else runs.

use std::env;
use std::io;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

use crate::toolchain;

/// The stages that succeeded, with their times.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    done: Vec<(String, Duration)>,
}

impl Stages {
    /// Runs a stage.
    ///
    /// # Errors
    /// The stage's name, and why it failed.
    pub(crate) fn run(&mut self, name: &str, stage: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        say(&format!("==> {name}"));
        let start = now();
        stage().map_err(|e| format!("stage `{name}` failed: {e}"))?;
        let took = start.elapsed();
        say(&format!("==> {name}: {:.1} s", took.as_secs_f64()));
        self.done.push((name.to_owned(), took));
        Ok(())
    }

    /// Prints how long each stage took.
    pub(crate) fn sum_up(&self) {
        say("");
        for (name, took) in &self.done {
            say(&format!("{:>8.1} s  {name}", took.as_secs_f64()));
        }
        let total: Duration = self.done.iter().map(|(_, took)| took).sum();
        say(&format!("{:>8.1} s  all {} stages passed", total.as_secs_f64(), self.done.len()));
    }
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository")
}

/// The workspace of the plugins.
pub(crate) fn plugins() -> PathBuf {
    root().join("plugins")
}

/// Whether this runs in CI: missing parts are errors, and lock files must not change.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false")
}

/// The cargo that runs this task, in `folder`. In CI it fails instead of changing the lock file.
pub(crate) fn cargo(folder: &Path, subcommand: &str) -> Command {
    let mut cargo = toolchain::program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), folder);
    cargo.arg(subcommand);
    // Compiling OpenSSL is a large part of a cold build.
    if folder == root() && has_openssl() {
        cargo.env(NO_VENDOR, "1");
    }
    if is_ci() && subcommand != "fmt" {
        cargo.arg("--locked");
    }
    cargo
}

/// The variable that makes `openssl-sys` use the system's OpenSSL, whatever features are set.
pub(crate) const NO_VENDOR: &str = "OPENSSL_NO_VENDOR";

/// Whether the development files of OpenSSL 3 are installed. With `OPENSSL_NO_VENDOR=0` they are not used.
fn has_openssl() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let found = || Command::new("pkg-config").args(["--atleast-version=3", "openssl"]).status();
        env::var_os(NO_VENDOR).is_none() && found().is_ok_and(|status| status.success())
    })
}

/// Runs a command and waits for its end.
///
/// # Errors
/// If it can't be started or fails: the command and its exit status.
pub(crate) fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("running {}: {e}", words(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", words(command))) }
}

/// Replaces this process with the command, which gets the terminal's signals and determines the exit code.
///
/// # Errors
/// If it can't be started.
pub(crate) fn become_it(command: &mut Command) -> Result<(), String> {
    let error = command.exec();
    Err(format!("running {}: {error}", words(command)))
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy()));
    words.join(" ")
}

/// Prints a line to stderr.
pub(crate) fn say(line: &str) {
    // If stderr is closed, the line is lost.
    let _: io::Result<()> = writeln!(io::stderr(), "{line}");
}

#[expect(clippy::disallowed_methods, reason = "stages are timed by the clock on the wall")]
fn now() -> Instant {
    Instant::now()
}
