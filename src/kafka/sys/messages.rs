//! UNSAFE. Messages: fetched records and produced records.
//!
//! JUSTIFICATION: through the binding a record with a header name that is not UTF-8 panics the process, and an error
//! code that it doesn't list is undefined behaviour.
//!
//! Two facts that no call returns are read from librdkafka's own memory, and only in version [`LAYOUT_OF`]: that a
//! record has no headers, and the length of a header's name if its value is null. Invariant: key, value and headers are
//! borrowed from a message and live no longer than it.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;
use std::vec;

use rdkafka_sys as rd;

use super::client::Client;
use super::errors::Code;
use super::text::bytes;
use super::text::text;
use crate::record::Header;

/// Messages that were taken together, in order.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(super) pointers: vec::IntoIter<*mut rd::rd_kafka_message_t>,
    // After the pointers: the client must outlive them.
    pub(super) _client: Arc<Client>,
}

impl Messages {
    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.pointers.len() == 0
    }

    /// Passes the next message to `see` and then frees it. `None` when none is left.
    pub(crate) fn next_with<R>(&mut self, see: impl FnOnce(Message<'_>) -> R) -> Option<R> {
        /// Frees the message even if `see` panics.
        struct Taken(NonNull<rd::rd_kafka_message_t>);
        impl Drop for Taken {
            fn drop(&mut self) {
                // SAFETY: the message is ours and destroyed once; its client is alive.
                unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
            }
        }
        let taken = Taken(NonNull::new(self.pointers.next()?)?);
        // SAFETY: the message lives until `taken` is dropped, and a `Message` can't leave `see`.
        Some(see(Message { raw: unsafe { taken.0.as_ref() } }))
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        while self.next_with(|_| ()).is_some() {}
    }
}

/// A message that was produced, and whether it was delivered.
///
/// It is a separate type because librdkafka uses one struct for both directions, with other meanings: the payload of a
/// produced message is the record's value, but the payload of a fetched error is its text. So
/// `rd_kafka_message_errstr`, which returns the payload, must not be called for a produced message.
/// `rd_kafka_message_produce_errstr` must not be called outside `callbacks.rs` either: it points into the broker's
/// answer, which is freed before the report is taken from its queue (2.12.1: `rd_kafka_handle_Produce`).
/// [`Client::refusal`] returns the reason instead.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(super) raw: &'a rd::rd_kafka_message_t,
}

impl Sent<'_> {
    /// Why the message was not delivered; 0 if it was.
    pub(crate) fn code(&self) -> Code {
        code_of(self.raw)
    }

    /// The bytes of key and value.
    pub(crate) fn size(&self) -> usize {
        self.raw.len.saturating_add(self.raw.key_len)
    }

    /// Microseconds from producing to the acknowledgement; -1 is unknown.
    pub(crate) fn latency_us(&self) -> i64 {
        // SAFETY: the message is alive, and was produced: the call reads a field that fetched ones lack.
        unsafe { rd::rd_kafka_message_latency(self.raw) }
    }

    /// The tag that was passed to [`Topic::produce`](super::Topic::produce).
    pub(crate) fn tag(&self) -> u64 {
        self.raw._private as u64
    }

    /// The produced record, readable like a fetched one.
    pub(crate) fn content(&self) -> Message<'_> {
        Message { raw: self.raw }
    }

    /// Identifies the message among all that aren't freed yet.
    pub(super) fn address(&self) -> usize {
        (&raw const *self.raw) as usize
    }
}

/// A fetched message: a record, or an error in its place. [`Message::code`] distinguishes them.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(super) raw: &'a rd::rd_kafka_message_t,
}

impl<'a> Message<'a> {
    pub(crate) fn code(&self) -> Code {
        code_of(self.raw)
    }

    /// librdkafka's message if this is an error; empty if it is a record.
    pub(crate) fn error_text(&self) -> String {
        // SAFETY: the message is alive and was fetched. An error's payload is its text, with a NUL, and lives as long as the message;
        // without a payload the string is static. A record has no error, and null is returned.
        unsafe { text(rd::rd_kafka_message_errstr(self.raw)) }
    }

