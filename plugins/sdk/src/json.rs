//! Fields of a JSON document replaced without a tree of it: it is checked as a whole and copied but for what is replaced.
//!
//! The scanner is our own, as speed is what it is for: where strings end is asked of 64 bytes at a time, and only a
//! name with escapes is allocated.
//! What it takes for JSON is what `serde_json` takes for it (a test compares the two), and the words of an error are `serde_json`'s.

mod marks;
mod scan;

use std::fmt;

use serde::de::Error as _;
use serde::de::IgnoredAny;

/// Appends `document` to `to`, with other values for some fields of its outermost object. Everything else, whitespace and the
/// digits of numbers too, stays byte for byte. A document that is no object is copied.
///
/// `replacement` gets the name of each field without its escapes, which is UTF-8 if the document is, and returns the JSON text that
/// takes the place of its value, or `None` to leave it; a name that comes twice is asked for twice.
///
/// ```
/// # use wasmill_sdk::json;
/// let mut out = Vec::new();
/// json::splice(br#"{"email": "a@example.org", "total": 1.50}"#, &mut out, |name| (name == b"email").then_some(br#""***""#)).unwrap();
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
    replacement: impl FnMut(&[u8]) -> Option<&'r R>,
) -> Result<(), Error>
where
    R: AsRef<[u8]> + ?Sized + 'r,
{
    scan::scan(document, to, replacement).ok_or_else(|| Error(why(document)))
}

/// Reads a document once more, for the words.
#[cold]
fn why(document: &[u8]) -> serde_json::Error {
    match std::str::from_utf8(document).map(serde_json::from_str::<IgnoredAny>) {
        Err(error) => serde_json::Error::custom(error),
        Ok(Err(error)) => error,
        Ok(Ok(_)) => serde_json::Error::custom("not JSON"),
    }
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

    /// Damaged documents, and whole ones: the scanner takes what `serde_json` takes.
    #[test]
    fn it_takes_for_json_what_serde_json_does() {
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
            // In a value that is skipped, bytes that are no UTF-8 are no fault to serde_json.
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
