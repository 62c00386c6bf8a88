//! Records of one partition in one flat arena, in the layout that the guest sees.
//!
//! A [`Batch`] is filled record by record and read as columns. A [`View`] is a range of its records, which crosses into the guest as
//! five copies. [`Outputs`] uses the same layout for results, where a length of [`SAME`] means "as in the input record" and has no
//! bytes. Nothing here allocates per record, and nothing here knows about plugins or what a topic is for. Invariant: the `layout` of a
//! batch and of checked outputs accounts for exactly the bytes of `data`.

use std::ops::Range;
use std::sync::Arc;

use crate::record::Header;
use crate::record::Headers;
use crate::record::OutRecord;
use crate::record::Record;
use crate::record::Seq;
use crate::record::Seqs;
use crate::record::TopicPartition;

/// The length of a null.
pub const NULL: i32 = -1;
/// In outputs, the length or header count that means "as in the input record".
pub const SAME: i32 = -2;
/// Where a record ends in `layout` and `data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) layout: u32,
    pub(crate) data: u32,
}

/// Records of one partition in ascending order of their offsets.
#[derive(Clone, Debug)]
pub struct Batch {
    source: TopicPartition,
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    attempts: Vec<u32>,
    layout: Vec<i32>,
    data: Vec<u8>,
    ends: Vec<End>,
    /// The position of each record within its assignment; empty if they are consecutive.
    numbers: Vec<u64>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new(source: TopicPartition) -> Batch {
        Batch {
            source,
            offsets: Vec::new(),
            timestamps: Vec::new(),
            attempts: Vec::new(),
            layout: Vec::new(),
            data: Vec::new(),
            ends: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// Empties this batch for another partition, and keeps its allocations.
    pub fn reset(&mut self, source: TopicPartition) {
        self.source = source;
        self.offsets.clear();
        self.timestamps.clear();
        self.attempts.clear();
        self.layout.clear();
        self.data.clear();
        self.ends.clear();
        self.numbers.clear();
    }

    /// Sets the position of the record that was added last within its assignment. In a batch either each record has one, or none
    /// has.
    pub fn number(&mut self, n: u64) {
        self.numbers.push(n);
        debug_assert_eq!(self.numbers.len(), self.len(), "each record has a number");
    }

    /// The sequence numbers of a range of records, the first of which is `first`.
    #[must_use]
    pub fn seqs(&self, first: Seq, records: Range<usize>) -> Seqs<'_> {
        let listed = self.numbers.get(records.clone()).and_then(|listed| Seqs::listed(first.assignment(), listed));
        listed.unwrap_or_else(|| Seqs::consecutive(first, records.len()))
    }

    /// Appends a copy of a record. `timestamp` is in milliseconds since 1970-01-01 UTC, -1 for none.
    ///
    /// # Panics
    /// If a key, a value, a header or the batch is longer than 2^31-1 bytes. Kafka's own lengths are never longer, and the worker
    /// seals a batch long before.
    pub fn push<'h>(
        &mut self,
        offset: i64,
        timestamp: i64,
        attempt: u32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'h>>,
    ) {
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
        self.attempts.push(attempt);
        self.layout.extend_from_slice(&[length(key), length(value), 0]);
        let count_at = self.layout.len() - 1;
        self.data.extend_from_slice(key.unwrap_or_default());
        self.data.extend_from_slice(value.unwrap_or_default());
        let mut count = 0;
        for header in headers {
            count += 1;
            self.layout.extend_from_slice(&[length(Some(header.name)), length(header.value)]);
            self.data.extend_from_slice(header.name);
            self.data.extend_from_slice(header.value.unwrap_or_default());
        }
        self.layout[count_at] = count;
        self.close_record();
    }

    /// Appends a copy of a record whose headers are already in columns.
    ///
    /// # Panics
    /// As [`Batch::push`].
    pub fn push_columns(
        &mut self,
        offset: i64,
        timestamp: i64,
        attempt: u32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Headers<'_>,
    ) {
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
        self.attempts.push(attempt);
        let count = i32::try_from(headers.len()).expect("the layout of a record holds fewer than 2^31 headers");
        self.layout.extend_from_slice(&[length(key), length(value), count]);
        self.layout.extend_from_slice(headers.lengths());
        self.data.extend_from_slice(key.unwrap_or_default());
        self.data.extend_from_slice(value.unwrap_or_default());
        self.data.extend_from_slice(headers.data());
        self.close_record();
    }

