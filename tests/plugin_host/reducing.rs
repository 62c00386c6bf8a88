//! Plugins with state: what they are given, every way in which what they return can be refused, and their faults.

use std::time::Duration;

use wasmill::batch::Batch;
use wasmill::failure::Failure;
use wasmill::failure::Kind;
use wasmill::plugin::Cells;
use wasmill::plugin::ChangedCells;
use wasmill::plugin::ClosedWindows;
use wasmill::plugin::Form;
use wasmill::plugin::Instance;
use wasmill::plugin::Settings;
use wasmill::plugin::World;
use wasmill::plugin::inspect;
use wasmill::record::TopicPartition;

use crate::component::fixture;
use crate::component::forms;
use crate::component::load;
use crate::component::reducer;
use crate::component::settings;
use crate::records;

/// Three cells for the three records: the first has a value, the second and third have none.
const CELLS: Cells<'_> = Cells { index: &[0, 1, 0], lengths: &[8, -1], data: &[10, 0, 0, 0, 0, 0, 0, 0] };
const PAIRS: Cells<'_> =
    Cells { index: &[], lengths: &[8, 8], data: &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0] };

fn instance(core: &[u8]) -> Instance {
    load(core, settings()).unwrap().instantiate().unwrap()
}

/// Two windows of the minute before this millisecond.
const END: i64 = 1_700_000_100_000;

fn windows() -> Batch {
    let mut batch = Batch::new(TopicPartition { topic: "orders".into(), partition: 0 });
    batch.push(0, END - 1, 0, Some(b"ann"), Some(&[1; 8]), std::iter::empty());
    batch.push(1, END - 1, 0, None, Some(&[2; 8]), std::iter::empty());
    batch
}

fn closed(batch: &Batch) -> ClosedWindows<'_> {
    const TIMES: ([i64; 2], [i64; 2]) = ([END - 60_000; 2], [END; 2]);
    ClosedWindows { keyed: batch.view(), starts: &TIMES.0, ends: &TIMES.1, closed: true }
}

/// The failure of one function of a plugin, which must be the same in both forms.
fn failure(function: &str, changes: &[(&str, &str)]) -> Failure {
    let [module, component] = forms(&reducer("reduce-by", changes)).map(|bytes| call(&mut instance(&bytes), function));
    assert_eq!((module.kind, &module.reason), (component.kind, &component.reason));
    module
}

fn call(instance: &mut Instance, function: &str) -> Failure {
    match function {
        "add" => instance.add(&records(0).view(), CELLS).unwrap_err(),
        "merge" => instance.merge(PAIRS).unwrap_err(),
        "emit" => instance.emit(&closed(&windows())).unwrap_err(),
        _ => instance.keys(&records(0).view()).unwrap_err(),
    }
}

#[test]
fn records_are_folded_cells_merged_windows_shown_and_keys_found() {
    for (world, named) in [("reduce", World::Reduce), ("reduce-by", World::ReduceBy)] {
        for (bytes, form) in forms(&reducer(world, &[])).iter().zip([Form::CoreModule, Form::Component]) {
            let inspection = inspect(bytes).unwrap();
            assert_eq!((inspection.form, inspection.world), (form, named));
            assert_eq!(inspection.contract.as_deref(), Some("1.1.0"));
            let step = load(bytes, settings()).unwrap();
            assert_eq!((step.world(), step.state()), (named, None));
            let mut instance = step.instantiate().unwrap();
            for _ in 0..2 {
                works(&mut instance, named == World::ReduceBy);
            }
        }
    }
}

fn works(instance: &mut Instance, has_keyer: bool) {
    let batch = records(0);
    let folded = instance.add(&batch.view(), CELLS).unwrap();
    // 10 so far, 1 + 7 for the first record and 1 for the third. The second fails, and its cell stays as it was.
    let changed = ChangedCells { lengths: vec![8, -2], data: vec![19, 0, 0, 0, 0, 0, 0, 0] };
    assert_eq!(folded.changed, changed);
    let [failed] = &folded.failed[..] else { panic!("one record fails") };
    assert_eq!((failed.index, failed.failure.kind, &*failed.failure.code), (1, Kind::Reject, "no-value"));

    let merged = instance.merge(PAIRS).unwrap();
    assert_eq!(merged, ChangedCells { lengths: vec![8], data: vec![3, 0, 0, 0, 0, 0, 0, 0] });
    let none = Cells { index: &[], lengths: &[], data: &[] };
    assert_eq!(instance.merge(none).unwrap(), ChangedCells::default());

    let windows = windows();
    let outcome = instance.emit(&closed(&windows)).unwrap();
    let first = outcome.outputs.resolve(0, &windows, 0);
    assert_eq!((first.key, first.value, first.timestamp), (Some(&b"ann"[..]), Some(&[1; 8][..]), END - 1));
    assert_eq!((outcome.outputs.len(), outcome.outputs.resolve(1, &windows, 0).key), (2, None));

    if has_keyer {
        let found = instance.keys(&batch.view()).unwrap();
        assert_eq!((found.lengths, found.data), (vec![1, -2, 0], b"v".to_vec()));
        assert!(found.times.is_empty() && found.failed.is_empty());
    }
}

