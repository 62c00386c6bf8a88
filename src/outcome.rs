//! What a plugin returned for its records, and the check that the contract allows it.
//!
//! [`check`] is the only validator of the columnar contract. An outcome that passes can be read without further checks; an outcome
//! that violates the contract is refused as a whole, with a message for each rule. Pure; it never panics, whatever the columns
//! hold. It doesn't decide what follows from a refusal: the caller treats it as a fault of the call, like a trap.

use crate::batch::End;
use crate::batch::NO_TOPIC;
use crate::batch::NULL;
use crate::batch::OutputColumns;
use crate::batch::Outputs;
use crate::batch::SAME;
use crate::batch::View;
use crate::failure::Failure;

/// A checked outcome: outputs in input order, failures by ascending index, and no record in both.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The outputs of all records.
    pub outputs: Outputs,
    /// The records that failed.
    pub failed: Vec<Failed>,
}

/// A record for which the plugin returned a reject or a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The record's index in the call's input.
    pub index: usize,
    /// Why.
    pub failure: Failure,
}

/// An outcome as the guest returned it.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// The number of outputs of each input record.
    pub counts: Vec<u32>,
    /// The outputs.
    pub outputs: OutputColumns,
    /// The records that failed.
    pub failed: Vec<(u32, Failure)>,
}

/// Limits on one call's outcome. They are checked before anything is copied or queued, since a few bytes can refer to a large
/// input value a million times.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// The maximum number of outputs.
    pub outputs: u64,
    /// The maximum size of all outputs, with references resolved.
    pub bytes: u64,
    /// The maximum number of outputs of one record.
    pub outputs_per_record: u64,
    /// The maximum size of the outputs of one record, with references resolved.
    pub bytes_per_record: u64,
}

/// Checks an outcome of `input` for a step that has `ports` ports.
///
/// # Errors
/// The violated rule, with index and numbers: a lowercase fragment.
pub fn check(input: &View<'_>, columns: Columns, ports: u32, caps: Caps) -> Result<Outcome, String> {
    let Columns { counts, mut outputs, failed } = columns;
    let n = input.len();
    if counts.len() != n {
        return Err(format!("`counts` has {} entries for {n} records", counts.len()));
    }
    let m: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    if m > caps.outputs {
        return Err(format!("{m} outputs in one call, where {} are allowed", caps.outputs));
    }
    if m > caps.outputs_per_record {
        count_per_record(&counts, caps)?;
    }
    column_length("ports", outputs.ports.len(), m)?;
    column_length("partitions", outputs.partitions.len(), m)?;
    column_length("timestamps", outputs.timestamps.len(), m)?;
    let of_topics = match outputs.ports.iter().position(|&port| port >= ports) {
        Some(first) => topics(&mut outputs, first, ports)?,
        None => Vec::new(),
    };
    if let Some((index, partition)) = outputs.partitions.iter().enumerate().find(|&(_, &partition)| partition < -1) {
        return Err(format!("output {index} names partition {partition}"));
    }
    if let Some((index, timestamp)) = outputs.timestamps.iter().enumerate().find(|&(_, &timestamp)| timestamp < -1) {
        return Err(format!("output {index} has the timestamp {timestamp}"));
    }
    check_failed(n, &failed)?;
    for &(index, _) in &failed {
        if let Some(&count) = counts.get(index as usize).filter(|&&count| count != 0) {
            return Err(format!("record {index} failed, but has {count} outputs"));
        }
    }

    let records = u32::try_from(n).map_err(|_| "more than 2^32 records".to_owned())?;
    // The common case: each record has one output or none.
    let singly = counts.iter().fold(0, |all, &count| all | count) <= 1;
    let parents = if m == u64::from(records) && singly {
        (0..records).collect()
    } else if singly {
        some_of(&counts)
    } else {
        let mut parents = Vec::with_capacity(usize::try_from(m).unwrap_or(0));
        for (index, &count) in (0..records).zip(&counts) {
            parents.extend(std::iter::repeat_n(index, count as usize));
        }
        parents
    };
    let ends = if forwards(input, &outputs, &parents, singly, caps) {
        Vec::new()
    } else {
        check_layout(input, &outputs, &parents, caps)?
    };
    let failed = failed.into_iter().map(|(index, failure)| Failed { index: index as usize, failure }).collect();
    Ok(Outcome { outputs: Outputs::from_checked(outputs, parents, ends, of_topics), failed })
}

