//! What the JSON text of a single value is: its kind, its text, and how an error message names it.
//!
//! The text was checked by the scan before. Invariant: nothing here panics for text that is no JSON.

use std::borrow::Cow;

/// The kind of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonKind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

/// The kind of a value, by its first byte.
pub(super) fn kind(json: &str) -> JsonKind {
    match json.as_bytes().first() {
        Some(b'"') => JsonKind::Text,
        Some(b'{') => JsonKind::Object,
        Some(b'[') => JsonKind::Array,
        Some(b't' | b'f') => JsonKind::Bool,
        Some(b'-' | b'0'..=b'9') => JsonKind::Number,
        Some(_) | None => JsonKind::Null,
    }
}

/// A JSON string without its quotes and escapes. `None` if it has half of a surrogate pair, which is no text.
pub(super) fn unescaped(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(json).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// The value in an error message: its kind, and the value itself if it is short.
pub(super) fn described(json: &str) -> String {
    let kind = match kind(json) {
        JsonKind::Null => return "null".to_owned(),
        JsonKind::Bool => "a boolean",
        JsonKind::Number => "a number",
        JsonKind::Text => "a string",
        JsonKind::Array => return "an array".to_owned(),
        JsonKind::Object => return "an object".to_owned(),
    };
    if json.len() > 60 { kind.to_owned() } else { format!("{kind} ({json})") }
}

/// Whether the text is one JSON value.
pub(super) fn is_valid(json: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok()
}
