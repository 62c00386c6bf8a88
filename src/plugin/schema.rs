//! Checks a step's settings against the JSON Schema of its plugin.
//!
//! Only the keywords that settings need are checked: `$ref` and `pattern` would let an untrusted schema run without end
//! or require an engine of their own, and libraries for all of JSON Schema add much build time. What isn't checked here
//! is left to the plugin's `init`, which decides in the end. Pure, and it terminates: each part of the schema is
//! checked once per value, up to a limit.

use serde_json::Map;
use serde_json::Value;

/// A setting that doesn't fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Keys, and indices of list elements from 0, starting at the settings.
    pub path: Vec<String>,
    /// What is wrong there, without the setting's value.
    pub what: What,
}

/// What can be wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The plugin has no such setting.
    Unknown {
        /// The settings known at this place.
        known: Vec<String>,
    },
    /// A required setting is missing in this table.
    Missing {
        /// Its name.
        name: String,
    },
    /// Anything else: `expected a string, found a list`.
    Wrong(String),
}

/// Keywords that are checked.
const CHECKED: [&str; 20] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "maxProperties",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "anyOf",
    "allOf",
];
/// Keywords that only inform people.
const ANNOTATIONS: [&str; 10] =
    ["$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "format"];
/// The most pairs of a value and a part of the schema that are checked: far more than real settings have.
const LOOKS_MAX: usize = 1_000_000;
const FAULTS_MAX: usize = 20;

/// The settings that don't fit, in the order of the schema. Empty if all fit.
pub(super) fn faults(schema: &Value, settings: &Value) -> Vec<Fault> {
    let mut check = Check { path: Vec::new(), faults: Vec::new(), looks: 0 };
    check.value(schema, settings);
    check.faults
}

/// Keywords in a schema that are not checked.
pub(super) fn unchecked(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_unchecked(schema, &mut found);
    found.sort();
    found.dedup();
    found
}

fn collect_unchecked(schema: &Value, found: &mut Vec<String>) {
    let Value::Object(keywords) = schema else { return };
    for (keyword, value) in keywords {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(below)) => below.values().for_each(|schema| collect_unchecked(schema, found)),
            ("anyOf" | "allOf", Value::Array(below)) => {
                below.iter().for_each(|schema| collect_unchecked(schema, found))
            }
            ("items" | "additionalProperties", below) => collect_unchecked(below, found),
            (other, _) if CHECKED.contains(&other) || ANNOTATIONS.contains(&other) => {}
            (other, _) => found.push(super::manifest::shown(other, 64)),
        }
    }
}

struct Check {
    path: Vec<String>,
    faults: Vec<Fault>,
    looks: usize,
}

