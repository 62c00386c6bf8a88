//! Runs dead letters through the pipeline's steps again, chunk by chunk.
//!
//! ```text
//! read, choose --> queue --> run the steps --> send, wait for acknowledgements --> commit, or commit the transaction --> the next chunk
//! ```
//!
//! It is a member of the group `GROUP.dlq`, so several replays share the partitions. Between two chunks nothing is in flight: a
//! rebalance, a kill or an error repeats at most one chunk, and with exactly-once delivery nothing. What is written to the topic after
//! the replay began is left to the next one, so that a plugin that is still broken doesn't loop. Invariant: what is committed says of
//! a record that it was replayed only if everything that it became is acknowledged; what is chosen and not acknowledged is in the
//! queue.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::time::Instant;

use super::Choice;
use super::Filter;
use super::LIMIT;
use super::Letter;
use super::Scan;
use super::deliver::Outputs;
use super::deliver::Trouble;
use super::member::Member;
use super::outcome;
use super::outcome::Item;
use super::outcome::Next as After;
use super::outcome::Outcome;
use super::read::Fetched;
use super::read::Scratch;
use super::read::fetch;
use crate::config;
use crate::dry_run::Steps;
use crate::kafka;
use crate::kafka::consumer::Concern;
use crate::kafka::consumer::ConsumerEvent;
use crate::kafka::consumer::Next;
use crate::kafka::consumer::Position;
use crate::kafka::offset_metadata::TopicId;
use crate::kafka::probe::Unanswered;
use crate::kafka::settings::Output;
use crate::kafka::topic_reader::PartitionLog;
use crate::kafka::topic_reader::TopicReader;
use crate::record::Offset;
use crate::record::TopicPartition;
use crate::sink::DeadLetters;
use crate::worker::clock;

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
    /// Records that another pipeline wrote.
    pub foreign: u64,
    /// Windows, which are no records.
    pub windows: u64,
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

/// The most records of a chunk, the most bytes, plus one record, and how long its records may run, plus one record.
const CHUNK_RECORDS: usize = 512;
const CHUNK_BYTES: u64 = 4 << 20;
const CHUNK_TIME: Duration = Duration::from_secs(1);
/// How many chunks there are in a second at a given rate.
const CHUNKS_PER_SECOND: f64 = 10.0;
/// After this many records that were only looked at, the progress is committed.
const LOOKED_AT_MAX: u64 = 20_000;
/// How often a chunk is sent again before the replay ends with an error.
const TRIES_MAX: u32 = 10;
/// How long the group may take to give partitions to a new member.
const JOINING: Duration = Duration::from_secs(60);
/// How long to wait for the group's offsets: a process that was killed may have left a transaction, which brokers end after a while.
const SETTLED: Duration = Duration::from_secs(45);
/// How often to look whether other replays are done with their partitions, and how long that may take.
const OTHERS: Duration = Duration::from_secs(2);

/// See the head of the file.
pub struct Replay<'a> {
    config: &'a config::Pipeline,
    member: Member<'a>,
    steps: Steps,
    outputs: Outputs,
    options: ReplayOptions,
    /// The ends of the partitions when the replay began, and the topic's id.
    ends: BTreeMap<i32, Offset>,
    topic: Option<TopicId>,
    /// The partitions that the group gave to this member.
    scans: BTreeMap<i32, (TopicPartition, Scan)>,
    /// Chosen records that are not replayed yet, in the order in which they were read.
    queue: VecDeque<Letter>,
    /// By partition, the first offset that has to be read again.
    unread: BTreeMap<i32, i64>,
    /// When the group gave or took partitions for the last time.
    joined: Option<Instant>,
    /// When other members' partitions were looked at for the last time.
    looked_around: Instant,
    /// How many records were looked at since the last commit.
    looked_at: u64,
    /// How often the present chunk was not delivered.
    tries: u32,
    is_to_read_again: bool,
    done: Tally,
    /// What partitions that were given back had.
    gone: (u64, u64),
}

