//! PURE. Whether it is known where a partition is read, and what is done about one whose place is gone.
//!
//! A position is gone when records were removed, when the log was cut off, or when the topic was created again. What is in flight is
//! finished first; then it is asked what there is of the partition, and the rules of the pipeline's file decide.

use super::end::Cause;
use super::end::Gap;
use crate::kafka::lookup::Other;
use crate::kafka::lookup::RangeOf;
use crate::kafka::note::TopicId;
use crate::kafka::settings::Input;
use crate::kafka::settings::OnGap;
use crate::kafka::settings::OnRecreate;
use crate::record::Offset;

/// Where a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is known.
    Known,
    /// It is not: nothing is read of the partition until it is.
    Gone {
        /// The log was seen to be cut off and to go on with other records.
        is_cut: bool,
        /// The question what there is of it, if it is under way.
        asked: Option<u64>,
    },
}

impl Place {
    /// Whether it isn't known.
    pub(super) fn is_gone(self) -> bool {
        self != Place::Known
    }

    /// Whether it is to be asked about.
    pub(super) fn is_to_be_asked(self) -> bool {
        matches!(self, Place::Gone { asked: None, .. })
    }

    /// It isn't known any more.
    pub(super) fn lose(&mut self, is_cut: bool) {
        *self = match *self {
            Place::Known => Place::Gone { is_cut, asked: None },
            Place::Gone { is_cut: was_cut, asked } => Place::Gone { is_cut: was_cut || is_cut, asked },
        };
    }

    /// It is asked about by this question.
    pub(super) fn ask(&mut self, question: u64) {
        if let Place::Gone { asked, .. } = self {
            *asked = Some(question);
        }
    }

    /// An answer is there. Returns whether it is about this; what it doesn't settle is asked again.
    pub(super) fn answer(&mut self, question: u64) -> bool {
        match self {
            Place::Gone { asked, .. } if *asked == Some(question) => {
                *asked = None;
                true
            }
            Place::Gone { .. } | Place::Known => false,
        }
    }

    fn is_cut(self) -> bool {
        matches!(self, Place::Gone { is_cut: true, .. })
    }
}

/// What became of a partition whose position was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The broker knows the position after all.
    There,
    /// The records from the position on are gone.
    Gap,
    /// The log was cut off below the position: what comes there, now or later, is not what was read.
    Cut,
    /// It belongs to another topic than the one that was read.
    Other(Other),
}

/// A partition is settled below `low` and belongs to the topic `was`; this is what there is of it now. If its log was seen to be cut off, it may have
/// grown beyond that place by now.
pub(super) fn found(low: Offset, was: Option<TopicId>, place: Place, range: &RangeOf) -> Found {
    match (was, range.topic) {
        (Some(was), Some(is)) if was != is => Found::Other(Other { was, is, committed: low }),
        _ if place.is_cut() || low > range.end => Found::Cut,
        _ if low < range.oldest => Found::Gap,
        _ => Found::There,
    }
}

/// Where the partition goes on by the rules of the input, or why the pipeline ends.
pub(super) fn go_on_at(
    found: Found,
    low: Offset,
    place: Place,
    range: &RangeOf,
    input: &Input,
) -> Result<Offset, Box<Cause>> {
    match found {
        Found::There => Ok(low),
        Found::Gap | Found::Cut if input.on_gap == OnGap::Stop => {
            let gap = Gap { position: low, oldest: range.oldest, end: range.end, is_cut: place.is_cut() };
            Err(Box::new(Cause::Gap(range.partition.clone(), gap)))
        }
        Found::Other(other) if input.on_recreate == OnRecreate::Stop => {
            Err(Box::new(Cause::Recreated(range.partition.clone(), other)))
        }
        Found::Gap | Found::Cut | Found::Other(_) => Ok(range.oldest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TopicPartition;

    const GONE: Place = Place::Gone { is_cut: false, asked: None };
    const CUT: Place = Place::Gone { is_cut: true, asked: None };

    fn id(text: &str) -> Option<TopicId> {
        text.parse().ok()
    }

    #[test]
    fn an_answer_counts_for_the_last_question_and_what_was_seen_stays_seen() {
        let mut place = Place::Known;
        place.ask(1);
        assert!(!place.is_gone() && !place.answer(1), "nothing is asked about what is known");
        place.lose(true);
        assert!(place.is_to_be_asked());
        place.ask(2);
        assert!(!place.is_to_be_asked() && !place.answer(1));
        place.lose(false);
        assert!(place.answer(2) && !place.answer(2) && place.is_to_be_asked());
        assert!(place.is_gone() && place.is_cut());
    }

    #[test]
    fn a_position_is_there_or_in_a_gap_or_in_another_topic() {
        let range = |topic| RangeOf {
            partition: TopicPartition { topic: "t".into(), partition: 0 },
            topic,
            oldest: Offset(10),
            end: Offset(20),
        };
        let (one, other) = (id("ASNFZ4mrze_-3LqYdlQyEA"), id("ASNFZ4mrze_-3LqYdlQyEQ"));
        let places = |was, is| [9, 10, 20, 21].map(|low| found(Offset(low), was, GONE, &range(is)));
        let known = [Found::Gap, Found::There, Found::There, Found::Cut];
        assert_eq!([9, 15].map(|low| found(Offset(low), one, CUT, &range(one))), [Found::Cut; 2], "it grew again");
        assert_eq!(places(one, one), known);
        // Brokers that know no ids, or commits of before.
        assert_eq!((places(None, one), places(one, None), places(None, None)), (known, known, known));
        for (low, found) in [9, 10, 20, 21].into_iter().zip(places(one, other)) {
            let other = Other { was: one.unwrap(), is: other.unwrap(), committed: Offset(low) };
            assert_eq!(found, Found::Other(other));
        }
    }
}
