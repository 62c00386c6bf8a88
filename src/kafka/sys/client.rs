//! UNSAFE. A client: its creation and destruction, its queues, and why its messages were not delivered.
//!
//! JUSTIFICATION: the binding's clients serve rebalances and delivery reports by callbacks, and producing through them
//! costs more CPU time.
//!
//! The calls of a consumer are in `assignment.rs`; requests to brokers are in `metadata.rs` and `admin.rs`. Invariant:
//! queues, events, messages and topics hold a share of their client, so the handle is destroyed last.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ptr;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use rdkafka_sys as rd;

use super::callbacks;
use super::callbacks::CallbackEvent;
use super::callbacks::CallbackEvents;
use super::callbacks::Ends;
use super::callbacks::OnDelivered;
use super::codes;
use super::errors::Code;
use super::errors::Error;
use super::messages::Sent;
use super::queue::Queue;
use super::text::text;
use super::tokens::OnTokenNeeded;
use super::tokens::TokenNeed;

/// Whether a client consumes or produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Consumer,
    Producer,
}

/// A client. All calls except the drop may be made from any thread: librdkafka's handles are thread-safe.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) handle: NonNull<rd::rd_kafka_t>,
    /// Boxed, because librdkafka holds its address.
    data: Box<CallbackData>,
    /// The data of the interceptors, boxed for the same reason.
    ends: Option<Box<Ends>>,
}

/// The data of a client's callbacks.
#[derive(Debug, Default)]
pub(super) struct CallbackData {
    /// What [`callbacks::keep_rebalance`] and [`callbacks::keep_error`] met.
    pub(super) pending: CallbackEvents,
    /// With OAUTHBEARER.
    pub(super) tokens: Option<TokenNeed>,
}

// SAFETY: rdkafka.h: "librdkafka is completely thread-safe"; the handle is destroyed once, by the last owner.
unsafe impl Send for Client {}

// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Creates a client that reports everything, log lines included, as events on its queue. With OAUTHBEARER, `tokens` is called
    /// for its tokens.
    pub(crate) fn new(
        side: Side,
        config: &BTreeMap<String, String>,
        tokens: Option<OnTokenNeeded>,
    ) -> Result<Arc<Client>, String> {
        Client::with(side, config, None, tokens)
    }

    /// Creates a producer that passes delivered messages to `delivered` and then frees them. Undelivered messages are
    /// reported on its queue.
    ///
    /// By the time of its acknowledgement, a message is no longer in a core's cache. `delivered` reads it right after
    /// librdkafka has read it; another thread would have to load it a second time.
    pub(crate) fn producer(
        config: &BTreeMap<String, String>,
        delivered: OnDelivered,
        tokens: Option<OnTokenNeeded>,
    ) -> Result<Arc<Client>, String> {
        let mut config = config.clone();
        config.insert("delivery.report.only.error".into(), "true".into());
        let ends = Ends { delivered, said: Mutex::default() };
        Client::with(Side::Producer, &config, Some(Box::new(ends)), tokens)
    }

    fn with(
        side: Side,
        config: &BTreeMap<String, String>,
        ends: Option<Box<Ends>>,
        tokens: Option<OnTokenNeeded>,
    ) -> Result<Arc<Client>, String> {
        // SAFETY: `conf` is ours until `rd_kafka_new` takes it over by succeeding; until then it is destroyed on
        // every way out. All strings outlive their calls, and `reason` is as long as is said.
        unsafe {
            let conf = rd::rd_kafka_conf_new();
            let mut reason = [0 as c_char; 512];
            let hooks = [("log.queue".to_owned(), "true".to_owned())];
            for (key, value) in hooks.iter().map(|(key, value)| (key, value)).chain(config) {
                let (Ok(c_key), Ok(c_value)) = (CString::new(key.as_str()), CString::new(value.as_str())) else {
                    rd::rd_kafka_conf_destroy(conf);
                    return Err(format!("`{key}` or its value holds a NUL byte"));
                };
                let result =
                    rd::rd_kafka_conf_set(conf, c_key.as_ptr(), c_value.as_ptr(), reason.as_mut_ptr(), reason.len());
                if result != rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    rd::rd_kafka_conf_destroy(conf);
                    return Err(text(reason.as_ptr()));
                }
            }
            // Without verification there is no refusal to explain, and this callback must not cause one.
            if config.get("enable.ssl.certificate.verification").is_none_or(|value| value == "true") {
                rd::rd_kafka_conf_set_ssl_cert_verify_cb(conf, Some(callbacks::refuse_certificate));
            }
            let tokens = tokens.map(TokenNeed::new);
            let data = Box::new(CallbackData { tokens, ..CallbackData::default() });
            rd::rd_kafka_conf_set_opaque(conf, (&raw const *data).cast_mut().cast());
            if let Some(need) = &data.tokens {
                need.hook(conf);
            }
            if side == Side::Consumer {
                codes::rd_kafka_conf_set_rebalance_cb(conf, Some(callbacks::keep_rebalance));
                codes::rd_kafka_conf_set_error_cb(conf, Some(callbacks::keep_error));
            }
            if let Some(ends) = &ends {
                let ends = (&raw const **ends).cast_mut().cast();
                let added = rd::rd_kafka_conf_interceptor_add_on_new(
                    conf,
                    callbacks::HOOKS.as_ptr(),
                    Some(callbacks::watch_ends),
                    ends,
                );
                // Without the interceptor no output would ever count as delivered.
                if added != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    rd::rd_kafka_conf_destroy(conf);
                    return Err("librdkafka refuses to show what is delivered".to_owned());
                }
            }
            let events = match side {
                Side::Consumer => rd::RD_KAFKA_EVENT_REBALANCE | rd::RD_KAFKA_EVENT_OFFSET_COMMIT,
                Side::Producer => rd::RD_KAFKA_EVENT_DR,
            };
            let events = events | rd::RD_KAFKA_EVENT_STATS | rd::RD_KAFKA_EVENT_ERROR | rd::RD_KAFKA_EVENT_LOG;
            rd::rd_kafka_conf_set_events(conf, events);
            let kind = match side {
                Side::Consumer => rd::rd_kafka_type_t::RD_KAFKA_CONSUMER,
                Side::Producer => rd::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            };
            let handle = rd::rd_kafka_new(kind, conf, reason.as_mut_ptr(), reason.len());
            let Some(handle) = NonNull::new(handle) else {
                rd::rd_kafka_conf_destroy(conf);
                return Err(text(reason.as_ptr()));
            };
            // A null queue stands for the main queue.
            rd::rd_kafka_set_log_queue(handle.as_ptr(), ptr::null_mut());
            let client = Arc::new(Client { handle, data, ends });
            if let Some(need) = &client.data.tokens {
                need.open(handle).map_err(|error| error.to_string())?;
            }
            Ok(client)
        }
    }

    /// The queue of this client's events, except for a consumer's records and rebalances.
    pub(crate) fn queue(self: &Arc<Client>) -> Queue {
        // SAFETY: the client is alive, and the queue holds a share of it.
        let pointer = unsafe { rd::rd_kafka_queue_get_main(self.handle.as_ptr()) };
        Queue::from_pointer(self, pointer)
    }

    /// The queue of a consumer's records, rebalances and partition errors. Reading it is what Kafka counts as polling.
    pub(crate) fn records(self: &Arc<Client>) -> Queue {
        // SAFETY: the client is alive, and the queue holds a share of it.
        let pointer = unsafe { rd::rd_kafka_queue_get_consumer(self.handle.as_ptr()) };
        Queue::from_pointer(self, pointer)
    }

    /// A new queue, for replies that must not mix with other events.
    pub(crate) fn new_queue(self: &Arc<Client>) -> Queue {
        // SAFETY: the client is alive, and the queue holds a share of it.
        let pointer = unsafe { rd::rd_kafka_queue_new(self.handle.as_ptr()) };
        Queue::from_pointer(self, pointer)
    }

    /// The oldest event other than messages that [`Queue::take`] met.
    pub(crate) fn next_callback_event(&self) -> Option<CallbackEvent> {
        self.data.pending.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Why a message was not delivered: the broker's error message if it sent one, otherwise that of the code.
    pub(crate) fn refusal(&self, sent: Sent<'_>) -> Error {
        let said = self
            .ends
            .as_ref()
            .and_then(|ends| ends.said.lock().unwrap_or_else(PoisonError::into_inner).remove(&sent.address()));
        let code =
            if said.as_deref() == Some(BATCH_HAD_INVALID_RECORDS) { INVALID_DIFFERENT_RECORD } else { sent.code() };
        Error { code, text: said.unwrap_or_else(|| code.to_string()) }
    }

    /// The error that made this client unusable, if any.
    pub(crate) fn fatal_error(&self) -> Option<Error> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: the client is alive and the buffer as long as is said.
        unsafe {
            let code = codes::rd_kafka_fatal_error(self.handle.as_ptr(), reason.as_mut_ptr(), reason.len());
            (code != 0).then(|| Error { code: Code(code), text: text(reason.as_ptr()) })
        }
    }

    /// Discards queued and in-flight messages. Each is reported as failed. Doesn't wait.
    pub(crate) fn purge(&self) {
        let flags = rd::RD_KAFKA_PURGE_F_QUEUE | rd::RD_KAFKA_PURGE_F_INFLIGHT | rd::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_purge(self.handle.as_ptr(), flags) };
    }

    /// The number of messages that were produced and not yet reported.
    pub(crate) fn unreported(&self) -> usize {
        // SAFETY: the client is alive.
        usize::try_from(unsafe { rd::rd_kafka_outq_len(self.handle.as_ptr()) }).unwrap_or(0)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(need) = &self.data.tokens {
            need.close();
        }
        // Without the flag, destroying a consumer that wasn't closed waits indefinitely for the group.
        // SAFETY: this is the last owner: queues, events and topics hold shares of the client.
        unsafe { rd::rd_kafka_destroy_flags(self.handle.as_ptr(), rd::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE as c_int) }
    }
}

/// librdkafka's message for a record whose request also held a record that the broker refused. If the broker refused
/// only one record, the others get its code (2.12.1: `rd_kafka_dr_msgq0` forces it on all of them), and only this text
/// distinguishes them.
const BATCH_HAD_INVALID_RECORDS: &str =
    "Failed to append record because it was part of a batch which had one more more invalid records";
/// `_INVALID_DIFFERENT_RECORD`
const INVALID_DIFFERENT_RECORD: Code = Code(-138);
