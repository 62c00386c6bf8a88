//! PURE. Which dead letters of a partition were replayed, and how that is committed.
//!
//! An offset alone can't say it: a replay may choose some records and leave out others, which a later one wants. So the committed
//! offset is that of the first record that was left out, and its metadata lists *passes*: a filter, and the offset below which every
//! record that it takes was replayed. A record's headers never change, so a filter takes the same records each time. What another
//! pipeline wrote, or no pipeline, is never replayed and holds nothing back.

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

/// The most bytes that passes may take: brokers take 4096 bytes of metadata by default.
const PASSES_BYTES_MAX: usize = 3500;

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
    /// It isn't this pipeline's, or it was read before, or it came after the replay began.
    Foreign,
}

/// One reading of a partition of the dead-letter topic.
#[derive(Clone, Debug)]
pub struct Scan {
    pipeline: String,
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
    /// The first chosen record that was not replayed after all.
    stopped: Option<i64>,
}

impl Scan {
    /// A reading from where the group stands, or from the oldest record.
    ///
    /// # Errors
    /// If one more filter doesn't fit into what is committed. The message is for people.
    pub fn new(pipeline: &str, filter: Filter, log: &PartitionLog) -> Result<Scan, String> {
        let (committed, note) = log.committed.clone().map_or((0, String::new()), |(at, note)| (at.0, note.replayed));
        let start = committed.max(log.oldest.0);
        let mut passes = read(&note);
        passes.retain(|pass| pass.upto > start);
        let scan = Scan {
            pipeline: pipeline.to_owned(),
            filter,
            start,
            passes,
            topic: log.topic,
            next: start,
            end: log.end.0,
            left: None,
            stopped: None,
        };
        let with_this = Scan { next: i64::MAX, left: Some(start), ..scan.clone() };
        if with_this.note().replayed.len() > PASSES_BYTES_MAX {
            return Err(format!(
                "{} different selections of {} were replayed, and no more can be remembered: replay the rest without a selection",
                scan.passes.len(),
                log.partition
            ));
        }
        Ok(scan)
    }

    /// Looks at the next record; `letter` is `None` if no pipeline wrote it.
    pub fn see(&mut self, offset: i64, letter: Option<&Letter>) -> Choice {
        if offset < self.next || offset >= self.end {
            return Choice::Foreign;
        }
        self.next = offset + 1;
        let choice = letter.map_or(Choice::Foreign, |letter| self.judge(letter));
        if matches!(choice, Choice::Other | Choice::Exhausted) {
            self.left.get_or_insert(offset);
        }
        choice
    }

