//! Whether the plugin is run again for a record that it has seen in this call: what it then logs and counts is dropped.

use std::cell::Cell;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a record is run again.
#[inline]
pub(crate) fn is_running() -> bool {
    RUNNING.get()
}

/// Runs something again, without log lines and metrics.
#[cfg(feature = "state")]
pub(crate) fn quietly<T>(run: impl FnOnce() -> T) -> T {
    RUNNING.set(true);
    let _end = End;
    run()
}

/// Ends the silence, after a panic too: tests go on after one.
#[cfg(feature = "state")]
struct End;

#[cfg(feature = "state")]
impl Drop for End {
    fn drop(&mut self) {
        RUNNING.set(false);
    }
}
