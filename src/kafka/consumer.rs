//! The consumer: its events, and the calls that answer them. Only the worker's thread uses it. It decides nothing.
//!
//! A rebalance is an event like any other: librdkafka stops fetching and keeps sending heartbeats until
//! [`Consumer::assign`] or [`Consumer::unassign`] is called, however much later.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::classify::code;
use super::connection;
use super::connection::ConnectionProblem;
use super::membership;
use super::membership::Refusal;
use super::probe::now;
use super::settings;
use super::stats;
use super::stats::Stats;
use super::sys;
use super::sys::CallbackEvent;
use super::sys::Client;
use super::sys::Code;
use super::sys::EventKind;
use super::sys::PartitionList;
use super::sys::Queue;
use super::sys::QueueWaker;
use super::sys::Side;
use super::transaction::Membership;
use crate::batch::Batch;
use crate::record::Offset;
use crate::record::TopicPartition;

/// The longest time that leaving the group for good takes: the group's coordinator may be away.
const LEAVING_MAX: Duration = Duration::from_secs(2);

/// A member of the group.
pub struct Consumer {
    client: Arc<Client>,
    /// Records, rebalances, and errors of partitions.
    records: Queue,
    /// All other events of the client.
    events: Queue,
    /// Whether it logs in with a token.
    has_token: bool,
    /// Whether it has an instance id: its place in the group is kept for it until its session is over.
    is_static: bool,
    /// Whether it won't come back for its place.
    leaves_for_good: Cell<bool>,
}

/// See [`Consumer::waker`].
pub struct Waker(QueueWaker);

impl Waker {
    /// Ends the running wait, or the next one if none runs.
    pub fn wake(&self) {
        self.0.wake();
    }
}

/// A commit in flight, with its own queue for the answer. Dropping it discards the answer.
pub struct Commit(Queue);

/// An event of the consumer that is not a record.
pub enum ConsumerEvent {
    /// The group assigns these partitions to this member. The rebalance waits for [`Consumer::assign`].
    Assign(Vec<TopicPartition>),
    /// The group revokes these partitions. The rebalance waits for [`Consumer::unassign`].
    Revoke(Vec<TopicPartition>),
    /// librdkafka's statistics.
    Stats(Stats),
    /// A partition's position no longer exists: retention deleted it, or the topic was recreated.
    OffsetGone {
        /// The partition.
        partition: TopicPartition,
        /// Whether the log was truncated below the position, so that it now holds other records than were read.
        is_cut: bool,
    },
    /// An error that librdkafka retries or that the worker can't act on; for the log and the metrics.
    Error(ClientError),
}

/// The result of a commit, per partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The offsets that the group has now. Empty if there was nothing to commit.
    pub offsets: Vec<(TopicPartition, Offset)>,
    /// Why the commit failed, for some partitions or for all.
    pub failed: Option<String>,
}

/// An error that a client reports about itself.
#[derive(Clone, Debug)]
pub struct ClientError {
    /// Kafka's name of the error.
    pub name: String,
    /// What happened.
    pub text: String,
    /// The partition, if it is about one.
    pub partition: Option<(String, i32)>,
    /// What it is about.
    pub concern: Concern,
}

/// What an error is about, which decides how it is handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The client can't continue.
    Fatal,
    /// The group rejects this member.
    Membership(Refusal),
    /// An operator must act: a permission or a topic is missing.
    Denied,
    /// A broker can't be reached.
    Connection(ConnectionProblem),
    /// Nothing new: no broker answers, or another error describes the problem better.
    Duplicate,
    /// Anything else.
    Other,
}

/// Records that still live in librdkafka's memory, and the partition errors among them.
pub struct Records(Held);

enum Held {
    /// Records that were taken together.
    Taken(sys::Messages),
    /// The one record that was waited for.
    Waited(sys::Event),
}

/// What ended a wait.
pub enum WaitResult {
    /// A record.
    Records(Records),
    /// Something else.
    Other(ConsumerEvent),
}

