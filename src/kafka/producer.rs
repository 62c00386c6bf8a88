//! The producer: outputs in, and reports of their delivery out.
//!
//! [`Producer::send`] is called by the worker and never waits: a full queue is a return value. The delivery thread polls
//! the producer's queue and does nothing else; it turns reports into [`Run`]s of records and hands them to the worker's inbox.
//! It keeps no state for a message: the [`Tag`] that travels with it says which record caused it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::Settings;
use super::classify;
use super::classify::code;
use super::consumer::log_line;
use super::settings;
use super::settings::TopicLimits;
use super::sys::Client;
use super::sys::Code;
use super::sys::Event;
use super::sys::EventKind;
use super::sys::Queue;
use super::sys::Side;
use super::sys::Topic;
use crate::failpoint;
use crate::failpoint::Point;
use crate::failure::Failure;
use crate::record::OutRecord;
use crate::record::Seq;

/// Whose output a message is: a lane (one partition in one epoch, numbered by the worker), the record that caused it, and
/// what kind of output it is. Packed into the 64 bits that librdkafka carries along with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The lane's number, below [`LANES_MAX`].
    pub lane: u32,
    /// What it is.
    pub kind: Kind,
    /// The record, below [`SEQ_MAX`].
    pub seq: Seq,
}

/// What an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An output of a step.
    Output,
    /// A record that was given up.
    DeadLetter,
}

/// Lanes are numbered below this.
pub const LANES_MAX: u32 = 1 << 22;
/// Records of a lane are numbered below this: at a million a second, a lane lasts for 12 days, and is then rewound.
pub const SEQ_MAX: u64 = 1 << 40;

impl Tag {
    fn pack(self) -> u64 {
        let kind = match self.kind {
            Kind::Output => 0,
            Kind::DeadLetter => 1,
        };
        u64::from(self.lane) << 42 | kind << 40 | self.seq.0
    }

    fn unpack(packed: u64) -> Tag {
        let lane = u32::try_from(packed >> 42).unwrap_or(u32::MAX);
        let kind = if packed >> 40 & 3 == 1 { Kind::DeadLetter } else { Kind::Output };
        Tag { lane, kind, seq: Seq(packed & (SEQ_MAX - 1)) }
    }
}

/// Records of a lane of which one output each was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The lane.
    pub lane: u32,
    /// What the outputs were.
    pub kind: Kind,
    /// The first record.
    pub first: Seq,
    /// The last record.
    pub last: Seq,
}

/// What an output topic took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Produced {
    /// Messages.
    pub records: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The time from producing to the acknowledgement, of one message of the report.
    pub latency_us: Option<u64>,
}

/// What the delivery thread found.
#[derive(Debug)]
pub enum Report {
    /// Messages were acknowledged.
    Delivered {
        /// Whose they were.
        runs: Vec<Run>,
        /// What each output took, in file order, and then the dead letters'.
        produced: Vec<Produced>,
        /// Bytes of keys and values of them all.
        bytes: usize,
    },
    /// A message was not delivered.
    Failed {
        /// Whose it was.
        tag: Tag,
        /// The output, by its place in the file; the dead letters' is behind the last.
        output: usize,
        /// Bytes of its key and value.
        bytes: usize,
        /// Why.
        failure: Failure,
    },
    /// A message was thrown away on our own word.
    Purged,
    /// The producer can't go on and must be made anew.
    Fatal {
        /// librdkafka's words.
        reason: String,
    },
    /// An error that mends itself, for log and metrics.
    Error {
        /// Kafka's name of it.
        name: String,
        /// librdkafka's words.
        text: String,
    },
}

/// Why an output was not taken.
#[derive(Debug)]
pub enum SendError {
    /// The queue is full: try again when something was delivered.
    Full,
    /// The record's output can't be sent.
    Failed(Failure),
}

