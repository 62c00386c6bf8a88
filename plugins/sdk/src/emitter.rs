//! Collects the outputs of a plugin, directly in the columns that go back to the host.
//!
//! What an output takes from its input record is written as a reference, without a copy. A column of ports, partitions or
//! timestamps stays empty as long as all of its entries are the default. Adjacent bytes of the input are copied together, because
//! each copy of a length unknown at compile time is a function call; the layout of consecutive forwarded records is also written
//! together. Invariant: between two outputs the columns are complete, except for the layout of outputs from `written` on and the
//! bytes in `pending`; an output is in all columns or, after it was discarded, in none.

use std::ops::Range;

use crate::record::Header;
use crate::record::Headers;
use crate::record::NULL;
use crate::record::bytes;
use crate::topics;

/// The length or header count that means "as in the input record".
pub(crate) const SAME: i32 = -2;
/// The layout of many forwarded records. Copying it is faster than writing it in a loop.
static FORWARDED: [i32; 3 * 128] = [SAME; 3 * 128];
const DEFAULT_PORT: u32 = 0;
const ANY_PARTITION: i32 = -1;
const INPUT_TIMESTAMP: i64 = -1;

/// Collects the outputs of records. A record without outputs is filtered out, which is a success.
#[derive(Debug)]
pub struct Emitter<'b> {
    pub(crate) outputs: u32,
    /// The number of outputs whose layout is written. All outputs after them are forwarded records.
    written: u32,
    pub(crate) ports: Vec<u32>,
    pub(crate) partitions: Vec<i32>,
    pub(crate) timestamps: Vec<i64>,
    pub(crate) layout: Vec<i32>,
    pub(crate) data: Vec<u8>,
    /// The bytes of the call's records.
    input: &'b [u8],
    /// The address of their end.
    input_end: usize,
    /// The bytes of the input that come next in `data`, as addresses.
    pending: Range<usize>,
    /// Whether ports, partitions and timestamps are all empty so far: one check instead of three.
    plain: bool,
    /// The end of the outputs that were kept when some were last discarded.
    kept: End,
}

/// Where the outputs end in the columns.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    outputs: u32,
    layout: usize,
    data: usize,
}

