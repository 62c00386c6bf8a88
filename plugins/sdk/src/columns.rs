//! The loop between the contract's columns and a plugin: takes a batch, passes it on record by record, and
//! returns an outcome.

use crate::Failure;
use crate::Transform;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::bindings::wasmill::plugin::columns::Failed;
use crate::bindings::wasmill::plugin::columns::Outcome;
use crate::bindings::wasmill::plugin::types;
use crate::emitter::Emitter;
use crate::metrics;
use crate::record::Headers;
use crate::record::NULL;
use crate::record::Record;
use crate::record::bytes;

/// Runs a batch. Counters are reported to the host at its end, or discarded if the call fails.
///
/// # Errors
/// The error that the plugin returns for the whole call; all results of the call are discarded.
///
/// # Panics
/// If the columns don't match each other. The host never passes such a batch.
pub(crate) fn run<T: Transform>(plugin: &mut T, source: &types::Source, batch: &Batch) -> Result<Outcome, String> {
    metrics::reported(transform(plugin, source, batch))
}

// Out of line: inlined into the exported function, the values of the loop would not stay in registers.
#[inline(never)]
fn transform<T: Transform>(plugin: &mut T, source: &types::Source, batch: &Batch) -> Result<Outcome, String> {
    let mut out = Emitter::new(batch.layout.len(), &batch.data);
    let mut counts = vec![0; batch.offsets.len()];
    let mut failures = Vec::new();
    let mut rest = Rest { layout: &batch.layout, data: &batch.data };
    let numbers = batch.offsets.iter().zip(&batch.timestamps).zip(&batch.attempts);
    for (index, (((&offset, &timestamp), &attempt), count)) in numbers.zip(&mut counts).enumerate() {
        let (key, value, headers) = rest.next();
        let timestamp = (timestamp != i64::from(NULL)).then_some(timestamp);
        let partition = source.partition;
        let record = Record { topic: &source.topic, partition, offset, timestamp, attempt, key, value, headers };
        let before = out.outputs;
        match plugin.process(record, &mut out) {
            Ok(()) => *count = out.outputs - before,
            Err(Failure::Error { reason }) => return Err(reason),
            Err(failure) => {
                out.take_back(before);
                push(&mut failures, index, failure);
            }
        }
    }
    out.finish();
    let Emitter { ports, partitions, timestamps, layout, data, .. } = out;
    Ok(Outcome { counts, ports, partitions, timestamps, layout, data, failures })
}

/// The records of a batch, in order.
#[cfg(feature = "state")]
#[derive(Clone)]
pub(crate) struct Records<'a> {
    topic: &'a str,
    partition: u32,
    batch: &'a Batch,
    next: usize,
    rest: Rest<'a>,
}

#[cfg(feature = "state")]
impl<'a> Records<'a> {
    pub(crate) fn new(topic: &'a str, partition: u32, batch: &'a Batch) -> Records<'a> {
        Records { topic, partition, batch, next: 0, rest: Rest { layout: &batch.layout, data: &batch.data } }
    }
}

#[cfg(feature = "state")]
impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    /// # Panics
    /// If the columns don't match each other. The host never passes such a batch.
    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let index = self.next;
        let &offset = self.batch.offsets.get(index)?;
        self.next += 1;
        let (timestamp, attempt) = (self.batch.timestamps[index], self.batch.attempts[index]);
        let timestamp = (timestamp != i64::from(NULL)).then_some(timestamp);
        let (key, value, headers) = self.rest.next();
        let (topic, partition) = (self.topic, self.partition);
        Some(Record { topic, partition, offset, timestamp, attempt, key, value, headers })
    }
}

/// The lengths and bytes of the remaining records.
#[derive(Clone)]
struct Rest<'a> {
    layout: &'a [i32],
    data: &'a [u8],
}

impl<'a> Rest<'a> {
    /// The key, the value and the headers of the next record.
    ///
    /// # Panics
    /// If no record is left in the columns.
    #[inline]
    fn next(&mut self) -> (Option<&'a [u8]>, Option<&'a [u8]>, Headers<'a>) {
        let (&[key, value, headers], rest) =
            self.layout.split_first_chunk().expect("the host's layout names each record");
        let (lengths, rest) = rest.split_at(bytes(headers) * 2);
        self.layout = rest;
        // Splits off all bytes of the record first: otherwise each split would wait for the previous one.
        let (own, rest) = self.data.split_at(bytes(key) + bytes(value) + bytes_of(lengths));
        self.data = rest;
        let (of_key, own) = own.split_at(bytes(key));
        let (of_value, data) = own.split_at(bytes(value));
        ((key >= 0).then_some(of_key), (value >= 0).then_some(of_value), Headers { lengths, data })
    }
}

/// The number of bytes of the headers. Most records have none or one, for which a loop costs more than two additions.
#[inline]
fn bytes_of(lengths: &[i32]) -> usize {
    if lengths.len() > 2 {
        return lengths.iter().copied().map(bytes).sum();
    }
    if let [name, value] = *lengths { bytes(name) + bytes(value) } else { 0 }
}

/// Notes that a record failed.
#[cold]
pub(crate) fn push(failures: &mut Vec<Failed>, index: usize, failure: Failure) {
    let index = u32::try_from(index).expect("a call has fewer than 2^32 records");
    failures.push(Failed { index, failure: to_contract(failure) });
}

fn to_contract(failure: Failure) -> types::Failure {
    match failure {
        Failure::Reject { code, reason } => types::Failure::Reject(types::Reject { code: code.into_owned(), reason }),
        Failure::Retry { delay, reason } => {
            let delay_ms = delay.map(|delay| u32::try_from(delay.as_millis()).unwrap_or(u32::MAX));
            types::Failure::Retry(types::Retry { delay_ms, reason })
        }
        Failure::Error { reason } => types::Failure::Reject(types::Reject { code: "error".to_owned(), reason }),
    }
}

#[cfg(test)]
mod tests;