/// The next item of [`Records`].
pub enum Next<R> {
    /// A record, as the result of the callback.
    Record(R),
    /// An error of a partition, to be handled after the records that were taken with it. If it has a position, the
    /// partition may have to be read again from there with [`Consumer::seek`]: all records before that position were
    /// taken, but librdkafka counts the record at that position as read, too (`rd_kafka_q_serve_rkmessages` takes an
    /// error's offset for a record's).
    Failed(ConsumerEvent, Option<(TopicPartition, Offset)>),
}

/// A record in librdkafka's memory: its position, to be checked before the record is copied.
pub struct FetchedRecord<'a> {
    /// The topic's name.
    pub topic: &'a [u8],
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// The leader epoch of its batch, -1 if unknown.
    pub leader_epoch: i32,
    message: sys::Message<'a>,
}

impl Records {
    /// Whether there is none, when they were taken together.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Held::Taken(messages) if messages.is_empty())
    }

    /// Passes the next record to `see` and then releases it, so `see` must copy what is needed. `None` when no record
    /// is left.
    pub fn next_with<R>(&mut self, see: impl FnOnce(&FetchedRecord<'_>) -> R) -> Option<Next<R>> {
        match &mut self.0 {
            Held::Taken(messages) => messages.next_with(|message| look(message, see)),
            Held::Waited(event) => event.next_message().map(|message| look(message, see)),
        }
    }
}

/// After these errors librdkafka's position is right: it skipped data that can't be read, or it waits for a new
/// position.
const SETTLED: [Code; 4] = [code::BAD_MESSAGE, code::BAD_COMPRESSION, code::NOT_IMPLEMENTED, code::AUTO_OFFSET_RESET];

fn look<R>(message: sys::Message<'_>, see: impl FnOnce(&FetchedRecord<'_>) -> R) -> Next<R> {
    let code = message.code();
    if code != Code::OK {
        let topic = String::from_utf8_lossy(message.topic()).into_owned();
        let partition = (!topic.is_empty()).then(|| (topic, message.partition()));
        let unread = (message.offset() >= 0 && !SETTLED.contains(&code)).then_some(partition.as_ref()).flatten();
        let unread = unread.map(|(topic, partition)| {
            (TopicPartition { topic: topic.as_str().into(), partition: *partition }, Offset(message.offset()))
        });
        return Next::Failed(failed_partition(code, message.error_text(), partition, false, false), unread);
    }
    Next::Record(see(&FetchedRecord {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        leader_epoch: message.leader_epoch(),
        message,
    }))
}

impl FetchedRecord<'_> {
    /// The key; `None` is null.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.message.key()
    }

    /// Milliseconds since 1970-01-01 UTC; -1 is none.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        self.message.timestamp()
    }

    /// Appends the record to `batch`, which must belong to its partition.
    pub fn copy_to(&self, batch: &mut Batch, attempt: u32) {
        let message = &self.message;
        batch.push(self.offset, message.timestamp(), attempt, message.key(), message.value(), message.headers());
    }
}

/// The position from which a partition is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: TopicPartition,
    /// The next record to read.
    pub offset: Offset,
    /// The leader epoch of the record before it, -1 if unknown. With it the broker detects a truncated log.
    pub leader_epoch: i32,
    /// The metadata committed with the offset: a [`OffsetMetadata`](super::offset_metadata::OffsetMetadata). For a position to read from, the note
    /// that was committed.
    pub note: Arc<str>,
}

impl Consumer {
    /// Makes the client; [`Consumer::subscribe`] joins the group.
    ///
    /// # Errors
    /// librdkafka's error message about a setting that it rejects.
    pub fn new(settings: &Settings, worker: usize) -> Result<Consumer, String> {
        let client = Client::new(Side::Consumer, &settings::consumer(settings, worker), settings.token_hook()?)
            .map_err(|reason| settings.hidden.hide(&reason))?;
        let has_token = settings.tokens().is_some();
        let id = settings.input.instance_id.as_deref();
        Ok(Consumer {
            records: client.records(),
            events: client.queue(),
            client,
            has_token,
            is_static: id.is_some(),
            leaves_for_good: Cell::new(id.is_some_and(membership::is_generated)),
        })
    }

