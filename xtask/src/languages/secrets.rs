//! Plugins that take all they can get at, one in each language: none sees a secret of the host's.
//!
//! The sources are in `tests/secrets`, and `canaries.py` there says what is a secret, what is tried and what is asserted. Where a language
//! has more than one way to be built, the plugin is built in each: with WASI as stubs, and with all that its runtime imports.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use super::Wasmill;
use super::create;
use super::folder;
use super::mask_js;
use super::with_path;
use crate::stage;
use crate::toolchain;

const CANARIES: &str = "tests/secrets/canaries.py";
/// A variable of the tools that build a plugin, which may run it. Its value must not be in what they make.
const OF_BUILD: (&str, &str) = ("BUILD_TOKEN", "kanarie-of-the-build");

/// The file of a built plugin.
fn made(name: &str) -> Result<PathBuf, String> {
    let folder = folder().join("secrets");
    create(&folder)?;
    Ok(folder.join(format!("{name}.wasm")))
}

fn source(name: &str) -> PathBuf {
    stage::root().join("tests/secrets").join(name)
}

/// Builds a plugin, to `to`.
fn build(command: &mut Command, to: &Path) -> Result<(), String> {
    stage::succeed(command.env(OF_BUILD.0, OF_BUILD.1))?;
    let bytes = fs::read(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let secret = OF_BUILD.1.as_bytes();
    let has_it = bytes.windows(secret.len()).any(|part| part == secret);
    if has_it { Err(format!("{} has the environment of its build", to.display())) } else { Ok(()) }
}

fn tried(wasmill: &Wasmill, plugins: &[PathBuf]) -> Result<(), String> {
    let plugins: Vec<&Path> = plugins.iter().map(PathBuf::as_path).collect();
    wasmill.given(CANARIES, &plugins)
}

pub(super) fn rust(wasmill: &Wasmill) -> Result<(), String> {
    let at = source("rust");
    let target = stage::plugins().join("target");
    let mut cargo = toolchain::cargo_build(&at)?;
    // The variables of a build that also lints aren't those of the plugin's.
    cargo.env_remove("RUSTC_WORKSPACE_WRAPPER").env_remove("CLIPPY_ARGS");
    let built = target.join(toolchain::TARGET).join("release/thief.wasm");
    build(cargo.arg("--locked").arg("--target-dir").arg(&target), &built)?;
    let to = made("rust")?;
    fs::copy(&built, &to).map_err(|error| format!("{}: {error}", built.display()))?;
    tried(wasmill, &[to])
}

pub(super) fn c(wasmill: &Wasmill) -> Result<(), String> {
    let to = made("c")?;
    let mut clang = toolchain::program("clang-19", stage::root());
    clang.args([
        "--target=wasm32",
        "-std=c11",
        "-O2",
        "-g0",
        "-mbulk-memory",
        "-nostdlib",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]);
    clang.args(["-Isdk/c", "-Wl,--no-entry,--stack-first,-z,stack-size=65536"]).arg(source("thief.c"));
    build(clang.arg("-o").arg(&to), &to)?;
    tried(wasmill, &[to])
}

pub(super) fn go(wasmill: &Wasmill, paths: &[PathBuf]) -> Result<(), String> {
    let to = made("go")?;
    let mut go = toolchain::program("go", &source("go"));
    go.env("PATH", with_path(paths)?).envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOPROXY", "off")]);
    build(go.args(["build", "-buildmode=c-shared", "-o"]).arg(&to).arg("."), &to)?;
    tried(wasmill, &[to])
}

/// The plugin in JavaScript as one file.
fn bundle() -> Result<PathBuf, String> {
    let to = folder().join("secrets/thief.js");
    let mut esbuild = toolchain::program(tool("esbuild"), stage::root());
    esbuild.arg(source("thief.js")).args(["--bundle", "--format=esm", "--target=es2022", "--external:wasmill:*"]);
    esbuild.args(["--alias:@wasmill/sdk=./sdk/js/index.js", "--log-level=warning"]);
    stage::succeed(esbuild.arg(format!("--outfile={}", to.display())))?;
    Ok(to)
}

fn tool(name: &str) -> PathBuf {
    mask_js().join("node_modules/.bin").join(name)
}

pub(super) fn quickjs(wasmill: &Wasmill) -> Result<(), String> {
    let bundle = bundle()?;
    let ways = [("quickjs", &["--sync", "--stub-wasi"][..]), ("quickjs-wasi", &["--sync"])];
    each(wasmill, &ways, |options, to| {
        let mut qjs = toolchain::program(tool("componentize-qjs"), stage::root());
        qjs.args(["-w", "sdk/js/wit", "-n", "plugin", "-j"]).arg(&bundle).args(options).arg("-o").arg(to);
        qjs
    })
}

pub(super) fn starlingmonkey(wasmill: &Wasmill) -> Result<(), String> {
    let bundle = bundle()?;
    let without = ["-d", "stdio", "random", "clocks", "http", "fetch-event"];
    let ways = [("starlingmonkey", &without[..]), ("starlingmonkey-wasi", &[])];
    let program = mask_js().join("starlingmonkey/node_modules/.bin/componentize-js");
    each(wasmill, &ways, |options, to| {
        let mut js = toolchain::program(&program, stage::root());
        js.arg(&bundle).args(["-w", "sdk/js/wit", "-n", "plugin"]).args(options).arg("-o").arg(to);
        js
    })
}

pub(super) fn python(wasmill: &Wasmill, paths: &[PathBuf]) -> Result<(), String> {
    let path = with_path(paths)?;
    each(wasmill, &[("python", &["--stub-wasi"][..]), ("python-wasi", &[])], |options, to| {
        let mut python = toolchain::program(paths[0].join("componentize-py"), &source(""));
        python.env("PATH", &path).env("PYTHONDONTWRITEBYTECODE", "1");
        python.arg("componentize").args(options).args(["-p", ".", "-p", "../../sdk/python", "thief", "-o"]).arg(to);
        python
    })
}

/// Builds the plugin in each of these ways, and tries it.
fn each(
    wasmill: &Wasmill,
    ways: &[(&str, &[&str])],
    command: impl Fn(&[&str], &Path) -> Command,
) -> Result<(), String> {
    for (name, options) in ways {
        let to = made(name)?;
        build(&mut command(options, &to), &to)?;
        tried(wasmill, &[to])?;
    }
    Ok(())
}
