//! The project's tasks: `cargo xtask TASK`. Std only, and the only task runner: CI calls it too.
//!
//! A task is a file of its own; here is who is called. Each task says what it does on stderr and leaves stdout to the
//! programs that it runs.

mod bench;
mod demo;
#[expect(dead_code, reason = "the tests start a node with secured ports too")]
mod kafka;
mod stage;
mod test;
mod tools;
mod wasm;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  demo                          build everything and run examples/orders on the embedded broker
  test [--full]                 everything that CI runs; --full: the long schedules too
  bench [boundary]              the benchmark of the boundary; what follows goes to it
  plugins                       build the plugins into plugins/target/wasm/
  kafka                         start an Apache Kafka node on a free port, until ctrl-c";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["demo"] => demo::run(),
        ["test"] => test::run(test::Length::Short),
        ["test", "--full"] => test::run(test::Length::Full),
        ["bench", ref which @ ..] => bench::run(which),
        ["plugins"] => wasm::build(),
        ["kafka"] => kafka::start(),
        ["help" | "-h" | "--help"] => {
            stage::say(USAGE);
            return ExitCode::SUCCESS;
        }
        [] => {
            stage::say(USAGE);
            return ExitCode::from(2);
        }
        _ => {
            stage::say(&format!("unknown task `{}`\n{USAGE}", args.join(" ")));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stage::say(&format!("xtask: {error}"));
            ExitCode::FAILURE
        }
    }
}