    fn close_record(&mut self) {
        let layout = u32::try_from(self.layout.len()).expect("a batch holds fewer than 2^32 lengths");
        let data = u32::try_from(self.data.len()).expect("a batch holds fewer than 2^32 bytes");
        self.ends.push(End { layout, data });
    }

    /// The number of records.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether the batch has no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The bytes of keys, values and headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The partition that the records come from.
    #[must_use]
    pub fn source(&self) -> &TopicPartition {
        &self.source
    }

    /// The records' offsets.
    #[must_use]
    pub fn offsets(&self) -> &[i64] {
        &self.offsets
    }

    /// Sets how many times a record was tried before.
    ///
    /// # Panics
    /// If there is no record `index`.
    pub fn set_attempt(&mut self, index: usize, attempt: u32) {
        self.attempts[index] = attempt;
    }

    /// A record.
    ///
    /// # Panics
    /// If there is no record `index`.
    #[must_use]
    #[inline(always)] // See `Outputs::resolve`.
    pub fn record(&self, index: usize) -> Record<'_> {
        let Parts { key, value, headers } = self.parts(index);
        Record {
            offset: self.offsets[index],
            timestamp: self.timestamps[index],
            attempt: self.attempts[index],
            key,
            value,
            headers,
        }
    }

    #[inline(always)] // See `Outputs::resolve`.
    fn parts(&self, index: usize) -> Parts<'_> {
        Parts::cut(&self.layout, &self.data, &self.ends, index).1
    }

    /// All records.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        self.slice(0..self.len())
    }

    /// A range of records.
    ///
    /// # Panics
    /// If the range is outside the batch.
    #[must_use]
    pub fn slice(&self, records: Range<usize>) -> View<'_> {
        let start = self.start(records.start);
        let end = self.start(records.end);
        View {
            offsets: &self.offsets[records.clone()],
            timestamps: &self.timestamps[records.clone()],
            attempts: &self.attempts[records.clone()],
            layout: &self.layout[start.layout as usize..end.layout as usize],
            data: &self.data[start.data as usize..end.data as usize],
            batch: self,
            first: records.start,
        }
    }

    /// The lengths of a record's key and value (null counts as 0) and of its headers, without touching the bytes.
    fn lengths(&self, index: usize) -> (u64, u64, u64) {
        let start = self.start(index);
        let bytes = |at: usize| u64::try_from(self.layout[start.layout as usize + at]).unwrap_or(0);
        let (key, value) = (bytes(0), bytes(1));
        (key, value, u64::from(self.ends[index].data - start.data) - key - value)
    }

    #[inline]
    fn start(&self, index: usize) -> End {
        start(&self.ends, index)
    }
}

/// A range of a batch's records, as columns.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The records' offsets, ascending.
    pub offsets: &'a [i64],
    /// Milliseconds since 1970-01-01 UTC; -1 is none.
    pub timestamps: &'a [i64],
    /// How many times each record was tried before.
    pub attempts: &'a [u32],
    /// For each record: the length of the key, the length of the value, the number of headers, and for each header the lengths of its
    /// name and its value; -1 is null.
    pub layout: &'a [i32],
    /// The bytes of keys, values and headers, in the order of `layout`.
    pub data: &'a [u8],
    batch: &'a Batch,
    first: usize,
}

impl<'a> View<'a> {
    /// The number of records.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether the view has no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The partition that the records come from.
    #[must_use]
    pub fn source(&self) -> &'a TopicPartition {
        &self.batch.source
    }

    /// A record of the view.
    ///
    /// # Panics
    /// If the view has no record `index`.
    #[must_use]
    #[inline]
    pub fn record(&self, index: usize) -> Record<'a> {
        self.batch.record(self.first + index)
    }

    /// Output `index` of a call whose input was the view's records from `first` on: see [`Outputs::resolve`].
    ///
    /// # Panics
    /// As [`Outputs::resolve`].
    #[must_use]
    #[inline]
    pub fn resolve(&self, outputs: &'a Outputs, index: usize, first: usize) -> OutRecord<'a> {
        outputs.resolve(index, self.batch, self.first + first)
    }

    /// The size of record `index`: key, value and headers.
    ///
    /// # Panics
    /// If the view has no record `index`.
    #[must_use]
    #[inline]
    pub fn record_bytes(&self, index: usize) -> u64 {
        let at = self.first + index;
        u64::from(self.batch.ends[at].data - self.batch.start(at).data)
    }

    /// The lengths of a record's key and value (null counts as 0) and of its headers.
    ///
    /// # Panics
    /// If the view has no record `index`.
    #[must_use]
    pub(crate) fn lengths(&self, index: usize) -> (u64, u64, u64) {
        self.batch.lengths(self.first + index)
    }
}

