//! The findings about a pipeline: all mistakes, each with its place, its reason and what to do.
//!
//! A report is mainly for people ([`std::fmt::Display`]); [`Report::findings`] returns the same for programs. Findings
//! must not contain secrets; the code that adds a finding omits them.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::AnnotationKind;
use annotate_snippets::Group;
use annotate_snippets::Renderer;
use annotate_snippets::Snippet;

use super::source::Line;
use super::source::Source;
use super::source::Span;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The pipeline can't run.
    Error,
    /// A broker or another service couldn't be reached, so its part was not checked.
    Unreachable,
    /// The pipeline runs, but may not do what is intended.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its severity.
    pub level: Level,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// The file, or the command-line option.
    pub file: String,
    /// The line, from 1; `None` if the finding is about the whole file.
    pub line: Option<usize>,
    /// The character in the line, from 1.
    pub column: Option<usize>,
    /// What to do about it.
    pub help: Option<String>,
    /// A short text under the marked place.
    label: String,
    place: Option<Line>,
    order: Option<Span>,
}

/// All findings about a pipeline.
#[derive(Clone)]
pub struct Report {
    source: Arc<Source>,
    findings: Vec<Finding>,
}

impl Report {
    /// An empty report about this source.
    #[must_use]
    pub fn new(source: Arc<Source>) -> Report {
        Report { source, findings: Vec::new() }
    }

    /// A report about a file that couldn't be read.
    #[must_use]
    pub fn unreadable(path: &Path, message: impl Into<String>, help: impl Into<String>) -> Report {
        let file = path.display().to_string();
        let mut report = Report::new(Arc::new(Source::new(path, String::new())));
        report.findings.push(Finding {
            level: Level::Error,
            message: message.into(),
            file,
            line: None,
            column: None,
            help: Some(help.into()),
            label: String::new(),
            place: None,
            order: None,
        });
        report
    }

    /// Adds a finding at a place, with what to do about it.
    pub fn add(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.add_labelled(span, message, "", help);
    }

    /// Like [`Report::add`], with a short text under the marked place. An empty help is omitted.
    pub fn add_labelled(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add_levelled(Level::Error, span, message, label, help);
    }

    /// Like [`Report::add_labelled`], with a level.
    pub fn add_levelled(
        &mut self,
        level: Level,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.source.line(span);
        let help = help.into();
        self.findings.push(Finding {
            level,
            message: message.into(),
            file: place.as_ref().map(|place| place.origin.clone()).unwrap_or_default(),
            line: place.as_ref().map(|place| place.number),
            column: place.as_ref().map(|place| place.column),
            help: (!help.is_empty()).then_some(help),
            label: label.into(),
            place,
            order: Some(span),
        });
        // Sorted by place; findings at the same place keep their order.
        self.findings.sort_by_key(|finding| finding.order);
    }

    /// Where a value is, as `FILE:LINE`.
    pub(super) fn place(&self, span: Span) -> String {
        self.source.line(span).map_or_else(String::new, |line| format!("{}:{}", line.origin, line.number))
    }

    /// What a relative path at this place begins at.
    pub(super) fn folder(&self, span: Span) -> &Path {
        self.source.folder(span)
    }

    /// Whether the value at this place is in the file of the process, and not in the pipeline's.
    pub(super) fn is_of_process(&self, span: Span) -> bool {
        self.source.is_of_process(span)
    }

    /// Whether there are no findings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether a finding overlaps this range.
    pub(super) fn touches(&self, place: &Range<usize>) -> bool {
        let meets = |span: Span| span.start < place.end && place.start < span.end;
        self.findings.iter().filter_map(|finding| finding.order).any(meets)
    }

    /// The places of all findings.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.findings.iter().filter_map(|finding| finding.order)
    }

    /// The findings, in the order of the file.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Error | Level::Unreachable => annotate_snippets::Level::ERROR,
            Level::Warning => annotate_snippets::Level::WARNING,
        };
        let title = level.primary_title(&self.message);
        let group = match &self.place {
            Some(place) => {
                let marked = AnnotationKind::Primary.span(place.marked.clone());
                let marked = if self.label.is_empty() { marked } else { marked.label(&self.label) };
                let snippet =
                    Snippet::source(&place.text).line_start(place.number).path(&place.origin).annotation(marked);
                title.element(snippet)
            }
            None => Group::with_title(title),
        };
        let rendered = Renderer::plain().render(&[group]);
        writeln!(f, "{}", rendered.trim_end())?;
        if self.place.is_none() {
            writeln!(f, " --> {}", self.file)?;
        }
        // Rendered here, because the library draws a bar between the source and the help of several groups.
        match &self.help {
            Some(help) => writeln!(f, "help: {help}"),
            None => Ok(()),
        }
    }
}

/// In a panic or a log a report is shown as for people, without dumping the source.
impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Report {}
