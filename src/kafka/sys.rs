//! UNSAFE. librdkafka's own calls behind safe types: clients, queues, events, messages, produce.
//!
//! JUSTIFICATION: through the safe binding a record with a header name that is not UTF-8 panics the process, an error code
//! that the binding doesn't know is undefined behaviour, producing costs 1.4 to 3 times as much, and rebalances arrive in
//! callbacks. Here everything that librdkafka says is an [`Event`] taken from a queue, a message of [`Queue::take`], or a message that was
//! delivered. There are five callbacks, and they decide nothing: [`refuse_certificate`] writes down a number that librdkafka tells
//! nowhere else, [`note_rebalance`] and [`note_error`] keep what [`Queue::take`] meets for whoever called it, and [`watch_ends`] has
//! [`see_end`] show what was delivered.
//!
//! Two things that no call tells are read from librdkafka's own memory, in the version [`LAYOUT_OF`] and no other: that a record has no
//! headers, and how long the name of a header is whose value is null.
//!
//! Long because everything unsafe about Kafka is here, and nowhere else.
//!
//! It decides nothing: codes are numbers here, and `classify.rs` says what they mean. Invariant: no function takes or
//! returns a raw pointer, and every borrowed value lives no longer than the event or the client that owns its memory.

#![expect(unsafe_code, reason = "this is the fenced FFI module; see JUSTIFICATION")]

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use rdkafka_sys as rd;

use super::note;
use crate::record::Header;
use crate::record::OutRecord;

/// The calls that hand back an error code of the broker's, declared to return the number it is. The binding declares a
/// Rust enum there, for which a code that it doesn't list is undefined behaviour.
mod codes {
    use std::ffi::c_char;
    use std::ffi::c_int;
    use std::ffi::c_void;

    use rdkafka_sys as rd;

    unsafe extern "C" {
        pub(super) fn rd_kafka_event_error(event: *mut rd::rd_kafka_event_t) -> c_int;
        pub(super) fn rd_kafka_error_code(error: *const rd::rd_kafka_error_t) -> c_int;
        pub(super) fn rd_kafka_conf_set_rebalance_cb(
            conf: *mut rd::rd_kafka_conf_t,
            callback: Option<
                unsafe extern "C" fn(*mut rd::rd_kafka_t, c_int, *mut rd::RDKafkaTopicPartitionList, *mut c_void),
            >,
        );
        pub(super) fn rd_kafka_conf_set_error_cb(
            conf: *mut rd::rd_kafka_conf_t,
            callback: Option<unsafe extern "C" fn(*mut rd::rd_kafka_t, c_int, *const c_char, *mut c_void)>,
        );
        pub(super) fn rd_kafka_err2name(code: c_int) -> *const c_char;
        pub(super) fn rd_kafka_err2str(code: c_int) -> *const c_char;
        pub(super) fn rd_kafka_fatal_error(client: *mut rd::rd_kafka_t, text: *mut c_char, size: usize) -> c_int;
        pub(super) fn rd_kafka_subscribe(
            client: *mut rd::rd_kafka_t,
            list: *const rd::RDKafkaTopicPartitionList,
        ) -> c_int;
        pub(super) fn rd_kafka_assign(client: *mut rd::rd_kafka_t, list: *const rd::RDKafkaTopicPartitionList)
        -> c_int;
        pub(super) fn rd_kafka_pause_partitions(
            client: *mut rd::rd_kafka_t,
            list: *mut rd::RDKafkaTopicPartitionList,
        ) -> c_int;
        pub(super) fn rd_kafka_resume_partitions(
            client: *mut rd::rd_kafka_t,
            list: *mut rd::RDKafkaTopicPartitionList,
        ) -> c_int;
        pub(super) fn rd_kafka_offsets_store(
            client: *mut rd::rd_kafka_t,
            list: *mut rd::RDKafkaTopicPartitionList,
        ) -> c_int;
        pub(super) fn rd_kafka_position(client: *mut rd::rd_kafka_t, list: *mut rd::RDKafkaTopicPartitionList)
        -> c_int;
        pub(super) fn rd_kafka_committed(
            client: *mut rd::rd_kafka_t,
            list: *mut rd::RDKafkaTopicPartitionList,
            timeout_ms: c_int,
        ) -> c_int;
        pub(super) fn rd_kafka_commit_queue(
            client: *mut rd::rd_kafka_t,
            offsets: *const rd::RDKafkaTopicPartitionList,
            queue: *mut rd::rd_kafka_queue_t,
            callback: *const c_void,
            opaque: *mut c_void,
        ) -> c_int;
        pub(super) fn rd_kafka_ConfigResource_error(resource: *const rd::rd_kafka_ConfigResource_t) -> c_int;
        pub(super) fn rd_kafka_metadata(
            client: *mut rd::rd_kafka_t,
            all_topics: c_int,
            only: *mut rd::rd_kafka_topic_t,
            metadata: *mut *const rd::rd_kafka_metadata_t,
            timeout_ms: c_int,
        ) -> c_int;
    }
}

/// An error code of Kafka's (above 0) or of librdkafka's own (below). Any number can come from a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Code(pub(crate) i32);

impl Code {
    pub(crate) const OK: Code = Code(0);

    /// `UNKNOWN_TOPIC_OR_PART`, or `ERR_2000?` for a number that librdkafka doesn't know.
    pub(crate) fn name(self) -> String {
        // SAFETY: the function accepts any number and returns a static or thread-local string.
        unsafe { text(codes::rd_kafka_err2name(self.0)) }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: as in `name`.
        f.write_str(&unsafe { text(codes::rd_kafka_err2str(self.0)) })
    }
}

/// A refusal by librdkafka, with its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) code: Code,
    pub(crate) text: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.code.name())
    }
}

impl Error {
    fn check(code: c_int) -> Result<(), Error> {
        if code == 0 { Ok(()) } else { Err(Error { code: Code(code), text: Code(code).to_string() }) }
    }

    /// Takes over an error object; null is success.
    fn take(error: *mut rd::rd_kafka_error_t) -> Result<(), Error> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: a non-null error object is ours, valid until destroyed here, once.
        unsafe {
            let code = Code(codes::rd_kafka_error_code(error));
            let text = text(rd::rd_kafka_error_string(error));
            rd::rd_kafka_error_destroy(error);
            Err(Error { code, text })
        }
    }
}

/// # Safety
/// `pointer` is null or a NUL-terminated string that lives during the call.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// # Safety
/// `pointer` is null, or `length` bytes there live as long as the result.
unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) })
}

/// Whether a client reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Consumer,
    Producer,
}

/// A client. Every call but dropping it may be made from any thread: librdkafka's handles are thread-safe.
#[derive(Debug)]
pub(crate) struct Client {
    handle: NonNull<rd::rd_kafka_t>,
    /// What [`note_rebalance`] and [`note_error`] were given. Boxed, as librdkafka has its address.
    notes: Box<Notes>,
    /// What [`see_end`] was given, boxed for the same reason.
    ends: Option<Box<Ends>>,
}

type Notes = Mutex<VecDeque<Note>>;

