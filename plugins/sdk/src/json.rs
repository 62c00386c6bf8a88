//! Edits values of a JSON document without parsing it into a tree: the document is validated as a whole and copied, except for the
//! edited values.
//!
//! [`splice`] replaces fields of the outermost object; [`splice_paths`] follows [`Paths`] into objects and arrays, and can also remove
//! values.
//!
//! The scanner is written for speed: it searches for the ends of strings in 64 bytes at a time, and allocates only for names with
//! escapes. It accepts the same documents as `serde_json` (a test compares the two), and reports errors with `serde_json`'s messages.

mod paths;
mod scan;
mod structural_index;
mod walk;

use std::fmt;

use serde::de::Error as _;
use serde::de::IgnoredAny;

pub use paths::PathError;
pub use paths::Paths;

/// Appends `document` to `to`, with new values for some fields of its outermost object. Everything else stays byte for byte the same,
/// including whitespace and the digits of numbers. A document that is not an object is copied.
///
/// `replacement` is called with the name of each field, with escapes decoded; it is UTF-8 if the document is. It returns the JSON text
/// that replaces the value, or `None` to keep it. A name that occurs twice is passed twice.
///
/// ```
/// # use wasmill_sdk::json;
/// let mut out = Vec::new();
/// json::splice(br#"{"email": "a@example.org", "total": 1.50}"#, &mut out, |name| (name == b"email").then_some(br#""***""#)).unwrap();
/// assert_eq!(out, br#"{"email": "***", "total": 1.50}"#);
/// ```
///
/// In a plugin it writes an output: `out.output(0).write(|to| json::splice(value, to, hide))`. The output is discarded if this fails.
///
/// # Errors
/// If `document` is not valid JSON, with the position. `to` may then contain a part of the document.
pub fn splice<'r, R>(
    document: &[u8],
    to: &mut Vec<u8>,
    replacement: impl FnMut(&[u8]) -> Option<&'r R>,
) -> Result<(), Error>
where
    R: AsRef<[u8]> + ?Sized + 'r,
{
    scan::scan(document, to, replacement).ok_or_else(|| Error(why(document, "not JSON")))
}

/// Appends `document` to `to`, with edits of the values that `paths` match, at any depth. Everything else stays byte for byte the same,
/// including whitespace and the digits of numbers.
///
/// `edit` is called with the index of the path in the list given to [`Paths::new`], and with the JSON text of the value. It can append
/// a new JSON text to the `Vec` and return [`Edit::Replace`], or keep or remove the value. A name that occurs twice is edited twice. At
/// the time of the call the rest of the document has not been read: it may turn out to be invalid, and the value may not be UTF-8.
///
/// ```
/// # use wasmill_sdk::json;
/// # use wasmill_sdk::json::Edit;
/// let paths = json::Paths::new(["email", "items[].note"]).unwrap();
/// let document = br#"{"to": {"email": "a@example.org"}, "items": [{"sku": 1, "note": "gift"}]}"#;
/// let mut out = Vec::new();
/// json::splice_paths(document, &mut out, &paths, |path, _value, out| {
///     if path == 1 {
///         return Edit::Remove;
///     }
///     out.extend_from_slice(br#""***""#);
///     Edit::Replace
/// })
/// .unwrap();
/// assert_eq!(out, br#"{"to": {"email": "***"}, "items": [{"sku": 1}]}"#);
/// ```
///
/// # Errors
/// If `document` is not valid JSON, with the position; or if objects and arrays that must be searched nest more than 1000 deep. A deep
/// document needs no more of the call stack than a flat one. `to` may then contain a part of the document.
pub fn splice_paths(
    document: &[u8],
    to: &mut Vec<u8>,
    paths: &Paths,
    edit: impl FnMut(usize, &[u8], &mut Vec<u8>) -> Edit,
) -> Result<(), Error> {
    walk::walk(document, to, paths, edit)
        .ok_or_else(|| Error(why(document, format_args!("objects and arrays nest more than {} deep", walk::DEPTH_MAX))))
}

