//! A record as the plugin reads it. All fields borrow from the call's batch: reading copies nothing.

use std::iter::FusedIterator;

/// The length of a null.
pub(crate) const NULL: i32 = -1;

/// One record of a topic.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The topic that the record was read from.
    pub topic: &'a str,
    /// The partition that the record was read from.
    pub partition: u32,
    /// The record's offset in that partition. In a later step it is the offset of the input record that this record
    /// was made from.
    pub offset: i64,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp: Option<i64>,
    /// How many times the record was tried before; 0 the first time.
    pub attempt: u32,
    /// The key; `None` is null, which differs from empty.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone, which differs from empty.
    pub value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// The headers, in order.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The last header with this name, which is the one that counts if names repeat.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Header<'a>> {
        self.headers.iter().filter(|header| header.name == name.as_bytes()).last()
    }
}

/// One header. Names may repeat and need not be UTF-8, values may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The value; `None` is null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// A header with a value.
    #[must_use]
    pub fn new(name: &'a str, value: &'a [u8]) -> Header<'a> {
        Header { name: name.as_bytes(), value: Some(value) }
    }
}

/// The headers of a record. If they are passed to an output unchanged, they are copied in one piece.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// For each header the length of its name and of its value.
    pub(crate) lengths: &'a [i32],
    /// The bytes of the names and values, in the same order.
    pub(crate) data: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len() / 2
    }

    /// Whether there are no headers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The headers, in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'a> {
        Iter { left: *self }
    }
}

// Not implemented for `Headers` itself: an output would then copy the headers one by one.
impl<'a> IntoIterator for &Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// An iterator over the headers of a record.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    left: Headers<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let (&[name, value], lengths) = self.left.lengths.split_first_chunk()?;
        self.left.lengths = lengths;
        let name = take(&mut self.left.data, name).unwrap_or_default();
        let value = take(&mut self.left.data, value);
        Some(Header { name, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

/// The number of bytes, or of headers, for an entry of a layout: 0 for null and for "as in the input record".
#[inline]
pub(crate) fn bytes(length: i32) -> usize {
    usize::try_from(length).unwrap_or(0)
}

/// Splits a field of this length off the front of `data`; `None` is null.
///
/// # Panics
/// If `data` is shorter. The host never passes such a batch.
pub(crate) fn take<'a>(data: &mut &'a [u8], length: i32) -> Option<&'a [u8]> {
    let length = usize::try_from(length).ok()?;
    let (field, rest) = data.split_at(length);
    *data = rest;
    Some(field)
}
