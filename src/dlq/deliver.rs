//! Sends what became of records, and waits until the brokers have it.
//!
//! A record that is refused is reported to the caller, who decides about it and sends the chunk again: what was acknowledged isn't
//! sent twice, except in a transaction, which is then another one.

use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::Letter;
use super::outcome::Item;
use super::outcome::Outcome;
use crate::batch::Batch;
use crate::dry_run::Made;
use crate::dry_run::line::FeedRecord;
use crate::failure::Class;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::kafka;
use crate::kafka::Producer;
use crate::kafka::consumer::Position;
use crate::kafka::limits::Batching;
use crate::kafka::limits::TopicLimits;
use crate::kafka::producer::ProducerReport;
use crate::kafka::producer::SendError;
use crate::kafka::producer::Tag;
use crate::kafka::producer::TagKind;
use crate::kafka::producer::Undelivered;
use crate::kafka::settings::Guarantee;
use crate::kafka::settings::OUTPUTS_MAX;
use crate::kafka::settings::Output;
use crate::kafka::settings::Partition;
use crate::kafka::transaction::Denial;
use crate::kafka::transaction::Membership;
use crate::kafka::transaction::TransactionReport;
use crate::record::AssignmentIds;
use crate::record::Header;
use crate::record::OutRecord;
use crate::record::Seq;
use crate::record::TopicPartition;
use crate::sink::DeadLetters;
use crate::sink::GivenUp;
use crate::sink::size;
use crate::worker::clock;

/// Why a chunk was not delivered.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A message of this record of the chunk is refused.
    Refused { item: usize, failure: Box<Failure>, is_about_time: bool },
    /// It may be delivered when it is sent again.
    Again(String),
    /// A person must act.
    Denied(String),
    /// The caller doesn't want to wait any longer.
    Interrupted,
}

/// Called while there is nothing else to do, with the last error of a connection; `true` ends the wait.
pub(super) type Idle<'a> = &'a mut dyn FnMut(Option<&str>) -> bool;

/// The outputs of the pipeline.
pub(super) struct Outputs {
    settings: kafka::Settings,
    limits: TopicLimits,
    /// The number of partitions of each output's topic; `None` if unknown.
    partitions: Vec<Option<i32>>,
    dead_letters: DeadLetters,
    /// While a refused batch doesn't say which of its records is the cause.
    batching: Batching,
    started: Option<Started>,
    /// The last error of a connection.
    error: Option<String>,
}

struct Started {
    producer: Producer,
    reports: mpsc::Receiver<ProducerReport>,
    /// The number of the first record of a chunk.
    first: Seq,
    is_ready: bool,
}

/// The most bytes at the producer.
const QUEUE_BYTES: usize = 32 << 20;
/// How long one wait for a report takes.
const WAIT: Duration = Duration::from_millis(100);
/// How long to wait for the reports about a chunk of which a record has failed.
const SETTLING: Duration = Duration::from_secs(5);

impl Outputs {
    pub(super) fn new(
        settings: kafka::Settings,
        limits: TopicLimits,
        partitions: Vec<Option<i32>>,
        dead_letters: DeadLetters,
    ) -> Outputs {
        Outputs { settings, limits, partitions, dead_letters, batching: Batching::Full, started: None, error: None }
    }

    /// Whether outputs and offsets are committed together.
    pub(super) fn is_exactly_once(&self) -> bool {
        self.settings.delivery != Guarantee::AtLeastOnce
    }

    /// Forgets what is at the producer. An open transaction is aborted when the next producer starts.
    pub(super) fn reset(&mut self) {
        self.started = None;
    }

