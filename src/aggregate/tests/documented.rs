//! The example of docs/aggregate.md is what wasmill does, and its tables are complete.

use std::collections::BTreeMap;

use super::*;
use crate::aggregate::FoldError;

const DOCUMENT: &str = include_str!("../../../docs/aggregate.md");
const MINUTE_MS: i64 = 60_000;

/// The lines of the code blocks of a language.
fn blocks(language: &str) -> Vec<Vec<&'static str>> {
    let fenced = DOCUMENT.split("\n```").filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    fenced.map(|block| block.lines().collect()).collect()
}

#[test]
fn the_example_gives_the_results_that_are_shown() {
    let step = blocks("toml").remove(0);
    let text = |line: &'static str| {
        let (name, value) = line.split_once(" = ")?;
        Some((name, value.strip_prefix('"')?.strip_suffix('"')?))
    };
    let of_step: BTreeMap<&str, &str> = step.iter().filter_map(|line| text(line)).collect();
    let settings = step.iter().skip_while(|line| **line != "[step.settings]").filter_map(|line| text(line));
    let functions = Functions::parse(settings).unwrap();
    let key = KeySelector::parse(of_step["key"]).unwrap();
    let extraction = Extraction::new(key, TimeSelector::parse(of_step["time"]).unwrap(), functions.pointers());
    let [records, results] = <[Vec<&str>; 2]>::try_from(blocks("json")).unwrap();
    let (mut cells, mut found) = (BTreeMap::new(), FoundFields::default());
    for value in records {
        let record = record(Some(value.as_bytes()), -1);
        extraction.read(&record, &mut found).unwrap();
        let key = extraction.key(&record, &found).unwrap().unwrap().into_owned();
        let time = extraction.time(&record, &found).unwrap();
        let cell: &mut Option<Vec<u8>> = cells.entry((time / MINUTE_MS * MINUTE_MS, key)).or_default();
        let mut next = Vec::new();
        functions.add(cell.as_deref(), &record, &found, time, &mut next).unwrap();
        *cell = Some(next);
    }
    let emitted = cells.iter().map(|((from, key), cell)| {
        let mut out = Vec::new();
        let window = ResultWindow { from_ms: *from, to_ms: from + MINUTE_MS, closed: None };
        functions.emit(Some(key), window, cell.as_deref().unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    });
    assert_eq!(emitted.collect::<Vec<_>>(), results);
}

/// The first cells of the tables' rows, without the marks of code.
fn rows() -> Vec<&'static str> {
    DOCUMENT.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect()
}

#[test]
fn the_functions_of_the_table_can_be_written_as_they_are() {
    let functions: Vec<&str> =
        rows().into_iter().filter(|row| row.contains('"')).flat_map(|row| row.split(", ")).collect();
    assert_eq!(functions.len(), 10);
    for function in functions {
        let setting = function.trim_matches(['`', '"']);
        assert!(Functions::parse([("x", setting)]).is_ok(), "{setting}");
    }
    for row in ["json:/customer", "header:id", "const:all"] {
        assert!(rows().contains(&format!("`{row}`").as_str()) && KeySelector::parse(row).is_ok());
    }
    for row in ["json:/at", "header:at", "seconds:json:/at", "seconds:header:at"] {
        assert!(DOCUMENT.contains(&format!("`{row}`")) && TimeSelector::parse(row).is_ok());
    }
}

#[test]
fn every_code_of_a_reject_is_in_the_table() {
    let codes: Vec<&str> = DOCUMENT
        .split("## Rejected records")
        .nth(1)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let sources = [
        include_str!("../scan.rs"),
        include_str!("../extraction.rs"),
        include_str!("../field.rs"),
        include_str!("../number.rs"),
        include_str!("../distinct.rs"),
        include_str!("../edge.rs"),
        include_str!("../functions.rs"),
    ];
    let mut used: Vec<&str> = sources
        .iter()
        .flat_map(|source| ["Reject::new(\"", ".reject(\""].map(|call| source.split(call).skip(1)))
        .flatten()
        .filter_map(|rest| rest.split('"').next())
        .collect();
    used.sort_unstable();
    used.dedup();
    let mut documented = codes;
    documented.sort_unstable();
    assert_eq!(used, documented);
    let functions = functions(&[("x", "sum:/x")]);
    let error = add(&functions, None, &record(Some(b"{"), 5)).unwrap_err();
    assert!(matches!(error, FoldError::Reject(reject) if reject.code == "bad-json"));
}
