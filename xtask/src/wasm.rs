//! Builds the plugins for WebAssembly, with whichever suitable toolchain this machine has.
//!
//! `toolchain.rs`, which wasmill itself uses too, finds a cargo for that; missing toolchains are installed here. The result is
//! a core module with the component's type embedded; the host turns it into a component.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::stage;
use crate::toolchain;
use crate::tools;

/// The folders in `plugins/` that are not plugins.
const LIBRARIES: [&str; 3] = ["sdk", BENCH, BINDINGS];
const BENCH: &str = "bench";
/// The crate that tests the committed bindings.
pub(crate) const BINDINGS: &str = "bindings";
/// The examples of [`BENCH`] that are plugins.
const BENCH_PLUGINS: [&str; 5] = ["copy", "forward", "filter", "json", "splice"];
/// Those of them that tests also use: they write all columns, and trees.
const TESTED: [&str; 2] = ["copy", "json"];

/// Installs the toolchain if the machine lacks one.
///
/// # Errors
/// What is missing, with the commands that install it.
pub(crate) fn prepare() -> Result<(), String> {
    toolchain().map(|_| ())
}

/// Builds all plugins into `plugins/target/wasm/NAME.wasm`. cargo builds only what has changed.
///
/// # Errors
/// What is missing, with the commands that install it, or that a plugin doesn't compile.
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

/// Builds everything that tests need: the plugins, and some of the benchmarks' plugins.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_for_tests() -> Result<(), String> {
    build()?;
    build_of_bench(&TESTED)
}

/// Builds the plugins and the benchmarks' plugins, which go into [`bench_folder`].
///
/// # Errors
/// As [`build`].
pub(crate) fn build_for_bench() -> Result<(), String> {
    build()?;
    build_of_bench(&BENCH_PLUGINS)
}

/// The folder of the benchmarks' plugins.
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

/// Runs a build with `arguments`, and copies the plugins `names` from the folder `part` of the release build into `folder`.
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

/// `cargo build` with a toolchain for the target, which is installed if there is none.
fn toolchain() -> Result<Command, String> {
    let folder = stage::plugins();
    let found = toolchain::cargo_build(&folder);
    let Err(missing) = found else { return found };
    let debian = tools::apt_install(&toolchain::DEBIAN_PACKAGES, "building plugins");
    if debian.is_err() && toolchain::runs("rustup") {
        let target = toolchain::TARGET;
        stage::say(&format!("the active toolchain has no std for {target}, adding it: rustup target add {target}"));
        // rustup has printed its own errors; if something is still missing, it is reported below.
        let _ = stage::succeed(toolchain::program("rustup", &folder).args(["target", "add", target]));
    }
    toolchain::cargo_build(&folder).map_err(|_| missing)
}

/// The names of the plugins: all folders with a manifest, except the libraries.
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

/// Replaces a file atomically, unless it is identical.
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let aside = to.with_extension("new");
    fs::write(&aside, bytes)?;
    fs::rename(aside, to)
}
