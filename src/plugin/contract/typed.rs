//! Typed records: lowers a batch to messages, and converts the verdicts to the columns of an outcome.
//!
//! Anything that columns can express is validated later, so that both worlds have one validator. Only what columns
//! can't express is rejected here, with its record and output: a negative timestamp, for example, since -1 in a column
//! means the input's timestamp.

use std::borrow::Cow;
use std::sync::Arc;

use super::RawOutcome;
use super::failure;
use super::v1::typed::wasmill::plugin::records::Field;
use super::v1::typed::wasmill::plugin::records::HeaderParam;
use super::v1::typed::wasmill::plugin::records::HeaderResult;
use super::v1::typed::wasmill::plugin::records::Message;
use super::v1::typed::wasmill::plugin::records::Output;
use super::v1::typed::wasmill::plugin::records::Verdict;
use crate::batch::NULL;
use crate::batch::SAME;
use crate::batch::View;
use crate::outcome::Columns;

/// The result of a call: the plugin's verdicts, or its error for the whole call.
type Answer = wasmtime::Result<Result<Vec<Verdict>, String>>;

/// Converts the input to messages, calls a plugin with them, and converts its verdicts to columns.
pub(super) fn process(
    input: &View<'_>,
    step: &Arc<str>,
    call: impl FnOnce(&[Message<'_>]) -> Answer,
) -> wasmtime::Result<RawOutcome> {
    let records = || (0..input.len()).map(|index| input.record(index));
    // Names that are not UTF-8 get U+FFFD. The messages borrow the names from here.
    let names: Vec<Cow<'_, str>> =
        records().flat_map(|record| record.headers.iter().map(|header| String::from_utf8_lossy(header.name))).collect();
    let values = records().flat_map(|record| record.headers.iter().map(|header| header.value));
    let headers: Vec<HeaderParam<'_>> =
        names.iter().zip(values).map(|(name, value)| HeaderParam { name, value }).collect();
    let mut rest = &headers[..];
    let messages: Vec<Message<'_>> = records()
        .map(|record| {
            let (own, others) = rest.split_at(record.headers.len());
            rest = others;
            Message {
                offset: record.offset,
                timestamp: Some(record.timestamp).filter(|&timestamp| timestamp >= 0),
                attempt: record.attempt,
                key: record.key,
                value: record.value,
                headers: own,
            }
        })
        .collect();
    Ok(match call(&messages)? {
        Ok(verdicts) => columns(input.len(), verdicts, step).map_or_else(RawOutcome::Malformed, RawOutcome::Outcome),
        Err(text) => RawOutcome::Error(text),
    })
}

fn columns(records: usize, verdicts: Vec<Verdict>, step: &Arc<str>) -> Result<Columns, String> {
    if verdicts.len() != records {
        return Err(format!("{} verdicts for {records} records", verdicts.len()));
    }
    let mut columns = Columns::default();
    for (record, verdict) in (0..).zip(verdicts) {
        let mut count = 0;
        match verdict {
            Verdict::Forward(port) => {
                count = 1;
                columns.outputs.ports.push(port);
                columns.outputs.partitions.push(-1);
                columns.outputs.timestamps.push(-1);
                columns.outputs.layout.extend([SAME, SAME, SAME]);
            }
            Verdict::Emit(outputs) => {
                for output in outputs {
                    emit(&mut columns, &output)
                        .map_err(|broken| format!("record {record}, output {count}: {broken}"))?;
                    count += 1;
                }
            }
            Verdict::Drop => {}
            Verdict::Fail(why) => columns.failed.push((record, failure(why, step))),
        }
        columns.counts.push(count);
    }
    Ok(columns)
}

fn emit(columns: &mut Columns, output: &Output) -> Result<(), String> {
    let made = &mut columns.outputs;
    made.ports.push(output.port);
    made.partitions.push(match output.partition {
        Some(partition) => i32::try_from(partition).map_err(|_| format!("there is no partition {partition}"))?,
        None => -1,
    });
    made.timestamps.push(match output.timestamp {
        Some(timestamp) if timestamp < 0 => return Err(format!("the timestamp {timestamp} is before 1970")),
        Some(timestamp) => timestamp,
        None => -1,
    });
    // The lengths of key and value come before all headers, and the bytes in the order of the lengths.
    for field in [&output.key, &output.value] {
        made.layout.push(match field {
            Field::Same => SAME,
            Field::None => NULL,
            Field::Bytes(bytes) => append(&mut made.data, bytes)?,
        });
    }
    let Some(headers) = &output.headers else {
        made.layout.push(SAME);
        return Ok(());
    };
    made.layout.push(length(headers.len())?);
    for HeaderResult { name, value } in headers {
        made.layout.push(append(&mut made.data, name.as_bytes())?);
        made.layout.push(match value {
            Some(value) => append(&mut made.data, value)?,
            None => NULL,
        });
    }
    Ok(())
}

fn append(data: &mut Vec<u8>, bytes: &[u8]) -> Result<i32, String> {
    data.extend_from_slice(bytes);
    length(bytes.len())
}

fn length(length: usize) -> Result<i32, String> {
    i32::try_from(length).map_err(|_| format!("a length of {length} is beyond 2^31-1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::outcome;
    use crate::outcome::Caps;
    use crate::outcome::Outcome;
    use crate::plugin::contract::v1::columnar::wasmill::plugin::types;
    use crate::record::Header;
    use crate::record::TopicPartition;

    fn output() -> Output {
        Output { port: 0, key: Field::Same, value: Field::Same, headers: None, timestamp: None, partition: None }
    }

    fn batch() -> Batch {
        let mut batch = Batch::new(TopicPartition { topic: "orders".into(), partition: 3 });
        let headers = [Header { name: b"a\xff", value: Some(b"1") }, Header { name: b"b", value: None }];
        batch.push(7, -1, 2, None, Some(b"value"), headers.iter().copied());
        batch.push(9, 0, 0, Some(b""), None, headers.iter().copied().take(1));
        batch
    }

    /// The outcome of a plugin that returns `verdicts`.
    fn outcome(verdicts: Vec<Verdict>) -> Result<Outcome, String> {
        let batch = batch();
        let step = "mask".into();
        match process(&batch.view(), &step, |_| Ok(Ok(verdicts))).unwrap() {
            RawOutcome::Outcome(columns) => outcome::check(
                &batch.view(),
                columns,
                2,
                Caps { outputs: 4, bytes: 100, outputs_per_record: 4, bytes_per_record: 100 },
            ),
            RawOutcome::Malformed(text) | RawOutcome::Error(text) => Err(text),
        }
    }

    #[test]
    fn messages_have_the_content_of_the_records() {
        let batch = batch();
        let mut seen = 0;
        let returned = process(&batch.view(), &"mask".into(), |messages| {
            seen = messages.len();
            let [first, second] = messages else { panic!("two records") };
            assert_eq!((first.offset, first.timestamp, first.attempt), (7, None, 2));
            assert_eq!((first.key, first.value), (None, Some(&b"value"[..])));
            let headers: Vec<_> = first.headers.iter().map(|header| (header.name, header.value)).collect();
            assert_eq!(headers, [("a\u{fffd}", Some(&b"1"[..])), ("b", None)]);
            assert_eq!((second.offset, second.timestamp, second.key, second.value), (9, Some(0), Some(&b""[..]), None));
            assert_eq!(second.headers.len(), 1);
            Ok(Err("no".into()))
        });
        assert!(matches!(returned, Ok(RawOutcome::Error(text)) if text == "no"));
        assert_eq!(seen, 2);
    }

    #[test]
    fn verdicts_become_the_equivalent_columns() {
        let headers = Some(vec![
            HeaderResult { name: "h".into(), value: None },
            HeaderResult { name: String::new(), value: Some(b"v".to_vec()) },
        ]);
        let written = Output {
            port: 1,
            key: Field::Bytes(b"k".to_vec()),
            value: Field::None,
            headers,
            timestamp: Some(0),
            partition: Some(5),
        };
        let made = outcome(vec![Verdict::Emit(vec![output(), written]), Verdict::Forward(1)]).unwrap();
        let batch = batch();
        let all: Vec<_> = (0..3).map(|index| made.outputs.resolve(index, &batch, 0)).collect();
        assert_eq!((all[0].parent, all[0].port, all[0].value, all[0].timestamp), (0, 0, Some(&b"value"[..]), -1));
        assert!(all[0].headers.iter().eq(batch.record(0).headers.iter()), "bytes that are no text go on");
        assert_eq!((all[1].parent, all[1].port, all[1].key, all[1].value), (0, 1, Some(&b"k"[..]), None));
        assert_eq!((all[1].timestamp, all[1].partition), (0, Some(5)));
        let headers: Vec<_> = all[1].headers.iter().map(|header| (header.name, header.value)).collect();
        assert_eq!(headers, [(&b"h"[..], None), (&b""[..], Some(&b"v"[..]))]);
        assert_eq!((all[2].parent, all[2].port, all[2].value), (1, 1, None));
        let reject = types::Failure::Reject(types::Reject { code: "bad".into(), reason: "why".into() });
        let made = outcome(vec![Verdict::Drop, Verdict::Fail(reject)]).unwrap();
        assert!(made.outputs.is_empty());
        assert_eq!((made.failed[0].index, &*made.failed[0].failure.code), (1, "bad"));
    }

    #[test]
    fn each_malformed_answer_has_its_own_message() {
        let emit = |outputs| vec![Verdict::Drop, Verdict::Emit(outputs)];
        for (verdicts, message) in [
            (vec![Verdict::Drop], "1 verdicts for 2 records"),
            (vec![Verdict::Drop, Verdict::Drop, Verdict::Drop], "3 verdicts for 2 records"),
            (vec![Verdict::Forward(2), Verdict::Drop], "output 0 names port 2, but there are 2 ports"),
            (emit(vec![output(), Output { port: 7, ..output() }]), "output 1 names port 7, but there are 2 ports"),
            (
                emit(vec![output(), Output { timestamp: Some(-1), ..output() }]),
                "record 1, output 1: the timestamp -1 is before 1970",
            ),
            (
                emit(vec![Output { partition: Some(1 << 31), ..output() }]),
                "record 1, output 0: there is no partition 2147483648",
            ),
            (emit((0..5).map(|_| output()).collect()), "5 outputs in one call, where 4 are allowed"),
            (
                emit(vec![Output { value: Field::Bytes(vec![0; 101]), ..output() }]),
                "the outputs have 104 bytes, counting what they take from the input, where 100 are allowed",
            ),
        ] {
            assert_eq!(outcome(verdicts).unwrap_err(), message);
        }
    }
}
