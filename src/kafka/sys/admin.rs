//! UNSAFE. Administrative requests: offsets of partitions, descriptions of topics and groups, settings of topics and
//! brokers.
//!
//! JUSTIFICATION: the binding has no ListOffsets and none of the Describe requests that report a client's permissions.
//!
//! All of these calls block until the broker answers or the time limit is over. Invariant: each request has its own
//! reply queue, and the values of its result are copied before the event that holds them is dropped.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::Arc;

use rdkafka_sys as rd;

use super::client::Client;
use super::codes;
use super::errors::Code;
use super::errors::Error;
use super::errors::borrowed_error;
use super::events::Event;
use super::partitions::Entry;
use super::partitions::PartitionList;
use super::queue::Queue;
use super::text::c_topic;
use super::text::text;
use crate::kafka::offset_metadata;

/// The offset with which [`Client::list_offsets`] asks for the oldest record.
pub(crate) const OLDEST: i64 = -2;

/// The offset with which [`Client::list_offsets`] asks for the end of the log, open transactions included.
pub(crate) const END: i64 = -1;

/// A topic or a group, as the brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) error: Option<Error>,
    /// A topic's id, if the brokers report it.
    pub(crate) id: Option<offset_metadata::TopicId>,
    /// The partitions of a topic, each with the broker that leads it; below 0 is none.
    pub(crate) leaders: Vec<(i32, i32)>,
    /// The protocol with which a group's members share partitions, if it has members.
    pub(crate) protocol: Option<String>,
    /// A group's members.
    pub(crate) members: Vec<DescribedMember>,
    /// Kafka's numbers of the operations permitted to this client; `None` if the brokers don't report them.
    pub(crate) operations: Option<Vec<i32>>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DescribedMember {
    pub(crate) id: String,
    pub(crate) client_id: String,
    /// The partitions that are assigned to it, each with its topic.
    pub(crate) partitions: Vec<(String, i32)>,
}

impl Client {
    /// Offsets of partitions. The offset of each entry says which one is wanted: [`OLDEST`], [`END`], or a timestamp
    /// for the first record that is not older. Sends one request to each leader. Each partition has its own result; an
    /// offset below 0 means none. Blocks.
    pub(crate) fn list_offsets(self: &Arc<Client>, list: &PartitionList, timeout_ms: i32) -> Result<Vec<Entry>, Error> {
        let options = AdminOptions::new(self, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout_ms)?;
        self.offsets(list, &options, timeout_ms)
    }

    /// Like [`Client::list_offsets`], but the end of the log is before the first record of an open transaction.
    pub(crate) fn list_stable_offsets(
        self: &Arc<Client>,
        list: &PartitionList,
        timeout_ms: i32,
    ) -> Result<Vec<Entry>, Error> {
        let options = AdminOptions::new(self, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout_ms)?
            .without_open_transactions()?;
        self.offsets(list, &options, timeout_ms)
    }

    fn offsets(
        self: &Arc<Client>,
        list: &PartitionList,
        options: &AdminOptions,
        timeout_ms: i32,
    ) -> Result<Vec<Entry>, Error> {
        let reply = self.new_queue();
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

    /// Describes these topics, with what this client may do with them. Blocks.
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
                    members: Vec::new(),
                    operations: operations_of(list, operations),
                }
            };
            Ok((0..count).map(describe).collect())
        }
    }

    /// Describes a consumer group, with what this client may do with it. Blocks.
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
                members: members_of(*all),
                operations: operations_of(list, operations),
            })
        }
    }

    /// A setting of a topic. Blocks. `None` if the broker doesn't report it.
    pub(crate) fn topic_setting(
        self: &Arc<Client>,
        topic: &str,
        name: &str,
        timeout_ms: i32,
    ) -> Result<Option<String>, Error> {
        let found = self.settings(rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, topic, &[name], timeout_ms)?;
        Ok(found.into_iter().next().flatten())
    }

    /// Settings of a topic. Blocks. `None` for a setting that the broker doesn't report.
    pub(crate) fn topic_settings(
        self: &Arc<Client>,
        topic: &str,
        names: &[&str],
        timeout_ms: i32,
    ) -> Result<Vec<Option<String>>, Error> {
        self.settings(rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, topic, names, timeout_ms)
    }

    /// Creates a topic with the brokers' default replication. Blocks.
    pub(crate) fn create_topic(
        self: &Arc<Client>,
        topic: &str,
        partitions: i32,
        settings: &[(&str, &str)],
        timeout_ms: i32,
    ) -> Result<(), Error> {
        let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        let options = AdminOptions::new(self, operation, timeout_ms)?;
        let reply = self.new_queue();
        let name = c_topic(topic);
        let mut reason = [0 as c_char; 512];
        // SAFETY: client, queue and options are alive. The topic is ours: the request copies it, and it is destroyed here, once. The
        // strings are ours and outlive the calls, which copy them.
        unsafe {
            let mut made = rd::rd_kafka_NewTopic_new(name.as_ptr(), partitions, -1, reason.as_mut_ptr(), reason.len());
            if made.is_null() {
                return Err(unexpected());
            }
            for (key, value) in settings {
                let (key, value) = (c_topic(key), c_topic(value));
                rd::rd_kafka_NewTopic_set_config(made, key.as_ptr(), value.as_ptr());
            }
            let queue = reply.pointer.as_ptr();
            rd::rd_kafka_CreateTopics(self.handle.as_ptr(), &raw mut made, 1, options.pointer.as_ptr(), queue);
            rd::rd_kafka_NewTopic_destroy(made);
        }
        let event = admin_reply(&reply, timeout_ms)?;
        // SAFETY: the event is alive and owns the result with its topics and strings.
        unsafe {
            let result = rd::rd_kafka_event_CreateTopics_result(event.pointer.as_ptr());
            if result.is_null() {
                return Err(unexpected());
            }
            let mut count = 0;
            let topics = rd::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
            if count == 0 || topics.is_null() {
                return Err(unexpected());
            }
            let code = codes::rd_kafka_topic_result_error(*topics);
            if code == 0 {
                return Ok(());
            }
            Err(Error { code: Code(code), text: text(rd::rd_kafka_topic_result_error_string(*topics)) })
        }
    }

    /// Settings of a broker. Blocks. `None` for a setting that it doesn't report.
    pub(crate) fn broker_settings(
        self: &Arc<Client>,
        names: &[&str],
        timeout_ms: i32,
    ) -> Result<Vec<Option<String>>, Error> {
        let broker = self.a_broker(timeout_ms)?.to_string();
        self.settings(rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER, &broker, names, timeout_ms)
    }

    /// Settings of a topic or a broker. Blocks. `None` for a setting that isn't reported.
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
                // The name is empty, which librdkafka doesn't accept.
                rd::rd_kafka_AdminOptions_destroy(options);
                return Err(unexpected());
            }
            let queue = reply.pointer.as_ptr();
            rd::rd_kafka_DescribeConfigs(self.handle.as_ptr(), &raw mut resource, 1, options, queue);
            rd::rd_kafka_ConfigResource_destroy(resource);
            rd::rd_kafka_AdminOptions_destroy(options);
        }
        // librdkafka ends the request at the time limit. Wait a little longer, so that its own error message arrives.
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
}

