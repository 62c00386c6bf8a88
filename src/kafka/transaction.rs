//! The transaction thread: makes the calls of a transactional producer that wait for brokers.
//!
//! One thread for each transactional producer, with one order at a time; every order has one report. A call that fails and may be
//! repeated is repeated until it succeeds or the producer is dropped. Whatever else fails makes the transaction's outcome unknown:
//! the worker then starts another producer, whose first order fences this one and ends its transaction, and asks the group where it
//! stands.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::classify::code;
use super::consumer::Position;
use super::sys::Client;
use super::sys::Error;
use super::sys::GroupMetadata;
use super::sys::PartitionList;
use super::sys::TransactionError;

/// What the transaction thread did.
#[derive(Debug)]
pub enum TransactionReport {
    /// The producer has its id: transactions may begin.
    Ready,
    /// The transaction was committed with these offsets.
    Committed(Vec<Position>),
    /// The producer can't go on, and whether its transaction was committed is unknown.
    Failed {
        /// librdkafka's error message.
        reason: String,
        /// Whether this user may not use the `transactional.id`: an operator must act.
        is_denied: bool,
    },
}

/// A consumer's membership in its group, read on the worker's thread before it handles the next rebalance.
#[derive(Debug)]
pub struct Membership(pub(super) GroupMetadata);

/// An order to commit the open transaction with these offsets.
type Order = (Vec<Position>, Membership);

/// The handle of a transaction thread.
#[derive(Debug)]
pub(super) struct Transactions {
    orders: Option<mpsc::Sender<Order>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The longest that one call waits before the thread looks whether its producer was dropped.
const CALL_MS: i32 = 1000;

impl Transactions {
    /// Starts the thread, which first gets the producer's id. `report` is called on it.
    pub(super) fn start(
        client: Arc<Client>,
        worker: usize,
        report: impl Fn(TransactionReport) + Send + 'static,
    ) -> Result<Transactions, String> {
        let (orders, inbox) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let calls = Calls { client, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new()
            .name(format!("transaction-{worker}"))
            .spawn(move || calls.run(&inbox, &report))
            .map_err(|error| format!("failed to start the transaction thread: {error}"))?;
        Ok(Transactions { orders: Some(orders), stop, thread: Some(thread) })
    }

    /// Has the open transaction committed with these offsets.
    pub(super) fn commit(&self, offsets: Vec<Position>, membership: Membership) {
        // A thread that has ended has reported why.
        let _ = self.orders.as_ref().map(|orders| orders.send((offsets, membership)));
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Calls {
    client: Arc<Client>,
    stop: Arc<AtomicBool>,
}

impl Calls {
    fn run(&self, inbox: &mpsc::Receiver<Order>, report: &impl Fn(TransactionReport)) {
        match self.until_done(|| self.client.init_transactions(CALL_MS)) {
            None => return,
            Some(Ok(())) => report(TransactionReport::Ready),
            Some(Err(error)) => return report(failed(&error)),
        }
        while let Ok((offsets, membership)) = inbox.recv() {
            match self.commit(&offsets, &membership.0) {
                None => return,
                Some(Ok(())) => report(TransactionReport::Committed(offsets)),
                Some(Err(error)) => return report(failed(&error)),
            }
        }
    }

    fn commit(&self, offsets: &[Position], group: &GroupMetadata) -> Option<Result<(), Error>> {
        let mut list = PartitionList::new();
        for Position { partition, offset, leader_epoch, note } in offsets {
            list.add_with_note(&partition.topic, partition.partition, offset.0, *leader_epoch, note);
        }
        // Not resumable by itself: a repetition has to have the same arguments.
        match self.until_done(|| self.client.send_offsets(&list, group, CALL_MS)) {
            Some(Ok(())) => self.until_done(|| self.client.commit_transaction(CALL_MS)),
            other => other,
        }
    }

    /// Repeats a call while that may help; `None` if the producer was dropped meanwhile.
    fn until_done(&self, mut call: impl FnMut() -> Result<(), TransactionError>) -> Option<Result<(), Error>> {
        loop {
            match call() {
                Ok(()) => return Some(Ok(())),
                Err(TransactionError { is_retriable: true, .. }) if !self.stop.load(Ordering::Relaxed) => {}
                Err(_) if self.stop.load(Ordering::Relaxed) => return None,
                Err(TransactionError { error, .. }) => return Some(Err(error)),
            }
        }
    }
}

fn failed(error: &Error) -> TransactionReport {
    TransactionReport::Failed { reason: error.to_string(), is_denied: error.code == code::TRANSACTIONAL_ID_DENIED }
}