    /// Wakes the thread that waits in [`Consumer::wait`]. It shares the client, which is destroyed only after it.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker(QueueWaker::new(self.client.records()))
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Joins the group.
    ///
    /// # Errors
    /// librdkafka's error message about the topics.
    pub fn subscribe(&self, topics: &[String]) -> Result<(), String> {
        self.client.subscribe(topics).map_err(|error| error.to_string())
    }

    /// Takes the records that are ready, at most `most` of them, without waiting. A rebalance among them, or an error
    /// of a topic, comes from [`Consumer::poll`].
    ///
    /// The caller must handle them before any other call: librdkafka counts them as read, and no longer drops them when
    /// their partition is read from another position.
    #[must_use]
    pub fn take(&self, most: usize) -> Records {
        Records(Held::Taken(self.records.take(most)))
    }

    /// Waits for a record or a rebalance, for at most `timeout_ms`.
    #[must_use]
    pub fn wait(&self, timeout_ms: i32) -> Option<WaitResult> {
        let event = self.records.poll(timeout_ms)?;
        match event.kind() {
            EventKind::Fetch => Some(WaitResult::Records(Records(Held::Waited(event)))),
            EventKind::Rebalance => Some(WaitResult::Other(self.rebalance(event.code(), event.partitions().entries()))),
            EventKind::Error => Some(WaitResult::Other(self.error(&event))),
            EventKind::Stats | EventKind::Log | EventKind::Delivery | EventKind::OffsetCommit | EventKind::Other => {
                None
            }
        }
    }

    /// The next event that is not a record.
    pub fn poll(&self) -> Option<ConsumerEvent> {
        match self.client.next_callback_event() {
            Some(CallbackEvent::Rebalance { code, partitions }) => return Some(self.rebalance(code, partitions)),
            Some(CallbackEvent::Error { code, text }) => {
                return Some(failed_partition(code, text, None, false, self.has_token));
            }
            None => {}
        }
        loop {
            let event = self.events.poll(0)?;
            let polled = match event.kind() {
                EventKind::Stats => stats::parse(&event.stats()).map(ConsumerEvent::Stats),
                EventKind::Log => log_line(&event).map(ConsumerEvent::Error),
                EventKind::Error => Some(self.error(&event)),
                EventKind::Fetch
                | EventKind::Rebalance
                | EventKind::Delivery
                | EventKind::OffsetCommit
                | EventKind::Other => None,
            };
            if polled.is_some() {
                return polled;
            }
        }
    }

    fn error(&self, event: &sys::Event) -> ConsumerEvent {
        let (partition, is_fatal) = (event.error_partition(), event.is_fatal());
        failed_partition(event.code(), event.error_text(), partition, is_fatal, self.has_token)
    }

    fn rebalance(&self, code: Code, partitions: Vec<sys::Entry>) -> ConsumerEvent {
        let partitions = partitions.into_iter().map(named).collect();
        match code {
            code::ASSIGN_PARTITIONS => ConsumerEvent::Assign(partitions),
            code::REVOKE_PARTITIONS => ConsumerEvent::Revoke(partitions),
            other => {
                // The group failed: return all partitions, and librdkafka joins again.
                let revoked = self.client.assign(None);
                ConsumerEvent::Error(ClientError {
                    name: other.name(),
                    text: format!("the group ended: {other} ({revoked:?})"),
                    partition: None,
                    concern: membership::refusal(other).map_or(Concern::Other, Concern::Membership),
                })
            }
        }
    }

