//! Where a plugin puts its outputs: they are written straight into the columns that go back to the host.
//!
//! What an output takes over from its input is written as a reference, which copies nothing. A column of ports,
//! partitions or timestamps stays empty while all its entries are the default. Bytes of the input that are copied one after
//! the other are copied at once, as a copy in WebAssembly costs a call out of it, however short it is. Invariant: between two
//! outputs the columns are whole but for the bytes in `pending`; an output is either in all of them or, taken back, in none.

use std::ops::Range;

use crate::record::Header;
use crate::record::Headers;
use crate::record::NULL;

/// The length or number that means "as in the input record".
pub(crate) const SAME: i32 = -2;
const DEFAULT_PORT: u32 = 0;
const ANY_PARTITION: i32 = -1;
const INPUT_TIMESTAMP: i64 = -1;

/// Takes the outputs of records. Records that emit nothing are dropped, which is a success.
#[derive(Debug)]
pub struct Emitter<'b> {
    pub(crate) outputs: u32,
    pub(crate) ports: Vec<u32>,
    pub(crate) partitions: Vec<i32>,
    pub(crate) timestamps: Vec<i64>,
    pub(crate) layout: Vec<i32>,
    pub(crate) data: Vec<u8>,
    /// The bytes of the call's records.
    input: &'b [u8],
    /// Those of them that come next in `data`.
    pending: Range<usize>,
    /// Whether ports, partitions and timestamps are all empty so far: one look instead of three.
    plain: bool,
}

/// A point to go back to. The columns with one entry for each output need none of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    outputs: u32,
    plain: bool,
    layout: usize,
    data: usize,
}

impl<'b> Emitter<'b> {
    /// An emitter with room for outputs of the size of its inputs.
    pub(crate) fn new(layout: usize, input: &'b [u8]) -> Emitter<'b> {
        Emitter {
            outputs: 0,
            ports: Vec::new(),
            partitions: Vec::new(),
            timestamps: Vec::new(),
            layout: Vec::with_capacity(layout),
            data: Vec::new(),
            input,
            pending: 0..0,
            plain: true,
        }
    }

    /// Emits the record as it came. `port` is an index into the ports given to `init`; 0 is the default port.
    pub fn forward(&mut self, port: u32) {
        self.columns(port, None, None);
        self.layout.extend_from_slice(&[SAME, SAME, SAME]);
    }

    /// Begins an output that is like the input but for what is set. It is emitted by [`Output::send`], [`Output::value`]
    /// or [`Output::write`].
    pub fn output(&mut self, port: u32) -> Output<'_, 'b> {
        Output { to: self, port, key: None, headers: Unchanged, timestamp: None, partition: None }
    }

    /// How many outputs the call has so far.
    pub(crate) fn mark(&self) -> Mark {
        let data = self.data.len() + self.pending.len();
        Mark { outputs: self.outputs, plain: self.plain, layout: self.layout.len(), data }
    }

    /// Takes back all that was emitted since.
    pub(crate) fn take_back(&mut self, mark: Mark) {
        self.flush();
        self.outputs = mark.outputs;
        self.plain = mark.plain;
        let outputs = if mark.plain { 0 } else { mark.outputs as usize };
        self.ports.truncate(outputs);
        self.partitions.truncate(outputs);
        self.timestamps.truncate(outputs);
        self.layout.truncate(mark.layout);
        self.data.truncate(mark.data);
    }

    /// The number of outputs since.
    pub(crate) fn since(&self, mark: Mark) -> u32 {
        self.outputs - mark.outputs
    }

    fn columns(&mut self, port: u32, partition: Option<i32>, timestamp: Option<i64>) {
        if self.plain && port == DEFAULT_PORT && partition.is_none() && timestamp.is_none() {
            self.outputs += 1;
            return;
        }
        self.plain = false;
        push(&mut self.ports, self.outputs, port, DEFAULT_PORT);
        push(&mut self.partitions, self.outputs, partition.unwrap_or(ANY_PARTITION), ANY_PARTITION);
        push(&mut self.timestamps, self.outputs, timestamp.unwrap_or(INPUT_TIMESTAMP), INPUT_TIMESTAMP);
        self.outputs += 1;
    }

    /// Copies a field in; its length for the layout.
    #[inline]
    fn field(&mut self, field: Option<&[u8]>) -> i32 {
        let Some(bytes) = field else { return NULL };
        self.append(bytes);
        length(bytes.len())
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        let end = self.pending.end;
        if self.place(bytes) == end && bytes.len() <= self.input.len() - end {
            self.pending.end = end + bytes.len();
        } else {
            self.append_other(bytes);
        }
    }

    /// Appends bytes that don't follow those before them in the input. Out of line, so that the common case is not.
    #[inline(never)]
    fn append_other(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.flush();
        let at = self.place(bytes);
        if at < self.input.len() && bytes.len() <= self.input.len() - at {
            self.pending = at..at + bytes.len();
        } else {
            self.room();
            self.data.extend_from_slice(bytes);
        }
    }

    /// Where bytes begin in the input, if they lie in it: what lies elsewhere gets a figure above its length.
    #[inline]
    fn place(&self, bytes: &[u8]) -> usize {
        bytes.as_ptr().addr().wrapping_sub(self.input.as_ptr().addr())
    }

    /// Copies what is pending. After it `data` is whole.
    pub(crate) fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.room();
            let pending = self.pending.clone();
            self.pending.start = pending.end;
            self.data.extend_from_slice(&self.input[pending]);
        }
    }

    fn room(&mut self) {
        if self.data.capacity() == 0 {
            self.data.reserve(self.input.len());
        }
    }
}

