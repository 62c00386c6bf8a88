//! Checks of `deploy/` that need programs of the system: systemd's own look at the unit, and Kustomize's at its files.
//!
//! What needs none is in `tests/deploy/`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::stage;
use crate::tools;

/// The exposure that the unit may have by systemd's own scale, times ten: 100 is a unit without any hardening.
const EXPOSURE_MAX: &str = "16";

/// All of these checks. The unit needs the program in `target/debug`.
///
/// # Errors
/// The first thing that isn't accepted.
pub(crate) fn run() -> Result<(), String> {
    tools::for_unit()?;
    unit(stage::root())?;
    kustomizations(stage::root())
}

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

/// Has Kustomize build each kustomization: kubectl's, or the program itself, which Go builds if it is missing.
///
/// # Errors
/// What it doesn't accept, or that there is neither.
pub(crate) fn kustomizations(root: &Path) -> Result<(), String> {
    for folder in ["base", "statefulset", "example"] {
        let path = root.join("deploy/kubernetes").join(folder);
        let output = kustomize().arg(&path).output().map_err(|error| format!("running kustomize: {error}"))?;
        let built = String::from_utf8_lossy(&output.stdout);
        // The reference to the file of the pipeline follows its name.
        let named = built.lines().filter(|line| line.contains("name: wasmill-pipeline-")).count();
        if !output.status.success() || named != 2 {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("kustomize {}: {}, {named} names with a hash\n{said}", path.display(), output.status));
        }
    }
    Ok(())
}

fn kustomize() -> Command {
    let answers = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let (program, arguments): (_, &[&str]) = if answers("kubectl", &["version", "--client"]) {
        ("kubectl", &["kustomize"])
    } else if answers("kustomize", &["version"]) {
        ("kustomize", &["build"])
    } else {
        ("go", &["run", "sigs.k8s.io/kustomize/kustomize/v5@v5.5.0", "build"])
    };
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
