//! The manifest that `export!` and `export_reduce!` embed in a plugin: JSON that is assembled at compile time.

/// A piece of JSON.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// JSON, written unchanged.
    Json(&'a str),
    /// A text, written as a JSON string.
    Text(&'a str),
    /// Numbers, written as a JSON list without its brackets.
    Numbers(&'a [u8]),
}

/// The state versions that a plugin reads: those given, or else its own.
///
/// # Panics
/// If its own is 0, or if the given ones lack it. At compile time that is an error.
#[must_use]
pub const fn reads(own: &'static [u8; 1], given: &'static [u8]) -> &'static [u8] {
    assert!(own[0] > 0, "`STATE_VERSION` is 1 or more");
    if given.is_empty() {
        return own;
    }
    let mut at = 0;
    while at < given.len() {
        if given[at] == own[0] {
            return given;
        }
        at += 1;
    }
    panic!("`reads` must name `STATE_VERSION`, too");
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
            Part::Numbers(numbers) => {
                write_numbers(numbers, sink);
                number += 1;
                continue;
            }
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

const fn write_numbers<const N: usize>(numbers: &[u8], sink: &mut Sink<N>) {
    let mut at = 0;
    while at < numbers.len() {
        if at > 0 {
            sink.push(b',');
        }
        let number = numbers[at];
        if number >= 100 {
            sink.push(b'0' + number / 100);
        }
        if number >= 10 {
            sink.push(b'0' + number / 10 % 10);
        }
        sink.push(b'0' + number % 10);
        at += 1;
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

    #[test]
    fn numbers_are_written_with_commas() {
        const PARTS: &[Part<'static>] =
            &[Part::Json("["), Part::Numbers(&[0, 9, 10, 99, 100, 105, 255]), Part::Json("]")];
        const JSON: [u8; length(PARTS)] = written(PARTS);
        assert_eq!(std::str::from_utf8(&JSON).unwrap(), "[0,9,10,99,100,105,255]");
    }

    #[test]
    fn the_manifest_of_a_plugin_with_state_has_its_versions() {
        crate::__plugin! { ports = ["rare"], codes = ["a", "b"], state = (2, &[1, 2]), }
        let text = std::str::from_utf8(&SECTION).unwrap();
        let rest = r#","ports":["main","rare"],"codes":["a","b"],"state":{"version":2,"reads":[1,2]}}"#;
        assert!(text.starts_with(r#"{"name":"wasmill-sdk","#) && text.ends_with(rest), "{text}");
    }

    #[test]
    fn a_plugin_reads_its_own_version_unless_it_names_others_too() {
        assert_eq!((reads(&[3], &[]), reads(&[3], &[1, 3])), (&[3][..], &[1, 3][..]));
    }

    #[test]
    #[should_panic(expected = "`STATE_VERSION` is 1 or more")]
    fn version_0_is_refused() {
        let _ = reads(&[0], &[]);
    }

    #[test]
    #[should_panic(expected = "`reads` must name `STATE_VERSION`")]
    fn reads_without_the_own_version_is_refused() {
        let _ = reads(&[3], &[1, 2]);
    }
}
