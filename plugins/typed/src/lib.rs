//! Implements the typed contract by hand, without the SDK, as an author in a language without an SDK would.
//!
//! Its settings are a JSON string or empty: `"copy"` copies every record, anything else forwards it by reference. Values that begin
//! with `{` and don't end with `}` are rejected with the code `bad-json`. Records with a header `audit` also go to the second port,
//! if there is one.

use std::cell::Cell;

use bindings::exports::wasmill::plugin::handler::Guest;
use bindings::wasmill::plugin::records::Field;
use bindings::wasmill::plugin::records::Message;
use bindings::wasmill::plugin::records::Output;
use bindings::wasmill::plugin::records::Verdict;
use bindings::wasmill::plugin::types::Failure;
use bindings::wasmill::plugin::types::Reject;
use bindings::wasmill::plugin::types::Source;

#[rustfmt::skip]
mod bindings;

#[expect(clippy::undocumented_unsafe_blocks, reason = "generated")]
mod exported {
    use super::Typed;
    use super::bindings;

    bindings::export!(Typed with_types_in bindings);
}

struct Typed;

thread_local! {
    static COPIES: Cell<bool> = const { Cell::new(false) };
    static PORTS: Cell<usize> = const { Cell::new(1) };
}

impl Guest for Typed {
    fn init(settings: String, ports: Vec<String>) -> Result<(), String> {
        COPIES.set(settings.contains("\"copy\""));
        PORTS.set(ports.len());
        Ok(())
    }

    fn process(_source: Source, batch: Vec<Message>) -> Result<Vec<Verdict>, String> {
        Ok(batch.into_iter().map(verdict).collect())
    }
}

fn verdict(message: Message) -> Verdict {
    let value = message.value.as_deref().unwrap_or_default();
    if value.starts_with(b"{") && !value.trim_ascii_end().ends_with(b"}") {
        let reason = "it begins like an object and doesn't end like one".to_owned();
        return Verdict::Fail(Failure::Reject(Reject { code: "bad-json".to_owned(), reason }));
    }
    let audited = PORTS.get() > 1 && message.headers.iter().any(|header| header.name == "audit");
    match (COPIES.get(), audited) {
        (false, false) => Verdict::Forward(0),
        (false, true) => Verdict::Emit(vec![same(0), same(1)]),
        (true, false) => Verdict::Emit(vec![copy(message)]),
        (true, true) => Verdict::Emit(vec![copy(message), same(1)]),
    }
}

fn same(port: u32) -> Output {
    Output { port, key: Field::Same, value: Field::Same, headers: None, timestamp: None, partition: None }
}

fn copy(message: Message) -> Output {
    let field = |bytes: Option<Vec<u8>>| bytes.map_or(Field::None, Field::Bytes);
    Output {
        port: 0,
        key: field(message.key),
        value: field(message.value),
        headers: Some(message.headers),
        timestamp: message.timestamp,
        partition: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(value: &str) -> Message {
        let value = Some(value.as_bytes().to_vec());
        Message { offset: 0, timestamp: None, attempt: 0, key: None, value, headers: Vec::new() }
    }

    #[test]
    fn an_incomplete_object_is_rejected_and_other_records_are_forwarded() {
        assert!(matches!(verdict(message("{}")), Verdict::Forward(0)));
        assert!(matches!(verdict(message("text")), Verdict::Forward(0)));
        assert!(matches!(verdict(message("{")), Verdict::Fail(Failure::Reject(Reject { .. }))));
    }
}
