//! Fills in `${...}` in string values after parsing, so that the inserted text can never become a key or another value.
//!
//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `${file:/path}` are references; `$${` is a literal `${`. All
//! values stay strings here; `typed` reads them as the types of their keys. [`Secrets`] remembers the span of each
//! value with a reference, and which of them are secret: no message shows those.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeArray;
use toml::de::DeTable;
use toml::de::DeValue;

use super::referenced::Held;
use super::referenced::Referenced;
use super::report::Report;
use super::source;
use super::source::Source;
use crate::secret::Hidden;

/// The largest file that `${file:..}` reads.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The values that contain text from `${...}`, and which of them are secret.
///
/// Secret is what came from a file, and what came from a variable into a key that marks a secret by its name. Such a
/// variable is secret in other keys, too: a password that is also part of a topic's name stays hidden there.
#[derive(Default)]
pub(super) struct Secrets(Vec<Filled>);

struct Filled {
    place: Range<usize>,
    /// The whole value.
    text: String,
    pieces: Vec<Piece>,
    /// The items that the value became in a list.
    items: Vec<String>,
}

/// What one reference inserted.
struct Piece {
    /// The reference as written, without its default or message.
    reference: String,
    value: String,
    is_secret: bool,
}

impl Filled {
    fn is_secret(&self) -> bool {
        self.pieces.iter().any(|piece| piece.is_secret)
    }
}

impl Secrets {
    /// Whether a value is secret or contains one that is.
    pub(super) fn touch(&self, span: &Range<usize>) -> bool {
        let is_inside = |place: &Range<usize>| span.start <= place.start && place.end <= span.end;
        self.0.iter().any(|filled| is_inside(&filled.place) && filled.is_secret())
    }

    /// The references in a value.
    pub(super) fn references(&self, span: &Range<usize>) -> Vec<&str> {
        let filled = self.0.iter().find(|filled| filled.place == *span);
        filled.into_iter().flat_map(|filled| &filled.pieces).map(|piece| piece.reference.as_str()).collect()
    }

    /// All references, as in `${NAME}` and `${file:PATH}`, each with the place of its value.
    pub(super) fn all_references(&self) -> impl Iterator<Item = (&Range<usize>, &str)> {
        self.0.iter().flat_map(|filled| filled.pieces.iter().map(|piece| (&filled.place, piece.reference.as_str())))
    }

    /// Whether a value is one reference and nothing else.
    pub(super) fn is_alone(&self, span: &Range<usize>) -> bool {
        let filled = self.0.iter().find(|filled| filled.place == *span);
        filled.is_some_and(|filled| matches!(&filled.pieces[..], [piece] if piece.value == filled.text))
    }

    /// All secret texts: whole values, their items in a list, and what was inserted into them.
    pub(super) fn hidden(&self) -> Hidden {
        let secret = || self.0.iter().filter(|filled| filled.is_secret());
        let pieces = secret().flat_map(|filled| &filled.pieces).filter(|piece| piece.is_secret);
        let pieces = pieces.map(|piece| &piece.value);
        Hidden::new(secret().flat_map(|filled| filled.items.iter().chain([&filled.text])).chain(pieces).cloned())
    }

    /// Notes the items that a value became in a list.
    pub(super) fn split(&mut self, span: &Range<usize>, items: &[String]) {
        if let Some(filled) = self.0.iter_mut().find(|filled| filled.place == *span) {
            filled.items = items.to_vec();
        }
    }

    /// Makes each variable that is secret in one key secret in all of them.
    fn spread(&mut self) {
        let pieces = self.0.iter().flat_map(|filled| &filled.pieces).filter(|piece| piece.is_secret);
        let references: BTreeSet<String> = pieces.map(|piece| piece.reference.clone()).collect();
        for piece in self.0.iter_mut().flat_map(|filled| &mut filled.pieces) {
            piece.is_secret |= references.contains(&piece.reference);
        }
    }
}

/// The sources of inserted text.
pub(super) struct Values<'a> {
    /// Environment variables.
    pub(super) env: &'a dyn Fn(&str) -> Option<OsString>,
    /// Tells what the paths of files begin at.
    source: &'a Source,
    /// The files that were referenced, including unreadable ones.
    pub(super) files: RefCell<Vec<Referenced>>,
}

