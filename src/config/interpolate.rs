//! `${...}` inside string values, after parsing: what is put in can never become a key or another value.
//!
//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `${file:/path}`, and `$${` for a literal `${`. What came from here is
//! a secret: [`Secrets`] remembers where it stands, and no message shows it.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeArray;
use toml::de::DeTable;
use toml::de::DeValue;

use super::report::Report;
use crate::secret::Hidden;

/// A file of a secret is not larger than this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The values that came from `${...}`.
#[derive(Default)]
pub(super) struct Secrets(Vec<Filled>);

struct Filled {
    place: Range<usize>,
    /// As they are written, without defaults and messages.
    references: Vec<String>,
    /// What they put in.
    values: Vec<String>,
}

impl Secrets {
    /// Whether a value came from `${...}`, or holds one that did.
    pub(super) fn touch(&self, span: &Range<usize>) -> bool {
        self.0.iter().any(|secret| span.start <= secret.place.start && secret.place.end <= span.end)
    }

    /// The references that a value was made of.
    pub(super) fn references(&self, span: &Range<usize>) -> &[String] {
        self.0.iter().find(|secret| secret.place == *span).map_or(&[], |secret| &secret.references)
    }

    /// All that they put in.
    pub(super) fn hidden(&self) -> Hidden {
        Hidden::new(self.0.iter().flat_map(|secret| secret.values.iter().cloned()))
    }
}

/// Where values come from.
pub(super) struct Values<'a> {
    /// Environment variables.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Paths are relative to this.
    pub(super) folder: &'a Path,
}

impl Values<'_> {
    /// Replaces every `${...}` of a tree. What can't be filled in is reported and taken out: whatever stood in its place would
    /// only be found wrong too.
    pub(super) fn fill(&self, table: &mut DeTable<'_>, secrets: &mut Secrets, report: &mut Report) {
        let mut out = Vec::new();
        for (key, value) in table.iter_mut() {
            if !self.fill_value(value, secrets, report) {
                out.push(key.get_ref().clone());
            }
        }
        for key in out {
            table.remove(key.as_ref());
        }
    }

    /// Whether the value may stay.
    fn fill_value(&self, value: &mut Spanned<DeValue<'_>>, secrets: &mut Secrets, report: &mut Report) -> bool {
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
                        "remove it: Kafka takes no text with it",
                    );
                    return false;
                }
            }
            DeValue::Array(items) => {
                let kept: Vec<bool> = items.iter_mut().map(|item| self.fill_value(item, secrets, report)).collect();
                if kept.contains(&false) {
                    let all = std::mem::replace(items, DeArray::new());
                    *items = all.into_iter().zip(kept).filter(|(_, stays)| *stays).map(|(item, _)| item).collect();
                }
            }
            DeValue::Table(table) => self.fill(table, secrets, report),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
        true
    }

    /// The text, the references in it, and what they put in.
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
        let value = (self.env)(name);
        // As in a shell: with a default or a message, empty counts as not set.
        match (value, otherwise.map(|otherwise| otherwise.split_at_checked(1).unwrap_or((otherwise, "")))) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(("-" | "?", _))) if !value.is_empty() => Ok(value),
            (_, Some(("-", default))) => Ok(default.to_owned()),
            (_, Some(("?", message))) => {
                let message = if message.is_empty() { "it is needed" } else { message };
                Err(Problem::new(format!("the environment variable `{name}` is not set: {message}"), "set it"))
            }
            (_, Some(_)) => Err(Problem::new(
                format!("`${{{name}:` must go on with `-` and a default, or with `?` and a message"),
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
        let fail = |why: String| {
            Problem::new(
                format!("cannot read `{}`: {why}", path.display()),
                "the file holds the value and nothing else",
            )
        };
        let metadata = std::fs::metadata(&path).map_err(|error| fail(error.to_string()))?;
        if !metadata.is_file() {
            return Err(fail("it is not a file".into()));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(fail("it is larger than 1 MiB".into()));
        }
        let bytes = std::fs::read(&path).map_err(|error| fail(error.to_string()))?;
        let mut text = String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8".into()))?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
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