    /// What a replay that begins now would do with a dead letter.
    #[must_use]
    pub fn judge(&self, letter: &Letter) -> Choice {
        let offset = letter.offset;
        if letter.failure.pipeline.as_ref().is_some_and(|pipeline| *pipeline != self.pipeline) {
            Choice::Foreign
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

    /// A chosen record and those after it will not be replayed now.
    pub fn stop_at(&mut self, offset: i64) {
        self.stopped = Some(self.stopped.map_or(offset, |stopped| stopped.min(offset)));
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

    /// The offset to commit once all chosen records were replayed.
    #[must_use]
    pub fn offset(&self) -> i64 {
        let reached = self.reached();
        self.left.map_or(reached, |left| left.min(reached)).max(self.start)
    }

    /// The metadata to commit with it.
    #[must_use]
    pub fn note(&self) -> OffsetMetadata {
        let (offset, reached) = (self.offset(), self.reached());
        let mut passes = self.passes.clone();
        match passes.iter_mut().find(|pass| pass.filter == self.filter) {
            Some(pass) => pass.upto = pass.upto.max(reached),
            None => passes.push(Pass { upto: reached, filter: self.filter.clone() }),
        }
        passes.retain(|pass| pass.upto > offset);
        OffsetMetadata { topic: self.topic, replayed: write(&passes), ..OffsetMetadata::default() }
    }

    fn reached(&self) -> i64 {
        self.stopped.map_or(self.next, |stopped| stopped.min(self.next))
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
    use std::collections::BTreeMap;
    use std::collections::BTreeSet;

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
        let time = || prop::option::of(0_i64..40);
        (code, time(), time(), any::<bool>()).prop_map(|(code, since, until, force)| Filter {
            code,
            since,
            until,
            force,
            ..Filter::default()
        })
    }

    /// The text that a broker stores and returns.
    fn stored(note: &OffsetMetadata) -> OffsetMetadata {
        OffsetMetadata::parse(&note.to_string())
    }

    proptest! {
        /// Replays with different filters, some of which are killed between two commits, in a topic that grows.
        #[test]
        fn a_record_is_replayed_once_and_never_left_out(
            records in prop::collection::vec((0_u8..4, 0_u32..5), 40),
            replays in prop::collection::vec((filter(), 1_i64..41, 0_i64..41, 1_usize..6), 1..8),
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
            for (filter, grown, killed_at, chunk) in replays {
                end = end.max(grown.min(40));
                let Ok(mut scan) = Scan::new("orders", filter.clone(), &log(end, committed.clone())) else { panic!("few filters fit") };
                let mut before: BTreeMap<i64, Letter> = BTreeMap::new();
                let mut offset = scan.next();
                while offset < killed_at.min(end) {
                    let letter = letter_of(offset);
                    if scan.see(offset, letter.as_ref()) == Choice::Replay {
                        before.insert(offset, letter.unwrap());
                    }
                    offset += 1;
                    if before.len() == chunk {
                        for offset in std::mem::take(&mut before).into_keys() {
                            prop_assert!(done.insert(offset), "{offset} is replayed twice");
                        }
                        committed = Some((Offset(scan.offset()), stored(&scan.note())));
                    }
                }
                if killed_at >= end {
                    scan.pass(end);
                    prop_assert!(scan.is_done());
                    for offset in before.into_keys() {
                        prop_assert!(done.insert(offset), "{offset} is replayed twice");
                    }
                    committed = Some((Offset(scan.offset()), stored(&scan.note())));
                    for offset in 0..end {
                        let wanted = letter_of(offset).filter(|letter| {
                            letter.failure.pipeline.as_deref() == Some("orders") && filter.takes(letter)
                        });
                        prop_assert!(wanted.is_none() || done.contains(&offset), "{offset} is left out");
                    }
                }
            }
            // What was not replayed is still there for a later one.
            let force = Filter { force: true, ..Filter::default() };
            let mut scan = Scan::new("orders", force, &log(40, committed)).unwrap();
            for offset in scan.next()..40 {
                if scan.see(offset, letter_of(offset).as_ref()) == Choice::Replay {
                    prop_assert!(done.insert(offset), "{offset} is replayed twice");
                }
            }
            let ours = (0..40).filter(|&offset| letter_of(offset).is_some_and(|l| l.failure.pipeline.as_deref() == Some("orders")));
            prop_assert_eq!(done, ours.collect::<BTreeSet<_>>());
            prop_assert_eq!((scan.offset(), scan.note().replayed), (40, String::new()));
        }
    }

    #[test]
    fn a_chosen_record_that_stops_the_replay_is_chosen_again() {
        let mut scan = Scan::new("orders", Filter::default(), &log(10, None)).unwrap();
        for offset in 0..6 {
            assert_eq!(scan.see(offset, Some(&letter(0, offset))), Choice::Replay);
        }
        scan.stop_at(5);
        scan.stop_at(3);
        assert_eq!((scan.offset(), scan.note().replayed), (3, String::new()));
    }

    #[test]
    fn too_many_filters_are_refused_before_anything_is_replayed() {
        let mut committed = None;
        let mut replays = 0;
        let refused = loop {
            let filter = Filter { key: Some(format!("key-{replays}").into_bytes()), ..Filter::default() };
            let mut scan = match Scan::new("orders", filter, &log(10, committed)) {
                Ok(scan) => scan,
                Err(why) => break why,
            };
            for offset in 0..10 {
                scan.see(offset, Some(&letter(0, offset)));
            }
            let note = scan.note();
            assert!(note.to_string().len() < 4096);
            committed = Some((Offset(scan.offset()), stored(&note)));
            replays += 1;
        };
        assert!(replays > 40 && refused.contains("without a selection"), "{replays}: {refused}");
    }
}
