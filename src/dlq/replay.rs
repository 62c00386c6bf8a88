//! Runs dead letters through the pipeline's steps again, chunk by chunk.
//!
//! ```text
//! take a chunk --> run the steps --> send, wait for acknowledgements --> commit, or commit the transaction --> the next chunk
//! ```
//!
//! It is a member of the group `GROUP.dlq`, so several replays share the partitions. Between two chunks nothing is in flight: a
//! rebalance, a kill or an error repeats at most one chunk, and with exactly-once delivery nothing. What is written to the topic after
//! the replay began is left to the next one, so that a plugin that is still broken doesn't loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::Choice;
use super::Filter;
use super::LIMIT;
use super::Letter;
use super::Scan;
use super::deliver::Outputs;
use super::deliver::Trouble;
use super::outcome;
use super::outcome::Item;
use super::outcome::Next as After;
use super::outcome::Outcome;
use super::read::Fetched;
use super::read::Scratch;
use super::read::fetch;
use super::read::now;
use crate::config;
use crate::dry_run::Steps;
use crate::failure::Failure;
use crate::kafka;
use crate::kafka::consumer::Concern;
use crate::kafka::consumer::ConsumerEvent;
use crate::kafka::consumer::Next;
use crate::kafka::consumer::Position;
use crate::kafka::probe::Unanswered;
use crate::kafka::topic_reader::PartitionLog;
use crate::kafka::topic_reader::TopicReader;
use crate::record::Offset;
use crate::record::TopicPartition;
use crate::sink::DeadLetters;

/// What to replay, and how.
#[derive(Clone, Debug, Default)]
pub struct ReplayOptions {
    /// Which records.
    pub filter: Filter,
    /// At most this many.
    pub limit: Option<u64>,
    /// At most this many in a second.
    pub rate: Option<f64>,
    /// Write the records back to the topics that they were read from, instead of running the steps.
    pub to_input: bool,
}

/// What a replay has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Offsets that were looked at.
    pub seen: u64,
    /// Offsets that there are to look at.
    pub total: u64,
    /// Records that were replayed.
    pub replayed: u64,
    /// Of them, those that failed again and are dead letters once more.
    pub dead_lettered: u64,
    /// Of them, those that failed again and were skipped.
    pub skipped: u64,
    /// Records that were replayed too often already.
    pub exhausted: u64,
}

/// Why a replay ended early. What was counted is done, and the same command goes on.
#[derive(Debug)]
pub enum Stopped {
    /// A record failed, and the file says to stop at it.
    Record(String),
    /// A person must act.
    Invalid(String),
    /// The brokers don't answer.
    Unreachable(String),
}

impl From<Unanswered> for Stopped {
    fn from(unanswered: Unanswered) -> Stopped {
        match unanswered {
            Unanswered::Unreached(reason) => Stopped::Unreachable(reason),
            Unanswered::Refused(reason) => Stopped::Invalid(reason),
        }
    }
}

/// The most records of a chunk, and the most bytes, plus one record.
const CHUNK_RECORDS: usize = 512;
const CHUNK_BYTES: u64 = 4 << 20;
/// How many chunks there are in a second at a given rate.
const CHUNKS_PER_SECOND: f64 = 10.0;
/// After this many records that were only looked at, the progress is committed.
const LOOKED_AT_MAX: u64 = 20_000;
/// How long to wait for partitions that other members have.
const ALONE: Duration = Duration::from_secs(10);
/// How often a chunk is sent again before the replay ends with an error.
const TRIES_MAX: u32 = 10;
/// How long joining the group may take.
const JOINING: Duration = Duration::from_secs(60);
/// How long to wait for the group's offsets: a process that was killed may have left a transaction, which brokers end after a while.
const SETTLED: Duration = Duration::from_secs(45);
/// How long leaving the group may take.
const LEAVING: Duration = Duration::from_secs(5);

