//! PURE. Questions about the committed state of a step, and their answers.
//!
//! An answer holds copies of cells: what they mean is computed by who asked, so that the worker's thread has little to do. Invariant: an
//! answer holds nothing that a crash could undo.

use std::fmt;
use std::str::FromStr;

use crate::kafka::members::GroupMember;
use crate::state::ScanPosition;

/// A question about the committed state of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateQuestion {
    /// The step's name.
    pub step: String,
    /// What is asked for.
    pub wanted: WantedState,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedState {
    /// The cells of a key.
    Key {
        /// The key.
        key: Option<Vec<u8>>,
        /// Only what this process has: the group isn't asked for others.
        here: bool,
    },
    /// Cells of all keys that begin with a prefix, in the partitions of this process.
    List {
        /// The prefix.
        prefix: Vec<u8>,
        /// Where to begin.
        from: ListPosition,
        /// The most cells.
        cells_max: usize,
    },
}

/// Where a list continues: a partition, and a position in its table. Its text is for clients to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPosition {
    pub(super) partition: i32,
    pub(super) position: ScanPosition,
}

/// How far a partition's state is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedUpTo {
    /// The partition.
    pub partition: i32,
    /// Every record below this offset is applied.
    pub applied: i64,
    /// The watermark there, in ms since 1970-01-01 UTC; `None` before any record.
    pub watermark: Option<i64>,
}

/// The cells of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCells {
    /// Where they are.
    pub at: AppliedUpTo,
    /// Windows that end here or before, in ms, are shown.
    pub shown: i64,
    /// The start of each slice that has one, in ms, and the cell; in order.
    pub cells: Vec<(i64, Vec<u8>)>,
    /// Whether later slices were left out, because there are too many.
    pub is_cut: bool,
}

/// A cell of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCell {
    /// Its partition.
    pub partition: i32,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The start of its slice, in ms.
    pub slice: i64,
    /// The cell.
    pub cell: Vec<u8>,
}

/// The answer to a [`StateQuestion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateAnswer {
    /// The key's cells.
    Key(KeyCells),
    /// Some cells of a list.
    List {
        /// The cells.
        cells: Vec<ListedCell>,
        /// Where the list continues, if it does.
        next: Option<ListPosition>,
        /// The members that have other partitions; `None` if the group doesn't tell.
        others: Option<Vec<GroupMember>>,
    },
    /// The key has no cells.
    NoKey {
        /// The partition that it belongs to, if that is known.
        at: Option<AppliedUpTo>,
        /// The members that have other partitions.
        others: Vec<GroupMember>,
    },
    /// The pipeline has no such step with windows.
    NoStep,
    /// The state of the partition is being restored.
    Restoring {
        /// The partition.
        partition: i32,
        /// How many records of its changelog are read, by offsets.
        read: u64,
        /// How many there are; 0 if that isn't known yet.
        total: u64,
    },
    /// The key belongs to a partition that another member has.
    Owner {
        /// The partition.
        partition: i32,
        /// The member.
        member: GroupMember,
        /// The members that have other partitions, this one among them.
        others: Vec<GroupMember>,
    },
    /// The key isn't here, and which partition it belongs to isn't known: one of these members may have it.
    Elsewhere {
        /// The members that have other partitions.
        others: Vec<GroupMember>,
    },
    /// It can't be said now, for this reason.
    Unknown(String),
}

/// Takes the answer to a question, on the worker's thread. It is dropped if there will be none.
pub type StateReply = Box<dyn FnOnce(StateAnswer) + Send>;

impl ListPosition {
    /// Where a list begins.
    pub const START: ListPosition = ListPosition { partition: i32::MIN, position: ScanPosition::START };

    /// The beginning of a partition.
    pub(super) fn of(partition: i32) -> ListPosition {
        ListPosition { partition, position: ScanPosition::START }
    }
}

impl fmt::Display for ListPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slice, slot, entry) = self.position.to_parts();
        write!(f, "{}.{slice}.{slot}.{entry}", self.partition)
    }
}

impl FromStr for ListPosition {
    type Err = ();

    fn from_str(text: &str) -> Result<ListPosition, ()> {
        fn number<T: FromStr>(part: Option<&str>) -> Result<T, ()> {
            part.and_then(|part| part.parse().ok()).ok_or(())
        }
        let mut parts = text.split('.');
        let partition = number(parts.next())?;
        let position = ScanPosition::from_parts(number(parts.next())?, number(parts.next())?, number(parts.next())?);
        if parts.next().is_some() { Err(()) } else { Ok(ListPosition { partition, position }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_what_its_text_says_and_other_texts_are_none() {
        let some = ListPosition { partition: 3, position: ScanPosition::from_parts(-60_000, 7, 12) };
        for position in [ListPosition::START, ListPosition::of(0), some] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in ["", "3", "3.0.0", "3.0.0.0.0", "3.0.-1.0", "x.0.0.0", "3.0.0.99999999999999999999"] {
            assert_eq!(text.parse::<ListPosition>(), Err(()), "{text}");
        }
    }
}
