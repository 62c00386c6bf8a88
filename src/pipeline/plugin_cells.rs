//! What the cells of a plugin mean: an instance of its own merges them and says what their results would be now.
//!
//! It runs on the thread of who asked, one at a time. Its counters are dropped.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

use crate::batch::Batch;
use crate::failure::Failure;
use crate::plugin::Cells;
use crate::plugin::ClosedWindows;
use crate::plugin::Instance;
use crate::plugin::Step;
use crate::record::TopicPartition;

/// See the head of the file. Clones share the instance.
#[derive(Clone, Debug)]
pub(super) struct PluginCells(Arc<Mutex<Reader>>);

#[derive(Debug)]
struct Reader {
    step: Step,
    /// Made with the first question, and again after a fault.
    instance: Option<Instance>,
}

impl PluginCells {
    pub(super) fn new(step: Step) -> PluginCells {
        PluginCells(Arc::new(Mutex::new(Reader { step, instance: None })))
    }

    /// Another version of the plugin is to be used.
    pub(super) fn swap(&self, step: Step) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Reader { step, instance: None };
    }

    /// Merges cells, in order of time.
    pub(super) fn merge(&self, cells: &[&[u8]]) -> Result<Vec<u8>, String> {
        let Some((first, rest)) = cells.split_first() else { return Err("a window without cells".to_owned()) };
        let mut merged = first.to_vec();
        for later in rest {
            let lengths = [merged.len(), later.len()].map(|length| i32::try_from(length).unwrap_or(i32::MAX));
            let data = [&*merged, later].concat();
            let pairs = Cells { index: &[], lengths: &lengths, data: &data };
            let changed = self.call(|instance| instance.merge(pairs))?;
            if let Some(cell) = changed.iter().next().flatten() {
                // After a removal what comes later begins anew.
                merged = cell.unwrap_or(later).to_vec();
            }
        }
        Ok(merged)
    }

    /// The values that the plugin would emit for a window now, as JSON: one, a list of several, or null.
    pub(super) fn value(&self, key: Option<&[u8]>, from_ms: i64, to_ms: i64, cell: &[u8]) -> Result<String, String> {
        let mut keyed = Batch::new(TopicPartition { topic: "".into(), partition: 0 });
        keyed.push(0, to_ms.saturating_sub(1), 0, key, Some(cell), std::iter::empty());
        let windows = ClosedWindows { keyed: keyed.view(), starts: &[from_ms], ends: &[to_ms], closed: false };
        let outcome = self.call(|instance| instance.emit(&windows))?;
        if let Some(failed) = outcome.failed.first() {
            return Err(failed.failure.to_string());
        }
        let outputs = &outcome.outputs;
        let mut values = (0..outputs.len()).map(|index| shown(outputs.resolve(index, &keyed, 0).value));
        Ok(match (values.next(), values.next()) {
            (None, _) => Value::Null.to_string(),
            (Some(only), None) => only,
            (Some(first), Some(second)) => {
                format!("[{}]", [first, second].into_iter().chain(values).collect::<Vec<_>>().join(","))
            }
        })
    }

    fn call<T>(&self, call: impl FnOnce(&mut Instance) -> Result<T, Failure>) -> Result<T, String> {
        let mut reader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut instance = match reader.instance.take() {
            Some(instance) => instance,
            None => reader.step.instantiate().map_err(|failure| failure.to_string())?,
        };
        let result = call(&mut instance);
        drop(instance.take_effects());
        match &result {
            Err(failure) if failure.kind.spoils_instance() => {}
            Ok(_) | Err(_) => reader.instance = Some(instance),
        }
        result.map_err(|failure| failure.to_string())
    }
}

/// A value in JSON: as it is if it is JSON, else in base64.
fn shown(value: Option<&[u8]>) -> String {
    let Some(value) = value else { return Value::Null.to_string() };
    match serde_json::from_slice::<&serde_json::value::RawValue>(value) {
        Ok(json) => json.to_string(),
        Err(_) => json!({"base64": STANDARD.encode(value)}).to_string(),
    }
}
