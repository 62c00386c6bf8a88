//! Time for tests: waiting for a condition with a deadline. Only this file reads a clock.
#![expect(clippy::disallowed_methods, reason = "tests watch processes from outside")]

use std::thread;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// The polling interval: first, and maximum. Other tests use the polled broker, too.
const FIRST: Duration = Duration::from_millis(10);
const LAST: Duration = Duration::from_millis(100);

/// A running measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch(Instant);

impl Watch {
    pub(crate) fn start() -> Watch {
        Watch(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Polls until there is an answer.
///
/// # Panics
/// If there is none within `limit`; `what` describes the condition.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, ask: impl FnMut() -> Option<T>) -> T {
    look_for(limit, ask).unwrap_or_else(|| panic!("waited {limit:?} in vain: {what}"))
}

/// Polls until there is an answer, or `None` if there is none within `limit`.
pub(crate) fn look_for<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let watch = Watch::start();
    let mut step = FIRST;
    loop {
        let answer = ask();
        if answer.is_some() || watch.elapsed() >= limit {
            return answer;
        }
        thread::sleep(step);
        step = (step * 5 / 4).min(LAST);
    }
}

/// Like [`wait_for`], with a condition.
pub(crate) fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, limit, || holds().then_some(()));
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
