//! UNSAFE. Native code: written by this program's own compiler, kept in a private directory, and loaded again.
//!
//! JUSTIFICATION: loading code takes a small part of the time that compiling takes, which matters for each start.
//! Besides, a plugin is compiled in a child process, where it can be stopped, and its code has to be loaded into this
//! one.
//!
//! Native code can't be checked, so its origin must be trusted. It comes from a child process of this program, or from
//! a directory that no other user can write to, where each file starts with the SHA-256 of its name and its content, to
//! detect damage, and files that were exchanged: a component that is demanded by its digest must not run as another one.
//! A user's own `.cwasm` is never loaded. Invariant: a [`Code`] was written by a process of this program.

#![expect(unsafe_code, reason = "wasmtime can't check native code; see JUSTIFICATION")]

use std::fs;
use std::hash::DefaultHasher;
use std::hash::Hash as _;
use std::hash::Hasher as _;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest as _;
use sha2::Sha256;
use wasmtime::Module;
use wasmtime::component::Component;

use crate::plugin::deadline_instrumentation;
use crate::plugin::inline_memcpy;
use crate::plugin::program::Compiled;
use crate::plugin::program::Engines;
use crate::plugin::program::Program;

/// Native code written by this program's compiler.
pub(super) struct Code(Vec<u8>);

impl Code {
    /// The output of a child process.
    pub(super) fn of_child(bytes: Vec<u8>) -> Code {
        Code(bytes)
    }
}

/// Loads the code of a program.
///
/// # Errors
/// If the code is for another version of wasmtime, another machine, or another kind of program.
pub(super) fn deserialize(engines: &Engines, program: &Program<'_>, code: &Code) -> wasmtime::Result<Compiled> {
    Ok(match program {
        // SAFETY: wasmtime requires code that `precompile_component` made and nobody changed. See the invariant of `Code`.
        Program::Component(_) => Compiled::Component(unsafe { Component::deserialize(&engines.components, &code.0)? }),
        // SAFETY: as above, for `precompile_module`.
        Program::Module(_) => Compiled::Module(unsafe { Module::deserialize(&engines.modules, &code.0)? }),
    })
}

/// Compiled programs, by the digest of the program.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// The largest size of the directory; the oldest files are deleted first.
const BYTES_MAX: u64 = 1 << 30;
const SUFFIX: &str = "code";
const DIGEST_BYTES: usize = 32;
/// The format of the files. Those of another one are not looked at.
const REVISION: u32 = 1;

impl Cache {
    /// Opens a directory, and creates it if it doesn't exist.
    ///
    /// # Errors
    /// If it can't be created, or other users can access it.
    pub fn open(folder: &Path) -> io::Result<Cache> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // Check the target of a link, and use it by its real path.
        let folder = folder.canonicalize()?;
        let metadata = fs::metadata(&folder)?;
        let own = rustix::process::geteuid().as_raw();
        if metadata.uid() != own {
            return Err(io::Error::other(format!("it belongs to user {}, and this is user {own}", metadata.uid())));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(io::Error::other("others may enter it, and its code is run unchecked: `chmod 700` it"));
        }
        Ok(Cache { folder })
    }

    /// The code of a program, if it is stored and intact.
    pub(super) fn load(&self, engines: &Engines, program: &Program<'_>) -> Option<Code> {
        let path = self.path(engines, program);
        let mut bytes = fs::read(&path).ok()?;
        let code = bytes.split_off(DIGEST_BYTES.min(bytes.len()));
        let whole = seal(&path, &code)[..] == bytes[..];
        if !whole {
            tracing::warn!("a compiled component in {} is damaged and is compiled again", self.folder.display());
        }
        whole.then_some(Code(code))
    }

    /// Stores the code of a program. If that fails, only the next start takes longer.
    pub(super) fn store(&self, engines: &Engines, program: &Program<'_>, code: &Code) {
        if let Err(error) = self.write(&self.path(engines, program), code).and_then(|()| self.prune()) {
            tracing::warn!("a compiled component can't be kept in {}: {error}", self.folder.display());
        }
    }

    /// The file for a program and everything that its code depends on.
    fn path(&self, engines: &Engines, program: &Program<'_>) -> PathBuf {
        // wasmtime checks that the code fits. The name only separates the code of different versions.
        let mut settings = DefaultHasher::new();
        engines.of(program).precompile_compatibility_hash().hash(&mut settings);
        (inline_memcpy::REVISION, deadline_instrumentation::REVISION, REVISION).hash(&mut settings);
        self.folder.join(format!("{:x}-{:016x}.{SUFFIX}", Sha256::digest(program.bytes()), settings.finish()))
    }

    /// Writes a temporary file and renames it, so that a reader never sees a partial file.
    fn write(&self, path: &Path, Code(code): &Code) -> io::Result<()> {
        let mut file = TemporaryFile::new(path)?;
        file.file.write_all(&seal(path, code))?;
        file.file.write_all(code)?;
        file.rename(path)
    }

    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
        files.sort();
        let mut held: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if held <= BYTES_MAX {
                break;
            }
            // Another process may have deleted it already.
            let _ = fs::remove_file(path);
            held -= bytes;
        }
        Ok(())
    }
}

/// What a file of code begins with: its name says which program the code is of.
fn seal(path: &Path, code: &[u8]) -> [u8; DIGEST_BYTES] {
    let name = path.file_name().unwrap_or_default();
    Sha256::new().chain_update(name.as_encoded_bytes()).chain_update(code).finalize().into()
}

/// A temporary file that is deleted unless it is renamed.
struct TemporaryFile {
    file: fs::File,
    path: PathBuf,
}

impl TemporaryFile {
    fn new(path: &Path) -> io::Result<TemporaryFile> {
        let path = path.with_extension(format!("{}.part", std::process::id()));
        Ok(TemporaryFile { file: fs::File::create(&path)?, path })
    }

    fn rename(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}
