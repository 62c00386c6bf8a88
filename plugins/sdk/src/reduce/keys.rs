//! The call of the contract's `keyer`, and what a plugin answers for a record.

use crate::Failure;
use crate::KeyBy;
use crate::bindings::keyer::exports::wasmill::plugin::keyer::Extracted;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::columns;
use crate::columns::Records;
use crate::emitter::SAME;
use crate::emitter::length;
use crate::metrics;
use crate::record::NULL;
use crate::reject;

/// The length of a record that has no key: it is dropped, or failed.
const DROPPED: i32 = SAME;

/// Takes the key of a record. Each method returns the [`Keyed`] to answer with.
#[derive(Debug)]
pub struct KeyBuffer<'a> {
    data: &'a mut Vec<u8>,
}

impl KeyBuffer<'_> {
    /// The record has this key.
    pub fn bytes(self, key: &[u8]) -> Keyed {
        self.data.extend_from_slice(key);
        Keyed { length: length(key.len()), time: None }
    }

    /// The record has the key that `write` appends.
    ///
    /// # Panics
    /// If `write` shortens the vector: it may only append.
    pub fn write(self, write: impl FnOnce(&mut Vec<u8>)) -> Keyed {
        let start = self.data.len();
        write(self.data);
        let bytes = self.data.len().checked_sub(start).expect("`write` may only append to the vector");
        Keyed { length: length(bytes), time: None }
    }

    /// The record has the null key, which is a key of its own.
    pub fn null(self) -> Keyed {
        Keyed { length: NULL, time: None }
    }

    /// The record is dropped, and counted.
    pub fn drop(self) -> Keyed {
        Keyed { length: DROPPED, time: None }
    }
}

/// The key of a record, made by a [`KeyBuffer`], and its time.
#[derive(Debug)]
#[must_use = "it is what `key` returns"]
pub struct Keyed {
    length: i32,
    time: Option<i64>,
}

impl Keyed {
    /// Sets the event time, in milliseconds since 1970-01-01 UTC. Without it that is the record's timestamp. A record whose time is
    /// negative is rejected with the code `no-time`.
    pub fn at(self, time: i64) -> Keyed {
        Keyed { time: Some(time), ..self }
    }
}

/// Finds the keys and times of a batch.
///
/// # Errors
/// The error that the plugin returns for the whole call.
pub(crate) fn keys<R: KeyBy>(plugin: &mut R, batch: &Batch) -> Result<Extracted, String> {
    metrics::reported(extract(plugin, batch))
}

// Out of line, as the loop of `columns`.
#[inline(never)]
fn extract<R: KeyBy>(plugin: &mut R, batch: &Batch) -> Result<Extracted, String> {
    let lengths = Vec::with_capacity(batch.offsets.len());
    let mut found = Extracted { lengths, data: Vec::new(), times: Vec::new(), failures: Vec::new() };
    for (index, record) in Records::new("", 0, batch).enumerate() {
        let start = found.data.len();
        let keyed = plugin.key(record, KeyBuffer { data: &mut found.data });
        match keyed.and_then(in_time) {
            Ok(Keyed { length, time }) => {
                found.lengths.push(length);
                if let Some(time) = time {
                    if found.times.is_empty() {
                        found.times.clone_from(&batch.timestamps);
                    }
                    found.times[index] = time;
                }
            }
            Err(Failure::Error { reason }) => return Err(reason),
            Err(failure) => {
                found.data.truncate(start);
                found.lengths.push(DROPPED);
                columns::push(&mut found.failures, index, failure);
            }
        }
    }
    Ok(found)
}

fn in_time(keyed: Keyed) -> Result<Keyed, Failure> {
    match keyed.time {
        Some(time) if time < 0 => Err(reject("no-time", format!("the event time is negative: {time}"))),
        _ => Ok(keyed),
    }
}

#[cfg(test)]
mod tests;
