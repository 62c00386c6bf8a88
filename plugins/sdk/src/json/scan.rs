//! A walk over a JSON document that validates all of it and replaces values on the way.
//!
//! It accepts the same documents as `serde_json`. Its shape is due to speed: the host adds a deadline check to each loop of a plugin,
//! and values that live across loops and calls are kept in memory. So the loop over the fields is the only loop of its function,
//! positions are passed by value, and everything that a compact document doesn't have between its fields (spaces, escapes, containers,
//! literals) is handled out of line.

use std::borrow::Cow;

use super::structural_index::Position;
use super::structural_index::StructuralIndex;
use super::structural_index::byte;

/// Whether these bytes are at this position.
#[inline]
pub(super) fn has<const N: usize>(json: &[u8], at: usize, expected: &[u8; N]) -> bool {
    json.get(at..).and_then(<[u8]>::first_chunk) == Some(expected)
}

/// Appends `json` to `to`, with the values that `replacement` returns for fields of the outermost object.
// Out of line: otherwise the loop over the records would have to keep its values in memory.
#[inline(never)]
pub(super) fn scan<'r, R>(
    json: &[u8],
    to: &mut Vec<u8>,
    mut replacement: impl FnMut(&[u8]) -> Option<&'r R>,
) -> Option<()>
where
    R: AsRef<[u8]> + ?Sized + 'r,
{
    let mut index = StructuralIndex::new(json);
    // The part of the document up to here is in `to`, or was replaced.
    let mut copied = 0;
    let mut here = space(json, 0);
    if byte(json, here) != b'{' {
        here = value(json, &mut index, here)?.get();
    } else {
        here = space(json, here + 1);
        let mut is_open = byte(json, here) != b'}';
        if is_open && byte(json, here) != b'"' {
            return None;
        }
        here += 1;
        // Each turn goes from after the opening quote of a name to after that of the next name, or to after the closing brace.
        while is_open {
            let start = here;
            let unescaped;
            let (name, mut first) = match index.near(start) {
                Some(end) if has(json, end, b"\":") => (&json[start..end], end + 2),
                _ => {
                    here = index.end(json, start)?.get();
                    unescaped = unescape(&json[start - 1..here])?;
                    (&unescaped[..], behind(json, here, b':')?.get())
                }
            };
            here = match near_value(json, &index, first) {
                Some(end) => end.get(),
                None => {
                    first = space(json, first);
                    value(json, &mut index, first)?.get()
                }
            };
            if let Some(replacement) = replacement(name) {
                to.extend_from_slice(&json[copied..first]);
                to.extend_from_slice(replacement.as_ref());
                copied = here;
            }
            if has(json, here, b",\"") {
                here += 2;
                continue;
            }
            here = space(json, here);
            is_open = byte(json, here) == b',';
            let last = if is_open {
                here = space(json, here + 1);
                b'"'
            } else {
                b'}'
            };
            if byte(json, here) != last {
                return None;
            }
            here += 1;
        }
    }
    finish(json, to, copied, here, index.is_ascii)
}

/// Appends the rest that isn't `copied` yet, if only spaces follow `here` and the document is UTF-8.
#[inline]
pub(super) fn finish(json: &[u8], to: &mut Vec<u8>, copied: usize, here: usize, is_ascii: bool) -> Option<()> {
    let is_whole = space(json, here) >= json.len();
    if !is_whole || !is_ascii && std::str::from_utf8(json).is_err() {
        return None;
    }
    to.extend_from_slice(&json[copied..]);
    Some(())
}

/// The name inside of its quotes, with its escapes decoded.
#[inline(never)]
pub(super) fn unescape(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if name.contains(&b'\\') {
        // Parsed from `&str`: parsing from bytes would link a second copy of the parser into the plugin.
        serde_json::from_str(std::str::from_utf8(name).ok()?).ok().map(String::into_bytes).map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(&name[1..name.len() - 1]))
    }
}

/// The position of the first byte at or after `from` that is not whitespace.
#[inline]
pub(super) fn space(json: &[u8], from: usize) -> usize {
    if let b' ' | b'\n' | b'\t' | b'\r' = byte(json, from) { spaces(json, from + 1) } else { from }
}

#[inline(never)]
fn spaces(json: &[u8], from: usize) -> usize {
    let mut here = from;
    while let b' ' | b'\n' | b'\t' | b'\r' = byte(json, here) {
        here += 1;
    }
    here
}

/// The position after the byte `expected`, which may have whitespace before it.
#[inline]
pub(super) fn behind(json: &[u8], from: usize, expected: u8) -> Option<Position> {
    let mut here = from;
    // Checked before whitespace is skipped, because most documents have none here.
    if byte(json, here) != expected {
        here = space(json, here);
        if byte(json, here) != expected {
            return None;
        }
    }
    Position::new(here + 1)
}

