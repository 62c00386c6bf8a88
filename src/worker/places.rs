//! Partitions whose place in their log isn't known, and partitions that are held back: who they are, and why.
//!
//! A partition that the group gave to this worker starts when it is known where. One whose position is gone, or whose topic was
//! created again, finishes what is in flight, and is asked about then. Each is dealt with for itself and holds no other back.
//! Those that don't start yet are the session's; what else is decided here is decided by values: [`Held`], [`found`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Shell;
use super::end;
use super::end::Cause;
use super::end::End;
use super::lane::Lane;
use super::session;
use crate::kafka::consumer::Position;
use crate::kafka::lookup::Other;
use crate::kafka::lookup::RangeOf;
use crate::kafka::lookup::Watched;
use crate::kafka::note::Note;
use crate::kafka::note::TopicId;
use crate::kafka::settings::Isolation;
use crate::kafka::settings::OnGap;
use crate::kafka::settings::OnRecreate;
use crate::partition;
use crate::partition::PartitionState;
use crate::record::Offset;
use crate::record::TopicPartition;

/// Topics are looked at this often: whether they are what they were, and who leads them.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// What is held back for so long is named, and again after so long.
const NAME_AFTER: Duration = Duration::from_secs(3);
const NAME_AGAIN: Duration = Duration::from_secs(60);

/// Partitions that are held back, and what was said of them.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<TopicPartition, Hold>);

#[derive(Debug)]
struct Hold {
    why: String,
    since: Instant,
    named: Option<Instant>,
}

impl Held {
    /// These are held back now, and why. Returns what is to be said.
    fn update(&mut self, now: Instant, mut held: BTreeMap<TopicPartition, String>) -> Vec<String> {
        let mut lines = Vec::new();
        self.0.retain(|partition, hold| {
            let goes_on = !held.contains_key(partition);
            if goes_on && hold.named.is_some() {
                lines.push(format!("{partition} goes on"));
            }
            !goes_on
        });
        for (partition, hold) in &mut self.0 {
            if let Some(why) = held.remove(partition) {
                hold.why = why;
            }
        }
        let fresh = held.into_iter().map(|(partition, why)| (partition, Hold { why, since: now, named: None }));
        self.0.extend(fresh);
        for (partition, Hold { why, since, named }) in &mut self.0 {
            let age = now.saturating_duration_since(*since);
            let is_due = named.is_none_or(|at| now.saturating_duration_since(at) >= NAME_AGAIN);
            if age >= NAME_AFTER && is_due {
                *named = Some(now);
                lines.push(format!("{partition} is held back since {} s, and it alone: {why}", age.as_secs()));
            }
        }
        lines
    }

