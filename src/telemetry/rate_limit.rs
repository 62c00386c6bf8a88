//! How often the same kind of record error gets a log line.
//!
//! Pure: `now` is passed in. One line for each (pipeline, step, kind) in [`EVERY`]; the next one says how many were
//! kept back. The metrics count all of them. It holds an entry for each step and kind, which are few.

use std::time::Duration;
use std::time::Instant;

use crate::failure::Kind;

/// The time between two lines of the same kind.
const EVERY: Duration = Duration::from_secs(10);

/// The memory of what was logged when.
#[derive(Debug, Default)]
pub struct RateLimit {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    pipeline: String,
    step: String,
    kind: Kind,
    logged: Instant,
    suppressed: u64,
}

impl RateLimit {
    /// Whether an error gets a line now: `Some` with the number of errors kept back since the last line.
    pub fn admit(&mut self, now: Instant, pipeline: &str, step: &str, kind: Kind) -> Option<u64> {
        let known = self
            .entries
            .iter_mut()
            .find(|entry| entry.kind == kind && entry.step == step && entry.pipeline == pipeline);
        let Some(entry) = known else {
            self.entries.push(Entry {
                pipeline: pipeline.to_owned(),
                step: step.to_owned(),
                kind,
                logged: now,
                suppressed: 0,
            });
            return Some(0);
        };
        if now.saturating_duration_since(entry.logged) < EVERY {
            entry.suppressed += 1;
            return None;
        }
        entry.logged = now;
        Some(std::mem::take(&mut entry.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn one_line_in_ten_seconds_and_the_next_counts_the_rest() {
        #[expect(clippy::disallowed_methods, reason = "any instant does")]
        let start = Instant::now();
        let mut limit = RateLimit::default();
        let mut admit = |seconds, step, kind| limit.admit(start + Duration::from_secs(seconds), "orders", step, kind);
        assert_eq!(admit(0, "mask", Kind::Reject), Some(0));
        assert_eq!(admit(1, "mask", Kind::Reject), None);
        assert_eq!(admit(9, "mask", Kind::Reject), None);
        assert_eq!(admit(9, "mask", Kind::Trap), Some(0), "another kind has its own line");
        assert_eq!(admit(9, "route", Kind::Reject), Some(0), "another step has its own line");
        assert_eq!(admit(10, "mask", Kind::Reject), Some(2));
        assert_eq!(admit(20, "mask", Kind::Reject), Some(0));
    }
}
