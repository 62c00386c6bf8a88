//! One topic, for a command that reads it to its end and waits for the brokers' answers.
//!
//! The command decides whether to join the topic's group, with [`Consumer::subscribe`], or only to read, with
//! [`Consumer::assign`]. Invariant: every question is answered, or refused, within its limit plus a few seconds.

use std::time::Duration;
use std::time::Instant;

use super::Commands;
use super::Consumer;
use super::Settings;
use super::classify;
use super::classify::code;
use super::limits::TopicLimits;
use super::offset_metadata::OffsetMetadata;
use super::offset_metadata::TopicId;
use super::probe;
use super::probe::Unanswered;
use super::probe::left_ms;
use super::probe::now;
use super::sys;
use super::sys::Client;
use super::sys::Code;
use super::sys::Entry;
use super::sys::Error;
use super::sys::PartitionList;
use crate::record::Offset;
use crate::record::TopicPartition;

/// See the head of the file.
pub struct TopicReader {
    consumer: Consumer,
    settings: Settings,
    topic: String,
}

/// A partition of the topic, as it was when the brokers were asked.
#[derive(Clone, Debug)]
pub struct PartitionLog {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of its oldest record.
    pub oldest: Offset,
    /// The offset after its last record that no open transaction holds back.
    pub end: Offset,
    /// Where the group stands, with its metadata; `None` if it has committed nothing, or only in a deleted topic of the same name.
    pub committed: Option<(Offset, OffsetMetadata)>,
    /// The topic's id, if brokers report it.
    pub topic: Option<TopicId>,
}

/// Between two tries of a question.
const PAUSE_MS: i32 = 200;

impl TopicReader {
    /// Connects to the brokers, as a reader of the only topic of `settings.input`.
    ///
    /// # Errors
    /// If no broker answers within the limit.
    pub fn connect(settings: Settings, limit: Duration) -> Result<TopicReader, Unanswered> {
        let consumer = Consumer::new(&settings, 0).map_err(Unanswered::Refused)?;
        probe::connect(consumer.client(), now() + limit)?;
        let topic = settings.input.topics.first().cloned().unwrap_or_default();
        Ok(TopicReader { consumer, settings, topic })
    }

    /// The consumer.
    #[must_use]
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// The settings that it was connected with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks for the state of every partition.
    ///
    /// # Errors
    /// If something is missing or denied, with the command that helps, or if a broker doesn't answer within the limit.
    pub fn look(&self, limit: Duration) -> Result<Vec<PartitionLog>, Unanswered> {
        self.until(&self.topic, limit, |client, deadline| {
            let described = client.describe_topics(&[&self.topic], left_ms(deadline))?;
            let described = described.into_iter().next().ok_or_else(|| no_answer("the topic"))?;
            if let Some(error) = described.error {
                return Err(error);
            }
            let numbers: Vec<i32> = described.leaders.iter().map(|&(number, _)| number).collect();
            let list = |offset| {
                let mut list = PartitionList::new();
                numbers.iter().for_each(|&number| list.add(&self.topic, number, offset, -1));
                list
            };
            let mut committed = list(NO_OFFSET);
            client.committed(&mut committed, left_ms(deadline))?;
            let committed = checked(committed.entries())?;
            let oldest = checked(client.list_offsets(&list(sys::OLDEST), left_ms(deadline))?)?;
            let ends = checked(client.list_stable_offsets(&list(sys::END), left_ms(deadline))?)?;
            let of = |entries: &[Entry], number: i32| entries.iter().find(|entry| entry.partition == number).cloned();
            let log = |&number: &i32| {
                let (oldest, end) = (of(&oldest, number)?.offset, of(&ends, number)?.offset);
                let committed = of(&committed, number).filter(|entry| entry.offset >= 0);
                let committed = committed.map(|entry| (Offset(entry.offset), OffsetMetadata::parse(&entry.note)));
                let is_of_another =
                    |was: Option<TopicId>| was.is_some() && described.id.is_some() && was != described.id;
                Some(PartitionLog {
                    partition: TopicPartition { topic: self.topic.as_str().into(), partition: number },
                    oldest: Offset(oldest),
                    end: Offset(end),
                    committed: committed.filter(|(_, note)| !is_of_another(note.topic)),
                    topic: described.id,
                })
            };
            let logs: Vec<PartitionLog> = numbers.iter().filter_map(log).collect();
            if logs.len() < numbers.len() { Err(no_answer("offsets")) } else { Ok(logs) }
        })
    }

    /// Asks how many partitions a topic has.
    ///
    /// # Errors
    /// As [`TopicReader::look`].
    pub fn partitions(&self, topic: &str, limit: Duration) -> Result<i32, Unanswered> {
        let leaders = self.until(topic, limit, |client, deadline| client.leaders(topic, left_ms(deadline)))?;
        Ok(i32::try_from(leaders.len()).unwrap_or(i32::MAX))
    }

    /// Asks for the limits of the topics that `settings` write. What the brokers don't report is unknown.
    #[must_use]
    pub fn limits(&self, settings: &Settings, limit: Duration) -> TopicLimits {
        let deadline = now() + limit;
        let bytes = settings.written().map(|output| {
            let topic = output.topic.as_deref()?;
            let found = self.consumer.client().topic_setting(topic, "max.message.bytes", left_ms(deadline));
            found.ok().flatten().and_then(|value| value.parse().ok())
        });
        TopicLimits { bytes: bytes.collect(), ..TopicLimits::default() }
    }

    /// Repeats a question while that may help.
    fn until<T>(
        &self,
        topic: &str,
        limit: Duration,
        ask: impl Fn(&std::sync::Arc<Client>, Instant) -> Result<T, Error>,
    ) -> Result<T, Unanswered> {
        let client = self.consumer.client();
        let deadline = now() + limit;
        let pause = client.new_queue();
        loop {
            match ask(client, deadline) {
                Ok(found) => return Ok(found),
                Err(error) if classify::is_denied(error.code) => {
                    let commands = Commands::of(&self.settings);
                    let remedy = match error.code.name().contains("GROUP") {
                        true => commands.remedy(&error.code.name(), "group", &self.settings.input.group),
                        false => commands.remedy(&error.code.name(), "input", topic),
                    };
                    return Err(Unanswered::Refused(format!("topic `{topic}`: {error}; {remedy}")));
                }
                Err(error) if now() >= deadline => return Err(Unanswered::Unreached(error.to_string())),
                // Nothing is ever sent to this queue: the poll is a sleep.
                Err(_) => drop(pause.poll(PAUSE_MS)),
            }
        }
    }
}

/// librdkafka's `RD_KAFKA_OFFSET_INVALID`.
const NO_OFFSET: i64 = -1001;

/// Entries without an error.
fn checked(entries: Vec<Entry>) -> Result<Vec<Entry>, Error> {
    match entries.iter().find(|entry| entry.code != Code::OK) {
        Some(entry) => Err(Error { code: entry.code, text: format!("partition {}: {}", entry.partition, entry.code) }),
        None => Ok(entries),
    }
}

fn no_answer(what: &str) -> Error {
    Error { code: code::TIMED_OUT, text: format!("the brokers don't tell {what}") }
}
