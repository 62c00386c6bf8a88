//! Reads plugin files. A file that a user names may be of any kind and size, and still being written.
//!
//! Reading never blocks, and never holds more than the largest plugin.

use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::bundled;

/// The largest file. The largest plugins contain an interpreter and have some tens of megabytes.
const BYTES_MAX: u64 = 128 << 20;

/// The bytes of a plugin's file, or of a bundled plugin, named `std:NAME`.
///
/// # Errors
/// If it can't be read, is not a regular file, or is larger than any plugin.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    match bundled::name(path) {
        Some(name) => bundled::read(name),
        None => within(path, BYTES_MAX),
    }
}

pub(super) fn within(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Otherwise opening a pipe would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is a pipe, a socket or a device and no file; name a file"));
    }
    let too_large =
        || io::Error::other(format!("it has more than {bytes_max} bytes, which no plugin has; name another file"));
    if metadata.len() > bytes_max {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // The file may grow while it is read.
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn special_and_large_files_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("small"), b"12345").unwrap();
        assert_eq!(within(&path("small"), 5).unwrap(), b"12345");
        assert!(within(&path("small"), 4).unwrap_err().to_string().contains("more than 4 bytes"));
        // 10 GiB without a block on the disk.
        fs::File::create(path("large")).unwrap().set_len(10 << 30).unwrap();
        assert!(read(&path("large")).unwrap_err().to_string().contains("which no plugin has"));
        // A pipe without a writer.
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        assert!(read(&path("pipe")).unwrap_err().to_string().contains("name a file"));
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("name a file"));
        assert_eq!(read(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