    /// The topic's name.
    pub(crate) fn topic(&self) -> &'a [u8] {
        if self.raw.rkt.is_null() {
            return b"";
        }
        // SAFETY: the message holds its topic, whose name lives as long as it.
        unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(self.raw.rkt)) }.to_bytes()
    }

    pub(crate) fn partition(&self) -> i32 {
        self.raw.partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.raw.offset
    }

    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: the message is alive and owns these bytes.
        unsafe { bytes(self.raw.key, self.raw.key_len) }
    }

    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: the message is alive and owns these bytes: the record's, or the text's if it is an error.
        unsafe { bytes(self.raw.payload, self.raw.len) }
    }

    /// Milliseconds since 1970-01-01 UTC; -1 is none.
    pub(crate) fn timestamp(&self) -> i64 {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        unsafe { rd::rd_kafka_message_timestamp(self.raw, &raw mut kind) }
    }

    /// The leader epoch with which it was fetched; -1 is unknown.
    pub(crate) fn leader_epoch(&self) -> i32 {
        // SAFETY: the message is alive.
        unsafe { rd::rd_kafka_message_leader_epoch(self.raw) }
    }

    /// The headers in order. Names and values may be any bytes.
    pub(crate) fn headers(&self) -> MessageHeaders<'a> {
        if self.was_fetched_without_headers() {
            return MessageHeaders { headers: None, next: 0, _message: *self };
        }
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive and goes on owning the headers. The call parses them on first use, which librdkafka
        // allows for a message that it calls const.
        let code = unsafe { rd::rd_kafka_message_headers(self.raw, &raw mut headers) };
        let found = code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && !headers.is_null();
        MessageHeaders { headers: found.then_some(headers), next: 0, _message: *self }
    }

    /// Whether the message is known to have no headers. Asking librdkafka instead costs it two allocations per record.
    pub(crate) fn was_fetched_without_headers(&self) -> bool {
        if rd::RD_KAFKA_VERSION != LAYOUT_OF {
            return false;
        }
        // SAFETY: in this version, which is linked in, every message that it hands out begins an `RdKafkaMsgLayout`. If it was fetched,
        // the last two fields are the bytes from its number of headers on, which live as long as it.
        unsafe {
            let whole = &*(&raw const *self.raw).cast::<RdKafkaMsgLayout>();
            whole.flags & RdKafkaMsgLayout::PRODUCED == 0 && whole.headers_size == 1 && *whole.headers == 0
        }
    }
}

/// The error of a message, read as a number: the broker may send a code that the binding's enum lacks.
fn code_of(raw: &rd::rd_kafka_message_t) -> Code {
    // SAFETY: the field is an int in C; it is not touched as the enum.
    Code(unsafe { (&raw const raw.err).cast::<c_int>().read() })
}

/// The headers of a message.
pub(crate) struct MessageHeaders<'a> {
    headers: Option<*mut rd::rd_kafka_headers_t>,
    next: usize,
    _message: Message<'a>,
}

impl<'a> Iterator for MessageHeaders<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let headers = self.headers?;
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the headers live as long as the message. On success the name is a NUL-terminated string, and the value is
        // null or `size` bytes.
        unsafe {
            let code = rd::rd_kafka_header_get_all(headers, self.next, &raw mut name, &raw mut value, &raw mut size);
            if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            self.next += 1;
            let until_nul = CStr::from_ptr(name).to_bytes();
            // The call doesn't return the name's length. A header is one block of name, NUL and value
            // (rdkafka_header.c), so the distance to the value shows whether the name contains a NUL.
            let length =
                if value.is_null() { name_length(name) } else { (value as usize).wrapping_sub(name as usize + 1) };
            let name =
                if length > until_nul.len() { bytes(name.cast(), length).unwrap_or(until_nul) } else { until_nul };
            Some(Header { name, value: bytes(value, size) })
        }
    }
}

/// The version whose memory layout [`RdKafkaMsgLayout`] and [`name_length`] describe: 2.12.1.
const LAYOUT_OF: i32 = 0x020c_01ff;

/// librdkafka's message struct, up to the headers of a fetched message (rdkafka_msg.h, `rd_kafka_msg_t`).
#[repr(C)]
struct RdKafkaMsgLayout {
    message: rd::rd_kafka_message_t,
    link: [*const c_void; 2],
    flags: c_int,
    timestamp_type: c_int,
    timestamp: i64,
    parsed_headers: *const c_void,
    status: c_int,
    broker: i32,
    /// The headers as they were sent: their number, in one byte if it is 0, then the headers. Null and 0 in formats
    /// without headers.
    headers_size: i32,
    headers: *const u8,
}

impl RdKafkaMsgLayout {
    /// The flag of a produced message, which has other data in place of the headers.
    const PRODUCED: c_int = 0x40000;
}

/// The length of a header's name if the value is null, which no call returns. 0 if the layout of this librdkafka isn't
/// known.
///
/// # Safety
/// `name` was returned by `rd_kafka_header_get_all` for such a header, and the header is alive.
unsafe fn name_length(name: *const c_char) -> usize {
    if rd::RD_KAFKA_VERSION != LAYOUT_OF {
        return 0;
    }
    let word = |back: usize| {
        // SAFETY: in this version, which is linked in, a header is a struct of four words (its whole size, the value's size, the
        // name's size, the value) with the name right behind them (rdkafka_header.h), so all of them are of one block.
        unsafe { name.cast::<usize>().sub(back).read_unaligned() }
    };
    let (value, name_size, value_size) = (word(1), word(2), word(3));
    if value == 0 && value_size == 0 { name_size } else { 0 }
}
