//! What `keys` answers.

use std::time::Duration;

use crate::Emitter;
use crate::Failure;
use crate::KeyBuffer;
use crate::KeyBy;
use crate::Keyed;
use crate::Record;
use crate::Reduce;
use crate::Verdict;
use crate::Window;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::error;
use crate::reject;
use crate::testing::Input;
use crate::testing::ReduceHarness;

use super::keys;

/// Counts; the value says what its key is.
struct Count;

impl Reduce for Count {
    type Acc = u64;

    fn init(_: &str, _: &[String]) -> Result<Self, String> {
        Ok(Count)
    }

    fn add(&mut self, count: &mut u64, _: Record<'_>) -> Verdict {
        *count += 1;
        Ok(())
    }

    fn merge(&mut self, count: &mut u64, later: u64) {
        *count += later;
    }

    fn emit(&mut self, window: Window<'_>, count: &u64, out: &mut Emitter<'_>) -> Verdict {
        let key = window.key_text();
        out.output(0).value(Some(format!("{key:?} {count}").as_bytes()));
        Ok(())
    }
}

impl KeyBy for Count {
    fn key(&mut self, record: Record<'_>, key: KeyBuffer<'_>) -> Result<Keyed, Failure> {
        match record.value.unwrap_or_default() {
            b"null" => Ok(key.null()),
            b"drop" => Ok(key.drop()),
            b"later" => Ok(key.bytes(b"later").at(61_000)),
            b"before" => Ok(key.bytes(b"never").at(-5)),
            b"error" => Err(error("told to fail")),
            b"reject" => {
                let _ = key.bytes(b"left over");
                Err(reject("told-to", "told to reject"))
            }
            value => Ok(key.write(|to| to.extend_from_slice(&value[..1]))),
        }
    }
}

fn batch(values: &[&str]) -> Batch {
    let length = |value: &str| i32::try_from(value.len()).unwrap();
    Batch {
        offsets: (0..).take(values.len()).collect(),
        timestamps: (7..).take(values.len()).collect(),
        attempts: vec![0; values.len()],
        layout: values.iter().flat_map(|value| [-1, length(value), 0]).collect(),
        data: values.concat().into_bytes(),
    }
}

#[test]
fn keys_are_bytes_or_null_or_there_are_none() {
    let found = keys(&mut Count, &batch(&["abc", "null", "drop", "reject", "xyz"])).unwrap();
    assert_eq!((found.lengths, found.data), (vec![1, -1, -2, -2, 1], b"ax".to_vec()));
    assert!(found.times.is_empty());
    assert_eq!(found.failures.iter().map(|failed| failed.index).collect::<Vec<_>>(), [3]);
}

#[test]
fn the_other_records_of_a_call_keep_their_timestamps() {
    let found = keys(&mut Count, &batch(&["abc", "later", "xyz"])).unwrap();
    assert_eq!((found.lengths, found.times), (vec![1, 5, 1], vec![7, 61_000, 9]));
}

#[test]
fn a_negative_time_is_rejected() {
    let found = keys(&mut Count, &batch(&["before", "abc"])).unwrap();
    assert_eq!((found.lengths, found.data, found.failures.len()), (vec![-2, 1], b"a".to_vec(), 1));
    assert!(found.times.is_empty());
}

#[test]
fn an_error_fails_the_whole_call() {
    assert_eq!(keys(&mut Count, &batch(&["abc", "error"])).unwrap_err(), "told to fail");
}

#[test]
fn the_harness_uses_keys_and_times_and_runs_a_failed_call_one_by_one() {
    let minute = Duration::from_secs(60);
    let mut count = ReduceHarness::<Count>::keyed_by("{}", &["main"], minute, minute).unwrap();
    for value in ["abc", "later", "drop", "error", "null", "before"] {
        count.push(Input::value(value).key("own").timestamp(1000));
    }
    count.push(Input::value("abc"));
    let failures: Vec<String> =
        count.failures().iter().map(|(offset, failure)| format!("{offset} {failure}")).collect();
    let [first, second, third] = &failures[..] else { panic!("{failures:?}") };
    assert_eq!((first.as_str(), count.dropped()), ("3 error: told to fail", 1));
    assert!(second.starts_with("5 reject (no-time)") && third.starts_with("6 reject (no-time)"), "{failures:?}");
    let shown = count.close_all().unwrap();
    let text = |n: usize| String::from_utf8(shown[n].outputs.clone().unwrap()[0].value.clone().unwrap()).unwrap();
    assert_eq!((0..shown.len()).map(text).collect::<Vec<_>>(), ["None 1", "Some(\"a\") 1", "Some(\"later\") 1"]);
    assert_eq!(shown.iter().map(|shown| shown.start).collect::<Vec<_>>(), [0, 0, 60_000]);
}
