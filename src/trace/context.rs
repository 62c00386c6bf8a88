//! PURE. Where a span is in its trace, as the headers `traceparent` and `tracestate` of W3C Trace Context say it.
//!
//! A header that breaks the rules counts as none, and is passed on unchanged with the rest of the record. Only the headers of a traced
//! record's outputs are written.

use std::sync::Arc;

use crate::record::Header;
use crate::record::Headers;

/// The names of the headers.
const PARENT: &[u8] = b"traceparent";
const STATE: &[u8] = b"tracestate";
/// The length of a `traceparent` of version 00, and of the part that later versions have in common with it.
const PARENT_BYTES: usize = 55;
/// A longer `tracestate` is not passed on: the standard asks for 512 characters at least.
const STATE_BYTES_MAX: usize = 2048;
/// The flag of a trace whose spans are recorded.
const SAMPLED: u8 = 1;
/// The flags that a span passes on: that the trace is sampled, and that its number is random.
const PASSED_ON: u8 = 3;

/// The place of a span in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace, never 0.
    pub trace: u128,
    /// The span, never 0.
    pub span: u64,
    /// The flags of `traceparent`.
    pub flags: u8,
    /// The content of `tracestate`, if there is any.
    pub state: Option<Arc<str>>,
}

impl SpanContext {
    /// Whether the spans of the trace are recorded, as far as its sender decided.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The context of the first span of a trace that is recorded.
    pub(super) fn first(trace: u128, span: u64) -> SpanContext {
        SpanContext { trace, span, flags: SAMPLED, state: None }
    }

    /// The context of another span of the same trace, which is recorded.
    #[must_use]
    pub fn child(&self, span: u64) -> SpanContext {
        SpanContext { trace: self.trace, span, flags: self.flags & PASSED_ON | SAMPLED, state: self.state.clone() }
    }

    /// The context in these headers: the last `traceparent` counts. `None` if there is none that can be read.
    #[must_use]
    pub fn of(headers: Headers<'_>) -> Option<SpanContext> {
        // Most records have no headers, or a few.
        let parent = headers.iter().filter(|header| header.name == PARENT).last()?;
        let (trace, span, flags) = parse(parent.value?)?;
        Some(SpanContext { trace, span, flags, state: state(headers) })
    }

    /// The value of `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }

    /// These headers as columns, see [`Headers`], with this context instead of the one that they have.
    #[must_use]
    pub fn written_into(&self, headers: Headers<'_>) -> (Vec<i32>, Vec<u8>) {
        let mut lengths = Vec::with_capacity(headers.lengths().len() + 4);
        let mut data = Vec::with_capacity(headers.data().len() + PARENT.len() + PARENT_BYTES);
        let parent = self.traceparent();
        let own = [Some((PARENT, parent.as_bytes())), self.state.as_deref().map(|state| (STATE, state.as_bytes()))];
        let own = own.into_iter().flatten().map(|(name, value)| Header { name, value: Some(value) });
        let others = headers.iter().filter(|header| header.name != PARENT && header.name != STATE);
        for Header { name, value } in others.chain(own) {
            // Lengths of headers that were read are below 2^31, and so are these.
            let length = |bytes: &[u8]| i32::try_from(bytes.len()).unwrap_or(i32::MAX);
            lengths.extend([length(name), value.map_or(-1, length)]);
            data.extend_from_slice(name);
            data.extend_from_slice(value.unwrap_or_default());
        }
        (lengths, data)
    }
}

/// The trace, the span and the flags of a `traceparent`.
fn parse(value: &[u8]) -> Option<(u128, u64, u8)> {
    let (common, rest) = value.split_at_checked(PARENT_BYTES)?;
    let is_lower = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte) || *byte == b'-';
    if !common.iter().all(is_lower) {
        return None;
    }
    let mut parts = std::str::from_utf8(common).ok()?.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = [version.len(), trace.len(), span.len(), flags.len()];
    let may_follow = if version == "00" { rest.is_empty() } else { matches!(rest, [] | [b'-', ..]) };
    if lengths != [2, 32, 16, 2] || parts.next().is_some() || version == "ff" || !may_follow {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
    Some((trace, span, u8::from_str_radix(flags, 16).ok()?))
}

/// The members of all `tracestate` headers.
fn state(headers: Headers<'_>) -> Option<Arc<str>> {
    let values = headers.iter().filter(|header| header.name == STATE).filter_map(|header| header.value);
    let texts: Vec<&str> = values.filter_map(|value| std::str::from_utf8(value).ok()).collect();
    let all = texts.join(",");
    let is_visible = all.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (!all.is_empty() && all.len() <= STATE_BYTES_MAX && is_visible).then(|| all.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

    /// Headers as columns.
    fn columns(headers: &[(&str, Option<&str>)]) -> (Vec<i32>, Vec<u8>) {
        let length = |text: &str| i32::try_from(text.len()).unwrap();
        let lengths = headers.iter().flat_map(|(name, value)| [length(name), value.map_or(-1, length)]);
        let data = headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.unwrap_or_default().as_bytes()]);
        (lengths.collect(), data.flatten().copied().collect())
    }

    fn of(headers: &[(&str, Option<&str>)]) -> Option<SpanContext> {
        let (lengths, data) = columns(headers);
        SpanContext::of(Headers::new(&lengths, &data))
    }

    #[test]
    fn only_a_traceparent_that_follows_the_standard_is_read() {
        let read = |value: &str| of(&[("a", None), ("traceparent", Some(value))]);
        let good = read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!((good.trace, good.span, good.flags, good.is_sampled()), (TRACE, 0x00f0_67aa_0ba9_02b7, 1, true));
        assert!(!read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02").unwrap().is_sampled());
        assert_eq!(read("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what").unwrap().trace, TRACE);
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01what",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-000f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-7-01",
            "-------------------------------------------------------",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(of(&[("traceparent", None)]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_context_replaces_the_one_that_headers_have_and_nothing_else() {
        let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";
        let headers = [
            ("a", Some("1")),
            ("tracestate", Some("x=1")),
            ("traceparent", Some(sent)),
            ("a", None),
            ("tracestate", Some("y=2")),
        ];
        let context = of(&headers).unwrap();
        assert_eq!(context.state.as_deref(), Some("x=1,y=2"));
        let child = context.child(0xb7ad_6b71_6920_3331);
        let (lengths, data) = columns(&headers);
        let written = child.written_into(Headers::new(&lengths, &data));
        let expected = [
            ("a", Some("1")),
            ("a", None),
            ("traceparent", Some("00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-03")),
            ("tracestate", Some("x=1,y=2")),
        ];
        assert_eq!(written, columns(&expected));
        assert_eq!(of(&[("traceparent", Some(sent)), ("tracestate", Some("a\tb"))]).unwrap().state, None);
    }
}
