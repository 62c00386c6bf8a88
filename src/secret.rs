//! A value that is never printed: a setting that is a secret or may hold one.
//!
//! `Debug` prints stars and there is no `Display`, so a struct that holds a secret can be printed. Invariant: the text can be
//! read only through the field `.0`, and nothing here does that. [`Hidden`] removes such values from texts of a plugin or of
//! librdkafka.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

/// See the head of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Shorter values are not removed from texts: they would match everywhere.
const HIDDEN_CHARS_MIN: usize = 4;

/// Removes secret values from texts of a plugin or of librdkafka, which both know the values.
///
/// Two of them always compare as equal: comparisons of settings compare the settings that the values were used in.
#[derive(Clone, Default)]
pub struct Hidden(Arc<[String]>);

impl Hidden {
    /// Hides these values, both bare and escaped as in a quoted string.
    pub fn new(values: impl IntoIterator<Item = String>) -> Hidden {
        let mut values: Vec<String> =
            values.into_iter().flat_map(|value| [value.escape_debug().to_string(), value]).collect();
        // The longest first: a value may be part of another.
        values.sort_by_key(|value| Reverse(value.len()));
        values.dedup();
        Hidden(values.into())
    }

    /// Whether the text is one of the values, however short.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        self.0.iter().any(|value| value == text)
    }

    /// The text with each secret value replaced by `***`.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let values = self.0.iter().filter(|value| value.chars().count() >= HIDDEN_CHARS_MIN);
        values.fold(text.to_owned(), |text, value| text.replace(value.as_str(), "***"))
    }
}

impl PartialEq for Hidden {
    fn eq(&self, _: &Hidden) -> bool {
        true
    }
}

impl Eq for Hidden {}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_stars_in_whatever_holds_it() {
        assert_eq!(format!("{:?}", Some(Secret("canary".into()))), "Some(***)");
    }

    #[test]
    fn hidden_values_are_found_bare_and_quoted_and_the_longest_first() {
        let hidden = Hidden::new(["pass", "pass\"word", "x"].map(String::from));
        assert_eq!(hidden.hide("x: pass, pass\"word, \"pass\\\"word\""), "x: ***, ***, \"***\"");
        assert_eq!(format!("{hidden:?}"), "***");
        assert!(hidden.holds("x") && hidden.holds("pass") && !hidden.holds("word"));
    }
}