/// Sees a message that was delivered: every in-sync replica that the topic asks for has it. It is called on the client's own threads,
/// of several brokers at the same time, and while the client is destroyed. To panic there ends the process.
pub(crate) struct OnDelivered(pub(crate) Box<dyn Fn(Sent<'_>) + Send + Sync>);

/// What [`see_end`] works with.
struct Ends {
    delivered: OnDelivered,
    /// What the broker said of messages that it refused, by their addresses, which stay the same until [`Client::refusal`] takes it.
    said: Mutex<HashMap<usize, String>>,
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ends")
    }
}

/// librdkafka's words for a record that shared a request with one that the broker refused. If it refused one only, the others have
/// that one's code (2.12.1: `rd_kafka_dr_msgq0` forces it on all of them), and these words alone tell them apart.
const BESIDE: &str = "Failed to append record because it was part of a batch which had one more more invalid records";
/// `_INVALID_DIFFERENT_RECORD`
const BESIDE_CODE: Code = Code(-138);

/// What [`Queue::take`] met that is no message.
#[derive(Debug)]
pub(crate) enum Note {
    /// What the group wants of this member: the code says whether partitions are assigned or revoked; anything else is why the
    /// group ended.
    Rebalance { code: Code, partitions: Vec<Entry> },
    /// What is wrong with a topic, in words that name it.
    Error { code: Code, text: String },
}

// SAFETY: rdkafka.h: "librdkafka is completely thread-safe"; the handle is destroyed once, by the last owner.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

/// Puts OpenSSL's number for a refused certificate into librdkafka's log line, whose own words are the same for all of them,
/// and leaves the decision as it was: 1 for a certificate without an error, 0 for one with.
///
/// Runs on librdkafka's threads. It touches its arguments alone, allocates nothing and can't panic.
unsafe extern "C" fn refuse_certificate(
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
    // `connection::X509`, three digits and the NUL.
    let text = [b'x', b'5', b'0', b'9', b' ', b'e', b'r', b'r', b'o', b'r', b' ', digit(100), digit(10), digit(1), 0];
    if text.len() <= reason_bytes {
        // SAFETY: the buffer has `reason_bytes` bytes, the text fits with its NUL, and they don't overlap.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast::<c_char>(), reason, text.len()) }
    }
    0
}

/// Keeps a rebalance that [`Queue::take`] met. Without such a function librdkafka would answer it itself, and give all partitions
/// back.
///
/// It runs in that call, on its thread.
unsafe extern "C" fn note_rebalance(
    _client: *mut rd::rd_kafka_t,
    code: c_int,
    partitions: *mut rd::RDKafkaTopicPartitionList,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the client's `notes`, which lives until the client is destroyed. The list is null or alive, and is
    // copied.
    let (notes, partitions) = unsafe {
        let list = if partitions.is_null() { PartitionList::new() } else { PartitionList::copy(partitions) };
        (&*opaque.cast::<Notes>(), list.entries())
    };
    notes.lock().unwrap_or_else(PoisonError::into_inner).push_back(Note::Rebalance { code: Code(code), partitions });
}

/// Keeps an error that is about a topic. Without such a function [`Queue::take`] would have librdkafka write it to its log, and nobody
/// would act.
unsafe extern "C" fn note_error(_client: *mut rd::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: `opaque` is the client's `notes`, which lives until the client is destroyed. The string lives as long as the call.
    let (notes, text) = unsafe { (&*opaque.cast::<Notes>(), text(reason)) };
    notes.lock().unwrap_or_else(PoisonError::into_inner).push_back(Note::Error { code: Code(code), text });
}

/// The name of our hooks in librdkafka.
const HOOKS: &CStr = c"wasmill";

/// Has [`see_end`] called for the messages of a new client.
unsafe extern "C" fn watch_ends(
    client: *mut rd::rd_kafka_t,
    _config: *const rd::rd_kafka_conf_t,
    ends: *mut c_void,
    _reason: *mut c_char,
    _reason_bytes: usize,
) -> rd::rd_kafka_resp_err_t {
    // SAFETY: librdkafka passes the client that it is making.
    unsafe { rd::rd_kafka_interceptor_add_on_acknowledgement(client, HOOKS.as_ptr(), Some(see_end), ends) }
}

/// Shows a message that was delivered to the client's [`OnDelivered`], and keeps what the broker said of one that it refused. librdkafka
/// calls this for each message that it lets go of, be it delivered, given up, or refused by the call that produces. Its error is final by
/// then (2.12.1: `rd_kafka_dr_msgq0`); that it was stored is also asked for.
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

impl Client {
    /// Makes a client whose every report, its log included, arrives as an event on its queue.
    pub(crate) fn new(side: Side, config: &BTreeMap<String, String>) -> Result<Arc<Client>, String> {
        Client::with(side, config, None)
    }

    /// Makes a producer that shows delivered messages to `delivered`, and then lets go of them. What isn't delivered is reported on its
    /// queue as ever.
    ///
    /// A message that was sent is no longer in a core's cache when its acknowledgement comes. This reads it where librdkafka has
    /// just read it, instead of once more on another thread: 2.6 % of all CPU time of a drain.
    pub(crate) fn producer(config: &BTreeMap<String, String>, delivered: OnDelivered) -> Result<Arc<Client>, String> {
        let mut config = config.clone();
        config.insert("delivery.report.only.error".into(), "true".into());
        let ends = Ends { delivered, said: Mutex::default() };
        Client::with(Side::Producer, &config, Some(Box::new(ends)))
    }

    fn with(side: Side, config: &BTreeMap<String, String>, ends: Option<Box<Ends>>) -> Result<Arc<Client>, String> {
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
            // Without verification there is nothing to explain, and a refusal must not come from us.
            if config.get("enable.ssl.certificate.verification").is_none_or(|value| value == "true") {
                rd::rd_kafka_conf_set_ssl_cert_verify_cb(conf, Some(refuse_certificate));
            }
            let notes = Box::<Notes>::default();
            if side == Side::Consumer {
                rd::rd_kafka_conf_set_opaque(conf, (&raw const *notes).cast_mut().cast());
                codes::rd_kafka_conf_set_rebalance_cb(conf, Some(note_rebalance));
                codes::rd_kafka_conf_set_error_cb(conf, Some(note_error));
            }
            if let Some(ends) = &ends {
                let ends = (&raw const **ends).cast_mut().cast();
                let added = rd::rd_kafka_conf_interceptor_add_on_new(conf, HOOKS.as_ptr(), Some(watch_ends), ends);
                // Without it no output would ever count as delivered.
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
            // A null queue is the main queue.
            rd::rd_kafka_set_log_queue(handle.as_ptr(), std::ptr::null_mut());
            Ok(Arc::new(Client { handle, notes, ends }))
        }
    }

    /// The queue where this client's events arrive; a consumer's records and rebalances don't.
    pub(crate) fn queue(self: &Arc<Client>) -> Queue {
        // SAFETY: the client is alive, and the queue holds a share of it.
        let pointer = unsafe { rd::rd_kafka_queue_get_main(self.handle.as_ptr()) };
        Queue::from_pointer(self, pointer)
    }

    /// The queue where a consumer's records, its rebalances, and what is wrong with a partition arrive. To read it is what counts as
    /// polling.
    pub(crate) fn records(self: &Arc<Client>) -> Queue {
        // SAFETY: the client is alive, and the queue holds a share of it.
        let pointer = unsafe { rd::rd_kafka_queue_get_consumer(self.handle.as_ptr()) };
        Queue::from_pointer(self, pointer)
    }

    /// The oldest of what [`Queue::take`] met besides messages.
    pub(crate) fn next_note(&self) -> Option<Note> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Why a message was not delivered: in the broker's words if it gave any, else in those of the code.
    pub(crate) fn refusal(&self, sent: Sent<'_>) -> Error {
        let said = self
            .ends
            .as_ref()
            .and_then(|ends| ends.said.lock().unwrap_or_else(PoisonError::into_inner).remove(&sent.address()));
        let code = if said.as_deref() == Some(BESIDE) { BESIDE_CODE } else { sent.code() };
        Error { code, text: said.unwrap_or_else(|| code.to_string()) }
    }

    /// A queue of our own, for replies that must not mix with other events.
    pub(crate) fn new_queue(self: &Arc<Client>) -> Queue {
        // SAFETY: the client is alive, and the queue holds a share of it.
        let pointer = unsafe { rd::rd_kafka_queue_new(self.handle.as_ptr()) };
        Queue::from_pointer(self, pointer)
    }

    /// Joins the group for these topics and patterns.
    pub(crate) fn subscribe(&self, topics: &[String]) -> Result<(), Error> {
        let mut list = PartitionList::new();
        for topic in topics {
            list.add(topic, -1, 0, -1);
        }
        // SAFETY: both are alive; the list is copied.
        Error::check(unsafe { codes::rd_kafka_subscribe(self.handle.as_ptr(), list.pointer()) })
    }

    /// Whether the group's protocol hands over partitions one by one.
    pub(crate) fn is_cooperative(&self) -> bool {
        // SAFETY: the client is alive; the string is static, and null for a client without a group.
        unsafe { text(rd::rd_kafka_rebalance_protocol(self.handle.as_ptr())) == "COOPERATIVE" }
    }

    /// Takes partitions in addition to those it has.
    pub(crate) fn incremental_assign(&self, list: &PartitionList) -> Result<(), Error> {
        // SAFETY: both are alive; the list is copied.
        Error::take(unsafe { rd::rd_kafka_incremental_assign(self.handle.as_ptr(), list.pointer()) })
    }

    /// Gives partitions back.
    pub(crate) fn incremental_unassign(&self, list: &PartitionList) -> Result<(), Error> {
        // SAFETY: both are alive; the list is copied.
        Error::take(unsafe { rd::rd_kafka_incremental_unassign(self.handle.as_ptr(), list.pointer()) })
    }

    /// Takes exactly these partitions; `None` gives all of them back.
    pub(crate) fn assign(&self, list: Option<&PartitionList>) -> Result<(), Error> {
        let list = list.map_or(std::ptr::null_mut(), PartitionList::pointer);
        // SAFETY: the client is alive; the list is null or alive, and is copied.
        Error::check(unsafe { codes::rd_kafka_assign(self.handle.as_ptr(), list) })
    }

    /// Whether the group has given the partitions to others already.
    pub(crate) fn assignment_lost(&self) -> bool {
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_assignment_lost(self.handle.as_ptr()) != 0 }
    }

    /// Stops fetching; what was fetched and not yet read is thrown away and fetched again later. Errors are in the list.
    pub(crate) fn pause(&self, list: &mut PartitionList) {
        // SAFETY: both are alive.
        unsafe { codes::rd_kafka_pause_partitions(self.handle.as_ptr(), list.pointer()) };
    }

    /// Ends a pause. Errors are in the list.
    pub(crate) fn resume(&self, list: &mut PartitionList) {
        // SAFETY: both are alive.
        unsafe { codes::rd_kafka_resume_partitions(self.handle.as_ptr(), list.pointer()) };
    }

    /// Moves the position of assigned partitions. Errors are in the list. Waits for `timeout_ms` at most; with 0 the seek is
    /// under way when it returns.
    pub(crate) fn seek(&self, list: &mut PartitionList, timeout_ms: i32) -> Result<(), Error> {
        // SAFETY: both are alive.
        Error::take(unsafe { rd::rd_kafka_seek_partitions(self.handle.as_ptr(), list.pointer(), timeout_ms) })
    }

    /// Marks offsets to be committed by [`Client::commit_stored`]. Errors are in the list.
    pub(crate) fn store_offsets(&self, list: &mut PartitionList) {
        // SAFETY: both are alive.
        unsafe { codes::rd_kafka_offsets_store(self.handle.as_ptr(), list.pointer()) };
    }

    /// Commits all stored offsets; the result arrives on `reply` as [`EventKind::OffsetCommit`].
    pub(crate) fn commit_stored(&self, reply: &Queue) -> Result<(), Error> {
        self.commit(None, reply)
    }

    /// Commits the offsets of the list; otherwise as [`Client::commit_stored`].
    pub(crate) fn commit_list(&self, list: &PartitionList, reply: &Queue) -> Result<(), Error> {
        self.commit(Some(list), reply)
    }

    fn commit(&self, list: Option<&PartitionList>, reply: &Queue) -> Result<(), Error> {
        let list = list.map_or(std::ptr::null_mut(), PartitionList::pointer);
        // SAFETY: all are alive; the list is copied. A null list means "what is stored", a null callback means "as an event".
        Error::check(unsafe {
            codes::rd_kafka_commit_queue(
                self.handle.as_ptr(),
                list,
                reply.pointer.as_ptr(),
                std::ptr::null(),
                std::ptr::null_mut(),
            )
        })
    }

    /// Fills in where the application stands in each partition: behind the last record and any control marker it passed.
    pub(crate) fn position(&self, list: &mut PartitionList) -> Result<(), Error> {
        // SAFETY: both are alive.
        Error::check(unsafe { codes::rd_kafka_position(self.handle.as_ptr(), list.pointer()) })
    }

    /// Fills in the group's committed offsets. Blocks.
    pub(crate) fn committed(&self, list: &mut PartitionList, timeout_ms: i32) -> Result<(), Error> {
        // SAFETY: both are alive.
        Error::check(unsafe { codes::rd_kafka_committed(self.handle.as_ptr(), list.pointer(), timeout_ms) })
    }

    /// Offsets of partitions. The offset of each in the list says which: [`OLDEST`], [`END`], or a time, for the first record that is
    /// not older. One request to each leader, and each partition is answered for itself: an offset below 0 is none. Blocks.
    pub(crate) fn list_offsets(self: &Arc<Client>, list: &PartitionList, timeout_ms: i32) -> Result<Vec<Entry>, Error> {
        let reply = self.new_queue();
        let options = AdminOptions::new(self, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout_ms)?;
        // SAFETY: client, list, options and queue are alive; list and options are copied.
        unsafe {
            let (client, queue) = (self.handle.as_ptr(), reply.pointer.as_ptr());
            rd::rd_kafka_ListOffsets(client, list.pointer(), options.pointer.as_ptr(), queue);
        }
        let event = admin_reply(&reply, timeout_ms)?;
        // SAFETY: the event is alive and owns the result, which is null if it is another one's, and the partitions in it. The list
        // has as many elements as it says.
        unsafe {
            let result = rd::rd_kafka_event_ListOffsets_result(event.pointer.as_ptr());
            if result.is_null() {
                return Err(unexpected());
            }
            let mut count = 0;
            let all = rd::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            Ok((0..count)
                .map(|index| Entry::copy(rd::rd_kafka_ListOffsetsResultInfo_topic_partition(*all.add(index))))
                .collect())
        }
    }

    /// The brokers that lead the partitions of a topic, -1 for a partition without a leader. Blocks. The code is the topic's own
    /// error, such as that it doesn't exist.
    pub(crate) fn leaders(self: &Arc<Client>, topic: &str, timeout_ms: i32) -> Result<Vec<i32>, Error> {
        let topic = Topic::new(self, topic, &BTreeMap::new()).map_err(|text| Error { code: Code(-186), text })?;
        let mut metadata = std::ptr::null();
        // SAFETY: client and topic are alive; on success the metadata is ours and is destroyed below, once. It holds `topic_cnt`
        // topics with `partition_cnt` partitions each.
        unsafe {
            Error::check(codes::rd_kafka_metadata(
                self.handle.as_ptr(),
                0,
                topic.pointer.as_ptr(),
                &raw mut metadata,
                timeout_ms,
            ))?;
            let found = &*metadata;
            let result = if found.topic_cnt == 1 {
                let topic = found.topics;
                // Read as a number: the broker may send a code that the binding's enum lacks.
                let code = (&raw const (*topic).err).cast::<c_int>().read();
                let count = usize::try_from((*topic).partition_cnt).unwrap_or(0);
                Error::check(code).map(|()| (0..count).map(|index| (*(*topic).partitions.add(index)).leader).collect())
            } else {
                Error::check(-1).map(|()| Vec::new())
            };
            rd::rd_kafka_metadata_destroy(metadata);
            result
        }
    }

    /// The topics that this client may know of, with their numbers of partitions; with `all` false, none, but a broker has answered.
    /// Blocks.
    pub(crate) fn topics(&self, all: bool, timeout_ms: i32) -> Result<Vec<(String, usize)>, Error> {
        let mut metadata = std::ptr::null();
        // SAFETY: the client is alive; a null topic means "all" or "those that are used here"; on success the metadata is ours
        // and is destroyed below, once. It holds `topic_cnt` topics with NUL-terminated names.
        unsafe {
            Error::check(codes::rd_kafka_metadata(
                self.handle.as_ptr(),
                c_int::from(all),
                std::ptr::null_mut(),
                &raw mut metadata,
                timeout_ms,
            ))?;
            let found = &*metadata;
            let count = usize::try_from(found.topic_cnt).unwrap_or(0);
            let topics = (0..count).map(|index| found.topics.add(index));
            let topics = topics
                .map(|topic| (text((*topic).topic), usize::try_from((*topic).partition_cnt).unwrap_or(0)))
                .collect();
            rd::rd_kafka_metadata_destroy(metadata);
            Ok(topics)
        }
    }

    /// What the brokers say of these topics, and what this client may do with them. Blocks.
    pub(crate) fn describe_topics(
        self: &Arc<Client>,
        names: &[&str],
        timeout_ms: i32,
    ) -> Result<Vec<Described>, Error> {
        let reply = self.new_queue();
        let names: Vec<CString> = names.iter().map(|name| c_topic(name)).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let options = AdminOptions::new(self, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout_ms)?
            .with_operations()?;
        // SAFETY: client, options and queue are alive. The collection is a copy of the names, ours, and destroyed once the
        // request, which copies it again, is under way.
        unsafe {
            let topics = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            rd::rd_kafka_DescribeTopics(self.handle.as_ptr(), topics, options.pointer.as_ptr(), reply.pointer.as_ptr());
            rd::rd_kafka_TopicCollection_destroy(topics);
        }
        let event = admin_reply(&reply, timeout_ms)?;
        // SAFETY: the event is alive and owns the result, which is null if it is another one's, and everything in it. Lists
        // have as many elements as they say.
        unsafe {
            let result = rd::rd_kafka_event_DescribeTopics_result(event.pointer.as_ptr());
            if result.is_null() {
                return Err(unexpected());
            }
            let mut count = 0;
            let all = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            let describe = |index: usize| {
                let topic = *all.add(index);
                let (mut partitions, mut operations) = (0, 0);
                let infos = rd::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
                let leader = |index: usize| {
                    let info = *infos.add(index);
                    let leader = rd::rd_kafka_TopicPartitionInfo_leader(info);
                    let node = if leader.is_null() { -1 } else { rd::rd_kafka_Node_id(leader) };
                    (rd::rd_kafka_TopicPartitionInfo_partition(info), node)
                };
                let list = rd::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut operations);
                Described {
                    name: text(rd::rd_kafka_TopicDescription_name(topic)),
                    error: borrowed_error(rd::rd_kafka_TopicDescription_error(topic)),
                    id: topic_id(rd::rd_kafka_TopicDescription_topic_id(topic)),
                    leaders: (0..partitions).map(leader).collect(),
                    protocol: None,
                    operations: operations_of(list, operations),
                }
            };
            Ok((0..count).map(describe).collect())
        }
    }

    /// What the brokers say of a consumer group, and what this client may do with it. Blocks.
    pub(crate) fn describe_group(self: &Arc<Client>, group: &str, timeout_ms: i32) -> Result<Described, Error> {
        let reply = self.new_queue();
        let name = CString::new(group).unwrap_or_default();
        let mut names = [name.as_ptr()];
        let kind = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
        let options = AdminOptions::new(self, kind, timeout_ms)?.with_operations()?;
        // SAFETY: client, options and queue are alive; the one name is copied.
        unsafe {
            let (client, queue) = (self.handle.as_ptr(), reply.pointer.as_ptr());
            rd::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), 1, options.pointer.as_ptr(), queue);
        }
        let event = admin_reply(&reply, timeout_ms)?;
        // SAFETY: as in `describe_topics`.
        unsafe {
            let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event.pointer.as_ptr());
            if result.is_null() {
                return Err(unexpected());
            }
            let mut count = 0;
            let all = rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
            if count != 1 {
                return Err(unexpected());
            }
            let mut operations = 0;
            let list = rd::rd_kafka_ConsumerGroupDescription_authorized_operations(*all, &raw mut operations);
            Ok(Described {
                name: group.to_owned(),
                error: borrowed_error(rd::rd_kafka_ConsumerGroupDescription_error(*all)),
                id: None,
                leaders: Vec::new(),
                protocol: Some(text(rd::rd_kafka_ConsumerGroupDescription_partition_assignor(*all)))
                    .filter(|protocol| !protocol.is_empty()),
                operations: operations_of(list, operations),
            })
        }
    }

    /// A setting of a topic. Blocks. `None` if the broker doesn't tell it.
    pub(crate) fn topic_setting(
        self: &Arc<Client>,
        topic: &str,
        name: &str,
        timeout_ms: i32,
    ) -> Result<Option<String>, Error> {
        let found = self.settings(rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, topic, &[name], timeout_ms)?;
        Ok(found.into_iter().next().flatten())
    }

    /// Settings of a broker. Blocks. `None` for what it doesn't tell.
    pub(crate) fn broker_settings(
        self: &Arc<Client>,
        names: &[&str],
        timeout_ms: i32,
    ) -> Result<Vec<Option<String>>, Error> {
        let broker = self.a_broker(timeout_ms)?.to_string();
        self.settings(rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER, &broker, names, timeout_ms)
    }

    /// The number of a broker that answers. Blocks.
    fn a_broker(&self, timeout_ms: i32) -> Result<i32, Error> {
        let mut metadata = std::ptr::null();
        // SAFETY: the client is alive; a null topic means those that are used here; on success the metadata is ours and is destroyed
        // below, once.
        unsafe {
            let (client, topic) = (self.handle.as_ptr(), std::ptr::null_mut());
            Error::check(codes::rd_kafka_metadata(client, 0, topic, &raw mut metadata, timeout_ms))?;
            let broker = (*metadata).orig_broker_id;
            rd::rd_kafka_metadata_destroy(metadata);
            Ok(broker)
        }
    }

    /// Settings of a topic or a broker. Blocks. `None` for what it doesn't tell.
    fn settings(
        self: &Arc<Client>,
        kind: rd::rd_kafka_ResourceType_t,
        topic: &str,
        names: &[&str],
        timeout_ms: i32,
    ) -> Result<Vec<Option<String>>, Error> {
        let reply = self.new_queue();
        let topic = c_topic(topic);
        // SAFETY: client and queue are alive. Resource and options are ours: they are copied by the request and destroyed here, once.
        unsafe {
            let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
            let options = rd::rd_kafka_AdminOptions_new(self.handle.as_ptr(), operation);
            let mut reason = [0 as c_char; 128];
            rd::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, reason.as_mut_ptr(), reason.len());
            let mut resource = rd::rd_kafka_ConfigResource_new(kind, topic.as_ptr());
            if resource.is_null() {
                // A name without a character, which the request would not look for.
                rd::rd_kafka_AdminOptions_destroy(options);
                return Err(unexpected());
            }
            let queue = reply.pointer.as_ptr();
            rd::rd_kafka_DescribeConfigs(self.handle.as_ptr(), &raw mut resource, 1, options, queue);
            rd::rd_kafka_ConfigResource_destroy(resource);
            rd::rd_kafka_AdminOptions_destroy(options);
        }
        // librdkafka ends the request in time; a little more than that, so that its own words are heard.
        let Some(event) = reply.poll(timeout_ms + 500) else {
            return Err(Error { code: Code(-185), text: "timed out".into() });
        };
        let code = event.code();
        if code != Code::OK {
            return Err(Error { code, text: event.error_text() });
        }
        // SAFETY: the event is alive and owns the result with all its resources, entries and strings. The counts are librdkafka's.
        unsafe {
            let result = rd::rd_kafka_event_DescribeConfigs_result(event.pointer.as_ptr());
            if result.is_null() {
                return Ok(Vec::new());
            }
            let mut resources = 0;
            let first = rd::rd_kafka_DescribeConfigs_result_resources(result, &raw mut resources);
            if resources == 0 || first.is_null() {
                return Ok(Vec::new());
            }
            let code = codes::rd_kafka_ConfigResource_error(*first);
            if code != 0 {
                return Err(Error { code: Code(code), text: text(rd::rd_kafka_ConfigResource_error_string(*first)) });
            }
            let mut count = 0;
            let entries = rd::rd_kafka_ConfigResource_configs(*first, &raw mut count);
            let value = |name: &&str| {
                let mut all = (0..count).map(|index| *entries.add(index));
                let found = all.find(|&entry| text(rd::rd_kafka_ConfigEntry_name(entry)) == *name)?;
                Some(text(rd::rd_kafka_ConfigEntry_value(found)))
            };
            Ok(names.iter().map(value).collect())
        }
    }

    /// The error after which this client can't be used, if there was one.
    pub(crate) fn fatal_error(&self) -> Option<Error> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: the client is alive and the buffer as long as is said.
        unsafe {
            let code = codes::rd_kafka_fatal_error(self.handle.as_ptr(), reason.as_mut_ptr(), reason.len());
            (code != 0).then(|| Error { code: Code(code), text: text(reason.as_ptr()) })
        }
    }

    /// Begins to leave the group; events go on arriving on `queue` until [`Client::is_closed`].
    pub(crate) fn close(&self, queue: &Queue) -> Result<(), Error> {
        // SAFETY: both are alive.
        Error::take(unsafe { rd::rd_kafka_consumer_close_queue(self.handle.as_ptr(), queue.pointer.as_ptr()) })
    }

    /// Whether the group was left.
    pub(crate) fn is_closed(&self) -> bool {
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_consumer_closed(self.handle.as_ptr()) != 0 }
    }

    /// Throws away what is queued and in flight; each message is reported as failed. It doesn't wait until that is done.
    pub(crate) fn purge(&self) {
        let flags = rd::RD_KAFKA_PURGE_F_QUEUE | rd::RD_KAFKA_PURGE_F_INFLIGHT | rd::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_purge(self.handle.as_ptr(), flags) };
    }

    /// Messages that were produced and not yet reported.
    pub(crate) fn unreported(&self) -> usize {
        // SAFETY: the client is alive.
        usize::try_from(unsafe { rd::rd_kafka_outq_len(self.handle.as_ptr()) }).unwrap_or(0)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Without the flag, destroying a consumer that wasn't closed waits for the group without bound.
        // SAFETY: this is the last owner: queues, events and topics hold shares of the client.
        unsafe { rd::rd_kafka_destroy_flags(self.handle.as_ptr(), rd::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE as c_int) }
    }
}

