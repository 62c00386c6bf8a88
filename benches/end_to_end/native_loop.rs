//! The native contestant of the end-to-end benchmark: one thread that calls librdkafka directly.
//!
//! It is what a careful engineer would write by hand for one transformation. Records are taken in batches, transformed while they are in
//! librdkafka's memory, and produced with their timestamp and headers. Deliveries are counted in an interceptor of librdkafka, and only
//! failures are reported. Once a second a *generation* of outputs ends, and its offsets are committed when it and all earlier
//! generations are acknowledged. So it gives the same guarantee as wasmill (at least once), with the best settings that were found for
//! it. It has no sandbox, no policy for failed records and no metrics, and it aborts when something is wrong.
//!
//! It calls librdkafka through its public header only: reading whether a record has headers directly from librdkafka's memory, as
//! wasmill does (`sys/messages.rs`), would make it slightly faster.
//!
//! JUSTIFICATION: a contestant that goes through a safe binding would be slower. This code is in no released program.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::io::BufRead as _;
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rdkafka_sys as rd;

/// What to do with a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// Forward the record unchanged.
    Identity,
    /// Replace two fields of its JSON.
    Json,
}

impl Task {
    /// The size of the producer's queue in messages. Forwarding is faster with a large queue. Editing JSON is not.
    fn queue(self) -> &'static str {
        match self {
            Task::Identity => "1000000",
            Task::Json => "50000",
        }
    }
}

/// The settings that both sides of the benchmark have are wasmill's defaults; the others are the best that were found.
const CONSUMER: [(&str, &str); 12] = [
    ("enable.metrics.push", "false"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("isolation.level", "read_committed"),
    ("session.timeout.ms", "45000"),
    ("queued.min.messages", "200000"),
    ("queued.max.messages.kbytes", "65536"),
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "100"),
    ("check.crcs", "true"),
];
const PRODUCER: [(&str, &str); 11] = [
    ("enable.metrics.push", "false"),
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("partitioner", "murmur2_random"),
    ("linger.ms", "2"),
    ("batch.size", "1000000"),
    ("batch.num.messages", "10000"),
    ("message.timeout.ms", "0"),
    ("queue.buffering.max.kbytes", "131072"),
    // One less than the partitions that the broker leads: otherwise librdkafka's thread busy-waits to send more.
    ("max.in.flight", "3"),
    ("delivery.report.only.error", "true"),
];
/// The maximum number of messages taken at once.
const BATCH: usize = 1000;
/// With a full producer queue: how long to wait for room, since there is no notification.
const FULL_WAIT_MS: c_int = 1;
/// With no records: the longest wait for one.
const WAIT_MS: c_int = 5;
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Runs until stdin is closed, then finishes and commits.
pub(crate) fn run(brokers: &str, group: &str, input: &str, output: &str, task: Task) {
    static STOP: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        STOP.store(true, Ordering::Relaxed);
    });
    // SAFETY: the calls are made as rdkafka.h says, in the order create, use, destroy, on this one thread.
    unsafe { Loop::new(brokers, group, input, output, task).run(&STOP) }
}

struct Loop {
    task: Task,
    consumer: *mut rd::rd_kafka_t,
    records: *mut rd::rd_kafka_queue_t,
    producer: *mut rd::rd_kafka_t,
    reports: *mut rd::rd_kafka_queue_t,
    topic: *mut rd::rd_kafka_topic_t,
    input: CString,
    /// The next offset to read of each partition.
    next: BTreeMap<i32, i64>,
    /// The generations that are not committed yet, oldest first; outputs are added to the last one.
    generations: VecDeque<Generation>,
}

#[derive(Default)]
struct Generation {
    /// The number of produced outputs.
    produced: usize,
    /// How many of them were acknowledged. Every message points to it, so it must not move.
    acknowledged: Box<AtomicUsize>,
    /// The offsets to commit when all outputs are acknowledged, once the generation has ended.
    offsets: Option<BTreeMap<i32, i64>>,
}

impl Generation {
    fn is_done(&self) -> bool {
        self.offsets.is_some() && self.acknowledged.load(Ordering::Acquire) == self.produced
    }
}

