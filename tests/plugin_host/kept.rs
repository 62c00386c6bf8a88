//! Components of every track of the contract, built when that track was current, run on every later host.

use std::path::Path;

use wasmill::batch::Batch;
use wasmill::plugin::Cells;
use wasmill::plugin::ClosedWindows;
use wasmill::plugin::Settings;
use wasmill::plugin::World;
use wasmill::plugin::inspect;
use wasmill::record::TopicPartition;
use wasmill::secret::Secret;

use crate::component::load;
use crate::component::settings;

/// The result of `mask` for three records is the same, whatever it was built with.
#[test]
fn a_component_of_each_track_and_world_still_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/kept");
    for (file, contract, world, hides) in [
        ("mask-0.1.0.wasm", "0.1.0", World::TransformBatch, true),
        ("mask-1.0.0.wasm", "1.0.0", World::TransformBatch, true),
        ("typed-1.0.0.wasm", "1.0.0", World::Transform, false),
    ] {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let inspection = inspect(&bytes).unwrap();
        assert_eq!((inspection.contract.as_deref(), inspection.world), (Some(contract), world), "{file}");
        let settings = Settings { settings: Secret("{\"fields\":[\"email\"]}".into()), ..settings() };
        let mut instance =
            load(&bytes, Settings { memory_bytes: 64 << 20, ..settings }).unwrap().instantiate().unwrap();
        let mut batch = Batch::new(TopicPartition { topic: "orders".into(), partition: 0 });
        batch.push(0, 5, 0, Some(b"k"), Some(br#"{"email":"a@example.org","id":7}"#), std::iter::empty());
        batch.push(1, 5, 0, Some(b"k"), None, std::iter::empty());
        batch.push(2, 5, 0, None, Some(br#"{"id":"#), std::iter::empty());
        let outcome = instance.process(&batch.view()).unwrap();
        assert_eq!(outcome.outputs.len(), 2, "{file}");
        let value = |index| outcome.outputs.resolve(index, &batch, 0).value;
        let masked: &[u8] = if hides { br#"{"email":"***","id":7}"# } else { br#"{"email":"a@example.org","id":7}"# };
        assert_eq!((value(0), value(1)), (Some(masked), None), "{file}");
        let [failed] = &outcome.failed[..] else { panic!("{file}: one record is rejected") };
        assert_eq!((failed.index, &*failed.failure.code), (2, "bad-json"), "{file}");
    }
}

/// The same for a plugin with state, which finds the keys of records, too.
#[test]
fn a_component_with_state_still_runs() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/kept/keyed-1.1.0.wasm");
    let bytes = std::fs::read(file).unwrap();
    let inspection = inspect(&bytes).unwrap();
    assert_eq!((inspection.contract.as_deref(), inspection.world), (Some("1.1.0"), World::ReduceBy));
    let mut instance = load(&bytes, Settings { memory_bytes: 64 << 20, ..settings() }).unwrap().instantiate().unwrap();
    let mut batch = Batch::new(TopicPartition { topic: "visits".into(), partition: 0 });
    for (offset, value) in (0..).zip(["a 1000", "b 2000", "a 3000"]) {
        batch.push(offset, 5, 0, None, Some(value.as_bytes()), std::iter::empty());
    }
    let extracted = instance.keys(&batch.view()).unwrap();
    assert_eq!((&*extracted.data, &*extracted.times), (&b"aba"[..], &[1000, 2000, 3000][..]));
    let cells = Cells { index: &[0, 1, 0], lengths: &[-1, -1], data: &[] };
    let folded = instance.add(&batch.view(), cells).unwrap().changed;
    let pair = Cells { index: &[], lengths: &folded.lengths, data: &folded.data };
    let merged = instance.merge(pair).unwrap();
    let mut keyed = Batch::new(TopicPartition { topic: "visits".into(), partition: 0 });
    keyed.push(0, 59_999, 0, Some(b"both"), Some(&merged.data), std::iter::empty());
    let windows = ClosedWindows { keyed: keyed.view(), starts: &[0], ends: &[60_000], closed: true };
    let outcome = instance.emit(&windows).unwrap();
    let value = outcome.outputs.resolve(0, &keyed, 0).value;
    assert_eq!(value, Some(&br#"{"key":"both","count":3}"#[..]));
}

/// A released contract never changes, because plugins were built against it. A new version is a new file.
#[test]
fn the_released_contracts_are_unchanged() {
    for (version, digest) in [
        ("v1", "bc81001df3d28e89be24e9690dfd9b7a0af37a56595dd7a41691b834807a11b7"),
        ("v1.1", "a64dd2e3b4b87f1092798205570c3f69974e4f8d23a538626796011cb67390d7"),
    ] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("wit/{version}/plugin.wit"));
        assert_eq!(wasmill::plugin::digest(&std::fs::read(file).unwrap()), digest, "{version}");
    }
}
