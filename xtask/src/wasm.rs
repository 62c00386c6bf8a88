//! Builds the plugins for WebAssembly, on whatever toolchain this machine has for that.
//!
//! `toolchain.rs`, which is the program's own, finds a cargo for that; what is missing is installed here. The result is a core
//! module with the component's type inside; the host makes the component of it.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::stage;
use crate::toolchain;
use crate::tools;

/// The folders in `plugins/` that are no plugins.
const LIBRARIES: [&str; 3] = ["sdk", BENCH, BINDINGS];
const BENCH: &str = "bench";
/// Holds the committed bindings current.
pub(crate) const BINDINGS: &str = "bindings";
/// The examples of [`BENCH`] that are plugins.
const BENCH_PLUGINS: [&str; 5] = ["copy", "forward", "filter", "json", "splice"];
/// Those of them that tests use too: they write all columns, and trees.
const TESTED: [&str; 2] = ["copy", "json"];

/// Installs what a build needs and this machine lacks.
///
/// # Errors
/// What is missing, with the commands that bring it.
pub(crate) fn prepare() -> Result<(), String> {
    toolchain().map(|_| ())
}

/// Builds all plugins into `plugins/target/wasm/NAME.wasm`. Cargo sees to it that nothing is built twice.
///
/// # Errors
/// What is missing, with the commands that bring it, or that a plugin does not compile.
pub(crate) fn build() -> Result<(), String> {
    built(&["--workspace", "--exclude", BENCH, "--exclude", BINDINGS], "", &names(&stage::plugins())?, &published())
}

/// Builds some of them.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_only(plugins: &[&str]) -> Result<(), String> {
    let packages: Vec<&str> = plugins.iter().flat_map(|name| ["--package", name]).collect();
    let names: Vec<String> = plugins.iter().copied().map(str::to_owned).collect();
    built(&packages, "", &names, &published())
}

/// Builds all that tests need: the plugins, and some of the benchmarks'.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_for_tests() -> Result<(), String> {
    build()?;
    build_of_bench(&TESTED)
}

/// Builds the plugins and those of the benchmarks, which lie in [`bench_folder`].
///
/// # Errors
/// As [`build`].
pub(crate) fn build_for_bench() -> Result<(), String> {
    build()?;
    build_of_bench(&BENCH_PLUGINS)
}

/// Where the plugins of the benchmarks are.
pub(crate) fn bench_folder() -> PathBuf {
    published().join(BENCH)
}

fn build_of_bench(names: &[&str]) -> Result<(), String> {
    let mut arguments = vec!["--package", BENCH];
    for name in names {
        arguments.extend(["--example", name]);
    }
    let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    built(&arguments, "examples", &names, &bench_folder())
}

fn published() -> PathBuf {
    stage::plugins().join("target/wasm")
}

/// Builds what `arguments` name, and puts the plugins `names` from the folder `part` of the release into `folder`.
fn built(arguments: &[&str], part: &str, names: &[String], folder: &Path) -> Result<(), String> {
    let target = stage::plugins().join("target");
    let mut cargo = toolchain()?;
    cargo.args(arguments).arg("--target-dir").arg(&target);
    if stage::is_ci() {
        cargo.arg("--locked");
    }
    stage::succeed(&mut cargo)?;

    let built = target.join(toolchain::TARGET).join("release").join(part);
    fs::create_dir_all(folder).map_err(|e| format!("creating {}: {e}", folder.display()))?;
    for name in names {
        let file = format!("{name}.wasm");
        let (from, to) = (built.join(&file), folder.join(&file));
        publish(&from, &to).map_err(|e| format!("copying {} to {}: {e}", from.display(), to.display()))?;
    }
    Ok(())
}

/// `cargo build` of a toolchain that can build for the target; one that can't is made to.
fn toolchain() -> Result<Command, String> {
    let folder = stage::plugins();
    let found = toolchain::cargo_build(&folder);
    let Err(missing) = found else { return found };
    let debian = tools::apt_install(&toolchain::DEBIAN_PACKAGES, "building plugins");
    if debian.is_err() && toolchain::runs("rustup") {
        let target = toolchain::TARGET;
        stage::say(&format!("the active toolchain has no std for {target}, adding it: rustup target add {target}"));
        // What it says stands above; what is still missing is told below.
        let _ = stage::succeed(toolchain::program("rustup", &folder).args(["target", "add", target]));
    }
    toolchain::cargo_build(&folder).map_err(|_| missing)
}

/// The names of the plugins: the folders with a manifest, but for the libraries.
fn names(plugins: &Path) -> Result<Vec<String>, String> {
    let failed = |e: io::Error| format!("reading {}: {e}", plugins.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(plugins).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().join("Cargo.toml").exists() && !LIBRARIES.contains(&&*name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Puts a file in place, whole at any time, and leaves it alone if it is the same.
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let aside = to.with_extension("new");
    fs::write(&aside, bytes)?;
    fs::rename(aside, to)
}
