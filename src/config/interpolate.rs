//! Fills in `${...}` in string values after parsing, so that the inserted text can never become a key or another value.
//!
//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `${file:/path}` are references; `$${` is a literal `${`. In a
//! list, a reference to `a,b` becomes two items, since environment variables can't hold lists. Inserted text is a
//! secret: [`Secrets`] remembers its span, and no message shows it.

use std::borrow::Cow;
use std::cell::RefCell;
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
use crate::secret::Hidden;

/// The largest file that `${file:..}` reads.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The values that contain text from `${...}`.
#[derive(Default)]
pub(super) struct Secrets(Vec<Filled>);

struct Filled {
    place: Range<usize>,
    /// The references as written, without defaults and messages.
    references: Vec<String>,
    /// The inserted texts.
    values: Vec<String>,
}

impl Secrets {
    /// Whether a value came from `${...}` or contains one that did.
    pub(super) fn touch(&self, span: &Range<usize>) -> bool {
        self.0.iter().any(|secret| span.start <= secret.place.start && secret.place.end <= span.end)
    }

    /// The references in a value.
    pub(super) fn references(&self, span: &Range<usize>) -> &[String] {
        self.0.iter().find(|secret| secret.place == *span).map_or(&[], |secret| &secret.references)
    }

    /// All inserted texts.
    pub(super) fn hidden(&self) -> Hidden {
        Hidden::new(self.0.iter().flat_map(|secret| secret.values.iter().cloned()))
    }
}

/// The sources of inserted text.
pub(super) struct Values<'a> {
    /// Environment variables.
    pub(super) env: &'a dyn Fn(&str) -> Option<OsString>,
    /// Paths are relative to this directory.
    pub(super) folder: &'a Path,
    /// The files that were referenced, including unreadable ones.
    pub(super) files: RefCell<Vec<Referenced>>,
}

impl<'a> Values<'a> {
    pub(super) fn new(env: &'a dyn Fn(&str) -> Option<OsString>, folder: &'a Path) -> Values<'a> {
        Values { env, folder, files: RefCell::default() }
    }

    /// Replaces every `${...}` in a tree. A value that can't be filled in is reported and removed, so that no later
    /// check reports it again.
    pub(super) fn fill(&self, table: &mut DeTable<'_>, secrets: &mut Secrets, report: &mut Report) {
        let mut out = Vec::new();
        for (key, value) in table.iter_mut() {
            // Settings of a plugin are passed on unchanged, commas included.
            let lists = if key.get_ref() == "step" { Lists::AsTheyAre } else { Lists::Split };
            if !self.fill_value(value, lists, secrets, report) {
                out.push(key.get_ref().clone());
            }
        }
        for key in out {
            table.remove(key.as_ref());
        }
    }

    fn fill_table(&self, table: &mut DeTable<'_>, lists: Lists, secrets: &mut Secrets, report: &mut Report) {
        let mut out = Vec::new();
        for (key, value) in table.iter_mut() {
            if !self.fill_value(value, lists, secrets, report) {
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
        lists: Lists,
        secrets: &mut Secrets,
        report: &mut Report,
    ) -> bool {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => {
                if text.contains("${") {
                    match self.filled(text) {
                        Ok((filled, references, values)) => {
                            if !references.is_empty() {
                                secrets.0.push(Filled { place: span.clone(), references, values });
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
                let mut kept = Vec::new();
                for mut item in std::mem::replace(items, DeArray::new()) {
                    if self.fill_value(&mut item, lists, secrets, report) {
                        match lists {
                            Lists::Split => kept.extend(split(item, secrets)),
                            Lists::AsTheyAre => kept.push(item),
                        }
                    }
                }
                *items = kept.into_iter().collect();
            }
            DeValue::Table(table) => self.fill_table(table, lists, secrets, report),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
        true
    }

    /// The text, its references, and the inserted texts.
    fn filled(&self, text: &str) -> Result<(String, Vec<String>, Vec<String>), Problem> {
        let mut filled = String::new();
        let (mut references, mut values) = (Vec::new(), Vec::new());
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
            let value = self.value(&inside[..end])?;
            filled.push_str(&value);
            values.push(value);
            references.push(match inside[..end].strip_prefix("file:") {
                Some(_) => format!("${{{}}}", &inside[..end]),
                None => format!("${{{}}}", inside[..end].split(':').next().unwrap_or_default()),
            });
            rest = &inside[end + 1..];
        }
        filled.push_str(rest);
        Ok((filled, references, values))
    }

    fn value(&self, inside: &str) -> Result<String, Problem> {
        if inside.contains("${") {
            return Err(Problem::new("`${...}` inside of `${...}`", "a default is plain text"));
        }
        if let Some(path) = inside.strip_prefix("file:") {
            return self.file(path);
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

    fn file(&self, path: &str) -> Result<String, Problem> {
        let path = self.folder.join(path);
        let bytes = bytes_of(&path);
        let held = bytes.as_ref().map_or(Held::Nothing, |bytes| Held::of(bytes));
        self.files.borrow_mut().push(Referenced { path: path.clone(), held });
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

/// How list items from `${...}` are treated.
#[derive(Clone, Copy)]
enum Lists {
    /// An item with commas is split into several, because environment variables can't hold lists.
    Split,
    AsTheyAre,
}

/// The items that a list's item becomes. A pattern may contain commas, so it is not split.
fn split<'a>(item: Spanned<DeValue<'a>>, secrets: &Secrets) -> Vec<Spanned<DeValue<'a>>> {
    let span = item.span();
    let DeValue::String(text) = item.get_ref() else { return vec![item] };
    if secrets.references(&span).is_empty() || text.starts_with('^') {
        return vec![item];
    }
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || !text.contains(',') {
        return vec![item];
    }
    let part = |part: &str| Spanned::new(span.clone(), DeValue::String(Cow::Owned(part.to_owned())));
    parts.into_iter().map(part).collect()
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