/// Adds to a column that may stay empty while all its entries are `default`.
fn push<T: Copy + PartialEq>(column: &mut Vec<T>, entries: u32, entry: T, default: T) {
    if !column.is_empty() {
        column.push(entry);
    } else if entry != default {
        column.reserve(entries as usize + 1);
        column.extend(std::iter::repeat_n(default, entries as usize));
        column.push(entry);
    }
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a field of a Kafka record is shorter than 2^31 bytes")
}

/// An output that is being made. Nothing is emitted before one of [`send`](Output::send), [`value`](Output::value) and
/// [`write`](Output::write).
#[derive(Debug)]
#[must_use = "an output is emitted by `send`, `value` or `write`"]
pub struct Output<'a, 'b, H = Unchanged> {
    to: &'a mut Emitter<'b>,
    port: u32,
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

    /// Sets the headers, all of them. To add one: `record.headers().iter().chain([Header::new("name", b"value")])`.
    pub fn headers<I: OutputHeaders>(self, headers: I) -> Output<'a, 'b, I> {
        let Output { to, port, key, headers: _, timestamp, partition } = self;
        Output { to, port, key, headers, timestamp, partition }
    }

    /// Sets the timestamp, in milliseconds since 1970-01-01 UTC.
    ///
    /// # Panics
    /// If it is negative.
    pub fn timestamp(self, timestamp: i64) -> Output<'a, 'b, H> {
        assert!(timestamp >= 0, "a timestamp must not be negative, but it is {timestamp}");
        Output { timestamp: Some(timestamp), ..self }
    }

    /// Sets the partition; else the output's partitioner chooses.
    ///
    /// # Panics
    /// If it is above 2^31-1, which no partition of Kafka's is.
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

    /// Emits the output with the value that `write` appends, which saves a copy. If it returns an `Err`, the output is not
    /// emitted.
    ///
    /// # Panics
    /// If `write` makes the vector shorter than it was: it may only append.
    pub fn write<R: Written>(mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mark = self.to.mark();
        let key = self.start();
        self.to.flush();
        self.to.room();
        let start = self.to.data.len();
        let written = write(&mut self.to.data);
        let bytes = self.to.data.len().checked_sub(start).expect("`write` may only append to the vector");
        if written.is_kept() {
            self.finish(key, length(bytes));
        } else {
            self.to.take_back(mark);
        }
        written
    }

    /// Writes the key; its length. The value's bytes come next.
    fn start(&mut self) -> i32 {
        self.key.map_or(SAME, |key| self.to.field(key))
    }

    fn finish(self, key: i32, value: i32) {
        let Output { to, port, key: _, headers, timestamp, partition } = self;
        to.columns(port, partition, timestamp);
        to.layout.extend_from_slice(&[key, value, SAME]);
        headers.write(to);
    }
}

/// The headers of an output as they are in its input.
#[derive(Clone, Copy, Debug)]
pub struct Unchanged;

/// What [`Output`] can take its headers from: [`Unchanged`], a record's [`Headers`], or any iterator over [`Header`]s.
pub trait OutputHeaders {
    #[doc(hidden)]
    fn write(self, to: &mut Emitter<'_>);
}

impl OutputHeaders for Unchanged {
    fn write(self, _: &mut Emitter<'_>) {}
}

impl OutputHeaders for Headers<'_> {
    fn write(self, to: &mut Emitter<'_>) {
        if let Some(count) = to.layout.last_mut() {
            *count = length(self.len());
        }
        // Two by two: a copy of any other length is a call.
        for &pair in self.lengths.as_chunks::<2>().0 {
            to.layout.extend_from_slice(&pair);
        }
        to.append(self.data);
    }
}

impl<'h, I: IntoIterator<Item = Header<'h>>> OutputHeaders for I {
    fn write(self, to: &mut Emitter<'_>) {
        let count_at = to.layout.len() - 1;
        for header in self {
            let name = to.field(Some(header.name));
            let value = to.field(header.value);
            to.layout.extend_from_slice(&[name, value]);
        }
        to.layout[count_at] = length((to.layout.len() - 1 - count_at) / 2);
    }
}

/// What the closure of [`Output::write`] may return: nothing, or a `Result`.
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
