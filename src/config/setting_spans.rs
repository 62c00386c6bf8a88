//! Finds the span of a plugin setting, for mistakes that are found after the file was read.

use toml::Spanned;
use toml::de::DeValue;

use super::Pipeline;
use super::document;
use super::source::Span;

/// The spans of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingSpans {
    /// Its key, unless it is an element of a list.
    pub key: Option<Span>,
    /// Its value.
    pub value: Span,
}

impl Pipeline {
    /// The spans of the value at `path` in a step's settings; a path consists of keys and of indices from 0. An empty
    /// path is the settings themselves. `None` if there is no such value.
    #[must_use]
    pub fn setting(&self, step: usize, path: &[String]) -> Option<SettingSpans> {
        // The texts were parsed before, so this reports nothing.
        let document = document::parse(&self.source, &mut self.report())?;
        let DeValue::Array(steps) = document.get_ref().get("step")?.get_ref() else { return None };
        let DeValue::Table(step) = steps.get(step)?.get_ref() else { return None };
        let (key, value) = step.get_key_value("settings")?;
        let mut spans = SettingSpans { key: Some(key.span().into()), value: value.span().into() };
        let mut at: &Spanned<DeValue<'_>> = value;
        for part in path {
            let (key, below) = match at.get_ref() {
                DeValue::Table(table) => {
                    let (key, below) = table.get_key_value(part.as_str())?;
                    (Some(key.span().into()), below)
                }
                DeValue::Array(items) => (None, items.get(part.parse::<usize>().ok()?)?),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => return None,
            };
            spans = SettingSpans { key, value: below.span().into() };
            at = below;
        }
        Some(spans)
    }
}
