//! The foundation of all tests: a broker, the Java client, wasmill processes, and plugins built from text.

pub(crate) mod broker;
pub(crate) mod browser;
pub(crate) mod canary;
pub(crate) mod clock;
pub(crate) mod collector;
pub(crate) mod component;
pub(crate) mod delay;
pub(crate) mod delivery;
pub(crate) mod java;
pub(crate) mod place;
pub(crate) mod random;
pub(crate) mod wasmill;
pub(crate) mod windows;

use std::io;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// Locked by a test that loads the machine: two at a time would distort each other's measurements.
pub(crate) fn load() -> MutexGuard<'static, ()> {
    static LOAD: Mutex<()> = Mutex::new(());
    LOAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether to run the long schedules.
pub(crate) fn full() -> bool {
    std::env::var("WASMILL_FULL").is_ok_and(|full| full == "1")
}

/// A name that is unique across tests and runs.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{count}", clock::unix_ms())
}

/// Prints a figure to stderr, bypassing the test harness's capture: some tests exist for their figures.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
