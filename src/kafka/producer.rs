//! The producer: takes outputs and reports their delivery.
//!
//! The worker calls [`Producer::send`], which never waits: a full queue is a return value. Deliveries are counted on
//! librdkafka's own threads, message by message, as [`Run`]s of records, and the worker collects the counts. The
//! delivery thread polls the producer's queue for everything else and forwards it to the worker's inbox. Neither keeps
//! state per message: the [`Tag`] that librdkafka carries with a message identifies the record that it belongs to.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::Settings;
use super::classify;
use super::classify::code;
use super::consumer::Position;
use super::consumer::log_line;
use super::limits::Batching;
use super::limits::TopicLimits;
use super::settings;
use super::settings::Guarantee;
use super::sys::Client;
use super::sys::Event;
use super::sys::EventKind;
use super::sys::Message;
use super::sys::OnDelivered;
use super::sys::Queue;
use super::sys::QueueWaker;
use super::sys::Sent;
use super::sys::Topic;
use super::tag::Opaque;
pub use super::tag::Tag;
pub use super::tag::TagKind;
use super::transaction::Denial;
use super::transaction::Membership;
use super::transaction::TransactionReport;
use super::transaction::Transactions;
use crate::batch::Batch;
use crate::failpoint;
use crate::failpoint::Point;
use crate::failure;
use crate::failure::Class;
use crate::failure::Failure;
use crate::record::OutRecord;
use crate::record::Record;
use crate::record::Seq;
use crate::record::TopicPartition;
use crate::telemetry;

/// Consecutive records of an assignment with one acknowledged output each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The kind of the outputs.
    pub kind: TagKind,
    /// The first record.
    pub first: Seq,
    /// The last record.
    pub last: Seq,
}

/// What was delivered to an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Produced {
    /// Messages.
    pub records: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The time from producing the first of them to its acknowledgement.
    pub latency_us: Option<u64>,
}

/// Messages that all in-sync replicas have.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The records that the messages belong to.
    pub runs: Vec<Run>,
    /// Whether a copy sent by [`Producer::send_sample`] was among them.
    pub has_sample: bool,
    /// Per output in file order, and then per topic that records name, what was delivered. Empty if nothing was.
    pub produced: Vec<Produced>,
    /// Bytes of keys and values of all of them.
    pub bytes: usize,
}

impl Delivered {
    /// Whether nothing was delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && !self.has_sample
    }
}

/// A report of a producer.
#[derive(Debug)]
pub enum ProducerReport {
    /// Messages were delivered. Sent once until the worker calls [`Producer::take_delivered`].
    Delivered,
    /// Messages of one batch were not delivered.
    Failed {
        /// All of them, in order.
        batch: Vec<Undelivered>,
        /// The first of them, if a person must act before its topic takes anything.
        sample: Option<Box<Sample>>,
    },
    /// Messages were dropped: the worker abandoned them, or their transaction failed, see [`Producer::check_transaction`].
    Purged,
    /// With exactly-once delivery: what became of the producer's transaction.
    Transaction(TransactionReport),
    /// The producer can't continue and must be replaced.
    Fatal {
        /// librdkafka's error message.
        reason: String,
    },
    /// An error that librdkafka recovers from, for the log and the metrics.
    Error {
        /// Kafka's name of the error.
        name: String,
        /// librdkafka's error message.
        text: String,
    },
}

/// A message that was not delivered.
#[derive(Debug)]
pub struct Undelivered {
    /// The tag of the message; `None` for a copy sent by [`Producer::send_sample`].
    pub tag: Option<Tag>,
    /// The index of the output in the file; dead letters have the index after the last output, and topics that records name come
    /// after all of them.
    pub output: usize,
    /// Bytes of its key and value.
    pub bytes: usize,
    /// Why.
    pub failure: Failure,
    /// Whether the failure is about this message. Otherwise it is about its batch, and which message caused it is
    /// unknown.
    pub is_verdict: bool,
}

impl Undelivered {
    /// Whether its topic rejects its timestamp.
    #[must_use]
    pub fn is_about_time(&self) -> bool {
        classify::is_about_time(&self.failure)
    }

    /// Whether its batch was too large.
    #[must_use]
    pub fn is_about_size(&self) -> bool {
        classify::is_about_size(&self.failure)
    }
}

