//! Counters and histograms of the plugin's own. They count only if the outcome of the call does: a call that traps or
//! returns an error counts nothing.
//!
//! Counters are summed here and handed to the host once a call, as crossing costs 0.1 us; what a record counted stays when
//! the record fails. Outside of WebAssembly they are collected for [`crate::testing::Harness`].

use std::cell::RefCell;

thread_local! {
    /// Few names, so a search beats a map. Names stay, their sums go back to 0.
    static SUMS: RefCell<Vec<(String, u64)>> = const { RefCell::new(Vec::new()) };
}

/// Adds to the counter `wasmill_plugin_custom_total{name=NAME}`. The name is `[a-z0-9_]{1,64}`.
pub fn count(name: &str, by: u64) {
    SUMS.with_borrow_mut(|sums| match sums.iter_mut().find(|(known, _)| known == name) {
        Some((_, sum)) => *sum = sum.saturating_add(by),
        None => sums.push((name.to_owned(), by)),
    });
}

/// Adds a value to the histogram `wasmill_plugin_custom{name=NAME}`. Each is a call to the host.
pub fn observe(name: &str, value: f64) {
    host::observe(name, value);
}

/// Hands the sums over.
pub(crate) fn flush() {
    SUMS.with_borrow_mut(|sums| {
        for (name, sum) in sums.iter_mut().filter(|(_, sum)| *sum > 0) {
            host::count(name, std::mem::take(sum));
        }
    });
}

/// Drops the sums: the records of this call run again.
pub(crate) fn forget() {
    SUMS.with_borrow_mut(|sums| sums.iter_mut().for_each(|(_, sum)| *sum = 0));
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::wasmill::plugin::metrics as host;

#[cfg(not(target_arch = "wasm32"))]
mod host {
    pub(super) use crate::testing::record_count as count;
    pub(super) use crate::testing::record_observation as observe;
}
