//! Runs the test cases of a pipeline and reports what differs.
//!
//! Each case has its own instances, so no case depends on another. JSON values are compared by meaning, to the last digit; anything
//! else byte for byte. A missing value equals only a missing value: a tombstone isn't the text `null`.

use std::fs;
use std::time::Duration;

use super::Closed;
use super::Made;
use super::Steps;
use super::json::Json;
use super::json::Number;
use super::line;
use super::line::FeedHeaders;
use super::line::FeedRecord;
use super::line::OwnedHeader;
use super::lines::Line;
use crate::config;
use crate::config::Case;
use crate::config::CaseRecords;
use crate::config::Expect;
use crate::config::Written;
use crate::plugin::Step;
use crate::worker::clock;

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The case's name.
    pub name: String,
    /// The differences, one per line, for people; `None` if there are none.
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

/// Writes the present outputs into the file that a case expects. `false` if the case names no file.
///
/// # Errors
/// If a record fails, or the file can't be written.
pub fn bless(config: &config::Pipeline, steps: &[Step], case: &Case) -> Result<bool, String> {
    let Expect::File(path) = &case.expect else { return Ok(false) };
    let lines: Vec<String> = outputs(config, steps, case)?.iter().map(|made| made.line() + "\n").collect();
    // Written to a temporary file first, so that a full disk leaves the old file.
    let aside = path.with_extension("new");
    let written = fs::write(&aside, lines.concat()).and_then(|()| fs::rename(&aside, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&aside);
        format!("write {}: {error}", path.display())
    })?;
    Ok(true)
}

fn judge(config: &config::Pipeline, steps: &[Step], case: &Case) -> Result<(), String> {
    let expected = match &case.expect {
        Expect::Error(code) => return fails(config, steps, case, code),
        Expect::Outputs(outputs) => outputs.clone(),
        Expect::File(path) => {
            let lines = line::lines(path).map_err(|error| format!("{error}; `wasmill test --bless` writes it"))?;
            let at = |error: String| format!("{}: {error}", path.display());
            lines.map(|line| line.and_then(written).map_err(at)).collect::<Result<Vec<Written>, String>>()?
        }
    };
    let made = outputs(config, steps, case)?;
    let mut differs = Vec::new();
    for index in 0..expected.len().max(made.len()) {
        match (expected.get(index), made.get(index)) {
            (Some(expected), Some(made)) if is_as_expected(expected, made) => {}
            (Some(expected), Some(made)) => {
                let twice = twice(expected, made);
                differs.push(format!("output {index}:\n  expected {expected}\n  found    {}{twice}", made.line()));
            }
            (Some(expected), None) => differs.push(format!("output {index} is missing:\n  expected {expected}")),
            (None, Some(made)) => differs.push(format!("output {index} is unexpected:\n  found    {}", made.line())),
            (None, None) => {}
        }
    }
    if differs.is_empty() { Ok(()) } else { Err(differs.join("\n")) }
}

fn outputs(config: &config::Pipeline, steps: &[Step], case: &Case) -> Result<Vec<Made>, String> {
    let mut chain = started(config, steps, case)?;
    let mut made = Vec::new();
    for (offset, record) in (0..).zip(records(case)?) {
        let reaction = chain.run(offset, &record).map_err(|failure| format!("record {offset} fails: {failure}"))?;
        made.extend(reaction.outputs);
        made.extend(results(chain.closed())?);
    }
    if case.idle != Some(false) {
        made.extend(results(chain.end())?);
    }
    Ok(made)
}

/// The steps of a case, with its clock.
fn started(config: &config::Pipeline, steps: &[Step], case: &Case) -> Result<Steps, String> {
    for (key, is_set) in [("idle", case.idle.is_some()), ("now", case.now.is_some())] {
        if is_set && config.windowed.is_none() {
            return Err(format!("`{key}` is for windows, and the pipeline has no step with windows: remove it"));
        }
    }
    let mut chain = Steps::new(config, steps, case.step.as_deref())?;
    if let Some(now) = case.now {
        chain.set_clock(now);
    }
    Ok(chain)
}

