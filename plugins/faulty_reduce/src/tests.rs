//! What the plugin answers; the host's tests cover traps and endless loops.

use wasmill_sdk::bindings::wasmill::plugin::types::Failure;

use super::*;

fn settings(fault: &str, place: &str) -> Settings {
    Settings::parse(&format!(r#"{{"fault":"{fault}","in":"{place}"}}"#)).unwrap()
}

/// Three records, of which the second contains the marker, for the cells 0, 1 and 0; the first cell has counted 5.
fn added(settings: &Settings) -> Result<Folded, String> {
    let batch = Batch {
        offsets: vec![1, 2, 3],
        timestamps: vec![0; 3],
        attempts: vec![0; 3],
        layout: vec![1, 1, 1, 1, 1, -1, 7, 0, 1, -1, 0],
        data: b"kvhvso bad!k".to_vec(),
    };
    let five = State { count: 5, marked: false }.written();
    add(settings, &batch, &Cells { index: vec![0, 1, 0], lengths: vec![9, -1], data: five })
}

/// A pair of 5 and 2, and a pair of 1 and a marked 3.
fn merged(settings: &Settings) -> Result<Changes, String> {
    let states = [(5, false), (2, false), (1, false), (3, true)];
    let data = states.iter().flat_map(|&(count, marked)| State { count, marked }.written()).collect();
    merge(settings, &Cells { index: vec![], lengths: vec![9; 4], data })
}

/// A window that counted 5, and a marked one of the null key.
fn emitted(settings: &Settings) -> Result<Outcome, String> {
    let windows = [(&b"k"[..], 5, false), (b"", 2, true)];
    let data = windows.iter().flat_map(|&(key, count, marked)| [key, &State { count, marked }.written()].concat());
    let keyed = Batch {
        offsets: vec![0, 1],
        timestamps: vec![9; 2],
        attempts: vec![0; 2],
        layout: vec![1, 9, 0, -1, 9, 0],
        data: data.collect(),
    };
    emit(settings, &Windows { keyed, starts: vec![0; 2], ends: vec![10; 2], closed: true })
}

fn states(changes: &Changes) -> Vec<Option<State>> {
    let cells = Cells { index: vec![], lengths: changes.lengths.clone(), data: changes.data.clone() };
    columns::cells(&cells).map(|cell| cell.map(State::read)).collect()
}

fn state(count: u64, marked: bool) -> Option<State> {
    Some(State { count, marked })
}

fn indexes(failures: &[wasmill_sdk::bindings::wasmill::plugin::columns::Failed]) -> Vec<u32> {
    failures.iter().map(|failed| failed.index).collect()
}

#[test]
fn counts_records_if_nothing_goes_wrong() {
    let none = Settings::parse("{}").unwrap();
    assert_eq!(states(&added(&none).unwrap().changes), [state(7, false), state(1, true)]);
    assert_eq!(states(&merged(&none).unwrap()), [state(7, false), state(4, true)]);
    let outcome = emitted(&none).unwrap();
    assert_eq!(outcome.layout, [-2, 38, -2, -2, 39, -2]);
    let texts = r#"{"key":"k","from":0,"to":10,"count":5}{"key":null,"from":0,"to":10,"count":2}"#;
    assert_eq!(String::from_utf8(outcome.data).unwrap(), texts);
}

#[test]
fn fails_only_where_it_is_told_to() {
    for (place, [adds, merges, emits]) in
        [("add", [true, false, false]), ("merge", [false, true, false]), ("emit", [false, false, true])]
    {
        let error = settings("error", place);
        assert_eq!(added(&error).is_err(), adds);
        assert_eq!(merged(&error).is_err(), merges);
        assert_eq!(emitted(&error).is_err(), emits);
    }
    let other = Settings::parse(r#"{"fault":"error","marker":"good"}"#).unwrap();
    assert!(added(&other).is_ok());
    let later = Settings::parse(r#"{"fault":"error","attempts":0}"#).unwrap();
    assert!(added(&later).is_ok());
}

#[test]
fn a_failed_record_or_window_leaves_the_others() {
    for fault in ["reject", "retry"] {
        let folded = added(&settings(fault, "add")).unwrap();
        assert_eq!(states(&folded.changes), [state(7, false), None]);
        assert_eq!((folded.changes.lengths, indexes(&folded.failures)), (vec![9, -2], vec![1]));
        assert_eq!(matches!(folded.failures[0].failure, Failure::Retry(_)), fault == "retry");
        let outcome = emitted(&settings(fault, "emit")).unwrap();
        assert_eq!((outcome.counts, outcome.layout), (vec![1, 0], vec![-2, 38, -2]));
        assert_eq!(indexes(&outcome.failures), [1]);
    }
}

#[test]
fn changes_are_damaged_as_told() {
    for place in ["add", "merge"] {
        for (fault, lengths, bytes) in [
            ("too-few-lengths", &[9][..], 9),
            ("too-many-lengths", &[9, 9, -2], 18),
            ("length-below-2", &[9, -3], 9),
            ("bytes-left-over", &[9, 9], 19),
            ("bytes-missing", &[9, 9], 17),
            ("cell-too-large", &[65_537, 9], 65_546),
        ] {
            let settings = settings(fault, place);
            let changes = if place == "add" { added(&settings).unwrap().changes } else { merged(&settings).unwrap() };
            assert_eq!((&changes.lengths[..], changes.data.len()), (lengths, bytes), "{fault} in {place}");
        }
    }
}

#[test]
fn outcomes_are_damaged_as_told() {
    for (fault, counts, first, bytes) in [
        ("too-few-lengths", &[1][..], -2, 77),
        ("too-many-lengths", &[1, 1, 0], -2, 77),
        ("length-below-2", &[1, 1], -3, 77),
        ("bytes-left-over", &[1, 1], -2, 78),
        ("bytes-missing", &[1, 1], -2, 76),
    ] {
        let outcome = emitted(&settings(fault, "emit")).unwrap();
        assert_eq!((&outcome.counts[..], outcome.layout[0], outcome.data.len()), (counts, first, bytes), "{fault}");
    }
}

#[test]
fn failures_are_misplaced_as_told() {
    for (fault, of_add, of_emit) in
        [("failures-out-of-order", &[1, 0][..], &[1, 0][..]), ("failure-out-of-range", &[3], &[2])]
    {
        assert_eq!(indexes(&added(&settings(fault, "add")).unwrap().failures), of_add);
        assert_eq!(indexes(&emitted(&settings(fault, "emit")).unwrap().failures), of_emit);
    }
}

#[test]
fn refuses_faults_that_a_function_cannot_have() {
    for (fault, place) in [("reject", "merge"), ("failure-out-of-range", "merge"), ("cell-too-large", "emit")] {
        assert!(Settings::parse(&format!(r#"{{"fault":"{fault}","in":"{place}"}}"#)).is_err(), "{fault} in {place}");
    }
    assert!(Settings::parse(r#"{"faults":"trap"}"#).is_err());
}

#[test]
#[should_panic(expected = "told to trap")]
fn traps_as_told() {
    let _ = emitted(&settings("trap", "emit"));
}
