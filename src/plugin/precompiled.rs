//! UNSAFE. Native code: what our own compiler wrote, kept in a private folder, and loaded again.
//!
//! JUSTIFICATION: `check --offline` of the plugin `mask` takes 0.27 s when it compiles and 0.02 s when it loads, and a larger
//! component costs more. And a component that is compiled in a child process, where it can be stopped, has to come back somehow.
//!
//! Native code can't be checked, so only its origin counts. It comes from a child of ours or from a folder that nobody else
//! can write to, where each file carries the SHA-256 of what it holds against damage; a user's own `.cwasm` never comes here.
//! Invariant: a [`Code`] was written by a process of this program.

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

use crate::plugin::checks;
use crate::plugin::copies;
use crate::plugin::program::Compiled;
use crate::plugin::program::Engines;
use crate::plugin::program::Program;

/// Native code that this program's compiler wrote.
pub(super) struct Code(Vec<u8>);

impl Code {
    /// What a child of this program wrote.
    pub(super) fn of_child(bytes: Vec<u8>) -> Code {
        Code(bytes)
    }
}

/// Loads the code of a program.
///
/// # Errors
/// If it is of another version of wasmtime, another machine, or another kind of program.
pub(super) fn deserialize(engines: &Engines, program: &Program<'_>, code: &Code) -> wasmtime::Result<Compiled> {
    Ok(match program {
        // SAFETY: wasmtime requires code that `precompile_component` made and nobody changed. See the invariant of `Code`.
        Program::Component(_) => Compiled::Component(unsafe { Component::deserialize(&engines.components, &code.0)? }),
        // SAFETY: as above, for `precompile_module`.
        Program::Module(_) => Compiled::Module(unsafe { Module::deserialize(&engines.modules, &code.0)? }),
    })
}

/// Compiled programs, by the digest of what they were compiled from.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// What the folder may hold; the oldest files go first.
const BYTES_MAX: u64 = 1 << 30;
const SUFFIX: &str = "code";
const DIGEST_BYTES: usize = 32;

impl Cache {
    /// Takes a folder, which is made if it isn't there.
    ///
    /// # Errors
    /// If it can't be made, or if others can write to it.
    pub fn open(folder: &Path) -> io::Result<Cache> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // What is checked is what a link leads to, and it is used by that name.
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

    /// The code of a program, if it is there and whole.
    pub(super) fn load(&self, engines: &Engines, program: &Program<'_>) -> Option<Code> {
        let mut bytes = fs::read(self.path(engines, program)).ok()?;
        let code = bytes.split_off(DIGEST_BYTES.min(bytes.len()));
        let whole = Sha256::digest(&code)[..] == bytes[..];
        if !whole {
            tracing::warn!("a compiled component in {} is damaged and is compiled again", self.folder.display());
        }
        whole.then_some(Code(code))
    }

    /// Keeps the code of a program. A full disk costs only the time of the next start.
    pub(super) fn store(&self, engines: &Engines, program: &Program<'_>, code: &Code) {
        if let Err(error) = self.write(&self.path(engines, program), code).and_then(|()| self.prune()) {
            tracing::warn!("a compiled component can't be kept in {}: {error}", self.folder.display());
        }
    }

    /// A name for the program and everything that its code depends on.
    fn path(&self, engines: &Engines, program: &Program<'_>) -> PathBuf {
        // wasmtime checks again that the code fits: this only keeps those of two versions apart.
        let mut settings = DefaultHasher::new();
        engines.of(program).precompile_compatibility_hash().hash(&mut settings);
        (copies::REVISION, checks::REVISION).hash(&mut settings);
        self.folder.join(format!("{:x}-{:016x}.{SUFFIX}", Sha256::digest(program.bytes()), settings.finish()))
    }

    /// Writes beside and renames, so that a reader finds a whole file or none.
    fn write(&self, path: &Path, Code(code): &Code) -> io::Result<()> {
        let mut file = Beside::new(path)?;
        file.file.write_all(&Sha256::digest(code))?;
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
            // Another process may have been faster.
            let _ = fs::remove_file(path);
            held -= bytes;
        }
        Ok(())
    }
}

/// A file that is removed again unless it gets its name.
struct Beside {
    file: fs::File,
    path: PathBuf,
}

impl Beside {
    fn new(path: &Path) -> io::Result<Beside> {
        let path = path.with_extension(format!("{}.part", std::process::id()));
        Ok(Beside { file: fs::File::create(&path)?, path })
    }

    fn rename(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}
