//! The files that a pipeline's file refers to, with their digests when they were read. A change of any of them changes
//! the pipeline, even if its own file is unchanged.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest as _;
use sha2::Sha256;

use super::Pipeline;
use crate::kafka;
use crate::plugin::Settings;
use crate::plugin::bundled;
use crate::plugin::signature_of;

/// A file that a pipeline depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referenced {
    /// The path as it is opened.
    pub path: PathBuf,
    /// Its content when it was read.
    pub held: Held,
}

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Not read yet; another module reads the file.
    Unread,
    /// The file couldn't be read.
    Nothing,
    /// The SHA-256 of the content.
    Digest(String),
}

impl Referenced {
    pub(super) fn unread(path: PathBuf) -> Referenced {
        Referenced { path, held: Held::Unread }
    }
}

impl Held {
    pub(super) fn of(bytes: &[u8]) -> Held {
        Held::Digest(format!("{:x}", Sha256::digest(bytes)))
    }
}

/// The SHA-256 of a file, computed without holding it in memory. `None` if it can't be read or isn't a regular file.
#[must_use]
pub fn digest(path: &Path) -> Option<String> {
    // Checked before opening: opening a pipe would wait for its other end.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Some(format!("{:x}", digest.finalize())),
            Ok(length) => digest.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// The certificates and keys of a connection, with their current digests.
pub(super) fn of_connection(kafka: &kafka::Settings) -> Vec<Referenced> {
    let tls = kafka.tls.iter().flat_map(|tls| [&tls.ca, &tls.cert, &tls.key]).flatten().map(PathBuf::from);
    let tables = [&kafka.librdkafka, &kafka.input.librdkafka].into_iter();
    let tables = tables.chain(kafka.outputs.iter().map(|output| &output.librdkafka));
    let passed = tables.flatten().filter(|(key, _)| key.ends_with(".location")).map(|(_, path)| PathBuf::from(&path.0));
    let held = |path: &Path| digest(path).map_or(Held::Nothing, Held::Digest);
    tls.chain(passed).map(|path| Referenced { held: held(&path), path }).collect()
}

/// The files of the signatures that a pipeline's components need.
pub(super) fn signatures(pipeline: &Pipeline) -> impl Iterator<Item = PathBuf> {
    let is_signed = |step: &&Settings| step.demands.iter().any(|demand| !demand.signers.is_empty());
    let of_files = |step: &&Settings| bundled::name(&step.wasm).is_none();
    pipeline.steps.iter().filter(is_signed).filter(of_files).map(|step| signature_of(&step.wasm))
}

/// All files of a pipeline except those in `${file:..}`: certificates, keys, components and their signatures, and test cases if `reload.test` is
/// set.
pub(super) fn of_pipeline(pipeline: &Pipeline) -> Vec<Referenced> {
    let components = pipeline
        .steps
        .iter()
        .map(|step| step.wasm.clone())
        .filter(|path| !path.as_os_str().is_empty() && bundled::name(path).is_none());
    let cases = pipeline.reload.test.then(|| super::cases_path(&pipeline.file));
    let read = pipeline.connection.iter().chain(&pipeline.signers).cloned();
    read.chain(components.chain(signatures(pipeline)).chain(cases).map(Referenced::unread)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_has_a_digest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, b"abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(&file).as_deref(), Some(expected));
        assert_eq!(Held::of(b"abc"), Held::Digest(expected.into()));
        assert_eq!(digest(&folder.path().join("none")), None);
        assert_eq!(digest(folder.path()), None);
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(digest(&pipe), None);
    }
}
