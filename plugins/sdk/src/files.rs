//! Files of the folders that a step grants: `allow = { files = ["/etc/tiers:ro"] }`.
//!
//! They can be read, and not written. A path is the host's own, and absolute. Neither `..` nor a link leads out of a folder. Read what
//! doesn't change in `init`: a reload of the plugin reads it again. In `cargo test` the files are those of the machine.

use std::fmt;

/// The contents of a file.
///
/// # Errors
/// If the step doesn't grant its folder, or the file can't be read.
pub fn read(path: &str) -> Result<Vec<u8>, Error> {
    host::read(path).map_err(|reason| Error(format!("{path}: {reason}")))
}

/// The contents of a file of text.
///
/// # Errors
/// As [`read`], and if it isn't UTF-8.
pub fn read_to_string(path: &str) -> Result<String, Error> {
    String::from_utf8(read(path)?).map_err(|error| Error(format!("{path}: {error}")))
}

/// Why a file can't be read. The text begins with its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Of folders, the one that a path is in, and the rest of the path.
#[cfg(any(test, target_arch = "wasm32"))]
fn within<'a, F>(folders: &'a [(F, String)], path: &'a str) -> Option<(&'a F, &'a str)> {
    let rest = |name: &str| path.strip_prefix(name.trim_end_matches('/'))?.strip_prefix('/');
    let found = folders.iter().filter_map(|(folder, name)| Some((folder, rest(name)?)));
    found.min_by_key(|(_, rest)| rest.len())
}

#[cfg(target_arch = "wasm32")]
mod host {
    use crate::bindings::files::wasi::filesystem::preopens;
    use crate::bindings::files::wasi::filesystem::types::ErrorCode;

    /// What is read at once.
    const CHUNK_BYTES: u64 = 64 << 10;
    /// Flags of WASI: links are followed, and the file is read.
    const SYMLINK_FOLLOW: u8 = 1;
    const READ: u8 = 1;

    pub(super) fn read(path: &str) -> Result<Vec<u8>, String> {
        let folders = preopens::get_directories();
        let (folder, rest) = super::within(&folders, path)
            .ok_or("it is in no folder of the step's `allow`; grant one: `files = [\"/a/folder:ro\"]`")?;
        let file = folder.open_at(SYMLINK_FOLLOW, rest, 0, READ).map_err(explained)?;
        let mut contents = Vec::new();
        loop {
            let (more, is_end) = file.read(CHUNK_BYTES, contents.len() as u64).map_err(explained)?;
            contents.extend_from_slice(&more);
            if is_end || more.is_empty() {
                return Ok(contents);
            }
        }
    }

    fn explained(code: ErrorCode) -> String {
        match code {
            ErrorCode::NoEntry => "there is no such file".to_owned(),
            ErrorCode::NotPermitted => "it leads out of the folder that the step grants".to_owned(),
            ErrorCode::Access => "wasmill may not read it".to_owned(),
            other => other.message().to_owned(),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod host {
    pub(super) fn read(path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_in_the_folder_that_has_most_of_it() {
        let folders = [(1, "/etc".to_owned()), (2, "/etc/tiers/".to_owned()), (3, "/etc/tier".to_owned())];
        assert_eq!(within(&folders, "/etc/tiers/a/b"), Some((&2, "a/b")));
        assert_eq!(within(&folders, "/etc/tiers"), Some((&1, "tiers")));
        assert_eq!(within(&folders, "/etc/x"), Some((&1, "x")));
        assert_eq!(within(&folders, "/var/x"), None);
        assert_eq!(within(&folders, "etc/x"), None);
    }

    #[test]
    fn an_error_names_the_file() {
        assert!(read("/no/such/file").unwrap_err().to_string().starts_with("/no/such/file: "));
    }
}