/// The messages are compared completely: each must be specific, and must contain the position and the numbers.
#[test]
fn each_malformed_result_has_its_own_message() {
    let cases: [(&str, &str, &str, &str); 26] = [
        ("add", "ADDED", "(call $lengthen (i32.const 4) (i32.const -1))", "`lengths` has 1 entries for 2 cells"),
        ("add", "ADDED", "(call $lengthen (i32.const 4) (i32.const 1))", "`lengths` has 3 entries for 2 cells"),
        (
            "add",
            "ADDED",
            "(call $set (local.get $changed) (i32.const 1) (i32.const -3))",
            "cell 1 has the length -3, where -2 (as it was), -1 (removed) and 0 to 65536 are allowed",
        ),
        (
            "add",
            "ADDED",
            "(call $set (local.get $changed) (i32.const 0) (i32.const 65537))",
            "cell 0 has 65537 bytes, where 65536 are allowed",
        ),
        (
            "add",
            "ADDED",
            "(call $set (local.get $changed) (i32.const 1) (i32.const 1))",
            "cell 1 ends at byte 9, but `data` has 8",
        ),
        (
            "add",
            "ADDED",
            "(call $set (local.get $changed) (i32.const 0) (i32.const -1))",
            "`data` has 8 bytes left over",
        ),
        ("add", "ADDED", "(call $lengthen (i32.const 12) (i32.const 2))", "`data` has 2 bytes left over"),
        ("add", "ADDED", "(call $lengthen (i32.const 12) (i32.const -1))", "cell 0 ends at byte 8, but `data` has 7"),
        (
            "add",
            "ADDED",
            "(i32.store (local.get $failures) (i32.const 3))",
            "failure of record 3, but there are 3 records",
        ),
        (
            "add",
            "ADDED",
            "(call $reject (i32.add (local.get $failures) (i32.const 24)) (i32.const 1)) (call $lengthen (i32.const 20) (i32.const 1))",
            "failure of record 1 is not in ascending order",
        ),
        ("merge", "MERGED", "(call $lengthen (i32.const 4) (i32.const 1))", "`lengths` has 2 entries for 1 pairs"),
        ("merge", "MERGED", "(call $lengthen (i32.const 4) (i32.const -1))", "`lengths` has 0 entries for 1 pairs"),
        (
            "merge",
            "MERGED",
            "(call $set (local.get $changed) (i32.const 0) (i32.const -4))",
            "pair 0 has the length -4, where -2 (as it was), -1 (removed) and 0 to 65536 are allowed",
        ),
        (
            "merge",
            "MERGED",
            "(call $set (local.get $changed) (i32.const 0) (i32.const 70000))",
            "pair 0 has 70000 bytes, where 65536 are allowed",
        ),
        ("merge", "MERGED", "(call $lengthen (i32.const 12) (i32.const 1))", "`data` has 1 bytes left over"),
        ("emit", "EMITTED", "(call $lengthen (i32.const 4) (i32.const 1))", "`counts` has 3 entries for 2 records"),
        (
            "emit",
            "EMITTED",
            "(call $list (i32.const 12) (call $array (i32.const 2) (i32.const 9)) (i32.const 2))",
            "output 0 names port 9, but there are 2 ports",
        ),
        (
            "emit",
            "EMITTED",
            "(call $set (local.get $layout) (i32.const 4) (i32.const -3))",
            "output 1 has a value of length -3",
        ),
        ("keys", "FOUND", "(call $lengthen (i32.const 4) (i32.const 1))", "`lengths` has 4 entries for 3 records"),
        (
            "keys",
            "FOUND",
            "(call $set (local.get $lengths) (i32.const 2) (i32.const -3))",
            "record 2 has a key of length -3, where -2 (dropped), -1 (the null key) and more are allowed",
        ),
        (
            "keys",
            "FOUND",
            "(call $set (local.get $lengths) (i32.const 2) (i32.const 4))",
            "the key of record 2 ends at byte 5, but `data` has 1",
        ),
        ("keys", "FOUND", "(call $lengthen (i32.const 12) (i32.const 1))", "`data` has 1 bytes left over"),
        (
            "keys",
            "FOUND",
            "(call $list (i32.const 20) (call $array (i32.const 4) (i32.const 1)) (i32.const 2))",
            "`times` has 2 entries for 3 records, and is not empty",
        ),
        (
            "keys",
            "FOUND",
            "(call $list (i32.const 20) (call $array (i32.const 6) (i32.const -1)) (i32.const 3)) (i64.store (i32.load (i32.const 20)) (i64.const -2))",
            "record 0 has the time -2",
        ),
        (
            "keys",
            "FOUND",
            "(call $list (i32.const 28) (call $alloc (i32.const 1) (i32.const 24)) (i32.const 1)) (call $reject (i32.load (i32.const 28)) (i32.const 0))",
            "record 0 failed, but has a key of length 1 where -2 is expected",
        ),
        (
            "keys",
            "FOUND",
            "(call $list (i32.const 28) (call $alloc (i32.const 1) (i32.const 24)) (i32.const 1)) (call $reject (i32.load (i32.const 28)) (i32.const 9))",
            "failure of record 9, but there are 3 records",
        ),
    ];
    for (function, place, code, message) in cases {
        let failure = failure(function, &[(place, code)]);
        assert_eq!(failure.kind, Kind::BadOutput, "{failure}");
        assert_eq!(failure.reason, format!("{function}: {message}"));
        assert_eq!((&*failure.code, failure.step.as_deref()), ("bad-output", Some("mask")));
    }
}

