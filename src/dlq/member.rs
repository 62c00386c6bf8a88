//! A replay as a member of its group: what it does while it waits.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::Tally;
use super::deliver::Trouble;
use super::read::Fetched;
use super::read::fetch;
use crate::kafka::consumer::ConsumerEvent;
use crate::kafka::consumer::Position;
use crate::kafka::topic_reader::TopicReader;
use crate::record::TopicPartition;
use crate::worker::clock;

/// See the head of the file.
pub(super) struct Member<'a> {
    /// Taken when the group is left.
    topic: Option<TopicReader>,
    stop: Arc<AtomicBool>,
    watch: &'a mut dyn FnMut(&Tally, Option<&str>),
    /// A rebalance that waits until a chunk has ended.
    event: Option<ConsumerEvent>,
    /// What was done by now.
    pub(super) tally: Tally,
    /// While there is a chunk.
    chunk: Option<Waiting>,
    /// When a signal or a rebalance was noticed that waits for a chunk's end.
    hurried: Option<Instant>,
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
/// How long brokers may take with a chunk when a signal or a rebalance waits for its end.
const GRACE: Duration = Duration::from_secs(5);
/// How long leaving the group may take.
const LEAVING: Duration = Duration::from_secs(5);
/// How long one wait for the answer to a commit takes.
const COMMIT_WAIT_MS: i32 = 100;

impl<'a> Member<'a> {
    pub(super) fn new(
        topic: TopicReader,
        stop: Arc<AtomicBool>,
        watch: &'a mut dyn FnMut(&Tally, Option<&str>),
    ) -> Member<'a> {
        Member { topic: Some(topic), stop, watch, event: None, tally: Tally::default(), chunk: None, hurried: None }
    }

    /// The topic, until the group was left.
    ///
    /// # Panics
    /// After that.
    pub(super) fn topic(&self) -> &TopicReader {
        self.topic.as_ref().expect("the group is left at the end")
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether no further record should be begun: because of a signal, or a rebalance.
    pub(super) fn is_to_pause(&self) -> bool {
        self.event.is_some() || self.is_stopped()
    }

    /// Keeps a rebalance until nothing is in flight.
    pub(super) fn keep(&mut self, event: ConsumerEvent) {
        self.event = Some(event);
    }

    pub(super) fn take_event(&mut self) -> Option<ConsumerEvent> {
        self.event.take()
    }

    pub(super) fn tell(&mut self, said: Option<&str>) {
        (self.watch)(&self.tally, said);
    }

    /// From now on records of these partitions are in flight.
    pub(super) fn begin_chunk(&mut self, partitions: Vec<TopicPartition>) {
        self.chunk = Some(Waiting { since: clock::now(), partitions, is_paused: false, has_lost: false });
        self.hurried = None;
    }

    /// Goes on reading. `true` if records have to be read again.
    pub(super) fn end_chunk(&mut self) -> bool {
        let Some(chunk) = self.chunk.take() else { return false };
        if chunk.is_paused {
            chunk.partitions.iter().for_each(|partition| self.topic().consumer().resume(partition));
        }
        chunk.has_lost
    }

    /// Waits for a moment, and goes on being a member. `true` if there is a signal or a rebalance.
    pub(super) fn wait(&mut self, said: Option<&str>) -> bool {
        self.tell(said);
        let Member { topic: Some(topic), chunk, event, .. } = self else { return true };
        let consumer = topic.consumer();
        match chunk {
            Some(chunk) if event.is_none() && chunk.since.elapsed() > SHORT => {
                if !std::mem::replace(&mut chunk.is_paused, true) {
                    chunk.partitions.iter().for_each(|partition| consumer.pause(partition));
                }
                let Fetched { records, event: came } = fetch(consumer, 1);
                chunk.has_lost |= records.is_some();
                *event = came.filter(|event| matches!(event, ConsumerEvent::Assign(_) | ConsumerEvent::Revoke(_)));
            }
            Some(_) | None => std::thread::sleep(WAIT),
        }
        self.is_to_pause()
    }

    /// The same while brokers have a chunk: a signal or a rebalance leaves them some time to end it.
    pub(super) fn wait_for_brokers(&mut self, said: Option<&str>) -> bool {
        self.wait(said) && self.hurried.get_or_insert_with(clock::now).elapsed() > GRACE
    }

    /// Commits, and waits for the answer.
    pub(super) fn commit(&mut self, positions: &[Position]) -> Result<(), Trouble> {
        let commit = self.topic().consumer().commit_at(positions).map_err(Trouble::Again)?;
        loop {
            match commit.wait(COMMIT_WAIT_MS) {
                Some(committed) => return committed.failed.map_or(Ok(()), |reason| Err(Trouble::Again(reason))),
                None if self.wait_for_brokers(None) => return Err(Trouble::Interrupted),
                None => {}
            }
        }
    }

    /// Leaves the group, so that the next replay doesn't have to wait until this one is missed.
    pub(super) fn leave(&mut self) {
        let Some(topic) = self.topic.take() else { return };
        let consumer = topic.consumer();
        let mut event = self.event.take();
        consumer.close();
        let began = clock::now();
        while !consumer.is_closed() && began.elapsed() < LEAVING {
            // The end waits for an answer to each.
            let _ = match event.take() {
                Some(ConsumerEvent::Revoke(partitions)) => consumer.unassign(&partitions),
                Some(ConsumerEvent::Assign(_)) => consumer.assign(&[]),
                Some(ConsumerEvent::Stats(_) | ConsumerEvent::OffsetGone { .. } | ConsumerEvent::Error(_)) | None => {
                    Ok(())
                }
            };
            event = fetch(consumer, 1).event;
        }
        if !consumer.is_closed() {
            // The client would wait for its end when it is dropped. The process ends soon.
            std::mem::forget(topic);
        }
    }
}
