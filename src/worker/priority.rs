//! The priority of a thread.

/// Adds this to the niceness of the thread. Elsewhere than on Linux it would be that of the process.
#[cfg(target_os = "linux")]
pub(super) fn lower_priority(niceness: i32) {
    if let Err(error) = rustix::process::nice(niceness) {
        tracing::debug!("failed to lower an executor thread's priority: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn lower_priority(_: i32) {}
