//! `wasmill try`: passes records from stdin through a pipeline's steps to stdout, without a broker.

use std::io;
use std::io::IsTerminal;
use std::io::Write as _;

use clap::Args as ClapArgs;

use super::args::Compiled;
use super::args::PipelineFile;
use super::exit_code::Exit;
use super::load;
use super::print;
use super::print::Reader;
use crate::dry_run::Steps;
use crate::dry_run::line;
use crate::dry_run::line::LineFormat;
use crate::dry_run::lines::Line;
use crate::dry_run::lines::Lines;

/// Sends records from stdin through a pipeline's steps and prints the outputs, without a broker.
///
/// Each line is a record; blank lines are skipped. Failed records are reported on stderr with the line's number, and the exit code is 1.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill try orders.toml < orders.ndjson
  echo '{\"email\":\"a@example.org\"}' | wasmill try orders.toml --trace
  wasmill try orders.toml --step mask --format record < records.ndjson > out.ndjson")]
pub(super) struct Args {
    #[command(flatten)]
    file: PipelineFile,
    #[command(flatten)]
    compiled: Compiled,
    /// The format of a line
    #[arg(long, value_enum, default_value = "value", env = "WASMILL_FORMAT")]
    format: LineFormat,
    /// The key of records whose line has none
    #[arg(long, value_name = "TEXT", env = "WASMILL_KEY")]
    key: Option<String>,
    /// Run only this step
    #[arg(long, value_name = "NAME", env = "WASMILL_STEP")]
    step: Option<String>,
    /// Print on stderr what each step returned for each record, and how long it took
    #[arg(long, env = "WASMILL_TRACE")]
    trace: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let config = load::file(&args.file, None)?;
    let loaded = load::steps(&config, &args.compiled)?;
    let mut steps = Steps::new(&config, &loaded, args.step.as_deref()).map_err(Exit::Invalid)?;
    let mut failed = 0_u64;
    let is_person = io::stdout().is_terminal();
    let color = is_person && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    for (offset, line) in (0..).zip(Lines::of(io::stdin().lock())) {
        let Line { number, text } = line.map_err(|error| Exit::Invalid(format!("stdin: {error}")))?;
        let mut record =
            line::parse(&text, args.format).map_err(|error| Exit::Invalid(format!("line {number}: {error}")))?;
        if record.key.is_none() {
            record.key = args.key.clone().map(String::into_bytes);
        }
        match steps.run(offset, &record) {
            Ok(reaction) => {
                if args.trace {
                    say(&format!("line {number}:\n{}", reaction.trace.trim_end()));
                }
                for made in &reaction.outputs {
                    let line = if is_person {
                        print::at_place(&made.output, made.key.as_deref(), made.value.as_deref(), color)
                    } else {
                        made.line()
                    };
                    if print::data(&format!("{line}\n"))? == Reader::Gone {
                        return Ok(());
                    }
                }
            }
            Err(failure) => {
                failed += 1;
                say(&format!("line {number}: {failure}"));
            }
        }
    }
    match failed {
        0 => Ok(()),
        1 => Err(Exit::Stopped("1 record failed".into())),
        _ => Err(Exit::Stopped(format!("{failed} records failed"))),
    }
}

fn say(line: &str) {
    // If stderr is closed, the line is lost.
    let _ = writeln!(io::stderr(), "{line}");
}