impl Loop {
    unsafe fn new(brokers: &str, group: &str, input: &str, output: &str, task: Task) -> Loop {
        // SAFETY: see `run`.
        unsafe {
            let servers = [("bootstrap.servers", brokers), ("group.id", group)];
            let consumer = client(rd::rd_kafka_type_t::RD_KAFKA_CONSUMER, servers.iter().chain(&CONSUMER), 0);
            rd::rd_kafka_poll_set_consumer(consumer);
            let records = rd::rd_kafka_queue_get_consumer(consumer);
            let input = CString::new(input).expect("a topic");
            let list = rd::rd_kafka_topic_partition_list_new(1);
            rd::rd_kafka_topic_partition_list_add(list, input.as_ptr(), -1);
            rd::rd_kafka_subscribe(consumer, list);
            rd::rd_kafka_topic_partition_list_destroy(list);

            let kind = rd::rd_kafka_type_t::RD_KAFKA_PRODUCER;
            let queue = [("queue.buffering.max.messages", task.queue())];
            let settings = servers[..1].iter().chain(&PRODUCER).chain(&queue);
            let producer = client(kind, settings, rd::RD_KAFKA_EVENT_DR);
            let reports = rd::rd_kafka_queue_get_main(producer);
            let name = CString::new(output).expect("a topic");
            let topic = rd::rd_kafka_topic_new(producer, name.as_ptr(), ptr::null_mut());
            let generations = VecDeque::from([Generation::default()]);
            Loop { task, consumer, records, producer, reports, topic, input, next: BTreeMap::new(), generations }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "it commits by the clock")]
    unsafe fn run(mut self, stop: &AtomicBool) {
        let mut messages = [ptr::null_mut::<rd::rd_kafka_message_t>(); BATCH];
        let mut committed = Instant::now();
        // SAFETY: see `run` above; each message is destroyed once.
        unsafe {
            while !stop.load(Ordering::Relaxed) {
                let taken = rd::rd_kafka_consume_batch_queue(self.records, 0, messages.as_mut_ptr(), BATCH);
                let taken = usize::try_from(taken).expect("consuming fails only for bad arguments");
                if taken == 0 {
                    // That call would wait for a full batch; this one waits for a single record.
                    let message = rd::rd_kafka_consumer_poll(self.consumer, WAIT_MS);
                    if !message.is_null() {
                        self.transform(message);
                    }
                }
                for &message in &messages[..taken] {
                    self.transform(message);
                }
                self.serve_reports(0);
                if committed.elapsed() >= COMMIT_EVERY {
                    committed = Instant::now();
                    self.end_generation();
                    self.commit(1);
                }
            }
            self.end_generation();
            while rd::rd_kafka_outq_len(self.producer) > 0 {
                self.serve_reports(FULL_WAIT_MS);
            }
            self.commit(0);
            rd::rd_kafka_consumer_close(self.consumer);
        }
    }

    unsafe fn transform(&mut self, message: *mut rd::rd_kafka_message_t) {
        // SAFETY: the message is alive until it is destroyed at the end, and owns its bytes.
        unsafe {
            let record = &*message;
            // Only a message with error 0 is a record. Of any other only the error is read.
            if (&raw const record.err).cast::<c_int>().read() == 0 {
                let value = (!record.payload.is_null())
                    .then(|| std::slice::from_raw_parts(record.payload.cast::<u8>(), record.len));
                match self.task {
                    Task::Identity => self.produce(message, value),
                    Task::Json => {
                        let input = native::Input { key: None, value, headers: &[] };
                        let outputs = native::json(input).expect("the benchmark's values are JSON");
                        for output in &outputs {
                            self.produce(message, output.value.as_deref());
                        }
                    }
                }
                self.next.insert(record.partition, record.offset + 1);
            }
            rd::rd_kafka_message_destroy(message);
        }
    }

