//! The foundation of the rows: the support modules of `tests/it`, on a node that a row can break.

#[path = "broker.rs"]
pub(crate) mod broker;
#[path = "../it/support/canary.rs"]
pub(crate) mod canary;
#[path = "../it/support/clock.rs"]
pub(crate) mod clock;
#[path = "../it/support/component.rs"]
pub(crate) mod component;
#[path = "../it/support/delivery.rs"]
pub(crate) mod delivery;
#[path = "../it/support/java.rs"]
pub(crate) mod java;
#[path = "../it/support/place.rs"]
pub(crate) mod place;
#[path = "../it/support/random.rs"]
pub(crate) mod random;
#[path = "../it/support/wasmill.rs"]
pub(crate) mod wasmill;
#[path = "../it/support/windows.rs"]
pub(crate) mod windows;

use std::io;
use std::io::Write as _;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// A name that is unique in this row.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", clock::unix_ms(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Prints a line for people to stderr; stdout is for the results.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
