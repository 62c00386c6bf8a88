//! Limits how often log lines of the same kind are written.
//!
//! Pure: `now` is passed in. At most one line per kind in each [`EVERY`]; after that time the number of suppressed lines is
//! reported, even if no more follow. There is an entry for each kind that occurred within that time.

use std::time::Duration;
use std::time::Instant;

/// The minimum time between two lines of the same kind.
pub const EVERY: Duration = Duration::from_secs(10);

/// Remembers when each kind was logged last.
#[derive(Debug, Default)]
pub struct RateLimit {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    kind: String,
    logged: Instant,
    kept_back: u64,
}

impl RateLimit {
    /// Whether a line of this kind may be logged now; otherwise it is counted as suppressed.
    pub fn admit(&mut self, now: Instant, kind: &str) -> bool {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.kind == kind) {
            entry.kept_back += 1;
            return false;
        }
        self.entries.push(Entry { kind: kind.to_owned(), logged: now, kept_back: 0 });
        true
    }

    /// Removes the kinds whose time is over, and returns how many lines of each were suppressed, if any: the next line of these
    /// kinds is logged. Must be called before [`RateLimit::admit`], and regularly.
    pub fn over(&mut self, now: Instant) -> Vec<(String, u64)> {
        let is_over = |entry: &mut Entry| now.saturating_duration_since(entry.logged) >= EVERY;
        let over = self.entries.extract_if(.., is_over);
        over.filter(|entry| entry.kept_back > 0).map(|entry| (entry.kind, entry.kept_back)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_and_then_the_number_of_suppressed_lines() {
        #[expect(clippy::disallowed_methods, reason = "any instant does")]
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limit = RateLimit::default();
        assert!(limit.admit(at(0), "rejects"));
        assert!(!limit.admit(at(1), "rejects") && !limit.admit(at(9), "rejects"));
        assert!(limit.admit(at(9), "traps"), "another kind has its own line");
        assert_eq!(limit.over(at(9)), []);
        assert_eq!(limit.over(at(10)), [("rejects".to_owned(), 2)], "though nothing more came");
        assert_eq!(limit.over(at(10)), []);
        assert!(limit.admit(at(12), "rejects"));
        assert_eq!(limit.over(at(100)), [], "none was kept back");
        assert!(limit.entries.is_empty(), "what is over is forgotten");
    }
}