/// The checked outputs of a call, in the order of their input records.
///
/// Created only by `outcome::check`, so every length matches its bytes, and every parent and port exists.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    parents: Vec<u32>,
    ports: Vec<u32>,
    partitions: Vec<i32>,
    timestamps: Vec<i64>,
    layout: Vec<i32>,
    data: Vec<u8>,
    ends: Vec<End>,
    topics: TopicColumn,
}

/// The topics that the outputs of a call name: each distinct one once.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicColumn {
    /// The topics, each with the port whose output allows them.
    pub(crate) names: Vec<(u32, Arc<str>)>,
    /// For each output the index of its topic, or [`NO_TOPIC`]; empty if no output names one.
    pub(crate) of: Vec<u32>,
}

/// In [`TopicColumn`], an output that names no topic.
pub(crate) const NO_TOPIC: u32 = u32::MAX;

/// The columns of [`Outputs`] as the guest returned them. `ports`, `partitions` and `timestamps` may be empty: every output then has
/// the default.
#[derive(Clone, Debug, Default)]
pub struct OutputColumns {
    /// The port of each output. From the number of ports on, the numbers are those of `topics`.
    pub ports: Vec<u32>,
    /// The partition of each output; -1 means that the partitioner chooses.
    pub partitions: Vec<i32>,
    /// The timestamp of each output; -1 means the input's.
    pub timestamps: Vec<i64>,
    /// As in [`View::layout`], with [`SAME`] allowed.
    pub layout: Vec<i32>,
    /// The bytes, in the order of `layout`.
    pub data: Vec<u8>,
    /// The ports and topics that the call has numbers for, counted from the number of ports on.
    pub topics: Vec<(u32, Arc<str>)>,
}

impl Outputs {
    /// Takes columns that were checked. `parents` holds for each output the index of its input record, and `ends` where it ends in
    /// `layout` and `data`. If `ends` is empty, every output is its unchanged input record.
    /// `of_topics` holds for each output the index of its topic among those of the columns, or [`NO_TOPIC`]; it is empty if none
    /// names one, and no port is above those of the step.
    pub(crate) fn from_checked(
        columns: OutputColumns,
        parents: Vec<u32>,
        ends: Vec<End>,
        of_topics: Vec<u32>,
    ) -> Outputs {
        let OutputColumns { ports, partitions, timestamps, layout, data, topics } = columns;
        let topics = TopicColumn { names: topics, of: of_topics };
        Outputs { parents, ports, partitions, timestamps, layout, data, ends, topics }
    }

    /// The number of outputs.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there are no outputs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// The index of the input record that output `index` belongs to.
    ///
    /// # Panics
    /// If there is no output `index`.
    #[must_use]
    #[inline]
    pub fn parent(&self, index: usize) -> usize {
        self.parents[index] as usize
    }

    /// An upper bound for the memory of the lengths and bytes of all outputs, without the records that they refer to.
    #[must_use]
    pub(crate) fn own_bytes_max(&self) -> usize {
        self.data.len() + 5 * self.layout.len()
    }

    /// The port of output `index`.
    ///
    /// # Panics
    /// If there is no output `index`.
    #[must_use]
    #[inline]
    pub fn port(&self, index: usize) -> u32 {
        if self.ports.is_empty() { 0 } else { self.ports[index] }
    }

    /// The topic that output `index` names.
    #[must_use]
    #[inline]
    pub fn topic(&self, index: usize) -> Option<&Arc<str>> {
        let place = *self.topics.of.get(index)?;
        self.topics.names.get(place as usize).map(|(_, name)| name)
    }

    /// The topics that outputs name.
    pub(crate) fn topics(&self) -> &TopicColumn {
        &self.topics
    }

