//! The most frequent items of each key and window: `settings = { field = "/page", weight = "/amount", k = 10 }`.
//!
//! One result for each key and window, when it closes: `{"key":"shop","from":..,"to":..,"error":0,"top":[{"item":"/a","count":7}]}`, by
//! count, then by name. `counts` counts the items in the 64 KiB that an accumulator may have, and says how exact the counts are.

mod counts;
mod settings;

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;
use wasmill_sdk::Emitter;
use wasmill_sdk::Failure;
use wasmill_sdk::Record;
use wasmill_sdk::Reduce;
use wasmill_sdk::Verdict;
use wasmill_sdk::Window;
use wasmill_sdk::error;
use wasmill_sdk::reject;

use counts::Counts;
use settings::Settings;

/// The most bytes of an item.
const ITEM_BYTES_MAX: usize = 1024;

struct Top {
    settings: Settings,
}

impl Reduce for Top {
    type Acc = Counts;

    fn init(settings: &str, _ports: &[String]) -> Result<Self, String> {
        Ok(Top { settings: Settings::parse(settings)? })
    }

    fn add(&mut self, counts: &mut Counts, record: Record<'_>) -> Verdict {
        let value = record.value.ok_or_else(|| reject("no-item", "it is a tombstone"))?;
        let document: Value = serde_json::from_slice(value).map_err(|e| reject("bad-json", e))?;
        let item = self.item(&document)?;
        let weight = self.weight(&document)?;
        counts.add(&item, weight);
        Ok(())
    }

    fn merge(&mut self, counts: &mut Counts, later: Counts) {
        counts.merge(later);
    }

    fn emit(&mut self, window: Window<'_>, counts: &Counts, out: &mut Emitter<'_>) -> Verdict {
        let top = counts.top(self.settings.k).into_iter().map(|(item, count)| Item { item, count }).collect();
        let (from, to) = (window.start_text(), window.end_text());
        let result = Of { key: window.key_text(), from, to, error: counts.error(), top };
        out.output(0).write(|to| serde_json::to_writer(to, &result)).map_err(error)
    }
}

impl Top {
    fn item<'a>(&self, document: &'a Value) -> Result<Cow<'a, str>, Failure> {
        let field = &self.settings.field;
        let item = match document.pointer(field) {
            Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
            Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Cow::Owned(scalar.to_string()),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
                return Err(reject("no-item", format!("`{field}` holds no string, number or boolean")));
            }
            None => return Err(reject("no-item", format!("there is no field `{field}`"))),
        };
        if item.len() > ITEM_BYTES_MAX {
            let bytes = item.len();
            return Err(reject("item-too-long", format!("`{field}` has {bytes} bytes, {ITEM_BYTES_MAX} are allowed")));
        }
        Ok(item)
    }

    fn weight(&self, document: &Value) -> Result<u64, Failure> {
        let Some(field) = &self.settings.weight else { return Ok(1) };
        document
            .pointer(field)
            .and_then(Value::as_u64)
            .ok_or_else(|| reject("bad-weight", format!("`{field}` is not a whole number from 0 to 2^64-1")))
    }
}

/// A result. The fields are in the order in which they are written.
#[derive(Serialize)]
struct Of<'a> {
    key: Option<Cow<'a, str>>,
    from: String,
    to: String,
    error: u64,
    top: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    item: &'a str,
    count: u64,
}

wasmill_sdk::export_reduce!(
    Top,
    ports = [],
    codes = ["bad-json", "no-item", "item-too-long", "bad-weight"],
    settings = "settings.schema.json"
);

#[cfg(test)]
mod tests;
