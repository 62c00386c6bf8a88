//! The changelog topic of a step with windows: what it has to be, and one partition of it, read to its end for a restore.
//!
//! The end is where the log ended when it was asked for, counted with the markers of transactions. An open transaction of an owner that
//! died holds the end back until brokers abort it, so the reader waits for it. Invariant: nothing of the partition is missing when the
//! reader says that it is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Commands;
use super::Consumer;
use super::Settings;
use super::classify::code;
use super::consumer::ConsumerEvent;
use super::consumer::Next;
use super::consumer::Position;
use super::consumer::Records;
use super::consumer::WaitResult;
use super::probe;
use super::probe::Unanswered;
use super::probe::left_ms;
use super::probe::now;
use super::settings::Isolation;
use super::sys;
use super::sys::Client;
use super::sys::Code;
use super::sys::Error;
use super::sys::PartitionList;
use crate::batch::Batch;
use crate::record::Offset;
use crate::record::TopicPartition;

/// The settings of a changelog topic. It is compacted and never deleted: the last record of a quiet partition may be old. Small segments
/// are compacted sooner, since the newest one never is. A restore that takes a week would miss tombstones.
pub const SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "67108864"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("delete.retention.ms", "604800000"),
];

/// The wait between two questions about a topic that was just created.
const CREATED_PAUSE: Duration = Duration::from_millis(50);

/// The leaders of the changelog topic's partitions, or what is wrong with the topic. `known` has the input's number of partitions.
pub(super) fn leaders(
    client: &Arc<Client>,
    settings: &Settings,
    known: &BTreeMap<String, usize>,
    timeout_ms: i32,
) -> Result<Result<Vec<i32>, String>, Error> {
    let topic = settings.changelog.as_ref().map_or("", |changelog| changelog.topic_name());
    let input = settings.input.topics.first().map(String::as_str).unwrap_or_default();
    let partitions = known.get(input).copied().unwrap_or_default();
    let commands = Commands::of(settings);
    let leaders = match client.leaders(topic, timeout_ms) {
        Ok(leaders) => leaders,
        Err(error) if [code::UNKNOWN_TOPIC_OR_PART, code::UNKNOWN_TOPIC].contains(&error.code) => {
            if !settings.creates_changelog {
                let command = commands.create_changelog(topic, partitions);
                return Ok(Err(format!(
                    "the changelog topic `{topic}` does not exist; create it with `[state] create = true`, or: {command}"
                )));
            }
            let count = i32::try_from(partitions).unwrap_or(i32::MAX);
            match client.create_topic(topic, count, &SETTINGS, timeout_ms) {
                Ok(()) => tracing::info!("created the changelog topic `{topic}` with {partitions} partitions"),
                // Another process was faster.
                Err(error) if error.code == code::TOPIC_ALREADY_EXISTS => {}
                Err(error) if error.code == code::TOPIC_AUTHORIZATION_FAILED => {
                    let command = commands.create_changelog(topic, partitions);
                    return Ok(Err(format!(
                        "no permission to create the changelog topic `{topic}`; have it created: {command}"
                    )));
                }
                Err(error) => return Err(error),
            }
            created(client, topic, timeout_ms)?
        }
        Err(error) if error.code == code::TOPIC_AUTHORIZATION_FAILED => {
            let command = commands.remedy(&error.code.name(), "changelog", topic);
            return Ok(Err(format!("no permission for the changelog topic `{topic}`; {command}")));
        }
        Err(error) => return Err(error),
    };
    if leaders.len() != partitions {
        return Ok(Err(format!(
            "the changelog topic `{topic}` has {} partitions, and the input `{input}` has {partitions}: state is kept by partition, and a key may have moved to another one; read the input again from its beginning as a new group, `input.group`",
            leaders.len()
        )));
    }
    // A cluster that doesn't tell a topic's settings isn't asked again.
    let policy = client.topic_setting(topic, "cleanup.policy", timeout_ms).ok().flatten();
    if let Some(policy) = policy.filter(|policy| policy != "compact") {
        return Ok(Err(format!(
            "the changelog topic `{topic}` has `cleanup.policy={policy}`, which removes state that is still needed; {}",
            commands.alter_topic(topic, "cleanup.policy=compact")
        )));
    }
    Ok(Ok(leaders))
}

