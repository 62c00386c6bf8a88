//! A shared target folder for a user's plugins, so that their common dependencies are compiled once.
//!
//! Within one target folder, cargo identifies a crate by its name, version and position in its workspace, not by its contents. It
//! would return the module of one plugin for another plugin. So the folder is shared only by plugins for which that can't happen:
//! those that consist of their own crate, this program's SDK and crates from registries, each with a unique name. Any other plugin
//! is compiled in its own `target`. cargo locks the folder, so that one build runs at a time, and prints a message when it waits.

use std::env;
use std::fs;
use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;

use super::scaffold;
use super::toolchain;

/// With one of these variables the author chooses where to compile, and nothing is shared.
const CHOSEN: [&str; 2] = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"];
/// Targets of a crate that are not compiled for its module.
const NOT_BUILT: [&str; 3] = ["test", "bench", "example"];

/// The output of `cargo metadata`.
#[derive(Debug, Deserialize)]
struct Workspace {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
    /// cargo's folder for intermediate files, if this version of cargo has one.
    build_directory: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The target folder for the plugin in `folder`, below `cache`; none if the plugin must be compiled in its own.
pub(super) fn target(folder: &Path, cache: &Path) -> Option<PathBuf> {
    if CHOSEN.iter().any(|variable| env::var_os(variable).is_some()) || !scaffold::has_the_sdk(folder) {
        return None;
    }
    // Without a valid folder there is nothing to share; if something is wrong with it, the build reports it.
    let folder = folder.canonicalize().ok()?;
    let name = module_name(&folder)?;
    let target = cache.join("plugins").join(scaffold::sdk_digest());
    private(&target).and_then(|()| claim(&target, &name, &folder)).ok()?.then_some(target)
}

/// The name of the module that the crate in a folder compiles to, if its workspace holds only that crate and the SDK.
fn module_name(folder: &Path) -> Option<String> {
    let manifest = folder.join("Cargo.toml");
    let table: toml::Table = toml::from_str(&fs::read_to_string(&manifest).ok()?).ok()?;
    let workspace = table.get("workspace").and_then(toml::Value::as_table);
    // With these keys, crates in the folder need not be members of the workspace.
    let hides = ["patch", "replace"].iter().any(|key| table.contains_key(*key));
    if hides || workspace.is_some_and(|workspace| workspace.contains_key("exclude")) {
        return None;
    }

    let mut cargo = toolchain::program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), folder);
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).stdin(Stdio::null()).stderr(Stdio::null());
    for variable in CHOSEN {
        cargo.env_remove(variable);
    }
    let said = cargo.output().ok().filter(|said| said.status.success())?;
    let Workspace { packages, workspace_root, target_directory, build_directory } =
        serde_json::from_slice(&said.stdout).ok()?;
    let own = folder.join("target");
    if workspace_root != folder || target_directory != own || build_directory.is_some_and(|build| build != own) {
        return None;
    }
    let mut name = None;
    for package in packages {
        let target = package.only_target()?;
        if package.manifest_path == manifest {
            // Ensures that plugins with different names have different modules.
            let module = package.name.replace('-', "_");
            if target.kind != ["cdylib"] || target.name.replace('-', "_") != module {
                return None;
            }
            name = Some(module);
        } else if package.manifest_path != folder.join(scaffold::SDK_FOLDER).join("Cargo.toml") {
            return None;
        }
    }
    name
}

impl Package {
    /// The crate's only target; `None` if there are others, such as a build script.
    fn only_target(&self) -> Option<&Target> {
        let is_built = |target: &&Target| !target.kind.iter().any(|kind| NOT_BUILT.contains(&&**kind));
        let mut built = self.targets.iter().filter(is_built);
        built.next().filter(|_| built.next().is_none())
    }
}

/// Creates the folder and checks that no other user can write to it: the compiler runs code from it.
fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = fs::metadata(folder)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("other users can write to it"));
    }
    Ok(())
}

