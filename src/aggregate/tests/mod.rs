//! What a user relies on, tested through the module's own interface.

mod documented;
mod extraction;
mod functions;
mod hostile;
mod laws;
mod settings;

use super::Extraction;
use super::FoundFields;
use super::Functions;
use super::KeySelector;
use super::Reject;
use super::ResultWindow;
use super::TimeSelector;
use crate::record::Headers;
use crate::record::Record;

/// A record with this value, and event time `timestamp`.
fn record(value: Option<&[u8]>, timestamp: i64) -> Record<'_> {
    Record { offset: 0, timestamp, attempt: 0, key: Some(b"k"), value, headers: Headers::default() }
}

fn functions(settings: &[(&str, &str)]) -> Functions {
    Functions::parse(settings.iter().copied()).unwrap()
}

/// Folds a record into a cell, as the host does.
fn add(functions: &Functions, cell: Option<&[u8]>, record: &Record<'_>) -> Result<Vec<u8>, super::FoldError> {
    let extraction = Extraction::new(KeySelector::Record, TimeSelector::Record, functions.pointers());
    let (mut found, mut out) = (FoundFields::default(), vec![0xaa]);
    extraction.read(record, &mut found)?;
    let result = functions.add(cell, record, &found, record.timestamp, &mut out);
    if result.is_err() {
        assert_eq!(out, [0xaa], "an error appends nothing");
    }
    result?;
    let cell = out.split_off(1);
    functions.check(&cell).unwrap();
    Ok(cell)
}

/// The cell of these values, all with the same event time.
fn cell_of(functions: &Functions, values: &[&str]) -> Vec<u8> {
    values
        .iter()
        .fold(None, |cell: Option<Vec<u8>>, value| {
            Some(add(functions, cell.as_deref(), &record(Some(value.as_bytes()), 5)).unwrap())
        })
        .unwrap_or_default()
}

/// The result of a minute.
fn emitted(functions: &Functions, cell: &[u8]) -> String {
    let mut out = Vec::new();
    functions.emit(Some(b"k"), ResultWindow { from_ms: 0, to_ms: 60_000, closed: None }, cell, &mut out).unwrap();
    assert!(super::json::is_valid(std::str::from_utf8(&out).unwrap()));
    String::from_utf8(out).unwrap()
}

/// The settings' fields of the result of these values.
fn result_of(settings: &[(&str, &str)], values: &[&str]) -> String {
    let functions = functions(settings);
    let result = emitted(&functions, &cell_of(&functions, values));
    let head = r#"{"key":"k","from":"1970-01-01T00:00:00.000Z","to":"1970-01-01T00:01:00.000Z","#;
    result.strip_prefix(head).and_then(|rest| rest.strip_suffix('}')).unwrap().to_owned()
}

/// The reject of a record after those of `before`.
fn reject_after(settings: &[(&str, &str)], before: &[&str], value: &str) -> Reject {
    let functions = functions(settings);
    let cell = Some(cell_of(&functions, before)).filter(|cell| !cell.is_empty());
    match add(&functions, cell.as_deref(), &record(Some(value.as_bytes()), 5)) {
        Err(super::FoldError::Reject(reject)) => reject,
        other => panic!("{other:?}"),
    }
}
