//! Keys and values on their way to the producer, in one arena.

use std::ops::Range;

use crate::record::Headers;
use crate::record::OutRecord;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    data: Vec<u8>,
    /// The first row that was not sent.
    next: usize,
}

#[derive(Clone, Debug)]
struct Row {
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

impl Rows {
    /// Adds a row. `value` appends the bytes of the value; if it returns an error, nothing is added.
    pub(super) fn push<E>(
        &mut self,
        key: Option<&[u8]>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let start = self.data.len();
        self.data.extend_from_slice(key.unwrap_or_default());
        let middle = self.data.len();
        match value(&mut self.data) {
            Ok(is_value) => {
                let end = self.data.len();
                let row = Row { key: key.map(|_| start..middle), value: is_value.then_some(middle..end) };
                self.rows.push(row);
                Ok(())
            }
            Err(error) => {
                self.data.truncate(start);
                Err(error)
            }
        }
    }

    /// The next row to be sent, with this timestamp.
    pub(super) fn peek(&self, timestamp: i64) -> Option<OutRecord<'_>> {
        let row = self.rows.get(self.next)?;
        let of = |range: &Option<Range<usize>>| range.clone().map(|range| &self.data[range]);
        Some(OutRecord {
            parent: 0,
            port: 0,
            topic: None,
            partition: None,
            timestamp,
            key: of(&row.key),
            value: of(&row.value),
            headers: Headers::default(),
        })
    }

    /// The next row was sent.
    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    /// Whether all rows were sent.
    pub(super) fn is_done(&self) -> bool {
        self.next >= self.rows.len()
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.data.clear();
        self.next = 0;
    }
}