/// How to edit a value that a path matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Keep the value, and discard what was appended.
    Keep,
    /// Replace the value with what was appended. It is not checked to be JSON.
    Replace,
    /// Remove the field or array element with its comma, and discard what was appended.
    Remove,
}

/// Parses the document again to get `serde_json`'s error message; `otherwise` if `serde_json` accepts it.
#[cold]
fn why(document: &[u8], otherwise: impl fmt::Display) -> serde_json::Error {
    match std::str::from_utf8(document).map(serde_json::from_str::<IgnoredAny>) {
        Err(error) => serde_json::Error::custom(error),
        Ok(Err(error)) => error,
        Ok(Ok(_)) => serde_json::Error::custom(otherwise),
    }
}

/// Why a document is not valid JSON.
#[derive(Debug)]
pub struct Error(serde_json::Error);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::de::IgnoredAny;

    use super::splice;

    fn hide(document: &str) -> Result<String, String> {
        let mut to = b"before ".to_vec();
        let hidden = |name: &[u8]| [&b"a"[..], b"b\n"].contains(&name).then_some("null");
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
    fn invalid_json_is_refused_with_the_position() {
        for document in
            ["", "{", "{\"a\":}", "{\"a\":1,}", "{\"a\":1}x", "{a:1}", "{\"c\":nul}", "{\"c\":\"\u{1}\"}", "01"]
        {
            let error = hide(document).unwrap_err();
            assert!(error.contains("line 1 column"), "{document}: {error}");
        }
        let mut to = Vec::new();
        assert!(splice(b"{\"c\":\"\xff\"}", &mut to, |_| None::<&str>).is_err(), "JSON is UTF-8");
    }

    /// Damaged and valid documents: the scanner accepts what `serde_json` accepts.
    #[test]
    fn it_accepts_the_same_documents_as_serde_json() {
        let deep = format!("{{\"c\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        let mixed = format!("{{\"c\":{}1{}}}", "[{\"x\":".repeat(100), "}]".repeat(100));
        let whole = [
            r#"{"a":1,"c":[1,2.5e-3,-0,{"x":null}],"text":"a \u00e9 \"quoted\" \\ text that is longer than eight"}"#,
            r#" [ { } , [ ] , "\ud800" , true , false , 1E+5 , 0.0 ] "#,
            "\"\u{e9}\u{1f600} and more bytes\"",
            "-12345678901234567890",
            &deep,
            &mixed,
        ];
        let alphabet = b"{}[]\",:\\ \n\t0123456789.eE+-truefalsn\x00\x1f\x7f/u\xc3\xa9";
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |bound: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % bound as u64).unwrap()
        };
        let mut taken = 0;
        for round in 0..50_000 {
            let mut document = whole[round % whole.len()].as_bytes().to_vec();
            for _ in 0..below(4) {
                let at = below(document.len());
                match below(3) {
                    0 => document[at] = alphabet[below(alphabet.len())],
                    1 => document.insert(at, alphabet[below(alphabet.len())]),
                    _ => drop(document.remove(at)),
                }
            }
            let mut to = Vec::new();
            let ours = splice(&document, &mut to, |_| None::<&str>);
            let theirs = match document.trim_ascii_start().first() {
                Some(b'{') => serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&document).map(drop),
                _ => serde_json::from_slice::<IgnoredAny>(&document).map(drop),
            };
            // In a value that it skips, `serde_json` accepts bytes that are not UTF-8.
            if std::str::from_utf8(&document).is_ok() {
                let shown = String::from_utf8_lossy(&document);
                assert_eq!(ours.is_ok(), theirs.is_ok(), "{shown}: {ours:?} and {theirs:?}");
            }
            if ours.is_ok() {
                assert_eq!(to, document);
                taken += 1;
            }
        }
        assert!(taken > 10_000, "{taken} documents were JSON");
    }
}