    /// Sends the records of a chunk that aren't delivered yet, in their order, and waits until they are. In a transaction all of them
    /// are sent.
    pub(super) fn send(&mut self, items: &mut [Item], idle: Idle<'_>) -> Result<(), Trouble> {
        let is_exactly_once = self.is_exactly_once();
        if is_exactly_once {
            items.iter_mut().for_each(|item| item.is_delivered = false);
        }
        let sent = self.try_to_send(items, idle);
        if sent.is_ok() {
            self.batching = Batching::Full;
            if self.started.as_ref().is_some_and(|started| !started.producer.is_alive() || started.producer.is_spent())
            {
                self.reset();
            }
        } else {
            if let Some(started) = self.started.as_ref().filter(|_| !is_exactly_once) {
                started.settle(items);
            }
            self.reset();
        }
        sent
    }

    fn try_to_send(&mut self, items: &mut [Item], idle: Idle<'_>) -> Result<(), Trouble> {
        self.start(items, idle)?;
        let Some(started) = &self.started else { return Err(Trouble::Again("there is no producer".into())) };
        if self.is_exactly_once() {
            started.producer.begin().map_err(Trouble::Again)?;
        }
        for index in 0..items.len() {
            if items[index].is_delivered {
                continue;
            }
            let messages = self.messages(&items[index]).map_err(|failure| Trouble::Refused {
                item: index,
                failure: Box::new(failure),
                is_about_time: false,
            })?;
            items[index].open = messages.len();
            items[index].is_delivered = messages.is_empty();
            for message in messages {
                self.hand_over(index, &message, items, idle)?;
            }
        }
        while items.iter().any(|item| !item.is_delivered) {
            self.hear(items, idle)?;
        }
        Ok(())
    }

    /// Commits the transaction with these offsets.
    pub(super) fn commit(
        &mut self,
        offsets: Vec<Position>,
        membership: Membership,
        idle: Idle<'_>,
    ) -> Result<(), Trouble> {
        let Some(started) = &self.started else { return Err(Trouble::Again("the transaction is lost".into())) };
        started.producer.commit(offsets, membership);
        loop {
            match self.report(idle)? {
                Some(ProducerReport::Transaction(TransactionReport::Committed(_))) => return Ok(()),
                Some(ProducerReport::Fatal { reason }) => return Err(Trouble::Again(reason)),
                Some(_) | None => {}
            }
        }
    }

    /// Starts a producer unless there is one that knows all topics.
    pub(super) fn start(&mut self, items: &[Item], idle: Idle<'_>) -> Result<(), Trouble> {
        for item in items.iter().filter(|item| matches!(item.outcome, Outcome::WrittenBack { .. })) {
            let topic = &item.letter.failure.source.topic;
            if self.settings.outputs.iter().all(|output| output.topic_name() != &**topic) {
                self.started = None;
                self.settings.outputs.push(Output {
                    name: topic.as_ref().into(),
                    topic: Some(topic.to_string()),
                    partition: Partition::ByKey,
                    compression: "none".into(),
                    librdkafka: std::collections::BTreeMap::new(),
                });
            }
        }
        for item in items {
            let Outcome::Outputs(made) = &item.outcome else { continue };
            made.iter().for_each(|made| self.add_named(made));
        }
        if self.started.is_none() {
            let (send, reports) = mpsc::channel();
            // Sending fails only once the producer is dropped.
            let report = move |report| drop(send.send(report));
            let producer = Producer::start(&self.settings, 0, QUEUE_BYTES, &self.limits, self.batching, report);
            let producer = producer.map_err(Trouble::Denied)?;
            let first = Seq::first_of(AssignmentIds::default().issue(|_| false));
            self.started = Some(Started { producer, reports, first, is_ready: !self.is_exactly_once() });
        }
        while self.started.as_ref().is_some_and(|started| !started.is_ready) {
            if let Some(ProducerReport::Transaction(TransactionReport::Ready)) = self.report(idle)?
                && let Some(started) = &mut self.started
            {
                started.is_ready = true;
            }
        }
        Ok(())
    }