/// The producer of one worker.
pub struct Producer {
    topics: Arc<[OutputTopic]>,
    client: Arc<Client>,
    stop: Arc<AtomicBool>,
    /// Moved by the delivery thread at each look at its queue.
    turns: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

struct OutputTopic {
    name: String,
    handle: Topic,
}

impl Producer {
    /// Makes the client and starts its delivery thread, on which `report` is called.
    ///
    /// # Errors
    /// What librdkafka says of a setting it refuses.
    pub fn start(
        settings: &Settings,
        worker: usize,
        queue_bytes: usize,
        limits: &TopicLimits,
        report: impl FnMut(Report) + Send + 'static,
    ) -> Result<Producer, String> {
        let client = Client::new(Side::Producer, &settings::producer(settings, worker, queue_bytes, limits))?;
        let topics: Result<Vec<OutputTopic>, String> = settings
            .written()
            .map(|output| {
                let handle = Topic::new(&client, &output.topic, &settings::topic(output))
                    .map_err(|reason| format!("output `{}`: {reason}", output.name))?;
                Ok(OutputTopic { name: output.topic.clone(), handle })
            })
            .collect();
        let topics: Arc<[OutputTopic]> = topics?.into();
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(AtomicU64::new(0));
        let delivery = Delivery {
            queue: client.queue(),
            client: Arc::clone(&client),
            topics: Arc::clone(&topics),
            runs: Vec::new(),
            turns: Arc::clone(&turns),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(format!("delivery-{worker}"))
            .spawn(move || delivery.run(&stopped, report))
            .map_err(|error| format!("failed to start the delivery thread: {error}"))?;
        Ok(Producer { topics, client, stop, turns, thread: Some(thread) })
    }

    /// Queues an output for the topic of this place in the file, or behind them for the dead letters'. A `partition` of -1 leaves the choice to the partitioner.
    ///
    /// # Errors
    /// See [`SendError`]; nothing was queued then.
    pub fn send(&self, output: usize, record: &OutRecord<'_>, partition: i32, tag: Tag) -> Result<(), SendError> {
        let topic = &self.topics[output];
        topic.handle.produce(record, partition, tag.pack()).map_err(|code| match code {
            code::QUEUE_FULL => SendError::Full,
            other => SendError::Failed(classify::delivery(other, &other.to_string(), &topic.name)),
        })
    }

    /// How often the delivery thread has looked at its queue: ten times a second at least, unless it stands still.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Whether its delivery thread is there: without it no output is ever known to be delivered.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Messages that were queued and not yet reported.
    #[must_use]
    pub fn unreported(&self) -> usize {
        self.client.unreported()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // What is still queued belongs to records that will be read again.
        self.client.purge();
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How long the delivery thread waits for a report before it looks whether it shall stop.
const POLL_MS: i32 = 100;

struct Delivery {
    queue: Queue,
    client: Arc<Client>,
    topics: Arc<[OutputTopic]>,
    runs: Vec<Run>,
    turns: Arc<AtomicU64>,
}

impl Delivery {
    fn run(mut self, stop: &AtomicBool, mut report: impl FnMut(Report)) {
        while !stop.load(Ordering::Relaxed) {
            self.turns.fetch_add(1, Ordering::Relaxed);
            let Some(event) = self.queue.poll(POLL_MS) else { continue };
            match event.kind() {
                EventKind::Delivery => self.delivered(event, &mut report),
                EventKind::Log => {
                    // The consumer meets the same certificates, and tells of them.
                    let _ = log_line(&event);
                }
                EventKind::Error if event.is_fatal() || event.code() == code::FATAL => {
                    let reason =
                        self.client.fatal_error().map_or_else(|| event.error_text(), |error| error.to_string());
                    report(Report::Fatal { reason });
                }
                EventKind::Error => report(Report::Error { name: event.code().name(), text: event.error_text() }),
                EventKind::Fetch
                | EventKind::Rebalance
                | EventKind::OffsetCommit
                | EventKind::Stats
                | EventKind::Other => {}
            }
        }
    }

    fn delivered(&mut self, mut event: Event, report: &mut impl FnMut(Report)) {
        let mut produced = vec![Produced::default(); self.topics.len()];
        let mut total = 0;
        let mut output = 0;
        while let Some(message) = event.next_message() {
            // Messages come in runs of one topic.
            if !self.topics.get(output).is_some_and(|topic| message.is_of(&topic.handle)) {
                output = self.topics.iter().position(|topic| message.is_of(&topic.handle)).unwrap_or(0);
            }
            let tag = Tag::unpack(message.tag());
            let bytes = message.size();
            match message.code() {
                Code::OK => {
                    total += bytes;
                    let produced = &mut produced[output];
                    produced.records += 1;
                    produced.bytes += bytes as u64;
                    if produced.latency_us.is_none() {
                        produced.latency_us = u64::try_from(message.latency_us()).ok();
                    }
                    extend(&mut self.runs, tag);
                }
                code::PURGE_QUEUE | code::PURGE_INFLIGHT => report(Report::Purged),
                other => {
                    let text = message.error_text();
                    let failure = classify::report(other, &text, &self.topics[output].name);
                    report(Report::Failed { tag, output, bytes, failure });
                }
            }
        }
        if !self.runs.is_empty() {
            let runs = std::mem::take(&mut self.runs);
            self.runs.reserve(runs.len().min(64));
            failpoint::pass(Point::InDelivery);
            report(Report::Delivered { runs, produced, bytes: total });
        }
    }
}

/// Adds a record to the last run if it is the next of its lane, else begins a run.
fn extend(runs: &mut Vec<Run>, tag: Tag) {
    match runs.last_mut() {
        Some(run) if run.lane == tag.lane && run.kind == tag.kind && run.last.plus(1) == tag.seq => run.last = tag.seq,
        _ => runs.push(Run { lane: tag.lane, kind: tag.kind, first: tag.seq, last: tag.seq }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_its_journey() {
        for kind in [Kind::Output, Kind::DeadLetter] {
            let tag = Tag { lane: LANES_MAX - 1, kind, seq: Seq(SEQ_MAX - 1) };
            assert_eq!(Tag::unpack(tag.pack()), tag);
        }
    }

    #[test]
    fn records_that_follow_each_other_make_one_run() {
        let mut runs = Vec::new();
        for (lane, seq) in [(1, 4), (1, 5), (1, 5), (2, 6), (2, 8)] {
            extend(&mut runs, Tag { lane, kind: Kind::Output, seq: Seq(seq) });
        }
        let found: Vec<_> = runs.iter().map(|run| (run.lane, run.first.0, run.last.0)).collect();
        assert_eq!(found, [(1, 4, 5), (1, 5, 5), (2, 6, 6), (2, 8, 8)]);
    }
}
