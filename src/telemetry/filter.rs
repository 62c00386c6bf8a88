//! The filter of the process's log lines, which can be changed while it runs: for good, or for a while.
//!
//! It has no clock: who sets a filter for a while says when that is over. Invariant: what ends is the last change, so a filter that was
//! set meanwhile stays.

use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

use tracing_subscriber::EnvFilter;

/// The longest text of a filter that is set while the process runs.
pub const FILTER_BYTES_MAX: usize = 4 << 10;

/// The filter of this process. It has none before [`super::init`].
static OF_PROCESS: OnceLock<LogFilter> = OnceLock::new();

/// Puts a filter into the subscriber.
type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// See the head of the file.
struct LogFilter {
    apply: Apply,
    /// Locked for one change, and to read it. The subscriber is changed under it.
    current: Mutex<CurrentFilter>,
}

/// The filter as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentFilter {
    /// The text of the filter.
    pub filter: String,
    /// For one that was set for a while: until when, in ms since 1970-01-01 UTC, and the filter that comes back then.
    pub returns: Option<(i64, String)>,
    /// Counts the changes.
    change: u64,
}

/// Why a filter isn't set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterRefused {
    /// It can't be read: why, and what to write.
    Unreadable(String),
    /// The process has no log of its own.
    NoLog,
}

impl fmt::Display for FilterRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterRefused::Unreadable(why) => write!(f, "the filter can't be read: {why}"),
            FilterRefused::NoLog => write!(f, "this process has no log"),
        }
    }
}

/// The subscriber of the process was installed with this filter.
pub(super) fn installed(filter: &str, apply: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) {
    let current = CurrentFilter { filter: filter.to_owned(), returns: None, change: 0 };
    // Later calls change nothing.
    let _ = OF_PROCESS.set(LogFilter { apply: Box::new(apply), current: Mutex::new(current) });
}

/// The filter of this process; `None` if it has no log.
#[must_use]
pub fn log_filter() -> Option<CurrentFilter> {
    OF_PROCESS.get().map(|filter| filter.lock().clone())
}

/// Sets the filter: for good, or until this time in ms since 1970-01-01 UTC, when the caller passes the returned number to
/// [`end_log_filter`].
///
/// # Errors
/// If it can't be read. Then nothing has changed.
pub fn set_log_filter(text: &str, until_ms: Option<i64>) -> Result<u64, FilterRefused> {
    OF_PROCESS.get().ok_or(FilterRefused::NoLog)?.set(text, until_ms)
}

/// The time of the filter that was set with this number is over. Returns the filter that is back, or `None` if another one was set.
pub fn end_log_filter(change: u64) -> Option<String> {
    OF_PROCESS.get()?.end(change)
}

impl LogFilter {
    fn lock(&self) -> MutexGuard<'_, CurrentFilter> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, text: &str, until_ms: Option<i64>) -> Result<u64, FilterRefused> {
        let text = text.trim();
        let filter = parse(text).map_err(FilterRefused::Unreadable)?;
        let mut current = self.lock();
        (self.apply)(filter).map_err(FilterRefused::Unreadable)?;
        let standing = current.returns.take().map_or_else(|| current.filter.clone(), |(_, standing)| standing);
        let change = current.change + 1;
        let returns = until_ms.map(|until_ms| (until_ms, standing));
        *current = CurrentFilter { filter: text.to_owned(), returns, change };
        Ok(change)
    }

    fn end(&self, change: u64) -> Option<String> {
        let mut current = self.lock();
        let (_, standing) = current.returns.clone().filter(|_| current.change == change)?;
        // It was a filter before.
        let filter = EnvFilter::try_new(&standing).ok()?;
        (self.apply)(filter).ok()?;
        *current = CurrentFilter { filter: standing.clone(), returns: None, change: change + 1 };
        Some(standing)
    }
}

/// Reads a filter. `tracing_subscriber` takes a misspelt level for the name of a module, of which it would log everything.
fn parse(text: &str) -> Result<EnvFilter, String> {
    const HELP: &str = "write a level (error, warn, info, debug, trace, off), or MODULE=LEVEL, separated by commas, such as \
                        `info,wasmill::kafka=debug`";
    if text.is_empty() {
        return Err(format!("it is empty; {HELP}"));
    }
    if text.len() > FILTER_BYTES_MAX {
        return Err(format!("it has more than {FILTER_BYTES_MAX} bytes; {HELP}"));
    }
    let is_level =
        |word: &str| ["error", "warn", "info", "debug", "trace", "off"].contains(&&*word.to_ascii_lowercase());
    for directive in text.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        if !is_level(level) {
            return Err(format!("`{level}` is no level; {HELP}"));
        }
    }
    EnvFilter::builder().with_regex(false).parse(text).map_err(|error| format!("{error}; {HELP}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn filter() -> (LogFilter, Arc<Mutex<Vec<String>>>) {
        let applied: Arc<Mutex<Vec<String>>> = Arc::default();
        let to = Arc::clone(&applied);
        let apply = move |filter: EnvFilter| {
            to.lock().unwrap().push(filter.to_string());
            Ok(())
        };
        let current = CurrentFilter { filter: "info".into(), returns: None, change: 0 };
        (LogFilter { apply: Box::new(apply), current: Mutex::new(current) }, applied)
    }

    #[test]
    fn a_filter_for_a_while_gives_way_to_the_one_before_unless_another_was_set() {
        let (filter, applied) = filter();
        let first = filter.set("debug", Some(5)).unwrap();
        assert_eq!(filter.lock().returns, Some((5, "info".into())));
        let second = filter.set("trace", Some(9)).unwrap();
        assert_eq!(filter.lock().returns, Some((9, "info".into())), "not the one that was there for a while");
        assert_eq!(filter.end(first), None);
        assert_eq!(filter.end(second).as_deref(), Some("info"));
        assert_eq!(filter.end(second), None);
        let third = filter.set(" warn ", Some(9)).unwrap();
        filter.set("error", None).unwrap();
        assert_eq!(filter.end(third), None, "one for good was set");
        let current = filter.lock().clone();
        assert_eq!((current.filter.as_str(), current.returns), ("error", None));
        assert_eq!(*applied.lock().unwrap(), ["debug", "trace", "info", "warn", "error"]);
    }

    #[test]
    fn a_filter_that_cannot_be_meant_is_refused_and_changes_nothing() {
        let (filter, applied) = filter();
        for (text, why) in [
            ("", "it is empty"),
            ("inof", "`inof` is no level"),
            ("info,wasmill=loud", "`loud` is no level"),
            ("info,", "`` is no level"),
            ("a[b=info", "the filter can't be read"),
        ] {
            let error = filter.set(text, None).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("info,wasmill::kafka=debug"), "{text}: {error}");
        }
        assert!(filter.set(&"info,".repeat(FILTER_BYTES_MAX), None).is_err());
        assert!(applied.lock().unwrap().is_empty());
        assert!(filter.set("WARN,wasmill::kafka=debug,plugin=off", None).is_ok());
    }
}