/// Replaces the numbers of topics in the column of ports by the topics' ports. Returns for each output the index of its topic, or
/// [`NO_TOPIC`]. `first` is the first output with a number that isn't a port's.
fn topics(outputs: &mut OutputColumns, first: usize, ports: u32) -> Result<Vec<u32>, String> {
    let there = || if ports == 1 { "there is 1 port".to_owned() } else { format!("there are {ports} ports") };
    let mut of_topics = vec![NO_TOPIC; outputs.ports.len()];
    for (index, (port, place)) in outputs.ports.iter_mut().zip(&mut of_topics).enumerate().skip(first) {
        let Some(number) = port.checked_sub(ports) else { continue };
        match outputs.topics.get(number as usize) {
            Some(&(of, _)) if of < ports => (*port, *place) = (of, number),
            Some((of, name)) => {
                return Err(format!(
                    "output {index} names port {of} and topic `{}`, but {}",
                    name.escape_debug(),
                    there()
                ));
            }
            None if outputs.topics.is_empty() => {
                return Err(format!("output {index} names port {port}, but {}", there()));
            }
            None => {
                let known = outputs.topics.len();
                return Err(format!("output {index} names port {port}, but {} and {known} numbers of topics", there()));
            }
        }
    }
    Ok(of_topics)
}

/// The indexes of the entries that are 1, where all others are 0. Without a branch, because a processor can't predict which
/// records a filter drops.
fn some_of(counts: &[u32]) -> Vec<u32> {
    let mut indexes = vec![0; counts.len()];
    let mut found = 0;
    for (index, &count) in (0..).zip(counts) {
        // `found` is at most `index`, since entries are 0 or 1.
        indexes[found] = index;
        found += count as usize;
    }
    indexes.truncate(found);
    indexes
}

/// Checks the number of outputs of each record.
fn count_per_record(counts: &[u32], caps: Caps) -> Result<(), String> {
    let is_beyond = |count: u32| u64::from(count) > caps.outputs_per_record;
    match counts.iter().enumerate().find(|&(_, &count)| is_beyond(count)) {
        None => Ok(()),
        Some((record, count)) => Err(format!(
            "record {record} has {count} outputs, where `limits.outputs_per_record` is {}",
            caps.outputs_per_record
        )),
    }
}

/// Checks the size of the outputs of each record. `resolved` has the size of each output, in the order of `parents`.
fn size_per_record(parents: &[u32], resolved: impl Iterator<Item = u64>, caps: Caps) -> Result<(), String> {
    let (mut record, mut bytes) = (u32::MAX, 0);
    for (&parent, size) in parents.iter().zip(resolved) {
        if parent != record {
            (record, bytes) = (parent, 0);
        }
        bytes += size;
        if bytes > caps.bytes_per_record {
            return Err(format!(
                "the outputs of record {record} have more than {} bytes, counting what they take from the input: \
                 `limits.output_bytes_per_record`",
                caps.bytes_per_record
            ));
        }
    }
    Ok(())
}

fn column_length(name: &str, length: usize, outputs: u64) -> Result<(), String> {
    if length == 0 || length as u64 == outputs {
        return Ok(());
    }
    Err(format!("`{name}` has {length} entries for {outputs} outputs, and is not empty"))
}

/// Checks the indexes of failed records, where there are `records` of them.
pub(crate) fn check_failed(records: usize, failed: &[(u32, Failure)]) -> Result<(), String> {
    let mut least = 0;
    for &(index, _) in failed {
        if index as usize >= records {
            return Err(format!("failure of record {index}, but there are {records} records"));
        }
        if u64::from(index) < least {
            return Err(format!("failure of record {index} is not in ascending order"));
        }
        least = u64::from(index) + 1;
    }
    Ok(())
}

