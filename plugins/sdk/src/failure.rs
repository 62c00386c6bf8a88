//! The failures that a plugin can return for a record.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Display;
use std::time::Duration;

/// The result of [`crate::Transform::process`]: `Ok` emits the record's outputs, `Err` discards them.
pub type Verdict = Result<(), Failure>;

/// Why a record failed; created by [`reject`], [`retry`], [`retry_after`] and [`error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The record can't succeed. The pipeline's policy decides what happens to it: stop, dead letter or skip.
    Reject {
        /// Short and stable, for policies, metrics and dead letters: `[a-z0-9-]{1,64}`.
        code: Cow<'static, str>,
        /// A message for people.
        reason: String,
    },
    /// The record may succeed later. The pipeline limits how many times it is tried.
    Retry {
        /// The minimum delay; with `None` the pipeline's backoff decides.
        delay: Option<Duration>,
        /// A message for people.
        reason: String,
    },
    /// The whole call failed, independent of a particular record.
    Error {
        /// A message for people.
        reason: String,
    },
}

/// The record can't succeed. `code` is short and stable: `[a-z0-9-]{1,64}`, as in `bad-json`.
///
/// ```
/// let number: Result<u32, _> = "twelve".parse().map_err(|e| wasmill_sdk::reject("bad-number", e));
/// assert_eq!(number.unwrap_err().to_string(), "reject (bad-number): invalid digit found in string");
/// ```
pub fn reject(code: impl Into<Cow<'static, str>>, reason: impl Display) -> Failure {
    Failure::Reject { code: code.into(), reason: reason.to_string() }
}

/// The record may succeed later. The pipeline's backoff decides how long it waits.
pub fn retry(reason: impl Display) -> Failure {
    Failure::Retry { delay: None, reason: reason.to_string() }
}

/// The record may succeed later, but not before `delay` has passed.
pub fn retry_after(delay: Duration, reason: impl Display) -> Failure {
    Failure::Retry { delay: Some(delay), reason: reason.to_string() }
}

/// Fails the whole call, for problems that are not caused by a single record. The host discards all results of the
/// call and runs its records again one by one; for a single record it is a reject with the code `error`.
pub fn error(reason: impl Display) -> Failure {
    Failure::Error { reason: reason.to_string() }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Reject { code, reason } => write!(f, "reject ({code}): {reason}"),
            Failure::Retry { delay: None, reason } => write!(f, "retry: {reason}"),
            Failure::Retry { delay: Some(delay), reason } => write!(f, "retry after {delay:?}: {reason}"),
            Failure::Error { reason } => write!(f, "error: {reason}"),
        }
    }
}

impl std::error::Error for Failure {}