/// How a chunk was sent.
enum Sent {
    All,
    /// A part of it, or with a transaction: it isn't known.
    Part,
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
        let there = |output: &Output| topic.partitions(output.topic.as_deref()?, LIMIT).ok();
        let partitions = settings.outputs.iter().map(there).collect();
        let dead_letters = DeadLetters { pipeline: config.name.clone(), worker: 0, dialect: config.dialect };
        Replay {
            config,
            member: Member::new(topic, stop, watch),
            steps,
            outputs: Outputs::new(settings, limits, partitions, dead_letters),
            options,
            ends: BTreeMap::new(),
            topic: None,
            scans: BTreeMap::new(),
            queue: VecDeque::new(),
            unread: BTreeMap::new(),
            joined: None,
            looked_around: clock::now(),
            looked_at: 0,
            tries: 0,
            is_to_read_again: false,
            done: Tally::default(),
            gone: (0, 0),
        }
    }

    /// Replays until the ends of all partitions, the limit, or until it is told to stop. Returns what was done.
    ///
    /// # Errors
    /// See [`Stopped`]; what was done before is kept.
    pub fn run(mut self) -> (Tally, Result<(), Stopped>) {
        let ended = self.run_to_end();
        self.outputs.reset();
        let tally = self.tally();
        if self.joined.is_some() {
            self.member.leave();
        }
        (tally, ended)
    }

    fn run_to_end(&mut self) -> Result<(), Stopped> {
        self.fence()?;
        let logs = self.member.topic().look(SETTLED)?;
        self.ends = logs.iter().map(|log| (log.partition.partition, log.end)).collect();
        self.topic = logs.first().and_then(|log| log.topic);
        let scans: Vec<Scan> = logs.iter().map(|log| Scan::new(self.options.filter.clone(), log)).collect();
        scans.iter().try_for_each(Scan::has_room).map_err(Stopped::Invalid)?;
        if scans.iter().all(Scan::is_done) {
            return Ok(());
        }
        let topics = self.member.topic().settings().input.topics.clone();
        self.member.topic().consumer().subscribe(&topics).map_err(Stopped::Invalid)?;
        let began = clock::now();
        let mut scratch = Scratch::default();
        while !self.is_over() {
            if self.joined.is_none() && began.elapsed() > JOINING {
                return Err(Stopped::Unreachable("the group of the replays gave no partitions within a minute".into()));
            }
            self.gather(&mut scratch)?;
            if !self.queue.is_empty() {
                self.replay()?;
            } else if self.looked_at >= LOOKED_AT_MAX {
                self.commit_what_was_seen()?;
            }
            if self.is_to_read_again {
                self.read_again()?;
            }
            if let Some(event) = self.member.take_event() {
                self.rebalance(event)?;
            }
            self.member.tally = self.tally();
            let waits = self.joined.is_some() && self.is_own_done() && self.scans.len() < self.ends.len();
            self.member.tell(waits.then_some("waiting for the partitions that another replay has"));
        }
        self.commit_what_was_seen()
    }

    /// With exactly-once delivery, ends the transaction that a process which was killed has left: its offsets are not told before.
    fn fence(&mut self) -> Result<(), Stopped> {
        if !self.outputs.is_exactly_once() {
            return Ok(());
        }
        let Replay { outputs, member, .. } = self;
        match outputs.start(&[], &mut |error| member.wait_for_brokers(error)) {
            Ok(()) | Err(Trouble::Interrupted) => Ok(()),
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

    /// Whether this member has nothing to do now.
    fn is_own_done(&self) -> bool {
        self.queue.is_empty() && self.scans.values().all(|(_, scan)| scan.is_done())
    }

    fn is_over(&mut self) -> bool {
        if self.member.is_stopped() || self.room() == 0 {
            return true;
        }
        if self.joined.is_none() || !self.is_own_done() {
            return false;
        }
        // Partitions of a member that was killed come to this one.
        if self.scans.len() < self.ends.len() && self.looked_around.elapsed() < OTHERS {
            return false;
        }
        self.looked_around = clock::now();
        let filter = &self.options.filter;
        let is_done =
            |log: PartitionLog| Scan::new(filter.clone(), &PartitionLog { end: self.end_of(&log), ..log }).is_done();
        self.scans.len() == self.ends.len()
            || self.member.topic().look(OTHERS).is_ok_and(|logs| {
                let others = logs.into_iter().filter(|log| !self.scans.contains_key(&log.partition.partition));
                others.into_iter().all(is_done)
            })
    }

    /// Where a partition ended when the replay began. One that was added since is left to the next replay.
    fn end_of(&self, log: &PartitionLog) -> Offset {
        self.ends.get(&log.partition.partition).copied().unwrap_or(Offset(0)).min(log.end)
    }

    /// Takes the next records that the filter chooses.
    fn gather(&mut self, scratch: &mut Scratch) -> Result<(), Stopped> {
        let room = self.room();
        loop {
            let bytes: u64 = self.queue.iter().map(|letter| letter.record.bytes()).sum();
            let is_full = self.queue.len() >= room || bytes >= CHUNK_BYTES || self.looked_at >= LOOKED_AT_MAX;
            if is_full || self.is_to_read_again || self.member.is_to_pause() {
                return Ok(());
            }
            let Fetched { mut records, event } = fetch(self.member.topic().consumer(), room - self.queue.len());
            if let Some(event) = event {
                self.on_event(event)?;
            }
            let mut is_quiet = true;
            while let Some(next) =
                records.as_mut().and_then(|records| records.next_with(|record| scratch.letter(record)))
            {
                is_quiet = false;
                match next {
                    Next::Record((partition, offset, letter)) => self.see(partition, offset, letter),
                    Next::Failed(event, position) => {
                        if let Some((partition, Offset(offset))) = position {
                            self.unread.entry(partition.partition).or_insert(offset);
                            self.is_to_read_again = true;
                        }
                        self.on_event(event)?;
                    }
                }
            }
            if is_quiet {
                // Behind the last record there may be control records.
                for (partition, scan) in self.scans.values_mut() {
                    if let Some(position) = self.member.topic().consumer().position(partition) {
                        scan.pass(position.0);
                    }
                }
                return Ok(());
            }
        }
    }

    fn see(&mut self, partition: i32, offset: i64, letter: Option<Letter>) {
        let Some((_, scan)) = self.scans.get_mut(&partition) else { return };
        let choice = scan.see(offset, letter.as_ref());
        self.looked_at += 1;
        self.done.exhausted += u64::from(choice == Choice::Exhausted);
        self.done.foreign += u64::from(choice == Choice::Foreign);
        self.done.windows += u64::from(choice == Choice::Window);
        self.queue.extend(letter.filter(|_| choice == Choice::Replay));
    }

    /// Replays the records at the front of the queue.
    fn replay(&mut self) -> Result<(), Stopped> {
        let partitions = self.scans.values().map(|(partition, _)| partition.clone()).collect();
        self.member.begin_chunk(partitions);
        let began = clock::now();
        let (room, mut items, mut ended) = (self.room(), Vec::new(), Ok(()));
        while items.len() < room
            && began.elapsed() < CHUNK_TIME
            && !self.member.is_to_pause()
            && let Some(letter) = self.queue.pop_front()
        {
            let outcome = self.outcome(&letter);
            match outcome {
                Ok(Some(outcome)) => {
                    items.push(Item::new(letter, outcome));
                    continue;
                }
                // A signal, or a rebalance.
                Ok(None) => {}
                Err(stopped) => ended = Err(stopped),
            }
            self.queue.push_front(letter);
            break;
        }
        let count = items.len();
        let sent = self.deliver(&mut items, &mut ended);
        for item in items.iter().filter(|item| item.is_delivered) {
            self.done.replayed += 1;
            self.done.dead_lettered += u64::from(matches!(item.outcome, Outcome::DeadLetter { .. }));
            self.done.skipped += u64::from(item.outcome == Outcome::Skipped);
        }
        if let Some(rate) = self.options.rate.filter(|_| matches!(sent, Sent::All)) {
            let due = began + Duration::from_secs_f64(count as f64 / rate);
            while clock::now() < due && !self.member.wait(None) {}
        }
        self.is_to_read_again |= self.member.end_chunk();
        ended
    }

    /// Runs a record, with the retries of the file. `None` if it was interrupted.
    fn outcome(&mut self, letter: &Letter) -> Result<Option<Outcome>, Stopped> {
        if self.options.to_input {
            return self.written_back(letter).map(Some);
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
                    let until = clock::now() + wait;
                    let said = format!("{} is retried: {failure}", letter.source());
                    loop {
                        if self.member.wait(Some(&said)) {
                            return Ok(None);
                        }
                        if clock::now() >= until {
                            break;
                        }
                    }
                }
                After::DeadLetter => return Ok(Some(Outcome::DeadLetter { failure, tries })),
                After::Skip => return Ok(Some(Outcome::Skipped)),
                After::Stop => return Err(stopped(letter, &failure.to_string())),
            }
        }
    }

    /// The way of a record back to where it was read. Headers say where that is, so only inputs of the pipeline count.
    fn written_back(&self, letter: &Letter) -> Result<Outcome, Stopped> {
        let TopicPartition { topic, partition } = &letter.failure.source;
        if !self.config.kafka.input.topics.iter().any(|input| config::reads(input, topic)) {
            return Err(stopped(letter, "the pipeline doesn't read that topic"));
        }
        let there = self.member.topic().partitions(topic, LIMIT).map_err(|unanswered| match unanswered {
            Unanswered::Refused(reason) => stopped(letter, &reason),
            unreached @ Unanswered::Unreached(_) => Stopped::from(unreached),
        })?;
        // A topic that was created again may have fewer partitions.
        Ok(Outcome::WrittenBack { partition: if (0..there).contains(partition) { *partition } else { -1 } })
    }

    /// Sends a chunk, and commits that it was replayed. What isn't delivered goes back to the queue.
    fn deliver(&mut self, items: &mut Vec<Item>, ended: &mut Result<(), Stopped>) -> Sent {
        loop {
            let trouble = match self.try_to_deliver(items) {
                Ok(()) => {
                    self.tries = 0;
                    return Sent::All;
                }
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Refused { item, failure, is_about_time } => {
                    let Some(refused) = items.get_mut(item) else { break };
                    if let Err(failure) = refused.refuse(&self.config.policy, &failure, is_about_time) {
                        // What is before it is still to be sent.
                        *ended = Err(stopped(&refused.letter, &failure.to_string()));
                        self.put_back(items, item);
                    }
                    continue;
                }
                Trouble::Again(reason) => {
                    self.tries += 1;
                    let until = clock::now() + Duration::from_millis(100) * self.tries;
                    while clock::now() < until && !self.member.wait(Some(&reason)) {}
                    if self.tries == TRIES_MAX {
                        *ended = Err(Stopped::Unreachable(format!("the outputs can't be delivered: {reason}")));
                    } else if !self.outputs.is_exactly_once() && !self.member.is_to_pause() {
                        continue;
                    }
                }
                Trouble::Denied(reason) => *ended = Err(Stopped::Invalid(reason)),
                Trouble::Interrupted => {}
            }
            break;
        }
        if self.outputs.is_exactly_once() {
            // The transaction may have been committed all the same.
            self.is_to_read_again = true;
            items.iter_mut().for_each(|item| item.is_delivered = false);
        }
        self.put_back(items, 0);
        if !items.is_empty() {
            // If this fails, what was delivered is repeated.
            let positions = self.positions();
            let _ = self.member.commit(&positions);
        }
        Sent::Part
    }

    /// Puts the records from this one on that aren't delivered back to the front of the queue.
    fn put_back(&mut self, items: &mut Vec<Item>, from: usize) {
        let (mut delivered, mut back) = (Vec::new(), Vec::new());
        for item in items.drain(from..) {
            if item.is_delivered { delivered.push(item) } else { back.push(item.letter) }
        }
        items.extend(delivered);
        back.into_iter().rev().for_each(|letter| self.queue.push_front(letter));
    }

    fn try_to_deliver(&mut self, items: &mut [Item]) -> Result<(), Trouble> {
        let positions = self.positions();
        let Replay { outputs, member, .. } = self;
        let sent = outputs.send(items, &mut |error| member.wait_for_brokers(error));
        let committed = sent.and_then(|()| {
            if !outputs.is_exactly_once() {
                return member.commit(&positions);
            }
            let membership = member.topic().consumer().membership();
            let membership = membership.ok_or_else(|| Trouble::Again("the group's metadata is missing".into()))?;
            outputs.commit(positions, membership, &mut |error| member.wait_for_brokers(error))
        });
        match &committed {
            Ok(()) => self.looked_at = 0,
            Err(_) => outputs.reset(),
        }
        committed
    }

    /// Commits the progress when there was nothing to send.
    fn commit_what_was_seen(&mut self) -> Result<(), Stopped> {
        // With an unknown outcome only the group knows where it stands.
        if self.scans.is_empty() || self.is_to_read_again {
            return Ok(());
        }
        let mut ended = Ok(());
        let _ = self.deliver(&mut Vec::new(), &mut ended);
        ended
    }

    /// The offsets to commit once everything that isn't in the queue is delivered.
    fn positions(&self) -> Vec<Position> {
        let pending = |partition: i32| {
            let queued = self.queue.iter().filter(|letter| letter.partition == partition).map(|letter| letter.offset);
            queued.chain(self.unread.get(&partition).copied()).min()
        };
        let position = |(number, (partition, scan)): (&i32, &(TopicPartition, Scan))| {
            let (offset, note) = scan.progress(pending(*number));
            Position {
                partition: partition.clone(),
                offset: Offset(offset),
                leader_epoch: -1,
                note: note.to_string().into(),
            }
        };
        self.scans.iter().map(position).collect()
    }

    /// Reads all partitions again from where the group stands.
    fn read_again(&mut self) -> Result<(), Stopped> {
        self.is_to_read_again = false;
        if let Some(event) = self.member.take_event() {
            self.rebalance(event)?;
        }
        if self.member.is_stopped() {
            // Until the group was asked, nothing is committed.
            self.is_to_read_again = true;
            return Ok(());
        }
        self.queue.clear();
        self.unread.clear();
        if self.scans.is_empty() {
            return Ok(());
        }
        self.fence()?;
        let partitions: Vec<TopicPartition> = self.scans.values().map(|(partition, _)| partition.clone()).collect();
        for (partition, scan) in self.find(&partitions)? {
            if let Err(reason) = self.member.topic().consumer().take_anew(start(&partition, &scan)) {
                let TopicPartition { topic, partition: number } = &partition;
                tracing::debug!(topic = &**topic, partition = number, "{partition} can't be read again: {reason}");
            }
            self.scans.insert(partition.partition, (partition, scan));
        }
        Ok(())
    }

    /// Where partitions are to be read.
    fn find(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Scan)>, Stopped> {
        let mut scans = Vec::new();
        for log in self.member.topic().look(SETTLED)? {
            if log.topic != self.topic {
                let what = "the dead-letter topic was deleted and created again meanwhile: start again";
                return Err(Stopped::Invalid(what.into()));
            }
            if partitions.contains(&log.partition) {
                let log = PartitionLog { end: self.end_of(&log), ..log };
                scans.push((log.partition.clone(), Scan::new(self.options.filter.clone(), &log)));
            }
        }
        Ok(scans)
    }

    fn on_event(&mut self, event: ConsumerEvent) -> Result<(), Stopped> {
        match event {
            ConsumerEvent::Assign(_) | ConsumerEvent::Revoke(_) => self.member.keep(event),
            ConsumerEvent::OffsetGone { .. } => self.is_to_read_again = true,
            ConsumerEvent::Error(error) => match error.concern {
                Concern::Fatal | Concern::Denied => {
                    let settings = self.member.topic().settings();
                    let remedy = kafka::Commands::of(settings).remedy_input(&error.name, &settings.input);
                    return Err(Stopped::Invalid(format!("{}; {remedy}", error.text)));
                }
                Concern::Membership(refusal) => {
                    return Err(Stopped::Invalid(refusal.text(self.member.topic().settings(), None)));
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
        self.joined = Some(clock::now());
        match event {
            ConsumerEvent::Assign(partitions) => {
                let scans = if partitions.is_empty() { Vec::new() } else { self.find(&partitions)? };
                let positions: Vec<Position> = scans.iter().map(|(partition, scan)| start(partition, scan)).collect();
                if let Err(reason) = self.member.topic().consumer().assign(&positions) {
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
                    self.unread.remove(&partition.partition);
                }
                self.queue.retain(|letter| self.scans.contains_key(&letter.partition));
                if let Err(reason) = self.member.topic().consumer().unassign(&partitions) {
                    tracing::debug!("a revocation was not accepted: {reason}");
                }
            }
            ConsumerEvent::Stats(_) | ConsumerEvent::OffsetGone { .. } | ConsumerEvent::Error(_) => {}
        }
        Ok(())
    }
}

/// Where a partition is read from.
fn start(partition: &TopicPartition, scan: &Scan) -> Position {
    Position { partition: partition.clone(), offset: Offset(scan.next()), leader_epoch: -1, note: Arc::default() }
}

fn stopped(letter: &Letter, why: &str) -> Stopped {
    Stopped::Record(format!(
        "stopped at the dead letter at partition {}, offset {}, the record {}: {why}; it and those after it are not replayed",
        letter.partition,
        letter.offset,
        letter.source()
    ))
}
