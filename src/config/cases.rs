//! The test cases of a pipeline, in a file beside its own: `orders.test.toml` for `orders.toml`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

/// One case: records in, and what has to become of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The step that is run alone; else all are.
    pub step: Option<String>,
    /// The records.
    pub input: Records,
    /// What has to come out.
    pub expect: Expect,
}

/// Records of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Records {
    /// In the file itself: a text is a record's value, an object a whole record.
    Here(Vec<Value>),
    /// A file with a record's value on each line.
    File(PathBuf),
}

/// What has to come out.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// These outputs, in order: a text is a value, an object what counts of an output.
    Outputs(Vec<Value>),
    /// The outputs in this file, an object a line.
    File(PathBuf),
    /// Each record fails with this code.
    Error(String),
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
    input: Option<Vec<Value>>,
    input_file: Option<PathBuf>,
    expect: Option<Vec<Value>>,
    expect_file: Option<PathBuf>,
    expect_error: Option<String>,
}

/// Where the cases of a pipeline's file are.
#[must_use]
pub fn cases_path(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("test.toml")
}

/// Reads a file of cases. Paths in it are relative to it.
///
/// # Errors
/// What is wrong with it, and where: for people.
pub fn cases(path: &Path) -> Result<Vec<Case>, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("read the test cases {shown}: {error}"))?;
    let file: RawFile = toml::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
    if file.case.is_empty() {
        return Err(format!("{shown}: there is no `[[case]]` in it"));
    }
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    file.case.into_iter().map(|case| checked(case, folder, path)).collect()
}

fn checked(case: RawCase, folder: &Path, path: &Path) -> Result<Case, String> {
    let RawCase { name, step, input, input_file, expect, expect_file, expect_error } = case;
    let wrong = |what: &str| format!("{}: case `{name}` {what}", path.display());
    let input = match (input, input_file) {
        (Some(records), None) => Records::Here(records),
        (None, Some(file)) => Records::File(folder.join(file)),
        (Some(_), Some(_)) | (None, None) => return Err(wrong("needs one of `input` and `input_file`")),
    };
    let expect = match (expect, expect_file, expect_error) {
        (Some(outputs), None, None) => Expect::Outputs(outputs),
        (None, Some(file), None) => Expect::File(folder.join(file)),
        (None, None, Some(code)) => Expect::Error(code),
        _ => return Err(wrong("needs one of `expect`, `expect_file` and `expect_error`")),
    };
    Ok(Case { name, step, input, expect })
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
    fn a_case_has_records_and_what_becomes_of_them() {
        let found =
            read("[[case]]\nname = \"a\"\ninput = ['{\"x\":1}', { key = \"k\", value = \"v\" }]\nexpect = []\n")
                .unwrap();
        let records = vec![Value::from("{\"x\":1}"), serde_json::json!({ "key": "k", "value": "v" })];
        assert_eq!(found[0].input, Records::Here(records));
        assert_eq!((&found[0].expect, &found[0].step), (&Expect::Outputs(Vec::new()), &None));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, part) in [
            ("", "there is no `[[case]]`"),
            ("[[case]]\nname = \"a\"\ninput = []\n", "case `a` needs one of `expect`"),
            ("[[case]]\nname = \"a\"\nexpect = []\n", "case `a` needs one of `input`"),
            ("[[case]]\nname = \"a\"\nexpekt = []\n", "line 3"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part) && error.contains("orders.test.toml"), "{error}");
        }
    }
}
