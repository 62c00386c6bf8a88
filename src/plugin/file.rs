//! Reading what people name: a plugin's file may be anything, as large as it likes, and still being written.
//!
//! Nothing here waits, and nothing is held that is larger than any plugin.

use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::bundled;

/// What a file may have. The largest plugins, which carry an interpreter, have some tens of megabytes.
const BYTES_MAX: u64 = 128 << 20;

/// What a plugin's file holds, or a plugin that comes with wasmill, as `std:NAME`.
///
/// # Errors
/// If it can't be read, is no file, or is larger than any plugin.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    match bundled::name(path) {
        Some(name) => bundled::read(name),
        None => within(path, BYTES_MAX),
    }
}

fn within(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Without that, opening a pipe waits until somebody writes to it.
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
    // It may grow meanwhile.
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_no_file_or_too_large_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("small"), b"12345").unwrap();
        assert_eq!(within(&path("small"), 5).unwrap(), b"12345");
        assert!(within(&path("small"), 4).unwrap_err().to_string().contains("more than 4 bytes"));
        // 10 GB without a block on the disk.
        fs::File::create(path("large")).unwrap().set_len(10 << 30).unwrap();
        assert!(read(&path("large")).unwrap_err().to_string().contains("which no plugin has"));
        // Nobody writes to it.
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        assert!(read(&path("pipe")).unwrap_err().to_string().contains("name a file"));
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("name a file"));
        assert_eq!(read(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
