//! A window of one key, as a plugin sees it.

use std::borrow::Cow;

use super::time;

/// A window of one key. The accumulator holds the records of the key whose time is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window<'a> {
    /// The key; `None` is null, which differs from empty.
    pub key: Option<&'a [u8]>,
    /// The first millisecond of the window, since 1970-01-01 UTC.
    pub start: i64,
    /// The first millisecond after the window.
    pub end: i64,
    /// Whether no record comes any more. Otherwise the window is shown before it closes, and will be shown again.
    pub closed: bool,
}

impl<'a> Window<'a> {
    /// The key as text; `None` is null. Bytes that are not UTF-8 show as U+FFFD.
    #[must_use]
    pub fn key_text(&self) -> Option<Cow<'a, str>> {
        self.key.map(String::from_utf8_lossy)
    }

    /// The start in UTC, always with milliseconds, as in `2026-01-31T00:00:00.000Z`: the form that `std:aggregate` uses, which sorts as
    /// text.
    #[must_use]
    pub fn start_text(&self) -> String {
        time::text(self.start)
    }

    /// The end, in the form of [`start_text`](Window::start_text).
    #[must_use]
    pub fn end_text(&self) -> String {
        time::text(self.end)
    }
}
