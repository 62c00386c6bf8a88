//! The folder of a new plugin: source, tests, a pipeline to try it in, and the SDK; and the folder of a new pipeline.
//!
//! The SDK is embedded in this program, so it always matches the program, and only its dependencies must be downloaded.

use std::fs;
use std::io;
use std::path::Path;

use sha2::Digest as _;
use sha2::Sha256;

use super::languages::Language;

/// The files of a new Rust plugin. `NAME` in their text is replaced by the plugin's name.
const RUST: [(&str, &str); 10] = [
    (".cargo/config.toml", include_str!("../../plugins/.cargo/config.toml")),
    (".gitignore", include_str!("../../templates/rust/gitignore")),
    ("Cargo.toml", include_str!("../../templates/rust/Cargo.toml")),
    ("README.md", include_str!("../../templates/rust/README.md")),
    ("input.ndjson", include_str!("../../templates/rust/input.ndjson")),
    ("pipeline.test.toml", include_str!("../../templates/rust/pipeline.test.toml")),
    ("pipeline.toml", include_str!("../../templates/rust/pipeline.toml")),
    ("plugin.toml", include_str!("../../templates/rust/plugin.toml")),
    ("settings.schema.json", include_str!("../../templates/rust/settings.schema.json")),
    ("src/lib.rs", include_str!("../../templates/rust/src/lib.rs")),
];

/// The SDK without its tests.
const SDK: [(&str, &str); 40] = [
    ("Cargo.toml", include_str!("../../plugins/sdk/Cargo.toml")),
    ("src/again.rs", include_str!("../../plugins/sdk/src/again.rs")),
    ("src/bindings.rs", include_str!("../../plugins/sdk/src/bindings.rs")),
    ("src/bindings/files.rs", include_str!("../../plugins/sdk/src/bindings/files.rs")),
    ("src/bindings/grants.rs", include_str!("../../plugins/sdk/src/bindings/grants.rs")),
    ("src/bindings/http.rs", include_str!("../../plugins/sdk/src/bindings/http.rs")),
    ("src/bindings/keyer.rs", include_str!("../../plugins/sdk/src/bindings/keyer.rs")),
    ("src/bindings/plugin.rs", include_str!("../../plugins/sdk/src/bindings/plugin.rs")),
    ("src/bindings/reducer.rs", include_str!("../../plugins/sdk/src/bindings/reducer.rs")),
    ("src/bindings/runtime.rs", include_str!("../../plugins/sdk/src/bindings/runtime.rs")),
    ("src/bindings/topics.rs", include_str!("../../plugins/sdk/src/bindings/topics.rs")),
    ("src/columns.rs", include_str!("../../plugins/sdk/src/columns.rs")),
    ("src/emitter.rs", include_str!("../../plugins/sdk/src/emitter.rs")),
    ("src/export.rs", include_str!("../../plugins/sdk/src/export.rs")),
    ("src/export_reduce.rs", include_str!("../../plugins/sdk/src/export_reduce.rs")),
    ("src/failure.rs", include_str!("../../plugins/sdk/src/failure.rs")),
    ("src/files.rs", include_str!("../../plugins/sdk/src/files.rs")),
    ("src/grants.rs", include_str!("../../plugins/sdk/src/grants.rs")),
    ("src/http.rs", include_str!("../../plugins/sdk/src/http.rs")),
    ("src/json.rs", include_str!("../../plugins/sdk/src/json.rs")),
    ("src/json/paths.rs", include_str!("../../plugins/sdk/src/json/paths.rs")),
    ("src/json/scan.rs", include_str!("../../plugins/sdk/src/json/scan.rs")),
    ("src/json/structural_index.rs", include_str!("../../plugins/sdk/src/json/structural_index.rs")),
    ("src/json/walk.rs", include_str!("../../plugins/sdk/src/json/walk.rs")),
    ("src/lib.rs", include_str!("../../plugins/sdk/src/lib.rs")),
    ("src/log.rs", include_str!("../../plugins/sdk/src/log.rs")),
    ("src/manifest.rs", include_str!("../../plugins/sdk/src/manifest.rs")),
    ("src/metrics.rs", include_str!("../../plugins/sdk/src/metrics.rs")),
    ("src/pool.rs", include_str!("../../plugins/sdk/src/pool.rs")),
    ("src/record.rs", include_str!("../../plugins/sdk/src/record.rs")),
    ("src/reduce.rs", include_str!("../../plugins/sdk/src/reduce.rs")),
    ("src/reduce/cell.rs", include_str!("../../plugins/sdk/src/reduce/cell.rs")),
    ("src/reduce/fold.rs", include_str!("../../plugins/sdk/src/reduce/fold.rs")),
    ("src/reduce/keys.rs", include_str!("../../plugins/sdk/src/reduce/keys.rs")),
    ("src/reduce/time.rs", include_str!("../../plugins/sdk/src/reduce/time.rs")),
    ("src/reduce/window.rs", include_str!("../../plugins/sdk/src/reduce/window.rs")),
    ("src/testing.rs", include_str!("../../plugins/sdk/src/testing.rs")),
    ("src/testing/http.rs", include_str!("../../plugins/sdk/src/testing/http.rs")),
    ("src/testing/reduce.rs", include_str!("../../plugins/sdk/src/testing/reduce.rs")),
    ("src/topics.rs", include_str!("../../plugins/sdk/src/topics.rs")),
];

/// The SDK's folder inside a plugin's folder.
pub(super) const SDK_FOLDER: &str = "sdk";

