//! What a plugin said about its records, and whether it may say that.
//!
//! [`check`] is the one validator of the columnar contract: what passes it can be read without any further check, and
//! whatever breaks the contract is refused whole with its own message. Pure; it never panics, whatever the columns hold.
//! It doesn't decide what a refusal means: that is a fault of the call, like a trap.

use crate::batch::NULL;
use crate::batch::OutputColumns;
use crate::batch::Outputs;
use crate::batch::SAME;
use crate::batch::View;
use crate::failure::Failure;

/// A checked outcome: outputs in input order, failures by ascending index, and no record in both.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the records became.
    pub outputs: Outputs,
    /// The records that failed.
    pub failed: Vec<Failed>,
}

/// A record that its plugin failed: a reject or a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its index in the call's input.
    pub index: usize,
    /// Why.
    pub failure: Failure,
}

/// An outcome as the guest returned it.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// For each input record the number of its outputs.
    pub counts: Vec<u32>,
    /// The outputs.
    pub outputs: OutputColumns,
    /// The records that failed.
    pub failed: Vec<(u32, Failure)>,
}

/// Bounds of one call's outcome. They hold before anything is copied or queued, since a few bytes can name a large
/// input value a million times.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Outputs a call may make.
    pub outputs: u64,
    /// Bytes that they may have, references resolved.
    pub bytes: u64,
}

/// Checks an outcome of `input` for a step with `ports` ports.
///
/// # Errors
/// What breaks the contract, with index and numbers: a lowercase fragment.
pub fn check(input: &View<'_>, columns: Columns, ports: u32, caps: Caps) -> Result<Outcome, String> {
    let Columns { counts, outputs, failed } = columns;
    let n = input.len();
    if counts.len() != n {
        return Err(format!("`counts` has {} entries for {n} records", counts.len()));
    }
    let m: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    if m > caps.outputs {
        return Err(format!("{m} outputs in one call, where {} are allowed", caps.outputs));
    }
    column_length("ports", outputs.ports.len(), m)?;
    column_length("partitions", outputs.partitions.len(), m)?;
    column_length("timestamps", outputs.timestamps.len(), m)?;
    if let Some((index, port)) = outputs.ports.iter().enumerate().find(|&(_, &port)| port >= ports) {
        return Err(format!("output {index} names port {port}, but there are {ports} ports"));
    }
    if let Some((index, partition)) = outputs.partitions.iter().enumerate().find(|&(_, &partition)| partition < -1) {
        return Err(format!("output {index} names partition {partition}"));
    }
    if let Some((index, timestamp)) = outputs.timestamps.iter().enumerate().find(|&(_, &timestamp)| timestamp < -1) {
        return Err(format!("output {index} has the timestamp {timestamp}"));
    }
    check_failed(&counts, &failed)?;

    let mut parents = Vec::with_capacity(usize::try_from(m).unwrap_or(0));
    for (index, &count) in counts.iter().enumerate() {
        let index = u32::try_from(index).map_err(|_| "more than 2^32 records".to_owned())?;
        parents.extend(std::iter::repeat_n(index, count as usize));
    }
    let ends = check_layout(input, &outputs, &parents, caps)?;
    let failed = failed.into_iter().map(|(index, failure)| Failed { index: index as usize, failure }).collect();
    Ok(Outcome { outputs: Outputs::from_checked(outputs, parents, &ends), failed })
}

fn column_length(name: &str, length: usize, outputs: u64) -> Result<(), String> {
    if length == 0 || length as u64 == outputs {
        return Ok(());
    }
    Err(format!("`{name}` has {length} entries for {outputs} outputs, and is not empty"))
}

fn check_failed(counts: &[u32], failed: &[(u32, Failure)]) -> Result<(), String> {
    let mut least = 0;
    for &(index, _) in failed {
        let Some(&count) = counts.get(index as usize) else {
            return Err(format!("failure of record {index}, but there are {} records", counts.len()));
        };
        if u64::from(index) < least {
            return Err(format!("failure of record {index} is not in ascending order"));
        }
        if count != 0 {
            return Err(format!("record {index} failed, but has {count} outputs"));
        }
        least = u64::from(index) + 1;
    }
    Ok(())
}

/// Walks `layout` and `data` once; the ends of each output in both.
fn check_layout(
    input: &View<'_>,
    outputs: &OutputColumns,
    parents: &[u32],
    caps: Caps,
) -> Result<Vec<(u32, u32)>, String> {
    let layout = &outputs.layout[..];
    let data_len = outputs.data.len() as u64;
    let mut at = 0_usize;
    let mut data = 0_u64;
    let mut resolved = 0_u64;
    let mut ends = Vec::with_capacity(parents.len());
    for (index, &parent) in parents.iter().enumerate() {
        let &[key, value, headers] = layout
            .get(at..at + 3)
            .and_then(|entry| <&[i32; 3]>::try_from(entry).ok())
            .ok_or_else(|| format!("`layout` ends inside output {index}"))?;
        at += 3;
        let before = data;
        if key < SAME || value < SAME {
            let (name, length) = if key < SAME { ("key", key) } else { ("value", value) };
            return Err(format!("output {index} has a {name} of length {length}"));
        }
        data += own_bytes(key) + own_bytes(value);
        if headers < 0 {
            if headers != SAME {
                return Err(format!("output {index} has {headers} headers"));
            }
        } else {
            let count = usize::try_from(headers).unwrap_or(usize::MAX);
            let pairs = count
                .checked_mul(2)
                .and_then(|lengths| at.checked_add(lengths))
                .and_then(|end| layout.get(at..end))
                .ok_or_else(|| format!("output {index} has {headers} headers, more than `layout` holds"))?;
            at += pairs.len();
            for (number, pair) in pairs.chunks_exact(2).enumerate() {
                if pair[0] < 0 {
                    return Err(format!("output {index}, header {number} has a name of length {}", pair[0]));
                }
                if pair[1] < NULL {
                    return Err(format!("output {index}, header {number} has a value of length {}", pair[1]));
                }
                data += own_bytes(pair[0]) + own_bytes(pair[1]);
            }
        }
        if data > data_len {
            return Err(format!("output {index} ends at byte {data}, but `data` has {data_len}"));
        }
        resolved += data - before;
        if key == SAME || value == SAME || headers == SAME {
            let source = input.record(parent as usize);
            let bytes = |is: bool, bytes: Option<&[u8]>| if is { bytes.map_or(0, <[u8]>::len) as u64 } else { 0 };
            resolved += bytes(key == SAME, source.key)
                + bytes(value == SAME, source.value)
                + bytes(headers == SAME, Some(source.headers.data()));
        }
        if resolved > caps.bytes {
            return Err(format!(
                "the outputs have more than {} bytes at output {index}, counting what they take from the input",
                caps.bytes
            ));
        }
        let end = |position: u64| u32::try_from(position).map_err(|_| format!("output {index} lies beyond 4 GiB"));
        ends.push((end(at as u64)?, end(data)?));
    }
    if at != layout.len() {
        return Err(format!("`layout` has {} entries left over", layout.len() - at));
    }
    if data != data_len {
        return Err(format!("`data` has {} bytes left over", data_len - data));
    }
    Ok(ends)
}

fn own_bytes(length: i32) -> u64 {
    u64::try_from(length).unwrap_or(0)
}
