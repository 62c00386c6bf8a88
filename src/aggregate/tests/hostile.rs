//! Bytes that no one should send: nothing panics.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const SETTINGS: [(&str, &str); 8] = [
    ("n", "count"),
    ("s", "sum:/x"),
    ("lo", "min:/x"),
    ("hi", "max:/x"),
    ("d", "distinct:/u"),
    ("q", "quantile:/x:0.5"),
    ("f", "first:/u"),
    ("l", "last:/u"),
];

/// Uses a cell in every way.
fn exercise(functions: &Functions, cell: &[u8], sound: &[u8]) {
    let record = record(Some(br#"{"x":7.5,"u":"a"}"#), 5);
    let extraction = Extraction::new(KeySelector::Record, TimeSelector::Record, functions.pointers());
    let (mut found, mut out) = (FoundFields::default(), Vec::new());
    extraction.read(&record, &mut found).unwrap();
    let is_valid = functions.check(cell).is_ok();
    let added = functions.add(Some(cell), &record, &found, 5, &mut out);
    let emitted = functions.emit(None, ResultWindow { from_ms: 0, to_ms: 1, closed: None }, cell, &mut out);
    let merged = [
        functions.merge(cell, sound, &mut out),
        functions.merge(sound, cell, &mut out),
        functions.merge(cell, cell, &mut out),
    ];
    assert_eq!(is_valid, emitted.is_ok(), "{cell:?}");
    let _ = (added, merged);
}

/// Cells of no, of few and of many numbers: every form of every part.
static SOUND: LazyLock<(Functions, Vec<Vec<u8>>)> = LazyLock::new(|| {
    let functions = functions(&SETTINGS);
    let values: Vec<String> = (0..600).map(|n| format!("{{\"x\":{}e{},\"u\":{n}}}", n * 37 % 1000, n % 9)).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let few = [1, 5, 40, 600].map(|count| cell_of(&functions, &values[..count]));
    let cells = [cell_of(&functions, &["{}"])].into_iter().chain(few).collect();
    (functions, cells)
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_cell_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let functions = functions(&SETTINGS);
        let sound = cell_of(&functions, &["{}"]);
        exercise(&functions, &bytes, &sound);
        exercise(&functions, &[&[1], &bytes[..]].concat(), &sound);
    }

    #[test]
    fn a_cell_with_changed_bytes_is_a_cell_or_an_error(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..60, any::<bool>(), any::<u8>()), 1..6),
    ) {
        let (functions, cells) = &*SOUND;
        let mut cell = which.get::<Vec<u8>>(cells).clone();
        for (at, early, is_early, to) in changes {
            let at = if is_early { early.min(cell.len() - 1) } else { at.index(cell.len()) };
            cell[at] = to;
        }
        exercise(functions, &cell, which.get::<Vec<u8>>(cells));
    }

    #[test]
    fn a_changed_value_is_a_value_or_a_reject(
        at in any::<prop::sample::Index>(),
        to in prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[],:-.eE019tfn \n".to_vec())],
        end in any::<prop::sample::Index>(),
    ) {
        let mut value = br#"{"x":-12.50e+3,"u":"a\u00fc","y":[{"z":null},true]} "#.to_vec();
        let at = at.index(value.len());
        value[at] = to;
        value.truncate(end.index(value.len() * 3));
        let functions = functions(&SETTINGS);
        let _ = add(&functions, None, &record(Some(&value), 5));
        let key = KeySelector::parse("json:/y/0/z").unwrap();
        let extraction = Extraction::new(key, TimeSelector::parse("json:/x").unwrap(), &[]);
        let mut found = FoundFields::default();
        let record = record(Some(&value), 5);
        if extraction.read(&record, &mut found).is_ok() {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&value).is_ok());
            let _ = (extraction.key(&record, &found), extraction.time(&record, &found));
        }
    }
}

#[test]
fn a_changed_cell_is_a_cell_or_an_error() {
    let (functions, cells) = &*SOUND;
    for cell in cells {
        functions.check(cell).unwrap();
        for at in (0..cell.len()).filter(|at| *at < 200 || at % 97 == 0) {
            for to in [0, 1, 0x7f, 0x80, 0xff, cell[at].wrapping_add(1)] {
                let mut changed = cell.clone();
                changed[at] = to;
                exercise(functions, &changed, &cells[2]);
            }
            exercise(functions, &cell[..at], &cells[2]);
        }
        exercise(functions, &[&cell[..], &[0]].concat(), &cells[2]);
    }
}

#[test]
fn fields_that_were_found_in_another_value_cause_no_panic() {
    let functions = functions(&SETTINGS);
    let extraction = Extraction::new(KeySelector::Record, TimeSelector::Record, functions.pointers());
    let mut found = FoundFields::default();
    extraction.read(&record(Some(br#"{"x":1,"u":"long enough"}"#), 5), &mut found).unwrap();
    for other in [Some(&b"{}"[..]), Some("{\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}".as_bytes()), None] {
        let _ = functions.add(None, &record(other, 5), &found, 5, &mut Vec::new());
    }
}

#[test]
fn a_cell_has_a_largest_size() {
    let settings: Vec<(String, String)> = (0..60).map(|n| (format!("n{n}"), format!("last:/x{n}"))).collect();
    let settings = settings.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let functions = Functions::parse(settings.chain([("d", "distinct:/u"), ("q", "quantile:/u:0.5")])).unwrap();
    let text = "a".repeat(1022);
    let members: Vec<String> = (0..60).map(|n| format!("\"x{n}\":\"{text}\"")).collect();
    let mut cell = add(&functions, None, &record(Some(format!("{{{}}}", members.join(",")).as_bytes()), 5)).unwrap();
    for n in 0..5000 {
        let value = format!("{{\"u\":{n}e{}}}", n % 40);
        match add(&functions, Some(&cell), &record(Some(value.as_bytes()), 5)) {
            Ok(next) => cell = next,
            Err(error) => {
                assert!(error.to_string().starts_with("cell-too-large: the accumulator has "), "{error}");
                return;
            }
        }
    }
    panic!("the cell has {} bytes", cell.len());
}
