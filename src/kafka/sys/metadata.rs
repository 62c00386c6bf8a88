//! UNSAFE. Metadata requests: which topics and partitions exist, and which brokers lead them.
//!
//! JUSTIFICATION: the binding reads the topics' error codes as an enum that lacks some of them.
//!
//! All of these calls block. Invariant: metadata is copied and destroyed in the call that fetched it.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;

use rdkafka_sys as rd;

use super::client::Client;
use super::codes;
use super::errors::Code;
use super::errors::Error;
use super::text::text;
use super::topics::Topic;

impl Client {
    /// The brokers that lead the partitions of a topic, -1 for a partition without a leader. Blocks. An error has the
    /// topic's own code, for example that it doesn't exist.
    pub(crate) fn leaders(self: &Arc<Client>, topic: &str, timeout_ms: i32) -> Result<Vec<i32>, Error> {
        let topic = Topic::new(self, topic, &BTreeMap::new()).map_err(|text| Error { code: Code(-186), text })?;
        let mut metadata = ptr::null();
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

    /// The topics visible to this client, with their numbers of partitions. With `all` false, only those that this
    /// client uses: the call then shows that a broker answers. Blocks.
    pub(crate) fn topics(&self, all: bool, timeout_ms: i32) -> Result<Vec<(String, usize)>, Error> {
        let mut metadata = ptr::null();
        // SAFETY: the client is alive; a null topic means "all" or "those that are used here"; on success the metadata is ours
        // and is destroyed below, once. It holds `topic_cnt` topics with NUL-terminated names.
        unsafe {
            Error::check(codes::rd_kafka_metadata(
                self.handle.as_ptr(),
                c_int::from(all),
                ptr::null_mut(),
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

    /// The id of a broker that answers. Blocks.
    pub(super) fn a_broker(&self, timeout_ms: i32) -> Result<i32, Error> {
        let mut metadata = ptr::null();
        // SAFETY: the client is alive; a null topic means those that are used here; on success the metadata is ours and is destroyed
        // below, once.
        unsafe {
            let (client, topic) = (self.handle.as_ptr(), ptr::null_mut());
            Error::check(codes::rd_kafka_metadata(client, 0, topic, &raw mut metadata, timeout_ms))?;
            let broker = (*metadata).orig_broker_id;
            rd::rd_kafka_metadata_destroy(metadata);
            Ok(broker)
        }
    }
}