    /// Adds a topic that a record named as an output of its own, with the settings of the one that it was allowed for.
    fn add_named(&mut self, made: &Made) {
        let outputs = &self.settings.outputs;
        let Some(of) = outputs.iter().find(|output| output.name == made.output) else { return };
        // The dead letters and a topic to write back to have numbers, too.
        let has_room = outputs.len() + 2 < OUTPUTS_MAX;
        if has_room && self.place_of(made).is_none() {
            let output = Output { topic: Some(made.topic.clone()), ..of.clone() };
            self.started = None;
            self.settings.outputs.push(output);
        }
    }

    /// The index of the output that a record goes to.
    fn place_of(&self, made: &Made) -> Option<usize> {
        let is_it = |output: &Output| output.name == made.output && output.topic.as_ref() == Some(&made.topic);
        self.settings.outputs.iter().position(is_it)
    }

    /// Queues a message. Waits for room.
    fn hand_over(
        &mut self,
        index: usize,
        message: &Message,
        items: &mut [Item],
        idle: Idle<'_>,
    ) -> Result<(), Trouble> {
        loop {
            let Some(started) = &self.started else { return Err(Trouble::Again("the producer is lost".into())) };
            let tag = Tag { kind: message.kind, seq: started.first.plus(index) };
            let refused = match started.producer.send(message.output, &message.record(), message.partition, tag) {
                Ok(()) => return Ok(()),
                Err(SendError::Full) => None,
                Err(SendError::Failed(failure)) => Some(failure),
            };
            match refused {
                None => self.hear(items, idle)?,
                Some(failure) if failure.kind == Kind::TooLarge && self.make_room(message) => {
                    return Err(Trouble::Again(failure.reason));
                }
                Some(failure) => {
                    // What was queued before is on its way.
                    while items[..index].iter().any(|item| !item.is_delivered) {
                        self.hear(items, idle)?;
                    }
                    return Err(self.trouble(index, message.output, failure, true));
                }
            }
        }
    }

    /// Whether a producer with a higher limit would take a message: the broker decides how large a record may be.
    fn make_room(&mut self, message: &Message) -> bool {
        let taken = self.started.as_ref().map_or(0, |started| started.producer.message_bytes());
        self.limits.make_room(size::batch_bytes(&message.record()), taken)
    }

    /// Waits for a report, and counts what was delivered.
    fn hear(&mut self, items: &mut [Item], idle: Idle<'_>) -> Result<(), Trouble> {
        match self.report(idle)? {
            Some(ProducerReport::Delivered) => {
                if let Some(started) = &self.started {
                    started.count(items);
                }
            }
            Some(ProducerReport::Failed { batch, .. }) => return Err(self.why(batch)),
            Some(ProducerReport::Fatal { reason }) => return Err(Trouble::Again(reason)),
            Some(ProducerReport::Purged) => {
                if let Some(started) = &self.started {
                    started.producer.check_transaction();
                }
            }
            Some(ProducerReport::Transaction(_) | ProducerReport::Error { .. }) | None => {}
        }
        Ok(())
    }

    /// The next report; `None` if there was none for a moment.
    fn report(&mut self, idle: Idle<'_>) -> Result<Option<ProducerReport>, Trouble> {
        let Some(started) = &self.started else { return Err(Trouble::Again("the producer is lost".into())) };
        match started.reports.recv_timeout(WAIT) {
            Ok(ProducerReport::Transaction(TransactionReport::Failed { reason, denied: Some(Denial::Id) })) => {
                let prefix = kafka::settings::transactional_ids(&self.settings.input.group);
                let grant = kafka::Commands::of(&self.settings).allow_transactions(&prefix);
                Err(Trouble::Denied(format!("transactions are denied: {reason}; grant it: {grant}")))
            }
            Ok(ProducerReport::Transaction(TransactionReport::Failed {
                denied: Some(Denial::Topic(output, failure)),
                ..
            })) => Err(self.trouble(0, output, failure, false)),
            Ok(ProducerReport::Transaction(TransactionReport::Failed { reason, denied: None })) => {
                Err(Trouble::Again(reason))
            }
            Ok(ProducerReport::Error { text, .. }) => {
                self.error = Some(text);
                Ok(None)
            }
            Ok(report) => {
                self.error = None;
                Ok(Some(report))
            }
            Err(RecvTimeoutError::Timeout) if idle(self.error.as_deref()) => Err(Trouble::Interrupted),
            Err(RecvTimeoutError::Timeout) if started.producer.is_stuck() => {
                Err(Trouble::Again("the commit of the transaction has no answer".into()))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Trouble::Again("the producer ended".into())),
        }
    }

