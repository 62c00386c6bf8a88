//! The columns that a plugin's calls produce, and the records that it sees.

use crate::Emitter;
use crate::Header;
use crate::Record;
use crate::Transform;
use crate::Verdict;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::bindings::wasmill::plugin::columns::Outcome;
use crate::bindings::wasmill::plugin::types::Source;
use crate::reject;
use crate::retry;

use super::run;

/// A plugin made of a function, which gets the index of the record.
struct Plugin<F>(F, usize);

impl<F: FnMut(usize, Record<'_>, &mut Emitter<'_>) -> Verdict> Transform for Plugin<F> {
    fn init(_: &str, _: &[String]) -> Result<Self, String> {
        Err("made by the test".to_owned())
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        self.1 += 1;
        (self.0)(self.1 - 1, record, out)
    }
}

/// Runs three records: a key and two headers, one of them null; a tombstone; an empty value.
fn outcome(process: impl FnMut(usize, Record<'_>, &mut Emitter<'_>) -> Verdict) -> Outcome {
    let batch = Batch {
        offsets: vec![5, 7, 8],
        timestamps: vec![1_000, -1, 0],
        attempts: vec![0, 2, 0],
        layout: vec![1, 5, 2, 1, 2, 1, -1, -1, -1, 0, 0, 0, 0],
        data: b"kvalueaxyb".to_vec(),
    };
    run(&mut Plugin(process, 0), &Source { topic: "orders".to_owned(), partition: 3 }, &batch).unwrap()
}

#[test]
fn records_are_read_unchanged() {
    let mut seen = Vec::new();
    outcome(|_, record, _| {
        let headers: Vec<_> = record.headers().iter().map(|h| (h.name.to_vec(), h.value.map(<[u8]>::to_vec))).collect();
        let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
        seen.push((record.offset, record.timestamp, record.attempt, key, value, headers));
        assert_eq!((record.topic, record.partition), ("orders", 3));
        Ok(())
    });
    let headers = vec![(b"a".to_vec(), Some(b"xy".to_vec())), (b"b".to_vec(), None)];
    assert_eq!(
        seen,
        [
            (5, Some(1_000), 0, Some(b"k".to_vec()), Some(b"value".to_vec()), headers),
            (7, None, 2, None, None, vec![]),
            (8, Some(0), 0, Some(vec![]), Some(vec![]), vec![]),
        ]
    );
}

#[test]
fn unchanged_fields_are_references_and_default_columns_stay_empty() {
    let outcome = outcome(|number, _, out| {
        match number {
            0 => out.forward(0),
            1 => out.output(0).value(Some(b"new")),
            _ => out.output(0).key(None).send(),
        }
        Ok(())
    });
    assert_eq!(outcome.counts, [1, 1, 1]);
    assert_eq!(outcome.layout, [-2, -2, -2, -2, 3, -2, -1, -2, -2]);
    assert_eq!(outcome.data, b"new");
    assert!(outcome.ports.is_empty() && outcome.partitions.is_empty() && outcome.timestamps.is_empty());
}

#[test]
fn a_column_is_filled_with_defaults_before_its_first_other_entry() {
    let outcome = outcome(|number, _, out| {
        match number {
            0 => out.forward(0),
            1 => out.output(2).partition(4).timestamp(9).send(),
            _ => out.output(0).value(None),
        }
        Ok(())
    });
    assert_eq!(outcome.ports, [0, 2, 0]);
    assert_eq!(outcome.partitions, [-1, 4, -1]);
    assert_eq!(outcome.timestamps, [-1, 9, -1]);
    assert_eq!(outcome.layout, [-2, -2, -2, -2, -2, -2, -2, -1, -2]);
}

#[test]
fn bytes_are_written_in_the_order_key_value_headers() {
    let outcome = outcome(|_, record, out| {
        let headers = record.headers().iter().chain([Header::new("c", b"")]);
        out.output(0).key(Some(b"key")).headers(headers).write(|to| to.extend_from_slice(b"VAL"));
        Ok(())
    });
    assert_eq!(outcome.layout, [3, 3, 3, 1, 2, 1, -1, 1, 0, 3, 3, 1, 1, 0, 3, 3, 1, 1, 0]);
    assert_eq!(outcome.data, b"keyVALaxybckeyVALckeyVALc");
}

