//! The command line: parses the arguments, calls the modules that do the work, and turns the result into a message and
//! an exit code.
//!
//! One file per command; only commands that work are listed. Data goes to stdout, everything else to stderr. Only
//! `exit_code.rs` decides the exit code.

mod args;
mod build;
mod check;
mod compile;
mod completions;
mod config;
mod conformance;
mod dev;
mod dlq;
mod exit_code;
mod fleet;
mod http;
mod inspect;
mod instance;
mod load;
mod man;
mod new;
mod notify;
mod operate;
mod print;
mod rate;
mod run;
mod schema;
mod service;
mod settings;
mod signals;
mod state;
mod test;
mod time;
mod traces;
mod try_;
mod wit;

use std::env;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::admin::Operation;
use crate::telemetry;
use crate::telemetry::Style;

use args::Args;
use args::Verb;
use exit_code::Exit;
use signals::Signals;
use signals::StartError;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // A command that wasmill runs in a child process is not for users, so it is not listed, suggested or explained.
    if env::args_os().nth(1).is_some_and(|verb| verb == compile::VERB) {
        return match compile::Args::try_parse_from(env::args_os().skip(1)) {
            Ok(args) => complain(compile::run(&args).err().unwrap_or(Exit::Fine), None),
            Err(error) => complain(Exit::Usage(error.to_string()), None),
        };
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and the version are data and exit with 0; a closed pipe is not reported.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage(String::new()).into() } else { Exit::Fine.into() };
        }
    };
    let style = match telemetry::init(&args.logs.options(args.verb.continues())) {
        Ok(style) => style,
        Err(error) => return complain(Exit::Usage(error.to_string()), None),
    };
    let signals = match Signals::start() {
        Ok(signals) => Arc::new(signals),
        Err(StartError::Handler(error)) => return complain(Exit::Bug(format!("handle signals: {error}")), None),
        Err(StartError::Thread(error)) => return complain(Exit::no_thread("handles signals", &error), None),
    };
    // The panic hook has printed the panic already.
    let ended = panic::catch_unwind(AssertUnwindSafe(|| run_verb(&args.verb, &signals)))
        .unwrap_or_else(|_| Exit::Bug("wasmill itself failed; please report the lines above".into()));
    complain(ended, args.verb.is_service().then_some(style))
}

fn run_verb(verb: &Verb, signals: &Arc<Signals>) -> Exit {
    let done = match verb {
        Verb::Run(args) => run::run(args, signals),
        Verb::Dev(args) => dev::run(args, signals),
        Verb::New(args) => new::run(args),
        Verb::Build(args) => build::run(args),
        Verb::Try(args) => try_::run(args),
        Verb::Test(args) => test::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Dlq(args) => dlq::run(args, signals),
        Verb::State(args) => state::run(args),
        Verb::Status(args) => operate::status(args, false),
        Verb::Top(args) => operate::status(args, true),
        Verb::Logs(args) => operate::logs(args),
        Verb::Tap(args) => operate::tap(args),
        Verb::LogFilter(args) => operate::log_filter(args),
        Verb::Pause(args) => operate::act(args, Operation::Pause),
        Verb::Resume(args) => operate::act(args, Operation::Resume),
        Verb::Restart(args) => operate::act(args, Operation::Restart),
        Verb::Stop(args) => operate::act(args, Operation::Stop),
        Verb::Start(args) => operate::act(args, Operation::Start),
        Verb::Reload(args) => operate::reload(args),
        Verb::Skip(args) => operate::skip(args),
        Verb::Conformance(args) => conformance::run(args),
        Verb::Inspect(args) => inspect::run(args),
        Verb::Config(args) => config::run(args),
        Verb::Schema(args) => schema::run(args),
        Verb::Wit(args) => wit::run(args),
        Verb::Completions(args) => completions::run(args),
        Verb::Man(args) => man::run(args),
    };
    done.err().unwrap_or(Exit::Fine)
}

/// Prints why the process ends, if there is a message. `style` is that of the log, for commands that log.
fn complain(exit: Exit, style: Option<Style>) -> ExitCode {
    let message = exit.message();
    if !message.is_empty() {
        telemetry::make_room();
        if style.is_some_and(|style| style.json) {
            exit.log("");
        } else {
            // A report about a file already begins with its level.
            let word = if message.starts_with("error") { "" } else { "error: " };
            telemetry::tell(&format!("{word}{}", message.trim_end()));
        }
    }
    telemetry::flush();
    exit.into()
}
