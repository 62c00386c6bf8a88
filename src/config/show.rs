//! The effective configuration: every value with its origin.
//!
//! The output is TOML that can be used as a file again, except for hidden values. It follows the schema, so every
//! existing key is shown. No default is decided here: they are in the schema, and a test checks that a file with all
//! defaults written down means the same as one without.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::Overrides;
use super::Pipeline;
use super::document;
use super::interpolate::Secrets;
use super::interpolate::Values;
use super::report::Report;
use super::schema::schema;
use super::source;
use super::source::Source;
use super::typed;
use crate::kafka::settings::Guarantee;
use crate::partition::OnFailure;
use crate::sink::Dialect;

/// Origins are aligned, except after values longer than this.
const COLUMN_MAX: usize = 48;

/// The effective configuration as text.
///
/// # Errors
/// The same as [`super::load`]: everything that is wrong with the file.
pub fn show(path: &Path, overrides: &Overrides, env: &dyn Fn(&str) -> Option<OsString>) -> Result<String, Report> {
    show_read(&super::load(path, overrides, env)?, env)
}

/// The same for a pipeline that was read before, whatever its file says by now.
///
/// # Errors
/// If a file that a value refers to can't be read any more.
pub fn show_read(pipeline: &Pipeline, env: &dyn Fn(&str) -> Option<OsString>) -> Result<String, Report> {
    let path = &*pipeline.file;
    let source = Arc::clone(&pipeline.source);
    let mut report = Report::new(Arc::clone(&source));
    let Some(mut document) = document::parse(&source, &mut report) else { return Err(report) };
    let mut secrets = Secrets::default();
    Values::new(env, &source).fill(document.get_mut(), &mut secrets, &mut report);
    if !report.is_empty() {
        return Err(report);
    }
    let typed = typed::read(document.get_ref(), &schema(), &mut secrets, &mut report);
    let document = typed.put(document);
    let mut page = Page { pipeline, source: &source, secrets: &secrets, lines: Vec::new() };
    page.file(document.get_ref());
    Ok(page.text(path))
}

struct Page<'a> {
    pipeline: &'a Pipeline,
    source: &'a Source,
    secrets: &'a Secrets,
    lines: Vec<Line>,
}

enum Line {
    Header(String),
    Value(String, String),
}

/// The position of a value in the file.
#[derive(Clone, Copy)]
struct At<'a> {
    /// Its path in the schema: `step.0.name`.
    path: &'a str,
    /// Its key as written below the last header.
    key: &'a str,
    /// Whether its value is hidden.
    secret: bool,
}

