//! PURE. Whether a partition's position is known, and what to do when it is gone.
//!
//! A position is gone when records were removed, when the log was truncated, or when the topic was created again. The records in
//! flight finish first. Then the worker asks for the partition's range of offsets, and the rules of the configuration file
//! decide.

use super::end::Cause;
use super::end::Gap;
use crate::kafka::lookup::Other;
use crate::kafka::lookup::RangeOf;
use crate::kafka::note::TopicId;
use crate::kafka::settings::Input;
use crate::kafka::settings::OnGap;
use crate::kafka::settings::OnRecreate;
use crate::record::Offset;

/// Whether the position in a partition is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The position is known.
    Known,
    /// The position is gone: nothing is read until a new one is known.
    Gone {
        /// Whether the consumer saw that the log was truncated and continued with other records.
        is_cut: bool,
        /// The pending question about the partition's range, if there is one.
        asked: Option<u64>,
    },
}

impl Place {
    /// Whether the position is gone.
    pub(super) fn is_gone(self) -> bool {
        self != Place::Known
    }

    /// Whether the position is gone and no question about it is pending.
    pub(super) fn is_to_be_asked(self) -> bool {
        matches!(self, Place::Gone { asked: None, .. })
    }

    /// Marks the position as gone.
    pub(super) fn lose(&mut self, is_cut: bool) {
        *self = match *self {
            Place::Known => Place::Gone { is_cut, asked: None },
            Place::Gone { is_cut: was_cut, asked } => Place::Gone { is_cut: was_cut || is_cut, asked },
        };
    }

    /// Records the pending question.
    pub(super) fn ask(&mut self, question: u64) {
        if let Place::Gone { asked, .. } = self {
            *asked = Some(question);
        }
    }

    /// An answer arrived. Returns whether it answers the pending question; if it doesn't settle the position, the worker asks
    /// again.
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

/// What happened to a position that was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The position is in the log after all.
    There,
    /// Records from the position on were removed.
    Gap,
    /// The log was truncated below the position: what is read there now or later is not what was read before.
    Cut,
    /// The partition belongs to another topic than the one that was read.
    Other(Other),
}

/// Compares a partition that is settled below `low` and belonged to the topic `was` with its present `range`. A log that was seen
/// to be truncated counts as truncated even if it has grown past `low` since.
pub(super) fn found(low: Offset, was: Option<TopicId>, place: Place, range: &RangeOf) -> Found {
    match (was, range.topic) {
        (Some(was), Some(is)) if was != is => Found::Other(Other { was, is, committed: low }),
        _ if place.is_cut() || low > range.end => Found::Cut,
        _ if low < range.oldest => Found::Gap,
        _ => Found::There,
    }
}

/// Where reading continues by the rules of the input, or why the pipeline ends.
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
    fn only_the_last_question_is_answered_and_a_truncation_is_remembered() {
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
    fn a_position_is_in_the_log_in_a_gap_truncated_or_in_another_topic() {
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
        // Brokers without topic ids, or a commit without a note of one.
        assert_eq!((places(None, one), places(one, None), places(None, None)), (known, known, known));
        for (low, found) in [9, 10, 20, 21].into_iter().zip(places(one, other)) {
            let other = Other { was: one.unwrap(), is: other.unwrap(), committed: Offset(low) };
            assert_eq!(found, Found::Other(other));
        }
    }
}
