//! UNSAFE. Events: the reports of librdkafka, taken from a queue.
//!
//! JUSTIFICATION: the binding doesn't expose its events, and reads their error code as an enum that lacks some codes.
//!
//! Invariant: an event owns its messages, lists and strings; they are borrowed from it or copied.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::ptr::NonNull;
use std::sync::Arc;

use rdkafka_sys as rd;

use super::client::Client;
use super::codes;
use super::errors::Code;
use super::messages::Message;
use super::messages::Sent;
use super::partitions::PartitionList;
use super::text::text;

/// The kind of an event.
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

/// One event, which owns its messages, lists and texts.
#[derive(Debug)]
pub(crate) struct Event {
    pub(super) pointer: NonNull<rd::rd_kafka_event_t>,
    // After the pointer: the client must outlive it.
    pub(super) _client: Arc<Client>,
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

    /// The next message of a fetch; `None` for any other event.
    pub(crate) fn next_message(&mut self) -> Option<Message<'_>> {
        if self.kind() != EventKind::Fetch {
            return None;
        }
        self.next_raw().map(|raw| Message { raw })
    }

    /// The next message of a delivery report; `None` for any other event.
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

    /// librdkafka's message for the event's error.
    pub(crate) fn error_text(&self) -> String {
        // SAFETY: the event is alive. The string is its own and lives as long as it, or is the code's and static.
        unsafe { text(rd::rd_kafka_event_error_string(self.pointer.as_ptr())) }
    }

    /// Whether it is an error after which the client is unusable.
    pub(crate) fn is_fatal(&self) -> bool {
        // SAFETY: the event is alive, and an error: the call reads a field that other kinds lack, without looking.
        self.kind() == EventKind::Error && unsafe { rd::rd_kafka_event_error_is_fatal(self.pointer.as_ptr()) != 0 }
    }

    /// The partition that an error is about, if any.
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

    /// The statistics as JSON; empty for any other event.
    pub(crate) fn stats(&self) -> String {
        if self.kind() != EventKind::Stats {
            return String::new();
        }
        // SAFETY: the event is alive and holds statistics: the call reads a field that other kinds lack, without looking. The string
        // lives as long as the event.
        unsafe { text(rd::rd_kafka_event_stats(self.pointer.as_ptr())) }
    }

    /// A log line: syslog level, facility and text; empty for any other event.
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