impl<'b> Emitter<'b> {
    /// Creates an emitter with room for outputs of the same size as the inputs.
    pub(crate) fn new(layout: usize, input: &'b [u8]) -> Emitter<'b> {
        topics::begin();
        let start = input.as_ptr().addr();
        Emitter {
            outputs: 0,
            written: 0,
            ports: Vec::new(),
            partitions: Vec::new(),
            timestamps: Vec::new(),
            layout: Vec::with_capacity(layout),
            data: Vec::new(),
            input,
            input_end: input.as_ptr_range().end.addr(),
            pending: start..start,
            plain: true,
            kept: End::default(),
        }
    }

    /// Emits the record unchanged. `port` is an index into the ports given to `init`; 0 is the default port.
    #[inline]
    pub fn forward(&mut self, port: u32) {
        self.columns(port, None, None);
    }

    /// Starts an output that is like the input except for what is set. [`Output::send`], [`Output::value`] or [`Output::write`]
    /// emits it.
    pub fn output(&mut self, port: u32) -> Output<'_, 'b> {
        Output { to: self, port, topic: None, key: None, headers: Unchanged, timestamp: None, partition: None }
    }

    /// Discards all outputs after the first `outputs`. Outputs that an earlier call kept are not examined again, so successful
    /// records need not remember where they ended.
    #[cold]
    pub(crate) fn take_back(&mut self, outputs: u32) {
        if self.outputs == outputs {
            return;
        }
        self.finish();
        let mut kept = self.kept;
        while kept.outputs < outputs {
            let [key, value, headers] = [0, 1, 2].map(|at| self.layout[kept.layout + at]);
            kept.layout += 3;
            let lengths = &self.layout[kept.layout..][..2 * bytes(headers)];
            kept.layout += lengths.len();
            kept.data += bytes(key) + bytes(value) + lengths.iter().copied().map(bytes).sum::<usize>();
            kept.outputs += 1;
        }
        self.kept = kept;
        self.outputs = outputs;
        self.written = outputs;
        truncate(&mut self.ports, outputs, DEFAULT_PORT);
        truncate(&mut self.partitions, outputs, ANY_PARTITION);
        truncate(&mut self.timestamps, outputs, INPUT_TIMESTAMP);
        self.plain = self.ports.is_empty() && self.partitions.is_empty() && self.timestamps.is_empty();
        self.layout.truncate(kept.layout);
        self.data.truncate(kept.data);
    }

    #[inline]
    fn columns(&mut self, port: u32, partition: Option<i32>, timestamp: Option<i64>) {
        if !self.plain || port != DEFAULT_PORT || partition.is_some() || timestamp.is_some() {
            self.columns_of_other(port, partition, timestamp);
        }
        self.outputs += 1;
    }

    /// Out of line, so that the common case can be inlined.
    #[inline(never)]
    fn columns_of_other(&mut self, port: u32, partition: Option<i32>, timestamp: Option<i64>) {
        self.plain = false;
        push(&mut self.ports, self.outputs, port, DEFAULT_PORT);
        push(&mut self.partitions, self.outputs, partition.unwrap_or(ANY_PARTITION), ANY_PARTITION);
        push(&mut self.timestamps, self.outputs, timestamp.unwrap_or(INPUT_TIMESTAMP), INPUT_TIMESTAMP);
    }

    /// Appends a field and returns its length for the layout.
    #[inline]
    fn field(&mut self, field: Option<&[u8]>) -> i32 {
        let Some(bytes) = field else { return NULL };
        self.append(bytes);
        length(bytes.len())
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        let at = bytes.as_ptr().addr();
        // Adds to the address of this field, not to the old end: the next call would have to wait for that sum.
        if at == self.pending.end && bytes.len() <= self.input_end - at {
            self.pending.end = at + bytes.len();
        } else {
            self.append_other(bytes);
        }
    }

    /// Appends bytes that don't follow the previous ones in the input. Out of line, so that the common case can be inlined.
    #[inline(never)]
    fn append_other(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.flush();
        let at = bytes.as_ptr().addr();
        let input = self.input.as_ptr().addr()..self.input_end;
        if input.contains(&at) && bytes.len() <= input.end - at {
            self.pending = at..at + bytes.len();
        } else {
            self.room();
            self.data.extend_from_slice(bytes);
        }
    }

    /// Completes the columns.
    pub(crate) fn finish(&mut self) {
        self.forwarded();
        self.flush();
    }

    /// Writes the layout of the forwarded records since the last output with a layout.
    #[inline(never)]
    fn forwarded(&mut self) {
        let mut missing = 3 * (self.outputs - self.written) as usize;
        self.layout.reserve(missing);
        while missing > 0 {
            let lengths = &FORWARDED[..missing.min(FORWARDED.len())];
            self.layout.extend_from_slice(lengths);
            missing -= lengths.len();
        }
        self.written = self.outputs;
    }

    /// Copies the pending bytes, so that `data` is complete.
    fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.room();
            let start = self.input.as_ptr().addr();
            let pending = self.pending.start - start..self.pending.end - start;
            self.pending.start = self.pending.end;
            self.data.extend_from_slice(&self.input[pending]);
        }
    }

    fn room(&mut self) {
        if self.data.capacity() == 0 {
            self.data.reserve(self.input.len());
        }
    }
}

/// Appends to a column that may stay empty as long as all of its entries are `default`.
fn push<T: Copy + PartialEq>(column: &mut Vec<T>, entries: u32, entry: T, default: T) {
    if !column.is_empty() {
        column.push(entry);
    } else if entry != default {
        column.reserve(entries as usize + 1);
        column.extend(std::iter::repeat_n(default, entries as usize));
        column.push(entry);
    }
}

/// Truncates such a column.
fn truncate<T: PartialEq>(column: &mut Vec<T>, entries: u32, default: T) {
    column.truncate(entries as usize);
    if column.iter().all(|entry| *entry == default) {
        column.clear();
    }
}

/// The length of a field, for a layout.
#[inline]
pub(crate) fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a field of a Kafka record is shorter than 2^31 bytes")
}

/// An output under construction. It is emitted by [`send`](Output::send), [`value`](Output::value) or [`write`](Output::write),
/// and not before.
#[derive(Debug)]
#[must_use = "an output is emitted by `send`, `value` or `write`"]
pub struct Output<'a, 'b, H = Unchanged> {
    to: &'a mut Emitter<'b>,
    port: u32,
    topic: Option<&'a str>,
    key: Option<Option<&'a [u8]>>,
    headers: H,
    timestamp: Option<i64>,
    partition: Option<i32>,
}

impl<'a, 'b, H: OutputHeaders> Output<'a, 'b, H> {
    /// Sets the key; `None` is null.
    pub fn key(self, key: Option<&'a [u8]>) -> Output<'a, 'b, H> {
        Output { key: Some(key), ..self }
    }

    /// Replaces all headers. To add one: `record.headers().iter().chain([Header::new("name", b"value")])`.
    pub fn headers<I: OutputHeaders>(self, headers: I) -> Output<'a, 'b, I> {
        let Output { to, port, topic, key, headers: _, timestamp, partition } = self;
        Output { to, port, topic, key, headers, timestamp, partition }
    }