const FUNCTIONS: [(&str, &str); 4] = [("add", "ADD"), ("merge", "MERGE"), ("emit", "EMIT"), ("keys", "KEYS")];

#[test]
fn a_trap_or_a_loop_names_the_function_that_the_host_called() {
    for (function, place) in FUNCTIONS {
        let trapped = failure(function, &[(place, "unreachable")]);
        let reason = format!("{function}: wasm trap: unreachable executed in `{function}`");
        assert_eq!((trapped.kind, &trapped.reason), (Kind::Trap, &reason));
        for bytes in forms(&reducer("reduce-by", &[(place, "(loop $ever (br $ever))")])) {
            let hasty = Settings { timeout: Duration::from_millis(300).into(), ..settings() };
            let late = call(&mut load(&bytes, hasty).unwrap().instantiate().unwrap(), function);
            let reason = format!("{function}: ran longer than its timeout of 300ms in `{function}`");
            assert_eq!((late.kind, &late.reason), (Kind::Timeout, &reason));
        }
        let hungry = "(loop $ever (br_if $ever (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
        let refused = failure(function, &[(place, hungry)]);
        assert_eq!(refused.kind, Kind::Memory);
        assert!(refused.reason.starts_with(&format!("{function}: needs more than its limit of 16777216")), "{refused}");
    }
}

#[test]
fn a_result_that_cannot_be_lifted_names_the_function() {
    let list = "(call $list (i32.const 4) (i32.const -64) (i32.const 100))";
    for (function, place) in [("add", "ADDED"), ("merge", "MERGED"), ("emit", "EMITTED"), ("keys", "FOUND")] {
        let failure = failure(function, &[(place, list)]);
        assert_eq!(failure.kind, Kind::BadOutput);
        let begin = format!("{function}: returned what can't be read: ");
        assert!(failure.reason.starts_with(&begin) && failure.reason.contains("bounds"), "{failure}");
    }
}

/// Failures whose reasons all lie in the same million bytes.
#[test]
fn results_that_alias_each_other_stop_at_the_hosts_own_bound() {
    let alias = "
        (drop (memory.grow (i32.const 32)))
        (local.set $i (i32.const 0))
        (local.set $failures (call $alloc (i32.const 200) (i32.const 24)))
        (loop $again
          (local.set $sum (i32.add (local.get $failures) (i32.mul (local.get $i) (i32.const 24))))
          (call $reject (local.get $sum) (local.get $i))
          (call $list (i32.add (local.get $sum) (i32.const 16)) (i32.const 131072) (i32.const 1048576))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $i) (i32.const 200))))
        (call $list (i32.const 20) (local.get $failures) (i32.const 200))";
    let failure = failure("add", &[("ADDED", alias)]);
    assert_eq!((failure.kind, failure.reason.contains("more data than one call may return")), (Kind::BadOutput, true));
}

#[test]
fn an_error_fails_the_whole_call_and_leaves_the_instance_usable() {
    for (function, place) in [("add", "ADDED"), ("merge", "MERGED"), ("emit", "EMITTED"), ("keys", "FOUND")] {
        let mut instance = instance(&reducer("reduce-by", &[(place, "(call $error)")]));
        for _ in 0..2 {
            let failure = call(&mut instance, function);
            assert_eq!((failure.kind, &*failure.reason), (Kind::Error, "planted reason"));
        }
    }
}

