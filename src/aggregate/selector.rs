//! What a step's key and time are taken from, as the pipeline file says it.
//!
//! It only reads the notation; [`Extraction`](super::Extraction) applies it. Invariant: a header has a name.

use super::pointer::Pointer;
use super::settings::near;

/// What the key is taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySelector {
    /// The record's key, which may be null.
    #[default]
    Record,
    /// `json:/customer`: a string, a number or a boolean in the value.
    Json(Pointer),
    /// `header:id`: the last header of this name.
    Header(String),
    /// `const:all`: the same for all records.
    Const(String),
}

/// What the event time is taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TimeSelector {
    /// The record's timestamp.
    #[default]
    Record,
    /// A number or a text.
    Field {
        /// Where it is.
        from: TimeField,
        /// What a number counts.
        unit: TimeUnit,
    },
}

/// Where a time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeField {
    /// `json:/ts`: in the value.
    Json(Pointer),
    /// `header:ts`: in the last header of this name.
    Header(String),
}

/// What a time that is a number counts since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// `json:/ts`.
    Milliseconds,
    /// `seconds:json:/ts`.
    Seconds,
}

const KEY_FORMS: &str = "a key is taken from `json:/customer` (a field of the value), `header:id` or `const:all`; without `key` it is \
                         the record's key";
const TIME_FORMS: &str = "a time is taken from `json:/ts` (a field of the value) or `header:ts`, with `seconds:` before it if a number \
                          counts seconds; without `time` it is the record's timestamp";

impl KeySelector {
    /// Reads the notation of `key`.
    ///
    /// # Errors
    /// What is wrong and what is allowed: a lowercase fragment.
    pub fn parse(text: &str) -> Result<KeySelector, String> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        match scheme {
            "json" if text.contains(':') => Pointer::parse(rest).map(KeySelector::Json),
            "header" if !rest.is_empty() => Ok(KeySelector::Header(rest.to_owned())),
            "const" if !rest.is_empty() => Ok(KeySelector::Const(rest.to_owned())),
            _ => Err(unknown(text, &["json", "header", "const"], KEY_FORMS)),
        }
    }
}

impl TimeSelector {
    /// Reads the notation of `time`.
    ///
    /// # Errors
    /// What is wrong and what is allowed: a lowercase fragment.
    pub fn parse(text: &str) -> Result<TimeSelector, String> {
        let (unit, field) = match text.strip_prefix("seconds:") {
            Some(field) => (TimeUnit::Seconds, field),
            None => (TimeUnit::Milliseconds, text),
        };
        let (scheme, rest) = field.split_once(':').unwrap_or((field, ""));
        let from = match scheme {
            "json" if field.contains(':') => TimeField::Json(Pointer::parse(rest)?),
            "header" if !rest.is_empty() => TimeField::Header(rest.to_owned()),
            _ => return Err(unknown(field, &["json", "header", "seconds"], TIME_FORMS)),
        };
        Ok(TimeSelector::Field { from, unit })
    }
}

fn unknown(text: &str, schemes: &[&str], forms: &str) -> String {
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    if rest.is_empty() && schemes.contains(&scheme) {
        return format!("`{text}` names nothing after `{scheme}:`; {forms}");
    }
    if text.starts_with('/') {
        return format!("`{text}` has no `json:` before it; {forms}");
    }
    let hint = near(scheme, schemes).map(|near| format!(", did you mean `{near}:{rest}`?")).unwrap_or_default();
    format!("`{text}` is unknown{hint}; {forms}")
}
