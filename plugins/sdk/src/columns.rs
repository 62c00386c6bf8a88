//! The one loop between the contract's columns and a plugin: a batch in, record by record, and an outcome out.

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
use crate::record::take;

/// Runs a batch. The counters that its records add to are handed over at its end, or forgotten if it fails.
///
/// # Errors
/// What the plugin says of the whole call; the effects of all its records are dropped.
///
/// # Panics
/// If the columns don't fit each other: the host never passes such a batch.
pub(crate) fn run<T: Transform>(plugin: &mut T, source: &types::Source, batch: &Batch) -> Result<Outcome, String> {
    let outcome = transform(plugin, source, batch);
    match outcome {
        Ok(_) => metrics::flush(),
        Err(_) => metrics::forget(),
    }
    outcome
}

fn transform<T: Transform>(plugin: &mut T, source: &types::Source, batch: &Batch) -> Result<Outcome, String> {
    let mut out = Emitter::new(batch.layout.len(), &batch.data);
    let mut counts = Vec::with_capacity(batch.offsets.len());
    let mut failures = Vec::new();
    for (index, record) in (0..).zip(records(source, batch)) {
        let mark = out.mark();
        match plugin.process(record, &mut out) {
            Ok(()) => counts.push(out.since(mark)),
            Err(Failure::Error { reason }) => return Err(reason),
            Err(failure) => {
                out.take_back(mark);
                counts.push(0);
                failures.push(Failed { index, failure: to_contract(failure) });
            }
        }
    }
    out.flush();
    let Emitter { ports, partitions, timestamps, layout, data, .. } = out;
    Ok(Outcome { counts, ports, partitions, timestamps, layout, data, failures })
}

/// The records of a batch, in order.
fn records<'a>(source: &'a types::Source, batch: &'a Batch) -> impl Iterator<Item = Record<'a>> {
    let mut layout = &batch.layout[..];
    let mut data = &batch.data[..];
    batch.offsets.iter().zip(&batch.timestamps).zip(&batch.attempts).map(move |((&offset, &timestamp), &attempt)| {
        let (&[key, value, headers], rest) = layout.split_first_chunk().expect("the host's layout names each record");
        let (lengths, rest) = rest.split_at(usize::try_from(headers).unwrap_or(0) * 2);
        layout = rest;
        let key = take(&mut data, key);
        let value = take(&mut data, value);
        let bytes = bytes_of(lengths);
        let headers = Headers { lengths, data: take(&mut data, bytes).unwrap_or_default() };
        let timestamp = (timestamp != i64::from(NULL)).then_some(timestamp);
        Record { topic: &source.topic, partition: source.partition, offset, timestamp, attempt, key, value, headers }
    })
}

/// The bytes of headers. Mostly there are few, and a loop costs more than two additions.
#[inline]
fn bytes_of(lengths: &[i32]) -> i32 {
    match *lengths {
        [] => 0,
        [name, value] => name.max(0) + value.max(0),
        _ => lengths.iter().map(|&length| length.max(0)).sum(),
    }
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