/// A topic or a group, as the brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) error: Option<Error>,
    /// A topic's id, if the brokers tell it.
    pub(crate) id: Option<note::TopicId>,
    /// The partitions of a topic, and the brokers that lead them: below 0 is none.
    pub(crate) leaders: Vec<(i32, i32)>,
    /// What a group's members use to share partitions among them, if it has members.
    pub(crate) protocol: Option<String>,
    /// Kafka's numbers of what this client may do; `None` if the brokers don't say.
    pub(crate) operations: Option<Vec<i32>>,
}

/// What [`Client::list_offsets`] takes for the oldest record's offset.
pub(crate) const OLDEST: i64 = -2;
/// What [`Client::list_offsets`] takes for the end of the log, open transactions included.
pub(crate) const END: i64 = -1;

/// The options of one administrative request: its time limit, and whether it asks for what is permitted.
struct AdminOptions {
    pointer: NonNull<rd::rd_kafka_AdminOptions_t>,
}

impl AdminOptions {
    fn new(client: &Client, kind: rd::rd_kafka_admin_op_t, timeout_ms: i32) -> Result<AdminOptions, Error> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: the client is alive, and the options are ours until they are dropped. The first setter's code is one of
        // librdkafka's own two for its arguments; the time limit is one that it accepts, so it isn't read.
        unsafe {
            let pointer = rd::rd_kafka_AdminOptions_new(client.handle.as_ptr(), kind);
            let options = AdminOptions { pointer: NonNull::new(pointer).ok_or_else(unexpected)? };
            let _ = rd::rd_kafka_AdminOptions_set_request_timeout(
                pointer,
                timeout_ms.clamp(100, 60_000),
                reason.as_mut_ptr(),
                reason.len(),
            );
            Ok(options)
        }
    }

    /// Asks for what this client may do, too.
    fn with_operations(self) -> Result<AdminOptions, Error> {
        // SAFETY: the options are alive.
        let set = unsafe { rd::rd_kafka_AdminOptions_set_include_authorized_operations(self.pointer.as_ptr(), 1) };
        Error::take(set).map(|()| self)
    }
}

