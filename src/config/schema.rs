//! The JSON Schemas of a pipeline's file and of a policy, generated from the structs that read them.
//!
//! It is draft 7, which editors support best, in one piece without references and in the order of the structs. Shapes
//! that the derive can't express are written by hand here: values with a unit, and keys that accept two types. The
//! schema accepts every file that `config` accepts; the converse holds only as far as a schema can express the rules.

use std::borrow::Cow;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use schemars::json_schema;
use serde_json::Map;
use serde_json::Value as Json;
use serde_json::json;

use super::raw;

/// The schema, as JSON.
#[must_use]
pub fn schema() -> Json {
    // These have a default for serde, so that a missing one is reported together with other missing keys. `kafka` may be that of the
    // process's file.
    let mut schema = of::<raw::Pipeline>("A pipeline of wasmill", &["input", "step", "output"]);
    permit_references(&mut schema);
    schema
}

/// The schema of a file of this type, in which no value may be a reference.
pub(super) fn of<T: JsonSchema>(title: &str, required: &[&str]) -> Json {
    let mut settings = SchemaSettings::draft07();
    settings.inline_subschemas = true;
    let mut schema = Json::from(settings.into_generator().into_root_schema_for::<T>());
    tidy(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), json!(title));
        root.remove("required");
        if !required.is_empty() {
            root.insert("required".into(), json!(required));
        }
    }
    schema
}

/// Removes `null`, which TOML lacks, and the formats of numbers, and permits a reference in place of an enum's value.
fn tidy(schema: &mut Json) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(tidy),
        Json::Object(object) => {
            object.remove("format");
            if let Some(Json::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [one] = &types[..] {
                    let one = one.clone();
                    object.insert("type".into(), one);
                }
            }
            if let Some(Json::Array(either)) = object.get_mut("anyOf") {
                either.retain(|one| one != &json!({"type": "null"}));
                if let [Json::Object(one)] = &either[..] {
                    let one = one.clone();
                    object.remove("anyOf");
                    for (key, value) in one {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            if let Some(words) = object.remove("enum") {
                object.insert("anyOf".into(), json!([{"enum": words}, reference()]));
            }
            if let Some(Json::String(text)) = object.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            object.values_mut().for_each(tidy_inside);
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// An `anyOf` that was made from an `enum` one level up is left alone, except for a table in it.
fn tidy_inside(schema: &mut Json) {
    let made = |item: &Json| item.get("enum").is_some() || item.get("pattern").is_some();
    match schema.as_array_mut().filter(|items| items.iter().any(made)) {
        Some(items) => items.iter_mut().filter(|item| item["type"] == "object").for_each(tidy),
        None => tidy(schema),
    }
}

/// Permits a reference in place of a number, of `true` and `false`, and of a list of strings.
pub(super) fn permit_references(schema: &mut Json) {
    let Some(object) = schema.as_object_mut() else { return };
    for inside in ["properties", "items", "additionalProperties", "anyOf"] {
        match object.get_mut(inside) {
            Some(Json::Object(keys)) if inside == "properties" => keys.values_mut().for_each(permit_references),
            Some(Json::Array(either)) => {
                either.iter_mut().filter(|one| one["type"] == "object").for_each(permit_references);
                if either.iter().any(|one| one["type"] == "boolean") {
                    either.push(reference());
                }
            }
            Some(one) => permit_references(one),
            None => {}
        }
    }
    let is_scalar = ["integer", "number", "boolean"].iter().any(|name| object.get("type").is_some_and(|is| is == name));
    let is_list = object.get("items").is_some_and(|items| items["type"] == "string");
    if is_scalar || is_list {
        let is_rule = |name: &str| !["description", "default", "examples"].contains(&name) && !name.starts_with("x-");
        let (rules, mut about): (Map<_, _>, Map<_, _>) =
            std::mem::take(object).into_iter().partition(|(name, _)| is_rule(name));
        about.insert("anyOf".into(), json!([rules, reference()]));
        *object = about;
    }
}

/// The schema of a text with a reference.
fn reference() -> Json {
    json!({"type": "string", "pattern": "\\$\\{"})
}

/// The schema of a time: `"200ms"`.
pub(super) struct Time;

/// The schema of a path, relative to the file.
pub(super) struct Path;

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "x-unit": "time"})
    }
}

impl JsonSchema for Path {
    fn schema_name() -> Cow<'static, str> {
        "Path".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "x-unit": "path"})
    }
}

impl JsonSchema for raw::Tls {
    fn schema_name() -> Cow<'static, str> {
        "Tls".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let files = generator.subschema_for::<raw::TlsFiles>();
        json_schema!({"anyOf": [{"type": "boolean"}, files]})
    }
}

impl JsonSchema for raw::Login {
    fn schema_name() -> Cow<'static, str> {
        "Login".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let sasl = generator.subschema_for::<raw::Sasl>();
        json_schema!({"anyOf": [{"enum": [false]}, sasl]})
    }
}

impl JsonSchema for raw::Retries {
    fn schema_name() -> Cow<'static, str> {
        "Retries".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "integer", "minimum": 0, "maximum": u32::MAX}, {"enum": ["forever"]}, reference()]
        })
    }
}

impl JsonSchema for raw::Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "x-unit": "size"})
    }
}

impl JsonSchema for raw::Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"]})
    }
}
