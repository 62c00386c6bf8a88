//! Reads the text of references as the types of their keys: numbers, `true` and `false`, and lists of strings.
//!
//! Environment variables hold text and nothing else. The schema says which type a key has. Where a key takes text, where
//! it may be anything (`settings` of a step), and in all values without a reference, nothing changes. Invariant: a
//! secret is in no message.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::DeArray;
use toml::de::DeTable;
use toml::de::DeValue;

use super::interpolate::Secrets;
use super::report::Report;

/// The values that are not text, by the start of their spans.
pub(super) struct Typed(BTreeMap<usize, Reading>);

enum Reading {
    /// A number or a switch, as TOML writes it.
    Scalar(String),
    /// The items of a list.
    Items(Vec<String>),
    /// Reported.
    Wrong,
}

/// The type of a key.
enum Kind<'a> {
    /// Text, or anything.
    Text,
    Strings,
    Whole,
    /// A whole number, or one of these words.
    WholeOr(Vec<&'a str>),
    Number,
    Switch,
}

/// Reads all values with references in a file of this schema. Those that their keys can't take are reported.
pub(super) fn read(table: &DeTable<'_>, schema: &Json, secrets: &mut Secrets, report: &mut Report) -> Typed {
    let mut reader = Reader { secrets, report, readings: BTreeMap::new() };
    reader.table(table, schema, "");
    Typed(reader.readings)
}

impl Typed {
    /// Puts the values into the tree in place of their texts. Those that were reported are removed.
    pub(super) fn put<'t>(&'t self, mut document: Spanned<DeTable<'t>>) -> Spanned<DeTable<'t>> {
        self.put_table(document.get_mut());
        document
    }

    fn put_table<'t>(&'t self, table: &mut DeTable<'t>) {
        let mut out = Vec::new();
        for (key, value) in table.iter_mut() {
            if !self.put_value(value) {
                out.push(key.get_ref().clone());
            }
        }
        for key in out {
            table.remove(key.as_ref());
        }
    }

    /// Whether the value may stay in the tree.
    fn put_value<'t>(&'t self, value: &mut Spanned<DeValue<'t>>) -> bool {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(_) => match self.0.get(&span.start) {
                None => {}
                Some(Reading::Scalar(text)) => match DeValue::parse(text) {
                    Ok(read) => *value.get_mut() = read.into_inner(),
                    Err(_) => return false,
                },
                Some(Reading::Items(items)) => *value.get_mut() = DeValue::Array(strings(items, &span).collect()),
                Some(Reading::Wrong) => return false,
            },
            DeValue::Array(items) => {
                let mut kept = Vec::new();
                for mut item in std::mem::replace(items, DeArray::new()) {
                    let span = item.span();
                    let is_text = matches!(item.get_ref(), DeValue::String(_));
                    if let Some(Reading::Items(several)) = self.0.get(&span.start).filter(|_| is_text) {
                        kept.extend(strings(several, &span));
                    } else if self.put_value(&mut item) {
                        kept.push(item);
                    }
                }
                *items = kept.into_iter().collect();
            }
            DeValue::Table(table) => self.put_table(table),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
        true
    }
}

/// Strings that all have the span of the reference that they came from.
fn strings<'t>(items: &'t [String], span: &Range<usize>) -> impl Iterator<Item = Spanned<DeValue<'t>>> {
    items.iter().map(move |item| Spanned::new(span.clone(), DeValue::String(Cow::Borrowed(item.as_str()))))
}

