//! Reads the tree of values into the raw structs, and reports all unknown keys and wrong types in one run.
//!
//! serde stops at the first mistake. The mistake is reported and removed from the tree, and the rest is read again, up
//! to a limit.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::DeArray;
use toml::de::DeTable;
use toml::de::DeValue;
use toml::de::Deserializer;

use super::near::near;
use super::report::Report;
use super::reserved;

/// The most mistakes in keys and types that are reported in one run.
const MISTAKES_MAX: usize = 20;

/// The raw file, and whether it is complete. After a mistake, a key that seems to be missing may only be misspelt.
pub(super) struct Read<T> {
    pub(super) raw: T,
    pub(super) whole: bool,
}

/// Reads the tree. `None` if there are too many mistakes.
pub(super) fn read<T: DeserializeOwned>(mut document: Spanned<DeTable<'_>>, report: &mut Report) -> Option<Read<T>> {
    for mistakes in 0..=MISTAKES_MAX {
        let error = match T::deserialize(Deserializer::from(document.clone())) {
            Ok(raw) => return Some(Read { raw, whole: mistakes == 0 }),
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        let mut path = Vec::new();
        let found = take(document.get_mut(), &span, &mut path);
        tell(error.message(), span, &path, report);
        if !found {
            return None;
        }
    }
    None
}

fn tell(message: &str, span: Range<usize>, path: &[String], report: &mut Report) {
    let named: Vec<&str> = path.iter().map(String::as_str).collect();
    // A key below `output` is a name of the user's.
    let general: Vec<&str> = match named.as_slice() {
        ["output", _, rest @ ..] => ["output", "*"].iter().chain(rest).copied().collect(),
        _ => named.clone(),
    };
    let span = span.into();
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut quoted = rest.split('`').skip(1).step_by(2);
        // The key is taken from the tree: in the message, its backquotes can't be distinguished from serde's.
        let key = named.last().copied().or_else(|| quoted.next()).unwrap_or_default();
        if let Some(instead) = reserved::later(&general) {
            report.add(span, format!("`{}` is not supported yet", named.join(".")), format!("remove it: {instead}"));
            return;
        }
        let known: Vec<&str> = expected(rest);
        let help = match near(key, known.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None if known.is_empty() => "remove it".to_owned(),
            None => format!("known here: `{}`", known.join("`, `")),
        };
        report.add_labelled(span, format!("unknown field `{key}`"), "not a known field here", help);
        return;
    }
    let wrong = wrong_type(message);
    let hint = match reserved::hint(&general) {
        "" if wrong.starts_with("expected a string, found ") => "write it in quotes",
        hint => hint,
    };
    let subject = if named.is_empty() { String::new() } else { format!("`{}`: ", named.join(".")) };
    report.add(span, format!("{subject}{wrong}"), hint);
}

/// The names in backquotes that serde lists after "expected".
fn expected(rest: &str) -> Vec<&str> {
    let list = rest.rsplit_once("expected ").map_or("", |(_, list)| list);
    list.split('`').skip(1).step_by(2).collect()
}

/// serde's message for a wrong type, in TOML's terms and without the value, which may be a secret. The source line is
/// shown anyway.
fn wrong_type(message: &str) -> String {
    let found_and_wanted = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| Some((rest.split([' ', ',']).next()?, rest.rsplit_once("expected ")?.1)));
    let Some((found, wanted)) = found_and_wanted else {
        // A message may quote a value, so only one without quotes is passed on.
        return if message.contains(['"', '`']) { "not a valid value".to_owned() } else { message.to_owned() };
    };
    let found = match found {
        "string" => "a string",
        "integer" => "a whole number",
        "floating" => "a number with a fraction",
        "boolean" => "true or false",
        "map" => "a table",
        "sequence" => "a list",
        _ => "something else",
    };
    let wanted = match wanted {
        "a sequence" => "a list",
        "a map" => "a table",
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "`true` or `false`",
        wanted => wanted,
    };
    format!("expected {wanted}, found {found}")
}

/// Removes the key or value with this span from the tree, and collects its path. If the span is inside a value, removes
/// the innermost key around it.
fn take(table: &mut DeTable<'_>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    let around = |range: Range<usize>| range.start <= span.start && span.end <= range.end;
    let mut name = None;
    for (key, value) in table.iter_mut() {
        if key.span() == *span || value.span() == *span {
            name = Some(key.get_ref().clone());
            break;
        }
        path.push(key.get_ref().to_string());
        if inside(value, span, path) {
            return true;
        }
        path.pop();
        if around(value.span()) && !matches!(value.get_ref(), DeValue::Table(_)) {
            name = Some(key.get_ref().clone());
        }
    }
    let Some(name) = name else { return false };
    path.push(name.to_string());
    table.remove(name.as_ref()).is_some()
}

fn inside(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => take(table, span, path),
        DeValue::Array(items) => {
            if let Some(index) = items.iter().position(|item| item.span() == *span) {
                let kept =
                    std::mem::replace(items, DeArray::new()).into_iter().enumerate().filter(|(at, _)| *at != index);
                *items = kept.map(|(_, item)| item).collect();
                return true;
            }
            items.iter_mut().any(|item| inside(item, span, path))
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            false
        }
    }
}