/// Whether every output is its unchanged input record, so that the walk can be skipped. In any doubt it returns false: the walk
/// has the error messages. `singly`: no record has two outputs.
fn forwards(input: &View<'_>, outputs: &OutputColumns, parents: &[u32], singly: bool, caps: Caps) -> bool {
    let bytes = |&parent: &u32| input.record_bytes(parent as usize);
    outputs.data.is_empty()
        && outputs.layout.len() == 3 * parents.len()
        // Doesn't stop early, so that the compiler can vectorize it.
        && outputs.layout.iter().fold(true, |all, &length| all & (length == SAME))
        && {
            // Below the bound of one record, no record is beyond it.
            let most = caps.bytes.min(caps.bytes_per_record);
            singly && input.data.len() as u64 <= most || parents.iter().map(bytes).sum::<u64>() <= most
        }
}

/// Walks `layout` and `data` once and returns where each output ends in both.
fn check_layout(input: &View<'_>, outputs: &OutputColumns, parents: &[u32], caps: Caps) -> Result<Vec<End>, String> {
    let layout = &outputs.layout[..];
    let data_len = outputs.data.len() as u64;
    if data_len.max(layout.len() as u64) > u64::from(u32::MAX) {
        return Err(format!("`layout` has {} entries and `data` {data_len}, more than 2^32", layout.len()));
    }
    let mut rest = layout;
    let mut data = 0_u64;
    let mut resolved = 0_u64;
    let mut ends = vec![End::default(); parents.len()];
    for (index, (&parent, end)) in parents.iter().zip(&mut ends).enumerate() {
        let Some((&[key, value, headers], after)) = rest.split_first_chunk() else {
            return Err(cold(move || format!("`layout` ends inside output {index}")));
        };
        rest = after;
        if key < SAME || value < SAME {
            let (name, length) = if key < SAME { ("key", key) } else { ("value", value) };
            return Err(cold(move || format!("output {index} has a {name} of length {length}")));
        }
        let mut own = own_bytes(key) + own_bytes(value);
        if headers < 0 {
            if headers != SAME {
                return Err(cold(move || format!("output {index} has {headers} headers")));
            }
        } else {
            let lengths = usize::try_from(headers).ok().and_then(|count| count.checked_mul(2));
            let Some((pairs, after)) = lengths.and_then(|lengths| rest.split_at_checked(lengths)) else {
                return Err(cold(move || format!("output {index} has {headers} headers, more than `layout` holds")));
            };
            rest = after;
            for (number, &[name, value]) in pairs.as_chunks().0.iter().enumerate() {
                if name < 0 || value < NULL {
                    let (part, length) = if name < 0 { ("name", name) } else { ("value", value) };
                    return Err(cold(move || {
                        format!("output {index}, header {number} has a {part} of length {length}")
                    }));
                }
                own += own_bytes(name) + own_bytes(value);
            }
        }
        data += own;
        if data > data_len {
            return Err(cold(move || format!("output {index} ends at byte {data}, but `data` has {data_len}")));
        }
        resolved += own;
        if key == SAME || value == SAME || headers == SAME {
            let (of_key, of_value, of_headers) = input.lengths(parent as usize);
            let taken = |length: i32, bytes: u64| if length == SAME { bytes } else { 0 };
            resolved += taken(key, of_key) + taken(value, of_value) + taken(headers, of_headers);
        }
        // Neither exceeds the lengths checked above.
        let position = |position: u64| u32::try_from(position).unwrap_or(u32::MAX);
        *end = End { layout: position((layout.len() - rest.len()) as u64), data: position(data) };
    }
    if resolved > caps.bytes {
        return Err(format!(
            "the outputs have {resolved} bytes, counting what they take from the input, where {} are allowed",
            caps.bytes
        ));
    }
    if resolved > caps.bytes_per_record {
        size_per_record(parents, sizes(input, layout, parents, &ends), caps)?;
    }
    if !rest.is_empty() {
        return Err(format!("`layout` has {} entries left over", rest.len()));
    }
    if data != data_len {
        return Err(format!("`data` has {} bytes left over", data_len - data));
    }
    Ok(ends)
}

