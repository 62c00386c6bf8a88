//! What can go wrong, classed by what is done about it.
//!
//! The one table of error classes. `kafka` and `plugin` say which [`Kind`] an error is, [`Kind::class`] says what follows
//! from it, and the pure rooms act on the class alone. A kind without a class doesn't compile.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What is done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The record waits and is tried again; when its budget is spent, the policy decides.
    Retry,
    /// The record can't succeed: the policy decides at once.
    Reject,
    /// The guest broke: the batch's effects are dropped, its records are run again one by one, and the culprit
    /// goes to the policy.
    Fault,
    /// The broker refuses this record's output, and would again: the policy decides at once.
    Refused,
    /// It is not the record's fault: it travelled beside one that was refused, and is sent again.
    Resend,
    /// It is not the record's fault and a person must act (permission, missing topic): tried again every 10 s.
    Halt,
    /// It is not the record's fault and mends itself (time-outs, leaders that move): tried again.
    Infrastructure,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The plugin asked for the record to be tried again.
    Retry,
    /// The plugin rejected the record.
    Reject,
    /// The plugin returned an error for the whole call. Its records are run again one by one, and for one of them it is a reject.
    Error,
    /// The guest trapped: `unreachable`, a panic, a stack overflow.
    Trap,
    /// A call ran past the step's `timeout`.
    Timeout,
    /// The guest was refused memory and then broke.
    Memory,
    /// The guest returned something that the contract forbids.
    BadOutput,
    /// An output of this record is larger than its topic takes.
    TooLarge,
    /// The broker refuses an output of this record.
    Refused,
    /// The broker refused another record of the same request.
    BatchAborted,
    /// The cluster denies the pipeline what it needs, or a topic is missing.
    Denied,
    /// Anything else that Kafka reports.
    Broker,
}

impl Kind {
    /// Every kind of failure that a step can have, in the order of the `kind` label.
    pub const OF_STEPS: [Kind; 7] =
        [Kind::Reject, Kind::Retry, Kind::Error, Kind::Trap, Kind::Timeout, Kind::Memory, Kind::BadOutput];

    /// Every kind of failure for which the policy may give a record up, in the order of the `kind` label.
    pub const OF_RECORDS: [Kind; 9] = [
        Kind::Reject,
        Kind::Retry,
        Kind::Error,
        Kind::Trap,
        Kind::Timeout,
        Kind::Memory,
        Kind::BadOutput,
        Kind::TooLarge,
        Kind::Refused,
    ];

    /// What is done about it.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Kind::Retry => Class::Retry,
            Kind::Reject | Kind::Error => Class::Reject,
            Kind::Trap | Kind::Timeout | Kind::Memory | Kind::BadOutput => Class::Fault,
            Kind::TooLarge | Kind::Refused => Class::Refused,
            Kind::BatchAborted => Class::Resend,
            Kind::Denied => Class::Halt,
            Kind::Broker => Class::Infrastructure,
        }
    }

    /// Whether the instance may go on: only an error that the plugin itself returned leaves it whole.
    #[must_use]
    pub fn spoils_instance(self) -> bool {
        matches!(self, Kind::Trap | Kind::Timeout | Kind::Memory | Kind::BadOutput)
    }

    /// The code of a failure that has none of its own, as dead letters spell it.
    #[must_use]
    pub fn code(self) -> String {
        self.label().replace('_', "-")
    }

    /// The value of the `kind` label of metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Kind::Retry => "retry",
            Kind::Reject => "reject",
            Kind::Error => "error",
            Kind::Trap => "trap",
            Kind::Timeout => "timeout",
            Kind::Memory => "memory",
            Kind::BadOutput => "bad_output",
            Kind::TooLarge => "too_large",
            Kind::Refused => "refused",
            Kind::BatchAborted => "beside",
            Kind::Denied => "denied",
            Kind::Broker => "broker",
        }
    }
}

/// Why a record failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: Kind,
    /// The step, or `None` when the failure is the broker's.
    pub step: Option<Arc<str>>,
    /// The SHA-256 of the component that the step ran, hexadecimal; a step's component may be swapped.
    pub digest: Option<Arc<str>>,
    /// A short and stable code: the plugin's own for a reject, else the kind's.
    pub code: Box<str>,
    /// For people: a lowercase fragment without a full stop. At most [`REASON_BYTES_MAX`].
    pub reason: String,
    /// The guest's backtrace, or empty.
    pub backtrace: String,
    /// For [`Kind::Retry`]: the wait that the plugin asked for.
    pub delay: Option<Duration>,
}

/// A reason is cut to this many bytes: a plugin writes it.
pub const REASON_BYTES_MAX: usize = 4096;

impl Failure {
    /// A failure whose code is its kind's.
    #[must_use]
    pub fn new(kind: Kind, step: Option<Arc<str>>, reason: impl Into<String>) -> Failure {
        Failure {
            kind,
            step,
            digest: None,
            code: kind.code().into(),
            reason: cut(reason.into()),
            backtrace: String::new(),
            delay: None,
        }
    }

    /// A reject with the plugin's code, mended to `[a-z0-9-]{1,64}`.
    #[must_use]
    pub fn reject(step: Arc<str>, code: &str, reason: String) -> Failure {
        let code: String = code
            .chars()
            .take(64)
            .map(|c| match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9' | '-') => c,
                _ => '-',
            })
            .collect();
        Failure {
            code: if code.is_empty() { "rejected".into() } else { code.into() },
            ..Failure::new(Kind::Reject, Some(step), reason)
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = &self.step {
            write!(f, "step `{step}`: ")?;
        }
        // A code that is the kind's says nothing more.
        if *self.code == *self.kind.code() {
            write!(f, "{}: {}", self.kind.label(), self.reason)
        } else {
            write!(f, "{} ({}): {}", self.kind.label(), self.code, self.reason)
        }
    }
}

fn cut(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        let mut end = REASON_BYTES_MAX;
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        // What was cut off may be a megabyte, and failures outlive their batch.
        reason.shrink_to_fit();
    }
    reason
}