    /// What a batch that was not delivered means.
    fn why(&mut self, batch: Vec<Undelivered>) -> Trouble {
        let first = self.started.as_ref().map(|started| started.first);
        let is_refused = |message: &Undelivered| message.failure.kind.class() == Class::Refused;
        let mut found = None;
        for message in batch {
            let item = message.tag.zip(first).and_then(|(tag, first)| tag.seq.since(first));
            let is_verdict = message.is_verdict && is_refused(&message);
            if let (true, Some(item)) = (is_verdict, item) {
                let is_about_time = message.is_about_time();
                return Trouble::Refused { item, failure: Box::new(message.failure), is_about_time };
            }
            if is_refused(&message) {
                // Each message alone, until the one that is the cause is known.
                self.batching = Batching::Single;
            }
            let worse = found.as_ref().is_none_or(|(_, found): &(usize, Failure)| found.kind.class() == Class::Resend);
            if worse {
                found = Some((message.output, message.failure));
            }
        }
        let nothing = || Trouble::Again("nothing was delivered".into());
        found.map_or_else(nothing, |(output, failure)| self.trouble(0, output, failure, false))
    }

    /// What a failure of a message means.
    fn trouble(&self, item: usize, output: usize, failure: Failure, is_verdict: bool) -> Trouble {
        match failure.kind.class() {
            Class::Refused if is_verdict => Trouble::Refused { item, failure: Box::new(failure), is_about_time: false },
            Class::Halt => {
                let topic = self.settings.topic_of(output);
                let remedy = kafka::Commands::of(&self.settings).remedy(&failure.code, "output", topic);
                Trouble::Denied(format!("{}; {remedy}", failure.reason))
            }
            Class::Refused | Class::Resend | Class::Infrastructure | Class::Retry | Class::Reject | Class::Fault => {
                Trouble::Again(failure.reason)
            }
        }
    }

    /// The messages of a record.
    fn messages(&self, item: &Item) -> Result<Vec<Message>, Failure> {
        let Item { letter, outcome, is_retimed, .. } = item;
        let source = &letter.failure.source;
        match outcome {
            Outcome::Skipped => Ok(Vec::new()),
            Outcome::WrittenBack { partition } => {
                let place = self.settings.outputs.iter().position(|output| output.topic_name() == &*source.topic);
                Ok(vec![Message::of(place.unwrap_or_default(), *partition, &letter.written_back())])
            }
            Outcome::Outputs(made) => made.iter().map(|made| self.output(source.partition, made)).collect(),
            Outcome::DeadLetter { failure, tries } => {
                self.dead_letter(letter, failure, *tries, *is_retimed).map(|letter| vec![letter])
            }
        }
    }

    fn output(&self, input_partition: i32, made: &Made) -> Result<Message, Failure> {
        let refused = |reason| Failure::new(Kind::Refused, None, reason);
        if self.settings.outputs.iter().all(|output| output.name != made.output) {
            return Err(refused(format!("there is no output `{}`", made.output)));
        }
        let place = self.place_of(made).ok_or_else(|| {
            let reason =
                format!("an output names the topic `{}`, and the replay has written as many as it may", made.topic);
            Failure::new(Kind::TooManyTopics, None, reason)
        })?;
        let Output { partition, .. } = &self.settings.outputs[place];
        let topic = &made.topic;
        let chosen = made.partition.unwrap_or(match partition {
            Partition::ByKey => -1,
            Partition::SameAsInput => input_partition,
        });
        // A producer that doesn't know the topic yet would take it.
        if let Some(there) = self.partitions.get(place).copied().flatten().filter(|&there| chosen >= there) {
            return Err(refused(format!("an output to partition {chosen} of `{topic}`, which has {there}")));
        }
        let Made { key, value, headers, timestamp, .. } = made.clone();
        Ok(Message::of(place, chosen, &FeedRecord { key, value, headers, timestamp }))
    }