/// The size of each output of a checked layout, with references resolved.
fn sizes<'a>(
    input: &'a View<'_>,
    layout: &'a [i32],
    parents: &'a [u32],
    ends: &'a [End],
) -> impl Iterator<Item = u64> + 'a {
    let starts = std::iter::once(&End::default()).chain(ends).copied().collect::<Vec<_>>();
    parents.iter().zip(ends).enumerate().map(move |(index, (&parent, end))| {
        let start = starts[index];
        let own = u64::from(end.data - start.data);
        let at = start.layout as usize;
        let lengths = input.lengths(parent as usize);
        let taken = |place: usize, bytes: u64| if layout[at + place] == SAME { bytes } else { 0 };
        own + taken(0, lengths.0) + taken(1, lengths.1) + taken(2, lengths.2)
    })
}

/// Keeps the building of a message out of the hot loop.
#[cold]
#[inline(never)]
fn cold(message: impl FnOnce() -> String) -> String {
    message()
}

fn own_bytes(length: i32) -> u64 {
    u64::try_from(length).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::Batch;
    use crate::failure::Kind;
    use crate::record::Header;
    use crate::record::TopicPartition;

    const CAPS: Caps = Caps { outputs: 64, bytes: 1 << 12, outputs_per_record: 64, bytes_per_record: 1 << 12 };

    fn batch() -> Batch {
        let mut batch = Batch::new(TopicPartition { topic: "orders".into(), partition: 0 });
        let headers = [Header { name: b"n", value: None }, Header { name: b"", value: Some(b"v") }];
        batch.push(1, 5, 0, Some(b"key"), Some(b"value"), headers.iter().copied());
        batch.push(2, -1, 0, None, None, std::iter::empty());
        batch.push(4, 5, 1, Some(b""), Some(&[7; 100]), headers.iter().copied().take(1));
        batch
    }

    /// One output: its lengths and its bytes.
    fn output() -> impl Strategy<Value = (Vec<i32>, Vec<u8>)> {
        let field = || prop_oneof![Just(SAME), Just(NULL), 0..5_i32];
        let headers = prop_oneof![
            Just(None),
            prop::collection::vec((0..4_i32, prop_oneof![Just(NULL), 0..4_i32]), 0..4).prop_map(Some)
        ];
        (field(), field(), headers).prop_map(|(key, value, headers)| {
            let mut layout = vec![key, value];
            match headers {
                None => layout.push(SAME),
                Some(headers) => {
                    layout.push(i32::try_from(headers.len()).unwrap());
                    layout.extend(headers.iter().flat_map(|&(name, value)| [name, value]));
                }
            }
            let bytes: u64 = match layout[2] {
                SAME => own_bytes(key) + own_bytes(value),
                _ => {
                    own_bytes(key) + own_bytes(value) + layout[3..].iter().map(|&length| own_bytes(length)).sum::<u64>()
                }
            };
            (layout, vec![b'x'; usize::try_from(bytes).unwrap()])
        })
    }

    /// Columns that satisfy the contract.
    fn legal() -> impl Strategy<Value = Columns> {
        let records = prop::collection::vec(prop::collection::vec(output(), 0..4), 3);
        (records, any::<bool>(), any::<bool>()).prop_map(|(records, explicit, fails)| {
            let mut columns = Columns::default();
            columns.outputs.topics = vec![(0, "a".into()), (1, "b".into())];
            for (port, outputs) in (0..).zip(&records) {
                columns.counts.push(u32::try_from(outputs.len()).unwrap());
                for (layout, data) in outputs {
                    columns.outputs.layout.extend(layout);
                    columns.outputs.data.extend(data);
                    if explicit {
                        // A port, or the number of a topic.
                        columns.outputs.ports.push(1 + port);
                        columns.outputs.partitions.push(-1);
                        columns.outputs.timestamps.push(9);
                    }
                }
            }
            if fails {
                let silent = columns.counts.iter().enumerate().filter(|&(_, &count)| count == 0);
                columns.failed = silent
                    .map(|(index, _)| (u32::try_from(index).unwrap(), Failure::new(Kind::Reject, None, "")))
                    .collect();
            }
            columns
        })
    }

    /// A column for [`break_one`]: mostly `layout`, which most rules are about.
    fn column() -> impl Strategy<Value = u8> {
        prop_oneof![3 => Just(4), 2 => 0..7_u8]
    }

    fn how() -> impl Strategy<Value = u8> {
        prop_oneof![3 => Just(0), 1 => 1..3_u8]
    }

    fn entry() -> impl Strategy<Value = i64> {
        prop_oneof![6 => -4..6_i64, 1 => Just(i64::from(i32::MAX)), 1 => Just(i64::from(i32::MIN)), 1 => any::<i64>()]
    }

    /// Replaces, removes or inserts one entry of one column.
    fn break_one(columns: &mut Columns, column: u8, at: usize, how: u8, value: i64) {
        fn change<T: Clone>(entries: &mut Vec<T>, at: usize, how: u8, value: T) {
            if entries.is_empty() || how == 2 {
                entries.insert(at % (entries.len() + 1), value);
                return;
            }
            let at = at % entries.len();
            if how == 0 {
                entries[at] = value;
            } else {
                entries.remove(at);
            }
        }
        let small = i32::try_from(value).unwrap_or(i32::MAX);
        let positive = small.unsigned_abs();
        let outputs = &mut columns.outputs;
        match column {
            0 => change(&mut columns.counts, at, how, positive),
            1 => change(&mut outputs.ports, at, how, positive),
            2 => change(&mut outputs.partitions, at, how, small),
            3 => change(&mut outputs.timestamps, at, how, value),
            4 => change(&mut outputs.layout, at, how, small),
            5 => change(&mut outputs.data, at, how, 0),
            _ => change(&mut columns.failed, at, how, (positive, Failure::new(Kind::Retry, None, ""))),
        }
    }

    /// Reads everything that a checked outcome holds, and checks that it adds up to what was allowed.
    fn read(outcome: &Outcome, batch: &Batch) {
        let mut bytes = 0;
        for index in 0..outcome.outputs.len() {
            let output = outcome.outputs.resolve(index, batch, 0);
            assert!(output.port < 2 && output.timestamp >= -1 && output.partition.is_none_or(|p| p >= 0));
            bytes += output.key.unwrap_or_default().len() + output.value.unwrap_or_default().len();
            bytes += output.headers.data().len();
            let headers: usize =
                output.headers.iter().map(|header| header.name.len() + header.value.unwrap_or_default().len()).sum();
            assert_eq!((headers, output.headers.iter().count()), (output.headers.data().len(), output.headers.len()));
        }
        assert!(bytes as u64 <= CAPS.bytes);
        for failed in &outcome.failed {
            assert!(failed.index < batch.len());
            assert!((0..outcome.outputs.len()).all(|index| outcome.outputs.parent(index) != failed.index));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn valid_outcomes_pass_and_every_outcome_that_passes_can_be_read(
            columns in legal(),
            breaks in prop::collection::vec((column(), any::<usize>(), how(), entry()), 0..4),
        ) {
            let batch = batch();
            let outcome = check(&batch.view(), columns.clone(), 2, CAPS).expect("the columns are legal");
            prop_assert_eq!(outcome.outputs.len() as u64, columns.counts.iter().map(|&count| u64::from(count)).sum::<u64>());
            read(&outcome, &batch);
            let mut broken = columns;
            for (column, at, how, value) in breaks {
                break_one(&mut broken, column, at, how, value);
            }
            if let Ok(outcome) = check(&batch.view(), broken, 2, CAPS) {
                read(&outcome, &batch);
            }
        }
    }

    #[test]
    fn a_number_beyond_the_ports_is_that_of_a_topic_or_is_refused() {
        let batch = batch();
        let outcome = |ports: [u32; 4], topics: &[(u32, &str)]| {
            let outputs = OutputColumns {
                ports: ports.to_vec(),
                layout: vec![SAME; 12],
                topics: topics.iter().map(|&(port, name)| (port, name.into())).collect(),
                ..OutputColumns::default()
            };
            check(&batch.view(), Columns { counts: vec![2, 0, 2], outputs, failed: Vec::new() }, 2, CAPS)
        };
        let named = outcome([1, 3, 0, 2], &[(1, "a"), (0, "b"), (9, "never used")]).unwrap().outputs;
        let all: Vec<_> = (0..4).map(|index| (named.port(index), named.topic(index).map(|name| &**name))).collect();
        assert_eq!(all, [(1, None), (0, Some("b")), (0, None), (1, Some("a"))]);
        assert_eq!(named.resolve(1, &batch, 0).topic.map(|name| &**name), Some("b"));
        for (ports, topics, message) in [
            ([0, 0, 2, 0], &[][..], "output 2 names port 2, but there are 2 ports"),
            ([0, 0, 3, 0], &[(0, "a")], "output 2 names port 3, but there are 2 ports and 1 numbers of topics"),
            (
                [0, u32::MAX, 0, 0],
                &[(0, "a")],
                "output 1 names port 4294967295, but there are 2 ports and 1 numbers of topics",
            ),
            ([2, 0, 0, 0], &[(2, "a")], "output 0 names port 2 and topic `a`, but there are 2 ports"),
        ] {
            assert_eq!(outcome(ports, topics).unwrap_err(), message);
        }
    }

    /// Outputs of records 0 and 2, of which the latter has a value of 100 bytes, a key without bytes and a header of one byte.
    #[test]
    fn a_record_has_a_bound_of_its_own_that_its_neighbours_do_not_fill() {
        let batch = batch();
        let columns = |counts: [u32; 3], layout: &[i32], data: usize| Columns {
            counts: counts.to_vec(),
            outputs: OutputColumns { layout: layout.to_vec(), data: vec![0; data], ..OutputColumns::default() },
            failed: Vec::new(),
        };
        let check = |columns: Columns, outputs_per_record: u64, bytes_per_record: u64| {
            check(&batch.view(), columns, 1, Caps { outputs_per_record, bytes_per_record, ..CAPS }).map(drop)
        };
        let three = || columns([2, 0, 2], &[SAME; 12], 0);
        assert_eq!(check(three(), 2, 202), Ok(()));
        let refused = check(columns([2, 0, 3], &[SAME; 15], 0), 2, 1000).unwrap_err();
        assert_eq!(refused, "record 2 has 3 outputs, where `limits.outputs_per_record` is 2");
        let refused = check(three(), 2, 201).unwrap_err();
        assert!(refused.contains("record 2 have more than 201 bytes"), "{refused}");
        // What an output takes from its record counts as what it brings itself.
        let mixed = || columns([1, 0, 2], &[SAME, SAME, SAME, 3, SAME, 1, 2, 5, NULL, 8, SAME], 18);
        assert_eq!(check(mixed(), 2, 100 + 10 + 8 + 1), Ok(()));
        let refused = check(mixed(), 2, 100 + 10 + 8).unwrap_err();
        assert!(refused.contains("record 2 have more than 118 bytes"), "{refused}");
        // A single output of each record, forwarded.
        let forwarded = || columns([1, 1, 1], &[SAME; 9], 0);
        assert_eq!(check(forwarded(), 1, 101), Ok(()));
        assert!(check(forwarded(), 1, 100).unwrap_err().contains("record 2 have more than 100 bytes"));
    }

    /// The shortcut for forwarded records and the walk agree.
    #[test]
    fn the_shortcut_for_forwarded_records_agrees_with_the_walk() {
        let batch = batch();
        let columns = |layout: &[i32]| Columns {
            counts: vec![0, 0, 2],
            outputs: OutputColumns { layout: layout.to_vec(), ..OutputColumns::default() },
            failed: Vec::new(),
        };
        let forwarded = check(&batch.view(), columns(&[SAME; 6]), 1, CAPS).unwrap();
        let walked = check(&batch.view(), columns(&[SAME, SAME, SAME, SAME, SAME, 0]), 1, CAPS).unwrap();
        let source = batch.record(2);
        for outcome in [&forwarded, &walked] {
            let output = outcome.outputs.resolve(0, &batch, 0);
            assert_eq!((output.parent, output.key, output.value), (2, source.key, source.value));
            assert!(output.headers.iter().eq(source.headers.iter()));
        }
        assert_eq!(walked.outputs.resolve(1, &batch, 0).headers.len(), 0);
        assert_eq!(forwarded.outputs.resolve(1, &batch, 0).headers.len(), 1);
        let caps = Caps { outputs: 2, bytes: 201, ..CAPS };
        let refusal = check(&batch.view(), columns(&[SAME; 6]), 1, caps).unwrap_err();
        assert_eq!(
            refusal,
            "the outputs have 202 bytes, counting what they take from the input, where 201 are allowed"
        );
    }
}
