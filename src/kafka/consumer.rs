//! The consumer: what is polled, and the calls that answer it. Used by the worker's thread alone.
//!
//! A rebalance is an event like any other: librdkafka stops fetching and keeps its heartbeats up until [`Consumer::assign`]
//! or [`Consumer::unassign`] is called, from anywhere and at any later time. It decides nothing.

use std::sync::Arc;

use super::Settings;
use super::classify::code;
use super::connection;
use super::connection::Trouble;
use super::settings;
use super::stats;
use super::stats::Stats;
use super::sys;
use super::sys::Client;
use super::sys::Code;
use super::sys::EventKind;
use super::sys::PartitionList;
use super::sys::Queue;
use super::sys::Side;
use crate::batch::Batch;
use crate::record::Offset;
use crate::record::TopicPartition;

/// A member of the group.
pub struct Consumer {
    client: Arc<Client>,
    queue: Queue,
}

/// A commit on its way. Its answer goes to nobody else, and to nobody when this is dropped.
pub struct Commit(Queue);

/// What a poll brought.
pub enum Polled {
    /// A record.
    Record(Fetched),
    /// The group gives these partitions to this member; it waits for [`Consumer::assign`].
    Assign(Vec<TopicPartition>),
    /// The group takes these partitions; it waits for [`Consumer::unassign`].
    Revoke(Vec<TopicPartition>),
    /// librdkafka's statistics.
    Stats(Stats),
    /// The position of a partition is gone: retention has passed it, or the topic was made anew.
    OffsetGone(TopicPartition),
    /// Something went wrong that mends itself or is beyond us; for log and metrics.
    Error(ClientError),
}

/// What a commit came to: the offsets that the group has now, none if there was nothing to commit, or why it failed.
pub type Committed = Result<Vec<(TopicPartition, Offset)>, String>;

/// An error that a client reports of itself.
#[derive(Clone, Debug)]
pub struct ClientError {
    /// Kafka's name of the error.
    pub name: String,
    /// What happened.
    pub text: String,
    /// The partition, if it is about one.
    pub partition: Option<(String, i32)>,
    /// Whether the client can't go on.
    pub fatal: bool,
    /// Whether a person must act: a permission or a topic is missing.
    pub denied: bool,
    /// Whether no broker answers.
    pub all_brokers_down: bool,
    /// Why a broker can't be talked to, if it is about that.
    pub trouble: Option<Trouble>,
    /// Whether it repeats what another error says better.
    pub echo: bool,
}

/// A record that still lives in librdkafka's memory: copy it and let it go.
pub struct Fetched {
    event: sys::Event,
}

/// A fetched record's place, looked at before it is copied.
pub struct Place<'a> {
    /// The topic's name.
    pub topic: &'a [u8],
    /// The partition.
    pub partition: i32,
    /// The leader epoch under which it was fetched, -1 if unknown.
    pub leader_epoch: i32,
    message: sys::Message<'a>,
}

impl Fetched {
    /// Where the record is from. `None` the second time, and for a message without a record, which librdkafka reports as an error
    /// instead.
    pub fn place(&mut self) -> Option<Place<'_>> {
        let message = self.event.next_message().filter(|message| message.code() == Code::OK)?;
        Some(Place {
            topic: message.topic(),
            partition: message.partition(),
            leader_epoch: message.leader_epoch(),
            message,
        })
    }
}

impl Place<'_> {
    /// Copies the record to the end of `batch`, which is of its partition.
    pub fn copy_to(&self, batch: &mut Batch, attempt: u32) {
        let message = &self.message;
        batch.push(message.offset(), message.timestamp(), attempt, message.key(), message.value(), message.headers());
    }
}

/// Where a partition is to be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: TopicPartition,
    /// The next record to read.
    pub offset: Offset,
    /// The leader epoch of the record before it, -1 if unknown. With it the broker notices a log that was cut off.
    pub leader_epoch: i32,
}

