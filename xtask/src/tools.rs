//! What a fresh machine may lack: found, installed where that is one command of Debian's package manager, or named.
//!
//! Java and Maven are the business of `kafka`.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use crate::stage;
use crate::toolchain;

/// What the C libraries inside of the host are built with, and the packages that bring it.
const HOST: [(&str, &str); 3] = [("cc", "gcc"), ("make", "make"), ("perl", "perl")];

/// Sees to it that the host can be built.
///
/// # Errors
/// What is missing and the command that installs it.
pub(crate) fn for_host() -> Result<(), String> {
    let missing: Vec<&str> =
        HOST.iter().filter(|(program, _)| !toolchain::runs(program)).map(|&(_, package)| package).collect();
    if missing.is_empty() { Ok(()) } else { apt_install(&missing, "the host's C libraries") }
}

/// Sees to it that Prometheus' rules can be tested.
///
/// # Errors
/// What is missing and the command that installs it.
pub(crate) fn for_alerts() -> Result<(), String> {
    if toolchain::runs("promtool") {
        Ok(())
    } else {
        apt_install(&["prometheus"], "the tests of the alerts (promtool)")
    }
}

/// Sees to it that there is valgrind.
///
/// # Errors
/// What is missing and the command that installs it.
pub(crate) fn for_memory() -> Result<(), String> {
    if toolchain::runs("valgrind") { Ok(()) } else { apt_install(&["valgrind"], "the look at librdkafka's memory") }
}

/// Installs Debian packages, if that is possible here, and says so.
///
/// # Errors
/// The command for a person to run, and why it was not run or didn't work.
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

/// Whether Debian's package manager is here.
pub(crate) fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && Path::new("/usr/bin/apt-get").exists()
}

/// Whether packages can be installed without asking anybody.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Real, effective, saved and file system id: the second is the one that counts.
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(io::stderr());
    stage::succeed(&mut command)
}