/// The results of windows, if each has one.
fn results(closed: Closed) -> Result<Vec<Made>, String> {
    let Closed { outputs, failed } = closed;
    if failed.is_empty() { Ok(outputs) } else { Err(failed.join("\n")) }
}

/// Whether every record of the case fails with this code.
fn fails(config: &config::Pipeline, steps: &[Step], case: &Case, code: &str) -> Result<(), String> {
    let mut chain = started(config, steps, case)?;
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
        CaseRecords::Here(records) => {
            let record = |(index, record): (usize, &Written)| {
                line::value(record).map_err(|error| format!("record {index} of the input: {error}"))
            };
            records.iter().enumerate().map(record).collect()
        }
        CaseRecords::File(path) => line::values(path),
    }
}

/// A line of a file of outputs.
fn written(line: Line) -> Result<Written, String> {
    let Line { number, text } = line;
    let text = String::from_utf8(text).map_err(|_| format!("line {number} is not UTF-8"))?;
    match Json::parse(text.as_bytes()) {
        Some(Json::Text(text)) => Ok(Written::Text(text)),
        Some(_) => Ok(Written::Json(text)),
        None => Err(format!("line {number} is not JSON")),
    }
}

/// Whether an output is as expected: an object of an output's fields names the fields that count; anything else is the value.
fn is_as_expected(expected: &Written, made: &Made) -> bool {
    const FIELDS: [&str; 7] = ["output", "topic", "partition", "key", "value", "headers", "timestamp"];
    let expected = match expected {
        Written::Text(text) => Json::Text(text.clone()),
        // JSON that is too deep to be parsed can still be the same text.
        Written::Json(text) => Json::parse(text.as_bytes()).unwrap_or_else(|| Json::Text(text.clone())),
    };
    match &expected {
        Json::Object(fields)
            if !fields.is_empty() && fields.iter().all(|(name, _)| FIELDS.contains(&name.as_str())) =>
        {
            fields.iter().all(|(name, field)| match name.as_str() {
                "output" => is_text(field, &made.output),
                "topic" => is_text(field, &made.topic),
                "partition" => is_number(field, made.partition.map(i64::from)),
                "timestamp" => is_number(field, made.timestamp),
                "headers" => are_headers(field, &made.headers),
                "key" => is_same(field, made.key.as_deref()),
                _ => is_same(field, made.value.as_deref()),
            })
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) | Json::Object(_) => {
            is_same(&expected, made.value.as_deref())
        }
    }
}

