//! Builds the plugins for WebAssembly, on whatever toolchain this machine has for that.
//!
//! In this order: the active toolchain, if it has the target's std; Debian's own Rust, which builds std from its source
//! package and links with the active toolchain's `rust-lld`; the active toolchain after `rustup target add`. The result
//! is a core module with the component's type inside; the host makes the component of it.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::stage;
use crate::tools;

const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
/// The plugins' `rust-version`: an older Debian Rust is none.
const MINOR_VERSION_LEAST: u32 = 95;
/// The folder in `plugins/` that is not a plugin.
const SDK: &str = "sdk";

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
    let plugins = stage::plugins();
    let target = plugins.join("target");
    let mut cargo = toolchain()?;
    cargo.args(["--release", "--target", TARGET, "--workspace", "--target-dir"]).arg(&target);
    stage::succeed(&mut cargo)?;

    let built = target.join(TARGET).join("release");
    let folder = target.join("wasm");
    fs::create_dir_all(&folder).map_err(|e| format!("creating {}: {e}", folder.display()))?;
    for name in names(&plugins).map_err(|e| format!("reading {}: {e}", plugins.display()))? {
        let file = format!("{name}.wasm");
        let (from, to) = (built.join(&file), folder.join(&file));
        publish(&from, &to).map_err(|e| format!("copying {} to {}: {e}", from.display(), to.display()))?;
    }
    Ok(())
}

/// `cargo build` of a toolchain that can build for the target.
fn toolchain() -> Result<Command, String> {
    let active = || stage::cargo(&stage::plugins(), "build");
    if has_std() {
        return Ok(active());
    }
    let debian = debian();
    if let Ok(cargo) = debian {
        return Ok(cargo);
    }
    if tools::runs("rustup") {
        stage::say(&format!("the active toolchain has no std for {TARGET}, adding it: rustup target add {TARGET}"));
        let mut rustup = stage::program("rustup", &stage::plugins());
        let added = stage::succeed(rustup.args(["target", "add", TARGET]));
        if added.is_ok() && has_std() {
            return Ok(active());
        }
    }
    let reason = debian.err().unwrap_or_default();
    Err(format!("no std for {TARGET}: run `rustup target add {TARGET}`, or use Debian's Rust: {reason}"))
}

/// Whether the active toolchain has the target's std.
fn has_std() -> bool {
    let Ok(folder) = ask_rustc("rustc", &["--print", "target-libdir", "--target", TARGET]) else { return false };
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with("libcore-") && name.ends_with(".rlib"))
    })
}

/// `cargo build` of Debian's Rust, installed if need be.
fn debian() -> Result<Command, String> {
    if !has_debian_rust() {
        tools::apt_install(&DEBIAN_PACKAGES, "building plugins")?;
        if !has_debian_rust() {
            return Err(format!("{DEBIAN_RUSTC} is older than 1.{MINOR_VERSION_LEAST}, or without the source of std"));
        }
    }
    let linker =
        linker().ok_or("no linker for WebAssembly: the active toolchain has no rust-lld, nor is wasm-ld here")?;
    let mut cargo = stage::program(DEBIAN_CARGO, &stage::plugins());
    cargo.arg("build");
    if stage::is_ci() {
        cargo.arg("--locked");
    }
    // Cargo finds its parts in PATH, where rustup's stand-ins come first and would ask for the pinned toolchain.
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = [PathBuf::from("/usr/bin")].into_iter().chain(env::split_paths(&path));
    cargo.env("PATH", env::join_paths(paths).map_err(|e| format!("reading PATH: {e}"))?);
    cargo.env("RUSTC", DEBIAN_RUSTC);
    // Of the unstable features only `build-std` is used: there is no other way without a built std.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort");
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    Ok(cargo)
}

/// Whether Debian's Rust is here, new enough and with the source of std.
fn has_debian_rust() -> bool {
    let Ok(version) = ask_rustc(DEBIAN_RUSTC, &["--version"]) else { return false };
    let Ok(sysroot) = ask_rustc(DEBIAN_RUSTC, &["--print", "sysroot"]) else { return false };
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    minor.is_some_and(|minor| minor >= MINOR_VERSION_LEAST)
        && Path::new(&sysroot).join("lib/rustlib/src/rust/library/Cargo.lock").exists()
        && Path::new(DEBIAN_CARGO).exists()
}

/// A linker for WebAssembly.
fn linker() -> Option<PathBuf> {
    let sysroot = ask_rustc("rustc", &["--print", "sysroot"]).ok()?;
    let hosts = fs::read_dir(Path::new(&sysroot).join("lib/rustlib")).ok()?;
    let own = hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|linker| linker.exists());
    own.or_else(|| ["rust-lld", "wasm-ld"].into_iter().find(|linker| tools::runs(linker)).map(PathBuf::from))
}

/// What a compiler says of itself, asked in the folder of the plugins.
fn ask_rustc(rustc: &str, question: &[&str]) -> Result<String, String> {
    let output = stage::program(rustc, &stage::plugins()).args(question).output();
    let output = output.map_err(|e| format!("running {rustc}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{rustc} {}: {}", question.join(" "), output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The names of the plugins: the folders with a manifest, but for the SDK's.
fn names(plugins: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(plugins)? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() && entry.file_name() != SDK {
            names.push(entry.file_name().to_string_lossy().into_owned());
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
