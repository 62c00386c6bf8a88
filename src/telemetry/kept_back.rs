//! Suppressed log lines that would go uncounted because their source has gone silent, such as a plugin that stopped logging.
//!
//! A source of suppressed lines registers once. The thread that writes log lines calls it each second, and once more at the end; a
//! process without that thread never calls it. This file decides nothing. Invariant: the lock isn't held during such a call, since the
//! source logs.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

/// A source that suppresses log lines.
pub trait KeepsBack: Send + Sync {
    /// Logs how many lines were suppressed, if their interval is over, or at the `end` of the process.
    fn count_out(&self, end: bool);
}

/// The registered sources. Locked only to copy the list or to add to it.
static ALL: Mutex<Vec<Weak<dyn KeepsBack>>> = Mutex::new(Vec::new());

/// Registers a source until it is dropped.
pub fn ask_now_and_then(one: Weak<dyn KeepsBack>) {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|one| one.strong_count() > 0);
    all.push(one);
}

/// Calls all sources.
pub(super) fn count_out(end: bool) {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let there: Vec<Arc<dyn KeepsBack>> = all.iter().filter_map(Weak::upgrade).collect();
    drop(all);
    there.iter().for_each(|one| one.count_out(end));
}
