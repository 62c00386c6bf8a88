//! PURE. Whether a partition's position is known, and what to do when it is gone.
//!
//! A position is gone when records were removed, when the log was truncated, or when the topic was created again. The records in
//! flight finish first. Then the worker asks for the partition's range of offsets, and the rules of the configuration file
//! decide.

use super::end::Cause;
use super::end::Gap;
use crate::kafka::lookup::Other;
use crate::kafka::lookup::RangeOf;
use crate::kafka::offset_metadata::TopicId;
use crate::kafka::settings::Input;
use crate::kafka::settings::OnGap;
use crate::kafka::settings::OnRecreate;
use crate::record::Offset;

/// Whether the position in a partition is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PositionState {
    /// The position is known.
    Known,
    /// The position is gone: nothing is read until a new one is known.
    Gone {
        /// Whether the consumer saw that the log was truncated and continued with other records.
        is_cut: bool,
        /// The pending question about the partition's range, if there is one.
        asked: Option<u64>,
    },
    /// Whether the last transaction was committed is unknown: nothing is read until the group tells where it stands.
    Unconfirmed {
        /// The pending question about the committed offset, if there is one.
        asked: Option<u64>,
    },
}

impl PositionState {
    /// Whether the position is gone.
    pub(super) fn is_gone(self) -> bool {
        self != PositionState::Known
    }

    /// Whether the position is gone and no question about it is pending.
    pub(super) fn is_to_be_asked(self) -> bool {
        matches!(self, PositionState::Gone { asked: None, .. })
    }

    /// Whether the committed offset is unknown.
    pub(super) fn is_unconfirmed(self) -> bool {
        matches!(self, PositionState::Unconfirmed { .. })
    }

    /// Whether the committed offset is unknown and no question about it is pending.
    pub(super) fn is_to_be_confirmed(self) -> bool {
        matches!(self, PositionState::Unconfirmed { asked: None })
    }

    /// The group's committed offset has to be asked for.
    pub(super) fn unconfirm(&mut self) {
        *self = PositionState::Unconfirmed { asked: None };
    }

    /// Marks the position as gone.
    pub(super) fn lose(&mut self, is_cut: bool) {
        *self = match *self {
            PositionState::Known => PositionState::Gone { is_cut, asked: None },
            PositionState::Gone { is_cut: was_cut, asked } => PositionState::Gone { is_cut: was_cut || is_cut, asked },
            // Reading at the committed offset will show it.
            PositionState::Unconfirmed { asked } => PositionState::Unconfirmed { asked },
        };
    }

    /// Records the pending question.
    pub(super) fn ask(&mut self, question: u64) {
        if let PositionState::Gone { asked, .. } | PositionState::Unconfirmed { asked } = self {
            *asked = Some(question);
        }
    }

    /// An answer arrived. Returns whether it answers the pending question; if it doesn't settle the position, the worker asks
    /// again.
    pub(super) fn answer(&mut self, question: u64) -> bool {
        match self {
            PositionState::Gone { asked, .. } | PositionState::Unconfirmed { asked } if *asked == Some(question) => {
                *asked = None;
                true
            }
            PositionState::Gone { .. } | PositionState::Unconfirmed { .. } | PositionState::Known => false,
        }
    }

    fn is_cut(self) -> bool {
        matches!(self, PositionState::Gone { is_cut: true, .. })
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
pub(super) fn found(low: Offset, was: Option<TopicId>, position: PositionState, range: &RangeOf) -> Found {
    match (was, range.topic) {
        (Some(was), Some(is)) if was != is => Found::Other(Other { was, is, committed: low }),
        _ if position.is_cut() || low > range.end => Found::Cut,
        _ if low < range.oldest => Found::Gap,
        _ => Found::There,
    }
}

/// Where reading continues by the rules of the input, or why the pipeline ends.
pub(super) fn go_on_at(
    found: Found,
    low: Offset,
    position: PositionState,
    range: &RangeOf,
    input: &Input,
) -> Result<Offset, Box<Cause>> {
    match found {
        Found::There => Ok(low),
        Found::Gap | Found::Cut if input.on_gap == OnGap::Stop => {
            let gap = Gap { position: low, oldest: range.oldest, end: range.end, is_cut: position.is_cut() };
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

    const GONE: PositionState = PositionState::Gone { is_cut: false, asked: None };
    const CUT: PositionState = PositionState::Gone { is_cut: true, asked: None };

    fn id(text: &str) -> Option<TopicId> {
        text.parse().ok()
    }

    #[test]
    fn only_the_last_question_is_answered_and_a_truncation_is_remembered() {
        let mut position = PositionState::Known;
        position.ask(1);
        assert!(!position.is_gone() && !position.answer(1), "nothing is asked about what is known");
        position.lose(true);
        assert!(position.is_to_be_asked());
        position.ask(2);
        assert!(!position.is_to_be_asked() && !position.answer(1));
        position.lose(false);
        assert!(position.answer(2) && !position.answer(2) && position.is_to_be_asked());
        assert!(position.is_gone() && position.is_cut());
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
        let positions = |was, is| [9, 10, 20, 21].map(|low| found(Offset(low), was, GONE, &range(is)));
        let known = [Found::Gap, Found::There, Found::There, Found::Cut];
        assert_eq!([9, 15].map(|low| found(Offset(low), one, CUT, &range(one))), [Found::Cut; 2], "it grew again");
        assert_eq!(positions(one, one), known);
        // Brokers without topic ids, or a commit without a note of one.
        assert_eq!((positions(None, one), positions(one, None), positions(None, None)), (known, known, known));
        for (low, found) in [9, 10, 20, 21].into_iter().zip(positions(one, other)) {
            let other = Other { was: one.unwrap(), is: other.unwrap(), committed: Offset(low) };
            assert_eq!(found, Found::Other(other));
        }
    }
}
