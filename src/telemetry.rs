//! How the process speaks: log lines on stderr, for people on a terminal and as JSON otherwise.
//!
//! It sets the subscriber up once and doesn't decide what is worth a line. Invariant: nothing here writes to stdout, which
//! belongs to data.

mod rate_limit;

use std::fmt;
use std::io;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

pub use rate_limit::RateLimit;

/// Who the lines are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// People if stderr is a terminal, else machines.
    Auto,
    /// People.
    Human,
    /// Machines: one JSON object a line.
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

/// What the command line says about logs.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Who they are for.
    pub format: Format,
    /// Whether they are coloured.
    pub color: Color,
    /// 0 is `info`; each step up or down is a level.
    pub verbosity: i16,
    /// `WASMILL_LOG`, which wins over `verbosity`.
    pub filter: Option<&'a str>,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
}

/// What was decided, for those who write to stderr without a log line.
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

/// Installs the subscriber of the process.
///
/// # Errors
/// If the filter can't be read.
pub fn init(options: &Options<'_>) -> Result<Style, BadFilter> {
    let style = decide(options, io::stderr().is_terminal());
    let filter =
        EnvFilter::try_new(options.filter.unwrap_or_else(|| default_filter(options.verbosity))).map_err(BadFilter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second subscriber is refused, which only a test that runs two commands in one process meets.
    let _ = if style.json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).with_ansi(false).try_init()
    } else {
        lines.compact().with_target(false).with_ansi(style.color).try_init()
    };
    Ok(style)
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
        1 => "debug",
        2.. => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Options<'_> =
        Options { format: Format::Auto, color: Color::Auto, verbosity: 0, filter: None, no_color: false };

    #[test]
    fn a_terminal_gets_text_and_a_pipe_gets_json() {
        assert_eq!(decide(&PLAIN, true), Style { json: false, color: true });
        assert_eq!(decide(&PLAIN, false), Style { json: true, color: false });
        assert_eq!(decide(&Options { format: Format::Human, ..PLAIN }, false), Style { json: false, color: false });
        assert_eq!(decide(&Options { format: Format::Json, ..PLAIN }, true), Style { json: true, color: false });
    }

    #[test]
    fn no_color_is_heeded_and_color_always_wins() {
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
