//! Parses the texts into one tree of values, each with its span: the file, completed by `[kafka]` of the process's file, and then the
//! overrides merged into it.
//!
//! Reports invalid TOML. It doesn't know what the keys mean.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::report::Report;
use super::source::DEPTH_MAX;
use super::source::Layer;
use super::source::Source;
use super::source::Span;
use super::source::Text;

/// A file with more syntax errors than this is probably not TOML at all.
const SYNTAX_ERRORS_MAX: usize = 20;

/// An option `--set key=value` as TOML: the value unchanged if it is TOML, otherwise as a string.
pub(super) fn set(argument: &str) -> Result<String, &'static str> {
    let Some((key, value)) = argument.split_once('=') else {
        return Err("there is no `=` in it");
    };
    if DeTable::parse(argument).is_ok() {
        return Ok(argument.to_owned());
    }
    let quoted = format!("{key}={}", toml::Value::String(value.to_owned()));
    match DeTable::parse(&quoted) {
        Ok(_) => Ok(quoted),
        Err(_) => Err("the part before `=` is not a key"),
    }
}

/// Parses the file, completes it and merges the overrides into it. `None` if a text isn't TOML.
pub(super) fn parse<'a>(source: &'a Source, report: &mut Report) -> Option<Spanned<DeTable<'a>>> {
    let (file, others) = source.texts().split_first()?;
    let mut document = parse_text(file, report)?;
    for text in others {
        let table = parse_text(text, report)?.into_inner();
        match text.layer {
            Layer::Process => complete(document.get_mut(), table),
            Layer::File | Layer::Override => merge(document.get_mut(), table, report),
        }
    }
    Some(document)
}

/// Adds the keys of the process's `[kafka]` that the file doesn't have. `librdkafka` is completed key by key. Any other value is one whole:
/// half of a login or of a certificate with its key would be no use.
fn complete<'a>(file: &mut DeTable<'a>, process: DeTable<'a>) {
    let Some((key, kafka)) = process.into_iter().find(|(key, _)| key.get_ref() == "kafka") else { return };
    match file.get_mut("kafka").map(Spanned::get_mut) {
        None => drop(file.insert(key, kafka)),
        Some(DeValue::Table(own)) => add_missing(own, kafka, &["librdkafka"]),
        // Reported where the keys are read.
        Some(
            DeValue::Array(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_),
        ) => {}
    }
}

/// Adds the keys that a table doesn't have, and below these names those that its tables don't have.
fn add_missing<'a>(own: &mut DeTable<'a>, process: Spanned<DeValue<'a>>, by_key: &[&str]) {
    let DeValue::Table(process) = process.into_inner() else { return };
    for (key, value) in process {
        match own.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut) {
            None => drop(own.insert(key, value)),
            Some(DeValue::Table(own)) if by_key.contains(&key.get_ref().as_ref()) => add_missing(own, value, &[]),
            Some(_) => {}
        }
    }
}

fn parse_text<'a>(text: &'a Text, report: &mut Report) -> Option<Spanned<DeTable<'a>>> {
    let (table, errors) = DeTable::parse_recoverable(&text.text);
    let mut lines = BTreeSet::new();
    for error in &errors {
        let range = error.span().unwrap_or(0..0);
        // Only the first error of a line is reported; it usually causes the others.
        let line = text.text.bytes().take(range.start).filter(|&byte| byte == b'\n').count();
        if lines.len() == SYNTAX_ERRORS_MAX || !lines.insert(line) {
            continue;
        }
        let span = Span { start: text.start + range.start, end: text.start + range.end };
        report.add(span, format!("not valid TOML: {}", error.message()), "");
    }
    if let Some(place) = deepest(table.get_ref(), DEPTH_MAX) {
        let span = Span { start: text.start + place.start, end: text.start + place.end };
        report.add(span, format!("a value is nested more than {DEPTH_MAX} levels deep"), "flatten it");
        release(table);
        return None;
    }
    let range = table.span();
    let table = Spanned::new(range.start + text.start..range.end + text.start, shifted(table.into_inner(), text.start));
    errors.is_empty().then_some(table)
}

/// A value that is nested too deeply. The parser limits brackets and dots separately, but not their combination.
fn deepest(table: &DeTable<'_>, left: usize) -> Option<Range<usize>> {
    table.iter().find_map(|(_, value)| deepest_in(value, left))
}

fn deepest_in(value: &Spanned<DeValue<'_>>, left: usize) -> Option<Range<usize>> {
    let Some(left) = left.checked_sub(1) else { return Some(value.span()) };
    match value.get_ref() {
        DeValue::Array(items) => items.iter().find_map(|item| deepest_in(item, left)),
        DeValue::Table(table) => deepest(table, left),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            None
        }
    }
}

/// Frees a table, unless that would recurse through thousands of levels and could overflow the thread's stack: then it stays allocated.
pub(super) fn release(table: Spanned<DeTable<'_>>) {
    if deepest(table.get_ref(), DEPTH_MAX).is_some() {
        std::mem::forget(table);
    }
}

fn shifted<'a>(table: DeTable<'a>, by: usize) -> DeTable<'a> {
    let moved = |range: Range<usize>| range.start + by..range.end + by;
    table
        .into_iter()
        .map(|(key, value)| (Spanned::new(moved(key.span()), key.into_inner()), shifted_value(value, by)))
        .collect()
}

fn shifted_value<'a>(value: Spanned<DeValue<'a>>, by: usize) -> Spanned<DeValue<'a>> {
    let range = value.span().start + by..value.span().end + by;
    let value = match value.into_inner() {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| shifted_value(item, by)).collect()),
        DeValue::Table(table) => DeValue::Table(shifted(table, by)),
        plain @ (DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)) => plain,
    };
    Spanned::new(range, value)
}

/// Merges `above` into `below`: tables key by key, `step.0` is an element of a list, anything else is replaced.
fn merge<'a>(below: &mut DeTable<'a>, above: DeTable<'a>, report: &mut Report) {
    for (key, value) in above {
        let span = value.span();
        let name = key.get_ref().clone();
        match (below.get_mut(name.as_ref()).map(Spanned::get_mut), value.into_inner()) {
            (Some(DeValue::Table(below)), DeValue::Table(above)) => merge(below, above, report),
            (Some(DeValue::Array(items)), DeValue::Table(above)) => {
                for (index, above) in above {
                    let number = index.get_ref().parse::<usize>().ok();
                    let item = number.and_then(|number| items.get_mut(number)).map(Spanned::get_mut);
                    match (item, above.into_inner()) {
                        (Some(DeValue::Table(item)), DeValue::Table(above)) => merge(item, above, report),
                        _ => report.add(
                            index.span().into(),
                            format!("`{name}` has no table number `{}`", index.get_ref()),
                            format!("count from 0: the first is `{name}.0`"),
                        ),
                    }
                }
            }
            (_, value) => {
                // Removed first: otherwise the map would keep the old key with its span.
                below.remove(name.as_ref());
                below.insert(key, Spanned::new(span, value));
            }
        }
    }
}
