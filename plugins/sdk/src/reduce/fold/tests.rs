//! What the calls answer: cells, failures and outputs.

use std::cell::Cell;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::Emitter;
use crate::Record;
use crate::Reduce;
use crate::Verdict;
use crate::Window;
use crate::bindings::reducer::exports::wasmill::plugin::reducer::Folded;
use crate::bindings::reducer::exports::wasmill::plugin::reducer::Windows;
use crate::bindings::reducer::wasmill::plugin::cells::Cells;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::bindings::wasmill::plugin::types::Failure;
use crate::bindings::wasmill::plugin::types::Source;
use crate::error;
use crate::log;
use crate::metrics;
use crate::reject;
use crate::retry;
use crate::testing::Input;
use crate::testing::ReduceHarness;

use super::add;
use super::emit;
use super::merge;

thread_local! {
    static READS: Cell<u32> = const { Cell::new(0) };
    static WRITES: Cell<u32> = const { Cell::new(0) };
    static ADDS: Cell<u32> = const { Cell::new(0) };
}

/// A text that counts how often it is decoded and encoded.
#[derive(Default)]
struct Text(String);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        WRITES.set(WRITES.get() + 1);
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text, D::Error> {
        READS.set(READS.get() + 1);
        String::deserialize(from).map(Text)
    }
}

/// Appends values, and fails after that if a value begins with `reject`, `retry`, `error` or, the second time, `once`.
struct Join;

impl Reduce for Join {
    type Acc = Text;
    const STATE_VERSION: u8 = 3;

    fn init(_: &str, _: &[String]) -> Result<Self, String> {
        Ok(Join)
    }