impl Consumer {
    /// Makes the client; [`Consumer::subscribe`] joins the group.
    ///
    /// # Errors
    /// What librdkafka says of a setting it refuses.
    pub fn new(settings: &Settings, worker: usize) -> Result<Consumer, String> {
        let client = Client::new(Side::Consumer, &settings::consumer(settings, worker))?;
        Ok(Consumer { queue: client.queue(), client })
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Joins the group.
    ///
    /// # Errors
    /// What librdkafka says of the topics.
    pub fn subscribe(&self, topics: &[String]) -> Result<(), String> {
        self.client.subscribe(topics).map_err(|error| error.to_string())
    }

    /// The next thing that happened, within `timeout_ms`. `None` also for things that need no answer: poll again.
    pub fn poll(&self, timeout_ms: i32) -> Option<Polled> {
        let event = self.queue.poll(timeout_ms)?;
        match event.kind() {
            EventKind::Fetch => Some(Polled::Record(Fetched { event })),
            EventKind::Rebalance => {
                let partitions: Vec<_> = event.partitions().entries().into_iter().map(named).collect();
                match event.code() {
                    code::ASSIGN_PARTITIONS => Some(Polled::Assign(partitions)),
                    code::REVOKE_PARTITIONS => Some(Polled::Revoke(partitions)),
                    other => {
                        // The group failed: give everything back, and it joins again.
                        let revoked = self.client.assign(None);
                        Some(Polled::Error(ClientError {
                            name: other.name(),
                            text: format!("the group ended: {} ({revoked:?})", event.error_text()),
                            partition: None,
                            fatal: false,
                            denied: false,
                            all_brokers_down: false,
                            trouble: None,
                            echo: false,
                        }))
                    }
                }
            }
            EventKind::Stats => stats::parse(&event.stats()).map(Polled::Stats),
            EventKind::Log => log_line(&event).map(Polled::Error),
            EventKind::Error => Some(error(&event)),
            EventKind::Delivery | EventKind::OffsetCommit | EventKind::Other => None,
        }
    }

    /// Takes partitions over, each to be read from its position.
    ///
    /// # Errors
    /// librdkafka's words; the group then gives them to someone again.
    pub fn assign(&self, positions: &[Position]) -> Result<(), String> {
        let mut list = PartitionList::new();
        for Position { partition, offset, leader_epoch } in positions {
            list.add(&partition.topic, partition.partition, offset.0, *leader_epoch);
        }
        let result = if self.client.is_cooperative() {
            self.client.incremental_assign(&list)
        } else {
            self.client.assign(Some(&list))
        };
        // A partition that was paused when it was revoked stays paused.
        self.client.resume(&mut list);
        result.map_err(|error| error.to_string())
    }

    /// Gives partitions back.
    ///
    /// # Errors
    /// librdkafka's words.
    pub fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), String> {
        let result = if self.client.is_cooperative() {
            self.client.incremental_unassign(&list_of(partitions))
        } else {
            self.client.assign(None)
        };
        result.map_err(|error| error.to_string())
    }

    /// Whether the group has given this member's partitions to others already.
    #[must_use]
    pub fn assignment_lost(&self) -> bool {
        self.client.assignment_lost()
    }

    /// Stops fetching a partition.
    pub fn pause(&self, partition: &TopicPartition) {
        self.client.pause(&mut list_of(std::slice::from_ref(partition)));
    }

    /// Ends a pause.
    pub fn resume(&self, partition: &TopicPartition) {
        self.client.resume(&mut list_of(std::slice::from_ref(partition)));
    }

    /// Reads a partition again from `offset`.
    ///
    /// # Errors
    /// librdkafka's words; the partition stands where it stood.
    pub fn seek(&self, partition: &TopicPartition, offset: Offset) -> Result<(), String> {
        let mut list = PartitionList::new();
        list.add(&partition.topic, partition.partition, offset.0, -1);
        // With 0 it doesn't wait: a seek of an assigned partition is carried out before its next fetch.
        self.client.seek(&mut list, 0).map_err(|error| error.to_string())
    }

    /// Marks offsets to be committed with the next commit. Returns the partitions that are not this member's any more.
    pub fn store(&self, positions: &[Position]) -> Vec<TopicPartition> {
        let mut list = PartitionList::new();
        for Position { partition, offset, leader_epoch } in positions {
            list.add(&partition.topic, partition.partition, offset.0, *leader_epoch);
        }
        self.client.store_offsets(&mut list);
        list.entries().into_iter().filter(|entry| entry.code != Code::OK).map(named).collect()
    }