impl Drop for AdminOptions {
    fn drop(&mut self) {
        // SAFETY: the pointer is ours and dropped once.
        unsafe { rd::rd_kafka_AdminOptions_destroy(self.pointer.as_ptr()) }
    }
}

/// The answer to an administrative request, which arrives a moment after its time limit at the latest.
fn admin_reply(reply: &Queue, timeout_ms: i32) -> Result<Event, Error> {
    let event = reply
        .poll(timeout_ms.saturating_add(500))
        .ok_or_else(|| Error { code: Code(-185), text: Code(-185).to_string() })?;
    match event.code() {
        Code::OK => Ok(event),
        code => Err(Error { code, text: event.error_text() }),
    }
}

/// librdkafka answers what it was asked; this is what is said if it doesn't.
fn unexpected() -> Error {
    Error { code: Code(-1), text: "librdkafka gave no answer of the kind that was asked for".to_owned() }
}

/// # Safety
/// `error` is null or alive.
unsafe fn borrowed_error(error: *const rd::rd_kafka_error_t) -> Option<Error> {
    if error.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; the string lives as long as the error.
    unsafe {
        let code = Code(codes::rd_kafka_error_code(error));
        (code != Code::OK).then(|| Error { code, text: text(rd::rd_kafka_error_string(error)) })
    }
}

