//! Reads a dead-letter topic once, without joining its group.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::Letter;
use crate::batch::Batch;
use crate::kafka::Consumer;
use crate::kafka::consumer::ConsumerEvent;
use crate::kafka::consumer::FetchedRecord;
use crate::kafka::consumer::Next;
use crate::kafka::consumer::Position;
use crate::kafka::consumer::Records;
use crate::kafka::consumer::WaitResult;
use crate::kafka::probe::Unanswered;
use crate::kafka::topic_reader::PartitionLog;
use crate::kafka::topic_reader::TopicReader;
use crate::record::Offset;
use crate::record::TopicPartition;
use crate::worker::clock;

/// A partition that brings nothing for this long isn't waited for any longer.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// The most records taken at once.
const TAKEN_MAX: usize = 1000;
/// How long one wait for a record takes.
const WAIT_MS: i32 = 100;

/// Passes every record from the given offsets, by partition, to the ends of the logs to `see`: its partition, its offset, and the
/// dead letter if it is one. Records of a partition come in order. `see` may end it early.
///
/// # Errors
/// If the brokers don't deliver what they say there is.
pub fn read(
    topic: &TopicReader,
    logs: &[PartitionLog],
    from: &BTreeMap<i32, i64>,
    mut see: impl FnMut(i32, i64, Option<Letter>) -> ControlFlow<()>,
) -> Result<(), Unanswered> {
    let start = |log: &PartitionLog| from.get(&log.partition.partition).copied().unwrap_or(0).max(log.oldest.0);
    let mut open: BTreeMap<i32, &PartitionLog> =
        logs.iter().filter(|log| start(log) < log.end.0).map(|log| (log.partition.partition, log)).collect();
    let position = |log: &PartitionLog| Position {
        partition: log.partition.clone(),
        offset: Offset(start(log)),
        leader_epoch: -1,
        note: "".into(),
    };
    let positions: Vec<Position> = open.values().map(|log| position(log)).collect();
    let consumer = topic.consumer();
    consumer.assign(&positions).map_err(Unanswered::Refused)?;
    let mut scratch = Scratch::default();
    let mut heard = clock::now();
    while !open.is_empty() {
        let Fetched { mut records, .. } = fetch(consumer, TAKEN_MAX);
        let mut is_quiet = true;
        while let Some(next) = records.as_mut().and_then(|records| records.next_with(|record| scratch.letter(record))) {
            let Next::Record((partition, offset, letter)) = next else { continue };
            is_quiet = false;
            if open.get(&partition).is_some_and(|log| offset < log.end.0) && see(partition, offset, letter).is_break() {
                return Ok(());
            }
        }
        // Behind the last record there may be control records.
        open.retain(|_, log| consumer.position(&log.partition).is_none_or(|position| position < log.end));
        if !is_quiet {
            heard = clock::now();
        } else if heard.elapsed() > QUIET_MAX {
            let log = open.values().next().map(|log| log.partition.to_string()).unwrap_or_default();
            return Err(Unanswered::Unreached(format!("{log} brings no more records, and isn't at its end")));
        }
    }
    Ok(())
}

/// What a consumer had.
pub(super) struct Fetched {
    pub(super) records: Option<Records>,
    pub(super) event: Option<ConsumerEvent>,
}

/// Takes what is there, and waits for a moment if there is nothing.
pub(super) fn fetch(consumer: &Consumer, most: usize) -> Fetched {
    if let Some(event) = consumer.poll() {
        return Fetched { records: None, event: Some(event) };
    }
    let records = consumer.take(most);
    if !records.is_empty() {
        return Fetched { records: Some(records), event: None };
    }
    match consumer.wait(WAIT_MS) {
        Some(WaitResult::Records(records)) => Fetched { records: Some(records), event: None },
        Some(WaitResult::Other(event)) => Fetched { records: None, event: Some(event) },
        None => Fetched { records: None, event: None },
    }
}

/// Reads fetched records, and keeps the memory.
#[derive(Default)]
pub(super) struct Scratch(Option<Batch>);

impl Scratch {
    /// The place of a record, and the dead letter if it is one.
    pub(super) fn letter(&mut self, record: &FetchedRecord<'_>) -> (i32, i64, Option<Letter>) {
        let source = TopicPartition { topic: "".into(), partition: record.partition };
        let batch = self.0.get_or_insert_with(|| Batch::new(source.clone()));
        batch.reset(source);
        record.copy_to(batch, 0);
        (record.partition, record.offset, Letter::read(record.partition, &batch.record(0)))
    }
}
