//! The test cases of a pipeline, in a file next to its own: `orders.test.toml` for `orders.toml`.

use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

/// One test case: input records and the expected result.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The line where it starts.
    pub line: usize,
    /// The step to run alone; `None` runs all steps.
    pub step: Option<String>,
    /// The records.
    pub input: CaseRecords,
    /// The expected result.
    pub expect: Expect,
    /// Whether the windows that are open after the last record close, as they do for a quiet partition; `None` is yes.
    pub idle: Option<bool>,
    /// The clock by which a record is too far ahead for windows, in ms since 1970-01-01 UTC; without it, none is.
    pub now: Option<i64>,
}

/// The input records of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum CaseRecords {
    /// In the file itself: a string is a record's value, a table is a whole record.
    Here(Vec<Written>),
    /// A file with one record value per line.
    File(PathBuf),
}

/// The expected result of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// These outputs, in order: a string is a value, a table holds the fields to compare.
    Outputs(Vec<Written>),
    /// The outputs in this file, one JSON object per line.
    File(PathBuf),
    /// All records fail with this code.
    Error(String),
}

/// A record or an output as written in a case. Nothing is rounded, sorted or omitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// A string.
    Text(String),
    /// Anything else, as JSON.
    Json(String),
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::Text(text) => f.write_str(&json_text(text)),
            Written::Json(text) => f.write_str(text),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    case: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    step: Option<String>,
    input: Option<Vec<IgnoredAny>>,
    input_file: Option<PathBuf>,
    expect: Option<Vec<IgnoredAny>>,
    expect_file: Option<PathBuf>,
    expect_error: Option<String>,
    idle: Option<bool>,
    now: Option<String>,
}

/// The path of the test cases of a pipeline's file.
#[must_use]
pub fn cases_path(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("test.toml")
}

/// Reads a file of test cases. Paths in it are relative to it.
///
/// # Errors
/// What is wrong with the file, and where, for people.
pub fn cases(path: &Path) -> Result<Vec<Case>, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("read the test cases {shown}: {error}"))?;
    let file: RawFile = toml::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
    if file.case.is_empty() {
        return Err(format!("{shown}: there is no `[[case]]` in it"));
    }
    // The values come from the tree, where numbers are kept as written.
    let tree = DeTable::parse(&text).map_err(|error| format!("{shown}: {error}"))?;
    let cases = match tree.get_ref().get("case").map(Spanned::get_ref) {
        Some(DeValue::Array(cases)) => &cases[..],
        _ => &[],
    };
    file.case.into_iter().zip(cases).map(|(case, tree)| checked(case, tree, &text, path)).collect()
}

fn checked(case: RawCase, tree: &Spanned<DeValue<'_>>, text: &str, path: &Path) -> Result<Case, String> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let line = text.bytes().take(tree.span().start).filter(|&byte| byte == b'\n').count() + 1;
    let tree = tree.get_ref();
    let RawCase { name, step, input, input_file, expect, expect_file, expect_error, idle, now } = case;
    let wrong = |what: &str| format!("{}:{line}: case `{name}` {what}", path.display());
    let values = |key: &str| written(tree, key).map_err(|why| wrong(&format!("has an `{key}` {why}")));
    let input = input.map(|_| values("input")).transpose()?;
    let expect = expect.map(|_| values("expect")).transpose()?;
    let input = match (input, input_file) {
        (Some(records), None) => CaseRecords::Here(records),
        (None, Some(file)) => CaseRecords::File(folder.join(file)),
        (Some(_), Some(_)) | (None, None) => return Err(wrong("needs one of `input` and `input_file`")),
    };
    let expect = match (expect, expect_file, expect_error) {
        (Some(outputs), None, None) => Expect::Outputs(outputs),
        (None, Some(file), None) => Expect::File(folder.join(file)),
        (None, None, Some(code)) => Expect::Error(code),
        _ => return Err(wrong("needs one of `expect`, `expect_file` and `expect_error`")),
    };
    let now = now.map(|now| time(&now)).transpose().map_err(|why| wrong(&why))?;
    Ok(Case { name, line, step, input, expect, idle, now })
}

/// A time, in ms since 1970-01-01 UTC.
fn time(text: &str) -> Result<i64, String> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(jiff::Timestamp::as_millisecond)
        .map_err(|_| format!("has the `now` {}; write a time such as \"2026-01-31T10:00:00Z\"", json_text(text)))
}