/// See the head of the file.
pub struct Replay<'a> {
    config: &'a config::Pipeline,
    member: Member<'a>,
    steps: Steps,
    outputs: Outputs,
    options: ReplayOptions,
    /// The ends of the partitions when the replay began.
    ends: BTreeMap<i32, Offset>,
    /// The partitions that the group gave to this member.
    scans: BTreeMap<i32, (TopicPartition, Scan)>,
    /// When the group gave or took partitions for the last time.
    joined: Option<Instant>,
    /// When the next chunk may begin.
    due: Instant,
    /// How many records were looked at since the last commit.
    looked_at: u64,
    /// How often the present chunk was not delivered.
    tries: u32,
    /// Whether fetched records were lost.
    is_to_read_again: bool,
    done: Tally,
    /// What partitions that were given back had.
    gone: (u64, u64),
}

/// How a chunk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Done,
    /// It has to be read again.
    Again,
}

impl<'a> Replay<'a> {
    /// A replay of the dead-letter topic that `topic` reads. `settings` are those of the pipeline with the ids of this process.
    #[must_use]
    pub fn new(
        config: &'a config::Pipeline,
        settings: kafka::Settings,
        (topic, steps): (TopicReader, Steps),
        options: ReplayOptions,
        stop: Arc<AtomicBool>,
        watch: &'a mut dyn FnMut(&Tally, Option<&str>),
    ) -> Replay<'a> {
        let limits = topic.limits(&settings, LIMIT);
        let dead_letters = DeadLetters { pipeline: config.name.clone(), worker: 0, dialect: config.dialect };
        Replay {
            config,
            member: Member { topic, stop, watch, event: None, tally: Tally::default(), chunk: None },
            steps,
            outputs: Outputs::new(settings, limits, dead_letters),
            options,
            ends: BTreeMap::new(),
            scans: BTreeMap::new(),
            joined: None,
            due: now(),
            looked_at: 0,
            tries: 0,
            is_to_read_again: false,
            done: Tally::default(),
            gone: (0, 0),
        }
    }

    /// Replays until the ends of the partitions, the limit, or until it is told to stop. Returns what was done.
    ///
    /// # Errors
    /// See [`Stopped`]; what was done before is kept.
    pub fn run(mut self) -> (Tally, Result<(), Stopped>) {
        let ended = self.run_to_end();
        self.leave();
        (self.tally(), ended)
    }

    fn run_to_end(&mut self) -> Result<(), Stopped> {
        self.fence()?;
        let logs = self.member.topic.look(SETTLED)?;
        self.ends = logs.iter().map(|log| (log.partition.partition, log.end)).collect();
        // Also tells at once if too many filters were used.
        let scans = super::scans(&self.config.name, &self.options.filter, &logs).map_err(Stopped::Invalid)?;
        if scans.iter().all(|(_, scan)| scan.is_done()) {
            return Ok(());
        }
        let topics = self.member.topic.settings().input.topics.clone();
        self.member.topic.consumer().subscribe(&topics).map_err(Stopped::Invalid)?;
        let began = now();
        let mut scratch = Scratch::default();
        while !self.is_over() {
            if self.joined.is_none() && began.elapsed() > JOINING {
                return Err(Stopped::Unreachable("the group of the replays gave no partitions within a minute".into()));
            }
            let chunk = self.gather(&mut scratch)?;
            if !chunk.is_empty() {
                self.replay(&chunk)?;
            } else if self.looked_at >= LOOKED_AT_MAX {
                self.commit_what_was_seen()?;
            }
            if self.is_to_read_again {
                self.read_again()?;
            }
            if let Some(event) = self.member.event.take() {
                self.rebalance(event)?;
            }
            self.member.tally = self.tally();
            self.member.tell(None);
            while self.due > now() && !self.member.wait(None) {}
        }
        self.commit_what_was_seen()
    }

    /// With exactly-once delivery, ends the transaction that a process which was killed has left: its offsets are not told before.
    fn fence(&mut self) -> Result<(), Stopped> {
        if !self.outputs.is_exactly_once() {
            return Ok(());
        }
        let Replay { outputs, member, .. } = self;
        match outputs.start(&[], &mut |error| member.wait(error)) {
            Ok(()) => Ok(()),
            Err(Trouble::Interrupted) => Ok(()),
            Err(Trouble::Denied(reason)) => Err(Stopped::Invalid(reason)),
            Err(Trouble::Again(reason)) => Err(Stopped::Unreachable(reason)),
            Err(Trouble::Refused { failure, .. }) => Err(Stopped::Invalid(failure.reason)),
        }
    }

    /// What was done by now.
    fn tally(&self) -> Tally {
        let (mut seen, mut total) = self.gone;
        for (_, scan) in self.scans.values() {
            let (now, all) = scan.seen();
            seen += now;
            total += all;
        }
        Tally { seen, total, ..self.done }
    }

    /// How many records may be replayed now.
    fn room(&self) -> usize {
        let mut of_rate = if self.options.rate.is_some() { 1 } else { CHUNK_RECORDS };
        while self.options.rate.is_some_and(|rate| (of_rate as f64) < rate / CHUNKS_PER_SECOND)
            && of_rate < CHUNK_RECORDS
        {
            of_rate *= 2;
        }
        let left = self.options.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.done.replayed));
        usize::try_from(left).unwrap_or(usize::MAX).min(of_rate)
    }

    fn is_over(&self) -> bool {
        if self.member.is_stopped() || self.room() == 0 {
            return true;
        }
        // A member without partitions may get some when another one leaves.
        let has_waited = self.joined.is_some_and(|joined| joined.elapsed() > ALONE);
        if self.scans.is_empty() { has_waited } else { self.scans.values().all(|(_, scan)| scan.is_done()) }
    }

    /// Takes the next records that the filter chooses.
    fn gather(&mut self, scratch: &mut Scratch) -> Result<Vec<Letter>, Stopped> {
        let room = self.room();
        let mut chunk: Vec<Letter> = Vec::new();
        let mut bytes = 0;
        loop {
            let Fetched { mut records, event } = fetch(self.member.topic.consumer(), room - chunk.len());
            if let Some(event) = event {
                self.on_event(event)?;
            }
            let mut is_quiet = true;
            while let Some(next) =
                records.as_mut().and_then(|records| records.next_with(|record| scratch.letter(record)))
            {
                is_quiet = false;
                match next {
                    Next::Record((partition, offset, letter)) => {
                        if self.see(partition, offset, letter.as_ref()) == Choice::Replay
                            && let Some(letter) = letter
                        {
                            bytes += letter.record.bytes();
                            chunk.push(letter);
                        }
                    }
                    Next::Failed(event, position) => {
                        self.is_to_read_again |= position.is_some();
                        self.on_event(event)?;
                    }
                }
            }
            if is_quiet {
                // Behind the last record there may be control records.
                for (partition, scan) in self.scans.values_mut() {
                    if let Some(position) = self.member.topic.consumer().position(partition) {
                        scan.pass(position.0);
                    }
                }
            }
            let is_full = chunk.len() >= room || bytes >= CHUNK_BYTES || self.looked_at >= LOOKED_AT_MAX;
            if is_quiet || is_full || self.member.event.is_some() || self.member.is_stopped() {
                return Ok(chunk);
            }
        }
    }

    fn see(&mut self, partition: i32, offset: i64, letter: Option<&Letter>) -> Choice {
        let Some((_, scan)) = self.scans.get_mut(&partition) else { return Choice::Foreign };
        let choice = scan.see(offset, letter);
        self.looked_at += 1;
        self.done.exhausted += u64::from(choice == Choice::Exhausted);
        choice
    }

    /// Brings a chunk to its end.
    fn replay(&mut self, letters: &[Letter]) -> Result<(), Stopped> {
        let partitions = self.scans.values().map(|(partition, _)| partition.clone()).collect();
        self.member.chunk = Some(Waiting { since: now(), partitions, is_paused: false, has_lost: false });
        let mut items = Vec::with_capacity(letters.len());
        let mut ended = Ok(());
        for (index, letter) in letters.iter().enumerate() {
            match self.outcome(letter) {
                Ok(Some(outcome)) => items.push(Item::new(letter.clone(), outcome)),
                other => {
                    self.stop_before(&letters[index..]);
                    // Otherwise it was interrupted: by a signal, or by a rebalance, after which the rest is read again.
                    if let Err(failure) = other {
                        ended = Err(stopped(letter, &failure));
                    }
                    break;
                }
            }
        }
        let delivered = self.deliver(&mut items, ended);
        self.is_to_read_again |= items.len() < letters.len();
        self.is_to_read_again |= self.member.end_chunk();
        if delivered? == Chunk::Again {
            self.is_to_read_again = true;
            return Ok(());
        }
        for item in &items {
            self.done.replayed += 1;
            self.done.dead_lettered += u64::from(matches!(item.outcome, Outcome::DeadLetter { .. }));
            self.done.skipped += u64::from(item.outcome == Outcome::Skipped);
        }
        if let Some(rate) = self.options.rate {
            self.due = now() + Duration::from_secs_f64(items.len() as f64 / rate);
        }
        Ok(())
    }

    /// Runs a record, with the retries of the file. `None` if it was interrupted.
    fn outcome(&mut self, letter: &Letter) -> Result<Option<Outcome>, Failure> {
        if self.options.to_input {
            return Ok(Some(Outcome::WrittenBack));
        }
        let mut tries = 0;
        loop {
            let ran = self.steps.run_from(&letter.failure.source, letter.failure.offset, tries, &letter.record);
            tries += 1;
            let failure = match ran {
                Ok(reaction) => return Ok(Some(Outcome::Outputs(reaction.outputs))),
                Err(failure) => failure,
            };
            match outcome::next(&self.config.policy, &failure, tries) {
                After::Retry(wait) => {
                    let until = now() + wait;
                    let said = format!("{} is retried: {failure}", letter.source());
                    while now() < until {
                        if self.member.wait(Some(&said)) {
                            return Ok(None);
                        }
                    }
                }
                After::DeadLetter => return Ok(Some(Outcome::DeadLetter { failure, tries })),
                After::Skip => return Ok(Some(Outcome::Skipped)),
                After::Stop => return Err(failure),
            }
        }
    }

    /// Sends a chunk, and commits that it was replayed. Then fails if it `ended` with a failed record.
    fn deliver(&mut self, items: &mut Vec<Item>, mut ended: Result<(), Stopped>) -> Result<Chunk, Stopped> {
        loop {
            let trouble = match self.try_to_deliver(items) {
                Ok(()) => {
                    self.tries = 0;
                    return ended.map(|()| Chunk::Done);
                }
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Refused { item, failure, is_about_time } => {
                    let Some(refused) = items.get_mut(item) else { return Ok(Chunk::Again) };
                    if let Err(failure) = refused.refuse(&self.config.policy, &failure, is_about_time) {
                        // What is before it is still to be sent.
                        ended = Err(stopped(&refused.letter, &failure));
                        let letters: Vec<Letter> = items.drain(item..).map(|item| item.letter).collect();
                        self.stop_before(&letters);
                    }
                }
                Trouble::Again(reason) => {
                    self.tries += 1;
                    if self.tries == TRIES_MAX {
                        return Err(Stopped::Unreachable(format!("the outputs can't be delivered: {reason}")));
                    }
                    let until = now() + Duration::from_millis(100) * self.tries;
                    while now() < until && !self.member.wait(Some(&reason)) {}
                    // A transaction may have been committed all the same.
                    if self.outputs.is_exactly_once() || self.member.event.is_some() || self.member.is_stopped() {
                        return Ok(Chunk::Again);
                    }
                }
                Trouble::Denied(reason) => return Err(Stopped::Invalid(reason)),
                Trouble::Interrupted => return Ok(Chunk::Again),
            }
        }
    }

    fn try_to_deliver(&mut self, items: &mut [Item]) -> Result<(), Trouble> {
        let Replay { outputs, member, .. } = self;
        let sent = outputs.send(items, &mut |error| member.wait(error));
        let positions = positions(&self.scans);
        self.looked_at = 0;
        let committed = sent.and_then(|()| {
            if !outputs.is_exactly_once() {
                return member.commit(&positions);
            }
            let membership = member.topic.consumer().membership();
            let membership = membership.ok_or_else(|| Trouble::Again("the group's metadata is missing".into()))?;
            outputs.commit(positions, membership, &mut |error| member.wait(error))
        });
        if committed.is_err() {
            outputs.reset();
        }
        committed
    }

    /// Commits the progress when there was nothing to send.
    fn commit_what_was_seen(&mut self) -> Result<(), Stopped> {
        if self.scans.is_empty() {
            return Ok(());
        }
        self.is_to_read_again |= self.deliver(&mut Vec::new(), Ok(()))? == Chunk::Again;
        Ok(())
    }

    /// These records were read, but are not replayed now.
    fn stop_before(&mut self, letters: &[Letter]) {
        for letter in letters {
            if let Some((_, scan)) = self.scans.get_mut(&letter.partition) {
                scan.stop_at(letter.offset);
            }
        }
    }

    /// Reads all partitions again from where the group stands.
    fn read_again(&mut self) -> Result<(), Stopped> {
        self.is_to_read_again = false;
        if let Some(event) = self.member.event.take() {
            self.rebalance(event)?;
        }
        if self.member.is_stopped() || self.scans.is_empty() {
            return Ok(());
        }
        self.fence()?;
        let partitions: Vec<TopicPartition> = self.scans.values().map(|(partition, _)| partition.clone()).collect();
        for (partition, scan) in self.find(&partitions)? {
            let position = position(&partition, &scan, scan.next());
            if let Err(reason) = self.member.topic.consumer().take_anew(position) {
                tracing::debug!("{partition} can't be read again: {reason}");
            }
            self.scans.insert(partition.partition, (partition, scan));
        }
        Ok(())
    }

    /// Where partitions are to be read.
    fn find(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Scan)>, Stopped> {
        let logs = self.member.topic.look(SETTLED)?.into_iter().filter(|log| partitions.contains(&log.partition));
        let mut scans = Vec::new();
        for log in logs {
            // A partition that was added since is left to the next replay.
            let end = self.ends.get(&log.partition.partition).copied().unwrap_or(Offset(0));
            let log = PartitionLog { end, ..log };
            let scan = Scan::new(&self.config.name, self.options.filter.clone(), &log).map_err(Stopped::Invalid)?;
            scans.push((log.partition, scan));
        }
        Ok(scans)
    }

    fn on_event(&mut self, event: ConsumerEvent) -> Result<(), Stopped> {
        match event {
            ConsumerEvent::Assign(_) | ConsumerEvent::Revoke(_) => self.member.event = Some(event),
            ConsumerEvent::OffsetGone { .. } => self.is_to_read_again = true,
            ConsumerEvent::Error(error) => match error.concern {
                Concern::Fatal | Concern::Denied => {
                    let settings = self.member.topic.settings();
                    let remedy = kafka::Commands::of(settings).remedy_input(&error.name, &settings.input);
                    return Err(Stopped::Invalid(format!("{}; {remedy}", error.text)));
                }
                Concern::Membership(refusal) => {
                    return Err(Stopped::Invalid(refusal.text(self.member.topic.settings(), None)));
                }
                Concern::Connection(_) | Concern::Duplicate | Concern::Other => {
                    tracing::debug!("{}: {}", error.name, error.text);
                }
            },
            ConsumerEvent::Stats(_) => {}
        }
        Ok(())
    }

    /// Answers a rebalance. Nothing is in flight.
    fn rebalance(&mut self, event: ConsumerEvent) -> Result<(), Stopped> {
        self.joined = Some(now());
        match event {
            ConsumerEvent::Assign(partitions) => {
                let scans = if partitions.is_empty() { Vec::new() } else { self.find(&partitions)? };
                let positions: Vec<Position> =
                    scans.iter().map(|(partition, scan)| position(partition, scan, scan.next())).collect();
                if let Err(reason) = self.member.topic.consumer().assign(&positions) {
                    tracing::debug!("an assignment was not accepted: {reason}");
                    return Ok(());
                }
                self.scans.extend(scans.into_iter().map(|(partition, scan)| (partition.partition, (partition, scan))));
            }
            ConsumerEvent::Revoke(partitions) => {
                for partition in &partitions {
                    if let Some((_, scan)) = self.scans.remove(&partition.partition) {
                        let (seen, total) = scan.seen();
                        self.gone = (self.gone.0 + seen, self.gone.1 + total);
                    }
                }
                if let Err(reason) = self.member.topic.consumer().unassign(&partitions) {
                    tracing::debug!("a revocation was not accepted: {reason}");
                }
            }
            ConsumerEvent::Stats(_) | ConsumerEvent::OffsetGone { .. } | ConsumerEvent::Error(_) => {}
        }
        Ok(())
    }

    /// Leaves the group, so that the next replay doesn't have to wait for this one's end.
    fn leave(&mut self) {
        self.outputs.reset();
        let consumer = self.member.topic.consumer();
        if self.joined.is_none() {
            return;
        }
        consumer.close();
        let began = now();
        while !consumer.is_closed() && began.elapsed() < LEAVING {
            if let Some(ConsumerEvent::Revoke(partitions)) = fetch(consumer, 1).event {
                let _ = consumer.unassign(&partitions);
            }
        }
    }
}

