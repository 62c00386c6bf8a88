//! Sends a record to the port, or the topic, that a field of its JSON value names.
//!
//! `settings = { field = "type", routes = { refund = "refunds" }, default = "main" }`. A dot in `field` selects a field of
//! a nested object. Strings, numbers and booleans are compared as text. With `topic = "rows.{}"`, a value that is not listed in
//! `routes` stands in place of `{}`, and the record goes to the topic of that name, which `topics_allowed` of `[output.main]`
//! has to allow. `default` applies to records whose value is not listed in `routes`, unless there is a `topic`, or that lack
//! the field, including tombstones: `main`, `drop` or `reject`. A value that isn't JSON is rejected with the code `bad-json`.
//! Records are forwarded by reference, so outputs equal their inputs byte for byte.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use wasmill_sdk::Emitter;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::reject;

struct Route {
    /// The field as it is written in the settings, for messages.
    field: String,
    /// The port of each value.
    routes: BTreeMap<String, u32>,
    /// What a topic's name has before and behind the value of the field.
    topic: Option<(String, String)>,
    default: Default,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    field: String,
    routes: Option<BTreeMap<String, String>>,
    topic: Option<String>,
    #[serde(default)]
    default: Default,
}

/// What to do with a record that no route matches.
#[derive(Clone, Copy, serde::Deserialize, std::default::Default)]
#[serde(rename_all = "lowercase")]
enum Default {
    #[default]
    Main,
    Drop,
    Reject,
}

impl Transform for Route {
    fn init(settings: &str, ports: &[String]) -> Result<Self, String> {
        let Settings { field, routes, topic, default } = serde_json::from_str(settings).map_err(|e| e.to_string())?;
        if field.split('.').any(str::is_empty) {
            return Err(format!("`field` is {field:?}: name a field, or a path such as \"order.type\""));
        }
        if routes.is_none() && topic.is_none() {
            return Err("name `routes`, a `topic`, or both".to_owned());
        }
        let topic = match topic {
            None => None,
            Some(text) => match text.split_once("{}") {
                Some((before, behind)) if !behind.contains("{}") => Some((before.to_owned(), behind.to_owned())),
                Some(_) | None => {
                    return Err(format!("`topic` is {text:?}: write `{{}}` once, where the value of the field stands"));
                }
            },
        };
        let numbered: BTreeMap<&str, u32> = ports.iter().map(String::as_str).zip(0..).collect();
        let mut known = BTreeMap::new();
        for (value, port) in routes.unwrap_or_default() {
            let Some(&number) = numbered.get(port.as_str()) else {
                return Err(format!(
                    "`routes.{value}` names the port `{port}`, but the ports are {}: add \
                     `[output.{port}]`, or correct the name",
                    ports.join(", ")
                ));
            };
            known.insert(value, number);
        }
        Ok(Route { field, routes: known, topic, default })
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        let Some(value) = record.value else { return self.otherwise("it is a tombstone", out) };
        let document: Value = serde_json::from_slice(value).map_err(|e| reject("bad-json", e))?;
        let found = self.field.split('.').try_fold(&document, |inside, name| inside.as_object()?.get(name));
        let text = match found {
            Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
            Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Cow::Owned(scalar.to_string()),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
                return self.otherwise("the field holds no text, number or boolean", out);
            }
            None => return self.otherwise("it has no such field", out),
        };
        match self.routes.get(&*text) {
            Some(&port) => out.forward(port),
            None => match &self.topic {
                Some((before, behind)) => out.output(0).topic(&format!("{before}{text}{behind}")).send(),
                None => return self.otherwise("no route names its value", out),
            },
        }
        Ok(())
    }
}

impl Route {
    fn otherwise(&self, why: &str, out: &mut Emitter<'_>) -> Verdict {
        match self.default {
            Default::Main => out.forward(0),
            Default::Drop => {}
            Default::Reject => return Err(reject("no-route", format!("`{}`: {why}", self.field))),
        }
        Ok(())
    }
}

wasmill_sdk::export!(Route, codes = ["bad-json", "no-route"]);

#[cfg(test)]
mod tests;