/// The values of a list in a case.
fn written(case: &DeValue<'_>, key: &str) -> Result<Vec<Written>, String> {
    let DeValue::Table(case) = case else { return Ok(Vec::new()) };
    let Some(DeValue::Array(values)) = case.get(key).map(Spanned::get_ref) else { return Ok(Vec::new()) };
    let value = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(text) => Ok(Written::Text(text.clone().into_owned())),
        other @ (DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_)) => {
            let mut text = String::new();
            json(other, &mut text)?;
            Ok(Written::Json(text))
        }
    };
    values.iter().map(value).collect()
}

/// A value as JSON: members in the order of the file, numbers with all digits. `{ null = true }` stands for null, which
/// TOML lacks.
fn json(value: &DeValue<'_>, text: &mut String) -> Result<(), String> {
    match value {
        DeValue::String(value) => text.push_str(&json_text(value)),
        DeValue::Integer(number) => {
            let value = i128::from_str_radix(number.as_str(), number.radix());
            // Writing to a String can't fail.
            let _ = write!(
                text,
                "{}",
                value.map_err(|_| format!("with the number {number}, which is too large for TOML"))?
            );
        }
        DeValue::Float(number) if number.as_str().contains(['i', 'n']) => {
            return Err(format!("with `{number}`, which JSON doesn't have"));
        }
        DeValue::Float(number) => text.push_str(number.as_str().trim_start_matches('+')),
        DeValue::Boolean(value) => text.push_str(if *value { "true" } else { "false" }),
        DeValue::Datetime(time) => text.push_str(&json_text(&time.to_string())),
        DeValue::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                json(item.get_ref(), text)?;
            }
            text.push(']');
        }
        DeValue::Table(table) if is_null(table) => text.push_str("null"),
        DeValue::Table(table) => {
            let mut members: Vec<_> = table.iter().collect();
            members.sort_by_key(|(name, _)| name.span().start);
            text.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                text.push_str(&json_text(name.get_ref()));
                text.push(':');
                json(member.get_ref(), text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

fn is_null(table: &DeTable<'_>) -> bool {
    table.len() == 1 && matches!(table.get("null").map(Spanned::get_ref), Some(DeValue::Boolean(true)))
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.test.toml");
        fs::write(&path, text).unwrap();
        cases(&path)
    }

    #[test]
    fn a_case_has_records_and_an_expected_result() {
        let found =
            read("[[case]]\nname = \"a\"\ninput = ['{\"x\":1}', { key = \"k\", value = \"v\" }]\nexpect = []\n")
                .unwrap();
        let records = vec![Written::Text("{\"x\":1}".into()), Written::Json("{\"key\":\"k\",\"value\":\"v\"}".into())];
        assert_eq!(found[0].input, CaseRecords::Here(records));
        assert_eq!((&found[0].expect, &found[0].step), (&Expect::Outputs(Vec::new()), &None));
        assert_eq!((found[0].idle, found[0].now), (None, None));
        let found = read(
            "[[case]]\nname = \"a\"\ninput = []\nexpect = []\nidle = false\nnow = \"1970-01-01T02:00:01+02:00\"\n",
        )
        .unwrap();
        assert_eq!((found[0].idle, found[0].now), (Some(false), Some(1000)));
    }

    #[test]
    fn a_value_keeps_its_digits_and_its_order() {
        let found = read(
            "[[case]]\nname = \"a\"\ninput = [{ z = 0.100000000000000000000000000001, a = 1_000, n = { null = true }, x = +1.5e3, h = 0xff }, \
             9223372036854775807]\nexpect = [{ null = true }, [true, 1979-05-27]]\n",
        )
        .unwrap();
        let json = |text: &str| Written::Json(text.to_owned());
        let first = json("{\"z\":0.100000000000000000000000000001,\"a\":1000,\"n\":null,\"x\":1.5e3,\"h\":255}");
        assert_eq!(found[0].input, CaseRecords::Here(vec![first, json("9223372036854775807")]));
        assert_eq!(found[0].expect, Expect::Outputs(vec![json("null"), json("[true,\"1979-05-27\"]")]));
        let error = read("[[case]]\nname = \"a\"\ninput = [{ x = nan }]\nexpect = []\n").unwrap_err();
        assert!(error.contains("case `a` has an `input` with `nan`"), "{error}");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, part) in [
            ("", "there is no `[[case]]`"),
            ("[[case]]\nname = \"a\"\ninput = []\n", "case `a` needs one of `expect`"),
            ("[[case]]\nname = \"a\"\nexpect = []\n", "case `a` needs one of `input`"),
            ("[[case]]\nname = \"a\"\nexpekt = []\n", "line 3"),
            (
                "[[case]]\nname = \"a\"\ninput = []\nexpect = []\nnow = \"noon\"\n",
                "case `a` has the `now` \"noon\"; write a time such as \"2026-01-31T10:00:00Z\"",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part) && error.contains("orders.test.toml"), "{error}");
        }
    }
}
