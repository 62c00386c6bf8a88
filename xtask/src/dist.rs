//! A release: one archive with the program, its plugins inside, completions, manual pages and the licences of what it is made of.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::stage;
use crate::stage::Stages;
use crate::tools;
use crate::wasm;

/// The shells that there are completions for, and what a completion's file is called.
const SHELLS: [(&str, &str); 3] = [("bash", "wasmill.bash"), ("zsh", "_wasmill"), ("fish", "wasmill.fish")];

/// Makes `target/dist/wasmill-VERSION-TARGET.tar.gz` and its checksum.
///
/// # Errors
/// What could not be built or written.
pub(crate) fn run() -> Result<(), String> {
    let root = stage::root();
    let mut stages = Stages::default();
    stages.run("tools", tools::for_host)?;
    stages.run("plugins for WebAssembly", wasm::build)?;
    stages.run("host", || {
        let mut cargo = stage::cargo(root, "build");
        // What is given to others brings its own OpenSSL.
        cargo.env_remove(stage::NO_VENDOR);
        stage::succeed(cargo.args(["--release", "--bin", "wasmill", "--features", "std-plugins"]))
    })?;
    let program = root.join("target/release/wasmill");
    let name = format!("wasmill-{}-{}", version(&program)?, target()?);
    let out = root.join("target/dist");
    let folder = out.join(&name);
    stages.run("archive", || fill(root, &program, &folder).and_then(|()| pack(&out, &name)))?;
    stages.sum_up();
    stage::say(&format!("{}", out.join(format!("{name}.tar.gz")).display()));
    Ok(())
}

/// Puts everything into the folder that becomes the archive.
fn fill(root: &Path, program: &Path, folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(folder, &error)),
        Ok(()) | Err(_) => {}
    }
    for below in ["bin", "completions", "man/man1", "licences"] {
        let path = folder.join(below);
        fs::create_dir_all(&path).map_err(|error| failed(&path, &error))?;
    }
    let installed = folder.join("bin/wasmill");
    copy(program, &installed)?;
    stage::succeed(Command::new("strip").arg(&installed))?;
    for (shell, file) in SHELLS {
        let output = Command::new(&installed).args(["completions", shell]).output();
        let output = output.map_err(|error| failed(&installed, &error))?;
        write(&folder.join("completions").join(file), &output.stdout)?;
    }
    stage::succeed(Command::new(&installed).args(["man", "--out"]).arg(folder.join("man/man1")))?;
    for file in tracked(root)? {
        let to = folder.join(&file);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
        }
        copy(&root.join(&file), &to)?;
    }
    licences(root, &folder.join("licences"))
}

/// What is for readers: the pages at the top, and the folders that they lead to.
fn tracked(root: &Path) -> Result<Vec<String>, String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--", "LICENSE", ":(glob)*.md", ":(glob)plugins/*/README.md"]);
    git.args(["docs", "deploy", "examples", "schemas", "sdk", "wit"]);
    let output = git.current_dir(root).output().map_err(|error| format!("running git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// The list of what the program and its plugins are made of and built with, with each one's licence, and the texts that come with the
/// sources. Libraries in C (OpenSSL, librdkafka, jemalloc, zstd) have theirs a folder below the crate that builds them.
fn licences(root: &Path, folder: &Path) -> Result<(), String> {
    let mut lines = dependencies(root, &["--features", "std-plugins"])?;
    lines.extend(dependencies(&stage::plugins(), &["--package", "mask", "--package", "route", "--package", "jq"])?);
    lines.sort_unstable();
    lines.dedup();
    let list: String = lines.iter().map(|line| format!("{line}\n")).collect();
    write(&folder.join("LIST"), list.as_bytes())?;
    let sources = registry()?;
    for line in &lines {
        let mut words = line.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
        let package = format!("{name}-{}", version.trim_start_matches('v'));
        let Some(source) = sources.iter().map(|folder| folder.join(&package)).find(|path| path.is_dir()) else {
            return Err(format!("the sources of {package} are not among cargo's: its licence can't be copied"));
        };
        let mut folders = vec![source.clone()];
        folders.extend(entries(&source)?.into_iter().filter(|path| path.is_dir()));
        for path in folders.iter().map(|folder| entries(folder)).collect::<Result<Vec<_>, _>>()?.concat() {
            let file = path.strip_prefix(&source).unwrap_or(&path).to_string_lossy().replace('/', "-");
            if path.is_file() && is_licence(&path) {
                copy(&path, &folder.join(format!("{package}-{file}")))?;
            }
        }
    }
    Ok(())
}

fn is_licence(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    ["LICENSE", "LICENCE", "COPYING", "NOTICE"].iter().any(|word| name.starts_with(word))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
        paths.push(entry.map_err(|error| failed(folder, &error))?.path());
    }
    Ok(paths)
}

/// `name v1.2.3 (proc-macro) | MIT`, for each package of others that is used in `workspace`.
fn dependencies(workspace: &Path, packages: &[&str]) -> Result<Vec<String>, String> {
    let mut cargo = stage::cargo(workspace, "tree");
    cargo.args(["--edges", "normal,build", "--prefix", "none", "--no-dedupe", "--format", "{p} | {l}"]).args(packages);
    let output = cargo.output().map_err(|error| format!("running cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // A package of ours shows its folder.
    let others = text.lines().filter(|line| !line.is_empty() && !line.contains(" (/"));
    Ok(others.map(str::to_owned).collect())
}

/// Where cargo keeps the sources of packages.
fn registry() -> Result<Vec<PathBuf>, String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let src = home.ok_or("there is no CARGO_HOME and no HOME")?.join("registry/src");
    Ok(fs::read_dir(&src).map_err(|error| failed(&src, &error))?.flatten().map(|entry| entry.path()).collect())
}

fn pack(out: &Path, name: &str) -> Result<(), String> {
    let archive = format!("{name}.tar.gz");
    // The same files make the same archive.
    let fixed = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"];
    stage::succeed(Command::new("tar").args(fixed).arg("-czf").arg(&archive).arg(name).current_dir(out))?;
    let output = Command::new("sha256sum").arg(&archive).current_dir(out).output();
    let output = output.map_err(|error| format!("running sha256sum: {error}"))?;
    write(&out.join(format!("{archive}.sha256")), &output.stdout)
}

fn version(program: &Path) -> Result<String, String> {
    let output = Command::new(program).arg("--version").output().map_err(|error| failed(program, &error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().nth(1).map(str::to_owned).ok_or_else(|| format!("no version in `{}`", text.trim()))
}

/// What it was built for: the compiler's own target.
fn target() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").current_dir(stage::root()).output();
    let output = output.map_err(|error| format!("running rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc doesn't say its host".to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(|error| format!("copy {} to {}: {error}", from.display(), to.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
