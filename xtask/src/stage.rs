//! Commands as stages: each is announced, timed and must succeed.
//!
//! What a stage prints goes straight through. Invariant: after a stage that failed nothing else runs.

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
    /// The stage's name and why it failed.
    pub(crate) fn run(&mut self, name: &str, stage: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        say(&format!("==> {name}"));
        let start = now();
        stage().map_err(|e| format!("stage `{name}` failed: {e}"))?;
        let took = start.elapsed();
        say(&format!("==> {name}: {:.1} s", took.as_secs_f64()));
        self.done.push((name.to_owned(), took));
        Ok(())
    }

    /// Says once more how long each stage took.
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

/// Whether a missing part is an error, and lock files are not to change.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false")
}

/// The cargo that runs this, in `folder`. In CI it fails rather than change the lock file.
pub(crate) fn cargo(folder: &Path, subcommand: &str) -> Command {
    let mut cargo = toolchain::program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), folder);
    cargo.arg(subcommand);
    // OpenSSL alone is a fifth of a cold build.
    if folder == root() && has_openssl() {
        cargo.env(NO_VENDOR, "1");
    }
    if is_ci() && subcommand != "fmt" {
        cargo.arg("--locked");
    }
    cargo
}

/// What has the build use the system's OpenSSL, whatever features say (`openssl-sys`).
pub(crate) const NO_VENDOR: &str = "OPENSSL_NO_VENDOR";

/// Whether the system has what programs are built with against OpenSSL 3. `OPENSSL_NO_VENDOR=0` says that it isn't to be used.
fn has_openssl() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let found = || Command::new("pkg-config").args(["--atleast-version=3", "openssl"]).status();
        env::var_os(NO_VENDOR).is_none() && found().is_ok_and(|status| status.success())
    })
}

/// Runs a command to its end.
///
/// # Errors
/// If it can't be started or does not succeed: the command and its exit status.
pub(crate) fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("running {}: {e}", words(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", words(command))) }
}

/// Becomes the command: it gets the terminal's signals, and its exit code is ours.
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

/// A line for the person at the terminal.
pub(crate) fn say(line: &str) {
    // Without a stderr there is nobody to tell.
    let _: io::Result<()> = writeln!(io::stderr(), "{line}");
}

#[expect(clippy::disallowed_methods, reason = "stages are timed by the clock on the wall")]
fn now() -> Instant {
    Instant::now()
}
