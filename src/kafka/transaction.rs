//! The transaction thread: makes the calls of a transactional producer that wait for brokers.
//!
//! One thread for each transactional producer, with one order at a time; every order has one report. A call that fails and may be
//! repeated is repeated until it succeeds or the producer is dropped. Whatever else fails makes the transaction's outcome unknown:
//! the worker then starts another producer, whose first order fences this one and ends its transaction, and asks the group where it
//! stands.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use super::classify;
use super::classify::code;
use super::consumer::Position;
use super::probe;
use super::probe::now;
use super::sys::Client;
use super::sys::Described;
use super::sys::Error;
use super::sys::GroupMetadata;
use super::sys::PartitionList;
use super::sys::TransactionError;
use crate::failure::Failure;
use crate::telemetry;

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
        /// What this user may not do, if that is why: an operator must act.
        denied: Option<Denial>,
    },
}

/// What a transaction was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The use of its `transactional.id`.
    Id,
    /// Writing to a topic: its output, counted as in the file, with the dead letters after the last one, and the failure.
    Topic(usize, Failure),
}

/// A consumer's membership in its group, read on the worker's thread before it handles the next rebalance.
#[derive(Debug)]
pub struct Membership(pub(super) GroupMetadata);

#[derive(Debug)]
enum Order {
    /// Commit the open transaction with these offsets.
    Commit(Vec<Position>, Membership),
    /// Report the open transaction if it has failed.
    Check,
}

/// The handle of a transaction thread.
#[derive(Debug)]
pub(super) struct Transactions {
    orders: Option<mpsc::Sender<Order>>,
    /// Whether a check was ordered and not made yet.
    is_checking: Arc<AtomicBool>,
    /// When the call began that is being made for a commit.
    call: Arc<Mutex<Option<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends.
    ended: mpsc::Receiver<()>,
}

/// The longest that one call waits before the thread looks whether its producer was dropped.
const CALL_MS: i32 = 1000;
/// A call that takes this long, where it was told [`CALL_MS`], may never return: librdkafka waits without a bound for a group's coordinator
/// that has left the cluster (its issues 5456 and 5511, as of 2.12).
const CALL_MAX: Duration = Duration::from_secs(10);
/// The longest wait for the answer which topics are denied.
const DESCRIBE_MS: i32 = 5000;

impl Transactions {
    /// Starts the thread, which first gets the producer's id. `report` is called on it. `topics` are those of the outputs and of the
    /// dead letters, each with its index.
    pub(super) fn start(
        client: Arc<Client>,
        topics: Vec<(usize, String)>,
        worker: usize,
        report: impl Fn(TransactionReport) + Send + 'static,
    ) -> Result<Transactions, String> {
        let (orders, inbox) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let is_checking = Arc::new(AtomicBool::new(false));
        let call = Arc::new(Mutex::new(None));
        let calls = Calls {
            client,
            topics,
            is_checking: Arc::clone(&is_checking),
            call: Arc::clone(&call),
            stop: Arc::clone(&stop),
        };
        let (ends, ended) = mpsc::channel();
        let run = move || {
            calls.run(&inbox, &report);
            drop(ends);
        };
        let thread = telemetry::spawn(format!("transaction-{worker}"), run)
            .map_err(|error| format!("failed to start the transaction thread: {error}"))?;
        Ok(Transactions { orders: Some(orders), is_checking, call, stop, thread: Some(thread), ended })
    }

    /// Has the open transaction committed with these offsets.
    pub(super) fn commit(&self, offsets: Vec<Position>, membership: Membership) {
        self.order(Order::Commit(offsets, membership));
    }

    /// Has the open transaction reported if it has failed.
    pub(super) fn check(&self) {
        if !self.is_checking.swap(true, Ordering::Relaxed) {
            self.order(Order::Check);
        }
    }

    /// Whether a call for a commit should have returned long ago.
    pub(super) fn is_stuck(&self) -> bool {
        self.call_time().is_some_and(|time| time >= CALL_MAX)
    }

    /// How long the call has taken that is being made for a commit.
    fn call_time(&self) -> Option<Duration> {
        lock(&self.call).map(|began| now().saturating_duration_since(began))
    }

    fn order(&self, order: Order) {
        // A thread that has ended has reported why.
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.orders = None;
        let left = CALL_MAX.saturating_sub(self.call_time().unwrap_or_default());
        let has_ended = self.ended.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Disconnected);
        // A thread that doesn't end keeps its client until the call returns.
        if let Some(thread) = self.thread.take().filter(|_| has_ended) {
            let _ = thread.join();
        }
    }
}

