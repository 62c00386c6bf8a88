//! A value that is never shown: what a file takes from `${...}`, or what may hold such a thing.
//!
//! Its `Debug` is stars and it has no `Display`, so a struct that holds one can be printed. Invariant: reading the text takes
//! the field's name, `.0`, and nothing here does it. [`Hidden`] takes such values out of what others write who were told them.

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

/// Shorter values are not looked for in texts: they would be found everywhere.
const HIDDEN_CHARS_MIN: usize = 4;

/// The values that a text must not show that comes from a plugin or from librdkafka, both of which are told them.
///
/// Two of them are always equal: whoever compares settings compares what was made of these values.
#[derive(Clone, Default)]
pub struct Hidden(Arc<[String]>);

impl Hidden {
    /// These values, each also as it stands inside of quotes.
    pub fn new(values: impl IntoIterator<Item = String>) -> Hidden {
        let values = values.into_iter().filter(|value| value.chars().count() >= HIDDEN_CHARS_MIN);
        let mut values: Vec<String> = values.flat_map(|value| [value.escape_debug().to_string(), value]).collect();
        // The longest first: one may be a part of another.
        values.sort_by_key(|value| Reverse(value.len()));
        values.dedup();
        Hidden(values.into())
    }

    /// The text without them.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), "***"))
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
    }
}
