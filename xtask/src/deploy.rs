//! Checks of `deploy/` that need programs of the system: systemd's own look at the unit.
//!
//! What needs none is in `tests/deploy/`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::stage;

/// The exposure that the unit may have by systemd's own scale, times ten: 100 is a unit without any hardening.
const EXPOSURE_MAX: &str = "16";

/// Has systemd verify the unit, and print how exposed it is.
///
/// # Errors
/// What systemd doesn't accept.
pub(crate) fn unit(root: &Path) -> Result<(), String> {
    let name = "wasmill.service";
    let unit = root.join("deploy/systemd").join(name);
    let text = fs::read_to_string(&unit).map_err(|error| format!("{}: {error}", unit.display()))?;
    // systemd looks for the program.
    let program = root.join("target/debug/wasmill");
    let text = text.replace("/usr/local/bin/wasmill", &program.display().to_string());
    let folder = root.join("target/systemd");
    let copy = folder.join(name);
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&copy, text))
        .map_err(|error| format!("{}: {error}", copy.display()))?;
    let mut verify = Command::new("systemd-analyze");
    let output = verify.args(["verify", "--man=no"]).arg(&copy).output();
    let output = output.map_err(|error| format!("running systemd-analyze: {error}"))?;
    // It exits with 0 after warnings, such as that of an unknown key.
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || said.contains(name) {
        return Err(format!("systemd-analyze verify: {}\n{said}", output.status));
    }
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--no-pager", "--offline=true", "--threshold", EXPOSURE_MAX]).arg(&copy);
    stage::succeed(&mut security)
}
