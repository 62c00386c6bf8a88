//! UNSAFE. The calls of a transactional producer, and the group metadata that fences its offsets.
//!
//! JUSTIFICATION: the binding flushes before a commit in slices of 100 ms, which would be the least time that a transaction takes.
//!
//! Every call but `begin_transaction` waits for brokers; `transaction.rs` makes them on a thread of its own. Invariant: an error
//! object is read once and destroyed.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::ffi::c_int;
use std::ptr::NonNull;

use rdkafka_sys as rd;

use super::client::Client;
use super::errors::Error;
use super::partitions::PartitionList;

/// What the client knows about its membership: with it the coordinator refuses the offsets of a member that was replaced.
#[derive(Debug)]
pub(crate) struct GroupMetadata(NonNull<rd::rd_kafka_consumer_group_metadata_t>);

// SAFETY: librdkafka doesn't change the object after it was made, and it belongs to no thread.
unsafe impl Send for GroupMetadata {}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: the object is ours and dropped once.
        unsafe { rd::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) }
    }
}

/// Why a transactional call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransactionError {
    pub(crate) error: Error,
    /// Whether the same call may succeed if it is made again.
    pub(crate) is_retriable: bool,
    /// Whether the open transaction has failed, so that it can only be aborted.
    pub(crate) requires_abort: bool,
}

impl Client {
    /// A consumer's membership as it is now; `None` before it is in a group.
    pub(crate) fn group_metadata(&self) -> Option<GroupMetadata> {
        // SAFETY: the client is alive; the result is ours.
        NonNull::new(unsafe { rd::rd_kafka_consumer_group_metadata(self.handle.as_ptr()) }).map(GroupMetadata)
    }

    /// Gets the producer's id. Fences every earlier producer with this transactional id, and aborts its open transaction.
    pub(crate) fn init_transactions(&self, timeout_ms: c_int) -> Result<(), TransactionError> {
        // SAFETY: the client is alive.
        taken(unsafe { rd::rd_kafka_init_transactions(self.handle.as_ptr(), timeout_ms) })
    }

    /// Begins a transaction. Doesn't wait: brokers learn of it with its first message.
    pub(crate) fn begin_transaction(&self) -> Result<(), TransactionError> {
        // SAFETY: the client is alive.
        taken(unsafe { rd::rd_kafka_begin_transaction(self.handle.as_ptr()) })
    }

    /// Adds the group's offsets to the transaction.
    pub(crate) fn send_offsets(
        &self,
        offsets: &PartitionList,
        group: &GroupMetadata,
        timeout_ms: c_int,
    ) -> Result<(), TransactionError> {
        let (list, group) = (offsets.pointer(), group.0.as_ptr());
        // SAFETY: the client, the list and the metadata are alive.
        taken(unsafe { rd::rd_kafka_send_offsets_to_transaction(self.handle.as_ptr(), list, group, timeout_ms) })
    }

    /// Waits for the outputs that aren't acknowledged yet, and commits.
    pub(crate) fn commit_transaction(&self, timeout_ms: c_int) -> Result<(), TransactionError> {
        // SAFETY: the client is alive.
        taken(unsafe { rd::rd_kafka_commit_transaction(self.handle.as_ptr(), timeout_ms) })
    }

    /// Aborts the open transaction. Outputs that aren't acknowledged fail.
    pub(crate) fn abort_transaction(&self, timeout_ms: c_int) -> Result<(), TransactionError> {
        // SAFETY: the client is alive.
        taken(unsafe { rd::rd_kafka_abort_transaction(self.handle.as_ptr(), timeout_ms) })
    }
}

/// Consumes an error object; null is success.
fn taken(error: *mut rd::rd_kafka_error_t) -> Result<(), TransactionError> {
    // SAFETY: a non-null error object is ours and alive until `take` destroys it.
    let is_retriable = !error.is_null() && unsafe { rd::rd_kafka_error_is_retriable(error) } != 0;
    // SAFETY: as above.
    let requires_abort = !error.is_null() && unsafe { rd::rd_kafka_error_txn_requires_abort(error) } != 0;
    Error::take(error).map_err(|error| TransactionError { error, is_retriable, requires_abort })
}