/// The SDK's manifest takes its lints from a workspace that a new plugin doesn't have.
const LINTS: &str = "\n[lints]\nworkspace = true\n";

/// The files of a new pipeline without a plugin of its own.
const PIPELINE: [(&str, &str); 4] = [
    ("README.md", include_str!("../../templates/pipeline/README.md")),
    ("input.ndjson", include_str!("../../templates/pipeline/input.ndjson")),
    ("pipeline.test.toml", include_str!("../../templates/pipeline/pipeline.test.toml")),
    ("pipeline.toml", include_str!("../../templates/pipeline/pipeline.toml")),
];

/// Whether this is a valid name for a plugin or a pipeline: 1 to 64 lower-case letters, digits and `-`, starting with a letter, as for a
/// crate.
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !name.ends_with('-')
}

/// Creates the folder of a plugin in this language in `parent`. `name` must be a valid name.
///
/// # Errors
/// If the folder already exists, or a file can't be written.
pub fn create(parent: &Path, name: &str, language: Language) -> Result<(), String> {
    let own = |files: &'static [(&str, &str)]| {
        files.iter().map(|(path, text)| ((*path).to_owned(), text.replace("NAME", name)))
    };
    let in_sdk = |(path, text): (&str, String)| (format!("{SDK_FOLDER}/{path}"), text);
    match language.files() {
        Some(files) => {
            let sdk = files.sdk.iter().map(|(path, text)| (*path, (*text).to_owned()));
            fill(parent, name, own(files.own).chain(sdk.map(in_sdk)))
        }
        None => fill(parent, name, own(&RUST).chain(sdk().map(in_sdk))),
    }
}

/// Creates the folder of a pipeline in `parent`. `name` must be a valid name.
///
/// # Errors
/// As [`create`].
pub fn create_pipeline(parent: &Path, name: &str) -> Result<(), String> {
    fill(parent, name, PIPELINE.iter().map(|(path, text)| ((*path).to_owned(), text.replace("NAME", name))))
}

fn fill(parent: &Path, name: &str, files: impl Iterator<Item = (String, String)>) -> Result<(), String> {
    let folder = parent.join(name);
    let failed = |path: &Path, error: io::Error| format!("make {}: {error}", path.display());
    if let Err(error) = fs::create_dir(&folder) {
        let help =
            if error.kind() == io::ErrorKind::AlreadyExists { "; choose another name, or move it away" } else { "" };
        return Err(format!("{}{help}", failed(&folder, error)));
    }
    for (path, text) in files {
        let path = folder.join(path);
        let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = parent.and_then(|()| fs::write(&path, text)) {
            // A partial folder is useless and would block the next try. It was created by this function.
            let _ = fs::remove_dir_all(&folder);
            return Err(failed(&path, error));
        }
    }
    Ok(())
}

/// The SDK's files as they are written into a plugin's folder.
fn sdk() -> impl Iterator<Item = (&'static str, String)> {
    SDK.iter().map(|(path, text)| (*path, text.replace(LINTS, "")))
}

/// Whether the plugin in a folder contains exactly this program's SDK.
pub(super) fn has_the_sdk(folder: &Path) -> bool {
    let folder = folder.join(SDK_FOLDER);
    sdk().all(|(path, text)| fs::read(folder.join(path)).is_ok_and(|found| found == text.as_bytes()))
}

/// The digest of this program's SDK.
pub(super) fn sdk_digest() -> String {
    let mut digest = Sha256::new();
    for (path, text) in sdk() {
        digest.update(path);
        digest.update(text);
    }
    format!("{:x}", digest.finalize())[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_sdk_and_template_are_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = |folder: &str| {
            let entries = fs::read_dir(root.join(folder)).unwrap();
            let mut files: Vec<_> =
                entries.map(|entry| entry.unwrap()).filter(|entry| entry.path().is_file()).collect();
            files.sort_by_key(fs::DirEntry::path);
            files.into_iter().map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        let of = |list: &[(&str, &str)], folder: &str| {
            let in_folder = list.iter().filter_map(|(path, _)| path.strip_prefix(folder));
            in_folder.filter(|path| !path.contains('/')).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(files("plugins/sdk/src"), of(&SDK, "src/"));
        assert_eq!(files("plugins/sdk/src/bindings"), of(&SDK, "src/bindings/"));
        for folder in ["json", "reduce", "testing"] {
            assert_eq!(files(&format!("plugins/sdk/src/{folder}")), of(&SDK, &format!("src/{folder}/")));
        }
        assert_eq!(files("templates/rust/src"), of(&RUST, "src/"));
        assert_eq!(files("templates/rust").len(), of(&RUST, "").len());
        assert_eq!(files("templates/pipeline"), of(&PIPELINE, ""));
        assert!(SDK[0].1.contains(LINTS));
    }

    #[test]
    fn a_name_is_a_crates_name_and_a_folder_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "A", "1a", "a_b", "a/b", "..", "a-", "\u{e9}", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
        create(folder.path(), "mine", Language::Rust).unwrap();
        let refusal = create(folder.path(), "mine", Language::Go).unwrap_err();
        assert!(refusal.contains("mine: File exists") && refusal.contains("choose another name"), "{refusal}");
        let manifest = fs::read_to_string(folder.path().join("mine/Cargo.toml")).unwrap();
        assert!(manifest.contains("name = \"mine\"") && !manifest.contains("NAME"));
        assert!(!fs::read_to_string(folder.path().join("mine/sdk/Cargo.toml")).unwrap().contains("[lints]"));
    }
}