    /// Accepts an assignment, each partition to be read from its position.
    ///
    /// # Errors
    /// librdkafka's error message. The group then assigns the partitions again.
    pub fn assign(&self, positions: &[Position]) -> Result<(), String> {
        let mut list = PartitionList::new();
        for Position { partition, offset, leader_epoch, note: _ } in positions {
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

    /// Gives up partitions.
    ///
    /// # Errors
    /// librdkafka's error message.
    pub fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), String> {
        let result = if self.client.is_cooperative() {
            self.client.incremental_unassign(&list_of(partitions))
        } else {
            self.client.assign(None)
        };
        result.map_err(|error| error.to_string())
    }

    /// Whether the group has already assigned this member's partitions to others.
    #[must_use]
    pub fn assignment_lost(&self) -> bool {
        self.client.assignment_lost()
    }

    /// Reassigns a partition of this member from another position. A seek isn't enough: librdkafka doesn't seek in a
    /// partition whose position no longer exists.
    ///
    /// # Errors
    /// librdkafka's error message. The partition may no longer be read then.
    pub fn take_anew(&self, position: Position) -> Result<(), String> {
        self.unassign(std::slice::from_ref(&position.partition))?;
        self.assign(&[position])
    }

    /// Stops fetching a partition.
    pub fn pause(&self, partition: &TopicPartition) {
        self.client.pause(&mut list_of(std::slice::from_ref(partition)));
    }

    /// Resumes fetching a partition.
    pub fn resume(&self, partition: &TopicPartition) {
        self.client.resume(&mut list_of(std::slice::from_ref(partition)));
    }

    /// Reads a partition again from `offset`. The call doesn't wait: records that were fetched before are no longer
    /// returned (`rd_kafka_toppar_op_seek` raises the version that `rd_kafka_op_version_outdated` compares), but
    /// [`Consumer::position`] may return the old position until a record was read.
    ///
    /// # Errors
    /// librdkafka's error message. The position is unchanged then.
    pub fn seek(&self, partition: &TopicPartition, offset: Offset) -> Result<(), String> {
        let mut list = place_in(partition, offset);
        self.client.seek(&mut list, 0).map_err(|error| error.to_string())
    }

    /// Stores offsets for the next commit. Returns the partitions that are no longer assigned to this member.
    pub fn store(&self, positions: &[Position]) -> Vec<TopicPartition> {
        let mut list = PartitionList::new();
        for Position { partition, offset, leader_epoch, note } in positions {
            list.add_with_note(&partition.topic, partition.partition, offset.0, *leader_epoch, note);
        }
        self.client.store_offsets(&mut list);
        list.entries().into_iter().filter(|entry| entry.code != Code::OK).map(named).collect()
    }

    /// Commits the stored offsets. [`Commit::poll`] returns the result.
    ///
    /// # Errors
    /// librdkafka's error message.
    pub fn commit(&self) -> Result<Commit, String> {
        let answer = self.client.new_queue();
        self.client.commit_stored(&answer).map_err(|error| error.to_string())?;
        Ok(Commit(answer))
    }

    /// Commits these positions instead of the stored ones. librdkafka ignores a stored offset below the last commit,
    /// even after the partition was reassigned.
    ///
    /// # Errors
    /// librdkafka's error message.
    pub fn commit_at(&self, positions: &[Position]) -> Result<Commit, String> {
        let mut list = PartitionList::new();
        for Position { partition, offset, leader_epoch, note } in positions {
            list.add_with_note(&partition.topic, partition.partition, offset.0, *leader_epoch, note);
        }
        let answer = self.client.new_queue();
        self.client.commit_list(&list, &answer).map_err(|error| error.to_string())?;
        Ok(Commit(answer))
    }

    /// The membership as it is now, which fences the offsets of a transaction; `None` before the group was joined.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        self.client.group_metadata().map(Membership)
    }