impl Page<'_> {
    fn file(&mut self, document: &DeTable<'_>) {
        let schema = schema();
        let Some(properties) = schema["properties"].as_object() else { return };
        let is_table = |schema: &Json| schema["type"] == "object" || schema["type"] == "array";
        for (key, schema) in properties.iter().filter(|(_, schema)| !is_table(schema)) {
            self.entry(At { path: key, key, secret: false }, schema, document.get(key.as_str()));
        }
        for (key, schema) in properties.iter().filter(|(_, schema)| is_table(schema)) {
            let value = document.get(key.as_str());
            match (value.map(Spanned::get_ref), key.as_str()) {
                (Some(DeValue::Array(items)), _) => {
                    for (index, item) in items.iter().enumerate() {
                        self.lines.push(Line::Header(format!("[[{key}]]")));
                        self.entries(&format!("{key}.{index}"), "", &schema["items"], table(Some(item)), false);
                    }
                }
                (Some(DeValue::Table(outputs)), "output") => {
                    let mut outputs: Vec<_> = outputs.iter().collect();
                    outputs.sort_by_key(|(name, _)| name.span().start);
                    for (name, output) in outputs {
                        let name = written(name.get_ref());
                        self.lines.push(Line::Header(format!("[output.{name}]")));
                        let schema = &schema["additionalProperties"];
                        self.entries(&format!("output.{name}"), "", schema, table(Some(output)), false);
                    }
                }
                _ => {
                    self.lines.push(Line::Header(format!("[{key}]")));
                    self.entries(key, "", schema, table(value), source::is_secret(key, false));
                }
            }
        }
    }

    /// The keys of a table: first those in the schema, in its order, then those that the schema doesn't list.
    fn entries(&mut self, path: &str, above: &str, schema: &Json, table: Option<&DeTable<'_>>, secret: bool) {
        let dotted = |above: &str, key: &str| match above {
            "" => written(key),
            above => format!("{above}.{}", written(key)),
        };
        let schema =
            schema["anyOf"].as_array().and_then(|all| all.iter().find(|one| one["type"] == "object")).unwrap_or(schema);
        let properties = schema["properties"].as_object();
        for (key, schema) in properties.into_iter().flatten() {
            let (path, written) = (format!("{path}.{key}"), dotted(above, key));
            let at = At { path: &path, key: &written, secret: source::is_secret(key, secret) };
            self.entry(at, schema, table.and_then(|table| table.get(key.as_str())));
        }
        let is_known = |key: &str| properties.is_some_and(|known| known.contains_key(key));
        let mut others: Vec<_> = table.into_iter().flatten().filter(|(key, _)| !is_known(key.get_ref())).collect();
        others.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in others {
            let (path, written) = (format!("{path}.{}", key.get_ref()), dotted(above, key.get_ref()));
            let at = At { path: &path, key: &written, secret: source::is_secret(key.get_ref(), secret) };
            self.entry(at, &Json::Null, Some(value));
        }
    }

    fn entry(&mut self, at: At<'_>, schema: &Json, value: Option<&Spanned<DeValue<'_>>>) {
        match (value, table(value)) {
            (_, Some(table)) if !table.is_empty() => self.entries(at.path, at.key, schema, Some(table), at.secret),
            (Some(value), _) => {
                let text = self.value(value, at.secret);
                let is_shown = !at.secret && !self.secrets.touch(&value.span());
                let comes_to =
                    schema["x-unit"].as_str().filter(|_| is_shown).and_then(|unit| comes_to(unit, value.get_ref()));
                match comes_to.filter(|comes_to| *comes_to != text) {
                    Some(comes_to) => self.line(at.key, &comes_to, format!("{}, written {text}", self.origin(value))),
                    None => self.line(at.key, &text, self.origin(value)),
                }
            }
            (None, _) if self.is_for_plugins(at.path) => {}
            (None, _) => {
                if let Some(default) = schema.get("default") {
                    self.line(at.key, &from_json(default), "default".into());
                } else if let Some((default, words)) = self.computed(at.path).zip(schema["x-default"].as_str()) {
                    self.line(at.key, &default, format!("default: {words}"));
                } else if schema["properties"].is_object() {
                    self.entries(at.path, at.key, schema, None, at.secret);
                }
            }
        }
    }

    fn line(&mut self, key: &str, value: &str, origin: String) {
        self.lines.push(Line::Value(format!("{key} = {value}"), origin));
    }

    /// Whether a key is one of the step with windows that only a step with a plugin may have.
    fn is_for_plugins(&self, path: &str) -> bool {
        let Some(windowed) = self.pipeline.native() else { return false };
        let key = path.strip_prefix("step.").and_then(|rest| rest.strip_prefix(&windowed.number.to_string()));
        key.and_then(|key| key.strip_prefix('.')).is_some_and(|key| {
            let key = key.split('.').next().unwrap_or_default();
            ["allow", "timeout", "init_timeout", "memory", "batch", "sha256"].contains(&key)
        })
    }

    /// The actual value of a default that isn't the same everywhere.
    fn computed(&self, path: &str) -> Option<String> {
        let pipeline = self.pipeline;
        let is_shown = pipeline.spans.name.is_none_or(|name| pipeline.is_shown(name));
        let named = |text: &str, is_shown: bool| if is_shown { quoted(text) } else { quoted("***") };
        match path {
            "name" => Some(quoted(&pipeline.name)),
            "delivery" => Some(quoted(match pipeline.kafka.delivery {
                Guarantee::AtLeastOnce => "at_least_once",
                Guarantee::ExactlyOnce { .. } => "exactly_once",
            })),
            "kafka.client_id" => Some(named(&pipeline.kafka.client_id, is_shown)),
            "input.group" => Some(named(&pipeline.kafka.input.group, is_shown)),
            "on_error.then" => Some(quoted(match pipeline.policy.general.then {
                OnFailure::Stop => "stop",
                OnFailure::Hold => "hold",
                OnFailure::DeadLetter => "dead_letter",
                OnFailure::Skip => "skip",
            })),
            // Without dead letters the key is an error.
            "on_error.dialect" => pipeline.kafka.dead_letter.as_ref().map(|_| {
                quoted(match pipeline.dialect {
                    Dialect::Streams => "streams",
                    Dialect::Connect => "connect",
                })
            }),
            // Without windows there is no state.
            "http.state" => pipeline.windowed.as_ref().map(|_| pipeline.serves_state.to_string()),
            "http.tap" => Some(pipeline.serves_tap.unwrap_or(false).to_string()),
            "limits.parallelism" => Some(pipeline.limits.parallelism.to_string()),
            path => {
                let index: usize = path.strip_prefix("step.")?.strip_suffix(".name")?.parse().ok()?;
                Some(named(&pipeline.steps.get(index)?.name, pipeline.is_shown(pipeline.spans.steps.get(index)?.wasm)))
            }
        }
    }

    /// The value in TOML, on one line.
    fn value(&self, value: &Spanned<DeValue<'_>>, secret: bool) -> String {
        let is_hidden = self.secrets.touch(&value.span());
        match value.get_ref() {
            DeValue::String(_) if secret => quoted("***"),
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) if is_hidden => {
                quoted("***")
            }
            DeValue::String(text) => quoted(text),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.value(item, secret)).collect();
                format!("[{}]", items.join(", "))
            }
            DeValue::Table(table) => {
                let mut entries: Vec<_> = table.iter().collect();
                entries.sort_by_key(|(key, _)| key.span().start);
                let entry = |key: &str, value| {
                    format!("{} = {}", written(key), self.value(value, source::is_secret(key, secret)))
                };
                let entries: Vec<String> = entries.iter().map(|(key, value)| entry(key.get_ref(), value)).collect();
                if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
            }
        }
    }

    /// The references in a value, and its line.
    fn origin(&self, value: &Spanned<DeValue<'_>>) -> String {
        let mut parts = Vec::new();
        self.references(value, &mut parts);
        if let Some(line) = self.source.line(value.span().into()) {
            let is_option = line.origin.starts_with("--");
            parts.push(if is_option { line.origin } else { format!("{}:{}", line.origin, line.number) });
        }
        parts.join(", ")
    }

    fn references(&self, value: &Spanned<DeValue<'_>>, parts: &mut Vec<String>) {
        for reference in self.secrets.references(&value.span()) {
            if !parts.iter().any(|part| part == reference) {
                parts.push(reference.to_owned());
            }
        }
        match value.get_ref() {
            DeValue::Array(items) => items.iter().for_each(|item| self.references(item, parts)),
            DeValue::Table(table) => table.iter().for_each(|(_, item)| self.references(item, parts)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }

    fn text(&self, path: &Path) -> String {
        let widths = self.lines.iter().filter_map(|line| match line {
            Line::Value(value, _) => Some(value.chars().count()).filter(|width| *width <= COLUMN_MAX),
            Line::Header(_) => None,
        });
        let width = widths.max().unwrap_or(0);
        // A line break in the path would end the comment.
        let mut text = format!(
            "# The effective values of {}. `***` stands for hidden values.\n",
            one_line(&path.display().to_string())
        );
        for line in &self.lines {
            // Writing to a string can't fail.
            let _ = match line {
                Line::Header(header) => writeln!(text, "\n{header}"),
                Line::Value(value, origin) => writeln!(text, "{value:width$}  # {}", one_line(origin)),
            };
        }
        text
    }
}

/// A value with a unit, in normalized form.
fn comes_to(unit: &str, value: &DeValue<'_>) -> Option<String> {
    let text = match value {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            return None;
        }
    };
    match unit {
        "size" => text.parse::<bytesize::ByteSize>().ok().map(|size| in_bytes(size.as_u64())),
        "time" => {
            humantime::parse_duration(&text).ok().map(|time| quoted(&humantime::format_duration(time).to_string()))
        }
        _ => None,
    }
}

