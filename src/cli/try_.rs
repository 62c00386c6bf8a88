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
use super::time::Time;
use crate::dry_run::Closed;
use crate::dry_run::Made;
use crate::dry_run::Steps;
use crate::dry_run::line;
use crate::dry_run::line::LineFormat;
use crate::dry_run::lines::Line;
use crate::dry_run::lines::Lines;

/// Sends records from stdin through a pipeline's steps and prints the outputs, without a broker.
///
/// Each line is a record; blank lines are skipped. Failed records are reported on stderr with the line's number, and the exit code is 1.
///
/// A step with windows reads one partition and begins without state. The results of a window come after the record that closed it. When
/// the input ends, the other windows close, unless the step has `idle = "never"`.
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
    /// The clock by which a record is too far ahead for windows (`max_ahead`); without it, none is
    #[arg(long, value_name = "TIME", env = "WASMILL_NOW")]
    now: Option<Time>,
    /// Print on stderr what each step returned for each record, and how long it took
    #[arg(long, env = "WASMILL_TRACE")]
    trace: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let config = load::file(&args.file, None)?;
    let loaded = load::steps(&config, &args.compiled)?;
    let mut steps = Steps::new(&config, &loaded, args.step.as_deref()).map_err(Exit::Invalid)?;
    if let Some(Time(now)) = args.now {
        if config.windowed.is_none() {
            return Err(Exit::Usage("try: --now is for windows, and the pipeline has no step with windows".into()));
        }
        steps.set_clock(now);
    }
    let mut shown = Shown::new(args.trace);
    for (offset, line) in (0..).zip(Lines::of(io::stdin().lock())) {
        let Line { number, text } = line.map_err(|error| Exit::Invalid(format!("stdin: {error}")))?;
        let mut record =
            line::parse(&text, args.format).map_err(|error| Exit::Invalid(format!("line {number}: {error}")))?;
        if record.key.is_none() {
            record.key = args.key.clone().map(String::into_bytes);
        }
        let place = format!("line {number}");
        let reader = match steps.run(offset, &record) {
            Ok(reaction) => {
                if args.trace {
                    say(&format!("{place}:\n{}", reaction.trace.trim_end()));
                }
                shown.outputs(&reaction.outputs)?
            }
            Err(failure) => {
                shown.records_failed += 1;
                say(&format!("{place}: {failure}"));
                Reader::There
            }
        };
        if reader == Reader::Gone || shown.closed(&place, &steps.closed())? == Reader::Gone {
            return Ok(());
        }
    }
    if shown.closed("the end", &steps.end())? == Reader::Gone {
        return Ok(());
    }
    match steps.open_windows() {
        0 => {}
        1 => say("1 window is still open"),
        open => say(&format!("{open} windows are still open")),
    }
    shown.end()
}

/// What was printed, and how.
struct Shown {
    is_person: bool,
    color: bool,
    trace: bool,
    records_failed: u64,
    windows_failed: usize,
}

impl Shown {
    fn new(trace: bool) -> Shown {
        let is_person = io::stdout().is_terminal();
        let color = is_person && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Shown { is_person, color, trace, records_failed: 0, windows_failed: 0 }
    }

    fn outputs(&self, outputs: &[Made]) -> Result<Reader, Exit> {
        for made in outputs {
            let line = if self.is_person {
                print::at_place(&made.output, made.key.as_deref(), made.value.as_deref(), self.color)
            } else {
                made.line()
            };
            if print::data(&format!("{line}\n"))? == Reader::Gone {
                return Ok(Reader::Gone);
            }
        }
        Ok(Reader::There)
    }

    /// Prints the results of windows that closed at this place of the input.
    fn closed(&mut self, place: &str, closed: &Closed) -> Result<Reader, Exit> {
        let Closed { outputs, failed } = closed;
        if self.trace && !outputs.is_empty() {
            say(&format!("{place} closes windows: {} out", outputs.len()));
        }
        self.windows_failed += failed.len();
        failed.iter().for_each(|why| say(&format!("{place}: {}", print::text(Some(why.as_bytes())))));
        self.outputs(outputs)
    }

    /// An error if a record or a window failed.
    fn end(&self) -> Result<(), Exit> {
        let records = match self.records_failed {
            0 => None,
            1 => Some("1 record failed".to_owned()),
            failed => Some(format!("{failed} records failed")),
        };
        let windows = match self.windows_failed {
            0 => None,
            1 => Some("1 window has no result".to_owned()),
            failed => Some(format!("{failed} windows have no result")),
        };
        let parts: Vec<String> = records.into_iter().chain(windows).collect();
        if parts.is_empty() { Ok(()) } else { Err(Exit::Stopped(parts.join(", "))) }
    }
}

fn say(line: &str) {
    // If stderr is closed, the line is lost.
    let _ = writeln!(io::stderr(), "{line}");
}