    /// Those that were named, for probes.
    fn text(&self, now: Instant) -> Option<String> {
        let named = self.0.iter().filter(|(_, hold)| hold.named.is_some());
        let text = |(partition, Hold { why, since, .. }): (&TopicPartition, &Hold)| {
            format!("{partition} since {} s: {why}", now.saturating_duration_since(*since).as_secs())
        };
        let all: Vec<String> = named.map(text).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// What became of a partition whose position was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The broker knows the position after all.
    There,
    /// The records from the position on are gone.
    Gap,
    /// The log was cut off below the position: what comes there, now or later, is not what was read.
    Cut,
    /// It belongs to another topic than the one that was read.
    Other(Other),
}

/// A partition is settled below `low` and belongs to the topic `was`; this is what there is of it now. `is_cut` if its log was seen to be
/// cut off: by now it may have grown beyond that place.
fn found(low: Offset, was: Option<TopicId>, is_cut: bool, range: &RangeOf) -> Found {
    match (was, range.topic) {
        (Some(was), Some(is)) if was != is => Found::Other(Other { was, is, committed: low }),
        _ if is_cut || low > range.end => Found::Cut,
        _ if low < range.oldest => Found::Gap,
        _ => Found::There,
    }
}

impl Shell {
    /// The position of a partition that is being read is gone.
    pub(super) fn on_offset_gone(&mut self, partition: &TopicPartition, is_cut: bool) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.partition == *partition) {
            lane.is_gone = true;
            lane.is_cut |= is_cut;
        }
    }

    /// Asks about partitions whose place isn't known, and says which are held back.
    pub(super) fn go_on_placing(&mut self, now: Instant) {
        if self.session.is_ending() {
            return;
        }
        // While partitions go, the client would take what is done about another one for the answer.
        let is_gone = |lane: &&mut Lane| {
            lane.is_gone && lane.asked.is_none() && lane.state.may_receive() && lane.in_flight() == 0
        };
        if self.session.is_member() {
            let gone: Vec<&mut Lane> = self.lanes.iter_mut().filter(is_gone).collect();
            if !gone.is_empty() {
                let question = self.lookup.ask_ranges(gone.iter().map(|lane| lane.partition.clone()).collect());
                gone.into_iter().for_each(|lane| lane.asked = Some(question));
            }
        }
        if self.watched.is_none_or(|at| now.saturating_duration_since(at) >= WATCH_EVERY) {
            self.watch(now);
        }
        self.name_held(now);
    }

    /// Asks what the topics that are read are now.
    pub(super) fn watch(&mut self, now: Instant) {
        self.watched = Some(now);
        let partitions: Vec<TopicPartition> = self.lanes.iter().map(|lane| lane.partition.clone()).collect();
        if !partitions.is_empty() {
            self.lookup.ask_watch(partitions);
        }
    }

    pub(super) fn on_watched(&mut self, now: Instant, watched: &[Watched]) {
        for Watched { topic, id, leaderless } in watched {
            for index in 0..self.lanes.len() {
                let lane = &mut self.lanes[index];
                if lane.partition.topic != *topic {
                    continue;
                }
                lane.is_leaderless = leaderless.contains(&lane.partition.partition);
                match (lane.topic, *id) {
                    (None, Some(is)) => lane.set_topic(Some(is)),
                    (Some(was), Some(is)) if was != is => {
                        lane.is_gone = true;
                        if self.settings.kafka.input.on_recreate == OnRecreate::Stop {
                            let other = Other { was, is, committed: lane.ages.committed() };
                            let cause = Cause::Recreated(lane.partition.clone(), other);
                            return self.tell_session(now, session::Event::End(cause));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Has partitions whose positions were gone read from where they can be.
    pub(super) fn place(&mut self, now: Instant, question: u64, ranges: Vec<RangeOf>) {
        let mut meant = Vec::new();
        for lane in self.lanes.iter_mut().filter(|lane| lane.asked == Some(question)) {
            // What this doesn't settle is asked again.
            lane.asked = None;
            meant.push(lane.state.assignment());
        }
        if self.session.is_ending() || !self.session.is_member() {
            return;
        }
        for range in ranges {
            let is_it = |lane: &Lane| {
                lane.partition == range.partition
                    && meant.contains(&lane.state.assignment())
                    && lane.state.may_receive()
            };
            let Some(index) = self.lanes.iter().position(is_it) else { continue };
            let (low, partition) = (self.lanes[index].state.low(), range.partition.clone());
            let input = &self.settings.kafka.input;
            let lane = &self.lanes[index];
            let from = match found(low, lane.topic, lane.is_cut, &range) {
                Found::There => low,
                Found::Gap | Found::Cut if input.on_gap == OnGap::Stop => {
                    let gap = end::Gap { position: low, oldest: range.oldest, end: range.end, is_cut: lane.is_cut };
                    return self.tell_session(now, session::Event::End(Cause::Gap(partition, gap)));
                }
                Found::Cut => {
                    self.count_cut(&partition, low);
                    range.oldest
                }
                Found::Gap => {
                    self.count_missed(&partition, low, range.oldest);
                    range.oldest
                }
                Found::Other(other) if input.on_recreate == OnRecreate::Stop => {
                    return self.tell_session(now, session::Event::End(Cause::Recreated(partition, other)));
                }
                Found::Other(other) => {
                    self.count_recreated(&partition, &other);
                    range.oldest
                }
            };
            self.begin_at(now, index, from, &range);
        }
    }

    /// Reads a partition, of which nothing is in flight, from another offset. What the client was told to commit is forgotten, so that is
    /// stored again.
    fn begin_at(&mut self, now: Instant, index: usize, from: Offset, range: &RangeOf) {
        self.count_finished(now);
        let assignment = self.new_assignment();
        let lane = &mut self.lanes[index];
        // What was counted below its position counts on if it goes on there.
        let counts =
            lane.stored.as_ref().filter(|stored| stored.offset == from).map(|stored| Note::parse(&stored.note));
        let state = PartitionState::new(self.settings.policy, assignment, from, true)
            .with_counts(counts.as_ref().map_or("", |note| &note.counts));
        lane.drop_queue();
        let partition = lane.partition.clone();
        if let Some(apart) = &mut self.apart {
            apart.forget(&partition);
        }
        let mut fresh = Lane::new(now, partition.clone(), state, lane.executor, range.end);
        fresh.set_topic(range.topic.or(lane.topic));
        fresh.sought = Some(from);
        *lane = fresh;
        let position = Position { partition: partition.clone(), offset: from, leader_epoch: -1, note: Arc::default() };
        if let Err(reason) = self.consumer.take_anew(position) {
            self.close(now, End::Bug(format!("failed to read {partition} from {from}: {reason}")));
            return;
        }
        self.tell(now, index, partition::Event::Tick);
    }

    pub(super) fn count_recreated(&self, partition: &TopicPartition, other: &Other) {
        let Other { was, is, committed } = other;
        tracing::warn!(
            "{partition}: the topic was deleted and created again (id {was}, now {is}); the group stood at {committed} of the old one, and \
             the new one is read from its beginning"
        );
        self.metrics.partitions_recreated.with_label_values(&[&*partition.topic]).inc();
    }

    fn count_missed(&self, partition: &TopicPartition, from: Offset, to: Offset) {
        let missed = u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0);
        tracing::warn!("{partition}: the records from {from} to {to} are gone, {missed} at most were missed");
        self.metrics.records_missed.with_label_values(&[&*partition.topic]).inc_by(missed);
    }

    fn count_cut(&self, partition: &TopicPartition, from: Offset) {
        tracing::warn!("{partition}: the log was cut off below {from}, and is read again from its oldest record");
    }

    fn name_held(&mut self, now: Instant) {
        let mut held: BTreeMap<TopicPartition, String> = BTreeMap::new();
        for (partition, why) in self.session.unstarted() {
            held.insert(partition.clone(), why.unwrap_or("no broker has said yet where it starts").to_owned());
        }
        let waits_for_commits = self.settings.kafka.input.isolation == Isolation::ReadCommitted;
        for lane in &self.lanes {
            let why = if lane.is_leaderless {
                "no broker leads it".to_owned()
            } else if let Some(records) = lane.behind_a_transaction().filter(|_| waits_for_commits) {
                let from = lane.state.low();
                format!(
                    "a transaction that is open at offset {from} holds back {records} records; its producer ends it, or its time-out"
                )
            } else {
                continue;
            };
            held.insert(lane.partition.clone(), why);
        }
        for line in self.held.update(now, held) {
            tracing::warn!("{line}");
        }
        self.status.set_held(self.held.text(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::clock;

    fn of(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    fn id(text: &str) -> Option<TopicId> {
        text.parse().ok()
    }

    #[test]
    fn who_is_held_back_is_named_after_a_while_each_minute_and_when_it_is_over() {
        let start = clock::now();
        let held = |numbers: &[i32]| numbers.iter().map(|&number| (of(number), "no leader".to_owned())).collect();
        let mut all = Held::default();
        assert!(all.update(start, held(&[0, 1])).is_empty() && all.text(start).is_none());
        let later = start + NAME_AFTER;
        assert_eq!(all.update(later, held(&[1])), ["t/1 is held back since 3 s, and it alone: no leader"]);
        assert_eq!(all.text(later).as_deref(), Some("t/1 since 3 s: no leader"));
        assert!(all.update(later + NAME_AFTER, held(&[1])).is_empty());
        assert_eq!(all.update(later + NAME_AGAIN, held(&[1])).len(), 1);
        assert_eq!(all.update(later + NAME_AGAIN, held(&[])), ["t/1 goes on"]);
        assert!(all.text(later + NAME_AGAIN).is_none());
    }

    #[test]
    fn a_position_is_there_or_in_a_gap_or_in_another_topic() {
        let range = |topic| RangeOf { partition: of(0), topic, oldest: Offset(10), end: Offset(20) };
        let (one, other) = (id("ASNFZ4mrze_-3LqYdlQyEA"), id("ASNFZ4mrze_-3LqYdlQyEQ"));
        let places = |was, is| [9, 10, 20, 21].map(|low| found(Offset(low), was, false, &range(is)));
        let known = [Found::Gap, Found::There, Found::There, Found::Cut];
        assert_eq!([9, 15].map(|low| found(Offset(low), one, true, &range(one))), [Found::Cut; 2], "it grew again");
        assert_eq!(places(one, one), known);
        // Brokers that know no ids, or commits of before.
        assert_eq!((places(None, one), places(one, None), places(None, None)), (known, known, known));
        for (low, found) in [9, 10, 20, 21].into_iter().zip(places(one, other)) {
            let other = Other { was: one.unwrap(), is: other.unwrap(), committed: Offset(low) };
            assert_eq!(found, Found::Other(other));
        }
    }
}
