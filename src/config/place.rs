//! Where a value of a step's settings stands in the file, for who finds it wrong later than the file was read.

use toml::Spanned;
use toml::de::DeValue;

use super::Pipeline;
use super::document;
use super::source::Span;

/// The place of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its key, if it is a key's value and not an element of a list.
    pub key: Option<Span>,
    /// Its value.
    pub value: Span,
}

impl Pipeline {
    /// Where the value at `path` in the settings of a step stands: keys, and numbers of elements counted from 0. The settings
    /// themselves for an empty path; `None` if there is nothing.
    #[must_use]
    pub fn setting(&self, step: usize, path: &[String]) -> Option<Place> {
        // The texts were read before: nothing is wrong with them.
        let document = document::parse(&self.source, &mut self.report())?;
        let DeValue::Array(steps) = document.get_ref().get("step")?.get_ref() else { return None };
        let DeValue::Table(step) = steps.get(step)?.get_ref() else { return None };
        let (key, value) = step.get_key_value("settings")?;
        let mut place = Place { key: Some(key.span().into()), value: value.span().into() };
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
            place = Place { key, value: below.span().into() };
            at = below;
        }
        Some(place)
    }
}
