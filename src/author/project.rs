//! A plugin's folder: reads how to build it from `plugin.toml`, and builds it.

use std::fs;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use wasmparser::Parser;
use wasmparser::Payload;

use super::shared;
use super::toolchain;

/// The file that says how a plugin is built.
const FILE: &str = "plugin.toml";
/// The language that needs no command.
const RUST: &str = "rust";
/// How many folders above a component are searched for its `plugin.toml`.
const LEVELS: usize = 8;
/// Limits on watched source files: their number, and how deep folders are searched.
const WATCHED_MAX: usize = 5000;
const DEPTH_MAX: usize = 16;
/// How often a running tool is checked.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    build: Build,
    manifest: Option<Manifest>,
}

/// The component's manifest, for builds that don't write one themselves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    description: String,
    ports: Option<Vec<String>>,
    /// The file with the JSON Schema of the settings.
    settings: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    lang: Option<String>,
    command: Option<Words>,
    output: PathBuf,
    #[serde(default)]
    watch: Vec<PathBuf>,
}

/// A command, as it is written.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    /// The program and its arguments.
    List(Vec<String>),
    /// One text, which a list is to replace: the words of a text are a shell's to find.
    Text(String),
}

/// How to build the plugin.
#[derive(Debug)]
enum How {
    Rust,
    Command(Vec<String>),
}

/// A folder with a `plugin.toml`.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    how: How,
    output: PathBuf,
    watch: Vec<PathBuf>,
    manifest: Option<Manifest>,
    /// The cache folder in which Rust plugins share compiled dependencies.
    cache: Option<PathBuf>,
}

/// The result of a build.
#[derive(Debug)]
pub struct Built {
    /// The component's file.
    pub output: PathBuf,
    /// The file's contents.
    pub bytes: Vec<u8>,
}