/// # Safety
/// `id` is null or alive.
unsafe fn topic_id(id: *const rd::rd_kafka_Uuid_t) -> Option<note::TopicId> {
    if id.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let halves = unsafe { [rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id)] };
    let [high, low] = halves.map(|half| u128::from(half.cast_unsigned()));
    note::TopicId::new(high << 64 | low)
}

/// # Safety
/// `list` is null or has `count` elements.
unsafe fn operations_of(list: *const rd::rd_kafka_AclOperation_t, count: usize) -> Option<Vec<i32>> {
    if list.is_null() {
        return None;
    }
    // SAFETY: the caller's promise. Read as numbers: the broker may send an operation that the binding's enum lacks.
    Some((0..count).map(|index| unsafe { list.add(index).cast::<c_int>().read() }).collect())
}

/// A queue of events.
#[derive(Debug)]
pub(crate) struct Queue {
    pointer: NonNull<rd::rd_kafka_queue_t>,
    // After the pointer: it must outlive it.
    client: Arc<Client>,
}

// SAFETY: librdkafka's queues are thread-safe.
unsafe impl Send for Queue {}

impl Queue {
    fn from_pointer(client: &Arc<Client>, pointer: *mut rd::rd_kafka_queue_t) -> Queue {
        let pointer = NonNull::new(pointer).expect("librdkafka's clients always have their queues");
        Queue { pointer, client: Arc::clone(client) }
    }

