//! UNSAFE. Queues, from which all of librdkafka's reports are taken.
//!
//! JUSTIFICATION: the binding takes one record at a time, with a lock and a clock read for each.
//!
//! Invariant: a queue is destroyed before its client.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::ptr::NonNull;
use std::sync::Arc;

use rdkafka_sys as rd;

use super::client::Client;
use super::events::Event;
use super::messages::Messages;

/// A queue of events.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(super) pointer: NonNull<rd::rd_kafka_queue_t>,
    // After the pointer: the client must outlive it.
    client: Arc<Client>,
}

// SAFETY: librdkafka's queues are thread-safe.
unsafe impl Send for Queue {}

impl Queue {
    pub(super) fn from_pointer(client: &Arc<Client>, pointer: *mut rd::rd_kafka_queue_t) -> Queue {
        let pointer = NonNull::new(pointer).expect("librdkafka's clients always have their queues");
        Queue { pointer, client: Arc::clone(client) }
    }

    /// The next event; `None` if none arrives within `timeout_ms`.
    pub(crate) fn poll(&self, timeout_ms: i32) -> Option<Event> {
        // SAFETY: the queue is alive; the event is ours.
        let event = unsafe { rd::rd_kafka_queue_poll(self.pointer.as_ptr(), timeout_ms) };
        NonNull::new(event).map(|pointer| Event { pointer, _client: Arc::clone(&self.client) })
    }

    /// Takes a consumer's records that are ready, at most `most` of them, without waiting. It locks the queue and reads
    /// the clock once, where [`Queue::poll`] does so for each record. Anything that is not a message goes to
    /// [`Client::next_callback_event`].
    pub(crate) fn take(&self, most: usize) -> Messages {
        let mut pointers = Vec::<*mut rd::rd_kafka_message_t>::with_capacity(most);
        // SAFETY: the queue is alive, and the list has room for `most` of them; the messages are ours. The call returns how many it wrote,
        // and -1 is an error.
        unsafe {
            let taken = rd::rd_kafka_consume_batch_queue(self.pointer.as_ptr(), 0, pointers.as_mut_ptr(), most);
            pointers.set_len(usize::try_from(taken).unwrap_or(0));
        }
        Messages { pointers: pointers.into_iter(), _client: Arc::clone(&self.client) }
    }
}

/// Wakes the thread that waits for a queue's next event.
#[derive(Debug)]
pub(crate) struct QueueWaker(Queue);

// SAFETY: librdkafka's queues are thread-safe, and this only wakes who waits for one.
unsafe impl Sync for QueueWaker {}

impl QueueWaker {
    /// With a share of the queue of its own.
    pub(crate) fn new(queue: Queue) -> QueueWaker {
        QueueWaker(queue)
    }

    /// Ends the running poll of the queue, or the next one if none runs, as if its time were up.
    pub(crate) fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { rd::rd_kafka_queue_yield(self.0.pointer.as_ptr()) }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the pointer is ours and dropped once, before the client.
        unsafe { rd::rd_kafka_queue_destroy(self.pointer.as_ptr()) }
    }
}