/// An object must have all of the headers, in any order; a list must have them in order.
fn are_headers(expected: &Json, found: &FeedHeaders) -> bool {
    let is_header = |name: &Json, value: &Json, found: &OwnedHeader| {
        is_same(name, Some(found.0.as_slice())) && is_same(value, found.1.as_deref())
    };
    match expected {
        Json::Object(fields) => {
            let mut left: Vec<&OwnedHeader> = found.iter().collect();
            fields.len() == left.len()
                && fields.iter().all(|(name, value)| {
                    let name = Json::Text(name.clone());
                    let place = left.iter().position(|header| is_header(&name, value, header));
                    place.map(|place| left.remove(place)).is_some()
                })
        }
        Json::List(pairs) => {
            pairs.len() == found.len()
                && pairs.iter().zip(found).all(|(pair, header)| match pair {
                    Json::List(pair) => matches!(pair.as_slice(), [name, value] if is_header(name, value, header)),
                    Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Object(_) => false,
                })
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => false,
    }
}

fn is_text(expected: &Json, found: &str) -> bool {
    matches!(expected, Json::Text(text) if text == found)
}

fn is_number(expected: &Json, found: Option<i64>) -> bool {
    match (expected, found) {
        (Json::Null, None) => true,
        (Json::Number(number), Some(found)) => *number == Number::parse(&found.to_string()),
        _ => false,
    }
}

/// Whether two values have the same bytes, or are JSON with the same meaning. Only null equals null.
fn is_same(expected: &Json, found: Option<&[u8]>) -> bool {
    match (expected, found) {
        (Json::Null, None) => true,
        (Json::Null, Some(_)) | (_, None) => false,
        (Json::Text(text), Some(found)) => {
            text.as_bytes() == found
                || Json::parse(text.as_bytes()).is_some_and(|text| Json::parse(found) == Some(text))
        }
        (Json::Object(fields), Some(found)) => match fields.as_slice() {
            [(name, Json::Text(encoded))] if name == "base64" => {
                line::from_base64(encoded).is_ok_and(|bytes| bytes == found)
            }
            _ => Json::parse(found).as_ref() == Some(expected),
        },
        (Json::Bool(_) | Json::Number(_) | Json::List(_), Some(found)) => Json::parse(found).as_ref() == Some(expected),
    }
}

/// A name that occurs twice in one of the two values is easily overlooked, so it is pointed out.
fn twice(expected: &Written, made: &Made) -> String {
    let repeated = |bytes: &[u8]| Json::parse(bytes).and_then(|json| json.repeated().map(str::to_owned));
    let expected = match expected {
        Written::Text(text) | Written::Json(text) => repeated(text.as_bytes()),
    };
    let found = made.value.as_deref().and_then(repeated);
    match (expected, found) {
        (Some(name), None) => format!("\n  `{name}` occurs twice in the expected value"),
        (None, Some(name)) => format!("\n  `{name}` occurs twice in the value that was found"),
        (None, None) | (Some(_), Some(_)) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(value: Option<&str>) -> Made {
        Made {
            output: "main".into(),
            topic: "out".into(),
            partition: None,
            timestamp: Some(5),
            key: Some(b"\xff".to_vec()),
            value: value.map(|value| value.as_bytes().to_vec()),
            headers: vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"a".to_vec(), None)],
        }
    }

    fn is(expected: &str, value: Option<&str>) -> bool {
        is_as_expected(&Written::Json(expected.to_owned()), &made(value))
    }

    #[test]
    fn equal_means_equal() {
        let long = "9".repeat(78);
        for (expected, found) in [
            ("{\"n\":1}", Some("{ \"n\" : 1 }")),
            ("\"text\"", Some("text")),
            ("\"{\\\"n\\\":1}\"", Some("{ \"n\" : 1 }")),
            ("null", None),
            ("{\"value\":null}", None),
            ("5", Some("5")),
            (long.as_str(), Some(long.as_str())),
        ] {
            assert!(is(expected, found), "{expected} {found:?}");
        }
        let longer = format!("{}8", &long[1..]);
        for (expected, found) in [
            (long.as_str(), Some(longer.as_str())),
            ("{\"n\":0.100000000000000000000000000001}", Some("{\"n\":0.1}")),
            ("{\"a\":1,\"a\":2}", Some("{\"a\":2}")),
            ("{\"a\":2}", Some("{\"a\":1,\"a\":2}")),
            ("\"null\"", None),
            ("null", Some("null")),
            ("{\"value\":\"null\"}", None),
            ("\"\"", None),
            ("null", Some("")),
        ] {
            assert!(!is(expected, found), "{expected} {found:?}");
        }
    }

    #[test]
    fn each_field_is_compared_for_itself() {
        let is = |expected: &str| is(expected, Some("v"));
        assert!(is("{\"key\":{\"base64\":\"/w==\"},\"timestamp\":5,\"partition\":null,\"output\":\"main\"}"));
        assert!(is("{\"headers\":[[\"a\",\"1\"],[\"a\",null]]}"));
        assert!(is("{\"headers\":{\"a\":null,\"a\":\"1\"}}"));
        for wrong in [
            "{\"key\":{\"base64\":\"/g==\"}}",
            "{\"key\":null}",
            "{\"timestamp\":5.0}",
            "{\"timestamp\":null}",
            "{\"partition\":0}",
            "{\"output\":null}",
            "{\"headers\":[[\"a\",null],[\"a\",\"1\"]]}",
            "{\"headers\":{\"a\":\"1\"}}",
            "{\"headers\":[]}",
        ] {
            assert!(!is(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_repeated_name_is_reported() {
        let expected = Written::Json("{\"a\":2}".into());
        assert!(twice(&expected, &made(Some("{\"a\":1,\"a\":2}"))).contains("`a` occurs twice in the value"));
        assert_eq!(twice(&expected, &made(Some("{\"a\":1}"))), "");
    }
}
