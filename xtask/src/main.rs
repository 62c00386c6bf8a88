//! The project's tasks: `cargo xtask TASK`. Std only, and the only task runner: CI calls it too.
//!
//! Each task has a file of its own; this file only dispatches. A task reports on stderr and leaves stdout to the
//! programs that it runs.

mod bench;
mod demo;
mod deploy;
mod dist;
mod docs;
mod faults;
mod image;
#[expect(dead_code, reason = "the tests that share it do more with a node")]
mod kafka;
mod languages;
mod stage;
mod story;
mod test;
// wasmill builds users' plugins with the same file.
#[path = "../../src/author/toolchain.rs"]
mod toolchain;
mod tools;
mod wasm;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  demo [revenue]                build everything and run examples/orders, or windows of examples/revenue, on the embedded broker
  test [--full]                 everything that CI runs; --full: the long schedules too
  faults [--only ROW,ROW] [--from ROW] [--full] [--seed N]
                                break things under load and write docs/fault-report.md; --slice: what `test` runs of it
  bench [boundary|end_to_end|analysis]
                                the benchmarks against native code and against Kafka Streams; what follows goes to the one that is named
  deploy                        have systemd and Kustomize look at what is in deploy/
  dist                          make a release: target/dist/wasmill-VERSION-TARGET.tar.gz and its checksum
  image                         try what goes into the container image: in a root of its own, read-only, as its user
  docs                          renew what is generated: the bindings of the contract for Rust, schemas/, the tables of
                                docs/configuration.md, the demo's screen in the README
  languages [--full]            test the SDKs of other languages, and build and try the plugin mask in each; --full: with StarlingMonkey, too
  plugins                       build the plugins into plugins/target/wasm/
  kafka                         start an Apache Kafka node on a free port, until ctrl-c";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["demo"] => demo::run(),
        ["demo", "revenue"] => demo::revenue(),
        ["test"] => test::run(test::Length::Short),
        ["test", "--full"] => test::run(test::Length::Full),
        ["faults", ref which @ ..] => faults::run(which),
        ["bench", ref which @ ..] => bench::run(which),
        ["deploy"] => deploy::run(),
        ["dist"] => dist::run(),
        ["image"] => image::run(),
        ["docs"] => docs::run(),
        ["languages"] => languages::run(test::Length::Short),
        ["languages", "--full"] => languages::run(test::Length::Full),
        ["plugins"] => wasm::build_for_tests(),
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