impl Project {
    /// Opens the project in a folder.
    ///
    /// # Errors
    /// The mistake in its `plugin.toml`, with file and line.
    pub fn open(folder: &Path) -> Result<Project, String> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).map_err(|error| {
            let help = "name the folder of a plugin: `wasmill new plugin NAME` makes one";
            format!("read {}: {error}; {help}", path.display())
        })?;
        Project::parse(folder, &text).map_err(|problem| format!("{}:{problem}", path.display()))
    }

    fn parse(folder: &Path, text: &str) -> Result<Project, String> {
        let line_of =
            |key: &str| text.lines().position(|line| line.trim_start().starts_with(key)).map_or(1, |line| line + 1);
        let File { build, manifest } = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1;
            format!("{line}: {}", error.message())
        })?;
        let how = match (build.lang.as_deref(), build.command) {
            (Some(RUST), None) => How::Rust,
            (None, Some(Words::List(words))) if !words.is_empty() => How::Command(words),
            (_, Some(Words::Text(text))) => {
                let words: Vec<String> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
                let help = format!("write it as a list: `command = [{}]`", words.join(", "));
                return Err(format!("{}: `command` is a text; {help}", line_of("command")));
            }
            (Some(lang), None) if lang != RUST => {
                return Err(format!(
                    "{}: `lang = {lang:?}`: only \"rust\" needs no command; write `command` with a program and its arguments instead, \
                     as in `command = [\"npm\", \"run\", \"build\"]`",
                    line_of("lang")
                ));
            }
            (Some(_), _) | (None, Some(Words::List(_)) | None) => {
                return Err(format!(
                    "{}: `[build]` needs `lang = \"rust\"`, or a `command` with a program and its arguments",
                    line_of("[build]")
                ));
            }
        };
        let output = folder.join(build.output);
        let output = output.strip_prefix(".").map(Path::to_path_buf).unwrap_or(output);
        let watch = build.watch.into_iter().map(|path| folder.join(path)).collect();
        Ok(Project { folder: folder.to_path_buf(), how, output, watch, manifest, cache: None })
    }

    /// Finds the project in the folders above a component whose output is that component.
    ///
    /// # Errors
    /// The mistake in the `plugin.toml` that was found.
    pub fn of(component: &Path) -> Result<Option<Project>, String> {
        let component = std::path::absolute(component).unwrap_or_else(|_| component.to_path_buf());
        for folder in component.ancestors().skip(1).take(LEVELS) {
            if folder.join(FILE).is_file() {
                let project = Project::open(folder)?;
                return Ok((project.output == component).then_some(project));
            }
        }
        Ok(None)
    }

    /// Compiles the plugin in the user's cache folder together with other plugins, if that is safe, otherwise in its own `target`.
    #[must_use]
    pub fn sharing(self, cache: Option<PathBuf>) -> Project {
        Project { cache, ..self }
    }

    /// The project's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Builds the component and replaces the output atomically. Messages of the tools go to stderr.
    ///
    /// # Errors
    /// Why the build failed; the compiler has printed its own errors.
    pub fn build(&self) -> Result<Built, String> {
        self.build_unless(&|| false)
    }

    /// Like [`Project::build`], but cancels the build as soon as `stopped` returns true: a build may take minutes.
    pub(super) fn build_unless(&self, stopped: &dyn Fn() -> bool) -> Result<Built, String> {
        let made = match &self.how {
            How::Rust => self.rust(stopped)?,
            How::Command(words) => {
                self.command(words, stopped)?;
                self.output.clone()
            }
        };
        let bytes = fs::read(&made).map_err(|error| format!("the build made no {}: {error}", made.display()))?;
        let bytes = self.with_manifest(bytes)?;
        self.put(&bytes)?;
        Ok(Built { output: self.output.clone(), bytes })
    }

    fn command(&self, words: &[String], stopped: &dyn Fn() -> bool) -> Result<(), String> {
        let (program, arguments) = words.split_first().ok_or("`build.command` is empty")?;
        let mut command = Command::new(program);
        // stdout is for data, so the tool's output goes to stderr.
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).stdout(io::stderr());
        let mut child = command.spawn().map_err(|error| unstarted(program, &self.folder, &error))?;
        let status = end_of(&mut child, stopped)?;
        if status.success() { Ok(()) } else { Err(format!("`{}`: {status}", words.join(" "))) }
    }

    /// Replaces the output atomically. An identical file is left alone and keeps its modification time.
    fn put(&self, bytes: &[u8]) -> Result<(), String> {
        let output = &self.output;
        if fs::read(output).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        let aside = output.with_extension("new");
        let written = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, output));
        written.map_err(|error| {
            // A partial file is useless, and its size may be why the disk is full.
            let _ = fs::remove_file(&aside);
            format!("write {}: {error}", output.display())
        })
    }

    /// Appends the manifest of `plugin.toml`, if there is one, and removes the manifest that the component already has: a build with
    /// nothing to do leaves the previous output.
    fn with_manifest(&self, component: Vec<u8>) -> Result<Vec<u8>, String> {
        let Some(manifest) = &self.manifest else { return Ok(component) };
        let mut component = without_manifest(component)?;
        let Manifest { name, version, description, ports, settings } = manifest;
        let mut json = serde_json::json!({ "name": name, "version": version, "description": description });
        if let Some(ports) = ports {
            json["ports"] = serde_json::json!(ports);
        }
        if let Some(path) = settings {
            let path = self.folder.join(path);
            let failed = |why: String| format!("`manifest.settings` of plugin.toml, {}: {why}", path.display());
            let text = fs::read(&path).map_err(|error| failed(error.to_string()))?;
            json["settings"] = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        }
        component.extend(custom_section(MANIFEST, json.to_string().as_bytes()));
        Ok(component)
    }

    /// Builds the crate with cargo and returns the path of the module.
    fn rust(&self, stopped: &dyn Fn() -> bool) -> Result<PathBuf, String> {
        let mut cargo = toolchain::cargo_build(&self.folder)?;
        cargo.args(["--message-format", "json-render-diagnostics"]);
        if let Some(target) = self.cache.as_deref().and_then(|cache| shared::target(&self.folder, cache)) {
            cargo.arg("--target-dir").arg(target);
        }
        let child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("start cargo: {error}"))?;
        let stdout = child.stdout.take();
        let (status, told) = thread::scope(|scope| {
            let told = scope.spawn(move || {
                let mut told = Vec::new();
                // If the output can't be read, the module is missing below.
                let _ = stdout.map(|mut stdout| stdout.read_to_end(&mut told));
                told
            });
            let status = end_of(&mut child, stopped);
            (status, told.join().unwrap_or_default())
        });
        let status = status?;
        if !status.success() {
            return Err(format!("cargo could not build it ({status})"));
        }
        let made = String::from_utf8_lossy(&told);
        let module = made.lines().rev().find_map(module);
        module.ok_or_else(|| "cargo made no module: `Cargo.toml` needs `[lib] crate-type = [\"cdylib\"]`".to_owned())
    }

    /// The source files, as far as `watch` names them: path, size and modification time.
    pub(super) fn sources(&self) -> Vec<(PathBuf, u64, Option<std::time::SystemTime>)> {
        let mut found = Vec::new();
        for path in &self.watch {
            collect(path, DEPTH_MAX, &mut found);
        }
        found.sort();
        found
    }
}

