//! Writes lines to the host's log, which adds the time and the step. They are kept even if the call traps later.
//!
//! Each line is a call to the host, so don't log for every record. Outside of WebAssembly the lines are collected for
//! [`crate::testing::Harness::logs`].

use std::fmt::Display;

use crate::again;

/// The severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step of the processing.
    Trace,
    /// For debugging the plugin.
    Debug,
    /// Normal events that are worth knowing.
    Info,
    /// Something that should be looked at.
    Warn,
    /// Something is broken.
    Error,
}

/// Writes a line at [`Level::Trace`].
pub fn trace(message: impl Display) {
    write(Level::Trace, &message.to_string());
}

/// Writes a line at [`Level::Debug`].
pub fn debug(message: impl Display) {
    write(Level::Debug, &message.to_string());
}

/// Writes a line at [`Level::Info`].
pub fn info(message: impl Display) {
    write(Level::Info, &message.to_string());
}

/// Writes a line at [`Level::Warn`].
pub fn warn(message: impl Display) {
    write(Level::Warn, &message.to_string());
}

/// Writes a line at [`Level::Error`].
pub fn error(message: impl Display) {
    write(Level::Error, &message.to_string());
}

fn write(level: Level, message: &str) {
    if !again::is_running() {
        host_write(level, message);
    }
}

#[cfg(target_arch = "wasm32")]
fn host_write(level: Level, message: &str) {
    use crate::bindings::wasmill::plugin::log;

    let level = match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::write(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn host_write(level: Level, message: &str) {
    crate::testing::record_log(level, message);
}
