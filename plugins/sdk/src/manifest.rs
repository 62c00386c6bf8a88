//! The manifest that `export!` embeds in a plugin: JSON that is assembled at compile time.

/// A piece of JSON.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// JSON, written unchanged.
    Json(&'a str),
    /// A text, written as a JSON string.
    Text(&'a str),
}

/// The length of the parts in bytes.
#[must_use]
pub const fn length(parts: &[Part<'_>]) -> usize {
    let mut counted = Sink { bytes: [], length: 0 };
    write(parts, &mut counted);
    counted.length
}

/// The parts, concatenated.
///
/// # Panics
/// If `N` is not their [`length`].
#[must_use]
pub const fn written<const N: usize>(parts: &[Part<'_>]) -> [u8; N] {
    let mut sink = Sink { bytes: [0; N], length: 0 };
    write(parts, &mut sink);
    assert!(sink.length == N, "the length is that of the parts");
    sink.bytes
}

/// Keeps the bytes that fit, and counts all of them.
struct Sink<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Sink<N> {
    const fn push(&mut self, byte: u8) {
        if self.length < N {
            self.bytes[self.length] = byte;
        }
        self.length += 1;
    }
}

const fn write<const N: usize>(parts: &[Part<'_>], sink: &mut Sink<N>) {
    let mut number = 0;
    while number < parts.len() {
        let (text, quoted) = match parts[number] {
            Part::Json(text) => (text.as_bytes(), false),
            Part::Text(text) => (text.as_bytes(), true),
        };
        if quoted {
            sink.push(b'"');
        }
        let mut at = 0;
        while at < text.len() {
            match text[at] {
                byte @ (b'"' | b'\\') if quoted => {
                    sink.push(b'\\');
                    sink.push(byte);
                }
                // JSON requires escapes for these; in a description a space is good enough.
                0..=0x1f if quoted => sink.push(b' '),
                byte => sink.push(byte),
            }
            at += 1;
        }
        if quoted {
            sink.push(b'"');
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_json_is_not() {
        const PARTS: &[Part<'static>] = &[Part::Json("{\"a\":"), Part::Text("say \"hi\"\n\\"), Part::Json("}")];
        const JSON: [u8; length(PARTS)] = written(PARTS);
        assert_eq!(std::str::from_utf8(&JSON).unwrap(), r#"{"a":"say \"hi\" \\"}"#);
    }
}
