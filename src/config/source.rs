//! The texts of a pipeline's configuration, and positions in them.
//!
//! The file comes first, then the file of the process, if its `[kafka]` counts, and then each `--set` as a text of its own. A [`Span`]
//! counts through all of them, so each value has a unique position. The texts are not interpreted, with one exception: strings under keys
//! that look like passwords are masked before a line is shown.

use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::document;

/// The deepest nesting of values that is accepted.
pub(super) const DEPTH_MAX: usize = 64;

/// A position in a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// The start of the file.
    pub const START: Span = Span { start: 0, end: 0 };
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Span {
        Span { start: range.start, end: range.end }
    }
}

/// The pipeline's file, the file of the process, and the overrides of the command line.
#[derive(Debug)]
pub struct Source {
    texts: Vec<Text>,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// The pipeline's file, or another file that is read alone.
    File,
    /// The file of the process: its `[kafka]` has values that the pipeline's file leaves out.
    Process,
    /// An option of the command line.
    Override,
}

/// One text of a source.
pub(super) struct Text {
    pub(super) layer: Layer,
    /// The file's path, or the option that it came from.
    pub(super) origin: String,
    /// What relative paths in it begin at.
    folder: PathBuf,
    /// Its start in the positions of spans.
    pub(super) start: usize,
    /// The text to parse.
    pub(super) text: String,
    shown: String,
}

/// A line with a marked range, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) origin: String,
    pub(super) number: usize,
    pub(super) column: usize,
    pub(super) text: String,
    pub(super) marked: Range<usize>,
}

impl Source {
    pub(super) fn new(path: &Path, text: String) -> Source {
        let mut source = Source { texts: Vec::new() };
        source.push(Layer::File, path.display().to_string(), folder(path), text);
        source
    }

    /// Adds the file of the process.
    pub(super) fn push_process(&mut self, path: &Path, text: String) {
        self.push(Layer::Process, path.display().to_string(), folder(path), text);
    }

    /// Adds an option of the command line. Relative paths in it begin at the folder of the pipeline's file.
    pub(super) fn push_override(&mut self, option: &str, text: String) {
        let folder = self.folder(Span::START).to_owned();
        self.push(Layer::Override, option.to_owned(), folder, text);
    }

    fn push(&mut self, layer: Layer, origin: String, folder: PathBuf, text: String) {
        // One byte between two texts, so that the end of one is not the start of the next.
        let start = self.texts.last().map_or(0, |last| last.start + last.text.len() + 1);
        let shown = covered(&text);
        self.texts.push(Text { layer, origin, folder, start, text, shown });
    }

    fn text_at(&self, span: Span) -> Option<&Text> {
        self.texts.iter().rev().find(|text| text.start <= span.start)
    }

    /// What a relative path at this position begins at.
    pub(super) fn folder(&self, span: Span) -> &Path {
        self.text_at(span).map_or_else(|| Path::new(""), |text| &text.folder)
    }

    /// Whether a value was taken from the file of the process, as the pipeline's file leaves it out.
    pub(super) fn is_of_process(&self, span: Span) -> bool {
        self.text_at(span).is_some_and(|text| text.layer == Layer::Process)
    }

    pub(super) fn texts(&self) -> &[Text] {
        &self.texts
    }

    /// The line where a span starts.
    pub(super) fn line(&self, span: Span) -> Option<Line> {
        let text = self.text_at(span)?;
        let shown = &text.shown;
        let start = shown.floor_char_boundary(span.start - text.start);
        let end = shown.floor_char_boundary(span.end.saturating_sub(text.start)).max(start);
        let first = shown[..start].rfind('\n').map_or(0, |at| at + 1);
        let last = shown[first..].find('\n').map_or(shown.len(), |at| first + at);
        let line = shown[first..last].trim_end_matches('\r');
        let marked = (start - first).min(line.len())..(end - first).min(line.len());
        Some(Line {
            origin: text.origin.clone(),
            number: shown[..first].matches('\n').count() + 1,
            column: line[..marked.start].chars().count() + 1,
            text: line.to_owned(),
            marked,
        })
    }
}

/// The folder of a file.
fn folder(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// Omits the texts, which may contain passwords.
impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Text").field(&self.origin).finish()
    }
}

/// The text with the strings under secret-looking keys masked; all other bytes keep their positions.
fn covered(text: &str) -> String {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut spans = Vec::new();
    secrets(table.get_ref(), false, DEPTH_MAX, &mut spans);
    document::release(table);
    let mut shown = text.to_owned();
    for span in spans {
        if let Some(literal) = text.get(span.clone()) {
            // Line breaks stay, so that line numbers stay right.
            let stars: String = literal
                .bytes()
                .map(|byte| if byte == b'\n' || byte == b'\r' { char::from(byte) } else { '*' })
                .collect();
            shown.replace_range(span, &stars);
        }
    }
    shown
}

fn secrets(table: &DeTable<'_>, inherited: bool, left: usize, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        collect(value, is_secret(key.get_ref(), inherited), left, spans);
    }
}

/// Whether a string that is written under this key is hidden; `inherited` says whether the table around it is.
pub(super) fn is_secret(key: &str, inherited: bool) -> bool {
    let name = key.to_ascii_lowercase();
    // In `sasl`, a misspelt key may be the password.
    let plain = name == "mechanism" || name == "username";
    takes_secrets(key, inherited) && !plain
}

/// Whether a value from `${...}` under this key is a secret; `inherited` says whether those in the table around it are.
pub(super) fn takes_secrets(key: &str, inherited: bool) -> bool {
    let name = key.to_ascii_lowercase();
    inherited || ["password", "secret", "token", "sasl"].iter().any(|word| name.contains(word))
}

fn collect(value: &Spanned<DeValue<'_>>, secret: bool, left: usize, spans: &mut Vec<Range<usize>>) {
    let Some(left) = left.checked_sub(1) else { return };
    match value.get_ref() {
        // A reference is not a secret, and showing it helps.
        DeValue::String(text) if secret && !text.contains("${") => spans.push(value.span()),
        DeValue::Array(items) => items.iter().for_each(|item| collect(item, secret, left, spans)),
        DeValue::Table(table) => secrets(table, secret, left, spans),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}
