//! Finds a cargo that can build for WebAssembly with the toolchains of this machine.
//!
//! It tries, in this order: the active toolchain, if it has the std of the target; Debian's Rust packages, with which it builds
//! std from source and links with the active toolchain's `rust-lld`. Nothing is installed. Std only, since `xtask` includes
//! this file, too.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

/// The target of plugins. Without WASI, because plugins have no access to it.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's packages with Rust for WebAssembly and the source of std.
pub(crate) const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// The `rust-version` of plugins: an older Debian Rust is not used.
const MINOR_VERSION_LEAST: u32 = 95;

/// `cargo build --release` for the target, to be run in `folder`.
///
/// # Errors
/// What is missing, with the commands that install it.
pub(crate) fn cargo_build(folder: &Path) -> Result<Command, String> {
    let mut cargo = if has_std(folder) {
        program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), folder)
    } else {
        debian(folder)?
    };
    cargo.args(["build", "--release", "--target", TARGET]);
    Ok(cargo)
}

/// Whether the active toolchain has the std of the target.
fn has_std(folder: &Path) -> bool {
    let Ok(libraries) = ask("rustc", &["--print", "target-libdir", "--target", TARGET], folder) else { return false };
    let Ok(entries) = fs::read_dir(libraries) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with("libcore-") && name.ends_with(".rlib"))
    })
}

/// Debian's Rust, set up to build std and to link.
fn debian(folder: &Path) -> Result<Command, String> {
    let missing = |what: &str| {
        format!(
            "no installed Rust can build for {TARGET}: run `rustup target add {TARGET}`, or on Debian `apt-get install {}` \
             ({what})",
            DEBIAN_PACKAGES.join(" ")
        )
    };
    if !has_debian_rust(folder) {
        return Err(missing(&format!(
            "{DEBIAN_RUSTC} is missing, older than 1.{MINOR_VERSION_LEAST}, or without std's source"
        )));
    }
    let linker = linker(folder).ok_or_else(|| {
        missing("they are installed, but there is no rust-lld in the active toolchain and no wasm-ld")
    })?;
    let mut cargo = program(DEBIAN_CARGO, folder);
    // cargo finds its tools through PATH, where rustup's proxies come first and would ask for the pinned toolchain.
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = [PathBuf::from("/usr/bin")].into_iter().chain(env::split_paths(&path));
    cargo.env("PATH", env::join_paths(paths).map_err(|e| format!("read PATH: {e}"))?);
    cargo.env("RUSTC", DEBIAN_RUSTC);
    // Needed for `build-std`, the only unstable feature in use: without a prebuilt std there is no other way.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort");
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    Ok(cargo)
}

/// Whether a recent enough Rust of Debian is installed, with the source of std.
fn has_debian_rust(folder: &Path) -> bool {
    let Ok(version) = ask(DEBIAN_RUSTC, &["--version"], folder) else { return false };
    let Ok(sysroot) = ask(DEBIAN_RUSTC, &["--print", "sysroot"], folder) else { return false };
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    minor.is_some_and(|minor| minor >= MINOR_VERSION_LEAST)
        && Path::new(&sysroot).join("lib/rustlib/src/rust/library/Cargo.lock").exists()
        && Path::new(DEBIAN_CARGO).exists()
}

/// A linker for WebAssembly.
fn linker(folder: &Path) -> Option<PathBuf> {
    let sysroot = ask("rustc", &["--print", "sysroot"], folder).ok()?;
    let hosts = fs::read_dir(Path::new(&sysroot).join("lib/rustlib")).ok()?;
    let own = hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|linker| linker.exists());
    own.or_else(|| ["rust-lld", "wasm-ld"].into_iter().find(|linker| runs(linker)).map(PathBuf::from))
}

/// Whether a program can be started.
pub(crate) fn runs(program: &str) -> bool {
    let quiet = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// A program to run in `folder`, without the variables of a cargo that runs this process: they would make some build scripts
/// run again.
pub(crate) fn program(name: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(folder);
    for (variable, _) in env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if variable.to_str().is_some_and(|variable| told.iter().any(|prefix| variable.starts_with(prefix))) {
            command.env_remove(variable);
        }
    }
    command
}

/// Asks a compiler about itself, in `folder`, so that a toolchain pinned there is used.
fn ask(rustc: &str, question: &[&str], folder: &Path) -> Result<String, String> {
    let output = program(rustc, folder).args(question).output().map_err(|e| format!("run {rustc}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{rustc} {}: {}", question.join(" "), output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