struct Calls {
    client: Arc<Client>,
    topics: Vec<(usize, String)>,
    is_checking: Arc<AtomicBool>,
    call: Arc<Mutex<Option<Instant>>>,
    stop: Arc<AtomicBool>,
}

fn lock(call: &Mutex<Option<Instant>>) -> MutexGuard<'_, Option<Instant>> {
    call.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Calls {
    fn run(&self, inbox: &mpsc::Receiver<Order>, report: &impl Fn(TransactionReport)) {
        match self.until_done(|| self.client.init_transactions(CALL_MS)) {
            None => return,
            Some(Ok(())) => report(TransactionReport::Ready),
            Some(Err(failed)) => return report(self.failed(&failed.error)),
        }
        while let Ok(order) = inbox.recv() {
            match order {
                Order::Commit(offsets, membership) => match self.commit(&offsets, &membership.0) {
                    None => return,
                    Some(Ok(())) => report(TransactionReport::Committed(offsets)),
                    Some(Err(failed)) => {
                        self.abort(&failed);
                        return report(self.failed(&failed.error));
                    }
                },
                Order::Check => {
                    self.is_checking.store(false, Ordering::Relaxed);
                    if let Some(error) = self.failure() {
                        return report(self.failed(&error));
                    }
                }
            }
        }
    }

    /// Why the open transaction has failed, if it has. librdkafka tells that only in the answer to a call that the failure forbids: one
    /// that is wrong while a transaction is open changes nothing otherwise.
    fn failure(&self) -> Option<Error> {
        self.client.begin_transaction().err().filter(|failed| failed.requires_abort).map(|failed| failed.error)
    }

    fn failed(&self, error: &Error) -> TransactionReport {
        let denied = match error.code {
            code::TRANSACTIONAL_ID_DENIED => Some(Denial::Id),
            code::TOPIC_AUTHORIZATION_FAILED => self.denied_topic(error),
            _ => None,
        };
        TransactionReport::Failed { reason: error.to_string(), denied }
    }

    /// The topic that may not be written, which librdkafka names only in its log; `None` if all may be written by now.
    fn denied_topic(&self, error: &Error) -> Option<Denial> {
        let names: Vec<&str> = self.topics.iter().map(|(_, topic)| topic.as_str()).collect();
        let described = self.client.describe_topics(&names, DESCRIBE_MS).ok()?;
        let is_denied = |topic: &&Described| probe::denies_writing(topic) || topic.error.is_some();
        let name = &described.iter().find(is_denied)?.name;
        let &(output, _) = self.topics.iter().find(|(_, topic)| topic == name)?;
        Some(Denial::Topic(output, classify::delivery(error.code, &error.code.to_string(), name)))
    }

    /// Aborts a transaction that can't be committed any more, such as that of a member whose group has rebalanced meanwhile: otherwise
    /// the next producer finds it open, has the brokers abort it, and asks for its id again a second or two later. One try, as that
    /// remains.
    fn abort(&self, failed: &TransactionError) {
        if failed.requires_abort
            && let Err(TransactionError { error, .. }) = self.timed(|| self.client.abort_transaction(CALL_MS))
        {
            tracing::debug!("failed to abort a transaction, which the next producer does: {error}");
        }
    }

    fn commit(&self, offsets: &[Position], group: &GroupMetadata) -> Option<Result<(), TransactionError>> {
        let mut list = PartitionList::new();
        for Position { partition, offset, leader_epoch, note } in offsets {
            list.add_with_note(&partition.topic, partition.partition, offset.0, *leader_epoch, note);
        }
        // Not resumable by itself: a repetition has to have the same arguments.
        match self.until_done(|| self.timed(|| self.client.send_offsets(&list, group, CALL_MS))) {
            // Its producer was dropped: the worker reads again what is in the transaction.
            Some(Ok(())) if self.stop.load(Ordering::Relaxed) => None,
            Some(Ok(())) => self.until_done(|| self.timed(|| self.client.commit_transaction(CALL_MS))),
            other => other,
        }
    }

    fn timed<T>(&self, call: impl FnOnce() -> T) -> T {
        *lock(&self.call) = Some(now());
        let result = call();
        *lock(&self.call) = None;
        result
    }

    /// Repeats a call while that may help; `None` if the producer was dropped meanwhile.
    fn until_done(
        &self,
        mut call: impl FnMut() -> Result<(), TransactionError>,
    ) -> Option<Result<(), TransactionError>> {
        loop {
            match call() {
                Ok(()) => return Some(Ok(())),
                Err(TransactionError { is_retriable: true, .. }) if !self.stop.load(Ordering::Relaxed) => {}
                Err(_) if self.stop.load(Ordering::Relaxed) => return None,
                Err(failed) => return Some(Err(failed)),
            }
        }
    }
}
