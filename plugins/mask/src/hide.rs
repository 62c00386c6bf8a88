//! How values are hidden.

use std::borrow::Cow;
use std::rc::Rc;

use hmac::Hmac;
use hmac::Mac;
use hmac::digest::InvalidLength;
use sha2::Sha256;
use wasmill_sdk::json::Edit;

/// The replacement, as JSON.
const STARS: &[u8] = br#""***""#;
const SHOWN: usize = 4;
/// Four characters would reveal most of a shorter text.
const LENGTH_LEAST: usize = 8;

/// How a value is hidden.
pub(crate) enum Hide {
    Stars,
    Hash(Rc<Key>),
    Drop,
    Last4,
}

impl Hide {
    /// Appends the replacement of `value`, a JSON text, and returns what to do with the value.
    pub(crate) fn edit(&self, value: &[u8], to: &mut Vec<u8>) -> Edit {
        match self {
            Hide::Stars => to.extend_from_slice(STARS),
            Hide::Hash(key) => key.write_hash(text(value).as_deref().unwrap_or(value), to),
            Hide::Drop => return Edit::Remove,
            Hide::Last4 => write_last4(value, to),
        }
        Edit::Replace
    }
}

/// The key of hashes. It has no `Debug`, so that it is never printed.
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    pub(crate) fn new(key: &str) -> Result<Key, InvalidLength> {
        Hmac::new_from_slice(key.as_bytes()).map(Key)
    }

    /// Appends the hash of a text as a JSON string of 64 hexadecimal digits.
    fn write_hash(&self, text: &[u8], to: &mut Vec<u8>) {
        let hash = self.0.clone().chain_update(text).finalize().into_bytes();
        to.push(b'"');
        for byte in hash {
            to.extend_from_slice(&hex(byte));
        }
        to.push(b'"');
    }
}

fn hex(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| if digit < 10 { b'0' + digit } else { b'a' - 10 + digit })
}

/// The text of a JSON string, without quotes and escapes. `None` for other values, and for escapes that aren't valid Unicode.
fn text(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inside.contains(&b'\\') {
        // Parsed from `&str`: parsing from bytes would link a second copy of the parser into the plugin.
        serde_json::from_str(std::str::from_utf8(value).ok()?).ok().map(String::into_bytes).map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inside))
    }
}

/// Appends a string in which all but the last four characters are stars. Short strings and values that aren't text become only stars.
fn write_last4(value: &[u8], to: &mut Vec<u8>) {
    let text = text(value);
    let Some(text) = text.as_deref().and_then(|text| std::str::from_utf8(text).ok()) else {
        return to.extend_from_slice(STARS);
    };
    let length = text.chars().count();
    if length < LENGTH_LEAST {
        return to.extend_from_slice(STARS);
    }
    to.push(b'"');
    to.resize(to.len() + length - SHOWN, b'*');
    // Escaped by hand: the writer of `serde_json` would add more code to the plugin than all modes together.
    for c in text.chars().skip(length - SHOWN) {
        match c {
            '"' | '\\' => to.extend([b'\\', c as u8]),
            '\0'..' ' => {
                to.extend_from_slice(br"\u00");
                to.extend_from_slice(&hex(c as u8));
            }
            _ => to.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    to.push(b'"');
}