/// Why a tool can't be started, and what to do.
fn unstarted(program: &str, folder: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::NotFound {
        return format!("start `{program}`: {error}");
    }
    let way_out = match program.contains('/') {
        true => format!("there is no such file, seen from {}", folder.display()),
        false => "it is not in PATH; install it, activate the environment that has it (`. .venv/bin/activate`), or name its file in \
                  `build.command` of plugin.toml"
            .to_owned(),
    };
    format!("start `{program}`: {way_out}")
}

/// Waits until a tool ends, and kills it when `stopped` returns true.
fn end_of(tool: &mut Child, stopped: &dyn Fn() -> bool) -> Result<ExitStatus, String> {
    let failed = |error: io::Error| format!("wait for a tool: {error}");
    loop {
        if let Some(status) = tool.try_wait().map_err(failed)? {
            return Ok(status);
        }
        if stopped() {
            tool.kill().and_then(|()| tool.wait()).map_err(failed)?;
            return Err("told to stop".to_owned());
        }
        thread::sleep(LOOK);
    }
}

/// The module named in a message of cargo about an artifact.
fn module(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if message.get("reason")? != "compiler-artifact" {
        return None;
    }
    let files = message.get("filenames")?.as_array()?;
    files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

/// Removes the component's or module's own manifest sections; those of nested modules stay.
fn without_manifest(component: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(&component) {
        let payload = payload.map_err(|error| format!("the build made no WebAssembly: {error}"))?;
        if matches!(payload, Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) {
            depth += 1;
        } else if matches!(payload, Payload::End(_)) {
            depth = depth.saturating_sub(1);
        } else if let Payload::CustomSection(section) = &payload
            && depth == 0
            && section.name() == MANIFEST
        {
            let range = section.range();
            // The section's id and size precede its contents.
            let head = 1 + leb128(range.len()).len();
            found.push(range.start.saturating_sub(head)..range.end);
        }
    }
    let mut bare = component;
    for range in found.into_iter().rev() {
        drop(bare.drain(range));
    }
    Ok(bare)
}

/// The name of the custom section that holds a manifest.
const MANIFEST: &str = "wasmill:manifest";

/// A WebAssembly custom section: the id 0, its size, the name and the data.
fn custom_section(name: &str, data: &[u8]) -> Vec<u8> {
    let mut inside = leb128(name.len());
    inside.extend_from_slice(name.as_bytes());
    inside.extend_from_slice(data);
    let mut section = vec![0];
    section.extend(leb128(inside.len()));
    section.extend(inside);
    section
}

/// A number in LEB128: seven bits per byte, the lowest first.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn collect(path: &Path, depth: usize, found: &mut Vec<(PathBuf, u64, Option<std::time::SystemTime>)>) {
    if found.len() >= WATCHED_MAX {
        return;
    }
    // A deleted file is a change, too: it is missing from the list.
    let Ok(metadata) = fs::metadata(path) else { return };
    if metadata.is_dir() {
        let Some(depth) = depth.checked_sub(1) else { return };
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            collect(&entry.path(), depth, found);
        }
    } else {
        found.push((path.to_path_buf(), metadata.len(), metadata.modified().ok()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_the_file_are_reported_with_their_line() {
        for (text, message) in [
            ("[build]\noutput = \"a.wasm\"", "1: `[build]` needs"),
            ("[build]\noutput = \"a.wasm\"\ncommand = []", "1: `[build]` needs"),
            (
                "[build]\noutput = \"a.wasm\"\nlang = \"js\"",
                "3: `lang = \"js\"`: only \"rust\" needs no command; write",
            ),
            (
                "[build]\noutput = \"a.wasm\"\ncommand = \"npm run build\"",
                "3: `command` is a text; write it as a list: `command = [\"npm\", \"run\", \"build\"]`",
            ),
            ("[build]\noutput = \"a.wasm\"\ncommand = 7", "3: "),
            ("[build]\noutput = \"a.wasm\"\nlang = \"rust\"\nouput = 1", "4: unknown field `ouput`"),
            ("[build]\nlang = \"rust\"", "1: missing field `output`"),
            ("[buidl]", "1: unknown field `buidl`"),
        ] {
            let problem = Project::parse(Path::new("p"), text).unwrap_err();
            assert!(problem.starts_with(message), "{problem} instead of {message}");
        }
    }

    #[test]
    fn a_custom_build_command_makes_the_output_and_its_failure_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let write = |command: &str| {
            let text =
                format!("[build]\noutput = \"a.wasm\"\ncommand = [\"sh\", \"-c\", \"{command}\"]\nwatch = [\"src\"]");
            fs::write(folder.path().join(FILE), text).unwrap();
            Project::open(folder.path()).unwrap()
        };
        let built = write("printf abc > a.wasm").build().unwrap();
        assert_eq!((built.output, built.bytes), (folder.path().join("a.wasm"), b"abc".to_vec()));
        let failed = write("exit 3").build().unwrap_err();
        assert!(failed.contains("exit status: 3"), "{failed}");
        fs::remove_file(folder.path().join("a.wasm")).unwrap();
        let nothing = write("true").build().unwrap_err();
        assert!(nothing.contains("the build made no"), "{nothing}");
    }

    #[test]
    fn a_tool_that_is_missing_is_reported_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        for (program, way_out) in
            [("no-such-tool", "it is not in PATH; install it"), ("./no-such-tool", "no such file")]
        {
            let text = format!("[build]\noutput = \"a.wasm\"\ncommand = [\"{program}\"]");
            fs::write(folder.path().join(FILE), text).unwrap();
            let problem = Project::open(folder.path()).unwrap().build().unwrap_err();
            assert!(problem.starts_with(&format!("start `{program}`: ")) && problem.contains(way_out), "{problem}");
        }
    }

    #[test]
    fn a_manifest_is_added_to_a_component_built_without_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("empty.wasm"), wat::parse_str("(component)").unwrap()).unwrap();
        let schema = format!(r#"{{"title":"{}"}}"#, "x".repeat(20_000));
        fs::write(folder.path().join("schema.json"), schema).unwrap();
        let text = "[build]\noutput = \"a.wasm\"\ncommand = [\"cp\", \"empty.wasm\", \"a.wasm\"]\n\
                    [manifest]\nname = \"mine\"\nversion = \"2\"\nports = [\"main\"]\nsettings = \"schema.json\"";
        fs::write(folder.path().join(FILE), text).unwrap();
        let built = Project::open(folder.path()).unwrap().build().unwrap();
        let mut sections = Parser::new(0).parse_all(&built.bytes).map(Result::unwrap);
        let section = sections.find_map(|payload| {
            let Payload::CustomSection(section) = payload else { return None };
            Some(section)
        });
        let section = section.unwrap();
        assert_eq!(section.name(), "wasmill:manifest");
        let manifest: serde_json::Value = serde_json::from_slice(section.data()).unwrap();
        assert_eq!((&manifest["name"], &manifest["version"]), (&"mine".into(), &"2".into()));
        assert_eq!(manifest["settings"]["title"].as_str().unwrap().len(), 20_000);
        // A build with nothing to do yields the same component.
        let idle = text.replace("[\"cp\", \"empty.wasm\", \"a.wasm\"]", "[\"true\"]");
        fs::write(folder.path().join(FILE), idle).unwrap();
        assert_eq!(Project::open(folder.path()).unwrap().build().unwrap().bytes, built.bytes);
        fs::write(folder.path().join("schema.json"), "{").unwrap();
        let problem = Project::open(folder.path()).unwrap().build().unwrap_err();
        assert!(problem.contains("schema.json: EOF"), "{problem}");
        fs::remove_file(folder.path().join("schema.json")).unwrap();
        let problem = Project::open(folder.path()).unwrap().build().unwrap_err();
        assert!(problem.starts_with("`manifest.settings` of plugin.toml, "), "{problem}");
    }

    #[test]
    fn a_component_finds_its_project_and_a_source_change_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("src/deep")).unwrap();
        let text = "[build]\noutput = \"out/a.wasm\"\ncommand = [\"true\"]\nwatch = [\"src\", \"gone\"]";
        fs::write(folder.path().join(FILE), text).unwrap();
        let project = Project::of(&folder.path().join("out/a.wasm")).unwrap().unwrap();
        assert!(Project::of(&folder.path().join("out/b.wasm")).unwrap().is_none());
        assert!(Project::of(Path::new("/nowhere/b.wasm")).unwrap().is_none());
        let before = project.sources();
        fs::write(folder.path().join("src/deep/lib.c"), "int").unwrap();
        let after = project.sources();
        assert_eq!((before.len(), after.len()), (0, 1));
        fs::write(folder.path().join("src/deep/lib.c"), "long").unwrap();
        assert_ne!(project.sources(), after);
    }
}
