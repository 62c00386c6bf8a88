//! The vocabulary: where a record is and what it holds.
//!
//! Plain values without behaviour. An [`Offset`] is always the *next one to read*, as in Kafka's own commits: "up to `Offset(5)`" means
//! that the records 0 to 4 are done. The word has this meaning in the whole crate.

use std::fmt;
use std::sync::Arc;

/// A position in a partition: the next record to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies one reading of a partition: each assignment starts one, and so does each rewind. Every [`Seq`] contains it, so that a late
/// result of an earlier reading is recognised. Only [`AssignmentIds`] creates these ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssignmentId(u32);

/// Issues assignment ids in ascending order, then starts over at 0.
#[derive(Clone, Debug, Default)]
pub struct AssignmentIds {
    next: u32,
}

impl AssignmentId {
    /// Ids are below this value: the number that travels with an output has no room for a larger one.
    const END: u32 = 1 << 18;
}

impl AssignmentIds {
    /// The next id that is not in use. An id is reused only after all others were issued.
    pub fn issue(&mut self, is_in_use: impl Fn(AssignmentId) -> bool) -> AssignmentId {
        loop {
            let id = AssignmentId(self.next);
            self.next = (self.next + 1) % AssignmentId::END;
            if !is_in_use(id) {
                return id;
            }
        }
    }
}

/// The sequence number of a record: its assignment, and its position within that assignment. Positions start at 0 and have no gaps,
/// unlike offsets, which have gaps after compaction, aborted transactions and control markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq {
    assignment: AssignmentId,
    n: u64,
}

impl Seq {
    /// Positions within an assignment are below this value: before a partition reaches it, the partition gets a new assignment id. The
    /// number that travels with an output has no room for a larger one. At a million records a second, the positions last for 19 hours.
    pub const END: u64 = 1 << 36;
    /// The number of bits that [`Seq::to_bits`] uses.
    pub const BITS: u32 = AssignmentId::END.trailing_zeros() + Seq::END.trailing_zeros();

    /// The sequence number of the first record of an assignment.
    #[must_use]
    pub fn first_of(assignment: AssignmentId) -> Seq {
        Seq { assignment, n: 0 }
    }

    /// The assignment in which the record was received.
    #[must_use]
    pub fn assignment(self) -> AssignmentId {
        self.assignment
    }

    /// How many records of the assignment were received before this one.
    #[must_use]
    pub fn n(self) -> u64 {
        self.n
    }

    /// The sequence number `n` records later.
    #[must_use]
    pub fn plus(self, n: usize) -> Seq {
        Seq { n: self.n + n as u64, ..self }
    }

    /// The number of records from `first` up to this one. `None` if this one is before `first` or of another assignment.
    #[must_use]
    pub fn since(self, first: Seq) -> Option<usize> {
        if self.assignment != first.assignment {
            return None;
        }
        usize::try_from(self.n.checked_sub(first.n)?).ok()
    }

    /// The sequence number packed into the lowest [`Seq::BITS`] bits, to travel with an output.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        debug_assert!(self.n < Seq::END, "{self:?} has no room");
        u64::from(self.assignment.0) * Seq::END + (self.n & (Seq::END - 1))
    }

    /// The inverse of [`Seq::to_bits`].
    #[must_use]
    pub fn from_bits(bits: u64) -> Seq {
        let assignment = bits / Seq::END % u64::from(AssignmentId::END);
        Seq { assignment: AssignmentId(u32::try_from(assignment).unwrap_or_default()), n: bits % Seq::END }
    }
}

/// The sequence numbers of records that are handled together: of one assignment, ascending, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seqs<'a> {
    first: Seq,
    records: usize,
    /// The position of each record; empty if the positions are consecutive.
    listed: &'a [u64],
}

