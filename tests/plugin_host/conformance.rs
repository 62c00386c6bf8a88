//! `conformance` of plugins with state: each check fails for a plugin that breaks its rule, and passes for one that keeps all.

use wasmill::dry_run::conformance;
use wasmill::plugin::Settings;

use crate::component::load;
use crate::component::reducer;
use crate::component::settings;

/// The checks that fail, each with its reason.
fn broken(world: &str, changes: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let room = Settings { memory_bytes: 64 << 20, ..settings() };
    let step = load(&reducer(world, changes), room).unwrap();
    let findings = conformance::examine(&step, &[]);
    findings.into_iter().filter_map(|finding| Some((finding.rule, finding.result.err()?))).collect()
}

#[test]
fn a_plugin_that_keeps_the_contract_passes_every_check() {
    for (world, checks) in [("reduce", 14), ("reduce-by", 16)] {
        let room = Settings { memory_bytes: 64 << 20, ..settings() };
        let findings = conformance::examine(&load(&reducer(world, &[]), room).unwrap(), &[]);
        let broken: Vec<_> = findings.iter().filter(|finding| finding.result.is_err()).collect();
        assert!(broken.is_empty(), "{world}: {broken:?}");
        assert_eq!(findings.len(), checks, "{findings:?}");
    }
}

/// Adds what a global at 3992 counts to the sum, 1 more for each call.
const COUNTS: &str = "(i64.store (i32.const 3992) (i64.add (i64.load (i32.const 3992)) (i64.const 1)))";
const PLUS_COUNT: &str =
    "(i64.store (local.get $sum) (i64.add (i64.load (local.get $sum)) (i64.load (i32.const 3992))))";
/// Adds the number of records of the call.
const PLUS_SIZE: &str =
    "(i64.store (local.get $sum) (i64.add (i64.load (local.get $sum)) (i64.extend_i32_u (local.get $n))))";
const PLUS_PAIRS: &str =
    "(i64.store (local.get $sum) (i64.add (i64.load (local.get $sum)) (i64.extend_i32_u (local.get $pairs))))";
/// Halves the sum of the first cell: not associative.
const LOPSIDED: &str = "(i64.store (local.get $sum)
    (i64.add (i64.shr_u (i64.load (local.get $data)) (i64.const 1)) (i64.load offset=8 (local.get $data))))";
/// Keeps the first cell: associative, but it loses the second.
const FORGETS: &str = "(i64.store (local.get $sum) (i64.load (local.get $data)))";
/// Changes the cell of a failed record, without a value.
const TOUCHES: &str = "(if (i32.eq (local.get $value) (i32.const -1)) (then
    (call $set (local.get $changed) (local.get $cell) (i32.const 8))
    (i64.store (local.get $sum) (i64.add (i64.load (local.get $sum)) (i64.const 5)))))";
/// A record that shares its cell with an earlier one of the call counts more.
const SHARES: &str = "(if (i32.ne (local.get $cell) (local.get $i)) (then
    (i64.store (local.get $sum) (i64.add (i64.load (local.get $sum)) (i64.const 1000)))))";
/// All windows of a call of more than one are dropped.
const SOME_SHOWN: &str = "(if (i32.gt_u (local.get $n) (i32.const 1)) (then
    (call $list (i32.const 4) (call $array (local.get $n) (i32.const 0)) (local.get $n))
    (call $list (i32.const 36) (i32.const 0) (i32.const 0))))";
/// The key is the number of records in the call.
const KEY_OF_CALL: &str = "(if (i32.gt_s (local.get $value) (i32.const 0)) (then
    (i32.store8 (i32.sub (i32.add (local.get $keys) (local.get $packed)) (i32.const 1)) (local.get $n))))";
const REJECT_ALL: &str = "(call $set (local.get $changed) (local.get $cell) (i32.const -2))
    (if (i32.ne (local.get $value) (i32.const -1)) (then
      (call $reject (i32.add (local.get $failures) (i32.mul (local.get $failed) (i32.const 24))) (local.get $i))
      (local.set $failed (i32.add (local.get $failed) (i32.const 1)))))";

/// A world, changes of the plugin, the check that fails, and what its reason contains.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

