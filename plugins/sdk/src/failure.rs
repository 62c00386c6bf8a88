//! What a plugin says of a record that it could not process.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Display;
use std::time::Duration;

/// What [`crate::Transform::process`] returns: `Ok` keeps what the record emitted, `Err` takes it back.
pub type Verdict = Result<(), Failure>;

/// Why a record failed; made by [`reject`], [`retry`], [`retry_after`] and [`error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The record can't succeed: the pipeline's policy decides (stop, dead letter, skip).
    Reject {
        /// Short and stable, for policies, metrics and dead letters: `[a-z0-9-]{1,64}`.
        code: Cow<'static, str>,
        /// For people.
        reason: String,
    },
    /// The record may succeed later. The pipeline limits how often it is tried.
    Retry {
        /// The least wait; `None` leaves it to the pipeline's backoff.
        delay: Option<Duration>,
        /// For people.
        reason: String,
    },
    /// The call failed, whichever record it was at.
    Error {
        /// For people.
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

/// The record may succeed later, after the wait that the pipeline's backoff gives.
pub fn retry(reason: impl Display) -> Failure {
    Failure::Retry { delay: None, reason: reason.to_string() }
}

/// The record may succeed later, but not before `delay` has passed.
pub fn retry_after(delay: Duration, reason: impl Display) -> Failure {
    Failure::Retry { delay: Some(delay), reason: reason.to_string() }
}

/// Gives the whole call up, for what isn't one record's doing. All effects of the call are dropped and the host runs
/// its records one by one; for a single record it is a reject with the code `error`.
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