#[test]
fn counters_of_a_call_are_kept_only_with_its_result() {
    let import = r#"(import "wasmill:plugin/metrics@1.1.0" "count" (func $count (param i32 i32 i64)))"#;
    // The name is `planted`.
    let count = "(call $count (i32.const 520) (i32.const 7) (i64.const 2))";
    for (function, begin, end) in
        [("add", "ADD", "ADDED"), ("merge", "MERGE", "MERGED"), ("emit", "EMIT", "EMITTED"), ("keys", "KEYS", "FOUND")]
    {
        let broken = "(call $lengthen (i32.const 4) (i32.const 1))";
        let core = reducer_of_module(&[("IMPORTS", import), (begin, count), (end, broken)]);
        let mut instance = instance(&core);
        assert_eq!(call(&mut instance, function).kind, Kind::BadOutput);
        assert!(instance.take_effects().is_empty(), "{function}");
    }
    let mut instance = instance(&reducer_of_module(&[("IMPORTS", import), ("ADD", count)]));
    instance.add(&records(0).view(), CELLS).unwrap();
    assert_eq!(instance.take_effects().counts, [("planted".into(), 2)]);
}

/// The host makes a component of a core module whatever its metadata says, with the imports that are always granted.
fn reducer_of_module(changes: &[(&str, &str)]) -> Vec<u8> {
    reducer("reduce-by", changes)
}

#[test]
fn a_function_that_the_world_does_not_have_is_an_error() {
    let mut plain = instance(&fixture("identity"));
    for (function, world) in [("add", "reduce"), ("merge", "reduce"), ("emit", "reduce"), ("keys", "reduce-by")] {
        let failure = call(&mut plain, function);
        assert_eq!(failure.kind, Kind::BadOutput);
        assert!(failure.reason.starts_with(&format!("{function}: the plugin doesn't export it; ")), "{failure}");
        assert!(failure.reason.contains(&format!("`{world}`")), "{failure}");
    }
    let mut keyless = instance(&reducer("reduce", &[]));
    assert_eq!(call(&mut keyless, "keys").kind, Kind::BadOutput);
    let failure = keyless.process(&records(0).view()).unwrap_err();
    assert_eq!(failure.kind, Kind::BadOutput);
    assert!(failure.reason.starts_with("the plugin doesn't export `process`; "), "{failure}");
}

#[test]
fn a_plugin_that_lacks_a_function_or_gives_it_other_types_is_refused_when_it_is_loaded() {
    let text = crate::component::text("odd_reducer");
    let without = text.replace(r#"(export "wasmill:plugin/reducer@1.1.0#emit" (func $emit))"#, "");
    let other = text.replace(r#"#merge" (func $merge))"#, r#"#merge" (func $init))"#);
    for (changed, part) in [(without, "emit"), (other, "merge")] {
        assert_ne!(changed, text);
        let refused = load(&wat::parse_str(changed).unwrap(), settings()).unwrap_err().to_string();
        assert!(refused.contains("it can't be made into a component") && refused.contains(part), "{refused}");
    }
}

/// What `wasmill` prints, to either stream.
fn wasmill(arguments: &[&str], folder: &std::path::Path) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wasmill"));
    let output = command.args(arguments).current_dir(folder).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_plugin_with_state_needs_a_step_with_a_window_and_inspect_shows_its_versions() {
    let folder = tempfile::tempdir().unwrap();
    let versions = r#"(@custom "wasmill:manifest" "{\"name\":\"top\",\"state\":{\"version\":2,\"reads\":[1,2]}}")"#;
    let plugin = reducer("reduce", &[("IMPORTS", versions)]);
    std::fs::write(folder.path().join("top.wasm"), &plugin).unwrap();
    let pipeline = "[kafka]\nbrokers = [\"localhost:9092\"]\n[input]\ntopics = [\"orders\"]\ngroup = \"top\"\n\
                    [[step]]\nname = \"top\"\nwasm = \"top.wasm\"\n[output.main]\ntopic = \"tops\"\n";
    std::fs::write(folder.path().join("top.toml"), pipeline).unwrap();
    let checked = wasmill(&["check", "--offline", "top.toml"], folder.path());
    for part in ["step `top`: its plugin keeps state by key and window (world `reduce`)", "no `window`", "top.toml:8:"]
    {
        assert!(checked.contains(part), "{checked} lacks {part}");
    }
    let inspected = wasmill(&["inspect", "top.wasm"], folder.path());
    for part in [
        "world     reduce (for a step with a `window`)\n",
        "contract  1.1.0\n",
        "state     writes version 2, reads 1, 2\n",
    ] {
        assert!(inspected.contains(part), "{inspected} lacks {part}");
    }
    let step = load(&plugin, settings()).unwrap();
    assert_eq!(step.state().map(|state| (state.version, &state.reads[..])), Some((2, &[1, 2][..])));
}