impl<'a> Values<'a> {
    pub(super) fn new(env: &'a dyn Fn(&str) -> Option<OsString>, source: &'a Source) -> Values<'a> {
        Values { env, source, files: RefCell::default() }
    }

    /// Replaces every `${...}` in a tree. A value that can't be filled in is reported and removed, so that no later
    /// check reports it again.
    pub(super) fn fill(&self, table: &mut DeTable<'_>, secrets: &mut Secrets, report: &mut Report) {
        self.fill_table(table, false, secrets, report);
        secrets.spread();
    }

    /// `inherited`: whether the key around the table marks a secret.
    fn fill_table(&self, table: &mut DeTable<'_>, inherited: bool, secrets: &mut Secrets, report: &mut Report) {
        let mut out = Vec::new();
        for (key, value) in table.iter_mut() {
            let is_marked = source::takes_secrets(key.get_ref(), inherited);
            if !self.fill_value(value, is_marked, secrets, report) {
                out.push(key.get_ref().clone());
            }
        }
        for key in out {
            table.remove(key.as_ref());
        }
    }

    /// Whether the value may stay in the tree.
    fn fill_value(
        &self,
        value: &mut Spanned<DeValue<'_>>,
        is_marked: bool,
        secrets: &mut Secrets,
        report: &mut Report,
    ) -> bool {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => {
                if text.contains("${") {
                    match self.filled(text, is_marked, self.source.folder(span.clone().into())) {
                        Ok((filled, pieces)) => {
                            if !pieces.is_empty() {
                                let (place, text) = (span.clone(), filled.clone());
                                secrets.0.push(Filled { place, text, pieces, items: Vec::new() });
                            }
                            *text = Cow::Owned(filled);
                        }
                        Err(problem) => {
                            report.add(span.into(), problem.message, problem.help);
                            return false;
                        }
                    }
                }
                if text.contains('\0') {
                    report.add(
                        span.into(),
                        "a value holds the character NUL",
                        "remove it: Kafka accepts no text that contains it",
                    );
                    return false;
                }
            }
            DeValue::Array(items) => {
                let kept = std::mem::replace(items, DeArray::new()).into_iter();
                *items = kept
                    .filter_map(|mut item| self.fill_value(&mut item, is_marked, secrets, report).then_some(item))
                    .collect();
            }
            DeValue::Table(table) => self.fill_table(table, is_marked, secrets, report),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
        true
    }

    /// The text, and what was inserted into it. `is_marked`: whether its key marks a secret. Paths begin at the folder.
    fn filled(&self, text: &str, is_marked: bool, folder: &Path) -> Result<(String, Vec<Piece>), Problem> {
        let mut filled = String::new();
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if let Some(before) = rest[..at].strip_suffix('$') {
                filled.push_str(before);
                filled.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            filled.push_str(&rest[..at]);
            let inside = &rest[at + 2..];
            let end = inside.find('}').ok_or_else(|| {
                Problem::new("`${` without its `}`", "close it, or write `$${` for the characters themselves")
            })?;
            let value = self.value(&inside[..end], folder)?;
            filled.push_str(&value);
            let is_file = inside.starts_with("file:");
            let named = if is_file { &inside[..end] } else { inside[..end].split(':').next().unwrap_or_default() };
            pieces.push(Piece { reference: format!("${{{named}}}"), value, is_secret: is_file || is_marked });
            rest = &inside[end + 1..];
        }
        filled.push_str(rest);
        Ok((filled, pieces))
    }

    fn value(&self, inside: &str, folder: &Path) -> Result<String, Problem> {
        if inside.contains("${") {
            return Err(Problem::new("`${...}` inside of `${...}`", "a default is plain text"));
        }
        if let Some(path) = inside.strip_prefix("file:") {
            return self.file(&folder.join(path));
        }
        let (name, otherwise) = match inside.split_once(':') {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (inside, None),
        };
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            let message = format!("`${{{name}}}` doesn't name an environment variable");
            return Err(Problem::new(message, "write `$${` for the characters themselves"));
        }
        let value = (self.env)(name).map(OsString::into_string).transpose().map_err(|_| {
            Problem::new(
                format!("the environment variable `{name}` is set, but not to UTF-8"),
                "set it to text in UTF-8",
            )
        })?;
        // As in a shell: with a default or a message, an empty variable counts as not set.
        match (value, otherwise.map(|otherwise| otherwise.split_at_checked(1).unwrap_or((otherwise, "")))) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(("-" | "?", _))) if !value.is_empty() => Ok(value),
            (_, Some(("-", default))) => Ok(default.to_owned()),
            (_, Some(("?", message))) => {
                let message = if message.is_empty() { "it is needed" } else { message };
                Err(Problem::new(format!("the environment variable `{name}` is not set: {message}"), "set it"))
            }
            (_, Some(_)) => Err(Problem::new(
                format!("`${{{name}:` must continue with `-` and a default, or with `?` and a message"),
                format!("write `${{{name}:-default}}` or `${{{name}:?message}}`"),
            )),
            (None, None) => Err(Problem::new(
                format!("the environment variable `{name}` is not set"),
                format!("set it, or write `${{{name}:-default}}`"),
            )),
        }
    }

    fn file(&self, path: &Path) -> Result<String, Problem> {
        let bytes = bytes_of(path);
        let held = bytes.as_ref().map_or(Held::Nothing, |bytes| Held::of(bytes));
        self.files.borrow_mut().push(Referenced { path: path.to_owned(), held });
        let fail = |why: String| {
            Problem::new(
                format!("cannot read `{}`: {why}", path.display()),
                "the file holds the value and nothing else",
            )
        };
        let text = String::from_utf8(bytes.map_err(fail)?).map_err(|_| fail("it is not UTF-8".into()))?;
        // Some editors start a file with a byte order mark.
        let mut text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
}

/// The bytes of a referenced file, which must be regular and small.
fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a file".into());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err("it is larger than 1 MiB".into());
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

struct Problem {
    message: String,
    help: String,
}

impl Problem {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { message: message.into(), help: help.into() }
    }
}