    /// The next event; `None` when there was none within `timeout_ms`.
    pub(crate) fn poll(&self, timeout_ms: i32) -> Option<Event> {
        // SAFETY: the queue is alive; the event is ours.
        let event = unsafe { rd::rd_kafka_queue_poll(self.pointer.as_ptr(), timeout_ms) };
        NonNull::new(event).map(|pointer| Event { pointer, _client: Arc::clone(&self.client) })
    }

    /// Takes what is there of a consumer's records, `most` of them at most, without waiting. It takes a lock and a clock once, where
    /// [`Queue::poll`] takes them for each. What is no message goes to [`Client::next_note`].
    pub(crate) fn take(&self, most: usize) -> Messages {
        let mut pointers = Vec::<*mut rd::rd_kafka_message_t>::with_capacity(most);
        // SAFETY: the queue is alive, and the list has room for so many; the messages are ours. Those that were written are counted,
        // and -1 is an error.
        unsafe {
            let taken = rd::rd_kafka_consume_batch_queue(self.pointer.as_ptr(), 0, pointers.as_mut_ptr(), most);
            pointers.set_len(usize::try_from(taken).unwrap_or(0));
        }
        Messages { pointers: pointers.into_iter(), _client: Arc::clone(&self.client) }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the pointer is ours and dropped once, before the client.
        unsafe { rd::rd_kafka_queue_destroy(self.pointer.as_ptr()) }
    }
}

/// Messages that were taken together, in order.
#[derive(Debug)]
pub(crate) struct Messages {
    pointers: std::vec::IntoIter<*mut rd::rd_kafka_message_t>,
    // After the pointers: it must outlive them.
    _client: Arc<Client>,
}

impl Messages {
    /// Gives the next message to `see` and lets go of it. `None` when none is left.
    pub(crate) fn next_with<R>(&mut self, see: impl FnOnce(Message<'_>) -> R) -> Option<R> {
        /// Lets go of it even if `see` panics.
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

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Fetch,
    Delivery,
    Rebalance,
    OffsetCommit,
    Stats,
    Log,
    Error,
    Other,
}

/// One event, which owns the messages, lists and texts it holds.
#[derive(Debug)]
pub(crate) struct Event {
    pointer: NonNull<rd::rd_kafka_event_t>,
    // After the pointer: it must outlive it.
    _client: Arc<Client>,
}

impl Event {
    pub(crate) fn kind(&self) -> EventKind {
        // SAFETY: the event is alive.
        match unsafe { rd::rd_kafka_event_type(self.pointer.as_ptr()) } {
            rd::RD_KAFKA_EVENT_FETCH => EventKind::Fetch,
            rd::RD_KAFKA_EVENT_DR => EventKind::Delivery,
            rd::RD_KAFKA_EVENT_REBALANCE => EventKind::Rebalance,
            rd::RD_KAFKA_EVENT_OFFSET_COMMIT => EventKind::OffsetCommit,
            rd::RD_KAFKA_EVENT_STATS => EventKind::Stats,
            rd::RD_KAFKA_EVENT_LOG => EventKind::Log,
            rd::RD_KAFKA_EVENT_ERROR => EventKind::Error,
            _ => EventKind::Other,
        }
    }

    /// The next message of a fetch; `None` for every other event.
    pub(crate) fn next_message(&mut self) -> Option<Message<'_>> {
        if self.kind() != EventKind::Fetch {
            return None;
        }
        self.next_raw().map(|raw| Message { raw })
    }

    /// The next message of delivery reports; `None` for every other event.
    pub(crate) fn next_sent(&mut self) -> Option<Sent<'_>> {
        if self.kind() != EventKind::Delivery {
            return None;
        }
        self.next_raw().map(|raw| Sent { raw })
    }

    fn next_raw(&mut self) -> Option<&rd::rd_kafka_message_t> {
        // SAFETY: the event is alive and keeps its messages until it is destroyed, those that were taken as well.
        unsafe { rd::rd_kafka_event_message_next(self.pointer.as_ptr()).as_ref() }
    }

    /// The event's error code; for a rebalance, whether partitions are assigned or revoked.
    pub(crate) fn code(&self) -> Code {
        // SAFETY: the event is alive.
        Code(unsafe { codes::rd_kafka_event_error(self.pointer.as_ptr()) })
    }

    /// librdkafka's words for the event's error.
    pub(crate) fn error_text(&self) -> String {
        // SAFETY: the event is alive. The string is its own and lives as long as it, or is the code's and static.
        unsafe { text(rd::rd_kafka_event_error_string(self.pointer.as_ptr())) }
    }

    /// Whether it is an error that makes its client unusable.
    pub(crate) fn is_fatal(&self) -> bool {
        // SAFETY: the event is alive, and an error: the call reads a field that other kinds lack, without looking.
        self.kind() == EventKind::Error && unsafe { rd::rd_kafka_event_error_is_fatal(self.pointer.as_ptr()) != 0 }
    }

    /// The partition an error is about, if it is about one.
    pub(crate) fn error_partition(&self) -> Option<(String, i32)> {
        // SAFETY: the event is alive; the returned copy is ours and is destroyed here.
        unsafe {
            let partition = rd::rd_kafka_event_topic_partition(self.pointer.as_ptr());
            if partition.is_null() {
                return None;
            }
            let result = (text((*partition).topic), (*partition).partition);
            rd::rd_kafka_topic_partition_destroy(partition);
            Some(result)
        }
    }

    /// The partitions of a rebalance or a commit.
    pub(crate) fn partitions(&self) -> PartitionList {
        // SAFETY: the event is alive and owns the list, which is copied.
        unsafe {
            let list = rd::rd_kafka_event_topic_partition_list(self.pointer.as_ptr());
            if list.is_null() { PartitionList::new() } else { PartitionList::copy(list) }
        }
    }

