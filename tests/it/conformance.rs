//! `wasmill conformance` finds every planted fault in both worlds, and passes every example.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::faults::Case;
use crate::faults::FAULTS;
use crate::faults::MALFORMED;
use crate::faults::after;
use crate::support::component;
use crate::support::component::Behaviour;
use crate::support::say;

/// Faults in typed verdicts; $own and $emit are those of `tests/plugins/odd_typed.wat`.
const TYPED: [(&str, &str, &str); 12] = [
    (
        "fewer verdicts",
        "(i32.store (i32.const 1032) (i32.sub (local.get $n) (i32.const 1)))",
        "0 verdicts for 1 records",
    ),
    (
        "more verdicts",
        "(i32.store (i32.const 1032) (i32.add (local.get $n) (i32.const 1)))",
        "2 verdicts for 1 records",
    ),
    ("a port that isn't there", "(i32.store offset=4 (local.get $own) (i32.const 7))", "names port 7"),
    (
        "an output for a port that isn't there",
        "(call $emit (local.get $own)) (i32.store (i32.const 2048) (i32.const 7))",
        "names port 7",
    ),
    (
        "a timestamp below 0",
        "(call $emit (local.get $own)) (i32.store8 (i32.const 2088) (i32.const 1)) (i64.store (i32.const 2096) (i64.const -5))",
        "the timestamp -5",
    ),
    (
        "a partition above 2^31-1",
        "(call $emit (local.get $own)) (i32.store8 (i32.const 2104) (i32.const 1)) (i32.store (i32.const 2108) (i32.const -1))",
        "partition 4294967295",
    ),
    ("a verdict that isn't there", "(i32.store8 (local.get $own) (i32.const 9))", "discriminant"),
    (
        "a field that isn't there",
        "(call $emit (local.get $own)) (i32.store8 (i32.const 2052) (i32.const 9))",
        "discriminant",
    ),
    (
        "outputs out of bounds",
        "(call $emit (local.get $own)) (i32.store offset=4 (local.get $own) (i32.const -64))",
        "bounds",
    ),
    (
        "bytes out of bounds",
        "(call $emit (local.get $own)) (i32.store8 (i32.const 2064) (i32.const 2)) (i32.store (i32.const 2068) (i32.const -16)) \
         (i32.store (i32.const 2072) (i32.const 64))",
        "bounds",
    ),
    ("values that lie in the same bytes", "(call $alias (local.get $own))", "more data than one call may return"),
    ("a trap", "unreachable", "unreachable"),
];

/// Faults that no single outcome shows: the result of a record depends on something else.
const FICKLE: [Case; 2] = [
    after(
        "the size of the call",
        "(call $stamp (i64.extend_i32_u (local.get $n)) (local.get $n))",
        "a record becomes the same in calls of 7",
    ),
    after(
        "earlier calls",
        "(i64.store (i32.const 3992) (i64.add (i64.load (i32.const 3992)) (i64.const 1))) \
         (call $stamp (i64.load (i32.const 3992)) (local.get $n))",
        "a record becomes the same whatever came before",
    ),
];

#[test]
fn conformance_finds_every_planted_fault_and_passes_every_example() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugin.wasm");
    let examine = |wasm: &[u8], more: &[&str]| {
        fs::write(&file, wasm).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
        let output = command.arg("conformance").arg(&file).args(more).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), text)
    };
    // A reject is not a fault.
    let broken = FAULTS.iter().filter(|(name, ..)| *name != "a reject").chain(&MALFORMED);
    let mut count = 0;
    for (name, behaviour, says) in broken {
        let (code, text) = examine(&component::with(0, 77, *behaviour), &["--timeout", "1s"]);
        assert_eq!(code, Some(1), "{name}: {text}");
        assert!(
            text.contains("BROKEN  any record") && text.contains("record 77") && text.contains(says),
            "{name}: {text}"
        );
        count += 1;
    }
    for (name, behaviour, rule) in FICKLE {
        let (code, text) = examine(&component::with(0, 77, behaviour), &[]);
        assert_eq!(code, Some(1), "{name}: {text}");
        assert!(text.contains(&format!("BROKEN  {rule}\n        record 77")), "{name}: {text}");
        count += 1;
    }
    for (name, change, says) in TYPED {
        let (code, text) = examine(&component::typed(77, change), &[]);
        assert_eq!(code, Some(1), "typed: {name}: {text}");
        assert!(
            text.contains("BROKEN  any record") && text.contains("record 77") && text.contains(says),
            "typed: {name}: {text}"
        );
        count += 1;
    }
    let (code, text) = examine(&component::typed(77, "nop"), &[]);
    assert_eq!((code, text.contains("BROKEN")), (Some(0), false), "nothing is planted\n{text}");
    let leaks = component::with(0, 77, Behaviour { before: "(drop (memory.grow (i32.const 1)))", after: "" });
    let (code, text) = examine(&leaks, &[]);
    assert!(code == Some(1) && text.contains("BROKEN  its memory doesn't grow for ever"), "{text}");
    // A leak that reaches the bound on memory, and one that reaches it so soon that nothing can be measured.
    let grow = "(if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))";
    let (code, text) = examine(&component::with(0, 77, Behaviour { before: grow, after: "" }), &[]);
    let says = "BROKEN  its memory doesn't grow for ever\n        it had";
    assert!(code == Some(1) && text.contains(says) && text.contains("and more than it may have after"), "{text}");
    let grow = "(if (i32.eq (memory.grow (i32.const 400)) (i32.const -1)) (then unreachable))";
    let (code, text) = examine(&component::with(0, 77, Behaviour { before: grow, after: "" }), &[]);
    let says = "untried its memory doesn't grow for ever\n        not measured, as calls broke each instance before";
    assert!(code == Some(0) && text.contains(says), "{text}");
    say(&format!("conformance: {} planted faults found", count + 1));

    let reject = FAULTS[5].1;
    let (code, text) = examine(&component::with(0, 77, reject), &[]);
    assert_eq!((code, text.contains("BROKEN")), (Some(0), false), "a reject is no fault\n{text}");
    let route = r#"{"field":"type","routes":{"refund":"refunds"}}"#;
    for (plugin, more) in [
        ("mask", &[][..]),
        ("route", &["--settings", route, "--port", "refunds"]),
        ("stamp", &[]),
        ("bench/copy", &[]),
        ("bench/json", &[]),
        ("typed", &["--port", "audit"]),
        ("typed", &["--settings", r#"{"mode":"copy"}"#, "--port", "audit"]),
    ] {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/target/wasm").join(plugin).with_extension("wasm");
        let (code, text) = examine(&fs::read(path).unwrap(), more);
        assert_eq!(code, Some(0), "{plugin}: {text}");
    }
    assert_eq!(examine(b"no component", &[]).0, Some(78));
}
