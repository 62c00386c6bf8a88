//! Plugins that behave, misbehave and attack, through the host's own interface.
#![expect(clippy::unwrap_used, reason = "tests")]

mod compiling;
mod component;
mod conformance;
mod faults;
mod granted;
mod kept;
mod loading;
mod malformed;
mod naming;
mod reducing;
mod wasi;

use wasmill::batch::Batch;
use wasmill::failure::Kind;
use wasmill::record::Header;
use wasmill::record::TopicPartition;

use component::fixture;
use component::forms;
use component::load;
use component::settings;

/// Three records: one with everything, a tombstone with a null key, and an empty one.
pub(crate) fn records(partition: i32) -> Batch {
    let mut batch = Batch::new(TopicPartition { topic: "orders".into(), partition });
    let headers = [Header { name: b"trace\xff", value: Some(b"1") }, Header { name: b"", value: None }];
    batch.push(5, 1000, 0, Some(b"k1"), Some(b"value 1"), headers.iter().copied());
    batch.push(7, -1, 2, None, None, std::iter::empty());
    batch.push(8, 3, 0, Some(b""), Some(b""), std::iter::empty());
    batch
}

#[test]
fn identity_and_forward_return_every_record() {
    for (name, bytes) in
        ["identity", "forward"].iter().flat_map(|name| forms(&fixture(name)).map(|bytes| (name, bytes)))
    {
        let step = load(&bytes, settings()).unwrap();
        let mut instance = step.instantiate().unwrap();
        let batch = records(0);
        for _ in 0..3 {
            let outcome = instance.process(&batch.view()).unwrap();
            assert!(outcome.failed.is_empty());
            assert_eq!(outcome.outputs.len(), 3, "{name}");
            for index in 0..3 {
                let record = batch.record(index);
                let output = outcome.outputs.resolve(index, &batch, 0);
                assert_eq!((output.parent, output.port, output.partition), (index, 0, None));
                assert_eq!((output.key, output.value, output.timestamp), (record.key, record.value, record.timestamp));
                assert!(output.headers.iter().eq(record.headers.iter()), "{name}");
            }
        }
        let later = instance.process(&batch.slice(1..3)).unwrap();
        assert_eq!(later.outputs.resolve(1, &batch, 1).value, Some(&b""[..]));
    }
}

#[test]
fn drop_emits_nothing() {
    let step = load(&fixture("drop"), settings()).unwrap();
    let outcome = step.instantiate().unwrap().process(&records(0).view()).unwrap();
    assert!(outcome.outputs.is_empty() && outcome.failed.is_empty());
}

#[test]
fn a_reject_and_a_retry_name_their_record() {
    let outcome_of = |name| {
        let [module, component] = forms(&fixture(name)).map(|bytes| {
            let step = load(&bytes, settings()).unwrap();
            step.instantiate().unwrap().process(&records(0).view()).unwrap()
        });
        assert_eq!(module.failed, component.failed);
        module
    };
    let [rejected] = &outcome_of("reject").failed[..] else { panic!("one record is rejected") };
    assert_eq!((rejected.index, rejected.failure.kind), (0, Kind::Reject));
    assert_eq!((&*rejected.failure.code, &*rejected.failure.reason), ("bad-json-", "no brace"));
    assert_eq!(rejected.failure.step.as_deref(), Some("mask"));
    let [retried] = &outcome_of("retry").failed[..] else { panic!("one record is to be tried again") };
    assert_eq!((retried.index, retried.failure.kind, &*retried.failure.reason), (2, Kind::Retry, "busy"));
    assert_eq!(retried.failure.delay.unwrap().as_millis(), 1500);
}

#[test]
fn an_error_fails_the_whole_call_and_leaves_the_instance_usable() {
    let step = load(&fixture("error"), settings()).unwrap();
    let mut instance = step.instantiate().unwrap();
    for _ in 0..2 {
        let failure = instance.process(&records(0).view()).unwrap_err();
        assert_eq!((failure.kind, &*failure.reason), (Kind::Error, "boom"));
        assert!(!failure.kind.spoils_instance());
    }
}

#[test]
fn counters_of_a_call_are_kept_only_with_its_outcome() {
    for bytes in forms(&fixture("talk")) {
        let step = load(&bytes, settings()).unwrap();
        let mut instance = step.instantiate().unwrap();
        instance.process(&records(0).view()).unwrap();
        let effects = instance.take_effects();
        let counts: Vec<(&str, u64)> = effects.counts.iter().map(|(name, by)| (&**name, *by)).collect();
        assert_eq!(counts, [("seen", 5), ("other", 1)]);
        assert_eq!(effects.observations, [("seen".into(), 1.5)]);
        // The name that breaks the rule, and the value that isn't a number.
        assert_eq!(effects.dropped, 2);
        assert!(instance.take_effects().is_empty());
        let failure = instance.process(&records(1).view()).unwrap_err();
        assert_eq!(failure.kind, Kind::Trap);
        assert!(instance.take_effects().is_empty(), "a call that trapped counts nothing");
    }
}