/// Adjacent bytes of the input are copied together, with no other effect.
#[test]
fn bytes_of_the_input_are_copied_whatever_their_order_and_whatever_stands_between() {
    let outcome = outcome(|number, record, out| {
        let (key, value, headers) = (record.key, record.value, record.headers());
        out.output(0).key(key).headers(headers).value(value);
        if number > 0 {
            return Err(reject("no", "not this one"));
        }
        // Discarded while it is pending, followed by the same output once more.
        out.output(0).key(key).write(|_| Err::<(), ()>(())).unwrap_err();
        out.output(0).key(key).headers(headers).value(value);
        out.output(0).key(value).headers([Header::new("own", b"")]).value(key);
        out.output(0).key(Some(b"")).headers(headers).value(Some(&value.unwrap_or_default()[1..3]));
        // Equal bytes that are not part of the input.
        out.output(0).key(Some(b"k")).value(Some(b"value"));
        Ok(())
    });
    assert_eq!(outcome.counts, [5, 0, 0]);
    assert_eq!(String::from_utf8_lossy(&outcome.data), "kvalueaxybkvalueaxybvaluekownalaxybkvalue");
    let whole = [1, 5, 2, 1, 2, 1, -1];
    assert_eq!(outcome.layout[..14], [whole, whole].concat());
    assert_eq!(outcome.layout[14..], [5, 1, 1, 3, 0, 0, 2, 2, 1, 2, 1, -1, 1, 5, -2]);
}

#[test]
fn a_failed_record_has_no_outputs() {
    let outcome = outcome(|number, _, out| {
        out.output(1).partition(1).timestamp(1).key(Some(b"k")).value(Some(b"v"));
        match number {
            0 => Err(reject("no", "not this one")),
            1 => Ok(()),
            _ => Err(retry("later")),
        }
    });
    assert_eq!(outcome.counts, [0, 1, 0]);
    assert_eq!((outcome.ports, outcome.partitions, outcome.timestamps), (vec![1], vec![1], vec![1]));
    assert_eq!((outcome.layout, outcome.data), (vec![1, 1, -2], b"kv".to_vec()));
    let failed: Vec<u32> = outcome.failures.iter().map(|failed| failed.index).collect();
    assert_eq!(failed, [0, 2]);
}

#[test]
fn discarding_outputs_leaves_no_column_with_only_defaults() {
    let outcome = outcome(|number, _, out| {
        out.forward(0);
        out.forward(u32::from(number == 1));
        if number == 1 { Err(reject("no", "not this one")) } else { Ok(()) }
    });
    assert_eq!(outcome.counts, [2, 0, 2]);
    assert!(outcome.ports.is_empty());
}

#[test]
fn a_record_may_be_forwarded_any_number_of_times() {
    for times in [0, 1, 127, 128, 129, 300] {
        let outcome = outcome(|_, _, out| {
            (0..times).for_each(|_| out.forward(0));
            Ok(())
        });
        assert_eq!(outcome.counts, [times; 3]);
        assert_eq!(outcome.layout, vec![-2; 9 * times as usize]);
    }
}

#[test]
fn outputs_of_failed_records_are_removed_from_between_the_others() {
    let outcome = outcome(|number, record, out| {
        out.forward(0);
        out.output(0).key(record.key).headers(record.headers()).value(Some(b"new"));
        out.output(0).headers([Header::new("n", b"v")]).send();
        out.forward(0);
        if number == 1 { Err(reject("no", "not this one")) } else { Ok(()) }
    });
    assert_eq!(outcome.counts, [4, 0, 4]);
    let of_first = [-2, -2, -2, 1, 3, 2, 1, 2, 1, -1, -2, -2, 1, 1, 1, -2, -2, -2];
    let of_last = [-2, -2, -2, 0, 3, 0, -2, -2, 1, 1, 1, -2, -2, -2];
    assert_eq!(outcome.layout, [&of_first[..], &of_last].concat());
    assert_eq!(outcome.data, b"knewaxybnvnewnv");
}

#[test]
fn a_write_that_fails_emits_nothing_even_if_the_record_goes_on() {
    let outcome = outcome(|_, _, out| {
        let written = out.output(1).key(Some(b"k")).write(|to| {
            to.extend_from_slice(b"half");
            Err::<(), _>("full")
        });
        assert_eq!(written, Err("full"));
        out.forward(0);
        Ok(())
    });
    assert_eq!(outcome.counts, [1, 1, 1]);
    assert_eq!(outcome.layout, [-2; 9]);
    assert!(outcome.data.is_empty() && outcome.ports.is_empty());
}

#[test]
fn the_last_header_of_a_name_counts() {
    let batch = Batch {
        offsets: vec![0],
        timestamps: vec![-1],
        attempts: vec![0],
        layout: vec![-1, -1, 2, 1, 1, 1, 1],
        data: b"a1a2".to_vec(),
    };
    let mut plugin = Plugin(
        |_, record: Record<'_>, _: &mut Emitter<'_>| {
            assert_eq!(record.header("a"), Some(Header::new("a", b"2")));
            assert_eq!(record.header("b"), None);
            Ok(())
        },
        0,
    );
    run(&mut plugin, &Source { topic: "t".to_owned(), partition: 0 }, &batch).unwrap();
    assert_eq!(plugin.1, 1);
}
