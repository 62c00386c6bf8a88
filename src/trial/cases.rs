//! Test cases of a pipeline: they are run, and what differs is told.
//!
//! Each case has instances of its own, so no case depends on another. Values that are JSON are compared by what they mean.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::Made;
use super::Steps;
use super::line;
use super::line::FeedRecord;
use crate::config;
use crate::config::Case;
use crate::config::Expect;
use crate::config::Records;
use crate::plugin::Step;
use crate::worker::clock;

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The case's name.
    pub name: String,
    /// Nothing, or what differs: for people, lines.
    pub result: Result<(), String>,
    /// How long it took.
    pub took: Duration,
}

/// Runs a case.
#[must_use]
pub fn run(config: &config::Pipeline, steps: &[Step], case: &Case) -> Verdict {
    let began = clock::now();
    let result = judge(config, steps, case);
    Verdict { name: case.name.clone(), result, took: clock::now() - began }
}

/// Writes what comes out now into the file that a case expects. `false` if the case names none.
///
/// # Errors
/// That a record fails, or that the file can't be written.
pub fn bless(config: &config::Pipeline, steps: &[Step], case: &Case) -> Result<bool, String> {
    let Expect::File(path) = &case.expect else { return Ok(false) };
    let lines: Vec<String> = outputs(config, steps, case)?.iter().map(|made| made.line() + "\n").collect();
    fs::write(path, lines.concat()).map_err(|error| format!("write {}: {error}", path.display()))?;
    Ok(true)
}

fn judge(config: &config::Pipeline, steps: &[Step], case: &Case) -> Result<(), String> {
    let expected = match &case.expect {
        Expect::Error(code) => return fails(config, steps, case, code),
        Expect::Outputs(outputs) => outputs.clone(),
        Expect::File(path) => {
            let text = fs::read_to_string(path)
                .map_err(|error| format!("read {}: {error}; `wasmill test --bless` writes it", path.display()))?;
            let line = |line: &str| serde_json::from_str(line).map_err(|error| format!("{}: {error}", path.display()));
            text.lines().map(line).collect::<Result<Vec<Value>, String>>()?
        }
    };
    let made = outputs(config, steps, case)?;
    let mut differs = Vec::new();
    for index in 0..expected.len().max(made.len()) {
        match (expected.get(index), made.get(index)) {
            (Some(expected), Some(made)) if is_as_expected(expected, made) => {}
            (Some(expected), Some(made)) => {
                differs.push(format!("output {index}:\n  expected {expected}\n  found    {}", made.line()));
            }
            (Some(expected), None) => differs.push(format!("output {index} is missing:\n  expected {expected}")),
            (None, Some(made)) => differs.push(format!("output {index} is one too many:\n  found    {}", made.line())),
            (None, None) => {}
        }
    }
    if differs.is_empty() { Ok(()) } else { Err(differs.join("\n")) }
}

fn outputs(config: &config::Pipeline, steps: &[Step], case: &Case) -> Result<Vec<Made>, String> {
    let mut chain = Steps::new(config, steps, case.step.as_deref())?;
    let mut made = Vec::new();
    for (offset, record) in (0..).zip(records(case)?) {
        let reaction = chain.run(offset, &record).map_err(|failure| format!("record {offset} fails: {failure}"))?;
        made.extend(reaction.outputs);
    }
    Ok(made)
}

/// Whether every record of the case fails with this code.
fn fails(config: &config::Pipeline, steps: &[Step], case: &Case, code: &str) -> Result<(), String> {
    let mut chain = Steps::new(config, steps, case.step.as_deref())?;
    for (offset, record) in (0..).zip(records(case)?) {
        match chain.run(offset, &record) {
            Err(failure) if *failure.code == *code => {}
            Err(failure) => return Err(format!("record {offset}:\n  expected {code}\n  found    {failure}")),
            Ok(reaction) => {
                let found: Vec<String> = reaction.outputs.iter().map(Made::line).collect();
                return Err(format!("record {offset}:\n  expected {code}\n  found    outputs: [{}]", found.join(", ")));
            }
        }
    }
    Ok(())
}

fn records(case: &Case) -> Result<Vec<FeedRecord>, String> {
    match &case.input {
        Records::Here(records) => {
            let record = |(index, record): (usize, &Value)| {
                line::value(record).map_err(|error| format!("record {index} of the input: {error}"))
            };
            records.iter().enumerate().map(record).collect()
        }
        Records::File(path) => line::values(path),
    }
}

/// Whether an output is what is expected of it: an object of an output's fields names those that count; anything else is its value.
fn is_as_expected(expected: &Value, made: &Made) -> bool {
    const FIELDS: [&str; 7] = ["output", "topic", "partition", "key", "value", "headers", "timestamp"];
    let found = serde_json::from_str::<Value>(&made.line()).unwrap_or_default();
    if let Some(fields) = expected
        .as_object()
        .filter(|fields| !fields.is_empty() && fields.keys().all(|name| FIELDS.contains(&name.as_str())))
    {
        let of = |name: &str| found.get(name).unwrap_or(&Value::Null);
        return fields.iter().all(|(name, field)| match (name.as_str(), field) {
            ("headers", Value::Object(headers)) => are_headers(headers, of(name)),
            (name, field) => is_same(field, of(name)),
        });
    }
    is_same(expected, &found["value"])
}

/// Headers as an object, as an input may have them, too: all of them, in any order.
fn are_headers(expected: &serde_json::Map<String, Value>, found: &Value) -> bool {
    let found = found.as_array().map_or(&[][..], Vec::as_slice);
    found.len() == expected.len()
        && expected.iter().all(|(name, value)| {
            found.iter().any(|pair| pair.get(0).and_then(Value::as_str) == Some(name) && is_same(value, &pair[1]))
        })
}

/// Equal, or texts of JSON that mean the same; `{ null = true }` is null, which TOML lacks.
fn is_same(expected: &Value, found: &Value) -> bool {
    let meaning = |value: &Value| {
        let read = value.as_str().and_then(|text| serde_json::from_str(text).ok());
        read.unwrap_or_else(|| value.clone())
    };
    let is_null = found.is_null() && expected.get("null") == Some(&true.into());
    expected == found || is_null || meaning(expected) == meaning(found)
}
