//! UNSAFE. The functions that librdkafka calls, except for that of `tokens.rs`, and the data that they keep for the client.
//!
//! JUSTIFICATION: librdkafka reports four things only to a callback: why OpenSSL refuses a certificate, a rebalance or
//! an error that [`Queue::take`](super::Queue::take) meets, and the moment at which a message is delivered.
//!
//! The callbacks decide nothing. [`keep_rebalance`] and [`keep_error`] run on the thread that calls `take`, the others
//! also on librdkafka's threads. Invariant: none of them keeps a pointer after it returns. A panic in one of them
//! aborts the process.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::collections::HashMap;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;

use rdkafka_sys as rd;

use super::client::CallbackData;
use super::errors::Code;
use super::messages::Sent;
use super::partitions::Entry;
use super::partitions::PartitionList;
use super::text::text;

/// Something other than a message that [`Queue::take`](super::Queue::take) met.
#[derive(Debug)]
pub(crate) enum CallbackEvent {
    /// A rebalance. The code says whether partitions are assigned or revoked; any other code is the reason why the
    /// group failed.
    Rebalance { code: Code, partitions: Vec<Entry> },
    /// An error of a topic, which is named in the text.
    Error { code: Code, text: String },
}

pub(super) type CallbackEvents = Mutex<VecDeque<CallbackEvent>>;

/// Called for each delivered message, when all in-sync replicas that the topic requires have it. It runs on the
/// client's own threads, for several brokers at the same time, and while the client is destroyed. A panic in it aborts
/// the process.
pub(crate) struct OnDelivered(pub(crate) Box<dyn Fn(Sent<'_>) + Send + Sync>);

/// The data of [`see_end`].
pub(super) struct Ends {
    pub(super) delivered: OnDelivered,
    /// The broker's error messages for the messages that it refused, by address. The address stays the same until
    /// [`Client::refusal`](super::Client::refusal) takes the text.
    pub(super) said: Mutex<HashMap<usize, String>>,
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ends")
    }
}

/// The name under which wasmill registers its interceptors.
pub(super) const HOOKS: &CStr = c"wasmill";

/// Puts OpenSSL's error number for a refused certificate into librdkafka's log line, whose text is the same for every
/// reason. The decision is unchanged: 1 for a certificate without an error, 0 for one with an error.
///
/// Runs on librdkafka's threads. It uses only its arguments, allocates nothing and can't panic.
pub(super) unsafe extern "C" fn refuse_certificate(
    _client: *mut rd::rd_kafka_t,
    _broker: *const c_char,
    _id: i32,
    x509_error: *mut c_int,
    _depth: c_int,
    _certificate: *const c_char,
    _bytes: usize,
    reason: *mut c_char,
    reason_bytes: usize,
    _opaque: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka passes a number that lives as long as the call.
    let error = unsafe { *x509_error };
    if error == 0 {
        return 1;
    }
    let digit =
        |unit: c_int| error.unsigned_abs().checked_div(unit.unsigned_abs()).unwrap_or(0).to_le_bytes()[0] % 10 + b'0';
    // `connection::X509`, three digits and a NUL.
    let text = [b'x', b'5', b'0', b'9', b' ', b'e', b'r', b'r', b'o', b'r', b' ', digit(100), digit(10), digit(1), 0];
    if text.len() <= reason_bytes {
        // SAFETY: the buffer has `reason_bytes` bytes, the text fits with its NUL, and they don't overlap.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast::<c_char>(), reason, text.len()) }
    }
    0
}

/// Keeps a rebalance that `take` met. Without this callback librdkafka would answer the rebalance itself and give up
/// all partitions.
///
/// Runs inside `take`, on its thread.
pub(super) unsafe extern "C" fn keep_rebalance(
    _client: *mut rd::rd_kafka_t,
    code: c_int,
    partitions: *mut rd::RDKafkaTopicPartitionList,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the client's data, which lives until the client is destroyed. The list is null or alive, and is
    // copied.
    let (pending, partitions) = unsafe {
        let list = if partitions.is_null() { PartitionList::new() } else { PartitionList::copy(partitions) };
        (&(*opaque.cast::<CallbackData>()).pending, list.entries())
    };
    pending
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push_back(CallbackEvent::Rebalance { code: Code(code), partitions });
}

/// Keeps an error about a topic. Without this callback `take` would make librdkafka log the error, and the worker would
/// not learn of it.
pub(super) unsafe extern "C" fn keep_error(
    _client: *mut rd::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the client's data, which lives until the client is destroyed. The string lives as long as the call.
    let (pending, text) = unsafe { (&(*opaque.cast::<CallbackData>()).pending, text(reason)) };
    pending.lock().unwrap_or_else(PoisonError::into_inner).push_back(CallbackEvent::Error { code: Code(code), text });
}

/// Registers [`see_end`] for the messages of a new client.
pub(super) unsafe extern "C" fn watch_ends(
    client: *mut rd::rd_kafka_t,
    _config: *const rd::rd_kafka_conf_t,
    ends: *mut c_void,
    _reason: *mut c_char,
    _reason_bytes: usize,
) -> rd::rd_kafka_resp_err_t {
    // SAFETY: librdkafka passes the client that it is making.
    unsafe { rd::rd_kafka_interceptor_add_on_acknowledgement(client, HOOKS.as_ptr(), Some(see_end), ends) }
}

/// Passes a delivered message to the client's [`OnDelivered`], and keeps the broker's error message for one that it
/// refused. librdkafka calls this for each message before it frees it, whether it was delivered, failed, or was refused
/// by the produce call. The error is final at this point (2.12.1: `rd_kafka_dr_msgq0`). The status is checked as well,
/// so that only a stored message counts.
unsafe extern "C" fn see_end(
    _client: *mut rd::rd_kafka_t,
    message: *mut rd::rd_kafka_message_t,
    ends: *mut c_void,
) -> rd::rd_kafka_resp_err_t {
    // SAFETY: `ends` is the client's, which lives until the client is destroyed; the message lives as long as the call. Its
    // status is one of librdkafka's own three.
    let (sent, ends, status) =
        unsafe { (Sent { raw: &*message }, &*ends.cast::<Ends>(), rd::rd_kafka_message_status(message)) };
    if sent.code() != Code::OK {
        // SAFETY: the message is alive and was produced. The string is null, static, or the broker's answer's, which lives until
        // librdkafka has called this for each message of the answer, and no longer.
        let said = unsafe { text(rd::rd_kafka_message_produce_errstr(message)) };
        if !said.is_empty() {
            ends.said.lock().unwrap_or_else(PoisonError::into_inner).insert(sent.address(), said);
        }
    } else if status == rd::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED {
        (ends.delivered.0)(sent);
    }
    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}
