//! How large a record is for the broker, and whether its topic accepts it.
//!
//! The broker measures a whole batch, here uncompressed: the batch header, and each record with its lengths. A record
//! above its topic's limit is refused together with all records of its request, so it must be found before it is sent.

use crate::record::OutRecord;

/// The assumed size limit of a topic whose limit is unknown. Kafka's default is slightly larger.
pub const ASSUMED: usize = 1_000_000;
/// The header of a batch in Kafka's format 2.
const BATCH_HEADER: usize = 61;
/// Attributes, timestamp delta and offset delta, for the first record of a batch.
const RECORD_FIXED: usize = 3;
/// The maximum size of an encoded length.
const LENGTH_MAX: usize = 5;

/// The maximum number of bytes that the encoding adds to a record with this number of headers.
#[must_use]
pub fn overhead_max(headers: usize) -> usize {
    BATCH_HEADER + RECORD_FIXED + 4 * LENGTH_MAX + headers.saturating_mul(2 * LENGTH_MAX)
}

/// Whether the record fits into a topic that accepts batches of `limit` bytes.
#[must_use]
pub fn fits(record: &OutRecord<'_>, limit: usize) -> bool {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let most = length(record.key) + length(record.value) + record.headers.data().len();
    most + overhead_max(record.headers.len()) <= limit || batch_bytes(record) <= limit
}

/// The size of a batch that holds this record alone.
#[must_use]
pub fn batch_bytes(record: &OutRecord<'_>) -> usize {
    let field = |bytes: Option<&[u8]>| bytes.map_or(1, |bytes| varint(signed(bytes.len())) + bytes.len());
    let headers: usize = record.headers.iter().map(|header| field(Some(header.name)) + field(header.value)).sum();
    let count = varint(signed(record.headers.len()));
    let body = RECORD_FIXED + field(record.key) + field(record.value) + count + headers;
    BATCH_HEADER + varint(signed(body)) + body
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// The encoded size of a number as a Kafka varint.
fn varint(number: i64) -> usize {
    let zigzag = ((number << 1) ^ (number >> 63)).cast_unsigned();
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Headers;

    fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>, headers: Headers<'a>) -> OutRecord<'a> {
        OutRecord { parent: 0, port: 0, topic: None, partition: None, timestamp: 0, key, value, headers }
    }

    #[test]
    fn a_batch_is_as_large_as_kafka_makes_it() {
        // Header 61; the record's length 1, fixed 3, null key 1, null value 1, no headers 1.
        assert_eq!(batch_bytes(&record(None, None, Headers::default())), 68);
        // A value of 100 takes a length of two bytes, and so does the record.
        let value = vec![0; 100];
        assert_eq!(batch_bytes(&record(Some(b"k"), Some(&value), Headers::default())), 61 + 2 + 3 + 2 + 102 + 1);
        // A header with a name of one byte and null.
        assert_eq!(batch_bytes(&record(None, None, Headers::new(&[1, -1], b"n"))), 68 + 3);
    }

    #[test]
    fn a_record_of_exactly_the_limit_fits() {
        let value = vec![0; 5000];
        let record = record(Some(b"key"), Some(&value), Headers::new(&[1, 2], b"nvv"));
        let bytes = batch_bytes(&record);
        assert!(fits(&record, bytes));
        assert!(!fits(&record, bytes - 1));
        assert!(fits(&record, usize::MAX));
    }
}