/// A copy of a message, sent to find out whether its topic accepts it now.
#[derive(Debug)]
pub struct Sample {
    output: usize,
    partition: i32,
    message: Batch,
}

impl Sample {
    /// A copy of an output that was not queued.
    #[must_use]
    pub fn new(output: usize, partition: i32, record: &OutRecord<'_>) -> Sample {
        let mut message = Sample::empty();
        message.push(0, record.timestamp, 0, record.key, record.value, record.headers.iter());
        Sample { output, partition, message }
    }

    fn of(output: usize, failed: &Message<'_>) -> Sample {
        let mut message = Sample::empty();
        message.push(0, failed.timestamp(), 0, failed.key(), failed.value(), failed.headers());
        Sample { output, partition: failed.partition(), message }
    }

    fn empty() -> Batch {
        Batch::new(TopicPartition { topic: "".into(), partition: 0 })
    }

    /// The output that it is for.
    #[must_use]
    pub fn output(&self) -> usize {
        self.output
    }

    /// The bytes of its key and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let record = self.message.record(0);
        [record.key, record.value].into_iter().flatten().map(<[u8]>::len).sum()
    }
}

/// Why [`Producer::send`] didn't queue an output.
#[derive(Debug)]
pub enum SendError {
    /// The queue is full: try again after a delivery.
    Full,
    /// The record's output can't be sent.
    Failed(Failure),
}

/// The producer of one worker.
pub struct Producer {
    /// `None` for an output without a topic of its own.
    topics: Arc<[Option<OutputTopic>]>,
    /// The topics that records name, which come after the others, and their names for the delivery thread.
    named: Vec<OutputTopic>,
    names: Arc<Mutex<Vec<Arc<str>>>>,
    client: Arc<Client>,
    counter: Arc<Counter>,
    stop: Arc<AtomicBool>,
    /// Incremented by the delivery thread at each poll of its queue.
    turns: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    /// With exactly-once delivery. Dropped while the delivery thread still polls, which its calls need.
    transactions: Option<Transactions>,
    message_bytes: usize,
}

struct OutputTopic {
    name: Arc<str>,
    handle: Topic,
}

/// Counts deliveries until the worker takes them. Bounded by what is in flight.
#[derive(Default)]
struct Counter {
    /// The number of outputs.
    outputs: usize,
    delivered: Mutex<Delivered>,
    /// Set when counting panicked. Nothing is counted after that.
    is_broken: AtomicBool,
}

impl Counter {
    fn delivered(&self) -> MutexGuard<'_, Delivered> {
        // After a panic nothing more is added, and everything counted so far was delivered.
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a message. `true` if it is the first since the worker last took the counts, so that the worker must be
    /// notified.
    fn add(&self, sent: Sent<'_>) -> bool {
        let opaque = Opaque::unpack(sent.tag());
        let bytes = sent.size();
        let mut delivered = self.delivered();
        let is_first = delivered.is_empty();
        delivered.bytes += bytes;
        let outputs = self.outputs.max(delivered.produced.len());
        delivered.produced.resize(outputs, Produced::default());
        if let Opaque::Of(Tag { kind: TagKind::Output(output), .. }) = opaque
            && let Some(produced) = produced_of(&mut delivered.produced, output)
        {
            produced.records += 1;
            produced.bytes += bytes as u64;
            if produced.latency_us.is_none() {
                produced.latency_us = u64::try_from(sent.latency_us()).ok();
            }
        }
        match opaque {
            Opaque::Of(tag) => extend(&mut delivered.runs, tag),
            Opaque::Sample { .. } => delivered.has_sample = true,
        }
        is_first
    }
}

/// What was delivered to an output. Those of topics that records name are added as they come.
fn produced_of(produced: &mut Vec<Produced>, output: usize) -> Option<&mut Produced> {
    if produced.len() <= output && output < settings::OUTPUTS_MAX {
        produced.resize(output + 1, Produced::default());
    }
    produced.get_mut(output)
}