impl Check {
    fn fault(&mut self, what: What) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { path: self.path.clone(), what });
        }
    }

    fn wrong(&mut self, text: String) {
        self.fault(What::Wrong(text));
    }

    fn below(&mut self, part: String, schema: &Value, value: &Value) {
        self.path.push(part);
        self.value(schema, value);
        self.path.pop();
    }

    fn value(&mut self, schema: &Value, value: &Value) {
        self.looks += 1;
        if self.looks > LOOKS_MAX {
            return;
        }
        let keywords = match schema {
            Value::Object(keywords) => keywords,
            Value::Bool(false) => return self.wrong("nothing is allowed here".to_owned()),
            // `true` allows everything, and an invalid schema is ignored.
            Value::Bool(true) | Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => return,
        };
        if let Some(types) = keywords.get("type")
            && !is_of(types, value)
        {
            // The other keywords assume a value of that type.
            return self.wrong(format!("expected {}, found {}", named_types(types), kind(value)));
        }
        if let Some(allowed) = keywords.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            let shown: Vec<String> = allowed.iter().take(10).map(|value| format!("`{}`", shown(value))).collect();
            self.wrong(format!("expected one of {}", shown.join(", ")));
        }
        if let Some(only) = keywords.get("const").filter(|&only| only != value) {
            self.wrong(format!("expected `{}`", shown(only)));
        }
        match value {
            Value::Object(fields) => self.object(keywords, fields),
            Value::Array(items) => self.array(keywords, items),
            Value::String(text) => {
                let characters = text.chars().count();
                self.count(keywords, ("minLength", "maxLength"), characters, "character");
            }
            Value::Number(_) => self.number(keywords, value),
            Value::Null | Value::Bool(_) => {}
        }
        if let Some(all) = keywords.get("allOf").and_then(Value::as_array) {
            all.iter().for_each(|schema| self.value(schema, value));
        }
        if let Some(any) = keywords.get("anyOf").and_then(Value::as_array) {
            self.any(any, value);
        }
    }

    /// One of the schemas must fit. If none does, the individual faults are not reported.
    fn any(&mut self, schemas: &[Value], value: &Value) {
        let before = self.faults.len();
        let mut first = Vec::new();
        for schema in schemas {
            self.value(schema, value);
            let found = self.faults.split_off(before);
            if found.is_empty() {
                return;
            }
            if first.is_empty() {
                first = found;
            }
        }
        match schemas {
            [_] => self.faults.extend(first),
            _ => self.wrong("the value matches none of the allowed forms".to_owned()),
        }
    }

    fn object(&mut self, keywords: &Map<String, Value>, fields: &Map<String, Value>) {
        let properties = keywords.get("properties").and_then(Value::as_object);
        for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                self.fault(What::Missing { name: super::manifest::shown(name, 64) });
            }
        }
        for (name, value) in fields {
            let known = properties.and_then(|properties| properties.get(name));
            match (known, keywords.get("additionalProperties")) {
                (Some(schema), _) => self.below(name.clone(), schema, value),
                (None, Some(Value::Bool(false))) => {
                    let known = properties.into_iter().flat_map(Map::keys);
                    let known = known.map(|name| super::manifest::shown(name, 64)).collect();
                    self.path.push(name.clone());
                    self.fault(What::Unknown { known });
                    self.path.pop();
                }
                (None, Some(schema)) => self.below(name.clone(), schema, value),
                (None, None) => {}
            }
        }
        self.count(keywords, ("minProperties", "maxProperties"), fields.len(), "setting");
    }

    fn array(&mut self, keywords: &Map<String, Value>, items: &[Value]) {
        if let Some(schema) = keywords.get("items") {
            for (number, item) in items.iter().enumerate() {
                self.below(number.to_string(), schema, item);
            }
        }
        self.count(keywords, ("minItems", "maxItems"), items.len(), "element");
        if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
            let mut seen: Vec<String> = items.iter().map(Value::to_string).collect();
            seen.sort_unstable();
            if seen.windows(2).any(|two| two[0] == two[1]) {
                self.wrong("an element occurs twice".to_owned());
            }
        }
    }

    fn count(&mut self, keywords: &Map<String, Value>, (least, most): (&str, &str), found: usize, of: &str) {
        let bound = |keyword| keywords.get(keyword).and_then(Value::as_u64);
        let found = found as u64;
        if let Some(least) = bound(least).filter(|&least| found < least) {
            self.wrong(format!("expected {least} {of}s at least, found {found}"));
        }
        if let Some(most) = bound(most).filter(|&most| found > most) {
            self.wrong(format!("expected {most} {of}s at most, found {found}"));
        }
    }

    fn number(&mut self, keywords: &Map<String, Value>, value: &Value) {
        let Some(number) = value.as_f64() else { return };
        type Breaks = fn(f64, f64) -> bool;
        let rules: [(&str, &str, Breaks); 4] = [
            ("minimum", "at least", |number, bound| number < bound),
            ("maximum", "at most", |number, bound| number > bound),
            ("exclusiveMinimum", "more than", |number, bound| number <= bound),
            ("exclusiveMaximum", "less than", |number, bound| number >= bound),
        ];
        for (keyword, words, breaks) in rules {
            if let Some(bound) = keywords.get(keyword).filter(|bound| bound.as_f64().is_some_and(|b| breaks(number, b)))
            {
                self.wrong(format!("expected {words} {bound}"));
            }
        }
    }
}

fn is_of(types: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        // In JSON Schema, 1.0 is an integer.
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        // Unknown types are ignored.
        _ => true,
    };
    match types {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    }
}

