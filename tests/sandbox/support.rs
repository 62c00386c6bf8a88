//! The foundation of these tests: support modules of other tests, and the figures of this process.

#[path = "../it/support/clock.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
pub(crate) mod clock;
#[path = "../it/support/random.rs"]
pub(crate) mod random;

use std::env;
use std::fs;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

pub(crate) const MIB: u64 = 1 << 20;

/// Prints a line for people, also about tests that pass.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether all of it is to be tried, and not only a part.
pub(crate) fn is_full() -> bool {
    env::var("WASMILL_FULL").is_ok_and(|full| full == "1")
}

/// A count that an environment variable may set, to try more or less of something.
pub(crate) fn count(variable: &str, short: usize, full: usize) -> usize {
    let given = env::var(variable).ok().and_then(|count| count.parse().ok());
    given.unwrap_or_else(|| if is_full() { full } else { short })
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder with this ending, sorted; none if there is no such folder.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    files_in(folder, |path| path.extension().is_some_and(|found| found == extension))
}

/// What a folder has that is meant, sorted.
pub(crate) fn files_in(folder: &Path, is_meant: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| is_meant(path)).collect();
    files.sort();
    files
}

/// Held by tests that measure the process, so that they run one after the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A figure of this process: `VmRSS`, or `VmHWM`, which is the largest since [`forget_peak`].
pub(crate) fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

/// Has the kernel measure the peak of this process's memory anew.
pub(crate) fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// How many threads this process has.
pub(crate) fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// For how long this thread could run and had no core, since it began.
pub(crate) fn waited_for_a_core() -> Duration {
    let figures = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(figures.split_whitespace().nth(1).unwrap().parse().unwrap())
}