impl Producer {
    /// Creates the client and starts its delivery thread. `report` is called on that thread and on the client's own
    /// threads.
    ///
    /// # Errors
    /// librdkafka's error message about a setting that it rejects.
    pub fn start(
        settings: &Settings,
        worker: usize,
        queue_bytes: usize,
        limits: &TopicLimits,
        batching: Batching,
        report: impl Fn(ProducerReport) + Clone + Send + Sync + 'static,
    ) -> Result<Producer, String> {
        let counter = Arc::new(Counter { outputs: settings.outputs.len(), ..Counter::default() });
        let seen = {
            let (counter, report) = (Arc::clone(&counter), report.clone());
            move |sent: Sent<'_>| {
                if counter.is_broken.load(Ordering::Relaxed) {
                    return;
                }
                // The caller is C code, through which a panic can't unwind.
                let counted = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    if counter.add(sent) {
                        failpoint::pass(Point::InDelivery);
                        report(ProducerReport::Delivered);
                    }
                }));
                if counted.is_err() {
                    counter.is_broken.store(true, Ordering::Relaxed);
                }
            }
        };
        let config = settings::producer(settings, worker, queue_bytes, limits, batching);
        let hide = |reason: String| settings.hidden.hide(&reason);
        let client = Client::producer(&config, OnDelivered(Box::new(seen)), settings.token_hook()?).map_err(hide)?;
        let topics: Result<Vec<Option<OutputTopic>>, String> = settings
            .written()
            .map(|output| {
                let Some(topic) = &output.topic else { return Ok(None) };
                let handle = Topic::new(&client, topic, &settings::topic(output))
                    .map_err(|reason| format!("output `{}`: {}", output.name, hide(reason)))?;
                Ok(Some(OutputTopic { name: topic.as_str().into(), handle }))
            })
            .collect();
        let topics: Arc<[Option<OutputTopic>]> = topics?.into();
        let names: Arc<Mutex<Vec<Arc<str>>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(AtomicU64::new(0));
        let delivery = Delivery {
            queue: client.queue(),
            client: Arc::clone(&client),
            topics: Arc::clone(&topics),
            names: Arc::clone(&names),
            dead_letters: settings.outputs.len(),
            turns: Arc::clone(&turns),
        };
        let transactions = match settings.delivery {
            Guarantee::AtLeastOnce => None,
            Guarantee::ExactlyOnce { .. } => {
                let report = report.clone();
                let report = move |done| report(ProducerReport::Transaction(done));
                let topics = settings.topics_written().map(|(place, topic)| (place, topic.to_owned())).collect();
                Some(Transactions::start(Arc::clone(&client), topics, worker, report)?)
            }
        };
        let stopped = Arc::clone(&stop);
        let thread = telemetry::spawn(format!("delivery-{worker}"), move || delivery.run(&stopped, report))
            .map_err(|error| format!("failed to start the delivery thread: {error}"))?;
        Ok(Producer {
            topics,
            named: Vec::new(),
            names,
            client,
            counter,
            stop,
            turns,
            thread: Some(thread),
            transactions,
            message_bytes: limits.message_bytes(),
        })
    }

    /// The largest record in bytes that this producer takes. It follows from the topics' limits that were known when it
    /// was created.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    /// Adds topics that records name, those after the ones that it has: each has the settings of its output. Their indexes follow those
    /// of the outputs, the dead letters and the changelog.
    ///
    /// # Errors
    /// librdkafka's error message about a topic that it refuses.
    pub fn add_named(&mut self, settings: &Settings, topics: &[(usize, Arc<str>)]) -> Result<(), String> {
        for (output, name) in topics.iter().skip(self.named.len()) {
            let config = settings.outputs.get(*output).map(settings::topic).unwrap_or_default();
            let handle = Topic::new(&self.client, name, &config)
                .map_err(|reason| format!("topic `{name}`: {}", settings.hidden.hide(&reason)))?;
            self.named.push(OutputTopic { name: Arc::clone(name), handle });
            // Locked by this thread and the delivery thread, for a moment.
            self.names.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(name));
        }
        Ok(())
    }

    /// Whether it has a topic for outputs of this index.
    #[must_use]
    pub fn knows(&self, output: usize) -> bool {
        output < self.topics.len() + self.named.len()
    }

    /// Queues an output. `output` is its index in the file, the index after the last output for a dead letter, or that of a topic that
    /// was added. A `partition` of -1 leaves the choice to the partitioner.
    ///
    /// # Errors
    /// See [`SendError`]; nothing was queued then.
    pub fn send(&self, output: usize, record: &OutRecord<'_>, partition: i32, tag: Tag) -> Result<(), SendError> {
        self.produce(output, record, partition, Opaque::Of(tag))
    }

    fn produce(&self, output: usize, record: &OutRecord<'_>, partition: i32, opaque: Opaque) -> Result<(), SendError> {
        let topic = match output.checked_sub(self.topics.len()) {
            None => self.topics[output].as_ref(),
            Some(named) => self.named.get(named),
        };
        let Some(topic) = topic else {
            let reason = "an output without a topic, which is a bug";
            return Err(SendError::Failed(Failure::new(failure::Kind::Refused, None, reason)));
        };
        topic.handle.produce(record, partition, opaque.pack()).map_err(|code| match code {
            // The queue is empty, so waiting would not make room.
            code::QUEUE_FULL if self.unreported() == 0 => SendError::Failed(Failure::new(
                failure::Kind::TooLarge,
                None,
                format!(
                    "an output to `{}` is larger than all that may be in flight: raise `limits.max_in_flight.bytes`",
                    topic.name
                ),
            )),
            // The transaction has failed.
            code::STATE if self.transactions.is_some() => {
                self.check_transaction();
                SendError::Full
            }
            // When the client can't continue, the reason comes as a report.
            code::QUEUE_FULL | code::FATAL | code::GAPLESS_GUARANTEE => SendError::Full,
            other => SendError::Failed(classify::delivery(other, &other.to_string(), &topic.name)),
        })
    }

    /// Queues a copy of an output that was not delivered.
    ///
    /// # Errors
    /// See [`SendError`]; nothing was queued then.
    pub fn send_sample(&self, sample: &Sample) -> Result<(), SendError> {
        let Record { timestamp, key, value, headers, .. } = sample.message.record(0);
        let (parent, port, topic) = (0, 0, None);
        let record = OutRecord { parent, port, topic, partition: None, timestamp, key, value, headers };
        self.produce(sample.output, &record, sample.partition, Opaque::Sample { output: sample.output })
    }

    /// Begins a transaction. Doesn't wait.
    ///
    /// # Errors
    /// librdkafka's error message.
    pub fn begin(&self) -> Result<(), String> {
        self.client.begin_transaction().map_err(|failed| failed.error.to_string())
    }

    /// Commits the transaction with these offsets. A [`ProducerReport::Transaction`] tells how that ended.
    pub fn commit(&self, offsets: Vec<Position>, membership: Membership) {
        if let Some(transactions) = &self.transactions {
            transactions.commit(offsets, membership);
        }
    }

    /// Asks whether the open transaction has failed, which librdkafka tells only when it is asked. A
    /// [`ProducerReport::Transaction`] tells if it has.
    pub fn check_transaction(&self) {
        if let Some(transactions) = &self.transactions {
            transactions.check();
        }
    }

    /// Whether the transaction's commit makes no progress that could still end, so that the producer has to be replaced.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.transactions.as_ref().is_some_and(Transactions::is_stuck)
    }

    /// Takes what was delivered since the last call.
    #[must_use]
    pub fn take_delivered(&self) -> Delivered {
        std::mem::take(&mut *self.counter.delivered())
    }

    /// How often the delivery thread has polled its queue: at least once a second, unless it is stuck.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Whether deliveries are still counted and the delivery thread still runs. Otherwise the fate of outputs is
    /// unknown.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let is_counting = !self.counter.is_broken.load(Ordering::Relaxed);
        is_counting && self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Whether it sends nothing more: a delivery failed, and the messages queued behind the failed one must not
    /// overtake it.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.client.fatal_error().is_some()
    }

    /// Discards messages that aren't sent yet; their records will be read again, possibly by another member. Doesn't
    /// wait.
    pub fn abandon(&self) {
        self.client.purge();
    }

    /// The number of messages that were queued and not yet reported.
    #[must_use]
    pub fn unreported(&self) -> usize {
        self.client.unreported()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.abandon();
        self.transactions = None;
        self.stop.store(true, Ordering::Relaxed);
        QueueWaker::new(self.client.queue()).wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How long the delivery thread waits for an event before it shows that it is alive. It is woken when it has to stop.
const POLL_MS: i32 = 1000;

struct Delivery {
    queue: Queue,
    client: Arc<Client>,
    topics: Arc<[Option<OutputTopic>]>,
    names: Arc<Mutex<Vec<Arc<str>>>>,
    /// The index of the dead-letter topic.
    dead_letters: usize,
    turns: Arc<AtomicU64>,
}

impl Delivery {
    fn run(self, stop: &AtomicBool, report: impl Fn(ProducerReport)) {
        while !stop.load(Ordering::Relaxed) {
            self.turns.fetch_add(1, Ordering::Relaxed);
            let Some(event) = self.queue.poll(POLL_MS) else { continue };
            match event.kind() {
                EventKind::Delivery => self.failed(event, &report),
                // The error is also reported as an event.
                EventKind::Log if event.log().1 == "FATAL" => {}
                EventKind::Log => {
                    // The consumer sees the same certificates and reports them.
                    let _ = log_line(&event);
                }
                EventKind::Error if event.is_fatal() || event.code() == code::FATAL => {
                    let error = self.client.fatal_error();
                    // It comes before or after the answer to the call that failed, and only the first of the two counts.
                    if let Some(error) = &error
                        && error.code == code::TRANSACTIONAL_ID_DENIED
                    {
                        let reason = error.to_string();
                        let denied = Some(Denial::Id);
                        report(ProducerReport::Transaction(TransactionReport::Failed { reason, denied }));
                        continue;
                    }
                    // The undelivered messages follow, with the reason.
                    if error.as_ref().is_none_or(|error| error.code != code::GAPLESS_GUARANTEE) {
                        let reason = error.map_or_else(|| event.error_text(), |error| error.to_string());
                        report(ProducerReport::Fatal { reason });
                    }
                }
                EventKind::Error => {
                    report(ProducerReport::Error { name: event.code().name(), text: event.error_text() })
                }
                EventKind::Fetch
                | EventKind::Rebalance
                | EventKind::OffsetCommit
                | EventKind::Stats
                | EventKind::Other => {}
            }
        }
    }

    /// The topic of an output; empty if there is none.
    fn name_of(&self, output: usize) -> Arc<str> {
        let name = match output.checked_sub(self.topics.len()) {
            None => self.topics[output].as_ref().map(|topic| Arc::clone(&topic.name)),
            // See `Producer::add_named`.
            Some(named) => self.names.lock().unwrap_or_else(PoisonError::into_inner).get(named).cloned(),
        };
        name.unwrap_or_default()
    }

    fn failed(&self, mut event: Event, report: &impl Fn(ProducerReport)) {
        let (mut batch, mut sample) = (Vec::new(), None);
        let mut has_purged = false;
        while let Some(sent) = event.next_sent() {
            if matches!(sent.code(), code::PURGE_QUEUE | code::PURGE_INFLIGHT) {
                has_purged = true;
                continue;
            }
            let (output, tag) = match Opaque::unpack(sent.tag()) {
                Opaque::Of(tag @ Tag { kind: TagKind::Output(output), .. }) => (output, Some(tag)),
                Opaque::Of(tag @ Tag { kind: TagKind::DeadLetter, .. }) => (self.dead_letters, Some(tag)),
                Opaque::Sample { output } => (output, None),
            };
            let topic = self.name_of(output);
            let refusal = self.client.refusal(sent);
            let failure = classify::report(refusal.code, &refusal.text, &topic);
            if sample.is_none() && failure.kind.class() == Class::Halt {
                sample = Some(Box::new(Sample::of(output, &sent.content())));
            }
            batch.push(Undelivered { tag, output, bytes: sent.size(), failure, is_verdict: true });
        }
        let kinds: Vec<_> = batch.iter().map(|message| message.failure.kind).collect();
        for message in &mut batch {
            message.is_verdict = classify::is_verdict(message.failure.kind, &kinds);
        }
        if !batch.is_empty() {
            report(ProducerReport::Failed { batch, sample });
        }
        if has_purged {
            report(ProducerReport::Purged);
        }
    }
}

/// Extends the last run if the record is the next one of its assignment, otherwise starts a run.
fn extend(runs: &mut Vec<Run>, tag: Tag) {
    match runs.last_mut() {
        Some(run) if run.kind == tag.kind && run.last.plus(1) == tag.seq => run.last = tag.seq,
        _ => runs.push(Run { kind: tag.kind, first: tag.seq, last: tag.seq }),
    }
}

#[cfg(test)]
mod tests;