#[test]
fn each_check_fails_for_a_plugin_that_breaks_its_rule() {
    let cases: [Case; 21] = [
        (
            "reduce-by",
            &[("KEYS", "unreachable")],
            "any record gets a key, is dropped",
            "record 0 (a text): trap: keys: ",
        ),
        (
            "reduce-by",
            &[("FOUND", "(call $lengthen (i32.const 4) (i32.const 1))")],
            "any record gets a key",
            "keys: `lengths` has 2 entries",
        ),
        (
            "reduce-by",
            &[("KEY", KEY_OF_CALL)],
            "a record gets the same key",
            "in calls of 7: record 0 (a text): alone it became",
        ),
        (
            "reduce-by",
            &[(
                "FOUND",
                "(call $list (i32.const 4) (call $array (local.get $n) (i32.const -2)) (local.get $n)) (call $list (i32.const 12) (i32.const 0) (i32.const 0))",
            )],
            "a record gets a key",
            "with `--records`",
        ),
        (
            "reduce",
            &[("RECORD", "(if (i32.gt_s (local.get $value) (i32.const 999999)) (then unreachable))")],
            "any record is folded into its cell or failed",
            "record 12 (a large value): trap: add: ",
        ),
        (
            "reduce",
            &[("ADDED", "(call $lengthen (i32.const 12) (i32.const 1))")],
            "any record is folded into its cell or failed",
            "record 0 (a text): bad_output: add: `data` has 1 bytes left over",
        ),
        (
            "reduce",
            &[("ADD", COUNTS), ("RECORD", PLUS_COUNT)],
            "a record becomes the same cell whatever came before",
            "alone it became",
        ),
        (
            "reduce",
            &[("RECORD", PLUS_SIZE)],
            "a record becomes the same cell whatever came before",
            "in calls of 7: record 0 (a text)",
        ),
        (
            "reduce",
            &[("RECORD", TOUCHES)],
            "a failed record leaves its cell as it was",
            "record 1 (a tombstone): it failed, and its cell was",
        ),
        (
            "reduce",
            &[("RECORD", SHARES)],
            "records that share cells become the same",
            "in calls of 7: record 5 (a JSON object): after it the cell was",
        ),
        ("reduce", &[("RECORD", REJECT_ALL)], "a record changes its cell", "with `--records`"),
        (
            "reduce",
            &[("EMIT", "unreachable")],
            "any window is shown before it closes",
            "the window of record 0 (a text): trap: emit: ",
        ),
        (
            "reduce",
            &[("EMIT", "(if (local.get $closed) (then unreachable))")],
            "any window is shown when it closes",
            "trap: emit: ",
        ),
        (
            "reduce",
            &[("EMITTED", SOME_SHOWN)],
            "a closed window is shown the same",
            "in calls of 7: the window of record 0",
        ),
        ("reduce", &[("EMITTED", SOME_SHOWN)], "a window is shown the same", "in calls of 7: the window of record 0"),
        (
            "reduce",
            &[("MERGE", "unreachable")],
            "any two cells are merged",
            "the cells of record 0 (a text) and record 3 (all empty): trap: merge: ",
        ),
        (
            "reduce",
            &[("MERGED", "(call $lengthen (i32.const 4) (i32.const 1))")],
            "any two cells are merged",
            "merge: `lengths` has 2 entries for 1 pairs",
        ),
        ("reduce", &[("PAIR", PLUS_PAIRS)], "two cells become the same cell", "in calls of 7: the cells of record 0"),
        ("reduce", &[("PAIR", LOPSIDED)], "merging is associative", "(a+b)+c it is shown as"),
        (
            "reduce",
            &[("PAIR", FORGETS)],
            "merged parts are shown as all of their records are",
            "merged from three parts it is shown as",
        ),
        ("reduce", &[("EMIT", "(drop (memory.grow (i32.const 1)))")], "its memory doesn't grow for ever", "after 200"),
    ];
    let mut missed = Vec::new();
    for (world, changes, rule, reason) in cases {
        let broken = broken(world, changes);
        let found = broken.iter().find(|(broken, _)| broken.starts_with(rule));
        if !found.is_some_and(|(_, why)| why.contains(reason)) {
            missed.push((rule, reason, broken));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