    /// The statistics, JSON; empty for every other event.
    pub(crate) fn stats(&self) -> String {
        if self.kind() != EventKind::Stats {
            return String::new();
        }
        // SAFETY: the event is alive and holds statistics: the call reads a field that other kinds lack, without looking. The string
        // lives as long as the event.
        unsafe { text(rd::rd_kafka_event_stats(self.pointer.as_ptr())) }
    }

    /// A log line: syslog level, facility and text; empty for every other event.
    pub(crate) fn log(&self) -> (i32, String, String) {
        let (mut facility, mut line, mut level) = (std::ptr::null(), std::ptr::null(), 6);
        // SAFETY: the event is alive, and the strings live as long as it. For another kind the call leaves them null.
        unsafe {
            rd::rd_kafka_event_log(self.pointer.as_ptr(), &raw mut facility, &raw mut line, &raw mut level);
            (level, text(facility), text(line))
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the pointer is ours and dropped once, before the client.
        unsafe { rd::rd_kafka_event_destroy(self.pointer.as_ptr()) }
    }
}

/// A message that was produced, and what became of it.
///
/// It is a type of its own because librdkafka has one struct for both directions whose fields mean other things in each: here the
/// payload is the record's value, in a [`Message`] that is an error it is the error's text. So `rd_kafka_message_errstr`, which returns
/// the payload, must not see one. `rd_kafka_message_produce_errstr` must not either, outside of [`see_end`]: it points into the
/// broker's answer, which is freed before the report is taken from its queue (2.12.1: `rd_kafka_handle_Produce`). So
/// [`Client::refusal`] says why it was not delivered.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    raw: &'a rd::rd_kafka_message_t,
}

impl Sent<'_> {
    /// What became of it.
    pub(crate) fn code(&self) -> Code {
        code_of(self.raw)
    }

    /// The bytes of key and value.
    pub(crate) fn size(&self) -> usize {
        self.raw.len.saturating_add(self.raw.key_len)
    }

    /// From producing to the acknowledgement, in microseconds; -1 is unknown.
    pub(crate) fn latency_us(&self) -> i64 {
        // SAFETY: the message is alive, and was produced: the call reads a field that fetched ones lack.
        unsafe { rd::rd_kafka_message_latency(self.raw) }
    }

    /// What was given to [`Topic::produce`] as its tag.
    pub(crate) fn tag(&self) -> u64 {
        self.raw._private as u64
    }

    /// What was produced, to be read as of a message that was fetched.
    pub(crate) fn content(&self) -> Message<'_> {
        Message { raw: self.raw }
    }

    /// What tells it from every other message that has not been let go of.
    fn address(&self) -> usize {
        (&raw const *self.raw) as usize
    }
}

/// The error of a message, read as a number: the broker may send a code that the binding's enum lacks.
fn code_of(raw: &rd::rd_kafka_message_t) -> Code {
    // SAFETY: the field is an int in C; it is not touched as the enum.
    Code(unsafe { (&raw const raw.err).cast::<c_int>().read() })
}

/// A message that was fetched: a record, or an error in its place, which [`Message::code`] tells apart.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    raw: &'a rd::rd_kafka_message_t,
}

impl<'a> Message<'a> {
    pub(crate) fn code(&self) -> Code {
        code_of(self.raw)
    }

    /// librdkafka's words for the error that the message is; empty if it is a record.
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

    /// The leader epoch under which it was fetched; -1 is unknown.
    pub(crate) fn leader_epoch(&self) -> i32 {
        // SAFETY: the message is alive.
        unsafe { rd::rd_kafka_message_leader_epoch(self.raw) }
    }

    /// The headers in order, with any bytes.
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

    /// Whether it is known without a call that the message has no headers. To find that out by parsing takes librdkafka two allocations,
    /// and the worker 8 % of its time in a drain.
    pub(super) fn was_fetched_without_headers(&self) -> bool {
        if rd::RD_KAFKA_VERSION != LAYOUT_OF {
            return false;
        }
        // SAFETY: in this version, which is linked in, every message that it hands out begins a `Whole`. If it was fetched, the last two
        // fields are the bytes from its number of headers on, which live as long as it.
        unsafe {
            let whole = &*(&raw const *self.raw).cast::<Whole>();
            whole.flags & Whole::PRODUCED == 0 && whole.headers_size == 1 && *whole.headers == 0
        }
    }
}

/// The version whose memory [`Whole`] and [`name_length`] know: 2.12.1.
const LAYOUT_OF: i32 = 0x020c_01ff;

/// What librdkafka keeps of a message, up to the headers of one that was fetched (rdkafka_msg.h, `rd_kafka_msg_t`).
#[repr(C)]
struct Whole {
    message: rd::rd_kafka_message_t,
    link: [*const c_void; 2],
    flags: c_int,
    timestamp_type: c_int,
    timestamp: i64,
    parsed_headers: *const c_void,
    status: c_int,
    broker: i32,
    /// The headers as they were sent: their number, of which 0 is one byte, and what they are. Null and 0 in formats without any.
    headers_size: i32,
    headers: *const u8,
}

impl Whole {
    /// The flag of a message that is produced, and has other things in the place of its headers.
    const PRODUCED: c_int = 0x40000;
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
            // The call doesn't give the name's length. A header is one block, name, NUL, value (rdkafka_header.c), so a name with
            // a NUL inside shows in the distance to its value.
            let length =
                if value.is_null() { name_length(name) } else { (value as usize).wrapping_sub(name as usize + 1) };
            let name =
                if length > until_nul.len() { bytes(name.cast(), length).unwrap_or(until_nul) } else { until_nul };
            Some(Header { name, value: bytes(value, size) })
        }
    }
}

/// The length of a header's name whose value is null, which no call gives; 0 if this librdkafka's headers aren't known.
///
/// # Safety
/// `name` is what `rd_kafka_header_get_all` gave for such a header, and the header is alive.
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

/// A topic that is produced to, with its own settings. For a name that the client knows already librdkafka returns the handle that it
/// has, counts one more owner, and leaves the settings as they are.
#[derive(Debug)]
pub(crate) struct Topic {
    pointer: NonNull<rd::rd_kafka_topic_t>,
    // After the pointer: it must outlive it.
    client: Arc<Client>,
}