/// The options of one administrative request: its time limit, and whether it asks for permissions.
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

    /// Also asks for the operations permitted to this client.
    fn with_operations(self) -> Result<AdminOptions, Error> {
        // SAFETY: the options are alive.
        let set = unsafe { rd::rd_kafka_AdminOptions_set_include_authorized_operations(self.pointer.as_ptr(), 1) };
        Error::take(set).map(|()| self)
    }

    /// Asks as a reader of committed records.
    fn without_open_transactions(self) -> Result<AdminOptions, Error> {
        let level = rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
        // SAFETY: the options are alive.
        let set = unsafe { rd::rd_kafka_AdminOptions_set_isolation_level(self.pointer.as_ptr(), level) };
        Error::take(set).map(|()| self)
    }
}

impl Drop for AdminOptions {
    fn drop(&mut self) {
        // SAFETY: the pointer is ours and dropped once.
        unsafe { rd::rd_kafka_AdminOptions_destroy(self.pointer.as_ptr()) }
    }
}

/// The reply to an administrative request. It arrives shortly after the time limit at the latest.
fn admin_reply(reply: &Queue, timeout_ms: i32) -> Result<Event, Error> {
    let event = reply
        .poll(timeout_ms.saturating_add(500))
        .ok_or_else(|| Error { code: Code(-185), text: Code(-185).to_string() })?;
    match event.code() {
        Code::OK => Ok(event),
        code => Err(Error { code, text: event.error_text() }),
    }
}

/// The error if librdkafka's reply is not of the requested kind, which should not happen.
fn unexpected() -> Error {
    Error { code: Code(-1), text: "librdkafka gave no answer of the kind that was asked for".to_owned() }
}

/// # Safety
/// `id` is null or alive.
unsafe fn topic_id(id: *const rd::rd_kafka_Uuid_t) -> Option<offset_metadata::TopicId> {
    if id.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let halves = unsafe { [rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id)] };
    let [high, low] = halves.map(|half| u128::from(half.cast_unsigned()));
    offset_metadata::TopicId::new(high << 64 | low)
}

/// # Safety
/// The group is alive.
unsafe fn members_of(group: *const rd::rd_kafka_ConsumerGroupDescription_t) -> Vec<DescribedMember> {
    // SAFETY: the caller's promise. The group has as many members as it says, and owns their strings and lists.
    unsafe {
        let count = rd::rd_kafka_ConsumerGroupDescription_member_count(group);
        let member = |index: usize| {
            let member = rd::rd_kafka_ConsumerGroupDescription_member(group, index);
            let assignment = rd::rd_kafka_MemberDescription_assignment(member);
            let list = if assignment.is_null() {
                std::ptr::null()
            } else {
                rd::rd_kafka_MemberAssignment_partitions(assignment)
            };
            let entries = if list.is_null() { Vec::new() } else { PartitionList::copy(list).entries() };
            DescribedMember {
                id: text(rd::rd_kafka_MemberDescription_consumer_id(member)),
                client_id: text(rd::rd_kafka_MemberDescription_client_id(member)),
                partitions: entries.into_iter().map(|entry| (entry.topic, entry.partition)).collect(),
            }
        };
        (0..count).map(member).collect()
    }
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
