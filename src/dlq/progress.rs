//! PURE. Which dead letters of a partition were replayed, and how that is committed.
//!
//! An offset alone can't say it: a replay may choose some records and leave out others, which a later one wants. So the committed
//! offset is that of the first record that was left out, and its metadata lists *passes*: a filter, and the offset below which every
//! record that it takes was replayed. A record's headers never change, so a filter takes the same records each time. Records of
//! other pipelines are left out, too; those that no pipeline wrote hold nothing back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;

use super::Filter;
use super::Letter;
use crate::kafka::offset_metadata::OffsetMetadata;
use crate::kafka::offset_metadata::TopicId;
use crate::kafka::topic_reader::PartitionLog;

/// Every record below `upto` that the filter takes was replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pass {
    #[serde(rename = "o")]
    upto: i64,
    #[serde(rename = "w")]
    filter: Filter,
}

/// The most bytes that passes may take when another filter is added. Brokers take 4096 bytes of metadata by default, and the filter
/// that covers all others must still fit.
const PASSES_BYTES_MAX: usize = 3000;

/// What to do with a record of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Replay it.
    Replay,
    /// It was replayed.
    Replayed,
    /// The filter doesn't take it.
    Other,
    /// The filter would take it, but it was replayed too often.
    Exhausted,
    /// Another pipeline wrote it.
    Foreign,
    /// The filter would take it, but it is no record: see [`Letter::is_window`].
    Window,
    /// No pipeline wrote it, or it was read before, or it came after the replay began.
    Nothing,
}

/// One reading of a partition of the dead-letter topic.
#[derive(Clone, Debug)]
pub struct Scan {
    filter: Filter,
    /// The committed offset, and the passes.
    start: i64,
    passes: Vec<Pass>,
    topic: Option<TopicId>,
    /// The next record to look at.
    next: i64,
    /// Records from here on came after the replay began.
    end: i64,
    /// The first record that is left to later replays.
    left: Option<i64>,
}

impl Scan {
    /// A reading from where the group stands, or from the oldest record.
    #[must_use]
    pub fn new(filter: Filter, log: &PartitionLog) -> Scan {
        let (committed, note) = log.committed.clone().map_or((0, String::new()), |(at, note)| (at.0, note.replayed));
        let start = committed.max(log.oldest.0);
        let passes = read(&note);
        let done = passes.iter().filter(|pass| pass.filter.covers(&filter)).map(|pass| pass.upto).max();
        let next = done.unwrap_or(0).clamp(start, log.end.0.max(start));
        // What is skipped may be wanted by other filters.
        let left = (next > start).then_some(start);
        Scan { filter, start, passes, topic: log.topic, next, end: log.end.0, left }
    }

    /// Whether what was replayed can be committed.
    ///
    /// # Errors
    /// If too many filters were used. The message is for people.
    pub fn has_room(&self) -> Result<(), String> {
        let most = Scan { next: i64::MAX, left: Some(self.start), ..self.clone() };
        if most.progress(None).1.replayed.len() <= PASSES_BYTES_MAX {
            return Ok(());
        }
        Err(format!(
            "{} selections of this topic were replayed, and no further one can be remembered: replay the rest without a selection",
            self.passes.len()
        ))
    }

    /// Looks at the next record; `letter` is `None` if no pipeline wrote it.
    pub fn see(&mut self, offset: i64, letter: Option<&Letter>) -> Choice {
        if offset < self.next || offset >= self.end {
            return Choice::Nothing;
        }
        self.next = offset + 1;
        let choice = letter.map_or(Choice::Nothing, |letter| self.judge(letter));
        if matches!(choice, Choice::Other | Choice::Exhausted | Choice::Foreign) {
            self.left.get_or_insert(offset);
        }
        choice
    }

