//! Fields of a JSON document replaced without a tree of it: it is checked as a whole and copied but for what is replaced.
//!
//! The scanner is our own, as speed is what it is for: eight bytes of a string at a time, and nothing allocated. What it takes for
//! JSON is what `serde_json` takes for it (a test compares the two), and the words of an error are `serde_json`'s.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error as _;
use serde::de::IgnoredAny;

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
    match scan(text, to, replacement) {
        Ok(()) => Ok(()),
        Err(Broken::Name(error)) => Err(Error(error)),
        // Asked once more for the words.
        Err(Broken::Syntax) => Err(Error(match serde_json::from_str::<IgnoredAny>(text) {
            Err(error) => error,
            Ok(_) => serde_json::Error::custom("not JSON"),
        })),
    }
}

fn scan<'r, R>(text: &str, to: &mut Vec<u8>, mut replacement: impl FnMut(&str) -> Option<&'r R>) -> Result<(), Broken>
where
    R: AsRef<[u8]> + ?Sized + 'r,
{
    let bytes = text.as_bytes();
    let mut scanner = Scanner { bytes, at: 0 };
    // Of the document these are in `to`, or were replaced.
    let mut copied = 0;
    scanner.space();
    if scanner.take(b'{') {
        scanner.space();
        if !scanner.take(b'}') {
            loop {
                let start = scanner.at;
                let escaped = scanner.name()?;
                let name = match escaped {
                    false => Cow::Borrowed(&text[start + 1..scanner.at - 1]),
                    true => serde_json::from_str(&text[start..scanner.at]).map_err(Broken::Name)?,
                };
                scanner.colon()?;
                let value = scanner.at;
                scanner.value()?;
                if let Some(replacement) = replacement(&name) {
                    to.extend_from_slice(&bytes[copied..value]);
                    to.extend_from_slice(replacement.as_ref());
                    copied = scanner.at;
                }
                scanner.space();
                match scanner.next()? {
                    b',' => scanner.space(),
                    b'}' => break,
                    _ => return Err(Broken::Syntax),
                }
            }
        }
    } else {
        scanner.value()?;
    }
    scanner.space();
    if scanner.at < bytes.len() {
        return Err(Broken::Syntax);
    }
    to.extend_from_slice(&bytes[copied..]);
    Ok(())
}

/// What is wrong with a document.
enum Broken {
    Syntax,
    /// The escapes of a name.
    Name(serde_json::Error),
}

/// Where in a document it is.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Result<u8, Broken> {
        let byte = self.peek().ok_or(Broken::Syntax)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// A field's name with its quotes; whether it has escapes.
    #[inline]
    fn name(&mut self) -> Result<bool, Broken> {
        if self.take(b'"') { self.string() } else { Err(Broken::Syntax) }
    }

    /// What stands between a name and its value.
    #[inline]
    fn colon(&mut self) -> Result<(), Broken> {
        self.space();
        if !self.take(b':') {
            return Err(Broken::Syntax);
        }
        self.space();
        Ok(())
    }

    /// A value.
    #[inline]
    fn value(&mut self) -> Result<(), Broken> {
        match self.next()? {
            b'"' => self.string().map(drop),
            first @ (b'{' | b'[') => self.container(first),
            first => self.plain(first),
        }
    }

    /// A number or a word that begins so.
    #[inline]
    fn plain(&mut self, first: u8) -> Result<(), Broken> {
        match first {
            b'0'..=b'9' => self.number(first),
            b'-' => {
                let first = self.next()?;
                self.number(first)
            }
            b't' => self.word(b"rue"),
            b'f' => self.word(b"alse"),
            b'n' => self.word(b"ull"),
            _ => Err(Broken::Syntax),
        }
    }

    /// A container that begins so, however deep: those that are open are bits, and no calls.
    fn container(&mut self, first: u8) -> Result<(), Broken> {
        let mut open = Open::default();
        let mut first = first;
        loop {
            match first {
                b'"' => drop(self.string()?),
                b'{' => {
                    self.space();
                    if !self.take(b'}') {
                        open.push(true);
                        self.name()?;
                        self.colon()?;
                        first = self.next()?;
                        continue;
                    }
                }
                b'[' => {
                    self.space();
                    if !self.take(b']') {
                        open.push(false);
                        first = self.next()?;
                        continue;
                    }
                }
                other => self.plain(other)?,
            }
            // A value has ended, and maybe what it stands in.
            loop {
                let Some(is_object) = open.last() else { return Ok(()) };
                self.space();
                match (self.next()?, is_object) {
                    (b',', false) => {
                        self.space();
                        break;
                    }
                    (b',', true) => {
                        self.space();
                        self.name()?;
                        self.colon()?;
                        break;
                    }
                    (b'}', true) | (b']', false) => open.pop(),
                    _ => return Err(Broken::Syntax),
                }
            }
            first = self.next()?;
        }
    }

    fn word(&mut self, rest: &[u8]) -> Result<(), Broken> {
        if !self.bytes[self.at..].starts_with(rest) {
            return Err(Broken::Syntax);
        }
        self.at += rest.len();
        Ok(())
    }

    /// A number whose first digit was read.
    fn number(&mut self, first: u8) -> Result<(), Broken> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return Err(Broken::Syntax),
        }
        if self.take(b'.') {
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), Broken> {
        let start = self.at;
        self.digits();
        if self.at > start { Ok(()) } else { Err(Broken::Syntax) }
    }

    /// The rest of a string behind its first quote; whether it has escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, Broken> {
        while let Some(eight) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let special = special(u64::from_le_bytes(*eight));
            if special == 0 {
                self.at += 8;
                continue;
            }
            self.at += special.trailing_zeros() as usize / 8;
            if self.take(b'"') {
                return Ok(false);
            }
            break;
        }
        self.odd_string()
    }

    /// The rest of a string with escapes, or at the document's end, byte by byte.
    fn odd_string(&mut self) -> Result<bool, Broken> {
        let mut escaped = false;
        loop {
            match self.next()? {
                b'"' => return Ok(escaped),
                b'\\' => {
                    escaped = true;
                    match self.next()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            let digits = self.bytes.get(self.at..self.at + 4).ok_or(Broken::Syntax)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return Err(Broken::Syntax);
                            }
                            self.at += 4;
                        }
                        _ => return Err(Broken::Syntax),
                    }
                }
                0..=0x1f => return Err(Broken::Syntax),
                _ => {}
            }
        }
    }
}

/// The high bit of the first byte, from the lowest on, that is a quote, a backslash or a control character; bits above it may be wrong.
#[inline]
fn special(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let is_zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let quote = is_zero(eight ^ (ONES * b'"' as u64));
    let backslash = is_zero(eight ^ (ONES * b'\\' as u64));
    let control = eight.wrapping_sub(ONES * 0x20) & !eight;
    (quote | backslash | control) & HIGH
}

/// The containers that are open, the innermost last: whether each is an object.
#[derive(Default)]
struct Open {
    /// Up to 64 of them, the innermost in the lowest bit.
    bits: u64,
    depth: usize,
    /// Those outside of these, 64 at a time.
    outer: Vec<u64>,
}

impl Open {
    #[inline]
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    #[inline]
    fn last(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }

    #[inline]
    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.bits = self.outer.pop().unwrap_or_default();
        }
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