    /// Commits what is stored; [`Commit::poll`] brings the answer.
    ///
    /// # Errors
    /// librdkafka's words.
    pub fn commit(&self) -> Result<Commit, String> {
        let answer = self.client.new_queue();
        self.client.commit_stored(&answer).map_err(|error| error.to_string())?;
        Ok(Commit(answer))
    }

    /// Where the consumer stands in a partition: behind its last record and the control markers it passed since.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        let mut list = list_of(std::slice::from_ref(partition));
        self.client.position(&mut list).ok()?;
        list.entries().first().map(|entry| entry.offset).filter(|&offset| offset >= 0).map(Offset)
    }

    /// Begins to leave the group. Poll until [`Consumer::is_closed`], and answer each revoke with
    /// [`Consumer::unassign`].
    pub fn close(&self) {
        if let Err(error) = self.client.close(&self.queue) {
            tracing::warn!("failed to leave the group: {error}");
        }
    }

    /// Whether the group was left.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Commit {
    /// How it ended, once it has. Having had nothing to commit is success.
    pub fn poll(&self) -> Option<Committed> {
        Some(commit_result(&self.0.poll(0)?))
    }
}

fn commit_result(event: &sys::Event) -> Committed {
    match event.code() {
        code::NO_OFFSET => Ok(Vec::new()),
        Code::OK => {
            let entries = event.partitions().entries();
            if let Some(entry) = entries.iter().find(|entry| entry.code != Code::OK) {
                let sys::Entry { topic, partition, offset, code, .. } = entry;
                return Err(format!("{topic}/{partition} at {offset}: {code}"));
            }
            // A partition of the assignment that had nothing to commit is there without an offset.
            let committed = entries.into_iter().filter(|entry| entry.offset >= 0);
            Ok(committed.map(|entry| (Offset(entry.offset), named(entry))).map(|(at, of)| (of, at)).collect())
        }
        other => Err(format!("{other} ({})", other.name())),
    }
}

fn error(event: &sys::Event) -> Polled {
    failed_partition(event.code(), event.error_text(), event.error_partition(), event.is_fatal())
}

fn failed_partition(code: Code, text: String, partition: Option<(String, i32)>, fatal: bool) -> Polled {
    if let (code::AUTO_OFFSET_RESET, Some((topic, partition))) = (code, &partition) {
        return Polled::OffsetGone(TopicPartition { topic: topic.as_str().into(), partition: *partition });
    }
    let denied = [
        code::UNKNOWN_TOPIC,
        code::UNKNOWN_PARTITION,
        code::UNKNOWN_TOPIC_OR_PART,
        code::TOPIC_AUTHORIZATION_FAILED,
        code::GROUP_AUTHORIZATION_FAILED,
    ];
    Polled::Error(ClientError {
        name: code.name(),
        partition,
        fatal: fatal || code == code::FATAL,
        denied: denied.contains(&code),
        all_brokers_down: code == code::ALL_BROKERS_DOWN,
        trouble: connection::trouble(&text),
        echo: connection::is_echo(&text),
        text,
    })
}

/// A log line of librdkafka's, in our log. One about a refused certificate is the only place that says why: it is an error.
pub(super) fn log_line(event: &sys::Event) -> Option<ClientError> {
    let (level, facility, line) = event.log();
    let trouble = connection::trouble(&line);
    if trouble.is_some() || connection::is_echo(&line) {
        tracing::debug!(target: "librdkafka", facility, "{line}");
        return trouble.filter(|_| line.contains(connection::X509)).map(|trouble| ClientError {
            name: "_SSL".to_owned(),
            text: line.clone(),
            partition: None,
            fatal: false,
            denied: false,
            all_brokers_down: false,
            trouble: Some(trouble),
            echo: false,
        });
    }
    match level {
        0..=3 => tracing::error!(target: "librdkafka", facility, "{line}"),
        4 => tracing::warn!(target: "librdkafka", facility, "{line}"),
        5 | 6 => tracing::info!(target: "librdkafka", facility, "{line}"),
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
    None
}

fn named(entry: sys::Entry) -> TopicPartition {
    TopicPartition { topic: entry.topic.into(), partition: entry.partition }
}

fn list_of(partitions: &[TopicPartition]) -> PartitionList {
    let mut list = PartitionList::new();
    for partition in partitions {
        // -1001 is librdkafka's "no offset".
        list.add(&partition.topic, partition.partition, -1001, -1);
    }
    list
}