    /// An output with its references resolved, where `input` is the batch that the call's input was a part of, from record `first` on.
    ///
    /// # Panics
    /// If there is no output `index`, or `input` has no record for its parent.
    #[must_use]
    // Inlined into its callers together with `Batch::record`: most of them need only some of the fields.
    #[inline(always)]
    pub fn resolve<'a>(&'a self, index: usize, input: &'a Batch, first: usize) -> OutRecord<'a> {
        let parent = self.parent(index);
        let place = first + parent;
        // The input record is read only for what the output refers to.
        let Parts { key, value, headers } = if self.ends.is_empty() {
            input.parts(place)
        } else {
            let (lengths, mut parts) = Parts::cut(&self.layout, &self.data, &self.ends, index);
            if lengths.contains(&SAME) {
                let source = input.parts(place);
                if lengths[0] == SAME {
                    parts.key = source.key;
                }
                if lengths[1] == SAME {
                    parts.value = source.value;
                }
                if lengths[2] == SAME {
                    parts.headers = source.headers;
                }
            }
            parts
        };
        let timestamp = self.timestamps.get(index).copied().filter(|&t| t >= 0);
        let timestamp = timestamp.unwrap_or_else(|| input.timestamps[place]);
        let partition = self.partitions.get(index).copied().filter(|&p| p >= 0);
        OutRecord {
            parent,
            port: self.port(index),
            topic: self.topic(index),
            partition,
            timestamp,
            key,
            value,
            headers,
        }
    }
}

/// The parts of a record.
struct Parts<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

impl<'a> Parts<'a> {
    /// The parts of record `index`, and the first three numbers of its layout.
    #[inline(always)] // See `Outputs::resolve`.
    fn cut(layout: &'a [i32], data: &'a [u8], ends: &[End], index: usize) -> (&'a [i32; 3], Parts<'a>) {
        let (start, end) = (start(ends, index), ends[index]);
        let layout = &layout[start.layout as usize..end.layout as usize];
        let data = &data[start.data as usize..end.data as usize];
        let (first, lengths) = layout.split_first_chunk().expect("a record has lengths of its key and value");
        let (key, rest) = field(first[0], data);
        let (value, rest) = field(first[1], rest);
        (first, Parts { key, value, headers: Headers::new(lengths, rest) })
    }
}

/// Where the layout and data of record `index` begin.
#[inline]
fn start(ends: &[End], index: usize) -> End {
    match index.checked_sub(1) {
        Some(before) => ends[before],
        None => End::default(),
    }
}

/// Splits a field of this length off the front of `data`, and returns the rest. Null and [`SAME`] have no bytes.
#[inline]
fn field(length: i32, data: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match usize::try_from(length) {
        Ok(length) => {
            let (bytes, rest) = data.split_at(length);
            (Some(bytes), rest)
        }
        Err(_) => (None, data),
    }
}

fn length(bytes: Option<&[u8]>) -> i32 {
    match bytes {
        Some(bytes) => i32::try_from(bytes.len()).expect("Kafka's lengths fit in 31 bits"),
        None => NULL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> TopicPartition {
        TopicPartition { topic: "orders".into(), partition: 3 }
    }

    #[test]
    fn null_and_empty_stay_apart() {
        let mut batch = Batch::new(orders());
        let headers = [
            Header { name: b"a\xff\0", value: None },
            Header { name: b"", value: Some(b"") },
            Header { name: b"a\xff\0", value: Some(b"2") },
        ];
        batch.push(7, -1, 0, None, Some(b""), headers.iter().copied());
        batch.push(9, 5, 2, Some(b""), None, std::iter::empty());
        let first = batch.record(0);
        assert_eq!((first.offset, first.timestamp, first.key, first.value), (7, -1, None, Some(&b""[..])));
        assert_eq!(first.headers.iter().collect::<Vec<_>>(), headers);
        let second = batch.record(1);
        assert_eq!((second.key, second.value, second.attempt, second.headers.len()), (Some(&b""[..]), None, 2, 0));
    }

    #[test]
    fn a_slice_holds_the_same_records() {
        let mut batch = Batch::new(orders());
        for n in 0..10_i64 {
            let value = vec![b'x'; usize::try_from(n).unwrap()];
            let header = [Header { name: b"h", value: Some(&value) }];
            batch.push(n, n, 0, Some(b"k"), Some(&value), header.iter().copied().take(usize::try_from(n % 2).unwrap()));
        }
        let view = batch.slice(4..10);
        for n in 0..6 {
            assert_eq!(view.record(n).value, batch.record(4 + n).value);
            assert_eq!(view.record(n).headers.iter().count(), batch.record(4 + n).headers.iter().count());
        }
    }
}