/// This process as a member of the group.
struct Member<'a> {
    topic: TopicReader,
    stop: Arc<AtomicBool>,
    watch: &'a mut dyn FnMut(&Tally, Option<&str>),
    /// A rebalance that waits until a chunk has ended.
    event: Option<ConsumerEvent>,
    tally: Tally,
    /// While there is a chunk.
    chunk: Option<Waiting>,
}

/// What waiting in a chunk did.
struct Waiting {
    since: Instant,
    /// The partitions of this member.
    partitions: Vec<TopicPartition>,
    is_paused: bool,
    /// Whether a record was fetched all the same.
    has_lost: bool,
}

/// A chunk that takes longer has its partitions paused, so that the group can be listened to.
const SHORT: Duration = Duration::from_secs(1);
/// How long one wait takes.
const WAIT: Duration = Duration::from_millis(20);

impl Member<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn tell(&mut self, said: Option<&str>) {
        (self.watch)(&self.tally, said);
    }

    /// Waits for a moment, and goes on being a member. `true` if the present chunk should end.
    fn wait(&mut self, said: Option<&str>) -> bool {
        self.tell(said);
        let consumer = self.topic.consumer();
        match &mut self.chunk {
            Some(chunk) if self.event.is_none() && chunk.since.elapsed() > SHORT => {
                if !std::mem::replace(&mut chunk.is_paused, true) {
                    chunk.partitions.iter().for_each(|partition| consumer.pause(partition));
                }
                let Fetched { records, event } = fetch(consumer, 1);
                chunk.has_lost |= records.is_some();
                self.event = event.filter(|event| matches!(event, ConsumerEvent::Assign(_) | ConsumerEvent::Revoke(_)));
            }
            Some(_) | None => std::thread::sleep(WAIT),
        }
        self.event.is_some() || self.is_stopped()
    }

    /// Goes on reading. `true` if records have to be read again.
    fn end_chunk(&mut self) -> bool {
        let Some(chunk) = self.chunk.take() else { return false };
        if chunk.is_paused {
            chunk.partitions.iter().for_each(|partition| self.topic.consumer().resume(partition));
        }
        chunk.has_lost
    }

    /// Commits, and waits for the answer.
    fn commit(&mut self, positions: &[Position]) -> Result<(), Trouble> {
        let commit = self.topic.consumer().commit_at(positions).map_err(Trouble::Again)?;
        loop {
            match commit.wait(COMMIT_WAIT_MS) {
                Some(committed) => return committed.failed.map_or(Ok(()), |reason| Err(Trouble::Again(reason))),
                None if self.wait(None) => return Err(Trouble::Interrupted),
                None => {}
            }
        }
    }
}

/// The offsets to commit.
fn positions(scans: &BTreeMap<i32, (TopicPartition, Scan)>) -> Vec<Position> {
    scans.values().map(|(partition, scan)| position(partition, scan, scan.offset())).collect()
}

fn position(partition: &TopicPartition, scan: &Scan, offset: i64) -> Position {
    Position {
        partition: partition.clone(),
        offset: Offset(offset),
        leader_epoch: -1,
        note: scan.note().to_string().into(),
    }
}

/// How long one wait for the answer to a commit takes.
const COMMIT_WAIT_MS: i32 = 100;

fn stopped(letter: &Letter, failure: &Failure) -> Stopped {
    Stopped::Record(format!(
        "stopped at the dead letter at partition {}, offset {}, the record {}: {failure}; it and those after it are not replayed",
        letter.partition,
        letter.offset,
        letter.source()
    ))
}