    fn dead_letter(
        &self,
        letter: &Letter,
        failure: &Failure,
        tries: u32,
        is_retimed: bool,
    ) -> Result<Message, Failure> {
        let output = self.settings.outputs.len();
        let known = self.settings.dead_letter.as_ref().and_then(|topic| self.limits.record_bytes(output, topic));
        let record = batch_of(letter.failure.offset, &letter.record);
        let record = record.record(0);
        let replays = letter.failure.replays.saturating_add(1);
        let at_ms = clock::unix_ms();
        let given_up = GivenUp { source: &letter.failure.source, failure, tries, at_ms, replays, is_retimed };
        let limit = known.unwrap_or(size::ASSUMED);
        let written = self.dead_letters.write(&record, given_up, |record| size::fits(record, limit));
        let written = written.or_else(|| known.is_none().then(|| self.dead_letters.least(&record, given_up)));
        let written = written.ok_or_else(|| {
            let reason = format!(
                "no dead letter: it is larger than the {limit} bytes that its topic takes (`max.message.bytes`)"
            );
            Failure::new(Kind::TooLarge, None, reason)
        })?;
        let mut batch = Batch::new(letter.failure.source.clone());
        let OutRecord { timestamp, key, value, headers, .. } = written.record();
        batch.push_columns(0, timestamp, 0, key, value, headers);
        Ok(Message { kind: TagKind::DeadLetter, output, partition: -1, batch })
    }
}

impl Started {
    /// After a failure, waits for the reports about everything else that was queued, so that what was delivered isn't sent again.
    fn settle(&self, items: &mut [Item]) {
        let began = clock::now();
        while self.producer.unreported() > 0 && began.elapsed() < SETTLING {
            // Whatever is reported is counted below, or has failed as well.
            let _ = self.reports.recv_timeout(WAIT);
        }
        self.count(items);
    }

    /// Counts what was delivered since the last call.
    fn count(&self, items: &mut [Item]) {
        for run in self.producer.take_delivered().runs {
            let (Some(from), Some(to)) = (run.first.since(self.first), run.last.since(self.first)) else { continue };
            for item in items.iter_mut().take(to + 1).skip(from) {
                item.open = item.open.saturating_sub(1);
                item.is_delivered = item.open == 0;
            }
        }
    }
}

/// A message for the producer.
struct Message {
    kind: TagKind,
    output: usize,
    partition: i32,
    /// Holds it alone.
    batch: Batch,
}

impl Message {
    fn of(output: usize, partition: i32, record: &FeedRecord) -> Message {
        Message { kind: TagKind::Output(output), output, partition, batch: batch_of(0, record) }
    }

    fn record(&self) -> OutRecord<'_> {
        let record = self.batch.record(0);
        OutRecord {
            parent: 0,
            port: 0,
            topic: None,
            partition: None,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }
}

/// A batch of one record.
fn batch_of(offset: i64, record: &FeedRecord) -> Batch {
    let mut batch = Batch::new(TopicPartition { topic: "".into(), partition: 0 });
    let headers = record.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() });
    let timestamp = record.timestamp.unwrap_or(NO_TIMESTAMP);
    batch.push(offset, timestamp, 0, record.key.as_deref(), record.value.as_deref(), headers);
    batch
}

/// A record without a timestamp.
const NO_TIMESTAMP: i64 = -1;