    fn add(&mut self, acc: &mut Text, record: Record<'_>) -> Verdict {
        ADDS.set(ADDS.get() + 1);
        metrics::count("added", 1);
        metrics::observe("added", 1.0);
        let value = String::from_utf8_lossy(record.value.unwrap_or_default());
        acc.0.push_str(&value);
        match &*value {
            "reject" => Err(reject("told-to", "told to reject")),
            "retry" => Err(retry("told to retry")),
            "error" => Err(error("told to fail")),
            "log" => {
                log::info("told to log");
                Ok(())
            }
            "once" if ADDS.get() > 1 => Err(reject("told-to", "not again")),
            "nothing" => {
                acc.0.truncate(acc.0.len() - "nothing".len());
                Ok(())
            }
            "large" => {
                acc.0 = "x".repeat(65_536 - 4);
                Ok(())
            }
            "largest" => {
                acc.0 = "x".repeat(65_536 - 4 + 1);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn merge(&mut self, acc: &mut Text, later: Text) {
        acc.0.push_str(&later.0);
    }

    fn emit(&mut self, window: Window<'_>, acc: &Text, out: &mut Emitter<'_>) -> Verdict {
        let text = format!("{} {} {} {}", acc.0, window.start, window.end, window.closed);
        out.output(0).value(Some(text.as_bytes()));
        if acc.0.starts_with("reject") { Err(reject("told-to", "told to reject")) } else { Ok(()) }
    }

    fn upgrade(version: u8, bytes: &[u8]) -> Option<Text> {
        (version == 2).then(|| Text(String::from_utf8_lossy(bytes).into_owned()))
    }
}

/// The cell of a text.
fn cell(text: &str) -> Vec<u8> {
    [&[3, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn cells(index: &[u32], cells: &[Option<&[u8]>]) -> Cells {
    let length = |cell: &Option<&[u8]>| cell.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap());
    Cells {
        index: index.to_vec(),
        lengths: cells.iter().map(length).collect(),
        data: cells.iter().flatten().copied().flatten().copied().collect(),
    }
}

fn batch(values: &[&str]) -> Batch {
    let length = |value: &str| i32::try_from(value.len()).unwrap();
    Batch {
        offsets: (100..).take(values.len()).collect(),
        timestamps: vec![-1; values.len()],
        attempts: vec![0; values.len()],
        layout: values.iter().flat_map(|value| [-1, length(value), 0]).collect(),
        data: values.concat().into_bytes(),
    }
}

/// Folds records with these values into cells.
fn folded(values: &[&str], index: &[u32], old: &[Option<&[u8]>]) -> Result<Folded, String> {
    READS.set(0);
    WRITES.set(0);
    ADDS.set(0);
    add(&mut Join, &Source { topic: "t".to_owned(), partition: 0 }, &batch(values), &cells(index, old))
}

fn failed(folded: &Folded) -> Vec<u32> {
    folded.failures.iter().map(|failed| failed.index).collect()
}

#[test]
fn a_cell_is_decoded_once_and_encoded_once_however_many_records_it_has() {
    let old = cell("a");
    let folded = folded(&["b", "x", "c", "y"], &[0, 1, 0, 1], &[Some(&old), None]).unwrap();
    assert_eq!(folded.changes.lengths, [5, 4]);
    assert_eq!(folded.changes.data, [cell("abc"), cell("xy")].concat());
    assert_eq!((READS.get(), WRITES.get(), ADDS.get()), (1, 2, 4));
    assert!(folded.failures.is_empty());
}

#[test]
fn an_unchanged_cell_brings_no_bytes() {
    let old = cell("a");
    let folded = folded(&["nothing", "nothing"], &[0, 1], &[Some(&old), None]).unwrap();
    assert_eq!((folded.changes.lengths, folded.changes.data), (vec![-2, 2], cell("")));
}

#[test]
fn a_failed_record_leaves_its_cell_as_it_was() {
    let old = cell("a");
    let values = ["reject", "b", "retry", "c", "reject", "z", "reject", "retry"];
    let folded = folded(&values, &[0, 0, 0, 0, 0, 1, 2, 3], &[Some(&old), Some(&old), Some(&old), None]).unwrap();
    assert_eq!(folded.changes.lengths, [5, 4, -2, -2]);
    assert_eq!(folded.changes.data, [cell("abc"), cell("az")].concat());
    assert_eq!(failed(&folded), [0, 2, 4, 6, 7]);
    assert!(matches!(&folded.failures[1].failure, Failure::Retry(retry) if retry.reason == "told to retry"));
    assert!(matches!(&folded.failures[2].failure, Failure::Reject(reject) if reject.code == "told-to"));
    // `b` and `c` were added once more.
    assert_eq!(ADDS.get(), 8 + 2);
}

#[test]
fn each_record_is_added_again_at_most_once_however_many_fail() {
    let values: Vec<&str> = ["b", "reject"].into_iter().cycle().take(200).collect();
    let folded = folded(&values, &[0; 200], &[None]).unwrap();
    assert_eq!(folded.changes.data, cell(&"b".repeat(100)));
    assert_eq!((ADDS.get(), folded.failures.len()), (200 + 100, 100));
}

#[test]
fn what_is_logged_and_counted_is_not_repeated_when_a_record_is_added_again() {
    let minute = Duration::from_secs(60);
    let mut join = ReduceHarness::<Join>::new("{}", &["main"], minute, minute).unwrap();
    for value in ["a", "log", "reject", "b"] {
        join.push(Input::value(value).timestamp(0));
    }
    assert_eq!(join.failures().len(), 1);
    assert_eq!(join.cell(None, 0), Some(&cell("alogb")[..]));
    assert_eq!((join.counter("added"), join.observations("added").len(), join.logs().len()), (4, 4, 1));
}

#[test]
fn an_error_fails_the_whole_call_and_forgets_its_counts() {
    assert_eq!(folded(&["a", "error"], &[0, 1], &[None, None]).unwrap_err(), "told to fail");
    let minute = Duration::from_secs(60);
    let mut join = ReduceHarness::<Join>::new("{}", &["main"], minute, minute).unwrap();
    join.push(Input::value("a").timestamp(0));
    let offset = join.push(Input::value("error").timestamp(0));
    join.push(Input::value("b").timestamp(0));
    assert_eq!(join.failures(), [(offset, error("told to fail"))]);
    assert_eq!(join.cell(None, 0), Some(&cell("ab")[..]));
    assert_eq!(join.counter("added"), 2);
}

#[test]
fn an_add_that_fails_only_the_second_time_fails_the_call_and_says_why() {
    let error = folded(&["once", "reject"], &[0, 0], &[None]).unwrap_err();
    for part in ["offset 100", "not again", "must depend on"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
}

#[test]
fn an_older_cell_is_upgraded_and_written_in_the_own_version() {
    let folded = folded(&["b", "nothing", "reject"], &[0, 1, 2], &[Some(&b"\x02a"[..]); 3]).unwrap();
    assert_eq!(folded.changes.lengths, [4, 3, -2]);
    assert_eq!(folded.changes.data, [cell("ab"), cell("a")].concat());
}

#[test]
fn a_cell_of_an_unknown_version_or_with_damage_fails_the_call_and_names_both_versions() {
    for (old, parts) in [
        (&b"\x04a"[..], &["offset 101", "state version 4", "has version 3", "`upgrade`"][..]),
        (b"\x03\x05a", &["offset 101", "state version 3", "(version 3)", "can't be decoded", "`STATE_VERSION`"]),
        (b"\x03\x01ab", &["offset 101", "1 bytes are left over"]),
        (b"", &["offset 101", "no byte for its version"]),
    ] {
        let error = folded(&["b", "c"], &[0, 1], &[None, Some(old)]).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
    }
}

#[test]
fn a_cell_has_at_most_64_kib() {
    let full = folded(&["large"], &[0], &[None]).unwrap();
    assert_eq!(full.changes.lengths, [65_536]);
    let over = folded(&["largest"], &[0], &[None]).unwrap();
    assert_eq!((over.changes.lengths, over.changes.data.len()), (vec![-2], 0));
    assert!(matches!(&over.failures[0].failure, Failure::Reject(reject) if reject.code == "cell-too-large"));
    let error = folded(&["a", "largest"], &[0, 1], &[None, None]).unwrap_err();
    assert_eq!(error, "the accumulator of the record at offset 101 would have more than 64 KiB");

    let minute = Duration::from_secs(60);
    let mut join = ReduceHarness::<Join>::new("{}", &["main"], minute, minute).unwrap();
    for value in ["large", "a", "nothing"] {
        join.push(Input::value(value).timestamp(0));
    }
    let failures: Vec<i64> = join.failures().iter().map(|(offset, _)| *offset).collect();
    assert_eq!((failures, join.cell(None, 0).unwrap().len()), (vec![1], 65_536));
}

#[test]
fn pairs_are_merged_into_the_earlier_one() {
    let all = [cell("a"), cell("b"), cell("c"), cell(""), b"\x02d".to_vec(), cell("e")];
    let pairs: Vec<Option<&[u8]>> = all.iter().map(|cell| Some(&cell[..])).collect();
    let changes = merge(&mut Join, &cells(&[], &pairs)).unwrap();
    assert_eq!(changes.lengths, [4, -2, 4]);
    assert_eq!(changes.data, [cell("ab"), cell("de")].concat());
    let error = merge(&mut Join, &cells(&[], &[Some(&all[0]), Some(b"\x07")])).unwrap_err();
    assert!(error.starts_with("an accumulator of pair 0 to merge has the state version 7"), "{error}");
}

#[test]
fn windows_are_emitted_with_references_to_their_keys() {
    let texts = ["a", "reject", "b"].map(cell);
    let data = texts.iter().flat_map(|cell| [b"k", &cell[..]].concat()).collect();
    let length = |cell: &Vec<u8>| i32::try_from(cell.len()).unwrap();
    let keyed = Batch {
        offsets: vec![0, 1, 2],
        timestamps: vec![9; 3],
        attempts: vec![0; 3],
        layout: texts.iter().flat_map(|cell| [1, length(cell), 0]).collect(),
        data,
    };
    let outcome = emit(&mut Join, &Windows { keyed, starts: vec![0; 3], ends: vec![10; 3], closed: true }).unwrap();
    assert_eq!(outcome.counts, [1, 0, 1]);
    assert_eq!(outcome.layout, [-2, 11, -2, -2, 11, -2]);
    assert_eq!(outcome.data, b"a 0 10 trueb 0 10 true");
    assert_eq!(outcome.failures.iter().map(|failed| failed.index).collect::<Vec<_>>(), [1]);
    assert!(outcome.timestamps.is_empty());
}

#[test]
fn a_window_whose_accumulator_cannot_be_read_is_named() {
    let minute = Duration::from_secs(60);
    let mut join = ReduceHarness::<Join>::new("{}", &["main"], minute, minute).unwrap();
    join.set_cell(Some(b"ann"), 61_000, b"\x09".to_vec());
    let error = join.close_all().unwrap_err();
    let start =
        "the accumulator of the key \"ann\" in the window from 1970-01-01T00:01:00.000Z has the state version 9";
    assert!(error.starts_with(start), "{error}");
}

/// Random records, some of which fail, give the same cells, failures and outputs in calls of any size.
#[test]
fn the_number_of_records_of_a_call_changes_nothing() {
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let inputs: Vec<Input> = (0..600)
        .map(|_| {
            let value = ["a", "b", "c", "nothing", "reject", "retry", "error"][usize::try_from(random(7)).unwrap()];
            let time = i64::try_from(random(50_000)).unwrap();
            Input::value(value).key(["x", "y"][usize::try_from(random(2)).unwrap()]).timestamp(time)
        })
        .collect();
    let run = |per_call| {
        let (size, every) = (Duration::from_secs(20), Duration::from_secs(5));
        let join = ReduceHarness::<Join>::new("{}", &["main"], size, every).unwrap();
        let mut join = join.records_per_call(per_call);
        let mut shown = Vec::new();
        for (number, input) in inputs.iter().enumerate() {
            join.push(input.clone());
            if number == 400 {
                shown.extend(join.advance_to(22_000).unwrap());
            }
        }
        shown.extend(join.close_all().unwrap());
        (shown, join.failures().to_vec(), join.late())
    };
    let single = run(1);
    assert!(!single.0.is_empty() && !single.1.is_empty() && single.2 > 0);
    for per_call in [2, 7, 128, 600] {
        assert_eq!(run(per_call), single, "{per_call}");
    }
}
