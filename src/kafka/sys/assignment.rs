//! UNSAFE. A consumer's calls in its group: subscribe, assign, pause, seek, commit, leave.
//!
//! JUSTIFICATION: the binding answers rebalances itself, inside a callback; here they are events, and the worker
//! answers them.
//!
//! The worker decides when to make which call. Invariant: a call copies or fills in a list and never keeps it.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::ptr;

use rdkafka_sys as rd;

use super::client::Client;
use super::codes;
use super::errors::Error;
use super::partitions::PartitionList;
use super::queue::Queue;
use super::text::text;

impl Client {
    /// Joins the group for these topics and patterns.
    pub(crate) fn subscribe(&self, topics: &[String]) -> Result<(), Error> {
        let mut list = PartitionList::new();
        for topic in topics {
            list.add(topic, -1, 0, -1);
        }
        // SAFETY: both are alive; the list is copied.
        Error::check(unsafe { codes::rd_kafka_subscribe(self.handle.as_ptr(), list.pointer()) })
    }

    /// Unsubscribes from all topics. The member leaves its group when its partitions are unassigned, a static one too.
    pub(crate) fn unsubscribe(&self) -> Result<(), Error> {
        // SAFETY: the client is alive.
        Error::check(unsafe { codes::rd_kafka_unsubscribe(self.handle.as_ptr()) })
    }

    /// Whether it is a member of its group. Waits for librdkafka's own thread.
    pub(crate) fn is_member(&self) -> bool {
        // SAFETY: the client is alive; what it returns is null, or a string that is ours until it is freed.
        unsafe {
            let id = rd::rd_kafka_memberid(self.handle.as_ptr());
            let is_member = !text(id).is_empty();
            if !id.is_null() {
                rd::rd_kafka_mem_free(self.handle.as_ptr(), id.cast());
            }
            is_member
        }
    }

    /// Whether the group's protocol moves partitions one by one.
    pub(crate) fn is_cooperative(&self) -> bool {
        // SAFETY: the client is alive; the string is static, and null for a client without a group.
        unsafe { text(rd::rd_kafka_rebalance_protocol(self.handle.as_ptr())) == "COOPERATIVE" }
    }

    /// Adds partitions to the assignment.
    pub(crate) fn incremental_assign(&self, list: &PartitionList) -> Result<(), Error> {
        // SAFETY: both are alive; the list is copied.
        Error::take(unsafe { rd::rd_kafka_incremental_assign(self.handle.as_ptr(), list.pointer()) })
    }

    /// Removes partitions from the assignment.
    pub(crate) fn incremental_unassign(&self, list: &PartitionList) -> Result<(), Error> {
        // SAFETY: both are alive; the list is copied.
        Error::take(unsafe { rd::rd_kafka_incremental_unassign(self.handle.as_ptr(), list.pointer()) })
    }

    /// Sets the assignment to exactly these partitions; `None` removes all.
    pub(crate) fn assign(&self, list: Option<&PartitionList>) -> Result<(), Error> {
        let list = list.map_or(ptr::null_mut(), PartitionList::pointer);
        // SAFETY: the client is alive; the list is null or alive, and is copied.
        Error::check(unsafe { codes::rd_kafka_assign(self.handle.as_ptr(), list) })
    }

    /// Whether the group has already assigned the partitions to others.
    pub(crate) fn assignment_lost(&self) -> bool {
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_assignment_lost(self.handle.as_ptr()) != 0 }
    }

    /// Stops fetching. Records that were fetched and not yet read are dropped and fetched again later. Errors are in
    /// the list.
    pub(crate) fn pause(&self, list: &mut PartitionList) {
        // SAFETY: both are alive.
        unsafe { codes::rd_kafka_pause_partitions(self.handle.as_ptr(), list.pointer()) };
    }

    /// Resumes fetching. Errors are in the list.
    pub(crate) fn resume(&self, list: &mut PartitionList) {
        // SAFETY: both are alive.
        unsafe { codes::rd_kafka_resume_partitions(self.handle.as_ptr(), list.pointer()) };
    }

    /// Moves the position of assigned partitions. Errors are in the list. Waits for at most `timeout_ms`; with 0, it
    /// returns before the seek is done.
    pub(crate) fn seek(&self, list: &mut PartitionList, timeout_ms: i32) -> Result<(), Error> {
        // SAFETY: both are alive.
        Error::take(unsafe { rd::rd_kafka_seek_partitions(self.handle.as_ptr(), list.pointer(), timeout_ms) })
    }

    /// Stores offsets for [`Client::commit_stored`]. Errors are in the list.
    pub(crate) fn store_offsets(&self, list: &mut PartitionList) {
        // SAFETY: both are alive.
        unsafe { codes::rd_kafka_offsets_store(self.handle.as_ptr(), list.pointer()) };
    }

    /// Commits all stored offsets; the result arrives on `reply` as [`EventKind::OffsetCommit`].
    pub(crate) fn commit_stored(&self, reply: &Queue) -> Result<(), Error> {
        self.commit(None, reply)
    }

    /// Commits the offsets of the list; otherwise like [`Client::commit_stored`].
    pub(crate) fn commit_list(&self, list: &PartitionList, reply: &Queue) -> Result<(), Error> {
        self.commit(Some(list), reply)
    }

    fn commit(&self, list: Option<&PartitionList>, reply: &Queue) -> Result<(), Error> {
        let list = list.map_or(ptr::null_mut(), PartitionList::pointer);
        // SAFETY: all are alive; the list is copied. A null list means "what is stored", a null callback means "as an event".
        Error::check(unsafe {
            codes::rd_kafka_commit_queue(
                self.handle.as_ptr(),
                list,
                reply.pointer.as_ptr(),
                ptr::null(),
                ptr::null_mut(),
            )
        })
    }

    /// Fills in the application's position in each partition: after the last record and the control records that
    /// followed it.
    pub(crate) fn position(&self, list: &mut PartitionList) -> Result<(), Error> {
        // SAFETY: both are alive.
        Error::check(unsafe { codes::rd_kafka_position(self.handle.as_ptr(), list.pointer()) })
    }

    /// Fills in the group's committed offsets. Blocks.
    pub(crate) fn committed(&self, list: &mut PartitionList, timeout_ms: i32) -> Result<(), Error> {
        // SAFETY: both are alive.
        Error::check(unsafe { codes::rd_kafka_committed(self.handle.as_ptr(), list.pointer(), timeout_ms) })
    }

    /// Starts leaving the group. Events keep arriving on `queue` until [`Client::is_closed`].
    pub(crate) fn close(&self, queue: &Queue) -> Result<(), Error> {
        // SAFETY: both are alive.
        Error::take(unsafe { rd::rd_kafka_consumer_close_queue(self.handle.as_ptr(), queue.pointer.as_ptr()) })
    }

    /// Whether the member has left the group.
    pub(crate) fn is_closed(&self) -> bool {
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_consumer_closed(self.handle.as_ptr()) != 0 }
    }
}
