//! Lines that were kept back by somebody whom nothing calls when the time is over in which they are: a plugin that is silent again.
//!
//! Who keeps lines back says so once, and is asked each second by the thread that writes lines, and once more at the end; a
//! process without that thread asks nobody. It decides nothing. Invariant: the lock isn't held while one is asked, as who is asked logs.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

/// Somebody who keeps lines back.
pub trait KeepsBack: Send + Sync {
    /// Logs how many were kept back, if the time is over in which they were, or nothing more comes at the `end`.
    fn count_out(&self, end: bool);
}

/// Those who are there. Locked for a copy, or to add one.
static ALL: Mutex<Vec<Weak<dyn KeepsBack>>> = Mutex::new(Vec::new());

/// From now on this one is asked, until it is dropped.
pub fn ask_now_and_then(one: Weak<dyn KeepsBack>) {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|one| one.strong_count() > 0);
    all.push(one);
}

/// Asks all.
pub(super) fn count_out(end: bool) {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let there: Vec<Arc<dyn KeepsBack>> = all.iter().filter_map(Weak::upgrade).collect();
    drop(all);
    there.iter().for_each(|one| one.count_out(end));
}