/// The end of the value at `here`, if it is a short string or a number.
#[inline]
pub(super) fn near_value(json: &[u8], index: &StructuralIndex, here: usize) -> Option<Position> {
    match byte(json, here) {
        b'"' => Position::new(index.near_end(json, here + 1)? + 1),
        b'0'..=b'9' => number(json, here),
        _ => None,
    }
}

/// The end of the value at `here`.
#[inline(never)]
pub(super) fn value(json: &[u8], index: &mut StructuralIndex, here: usize) -> Option<Position> {
    match byte(json, here) {
        b'"' => string(json, index, here + 1),
        b'{' | b'[' => container(json, index, here),
        _ => plain(json, here),
    }
}

/// The end of a number or a literal.
#[inline]
fn plain(json: &[u8], here: usize) -> Option<Position> {
    match byte(json, here) {
        b'0'..=b'9' => number(json, here),
        b'-' => number(json, here + 1),
        b't' => word(json, here, b"true"),
        b'f' => word(json, here, b"false"),
        b'n' => word(json, here, b"null"),
        _ => None,
    }
}

/// The end of the container at `here`, at any depth: the open containers are kept as bits, without recursion.
#[inline(never)]
fn container(json: &[u8], index: &mut StructuralIndex, here: usize) -> Option<Position> {
    let mut here = here;
    let mut open = Open::default();
    loop {
        here = match byte(json, here) {
            first @ (b'{' | b'[') => {
                let (is_object, last) = if first == b'{' { (true, b'}') } else { (false, b']') };
                let inner = space(json, here + 1);
                if byte(json, inner) == last {
                    inner + 1
                } else {
                    open.push(is_object);
                    here = if is_object { name(json, index, inner)?.get() } else { inner };
                    continue;
                }
            }
            b'"' => string(json, index, here + 1)?.get(),
            _ => plain(json, here)?.get(),
        };
        // A value has ended, and perhaps also the containers that it is in.
        loop {
            let Some(is_object) = open.last() else { return Position::new(here) };
            here = space(json, here);
            let next = byte(json, here);
            here += 1;
            match (next, is_object) {
                (b',', true) => {
                    here = name(json, index, space(json, here))?.get();
                    break;
                }
                (b',', false) => {
                    here = space(json, here);
                    break;
                }
                (b'}', true) | (b']', false) => open.pop(),
                _ => return None,
            }
        }
    }
}

/// From a name to its value.
#[inline]
fn name(json: &[u8], index: &mut StructuralIndex, here: usize) -> Option<Position> {
    if byte(json, here) != b'"' {
        return None;
    }
    let end = string(json, index, here + 1)?;
    let first = behind(json, end.get(), b':')?;
    Position::new(space(json, first.get()))
}

/// The position after the string whose contents begin at `start`.
#[inline]
fn string(json: &[u8], index: &mut StructuralIndex, start: usize) -> Option<Position> {
    match index.near_end(json, start) {
        Some(end) => Position::new(end + 1),
        None => index.end(json, start),
    }
}

fn word(json: &[u8], here: usize, word: &[u8]) -> Option<Position> {
    if json[here..].starts_with(word) { Position::new(here + word.len()) } else { None }
}

/// The position after a number without its sign.
#[inline]
fn number(json: &[u8], here: usize) -> Option<Position> {
    let mut here = match byte(json, here) {
        b'0' => here + 1,
        b'1'..=b'9' => digits(json, here + 1),
        _ => return None,
    };
    let mut next = byte(json, here);
    if next == b'.' {
        here = some_digits(json, here + 1)?.get();
        next = byte(json, here);
    }
    if let b'e' | b'E' = next {
        here += 1;
        if let b'+' | b'-' = byte(json, here) {
            here += 1;
        }
        here = some_digits(json, here)?.get();
    }
    Position::new(here)
}

#[inline]
fn some_digits(json: &[u8], here: usize) -> Option<Position> {
    if byte(json, here).is_ascii_digit() { Position::new(digits(json, here + 1)) } else { None }
}

/// The position after the digits at `here`, if any.
#[inline]
fn digits(json: &[u8], here: usize) -> usize {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    if let Some(eight) = json.get(here..).and_then(<[u8]>::first_chunk) {
        // The value of each digit. Any other byte yields a number above 9, which the sum shows; only bytes after the first such byte may
        // be wrong.
        let digits = u64::from_le_bytes(*eight) ^ (EACH * u64::from(b'0'));
        let others = (digits.wrapping_add(EACH * (0x80 - 10)) | digits) & (EACH << 7);
        if others != 0 {
            return here + others.trailing_zeros() as usize / 8;
        }
    }
    let mut here = here;
    while byte(json, here).is_ascii_digit() {
        here += 1;
    }
    here
}

/// The open containers, as one bit each: whether it is an object.
#[derive(Default)]
struct Open {
    /// The innermost 64 of them, the innermost in the lowest bit.
    bits: u64,
    depth: usize,
    /// The containers around them, 64 at a time.
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
