//! The only module that reads the clock. Pure code gets `now` as an argument.

use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// The monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the place the lint points to")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since 1970-01-01 UTC, for spans.
#[expect(clippy::disallowed_methods, reason = "this is the place the lint points to")]
#[must_use]
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Milliseconds since 1970-01-01 UTC.
#[expect(clippy::disallowed_methods, reason = "this is the place the lint points to")]
#[must_use]
pub fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