/// Types with TOML's names.
fn named_types(types: &Value) -> String {
    let named = |name: &str| match name {
        "object" => "a table",
        "array" => "a list",
        "string" => "a string",
        "boolean" => "true or false",
        "number" => "a number",
        "integer" => "a whole number",
        _ => "something else",
    };
    match types {
        Value::String(name) => named(name).to_owned(),
        Value::Array(names) => {
            let all: Vec<&str> = names.iter().filter_map(Value::as_str).map(named).collect();
            all.join(" or ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => "something else".to_owned(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// A value of the schema, for a message.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => super::manifest::shown(text, 64),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            super::manifest::shown(&value.to_string(), 64)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value, settings: &Value) -> Vec<String> {
        let tell = |fault: Fault| {
            let what = match fault.what {
                What::Unknown { known } => format!("unknown, known: {}", known.join(" ")),
                What::Missing { name } => format!("`{name}` is missing"),
                What::Wrong(text) => text,
            };
            format!("{}: {what}", fault.path.join("."))
        };
        faults(schema, settings).into_iter().map(tell).collect()
    }

    #[test]
    fn every_keyword_finds_what_breaks_it_and_passes_the_rest() {
        for (schema, good, bad, message) in [
            (json!({"type": "string"}), json!("a"), json!(["a"]), ": expected a string, found a list"),
            (
                json!({"type": ["string", "array"]}),
                json!([]),
                json!(1),
                ": expected a string or a list, found a whole number",
            ),
            (
                json!({"type": "integer"}),
                json!(2.0),
                json!(2.5),
                ": expected a whole number, found a number with a fraction",
            ),
            (json!({"type": "boolean"}), json!(false), json!("no"), ": expected true or false, found a string"),
            (json!({"enum": ["a", 1]}), json!(1), json!("b"), ": expected one of `a`, `1`"),
            (json!({"const": "a"}), json!("a"), json!("b"), ": expected `a`"),
            (
                json!({"minLength": 2}),
                json!("\u{e9}\u{e9}"),
                json!("\u{e9}"),
                ": expected 2 characters at least, found 1",
            ),
            (json!({"maxLength": 1}), json!("\u{e9}"), json!("ab"), ": expected 1 characters at most, found 2"),
            (json!({"minimum": 1}), json!(1), json!(0.5), ": expected at least 1"),
            (json!({"maximum": 1}), json!(1), json!(2), ": expected at most 1"),
            (json!({"exclusiveMinimum": 1}), json!(2), json!(1), ": expected more than 1"),
            (json!({"exclusiveMaximum": 1}), json!(0), json!(1), ": expected less than 1"),
            (
                json!({"items": {"type": "string"}}),
                json!(["a"]),
                json!(["a", 1]),
                "1: expected a string, found a whole number",
            ),
            (json!({"minItems": 1}), json!([1]), json!([]), ": expected 1 elements at least, found 0"),
            (json!({"maxItems": 1}), json!([1]), json!([1, 2]), ": expected 1 elements at most, found 2"),
            (json!({"uniqueItems": true}), json!([1, 2]), json!([1, 1]), ": an element occurs twice"),
            (
                json!({"properties": {"a": {"type": "string"}}}),
                json!({"a": "b"}),
                json!({"a": 1}),
                "a: expected a string, found a whole number",
            ),
            (json!({"required": ["a"]}), json!({"a": 1}), json!({}), ": `a` is missing"),
            (
                json!({"properties": {"a": true}, "additionalProperties": false}),
                json!({"a": 1}),
                json!({"b": 1}),
                "b: unknown, known: a",
            ),
            (
                json!({"additionalProperties": {"type": "string"}}),
                json!({"b": ""}),
                json!({"b": 1}),
                "b: expected a string, found a whole number",
            ),
            (json!({"minProperties": 1}), json!({"a": 1}), json!({}), ": expected 1 settings at least, found 0"),
            (
                json!({"maxProperties": 1}),
                json!({"a": 1}),
                json!({"a": 1, "b": 1}),
                ": expected 1 settings at most, found 2",
            ),
            (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), json!(1), json!(3), ": expected at most 2"),
            (
                json!({"anyOf": [{"type": "string"}, {"maximum": 2}]}),
                json!("a"),
                json!(3),
                ": the value matches none of the allowed forms",
            ),
            (json!({"anyOf": [{"type": "string"}]}), json!("a"), json!(3), ": expected a string, found a whole number"),
            (json!({"properties": {"a": false}}), json!({}), json!({"a": 1}), "a: nothing is allowed here"),
        ] {
            assert_eq!(told(&schema, &good), Vec::<String>::new(), "{schema}");
            assert_eq!(told(&schema, &bad), [message], "{schema}");
        }
        let all: Vec<&str> = CHECKED.to_vec();
        assert_eq!(all.len(), 20, "each has a row above");
    }

    #[test]
    fn several_faults_are_reported_at_once_up_to_a_bound() {
        let schema = json!({"properties": {"a": {"type": "string"}}, "required": ["b"], "additionalProperties": false});
        let found = told(&schema, &json!({"a": 1, "c": 2}));
        assert_eq!(found, [": `b` is missing", "a: expected a string, found a whole number", "c: unknown, known: a"]);
        let many = Value::Array(vec![json!(1); 1000]);
        assert_eq!(told(&json!({"items": {"type": "string"}}), &many).len(), FAULTS_MAX);
    }

    #[test]
    fn checking_an_expensive_or_recursive_schema_ends() {
        let wide = json!({"items": {"allOf": vec![json!({"minimum": 0}); 5_000]}});
        let many = Value::Array(vec![json!(1); 5_000]);
        assert_eq!(told(&wide, &many), Vec::<String>::new());
        assert_eq!(told(&json!({"$ref": "#"}), &json!({"a": 1})), Vec::<String>::new(), "not followed");
    }

    #[test]
    fn keywords_that_are_not_checked_are_named() {
        let schema = json!({
            "$schema": "x", "title": "t", "properties": {"pattern": {"pattern": "a"}, "b": {"items": {"$ref": "#"}}},
            "anyOf": [{"not": {}}],
        });
        assert_eq!(unchecked(&schema), ["$ref", "not", "pattern"]);
        assert_eq!(unchecked(&json!({"type": "object"})), Vec::<String>::new());
    }
}
