//! librdkafka's C interface behind safe types: clients, queues, events, messages, topics and lists of partitions.
//!
//! The `rdkafka` binding is not used for this: through it, a record with a header name that is not UTF-8 panics the
//! process, an error code that it doesn't list is undefined behaviour, producing costs more CPU time, and rebalances
//! arrive in callbacks. Here every report of librdkafka is an [`Event`] taken from a queue, a message of
//! [`Queue::take`], or a delivered message.
//!
//! No other file of the program calls librdkafka directly. Each file here that needs unsafe code lifts the lint for
//! itself and gives the reason; this one needs none. The files decide nothing: error codes are numbers here, and
//! `classify.rs` gives them their meaning. Invariant: no function that is visible outside this folder takes or returns
//! a raw pointer, and every borrowed value lives no longer than the event, the message or the client that owns its
//! memory.

mod admin;
mod assignment;
mod callbacks;
mod client;
mod codes;
mod errors;
mod events;
mod messages;
mod metadata;
mod partitions;
mod queue;
mod text;
mod tokens;
mod topics;
mod transaction;

pub(crate) use admin::Described;
pub(crate) use admin::DescribedMember;
pub(crate) use admin::END;
pub(crate) use admin::OLDEST;
pub(crate) use callbacks::CallbackEvent;
pub(crate) use callbacks::OnDelivered;
pub(crate) use client::Client;
pub(crate) use client::Side;
pub(crate) use errors::Code;
pub(crate) use errors::Error;
pub(crate) use events::Event;
pub(crate) use events::EventKind;
pub(crate) use messages::Message;
pub(crate) use messages::Messages;
pub(crate) use messages::Sent;
pub(crate) use partitions::Entry;
pub(crate) use partitions::PartitionList;
pub(crate) use queue::Queue;
pub(crate) use queue::QueueWaker;
pub(crate) use tokens::OnTokenNeeded;
pub(crate) use tokens::TokenParts;
pub(crate) use tokens::TokenTarget;
pub(crate) use topics::Topic;
pub(crate) use transaction::GroupMetadata;
pub(crate) use transaction::TransactionError;
