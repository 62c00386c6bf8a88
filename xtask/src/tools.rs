//! Tools that a machine may lack. They are installed if Debian's package manager can do that, otherwise the error
//! names them.
//!
//! `kafka` handles Java and Maven.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use crate::stage;
use crate::toolchain;

/// The programs that the host's C libraries are built with, and their packages.
const HOST: [(&str, &str); 3] = [("cc", "gcc"), ("make", "make"), ("perl", "perl")];

/// Checks that the host can be built, and installs missing tools.
///
/// # Errors
/// What is missing, and the command that installs it.
pub(crate) fn for_host() -> Result<(), String> {
    let missing: Vec<&str> =
        HOST.iter().filter(|(program, _)| !toolchain::runs(program)).map(|&(_, package)| package).collect();
    if missing.is_empty() { Ok(()) } else { apt_install(&missing, "the host's C libraries") }
}

/// Checks that Prometheus' rules can be tested, and installs missing tools.
///
/// # Errors
/// What is missing, and the command that installs it.
pub(crate) fn for_alerts() -> Result<(), String> {
    if toolchain::runs("promtool") {
        Ok(())
    } else {
        apt_install(&["prometheus"], "the tests of the alerts (promtool)")
    }
}

/// Checks that jq is installed, with whose results those of the plugin `jq` are compared, and installs it if not.
///
/// # Errors
/// What is missing, and the command that installs it.
pub(crate) fn for_jq() -> Result<(), String> {
    if toolchain::runs("jq") { Ok(()) } else { apt_install(&["jq"], "the tests of the plugin jq") }
}

/// Checks that systemd can look at a unit, and installs missing tools. It isn't started.
///
/// # Errors
/// What is missing, and the command that installs it.
pub(crate) fn for_unit() -> Result<(), String> {
    if toolchain::runs("systemd-analyze") { Ok(()) } else { apt_install(&["systemd"], "the look at the systemd unit") }
}

/// Checks that the page can be tested in a browser, and installs it if not.
///
/// # Errors
/// What is missing, and the command that installs it.
pub(crate) fn for_page() -> Result<(), String> {
    if toolchain::runs("chromium") { Ok(()) } else { apt_install(&["chromium"], "the tests of the page") }
}

/// Checks that valgrind is installed, and installs it if not.
///
/// # Errors
/// What is missing, and the command that installs it.
pub(crate) fn for_memory() -> Result<(), String> {
    if toolchain::runs("valgrind") { Ok(()) } else { apt_install(&["valgrind"], "the look at librdkafka's memory") }
}

/// Installs Debian packages, if that is possible on this machine, and reports it.
///
/// # Errors
/// The command for a person to run, and why it was not run or failed.
pub(crate) fn apt_install(packages: &[&str], purpose: &str) -> Result<(), String> {
    let command = format!("apt-get install -y {}", packages.join(" "));
    if !is_debian() {
        return Err(format!("missing for {purpose}; on Debian: {command}"));
    }
    if !is_root() {
        return Err(format!("missing for {purpose}; as root: {command}"));
    }
    stage::say(&format!("missing for {purpose}, installing: {command}"));
    apt(&["update", "-q"])?;
    apt(&[&["install", "-y", "-q", "--no-install-recommends"], packages].concat())
}

/// Whether Debian's package manager is available.
pub(crate) fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && Path::new("/usr/bin/apt-get").exists()
}

/// Whether packages can be installed without a password.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Real, effective, saved and file system id. The effective one decides.
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(io::stderr());
    stage::succeed(&mut command)
}
