//! Logging: lines on stderr, as text on a terminal and as JSON otherwise.
//!
//! It installs the subscriber once and doesn't decide what is logged. Invariants: nothing here writes to stdout, which is
//! for data; in a process that runs a pipeline, no thread waits for stderr, see `lines.rs`.

mod filter;
mod format;
mod kept_back;
mod lines;
mod pipeline;
pub mod rate_limit;
mod recent;

use std::backtrace::Backtrace;
use std::backtrace::BacktraceStatus;
use std::fmt;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::panic;
use std::thread;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use filter::CurrentFilter;
pub use filter::FILTER_BYTES_MAX;
pub use filter::FilterRefused;
pub use filter::end_log_filter;
pub use filter::log_filter;
pub use filter::set_log_filter;
pub use kept_back::KeepsBack;
pub use kept_back::ask_now_and_then;
pub use pipeline::current as pipeline_of_thread;
pub use pipeline::in_pipeline;
pub use pipeline::set_pipeline;
pub use pipeline::spawn;
pub use rate_limit::RateLimit;
pub use recent::RecentLine;
pub use recent::forget;
pub use recent::recent;
pub use recent::unix_ms;

use format::Human;
use format::Json;
use recent::Recent;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text if stderr is a terminal, otherwise JSON.
    Auto,
    /// Text for people.
    Human,
    /// JSON for machines, one object per line.
    Json,
}

/// Whether lines are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// If stderr is a terminal and `NO_COLOR` isn't set.
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

/// The logging options of the command line.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The format of log lines.
    pub format: Format,
    /// Whether lines are coloured.
    pub color: Color,
    /// 0 is `info`; each step up or down is one level.
    pub verbosity: i16,
    /// `WASMILL_LOG`, which takes precedence over `verbosity`.
    pub filter: Option<&'a str>,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// Whether the process runs on even if its log lines can't be written: then no thread waits for stderr, and lines may
    /// be dropped.
    pub continues: bool,
}

/// The chosen style, for code that writes to stderr without a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Lines are JSON.
    pub json: bool,
    /// Text is coloured.
    pub color: bool,
}

/// The filter can't be read.
#[derive(Debug)]
pub struct BadFilter(ParseError);

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WASMILL_LOG can't be read: {}; write a level or `wasmill::kafka=debug,info`", self.0)
    }
}

/// Installs the subscriber of this process.
///
/// # Errors
/// If the filter can't be read.
pub fn init(options: &Options<'_>) -> Result<Style, BadFilter> {
    let style = decide(options, io::stderr().is_terminal());
    let text = options.filter.unwrap_or_else(|| default_filter(options.verbosity));
    let filter = EnvFilter::try_new(text).map_err(BadFilter)?;
    let writer = match options.continues.then(lines::start).flatten() {
        Some(lines) => {
            panic::set_hook(Box::new(report_panic));
            BoxMakeWriter::new(move || lines)
        }
        None => BoxMakeWriter::new(io::stderr),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // A second subscriber is refused. Only a test that runs two commands in one process has one.
    if style.json {
        let lines = lines.json().with_ansi(false).map_event_format(|_| Json::default()).with_filter_reloading();
        let handle = lines.reload_handle();
        if lines.finish().with(Recent).try_init().is_ok() {
            filter::installed(text, move |filter| handle.reload(filter).map_err(|error| error.to_string()));
        }
    } else {
        let lines = lines.compact().with_target(false).with_ansi(style.color).map_event_format(Human);
        let lines = lines.with_filter_reloading();
        let handle = lines.reload_handle();
        if lines.finish().with(Recent).try_init().is_ok() {
            filter::installed(text, move |filter| handle.reload(filter).map_err(|error| error.to_string()));
        }
    }
    Ok(style)
}

/// Writes a line to stderr unchanged, after the log lines before it, and without waiting where log lines don't wait either.
pub fn tell(line: &str) {
    // If stderr is closed, the line is lost.
    let _ = match lines::of_process() {
        Some(mut lines) => lines.write_all(format!("{line}\n").as_bytes()),
        None => writeln!(io::stderr(), "{line}"),
    };
}

/// Logs the number of suppressed lines of every rate limiter, because no more lines follow.
pub fn count_out() {
    kept_back::count_out(true);
}

/// Reserves room in the buffer for the last lines of the process, however many lines wait.
pub fn make_room() {
    lines::make_room();
}

/// Waits until all lines are written, for half a second at most, before the process ends.
pub fn flush() {
    lines::flush();
}

/// The number of log lines of this process that were dropped because stderr did not take them in time.
#[must_use]
pub fn lines_dropped() -> u64 {
    lines::dropped()
}

/// Logs a panic as a line like any other: the hook of the standard library would wait for stderr.
fn report_panic(info: &panic::PanicHookInfo<'_>) {
    let thread = thread::current();
    let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
    let text = info.payload_as_str().unwrap_or("no text");
    let trace = Backtrace::capture();
    let trace = if trace.status() == BacktraceStatus::Captured { format!("\n{trace}") } else { String::new() };
    tracing::error!("thread `{}` panicked{place}: {text}{trace}", thread.name().unwrap_or("unnamed"));
}

fn decide(options: &Options<'_>, terminal: bool) -> Style {
    let json = match options.format {
        Format::Auto => !terminal,
        Format::Human => false,
        Format::Json => true,
    };
    let color = match options.color {
        Color::Auto => terminal && !options.no_color,
        Color::Always => true,
        Color::Never => false,
    };
    Style { json, color: color && !json }
}

fn default_filter(verbosity: i16) -> &'static str {
    match verbosity {
        ..=-2 => "error",
        -1 => "warn",
        0 => "info",
        // Lines of libraries are for people who work on wasmill: `WASMILL_LOG=trace` shows them.
        1 => "info,wasmill=debug,plugin=debug,librdkafka=debug",
        2.. => "info,wasmill=trace,plugin=trace,librdkafka=trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Options<'_> = Options {
        format: Format::Auto,
        color: Color::Auto,
        verbosity: 0,
        filter: None,
        no_color: false,
        continues: false,
    };

    #[test]
    fn a_terminal_gets_text_and_a_pipe_gets_json() {
        assert_eq!(decide(&PLAIN, true), Style { json: false, color: true });
        assert_eq!(decide(&PLAIN, false), Style { json: true, color: false });
        assert_eq!(decide(&Options { format: Format::Human, ..PLAIN }, false), Style { json: false, color: false });
        assert_eq!(decide(&Options { format: Format::Json, ..PLAIN }, true), Style { json: true, color: false });
    }

    #[test]
    fn no_color_is_respected_and_color_always_wins() {
        let quiet = Options { no_color: true, ..PLAIN };
        assert!(!decide(&quiet, true).color);
        assert!(decide(&Options { color: Color::Always, ..quiet }, true).color);
        assert!(!decide(&Options { color: Color::Never, ..PLAIN }, true).color);
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let error = init(&Options { filter: Some("wasmill=loud"), ..PLAIN }).unwrap_err().to_string();
        assert!(error.contains("WASMILL_LOG"), "{error}");
    }
}