/// Whether this folder owns the name `name`. The first plugin with a name owns it for as long as its folder exists.
fn claim(target: &Path, name: &str, folder: &Path) -> io::Result<bool> {
    let owners = target.join("owners");
    fs::create_dir_all(&owners)?;
    let path = owners.join(name);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    file.lock()?;
    let mut owner = String::new();
    file.read_to_string(&mut owner)?;
    let own = identity(folder)?;
    if owner == own {
        return Ok(true);
    }
    let there = owner.split_once('\n').is_some_and(|(_, at)| identity(Path::new(at)).is_ok_and(|now| now == owner));
    if there {
        return Ok(false);
    }
    // Removes the module of the previous owner, so that cargo compiles this plugin's.
    for module in ["release", "release/deps"] {
        let module = target.join(toolchain::TARGET).join(module).join(name).with_extension("wasm");
        match fs::remove_file(module) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(own.as_bytes())?;
    Ok(true)
}

/// Identifies a folder, also against one that had the same path before.
fn identity(folder: &Path) -> io::Result<String> {
    let metadata = fs::metadata(folder)?;
    let path = folder.to_str().ok_or_else(|| io::Error::other("its name is no text"))?;
    Ok(format!("{} {}\n{path}", metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::author::languages::Language;

    /// A folder with plugins named `shout` below `a`, `b` and so on, and a folder for compiled files.
    fn plugins(parents: &[&str]) -> (TempDir, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        for parent in parents {
            let parent = folder.path().join(parent);
            fs::create_dir(&parent).unwrap();
            scaffold::create(&parent, "shout", Language::Rust).unwrap();
        }
        (folder, tempfile::tempdir().unwrap())
    }

    fn name_of(folder: &Path) -> Option<String> {
        module_name(&folder.canonicalize().unwrap())
    }

    #[test]
    fn a_name_belongs_to_one_folder_while_that_exists_and_no_module_is_inherited() {
        let (folder, target) = plugins(&["a", "b"]);
        let [a, b] = ["a/shout", "b/shout"].map(|plugin| folder.path().join(plugin));
        let modules = target.path().join(toolchain::TARGET).join("release/deps");
        fs::create_dir_all(&modules).unwrap();
        fs::write(modules.join("shout.wasm"), "of a").unwrap();
        fs::write(modules.join("whisper.wasm"), "of another").unwrap();
        let claims = |folder: &Path| claim(target.path(), "shout", folder).unwrap();
        assert!(claims(&a));
        fs::write(modules.join("shout.wasm"), "of a").unwrap();
        assert!(claims(&a) && modules.join("shout.wasm").exists());
        assert!(!claims(&b) && modules.join("shout.wasm").exists());
        fs::rename(&a, folder.path().join("a/moved")).unwrap();
        assert!(claims(&b) && !modules.join("shout.wasm").exists());
        assert!(modules.join("whisper.wasm").exists());
        // The folder at the first path is a different one now.
        scaffold::create(&folder.path().join("a"), "shout", Language::Rust).unwrap();
        assert!(!claims(&a));
    }

    #[test]
    fn a_new_plugin_shares_and_one_with_crates_that_cargo_could_mix_up_does_not() {
        let (folder, _) = plugins(&["a"]);
        let plugin = folder.path().join("a/shout");
        assert!(scaffold::has_the_sdk(&plugin));
        assert_eq!(name_of(&plugin).as_deref(), Some("shout"));
        let manifest = fs::read_to_string(plugin.join("Cargo.toml")).unwrap();
        for (from, to) in [
            ("[workspace]", "[workspace]\nexclude = [\"common\"]"),
            ("[dependencies]", "[dependencies]\ncommon = { path = \"common\" }"),
            ("[lib]", "[patch.crates-io]\n[lib]"),
            ("[lib]", "[lib]\nname = \"other\""),
            ("[lib]\ncrate-type = [\"cdylib\"]", "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]"),
        ] {
            let common = plugin.join("common");
            fs::create_dir_all(common.join("src")).unwrap();
            fs::write(common.join("Cargo.toml"), "[package]\nname = \"common\"\nedition = \"2024\"\n").unwrap();
            fs::write(common.join("src/lib.rs"), "").unwrap();
            assert!(manifest.contains(from), "{from}");
            fs::write(plugin.join("Cargo.toml"), manifest.replace(from, to)).unwrap();
            assert_eq!(name_of(&plugin), None, "{to}");
        }
        fs::write(plugin.join("Cargo.toml"), &manifest).unwrap();
        assert_eq!(name_of(&plugin).as_deref(), Some("shout"));
        let config = plugin.join(".cargo/config.toml");
        let text = fs::read_to_string(&config).unwrap();
        for key in ["target-dir", "build-dir"] {
            fs::write(&config, format!("{text}\n[build]\n{key} = \"elsewhere\"\n")).unwrap();
            assert_eq!(name_of(&plugin), None, "the author has said where");
        }
    }

    #[test]
    fn a_plugin_with_another_sdk_does_not_share() {
        let (folder, _) = plugins(&["a"]);
        let plugin = folder.path().join("a/shout");
        let file = plugin.join(scaffold::SDK_FOLDER).join("src/record.rs");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}\n")).unwrap();
        assert!(!scaffold::has_the_sdk(&plugin));
        fs::remove_file(&file).unwrap();
        assert!(!scaffold::has_the_sdk(&plugin));
    }

    #[test]
    fn a_folder_that_others_write_to_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let shared = folder.path().join("plugins");
        private(&shared).unwrap();
        assert_eq!(fs::metadata(&shared).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(private(&shared).is_err());
    }
}