    /// Sends the output to this topic, which the port's output has to allow: `topics_allowed` in the pipeline's file. Otherwise the record fails, as it does
    /// if the topic doesn't exist; other records don't.
    pub fn topic(self, name: &'a str) -> Output<'a, 'b, H> {
        Output { topic: Some(name), ..self }
    }

    /// Sets the timestamp, in milliseconds since 1970-01-01 UTC.
    ///
    /// # Panics
    /// If it is negative.
    pub fn timestamp(self, timestamp: i64) -> Output<'a, 'b, H> {
        assert!(timestamp >= 0, "a timestamp must not be negative, but it is {timestamp}");
        Output { timestamp: Some(timestamp), ..self }
    }

    /// Sets the partition; without it the output's partitioner chooses.
    ///
    /// # Panics
    /// If it is above 2^31-1, the highest partition that Kafka allows.
    pub fn partition(self, partition: u32) -> Output<'a, 'b, H> {
        let partition = i32::try_from(partition).expect("a partition is at most 2^31-1");
        Output { partition: Some(partition), ..self }
    }

    /// Emits the output with the input's value.
    pub fn send(mut self) {
        let key = self.start();
        self.finish(key, SAME);
    }

    /// Emits the output with this value; `None` is a tombstone.
    pub fn value(mut self, value: Option<&[u8]>) {
        let key = self.start();
        let value = self.to.field(value);
        self.finish(key, value);
    }

    /// Emits the output with the value that `write` appends, which saves a copy. If `write` returns an `Err`, the output is not
    /// emitted.
    ///
    /// # Panics
    /// If `write` shortens the vector: it may only append.
    pub fn write<R: Written>(mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let before = self.to.data.len() + self.to.pending.len();
        let key = self.start();
        self.to.flush();
        self.to.room();
        let start = self.to.data.len();
        let written = write(&mut self.to.data);
        let bytes = self.to.data.len().checked_sub(start).expect("`write` may only append to the vector");
        if written.is_kept() {
            self.finish(key, length(bytes));
        } else {
            self.to.data.truncate(before);
        }
        written
    }

    /// Writes the key and returns its length. The bytes of the value come next.
    fn start(&mut self) -> i32 {
        self.key.map_or(SAME, |key| self.to.field(key))
    }

    fn finish(self, key: i32, value: i32) {
        let Output { to, port, topic, key: _, headers, timestamp, partition } = self;
        let port = topic.map_or(port, |name| topics::number(port, name));
        if to.written != to.outputs {
            to.forwarded();
        }
        to.columns(port, partition, timestamp);
        to.written += 1;
        headers.write(to, key, value);
    }
}

/// Keeps the headers of the input record.
#[derive(Clone, Copy, Debug)]
pub struct Unchanged;

/// A source of headers for an [`Output`]: [`Unchanged`], a record's [`Headers`], or any iterator over [`Header`]s.
pub trait OutputHeaders {
    /// Writes the layout of an output, with these lengths of key and value, and the headers' bytes.
    #[doc(hidden)]
    fn write(self, to: &mut Emitter<'_>, key: i32, value: i32);
}

impl OutputHeaders for Unchanged {
    #[inline]
    fn write(self, to: &mut Emitter<'_>, key: i32, value: i32) {
        to.layout.extend_from_slice(&[key, value, SAME]);
    }
}

impl OutputHeaders for Headers<'_> {
    #[inline]
    fn write(self, to: &mut Emitter<'_>, key: i32, value: i32) {
        if let [of_name, of_value] = *self.lengths {
            // A copy whose length is unknown at compile time is a function call.
            to.layout.extend_from_slice(&[key, value, 1, of_name, of_value]);
        } else {
            to.layout.extend_from_slice(&[key, value, length(self.len())]);
            to.layout.extend_from_slice(self.lengths);
        }
        to.append(self.data);
    }
}

impl<'h, I: IntoIterator<Item = Header<'h>>> OutputHeaders for I {
    fn write(self, to: &mut Emitter<'_>, key: i32, value: i32) {
        let count_at = to.layout.len() + 2;
        to.layout.extend_from_slice(&[key, value, 0]);
        for header in self {
            let name = to.field(Some(header.name));
            let value = to.field(header.value);
            to.layout.extend_from_slice(&[name, value]);
        }
        to.layout[count_at] = length((to.layout.len() - 1 - count_at) / 2);
    }
}

/// The return types that the closure of [`Output::write`] may have: `()` or a `Result`.
pub trait Written {
    /// Whether the output is emitted.
    fn is_kept(&self) -> bool;
}

impl Written for () {
    fn is_kept(&self) -> bool {
        true
    }
}

impl<T, E> Written for Result<T, E> {
    fn is_kept(&self) -> bool {
        self.is_ok()
    }
}