/// The leaders of a topic that was just created. Brokers learn of it one after another, and of its leaders later.
fn created(client: &Arc<Client>, topic: &str, timeout_ms: i32) -> Result<Vec<i32>, Error> {
    let deadline = now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    loop {
        match client.leaders(topic, left_ms(deadline)) {
            Ok(leaders) if leaders.iter().all(|leader| *leader >= 0) => return Ok(leaders),
            Err(error) if ![code::UNKNOWN_TOPIC_OR_PART, code::UNKNOWN_TOPIC].contains(&error.code) => {
                return Err(error);
            }
            Ok(_) | Err(_) if now() < deadline => std::thread::sleep(CREATED_PAUSE),
            Ok(_) | Err(_) => {
                let text = format!("the changelog topic `{topic}` was created and has no leaders yet");
                return Err(Error { code: code::TIMED_OUT, text });
            }
        }
    }
}

/// A partition of a changelog topic.
#[derive(Clone, Copy, Debug)]
pub struct Changelog<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
}

/// How far a changelog is read, counted in offsets: offsets of removed records and of the markers of transactions count, too.
#[derive(Debug, Default)]
pub struct ReadProgress {
    read: AtomicU64,
    total: AtomicU64,
}

impl ReadProgress {
    fn set(&self, read: i64, total: i64) {
        self.read.store(u64::try_from(read).unwrap_or(0), Ordering::Relaxed);
        self.total.store(u64::try_from(total).unwrap_or(0), Ordering::Relaxed);
    }

    /// The number of offsets that are read, and that of all of them, which is 0 before the end is known.
    #[must_use]
    pub fn read_of_total(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// The number of offsets that are not read yet.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        let (read, total) = self.read_of_total();
        total.saturating_sub(read)
    }
}

/// Why a changelog was not read to its end.
#[derive(Debug)]
pub enum ReadError {
    /// The topic has no such partition, but this many.
    NoPartition(usize),
    /// It may be read later.
    Other(String),
}

/// How long to wait for brokers.
const CONNECT: Duration = Duration::from_secs(30);
/// A partition that brings nothing for this long isn't waited for any longer: the longest transaction ends after a minute.
const QUIET_MAX: Duration = Duration::from_secs(90);
/// The most records taken at once.
const TAKEN_MAX: usize = 1000;
/// How long one wait for a record takes.
const WAIT_MS: i32 = 100;
/// How long to wait for an answer about offsets.
const OFFSETS_MS: i32 = 10_000;

