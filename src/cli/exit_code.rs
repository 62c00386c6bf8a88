//! How a command ended, and its exit code.

use std::io;
use std::process::ExitCode;

use crate::pipeline::RecordPlace;
use crate::plugin::MORE_THREADS;

/// How a command ended. The text is the whole error message.
#[derive(Debug)]
pub(super) enum Exit {
    /// Done, or drained after a signal.
    Fine,
    /// The pipeline stopped because of a record.
    Stopped(String),
    /// The same, with the record or partition that the message is about.
    StoppedAt(String, Box<RecordPlace>),
    /// The command line is invalid.
    Usage(String),
    /// No broker answered, and no other error was found.
    Unreachable(String),
    /// A bug in wasmill.
    Bug(String),
    /// The drain deadline passed: records will be processed again.
    DeadlinePassed(String),
    /// A file, a component or a topic is invalid.
    Invalid(String),
    /// A second signal ended the process at once, without another commit.
    Signal(u8),
}

impl Exit {
    /// A thread can't be started, which is not a bug in wasmill.
    pub(super) fn no_thread(what: &str, error: &io::Error) -> Exit {
        Exit::Invalid(format!("start the thread that {what}: {error}; {MORE_THREADS}"))
    }

    /// The only place that assigns exit codes.
    pub(super) fn code(&self) -> u8 {
        match self {
            Exit::Fine => 0,
            Exit::Stopped(_) | Exit::StoppedAt(..) => 1,
            Exit::Usage(_) => 2,
            Exit::Unreachable(_) => 69,
            Exit::Bug(_) => 70,
            Exit::DeadlinePassed(_) => 75,
            Exit::Invalid(_) => 78,
            Exit::Signal(number) => 128_u8.saturating_add(*number),
        }
    }

    /// The record or partition that the message is about, if it is about one.
    fn place(&self) -> Option<&RecordPlace> {
        match self {
            Exit::StoppedAt(_, place) => Some(place),
            Exit::Fine
            | Exit::Stopped(_)
            | Exit::Usage(_)
            | Exit::Unreachable(_)
            | Exit::Bug(_)
            | Exit::DeadlinePassed(_)
            | Exit::Invalid(_)
            | Exit::Signal(_) => None,
        }
    }

    /// Logs the message, after `before`, with the place that it is about as fields.
    pub(super) fn log(&self, before: &str) {
        let (place, message) = (self.place(), self.message().trim_end());
        let (topic, partition) = place.map(|at| (&*at.partition.topic, at.partition.partition)).unzip();
        let (step, offset) = (place.and_then(|at| at.step.as_deref()), place.map(|at| at.offset));
        tracing::error!(step, topic, partition, offset, "{before}{message}");
    }

    pub(super) fn message(&self) -> &str {
        match self {
            Exit::Fine | Exit::Signal(_) => "",
            Exit::Stopped(text)
            | Exit::StoppedAt(text, _)
            | Exit::Usage(text)
            | Exit::Unreachable(text)
            | Exit::Bug(text)
            | Exit::DeadlinePassed(text)
            | Exit::Invalid(text) => text,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The list of exit codes in `--help`.
pub(super) const CODES: &str = "Exit codes:
  0    done, or shut down cleanly after a signal
  1    the pipeline stopped on a record, or what was asked for is done in part or is not there
  2    the command line is wrong
  69   `check` or `dlq` reached no broker, or `state` no broker or process
  70   a bug of wasmill
  75   the shutdown deadline passed: some records will be repeated
  78   something is wrong in a file, a component or a topic
  130, 143  ended by a signal; for `run` and `dev`, left at once after a second one";
