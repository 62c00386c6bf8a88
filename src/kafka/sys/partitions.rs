//! UNSAFE. Lists of partitions with offsets, which most calls of a consumer take or return.
//!
//! JUSTIFICATION: the binding reads an entry's error code as an enum that lacks some codes.
//!
//! Invariant: a list has one owner, and its entries are returned as copies.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::ffi::c_int;
use std::ptr;
use std::ptr::NonNull;

use rdkafka_sys as rd;

use super::errors::Code;
use super::text::bytes;
use super::text::c_topic;
use super::text::text;

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
    /// The metadata committed with the offset.
    pub(crate) note: String,
}

impl Entry {
    /// # Safety
    /// `element` is an element of a list that is alive, or of a result.
    pub(super) unsafe fn copy(element: *const rd::rd_kafka_topic_partition_t) -> Entry {
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

impl PartitionList {
    pub(crate) fn new() -> PartitionList {
        // SAFETY: the list is ours.
        let list = unsafe { rd::rd_kafka_topic_partition_list_new(8) };
        PartitionList { list: NonNull::new(list).expect("librdkafka aborts when memory runs out") }
    }

    /// # Safety
    /// `list` is alive.
    pub(super) unsafe fn copy(list: *const rd::RDKafkaTopicPartitionList) -> PartitionList {
        // SAFETY: the caller's promise; the copy is ours.
        let copy = unsafe { rd::rd_kafka_topic_partition_list_copy(list) };
        PartitionList { list: NonNull::new(copy).expect("librdkafka aborts when memory runs out") }
    }

    pub(super) fn pointer(&self) -> *mut rd::RDKafkaTopicPartitionList {
        self.list.as_ptr()
    }

    /// Adds a partition; a `leader_epoch` of -1 is unknown.
    pub(crate) fn add(&mut self, topic: &str, partition: i32, offset: i64, leader_epoch: i32) {
        self.add_with_note(topic, partition, offset, leader_epoch, "");
    }

    /// Adds a partition with the metadata to commit with its offset.
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
                // Allocated by librdkafka, because the list frees it.
                let copy = rd::rd_kafka_mem_malloc(ptr::null_mut(), note.len());
                if !copy.is_null() {
                    ptr::copy_nonoverlapping(note.as_ptr(), copy.cast::<u8>(), note.len());
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