impl Changelog<'_> {
    /// Passes key and value of every record to `see`, in order, until the end of the log, or until `see` returns `false` or `cancel` is
    /// set.
    ///
    /// # Errors
    /// If the brokers don't deliver what they say there is.
    pub fn read(
        &self,
        settings: &Settings,
        cancel: &AtomicBool,
        progress: &ReadProgress,
        mut see: impl FnMut(Option<&[u8]>, Option<&[u8]>) -> bool,
    ) -> Result<(), ReadError> {
        let refused = |reason: String| ReadError::Other(settings.hidden.hide(&reason));
        let mut settings = settings.clone();
        settings.input.isolation = Isolation::ReadCommitted;
        settings.input.instance_id = None;
        settings.client_id.push_str("-restore");
        // It is no member of the group.
        settings.advertise = None;
        let consumer = Consumer::new(&settings, 0).map_err(refused)?;
        probe::connect(consumer.client(), now() + CONNECT).map_err(|error| match error {
            Unanswered::Unreached(why) | Unanswered::Refused(why) => ReadError::Other(why),
        })?;
        let (oldest, end) = (self.offset(&consumer, sys::OLDEST)?, self.offset(&consumer, sys::END)?);
        let partition = TopicPartition { topic: self.topic.into(), partition: self.partition };
        let start =
            Position { partition: partition.clone(), offset: Offset(oldest), leader_epoch: -1, note: "".into() };
        consumer.assign(&[start]).map_err(ReadError::Other)?;
        let mut batch = Batch::new(partition.clone());
        let mut heard = now();
        let mut position = oldest;
        let mut is_done = oldest >= end;
        progress.set(0, end - oldest);
        while !is_done && !cancel.load(Ordering::Relaxed) {
            if let Some(event) = consumer.poll() {
                if let ConsumerEvent::OffsetGone { .. } = event {
                    return Err(ReadError::Other("its oldest records were removed while it was read".to_owned()));
                }
                continue;
            }
            let mut records = consumer.take(TAKEN_MAX);
            if records.is_empty() {
                match consumer.wait(WAIT_MS) {
                    Some(WaitResult::Records(waited)) => records = waited,
                    Some(WaitResult::Other(_)) | None => {}
                }
            }
            match see_all(&mut records, &mut batch, &mut position, end, &mut see) {
                Seen::All => {}
                Seen::Stopped => return Ok(()),
                // librdkafka counts the record at an error as read.
                Seen::Failed => consumer.seek(&partition, Offset(position)).map_err(ReadError::Other)?,
            }
            let at = consumer.position(&partition).map_or(position, |at| at.0.max(position));
            if at > position || !records.is_empty() {
                heard = now();
            }
            position = at;
            progress.set(position.min(end) - oldest, end - oldest);
            is_done = position >= end;
            if !is_done && now().saturating_duration_since(heard) > QUIET_MAX {
                return Err(ReadError::Other(format!(
                    "it brings no more records at offset {position} and ends at {end}; an open transaction may hold them back"
                )));
            }
        }
        Ok(())
    }

    /// The oldest offset or the end of the log.
    fn offset(&self, consumer: &Consumer, which: i64) -> Result<i64, ReadError> {
        let mut list = PartitionList::new();
        list.add(self.topic, self.partition, which, -1);
        // librdkafka knows no leader of a partition that isn't there, which fails the whole call.
        let listed =
            consumer.client().list_offsets(&list, OFFSETS_MS).map_err(|error| self.no_offset(consumer, &error))?;
        let entry =
            listed.into_iter().next().ok_or_else(|| ReadError::Other("no broker tells its offsets".to_owned()))?;
        match entry.code {
            Code::OK => Ok(entry.offset),
            other => Err(self.no_offset(consumer, &other)),
        }
    }

    /// Why there is no offset: there is no such partition, or something else.
    fn no_offset(&self, consumer: &Consumer, why: &impl ToString) -> ReadError {
        match consumer.client().leaders(self.topic, OFFSETS_MS).map(|leaders| leaders.len()) {
            Ok(partitions) if usize::try_from(self.partition).is_ok_and(|own| own >= partitions) && partitions > 0 => {
                ReadError::NoPartition(partitions)
            }
            Ok(_) | Err(_) => ReadError::Other(why.to_string()),
        }
    }
}

/// What became of fetched records.
enum Seen {
    All,
    /// The caller doesn't want more.
    Stopped,
    /// There was an error among them.
    Failed,
}

/// Passes records on, up to the first error.
fn see_all(
    records: &mut Records,
    batch: &mut Batch,
    position: &mut i64,
    end: i64,
    see: &mut impl FnMut(Option<&[u8]>, Option<&[u8]>) -> bool,
) -> Seen {
    let mut seen = Seen::All;
    while let Some(next) = records.next_with(|fetched| {
        if !matches!(seen, Seen::All) || fetched.offset >= end || fetched.offset < *position {
            return;
        }
        *position = fetched.offset + 1;
        batch.reset(batch.source().clone());
        fetched.copy_to(batch, 0);
        let record = batch.record(0);
        if !see(record.key, record.value) {
            seen = Seen::Stopped;
        }
    }) {
        if let (Next::Failed(..), Seen::All) = (next, &seen) {
            seen = Seen::Failed;
        }
    }
    seen
}