/// A number of bytes, in the largest unit that divides it.
pub(super) fn in_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 6] =
        [("GiB", 1 << 30), ("GB", 1_000_000_000), ("MiB", 1 << 20), ("MB", 1_000_000), ("KiB", 1 << 10), ("kB", 1_000)];
    match UNITS.iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size)) {
        Some((unit, size)) => quoted(&format!("{} {unit}", bytes / size)),
        None => bytes.to_string(),
    }
}

fn table<'a, 'b>(value: Option<&'a Spanned<DeValue<'b>>>) -> Option<&'a DeTable<'b>> {
    match value?.get_ref() {
        DeValue::Table(table) => Some(table),
        DeValue::Array(_)
        | DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

/// A key in TOML.
fn written(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'));
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// A string in TOML, on one line.
fn quoted(text: &str) -> String {
    if text.contains(|c: char| c.is_control()) {
        // The only form of a TOML string without line breaks.
        return format!("\"{}\"", text.chars().map(escaped).collect::<String>());
    }
    toml::Value::String(text.to_owned()).to_string()
}

fn escaped(c: char) -> String {
    match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    }
}

fn from_json(value: &Json) -> String {
    match value {
        Json::String(text) => quoted(text),
        Json::Array(items) => format!("[{}]", items.iter().map(from_json).collect::<Vec<_>>().join(", ")),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => value.to_string(),
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
