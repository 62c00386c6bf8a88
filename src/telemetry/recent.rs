//! The last log lines of each pipeline, for people who look at it without access to stderr.
//!
//! Only lines of a pipeline are kept, and only those that the filter lets through. Invariant: what is kept of one pipeline is bounded in
//! lines and in bytes, whatever its plugins log.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tracing::Event;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::pipeline;

/// The most lines and bytes that are kept of a pipeline, and the most bytes of one line.
const LINES_MAX: usize = 200;
const BYTES_MAX: usize = 64 << 10;
const LINE_BYTES_MAX: usize = 4 << 10;

/// The lines of all pipelines. Locked to add one, and to copy those of one pipeline.
static KEPT: Mutex<BTreeMap<Arc<str>, Kept>> = Mutex::new(BTreeMap::new());

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentLine {
    /// Counts the lines of its pipeline from 1.
    pub number: u64,
    /// When it was logged, in ms since 1970-01-01 UTC.
    pub at_ms: i64,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: &'static str,
    /// The message, with its fields behind it.
    pub text: String,
}

/// The lines that a pipeline has logged last, after the line of this number.
#[must_use]
pub fn recent(pipeline: &str, after: u64) -> Vec<RecentLine> {
    let kept = kept();
    let lines = kept.get(pipeline).into_iter().flat_map(|kept| &kept.lines);
    lines.filter(|line| line.number > after).cloned().collect()
}

/// Forgets the lines of a pipeline that is gone.
pub fn forget(pipeline: &str) {
    kept().remove(pipeline);
}

fn kept() -> MutexGuard<'static, BTreeMap<Arc<str>, Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<RecentLine>,
    bytes: usize,
    /// The number of the last line.
    last: u64,
}

impl Kept {
    fn put(&mut self, at_ms: i64, level: &'static str, mut text: String) {
        if text.len() > LINE_BYTES_MAX {
            let end = text.floor_char_boundary(LINE_BYTES_MAX);
            text.truncate(end);
            text.push_str(" ..");
        }
        self.last += 1;
        self.bytes += text.len();
        self.lines.push_back(RecentLine { number: self.last, at_ms, level, text });
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.text.len();
        }
    }
}

/// See the head of the file.
pub(super) struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(name) = pipeline::current() else { return };
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level().as_str();
        kept().entry(name).or_default().put(unix_ms(), level, line.message + &line.fields);
    }
}

/// Milliseconds since 1970-01-01 UTC, for times that are shown to people.
#[expect(clippy::disallowed_methods, reason = "a time that is shown to people")]
#[must_use]
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A line under construction.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A String takes any text.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn the_last_lines_of_each_pipeline_are_kept_within_their_bounds() {
        let subscriber = tracing_subscriber::registry().with(Recent);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("of no pipeline");
            pipeline::in_pipeline("recent-one".into(), || {
                (0..300).for_each(|n| tracing::warn!(topic = "in", n, "a record failed"));
            });
            pipeline::in_pipeline("recent-two".into(), || {
                (0..100).for_each(|_| tracing::info!("{}", "\u{fc}".repeat(LINE_BYTES_MAX)));
            });
        });
        let one = recent("recent-one", 0);
        assert_eq!((one.len(), one[0].number, one[199].number), (LINES_MAX, 101, 300));
        assert_eq!((one[199].level, one[199].text.as_str()), ("WARN", "a record failed topic=\"in\" n=299"));
        assert_eq!(recent("recent-one", 298).len(), 2);
        let two = recent("recent-two", 0);
        let bytes: usize = two.iter().map(|line| line.text.len()).sum();
        assert!(bytes <= BYTES_MAX && two.len() >= 10, "{bytes} bytes in {} lines", two.len());
        forget("recent-two");
        assert_eq!(recent("recent-two", 0), []);
    }
}