// SAFETY: librdkafka's topics are thread-safe.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    pub(crate) fn new(client: &Arc<Client>, name: &str, config: &BTreeMap<String, String>) -> Result<Topic, String> {
        let name = c_topic(name);
        // SAFETY: `conf` is ours until `rd_kafka_topic_new` takes it over, whatever its result, or it is destroyed.
        unsafe {
            // The client's own defaults for topics (partitioner, time-out), which the output's settings then change.
            let conf = rd::rd_kafka_default_topic_conf_dup(client.handle.as_ptr());
            let mut reason = [0 as c_char; 512];
            for (key, value) in config {
                let (Ok(c_key), Ok(c_value)) = (CString::new(key.as_str()), CString::new(value.as_str())) else {
                    rd::rd_kafka_topic_conf_destroy(conf);
                    return Err(format!("`{key}` or its value holds a NUL byte"));
                };
                let result = rd::rd_kafka_topic_conf_set(
                    conf,
                    c_key.as_ptr(),
                    c_value.as_ptr(),
                    reason.as_mut_ptr(),
                    reason.len(),
                );
                if result != rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    rd::rd_kafka_topic_conf_destroy(conf);
                    return Err(text(reason.as_ptr()));
                }
            }
            let topic = rd::rd_kafka_topic_new(client.handle.as_ptr(), name.as_ptr(), conf);
            let pointer = NonNull::new(topic).ok_or_else(|| "the topic's settings don't fit together".to_owned())?;
            Ok(Topic { pointer, client: Arc::clone(client) })
        }
    }

    /// Queues a record; key, value and headers are copied. `tag` comes back with its report. A `partition` of -1 leaves
    /// the choice to the partitioner.
    pub(crate) fn produce(&self, record: &OutRecord<'_>, partition: i32, tag: u64) -> Result<(), Code> {
        fn value(kind: rd::rd_kafka_vtype_t, u: rd::rd_kafka_vu_s__bindgen_ty_1) -> rd::rd_kafka_vu_t {
            rd::rd_kafka_vu_t { vtype: kind, u }
        }
        fn memory(bytes: Option<&[u8]>) -> rd::rd_kafka_vu_s__bindgen_ty_1 {
            // An empty slice keeps a pointer that is not null, so that empty and null stay apart.
            let (ptr, size) = bytes.map_or((std::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()));
            let mem = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: ptr.cast_mut().cast(), size };
            rd::rd_kafka_vu_s__bindgen_ty_1 { mem }
        }
        use rd::rd_kafka_vtype_t as kind;
        use rd::rd_kafka_vu_s__bindgen_ty_1 as union;
        let headers = headers_of(record);
        let flags = rd::RD_KAFKA_MSG_F_COPY as c_int;
        // librdkafka takes 0 as "now", and knows no "none".
        let timestamp = record.timestamp.max(0);
        let values = [
            value(kind::RD_KAFKA_VTYPE_RKT, union { rkt: self.pointer.as_ptr() }),
            value(kind::RD_KAFKA_VTYPE_PARTITION, union { i32_: partition }),
            value(kind::RD_KAFKA_VTYPE_MSGFLAGS, union { i: flags }),
            value(kind::RD_KAFKA_VTYPE_KEY, memory(record.key)),
            value(kind::RD_KAFKA_VTYPE_VALUE, memory(record.value)),
            value(kind::RD_KAFKA_VTYPE_TIMESTAMP, union { i64_: timestamp }),
            value(kind::RD_KAFKA_VTYPE_OPAQUE, union { ptr: tag as *mut c_void }),
            value(kind::RD_KAFKA_VTYPE_HEADERS, union { headers }),
        ];
        let count = if headers.is_null() { values.len() - 1 } else { values.len() };
        // SAFETY: all pointers live during the call, which copies key and value. It takes the headers over when it succeeds;
        // otherwise they are still ours and are destroyed here.
        unsafe {
            let error = rd::rd_kafka_produceva(self.client.handle.as_ptr(), values.as_ptr(), count);
            if error.is_null() {
                return Ok(());
            }
            let code = Code(codes::rd_kafka_error_code(error));
            rd::rd_kafka_error_destroy(error);
            if !headers.is_null() {
                rd::rd_kafka_headers_destroy(headers);
            }
            Err(code)
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the pointer is ours and dropped once, before the client.
        unsafe { rd::rd_kafka_topic_destroy(self.pointer.as_ptr()) }
    }
}

/// The headers as librdkafka wants them, to be handed over; null without any.
fn headers_of(record: &OutRecord<'_>) -> *mut rd::rd_kafka_headers_t {
    if record.headers.is_empty() {
        return std::ptr::null_mut();
    }
    // SAFETY: names and values are copied by the call, and their lengths are given.
    unsafe {
        let headers = rd::rd_kafka_headers_new(record.headers.len());
        for header in record.headers.iter() {
            let (value, size) = header.value.map_or((std::ptr::null(), 0), |value| (value.as_ptr(), value.len()));
            rd::rd_kafka_header_add(
                headers,
                header.name.as_ptr().cast(),
                header.name.len().cast_signed(),
                value.cast(),
                size.cast_signed(),
            );
        }
        headers
    }
}

/// A topic's name for C. Kafka's names hold no NUL; one that does names no topic.
fn c_topic(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}

/// A list of partitions with offsets.
pub(crate) struct PartitionList {
    list: NonNull<rd::RDKafkaTopicPartitionList>,
}

/// An entry of a [`PartitionList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) code: Code,
    /// What was committed beside the offset.
    pub(crate) note: String,
}

impl Entry {
    /// # Safety
    /// `element` is an element of a list that is alive, or of a result.
    unsafe fn copy(element: *const rd::rd_kafka_topic_partition_t) -> Entry {
        // SAFETY: the caller's promise. The error is read as a number: the broker may send a code that the binding's enum lacks. The
        // note has as many bytes as is said, or is null.
        unsafe {
            let note = bytes((*element).metadata, (*element).metadata_size).unwrap_or_default();
            Entry {
                topic: text((*element).topic),
                partition: (*element).partition,
                offset: (*element).offset,
                leader_epoch: rd::rd_kafka_topic_partition_get_leader_epoch(element),
                code: Code((&raw const (*element).err).cast::<c_int>().read()),
                note: String::from_utf8_lossy(note).into_owned(),
            }
        }
    }
}

// SAFETY: the list is plain memory with one owner.
unsafe impl Send for PartitionList {}

impl PartitionList {
    pub(crate) fn new() -> PartitionList {
        // SAFETY: the list is ours.
        let list = unsafe { rd::rd_kafka_topic_partition_list_new(8) };
        PartitionList { list: NonNull::new(list).expect("librdkafka aborts when memory runs out") }
    }

    /// # Safety
    /// `list` is alive.
    unsafe fn copy(list: *const rd::RDKafkaTopicPartitionList) -> PartitionList {
        // SAFETY: the caller's promise; the copy is ours.
        let copy = unsafe { rd::rd_kafka_topic_partition_list_copy(list) };
        PartitionList { list: NonNull::new(copy).expect("librdkafka aborts when memory runs out") }
    }

    fn pointer(&self) -> *mut rd::RDKafkaTopicPartitionList {
        self.list.as_ptr()
    }

    /// Adds a partition; a `leader_epoch` of -1 is unknown.
    pub(crate) fn add(&mut self, topic: &str, partition: i32, offset: i64, leader_epoch: i32) {
        self.add_with_note(topic, partition, offset, leader_epoch, "");
    }

    /// Adds a partition with what is committed beside its offset.
    pub(crate) fn add_with_note(&mut self, topic: &str, partition: i32, offset: i64, leader_epoch: i32, note: &str) {
        let topic = c_topic(topic);
        // SAFETY: the list is alive, the strings are copied, and the new element, which has no note yet, lives in the list.
        unsafe {
            let element = rd::rd_kafka_topic_partition_list_add(self.pointer(), topic.as_ptr(), partition);
            (*element).offset = offset;
            if leader_epoch >= 0 {
                rd::rd_kafka_topic_partition_set_leader_epoch(element, leader_epoch);
            }
            if !note.is_empty() {
                // librdkafka's own memory, as the list frees it.
                let copy = rd::rd_kafka_mem_malloc(std::ptr::null_mut(), note.len());
                if !copy.is_null() {
                    std::ptr::copy_nonoverlapping(note.as_ptr(), copy.cast::<u8>(), note.len());
                    ((*element).metadata, (*element).metadata_size) = (copy, note.len());
                }
            }
        }
    }

    /// The entries, copied.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        // SAFETY: the list is alive and has `cnt` elements.
        unsafe {
            let list = &*self.pointer();
            let count = usize::try_from(list.cnt).unwrap_or(0);
            (0..count).map(|index| Entry::copy(list.elems.add(index))).collect()
        }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: the list is ours and dropped once.
        unsafe { rd::rd_kafka_topic_partition_list_destroy(self.pointer()) }
    }
}