struct Reader<'a> {
    secrets: &'a mut Secrets,
    report: &'a mut Report,
    readings: BTreeMap<usize, Reading>,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, schema: &Json, path: &str) {
        let schema = form(schema, "object");
        for (key, value) in table {
            let key = key.get_ref();
            let inside = schema["properties"].get(key.as_ref()).unwrap_or_else(|| &schema["additionalProperties"]);
            let path = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
            self.value(value, inside, &path);
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &Json, path: &str) {
        match value.get_ref() {
            DeValue::String(text) => self.text(text, &value.span(), &Kind::of(schema), path),
            DeValue::Array(items) => {
                let is_list = matches!(Kind::of(schema), Kind::Strings);
                for item in items {
                    if let (DeValue::String(text), true) = (item.get_ref(), is_list) {
                        self.text(text, &item.span(), &Kind::Strings, path);
                    } else {
                        self.value(item, &form(schema, "array")["items"], path);
                    }
                }
            }
            DeValue::Table(table) => self.table(table, schema, path),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn text(&mut self, text: &str, span: &Range<usize>, kind: &Kind<'_>, path: &str) {
        if self.secrets.references(span).is_empty() {
            return;
        }
        let reading = match kind {
            Kind::Text => return,
            Kind::Strings => self.items(text, span, path),
            Kind::WholeOr(words) if words.contains(&text.trim()) => return,
            Kind::Whole | Kind::WholeOr(_) | Kind::Number | Kind::Switch => match kind.literal(text.trim()) {
                Some(literal) => Reading::Scalar(literal),
                None => {
                    let (wanted, help) = kind.wanted();
                    let message = match self.is(text, span) {
                        Some(is) => format!("{is}, and `{path}` is {wanted}"),
                        None => format!("`{path}` is {wanted}, and the value of {} is not", self.named(span)),
                    };
                    self.report.add(span.clone().into(), message, help);
                    Reading::Wrong
                }
            },
        };
        self.readings.insert(span.start, reading);
    }

    /// The items of a list. A pattern of topics may contain commas, so it is one item.
    fn items(&mut self, text: &str, span: &Range<usize>, path: &str) -> Reading {
        let items: Vec<String> = match text.starts_with('^') {
            true => vec![text.to_owned()],
            false => text.split(',').map(|item| item.trim().to_owned()).collect(),
        };
        if items.iter().any(String::is_empty) {
            let message = match self.is(text, span) {
                Some(is) => format!("{is}, and `{path}` has no empty items"),
                None => format!("`{path}` has no empty items, and the value of {} has one", self.named(span)),
            };
            self.report.add(span.clone().into(), message, "write the items with one comma between two: `a,b`");
            return Reading::Wrong;
        }
        self.secrets.split(span, &items);
        Reading::Items(items)
    }

    /// What the references came to, unless that is a secret.
    fn is(&self, text: &str, span: &Range<usize>) -> Option<String> {
        let is = if self.secrets.is_alone(span) { "is" } else { "in its text makes" };
        (!self.secrets.touch(span)).then(|| format!("{} {is} {text:?}", self.named(span)))
    }

    fn named(&self, span: &Range<usize>) -> String {
        format!("`{}`", self.secrets.references(span).join("` and `"))
    }
}

impl<'a> Kind<'a> {
    fn of(schema: &'a Json) -> Kind<'a> {
        let either = schema["anyOf"].as_array().map_or_else(|| std::slice::from_ref(schema), Vec::as_slice);
        let is = |name: &str| either.iter().any(|one| one["type"] == name);
        let words =
            || either.iter().filter_map(|one| one["enum"].as_array()).flatten().filter_map(Json::as_str).collect();
        if is("integer") {
            let words: Vec<&str> = words();
            return if words.is_empty() { Kind::Whole } else { Kind::WholeOr(words) };
        }
        match form(schema, "array")["items"]["type"] == "string" {
            true => Kind::Strings,
            false if is("boolean") => Kind::Switch,
            false if is("number") => Kind::Number,
            false => Kind::Text,
        }
    }

    /// The text as TOML writes a value of this type.
    fn literal(&self, text: &str) -> Option<String> {
        match self {
            Kind::Whole | Kind::WholeOr(_) => text.parse::<i64>().ok().map(|number| number.to_string()),
            Kind::Number => {
                text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| format!("{number:?}"))
            }
            Kind::Switch => text.parse::<bool>().ok().map(|switch| switch.to_string()),
            Kind::Text | Kind::Strings => None,
        }
    }

    /// What a key of this type is, and how to write it.
    fn wanted(&self) -> (String, String) {
        match self {
            Kind::Text | Kind::Strings => (String::new(), String::new()),
            Kind::Whole => ("a whole number".into(), "write it in digits, such as `8`".into()),
            Kind::WholeOr(words) => {
                let words = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
                (format!("a whole number or {words}"), format!("write it in digits, such as `8`, or as {words}"))
            }
            Kind::Number => ("a number".into(), "write it in digits, such as `0.5`".into()),
            Kind::Switch => ("`true` or `false`".into(), "write it as `true` or `false`".into()),
        }
    }
}

/// The schema of this type, for a key that may also be something else.
fn form<'a>(schema: &'a Json, name: &str) -> &'a Json {
    let either = schema["anyOf"].as_array();
    either.and_then(|all| all.iter().find(|one| one["type"] == name)).unwrap_or(schema)
}