    /// The consumer's position in a partition: after its last record and the control records that followed it.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        let mut list = list_of(std::slice::from_ref(partition));
        self.client.position(&mut list).ok()?;
        list.entries().first().map(|entry| entry.offset).filter(|&offset| offset >= 0).map(Offset)
    }

    /// No member with its instance id is expected soon: [`Consumer::close`] frees its place in the group.
    pub fn leave_for_good(&self) {
        self.leaves_for_good.set(true);
    }

    /// Starts leaving the group. Poll until [`Consumer::is_closed`], and answer each revoke with
    /// [`Consumer::unassign`].
    pub fn close(&self) {
        if self.is_static && self.leaves_for_good.get() {
            self.free_place();
        }
        if let Err(error) = self.client.close(&self.records) {
            tracing::warn!("failed to leave the group: {error}");
        }
    }

    /// Leaves the group as a member without an instance id does. librdkafka (2.12.1, `rd_kafka_cgrp_leave_maybe`) doesn't tell the group
    /// of a static member that closes, but of one that unsubscribes.
    fn free_place(&self) {
        if let Err(error) = self.client.unsubscribe() {
            tracing::warn!("failed to leave the group for good: {error}");
            return;
        }
        let until = now() + LEAVING_MAX;
        while self.client.is_member() {
            if let Some(WaitResult::Other(ConsumerEvent::Revoke(partitions))) = self.wait(20)
                && let Err(reason) = self.unassign(&partitions)
            {
                tracing::debug!("failed to answer a rebalance: {reason}");
            }
            if now() > until {
                tracing::warn!(
                    "failed to leave the group for good: its place is free when the session is over (input.session_timeout)"
                );
                return;
            }
        }
    }

    /// Whether the member has left the group.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Commit {
    /// The result, once the commit has ended. It is a success if there was nothing to commit.
    pub fn poll(&self) -> Option<Committed> {
        self.wait(0)
    }

    /// Like [`Commit::poll`], but waits for at most `timeout_ms`.
    #[must_use]
    pub fn wait(&self, timeout_ms: i32) -> Option<Committed> {
        Some(commit_result(&self.0.poll(timeout_ms)?))
    }
}

fn commit_result(event: &sys::Event) -> Committed {
    judge_commit(event.code(), event.partitions().entries())
}

/// The result of a commit, from the code of the whole request and those of each partition.
fn judge_commit(code: Code, entries: Vec<sys::Entry>) -> Committed {
    match code {
        code::NO_OFFSET => Committed::default(),
        Code::OK => {
            let mut committed = Committed::default();
            // An assigned partition with nothing to commit is listed without an offset.
            for entry in entries.into_iter().filter(|entry| entry.offset >= 0) {
                let (offset, code) = (Offset(entry.offset), entry.code);
                let partition = named(entry);
                if code == Code::OK {
                    committed.offsets.push((partition, offset));
                } else {
                    let name = code.name();
                    committed.failed.get_or_insert_with(|| format!("{partition} at {offset}: {code} ({name})"));
                }
            }
            committed
        }
        other => {
            let about: Vec<String> = entries.into_iter().map(|entry| named(entry).to_string()).collect();
            let failed = Some(format!("{}: {other} ({})", about.join(", "), other.name()));
            Committed { offsets: Vec::new(), failed }
        }
    }
}

fn failed_partition(
    code: Code,
    text: String,
    partition: Option<(String, i32)>,
    is_fatal: bool,
    has_token: bool,
) -> ConsumerEvent {
    if let (code::AUTO_OFFSET_RESET, Some((topic, partition))) = (code, &partition) {
        // All resets have this code. Only the text gives the reason (`rd_kafka_offset_reset`).
        let is_cut = text.contains("log truncation");
        return ConsumerEvent::OffsetGone {
            partition: TopicPartition { topic: topic.as_str().into(), partition: *partition },
            is_cut,
        };
    }
    let denied = [
        code::UNKNOWN_TOPIC,
        code::UNKNOWN_PARTITION,
        code::UNKNOWN_TOPIC_OR_PART,
        code::TOPIC_AUTHORIZATION_FAILED,
        code::GROUP_AUTHORIZATION_FAILED,
    ];
    let concern = if is_fatal || code == code::FATAL {
        Concern::Fatal
    } else if let Some(refusal) = membership::refusal(code) {
        Concern::Membership(refusal)
    } else if denied.contains(&code) {
        Concern::Denied
    } else if let Some(problem) = connection::trouble(&text, has_token) {
        Concern::Connection(problem)
    } else if code == code::ALL_BROKERS_DOWN || connection::is_duplicate(&text) {
        Concern::Duplicate
    } else {
        Concern::Other
    };
    ConsumerEvent::Error(ClientError { name: code.name(), partition, concern, text })
}

