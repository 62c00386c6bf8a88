//! Counters and histograms of the plugin. They are recorded only if the outcome of the call is: a call that traps or
//! returns an error records nothing.
//!
//! Counters are summed up in the plugin and reported to the host once per call, because a call to the host is expensive.
//! If a record fails, what it counted is kept. Outside of WebAssembly the values are collected for
//! [`crate::testing::Harness`].

use std::cell::RefCell;

use crate::again;

thread_local! {
    /// There are few names, so a linear search is faster than a map. Names are kept, and their sums reset to 0.
    static SUMS: RefCell<Vec<(String, u64)>> = const { RefCell::new(Vec::new()) };
}

/// Adds to the counter `wasmill_plugin_custom_total{name=NAME}`. The name is `[a-z0-9_]{1,64}`.
pub fn count(name: &str, by: u64) {
    if again::is_running() {
        return;
    }
    SUMS.with_borrow_mut(|sums| match sums.iter_mut().find(|(known, _)| known == name) {
        Some((_, sum)) => *sum = sum.saturating_add(by),
        None => sums.push((name.to_owned(), by)),
    });
}

/// Adds a value to the histogram `wasmill_plugin_custom{name=NAME}`. Each value is a call to the host.
pub fn observe(name: &str, value: f64) {
    if !again::is_running() {
        host::observe(name, value);
    }
}

/// Reports the sums if the call succeeded, and discards them if it failed.
pub(crate) fn reported<T>(call: Result<T, String>) -> Result<T, String> {
    match call {
        Ok(_) => flush(),
        Err(_) => forget(),
    }
    call
}

/// Reports the sums to the host.
fn flush() {
    SUMS.with_borrow_mut(|sums| {
        for (name, sum) in sums.iter_mut().filter(|(_, sum)| *sum > 0) {
            host::count(name, std::mem::take(sum));
        }
    });
}

/// Discards the sums, because the records of this call are run again.
fn forget() {
    SUMS.with_borrow_mut(|sums| sums.iter_mut().for_each(|(_, sum)| *sum = 0));
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::wasmill::plugin::metrics as host;

#[cfg(not(target_arch = "wasm32"))]
mod host {
    pub(super) use crate::testing::record_count as count;
    pub(super) use crate::testing::record_observation as observe;
}
