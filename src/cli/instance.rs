//! The number of this process among those of one host and group, which makes its `transactional.id` its own.
//!
//! Two live processes with one id would fence each other again and again. A process that is started again has to find its old id:
//! with it, its first order to the brokers ends what its predecessor left open, while readers of another id's outputs wait for a
//! timeout. So a process takes the first number whose lock file is free, and the system frees the lock when the process ends.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use sha2::Digest as _;
use sha2::Sha256;

use super::load;
use crate::config;
use crate::kafka::settings::Guarantee;
use crate::kafka::settings::transactional_ids;

/// More processes of one group on one host aren't expected.
const NUMBERS_MAX: u32 = 10_000;

/// The lock files that this process holds.
pub(super) struct Instances {
    folder: Option<PathBuf>,
    /// By group.
    held: Mutex<BTreeMap<String, (u32, File)>>,
}

impl Instances {
    /// Takes lock files from this folder, or from wasmill's in the user's state folder.
    pub(super) fn new(folder: Option<PathBuf>) -> Instances {
        Instances {
            folder: folder.or_else(|| load::user_folder("XDG_STATE_HOME", ".local/state")),
            held: Mutex::default(),
        }
    }

    /// Gives a pipeline with exactly-once delivery an id that no other process has, unless the file has an `instance_id`.
    ///
    /// # Errors
    /// Why no lock file could be taken, for people.
    pub(super) fn name(&self, config: &mut config::Pipeline) -> Result<(), String> {
        let (delivery, input) = (&mut config.kafka.delivery, &config.kafka.input);
        let Guarantee::ExactlyOnce { transactional_id } = delivery else { return Ok(()) };
        if input.instance_id.is_none() {
            let number = self.number(&input.group)?;
            *transactional_id = format!("{}{}-{number}", transactional_ids(&input.group), host());
        }
        Ok(())
    }

    fn number(&self, group: &str) -> Result<u32, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, _)) = held.get(group) {
            return Ok(*number);
        }
        let folder = self.folder.as_deref().ok_or(
            "`delivery = \"exactly_once\"` needs a folder for its lock files, and there is no HOME: name one with `--state DIR`, or \
             set `input.instance_id`",
        )?;
        let (number, file) = lock(folder, group)?;
        held.insert(group.to_owned(), (number, file));
        Ok(number)
    }
}

/// Takes the first free number of a group.
fn lock(folder: &Path, group: &str) -> Result<(u32, File), String> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        format!(
            "the lock file {} of `delivery = \"exactly_once\"`: {error}; name another folder with `--state DIR`",
            path.display()
        )
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    // A group's name may hold what a file's can't.
    let digest = format!("{:x}", Sha256::digest(group.as_bytes()));
    let prefix = &digest[..16];
    for number in 0..NUMBERS_MAX {
        let path = folder.join(format!("{prefix}-{number}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| failed(&path, &error))?;
        match file.try_lock() {
            Ok(()) => return Ok((number, file)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(&path, &error)),
        }
    }
    Err(failed(folder, &format!("{NUMBERS_MAX} are taken")))
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_the_first_number_that_no_other_one_holds() {
        let folder = tempfile::tempdir().unwrap();
        let take = |group: &str| lock(folder.path(), group).unwrap();
        let (first, second) = (take("orders"), take("orders"));
        assert_eq!((first.0, second.0, take("refunds").0), (0, 1, 0), "groups have numbers of their own");
        drop(first);
        assert_eq!(take("orders").0, 0, "a process that ended leaves its number");
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named() {
        let error = lock(Path::new("/proc/none"), "orders").unwrap_err();
        assert!(error.contains("/proc/none") && error.contains("--state DIR"), "{error}");
    }
}