/// Copies a log line of librdkafka to the log. A line about a refused certificate also becomes an error, because no
/// event says why.
pub(super) fn log_line(event: &sys::Event) -> Option<ClientError> {
    let (level, facility, line) = event.log();
    // Only what is said about a certificate is used.
    let problem = connection::trouble(&line, false);
    if problem.is_some() || connection::is_duplicate(&line) {
        tracing::debug!(target: "librdkafka", facility, "{line}");
        return problem.filter(|_| line.contains(connection::X509)).map(|problem| ClientError {
            name: "_SSL".to_owned(),
            text: line.clone(),
            partition: None,
            concern: Concern::Connection(problem),
        });
    }
    // librdkafka logs as errors what it retries itself, so its lines are `info`. These facilities are also reported as
    // events, whose own log lines say what follows, so their lines are `debug`.
    let is_event = ["FAIL", "ERROR", "FATAL"].contains(&&*facility);
    // A setting that wasmill sets itself. librdkafka warns at every start that it is experimental.
    let is_ours = facility == "CONFWARN" && line.contains("enable.gapless.guarantee");
    match level {
        0..=4 if !is_event && !is_ours => tracing::info!(target: "librdkafka", facility, "{line}"),
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
    None
}

fn named(entry: sys::Entry) -> TopicPartition {
    TopicPartition { topic: entry.topic.into(), partition: entry.partition }
}

fn place_in(partition: &TopicPartition, offset: Offset) -> PartitionList {
    let mut list = PartitionList::new();
    list.add(&partition.topic, partition.partition, offset.0, -1);
    list
}

fn list_of(partitions: &[TopicPartition]) -> PartitionList {
    let mut list = PartitionList::new();
    for partition in partitions {
        // -1001 is librdkafka's `RD_KAFKA_OFFSET_INVALID`.
        list.add(&partition.topic, partition.partition, -1001, -1);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(partition: i32, offset: i64, code: Code) -> sys::Entry {
        sys::Entry { topic: "t".into(), partition, offset, leader_epoch: -1, note: String::new(), code }
    }

    #[test]
    fn a_commit_that_is_refused_for_one_partition_succeeds_for_the_others() {
        let entries =
            vec![entry(0, 5, Code::OK), entry(1, 7, code::TOPIC_AUTHORIZATION_FAILED), entry(2, -1001, Code::OK)];
        let Committed { offsets, failed } = judge_commit(Code::OK, entries);
        assert_eq!(offsets, [(TopicPartition { topic: "t".into(), partition: 0 }, Offset(5))]);
        assert!(failed.is_some_and(|failed| failed.starts_with("t/1 at 7: ")));
        let whole = judge_commit(code::TOPIC_AUTHORIZATION_FAILED, vec![entry(0, 5, Code::OK)]);
        assert!(whole.offsets.is_empty() && whole.failed.is_some_and(|failed| failed.starts_with("t/0: ")));
        assert_eq!(judge_commit(code::NO_OFFSET, Vec::new()), Committed::default());
    }

    #[test]
    fn a_truncated_log_is_distinguished_from_deleted_records() {
        let gone =
            |text: &str| failed_partition(code::AUTO_OFFSET_RESET, text.into(), Some(("t".into(), 3)), false, false);
        for (text, cut) in [
            ("Partition log truncation detected at 7: broker end offset is 5: Local: Partition log truncation", true),
            ("fetch failed due to requested offset not available on the broker: Broker: Offset out of range", false),
        ] {
            assert!(matches!(gone(text), ConsumerEvent::OffsetGone { is_cut, .. } if is_cut == cut), "{text}");
        }
    }
}