impl<'a> Seqs<'a> {
    /// Consecutive records.
    #[must_use]
    pub fn consecutive(first: Seq, records: usize) -> Seqs<'static> {
        Seqs { first, records, listed: &[] }
    }

    /// The records of an assignment at these positions, ascending. `None` if there are none.
    #[must_use]
    pub fn listed(assignment: AssignmentId, listed: &'a [u64]) -> Option<Seqs<'a>> {
        let &n = listed.first()?;
        Some(Seqs { first: Seq { assignment, n }, records: listed.len(), listed })
    }

    /// The first of them.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.first
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.records
    }

    /// The record at this place among them. Beyond the last one, the number after it.
    #[must_use]
    #[inline]
    pub fn at(&self, place: usize) -> Seq {
        if self.listed.is_empty() {
            return self.first.plus(place.min(self.records));
        }
        let n = self.listed.get(place).copied().or_else(|| self.listed.last().map(|last| last + 1));
        Seq { n: n.unwrap_or(self.first.n), ..self.first }
    }

    /// How many of them are below `seq`: 0 if it is of another assignment.
    #[must_use]
    pub fn below(&self, seq: Seq) -> usize {
        if self.listed.is_empty() || seq.assignment != self.first.assignment {
            return seq.since(self.first).unwrap_or(0).min(self.records);
        }
        self.listed.partition_point(|&n| n < seq.n)
    }

    /// The place of a record among them.
    #[must_use]
    pub fn place_of(&self, seq: Seq) -> Option<usize> {
        let place = self.below(seq);
        (place < self.records && self.at(place) == seq).then_some(place)
    }
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, 0 and up.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordId {
    /// Its partition.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordId { partition: TopicPartition { topic, partition }, offset } = self;
        write!(f, "topic {topic}, partition {partition}, offset {offset}")
    }
}

/// Kafka's rule for the names of topics.
#[must_use]
pub fn is_topic_name(name: &str) -> bool {
    (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
        && name != "."
        && name != ".."
}

/// The longest name of a topic.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Whether a topic is Kafka's own or reserved for wasmill. No pattern matches it, and no pipeline writes it.
#[must_use]
pub fn is_reserved_topic(name: &str) -> bool {
    name.starts_with("__") || name.ends_with(".changelog") || name.ends_with(".repartition")
}

/// A record as it was read, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The record's offset.
    pub offset: i64,
    /// Milliseconds since 1970-01-01 UTC; -1 is none.
    pub timestamp: i64,
    /// How many times the record was tried before.
    pub attempt: u32,
    /// `None` is null, which differs from empty.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone, which differs from empty.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: Headers<'a>,
}

/// A record on its way out, with every reference to its input resolved.
#[derive(Clone, Copy, Debug)]
pub struct OutRecord<'a> {
    /// The index, in its input batch, of the record that caused it.
    pub parent: usize,
    /// The plugin's port; 0 is `main`.
    pub port: u32,
    /// The topic, if the plugin named one.
    pub topic: Option<&'a Arc<str>>,
    /// The partition, if the plugin chose one.
    pub partition: Option<i32>,
    /// Milliseconds since 1970-01-01 UTC; -1 is none.
    pub timestamp: i64,
    /// `None` is null.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: Headers<'a>,
}

/// One header. Names are bytes, because Kafka clients can send any; they are passed on unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name, any bytes.
    pub name: &'a [u8],
    /// `None` is null.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record in columns: for each header the lengths of its name and its value (-1 is null), and the bytes in the same
/// order. Names may repeat.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    lengths: &'a [i32],
    data: &'a [u8],
}

impl<'a> Headers<'a> {
    /// `lengths` holds a pair for each header; `data` holds at least the bytes that the pairs add up to. The caller has checked both: if
    /// they don't match, [`Headers::iter`] ends early and doesn't panic.
    #[must_use]
    #[inline]
    pub fn new(lengths: &'a [i32], data: &'a [u8]) -> Headers<'a> {
        Headers { lengths, data }
    }

    /// The number of headers.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.lengths.len() / 2
    }

    /// Whether there are no headers.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The pairs of lengths, as in [`Headers::new`].
    #[must_use]
    #[inline]
    pub fn lengths(&self) -> &'a [i32] {
        self.lengths
    }

    /// The bytes of names and values.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The headers in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut rest = self.data;
        self.lengths.chunks_exact(2).map_while(move |pair| {
            let (name, after) = rest.split_at_checked(usize::try_from(pair[0]).ok()?)?;
            let (value, after) = match usize::try_from(pair[1]) {
                Ok(length) => after.split_at_checked(length).map(|(value, after)| (Some(value), after))?,
                Err(_) => (None, after),
            };
            rest = after;
            Some(Header { name, value })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_id_in_use_is_not_issued_again_and_records_of_two_assignments_are_unrelated() {
        let mut ids = AssignmentIds::default();
        let first = ids.issue(|_| false);
        let all: Vec<AssignmentId> = (1..AssignmentId::END).map(|_| ids.issue(|_| false)).collect();
        assert!(!all.contains(&first));
        assert_eq!(ids.issue(|id| id == first), all[0], "the first one is in use");
        let [of_first, of_other] = [first, all[0]].map(Seq::first_of);
        assert_eq!(of_first.plus(7).since(of_first.plus(3)), Some(4));
        assert_eq!(of_first.plus(3).since(of_first.plus(7)), None);
        assert_eq!((of_other.plus(7).since(of_first), of_first.plus(7).since(of_other)), (None, None));
    }
}