    /// What a replay that begins now would do with a dead letter.
    #[must_use]
    pub fn judge(&self, letter: &Letter) -> Choice {
        let offset = letter.offset;
        if !self.filter.is_of_pipeline(letter) {
            Choice::Foreign
        } else if letter.is_window() {
            if self.filter.describes(letter) { Choice::Window } else { Choice::Other }
        } else if offset < self.start || self.passes.iter().any(|pass| offset < pass.upto && pass.filter.takes(letter))
        {
            Choice::Replayed
        } else if self.filter.takes(letter) {
            Choice::Replay
        } else if self.filter.describes(letter) {
            Choice::Exhausted
        } else {
            Choice::Other
        }
    }

    /// There is no further record below this position.
    pub fn pass(&mut self, position: i64) {
        self.next = self.next.max(position.min(self.end));
    }

    /// Where to read from.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Whether everything was looked at.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.next >= self.end
    }

    /// How many offsets were looked at, and how many there are.
    #[must_use]
    pub fn seen(&self) -> (u64, u64) {
        let count = |to: i64| u64::try_from(to - self.start).unwrap_or(0);
        (count(self.next), count(self.end))
    }

    /// The offset and the metadata to commit. `pending` is the first chosen record that is not replayed yet.
    #[must_use]
    pub fn progress(&self, pending: Option<i64>) -> (i64, OffsetMetadata) {
        let reached = pending.map_or(self.next, |pending| pending.min(self.next));
        let offset = self.left.map_or(reached, |left| left.min(reached)).max(self.start);
        let mut passes = self.passes.clone();
        passes.push(Pass { upto: reached, filter: self.filter.clone() });
        let all = passes.clone();
        let is_in = |(place, pass): (usize, &Pass)| {
            let covers = |(other, wider): (usize, &Pass)| {
                // Of two that cover each other the first stays.
                let is_other = if pass.filter.covers(&wider.filter) && wider.upto == pass.upto {
                    other < place
                } else {
                    other != place
                };
                is_other && wider.upto >= pass.upto && wider.filter.covers(&pass.filter)
            };
            pass.upto > offset && !all.iter().enumerate().any(covers)
        };
        let passes: Vec<Pass> = all
            .iter()
            .enumerate()
            .filter(|&(place, pass)| is_in((place, pass)))
            .map(|(_, pass)| pass.clone())
            .collect();
        (offset, OffsetMetadata { topic: self.topic, replayed: write(&passes), ..OffsetMetadata::default() })
    }
}

