//! Fields of a JSON document replaced without a tree of it: it is checked as a whole and copied but for what is replaced.

use std::fmt;

use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::Error as _;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

/// Appends `document` to `to`, with other values for some fields of its outermost object. Everything else, whitespace and the
/// digits of numbers too, stays byte for byte. A document that is no object is copied.
///
/// `replacement` gets the name of each field, without its escapes, and returns the JSON text that takes the place of its value, or
/// `None` to leave it; a name that comes twice is asked for twice.
///
/// ```
/// # use wasmill_sdk::json;
/// let mut out = Vec::new();
/// json::splice(br#"{"email": "a@example.org", "total": 1.50}"#, &mut out, |name| (name == "email").then_some(br#""***""#)).unwrap();
/// assert_eq!(out, br#"{"email": "***", "total": 1.50}"#);
/// ```
///
/// In a plugin it writes an output: `out.output(0).write(|to| json::splice(value, to, hide))`, which is taken back if this fails.
///
/// # Errors
/// That `document` isn't JSON, and where. `to` may then have a part of it.
pub fn splice<'r, R>(
    document: &[u8],
    to: &mut Vec<u8>,
    replacement: impl FnMut(&str) -> Option<&'r R>,
) -> Result<(), Error>
where
    R: AsRef<[u8]> + ?Sized + 'r,
{
    let text = std::str::from_utf8(document).map_err(|error| Error(serde_json::Error::custom(error)))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut copied = 0;
    reader.deserialize_any(Document { text, to: &mut *to, copied: &mut copied, replacement }).map_err(Error)?;
    reader.end().map_err(Error)?;
    to.extend_from_slice(&document[copied..]);
    Ok(())
}

/// Why a document isn't JSON.
#[derive(Debug)]
pub struct Error(serde_json::Error);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

struct Document<'a, F> {
    text: &'a str,
    to: &'a mut Vec<u8>,
    /// Bytes of the document that are in `to`, or were replaced.
    copied: &'a mut usize,
    replacement: F,
}

impl<'de, 'r, R, F> Visitor<'de> for Document<'de, F>
where
    R: AsRef<[u8]> + ?Sized + 'r,
    F: FnMut(&str) -> Option<&'r R>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(replacement) = fields.next_key_seed(Name(&mut self.replacement))? {
            match replacement {
                None => {
                    fields.next_value::<IgnoredAny>()?;
                }
                Some(replacement) => {
                    let value: &str = fields.next_value::<&RawValue>()?.get();
                    // It is a part of the text.
                    let start = value.as_ptr().addr() - self.text.as_ptr().addr();
                    self.to.extend_from_slice(&self.text.as_bytes()[*self.copied..start]);
                    self.to.extend_from_slice(replacement.as_ref());
                    *self.copied = start + value.len();
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The name of a field, which is asked about and not kept.
struct Name<'a, F>(&'a mut F);

impl<'de, 'r, R, F> DeserializeSeed<'de> for Name<'_, F>
where
    R: AsRef<[u8]> + ?Sized + 'r,
    F: FnMut(&str) -> Option<&'r R>,
{
    type Value = Option<&'r R>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'r, R, F> Visitor<'_> for Name<'_, F>
where
    R: AsRef<[u8]> + ?Sized + 'r,
    F: FnMut(&str) -> Option<&'r R>,
{
    type Value = Option<&'r R>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0(name))
    }
}

#[cfg(test)]
mod tests {
    use super::splice;

    fn hide(document: &str) -> Result<String, String> {
        let mut to = b"before ".to_vec();
        let hidden = |name: &str| ["a", "b\n"].contains(&name).then_some("null");
        splice(document.as_bytes(), &mut to, hidden).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(to).unwrap().strip_prefix("before ").unwrap().to_owned())
    }

    #[test]
    fn only_the_values_of_the_named_fields_change() {
        for (document, expected) in [
            (r#"{"a":1,"c":2}"#, r#"{"a":null,"c":2}"#),
            (r#" { "c" : 1.50e3 , "a" : {"a":[1, 2]} } "#, r#" { "c" : 1.50e3 , "a" : null } "#),
            (r#"{"\u0061":"x","b\n":true,"a":"}"}"#, r#"{"\u0061":null,"b\n":null,"a":null}"#),
            (r#"{"c":{"a":1}}"#, r#"{"c":{"a":1}}"#),
            ("{}", "{}"),
            ("[{\"a\":1}]", "[{\"a\":1}]"),
            ("\"a\"", "\"a\""),
            ("-1.0", "-1.0"),
            ("18446744073709551616", "18446744073709551616"),
            ("true ", "true "),
            ("null", "null"),
        ] {
            assert_eq!(hide(document).as_deref(), Ok(expected), "{document}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for document in
            ["", "{", "{\"a\":}", "{\"a\":1,}", "{\"a\":1}x", "{a:1}", "{\"c\":nul}", "{\"c\":\"\u{1}\"}", "01"]
        {
            let error = hide(document).unwrap_err();
            assert!(error.contains("line 1 column"), "{document}: {error}");
        }
        let mut to = Vec::new();
        assert!(splice(b"{\"c\":\"\xff\"}", &mut to, |_| None::<&str>).is_err(), "JSON is UTF-8");
    }
}
