//! UNSAFE. Declarations of the calls that return a broker's error code or pass one to a callback, with the code as a
//! number.
//!
//! JUSTIFICATION: the binding declares a Rust enum in these places, and a code that the enum doesn't list is undefined
//! behaviour. A broker newer than the binding sends such codes.
//!
//! There is no logic here. Invariant: each declaration is that of rdkafka.h, with `rd_kafka_resp_err_t` as the C int
//! that it is.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

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
    pub(super) fn rd_kafka_subscribe(client: *mut rd::rd_kafka_t, list: *const rd::RDKafkaTopicPartitionList) -> c_int;
    pub(super) fn rd_kafka_unsubscribe(client: *mut rd::rd_kafka_t) -> c_int;
    pub(super) fn rd_kafka_assign(client: *mut rd::rd_kafka_t, list: *const rd::RDKafkaTopicPartitionList) -> c_int;
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
    pub(super) fn rd_kafka_position(client: *mut rd::rd_kafka_t, list: *mut rd::RDKafkaTopicPartitionList) -> c_int;
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
    pub(super) fn rd_kafka_topic_result_error(topic: *const rd::rd_kafka_topic_result_t) -> c_int;
    pub(super) fn rd_kafka_metadata(
        client: *mut rd::rd_kafka_t,
        all_topics: c_int,
        only: *mut rd::rd_kafka_topic_t,
        metadata: *mut *const rd::rd_kafka_metadata_t,
        timeout_ms: c_int,
    ) -> c_int;
}