    unsafe fn produce(&mut self, message: *mut rd::rd_kafka_message_t, value: Option<&[u8]>) {
        use rd::rd_kafka_vtype_t as kind;
        type Union = rd::rd_kafka_vu_s__bindgen_ty_1;
        fn entry(vtype: rd::rd_kafka_vtype_t, u: Union) -> rd::rd_kafka_vu_t {
            rd::rd_kafka_vu_t { vtype, u }
        }
        let memory = |pointer: *const c_void, size: usize| {
            let mem = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: pointer.cast_mut(), size };
            Union { mem }
        };
        let generation = self.generations.back_mut().expect("one is always being filled");
        let acknowledged: *const AtomicUsize = &raw const *generation.acknowledged;
        generation.produced += 1;
        // SAFETY: all pointers live during the call, which copies key and value and takes the headers over. A generation lives until
        // all of its messages are acknowledged.
        unsafe {
            let record = &*message;
            let mut time = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            let timestamp = rd::rd_kafka_message_timestamp(message, &raw mut time);
            let mut headers = ptr::null_mut();
            rd::rd_kafka_message_detach_headers(message, &raw mut headers);
            let value = value.map_or((ptr::null(), 0), |value| (value.as_ptr().cast(), value.len()));
            let entries = [
                entry(kind::RD_KAFKA_VTYPE_RKT, Union { rkt: self.topic }),
                entry(kind::RD_KAFKA_VTYPE_PARTITION, Union { i32_: -1 }),
                entry(kind::RD_KAFKA_VTYPE_MSGFLAGS, Union { i: rd::RD_KAFKA_MSG_F_COPY as c_int }),
                entry(kind::RD_KAFKA_VTYPE_KEY, memory(record.key, record.key_len)),
                entry(kind::RD_KAFKA_VTYPE_VALUE, memory(value.0, value.1)),
                entry(kind::RD_KAFKA_VTYPE_TIMESTAMP, Union { i64_: timestamp.max(0) }),
                entry(kind::RD_KAFKA_VTYPE_OPAQUE, Union { ptr: acknowledged.cast_mut().cast() }),
                entry(kind::RD_KAFKA_VTYPE_HEADERS, Union { headers }),
            ];
            let count = if headers.is_null() { entries.len() - 1 } else { entries.len() };
            loop {
                let error = rd::rd_kafka_produceva(self.producer, entries.as_ptr(), count);
                if error.is_null() {
                    break;
                }
                // The queue is full.
                rd::rd_kafka_error_destroy(error);
                self.serve_reports(FULL_WAIT_MS);
            }
        }
    }

    /// Handles the available delivery reports, which are all failures, and waits this long for the first.
    unsafe fn serve_reports(&mut self, wait_ms: c_int) {
        let mut wait_ms = wait_ms;
        // SAFETY: the queue is alive; each event is destroyed once, after its messages were read.
        unsafe {
            loop {
                let event = rd::rd_kafka_queue_poll(self.reports, wait_ms);
                if event.is_null() {
                    return;
                }
                wait_ms = 0;
                if rd::rd_kafka_event_type(event) == rd::RD_KAFKA_EVENT_DR
                    && let Some(message) = rd::rd_kafka_event_message_next(event).as_ref()
                {
                    panic!("an output was not delivered: {}", (&raw const message.err).cast::<c_int>().read());
                }
                rd::rd_kafka_event_destroy(event);
            }
        }
    }

    /// Ends the current generation: outputs from now on are committed later.
    fn end_generation(&mut self) {
        if let Some(last) = self.generations.back_mut() {
            last.offsets = Some(self.next.clone());
        }
        self.generations.push_back(Generation::default());
    }

    /// Commits the generations that are completely acknowledged.
    unsafe fn commit(&mut self, asynchronous: c_int) {
        let mut done = None;
        while self.generations.front().is_some_and(Generation::is_done) {
            done = self.generations.pop_front().and_then(|first| first.offsets);
        }
        let Some(offsets) = done else { return };
        // SAFETY: the list is ours and destroyed once; the call copies it.
        unsafe {
            let list = rd::rd_kafka_topic_partition_list_new(4);
            for (partition, offset) in offsets {
                let element = rd::rd_kafka_topic_partition_list_add(list, self.input.as_ptr(), partition);
                (*element).offset = offset;
            }
            rd::rd_kafka_commit(self.consumer, list, asynchronous);
            rd::rd_kafka_topic_partition_list_destroy(list);
        }
    }
}

/// The name of the interceptor that counts deliveries.
const HOOK: &CStr = c"native";

unsafe extern "C" fn watch_ends(
    client: *mut rd::rd_kafka_t,
    _config: *const rd::rd_kafka_conf_t,
    _opaque: *mut c_void,
    _reason: *mut c_char,
    _reason_bytes: usize,
) -> rd::rd_kafka_resp_err_t {
    // SAFETY: librdkafka passes the client that it is making.
    unsafe { rd::rd_kafka_interceptor_add_on_acknowledgement(client, HOOK.as_ptr(), Some(see_end), ptr::null_mut()) }
}

/// Counts a delivered message.
unsafe extern "C" fn see_end(
    _client: *mut rd::rd_kafka_t,
    message: *mut rd::rd_kafka_message_t,
    _opaque: *mut c_void,
) -> rd::rd_kafka_resp_err_t {
    // SAFETY: the message lives as long as the call, and points to the counter of a generation that is not done.
    unsafe {
        if rd::rd_kafka_message_status(message) == rd::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED
            && (&raw const (*message).err).cast::<c_int>().read() == 0
        {
            (*(*message)._private.cast::<AtomicUsize>()).fetch_add(1, Ordering::Release);
        }
    }
    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

unsafe fn client<'a>(
    kind: rd::rd_kafka_type_t,
    settings: impl Iterator<Item = &'a (&'a str, &'a str)>,
    events: c_int,
) -> *mut rd::rd_kafka_t {
    // SAFETY: the configuration is ours until the client takes it over, and the strings outlive their calls.
    unsafe {
        let conf = rd::rd_kafka_conf_new();
        let mut reason = [0 as c_char; 512];
        for (key, value) in settings {
            let (key, value) = (CString::new(*key).expect("no NUL"), CString::new(*value).expect("no NUL"));
            let set = rd::rd_kafka_conf_set(conf, key.as_ptr(), value.as_ptr(), reason.as_mut_ptr(), reason.len());
            assert_eq!(
                set,
                rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK,
                "{}",
                CStr::from_ptr(reason.as_ptr()).to_string_lossy()
            );
        }
        if matches!(kind, rd::rd_kafka_type_t::RD_KAFKA_PRODUCER) {
            let added =
                rd::rd_kafka_conf_interceptor_add_on_new(conf, HOOK.as_ptr(), Some(watch_ends), ptr::null_mut());
            assert_eq!(added, rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, "without it nothing is committed");
        }
        rd::rd_kafka_conf_set_events(conf, events);
        let client = rd::rd_kafka_new(kind, conf, reason.as_mut_ptr(), reason.len());
        assert!(!client.is_null(), "{}", CStr::from_ptr(reason.as_ptr()).to_string_lossy());
        client
    }
}
