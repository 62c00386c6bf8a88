//! How a command ended, and its exit code.

use std::io;
use std::process::ExitCode;

use crate::plugin::MORE_THREADS;

/// How a command ended. The text is the whole error message.
#[derive(Debug)]
pub(super) enum Exit {
    /// Done, or drained after a signal.
    Fine,
    /// The pipeline stopped because of a record.
    Stopped(String),
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
            Exit::Stopped(_) => 1,
            Exit::Usage(_) => 2,
            Exit::Unreachable(_) => 69,
            Exit::Bug(_) => 70,
            Exit::DeadlinePassed(_) => 75,
            Exit::Invalid(_) => 78,
            Exit::Signal(number) => 128_u8.saturating_add(*number),
        }
    }

    pub(super) fn message(&self) -> &str {
        match self {
            Exit::Fine | Exit::Signal(_) => "",
            Exit::Stopped(text)
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
