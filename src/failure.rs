//! Everything that can go wrong, classified by how wasmill responds.
//!
//! This is the only table of error classes. `kafka` and `plugin` determine the [`Kind`] of an error, [`Kind::class`] maps it to a
//! class, and the pure modules act on the class alone. A kind without a class doesn't compile.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How wasmill responds to a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The record is retried after a backoff; when its retry budget is used up, the policy decides.
    Retry,
    /// The record can't succeed; the policy decides at once.
    Reject,
    /// The guest failed: its results for the batch are discarded, the records are run again one by one, and the policy decides
    /// about the record that causes the fault.
    Fault,
    /// The broker refuses an output of this record and would refuse it again; the policy decides at once.
    Refused,
    /// Not caused by the record: another record of the same request was refused, so this one is sent again.
    Resend,
    /// Not caused by the record, and a person must act (permission, missing topic): retried every 10 s.
    Halt,
    /// Not caused by the record, and temporary (time-outs, leader changes): retried.
    Infrastructure,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The plugin asked to retry the record.
    Retry,
    /// The plugin rejected the record.
    Reject,
    /// The plugin returned an error for the whole call. The records are run again one by one; an error for a single record is a
    /// reject.
    Error,
    /// The guest trapped: `unreachable`, a panic, a stack overflow.
    Trap,
    /// A call exceeded the step's `timeout`.
    Timeout,
    /// The guest was denied memory during a call, and the call trapped, returned an error, or failed records.
    Memory,
    /// The guest's result violates the contract.
    BadOutput,
    /// The record names a topic, and the pipeline has as many as it may have.
    TooManyTopics,
    /// An output of this record is larger than its topic accepts.
    TooLarge,
    /// The broker refuses an output of this record.
    Refused,
    /// The broker refused another record of the same request.
    BatchAborted,
    /// The cluster denies a permission that the pipeline needs, or a topic is missing.
    Denied,
    /// Anything else that Kafka reports.
    Broker,
}

impl Kind {
    /// Every kind of failure that a step can have, in the order of the `kind` label.
    pub const OF_STEPS: [Kind; 7] =
        [Kind::Reject, Kind::Retry, Kind::Error, Kind::Trap, Kind::Timeout, Kind::Memory, Kind::BadOutput];

    /// Every kind for which a record can fail permanently, in the order of the `kind` label.
    pub const OF_RECORDS: [Kind; 10] = [
        Kind::Reject,
        Kind::Retry,
        Kind::Error,
        Kind::Trap,
        Kind::Timeout,
        Kind::Memory,
        Kind::BadOutput,
        Kind::TooManyTopics,
        Kind::TooLarge,
        Kind::Refused,
    ];

    /// How wasmill responds to this kind.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Kind::Retry => Class::Retry,
            Kind::Reject | Kind::Error => Class::Reject,
            Kind::Trap | Kind::Timeout | Kind::Memory | Kind::BadOutput => Class::Fault,
            Kind::TooManyTopics | Kind::TooLarge | Kind::Refused => Class::Refused,
            Kind::BatchAborted => Class::Resend,
            Kind::Denied => Class::Halt,
            Kind::Broker => Class::Infrastructure,
        }
    }

    /// Whether the instance must be discarded: it can be reused only after an error that the plugin itself returned.
    #[must_use]
    pub fn spoils_instance(self) -> bool {
        matches!(self, Kind::Trap | Kind::Timeout | Kind::Memory | Kind::BadOutput)
    }

    /// The code of a failure without a code of its own, as dead letters spell it.
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
            Kind::TooManyTopics => "too_many_topics",
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
    /// The step, or `None` when the failure came from the broker.
    pub step: Option<Arc<str>>,
    /// The SHA-256 of the component that the step ran, in hexadecimal: a step's component can be swapped.
    pub digest: Option<Arc<str>>,
    /// A short and stable code: for a reject the plugin's own, otherwise that of the kind.
    pub code: Box<str>,
    /// For people: a lowercase fragment without a full stop, of at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// The guest's backtrace, or empty.
    pub backtrace: String,
    /// For [`Kind::Retry`]: the delay that the plugin asked for.
    pub delay: Option<Duration>,
}

/// The maximum size of a reason. A plugin writes reasons, so longer ones are cut.
pub const REASON_BYTES_MAX: usize = 4096;

impl Failure {
    /// A failure with the code of its kind.
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

    /// A reject with the plugin's code, sanitized to `[a-z0-9-]{1,64}`.
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
        // The code is printed only if it differs from the kind's.
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
        // The rest of the reason may have been a megabyte, and failures outlive their batch.
        reason.shrink_to_fit();
    }
    reason
}