fn read(text: &str) -> Vec<Pass> {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    // What another version wrote counts as nothing.
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn write(passes: &[Pass]) -> String {
    if passes.is_empty() {
        return String::new();
    }
    serde_json::to_vec(passes).map(|text| URL_SAFE_NO_PAD.encode(text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::dlq::letter::tests::letter;
    use crate::record::Offset;
    use crate::record::TopicPartition;

    fn log(end: i64, committed: Option<(Offset, OffsetMetadata)>) -> PartitionLog {
        let partition = TopicPartition { topic: "dead".into(), partition: 0 };
        PartitionLog { partition, oldest: Offset(0), end: Offset(end), committed, topic: None }
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let code = prop::option::of(prop::sample::select(vec!["bad-json".to_owned(), "trap".to_owned()]));
        let pipeline = prop::sample::select(vec!["orders".to_owned(), "other".to_owned()]).prop_map(Some);
        let time = || prop::option::of(0_i64..40);
        (pipeline, code, time(), time(), any::<bool>()).prop_map(|(pipeline, code, since, until, force)| Filter {
            pipeline,
            code,
            since,
            until,
            force,
            ..Filter::default()
        })
    }

    /// The text that a broker stores and returns.
    fn stored((offset, note): (i64, OffsetMetadata)) -> Option<(Offset, OffsetMetadata)> {
        Some((Offset(offset), OffsetMetadata::parse(&note.to_string())))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Replays with different filters, some of which are killed, in a topic that grows. Chosen records wait in a queue, and are
        /// delivered from its front at any time.
        #[test]
        fn a_record_is_replayed_once_and_never_left_out(
            records in prop::collection::vec((0_u8..4, 0_u32..5), 40),
            replays in prop::collection::vec((filter(), 1_i64..41, 0_i64..41, prop::collection::vec(0_usize..4, 41)), 1..9),
        ) {
            let letter_of = |offset: i64| {
                let (what, replays) = records[usize::try_from(offset).unwrap()];
                let mut letter = letter(0, offset);
                letter.failure.replays = replays;
                match what {
                    0 => letter.failure.code = "trap".into(),
                    1 => letter.failure.pipeline = Some("other".into()),
                    2 => return None,
                    _ => {}
                }
                Some(letter)
            };
            let mut committed = None;
            let mut done = BTreeSet::new();
            let mut end = 0;
            for (filter, grown, killed_at, delivered) in replays {
                end = end.max(grown.min(40));
                let mut scan = Scan::new(filter.clone(), &log(end, committed.clone()));
                prop_assert!(scan.has_room().is_ok());
                let mut queue = VecDeque::new();
                for offset in scan.next()..killed_at.min(end) {
                    if scan.see(offset, letter_of(offset).as_ref()) == Choice::Replay {
                        queue.push_back(offset);
                    }
                    for _ in 0..delivered[usize::try_from(offset).unwrap()] {
                        let Some(offset) = queue.pop_front() else { break };
                        prop_assert!(done.insert(offset), "{} is replayed twice", offset);
                    }
                    committed = stored(scan.progress(queue.front().copied()));
                }
                if killed_at >= end {
                    scan.pass(end);
                    prop_assert!(scan.is_done());
                    for offset in queue {
                        prop_assert!(done.insert(offset), "{} is replayed twice", offset);
                    }
                    committed = stored(scan.progress(None));
                    let taken = |offset: &i64| letter_of(*offset).is_some_and(|letter| filter.takes(&letter));
                    for offset in (0..end).filter(taken) {
                        prop_assert!(done.contains(&offset), "{} is left out", offset);
                    }
                    prop_assert!(Scan::new(filter, &log(end, committed.clone())).is_done(), "nothing is left to do");
                }
            }
            // What was not replayed is still there for a later one.
            for pipeline in ["orders", "other"] {
                let force = Filter { pipeline: Some(pipeline.into()), force: true, ..Filter::default() };
                let mut scan = Scan::new(force, &log(40, committed));
                for offset in scan.next()..40 {
                    if scan.see(offset, letter_of(offset).as_ref()) == Choice::Replay {
                        prop_assert!(done.insert(offset), "{} is replayed twice", offset);
                    }
                }
                committed = stored(scan.progress(None));
            }
            let all: BTreeSet<i64> = (0..40).filter(|&offset| letter_of(offset).is_some()).collect();
            prop_assert_eq!(done, all);
        }
    }

    #[test]
    fn too_many_filters_are_refused_before_anything_is_replayed() {
        let mut committed = None;
        let mut replays = 0;
        let by_key = |n: usize| Filter { key: Some(format!("key-{n}").into_bytes()), ..Filter::default() };
        let see_all = |scan: &mut Scan| (0..10).for_each(|offset| _ = scan.see(offset, Some(&letter(0, offset))));
        let refused = loop {
            let mut scan = Scan::new(by_key(replays), &log(10, committed.clone()));
            if let Err(why) = scan.has_room() {
                break why;
            }
            see_all(&mut scan);
            committed = stored(scan.progress(None));
            replays += 1;
        };
        assert!(replays > 30 && refused.contains("without a selection"), "{replays}: {refused}");
        // The way out.
        let mut scan = Scan::new(Filter::default(), &log(10, committed));
        assert_eq!(scan.has_room(), Ok(()));
        scan.see(0, Some(&letter(0, 0)));
        assert!(scan.progress(None).1.to_string().len() < 4096);
        see_all(&mut scan);
        let (offset, note) = scan.progress(None);
        assert_eq!((offset, note.replayed.as_str()), (10, ""));
    }
}
