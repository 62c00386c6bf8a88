//! librdkafka's C interface behind safe types: clients, queues, events, messages, topics and lists of partitions.
//!
//! The binding `rdkafka` is not used for this: through it a record with a header name that is not UTF-8 panics the process, an error code
//! that it doesn't list is undefined behaviour, producing costs 1.4 to 3 times as much, and rebalances arrive in callbacks. Here everything
//! that librdkafka reports is an [`Event`] taken from a queue, a message of [`Queue::take`], or a message that was delivered.
//!
//! No other file of the program calls librdkafka directly. Each file here lifts the lint against unsafe code for itself and says why;
//! this one needs none. They decide nothing: error codes are numbers here, and `classify.rs` says what they mean.
//! Invariant: no function that is visible outside of this folder takes or returns a raw pointer, and every borrowed value lives no
//! longer than the event, the message or the client that owns its memory.

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
mod topics;

pub(crate) use admin::Described;
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
pub(crate) use topics::Topic;
