//! Messages to a worker. One that waits in its consumer's poll is woken for them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;

use super::Event;
use crate::kafka::consumer::Waker;

/// See the head of the file.
#[derive(Clone)]
pub(super) struct Mailbox {
    inbox: mpsc::Sender<Event>,
    /// Of the consumer that is polled now; `None` while none is. Locked to wake it, and to exchange it.
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Mailbox {
    pub(super) fn new(inbox: mpsc::Sender<Event>) -> Mailbox {
        Mailbox { inbox, waker: Arc::default() }
    }

    /// Sends a message. If the worker has ended, nothing happens.
    pub(super) fn send(&self, event: Event) {
        let is_sent = self.inbox.send(event).is_ok();
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).as_ref().filter(|_| is_sent) {
            waker.wake();
        }
    }

    /// The way in for what the worker waits for with something in flight: then it waits at the inbox.
    pub(super) fn inbox(&self) -> mpsc::Sender<Event> {
        self.inbox.clone()
    }

    /// From now on the worker polls the consumer of this waker, or none.
    pub(super) fn wake_by(&self, waker: Option<Waker>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }
}
