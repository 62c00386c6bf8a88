//! Plugins that fail: each one is stopped, gets its own kind of failure, and is discarded with its store.

use std::time::Duration;

use wasmill::failure::Failure;
use wasmill::failure::Kind;
use wasmill::plugin::CallTimeouts;
use wasmill::plugin::Settings;

use crate::component::batch;
use crate::component::described;
use crate::component::fixture;
use crate::component::forms;
use crate::component::load;
use crate::component::settings;
use crate::component::with_prelude;
use crate::records;

/// The failure of a fixture's first call or of its instantiation, which must be the same in both forms.
fn fault(core: &[u8], settings: Settings) -> Failure {
    let [module, component] = forms(core).map(|bytes| {
        let step = load(&bytes, settings.clone()).unwrap();
        match step.instantiate() {
            Ok(mut instance) => instance.process(&records(0).view()).unwrap_err(),
            Err(failure) => failure,
        }
    });
    assert_eq!((module.kind, &module.reason), (component.kind, &component.reason));
    module
}

fn check(failure: &Failure, kind: Kind, reason: &str) {
    assert_eq!(failure.kind, kind, "{failure}");
    assert!(failure.reason.contains(reason), "{failure} lacks `{reason}`");
    assert_eq!(failure.step.as_deref(), Some("mask"));
}

fn hasty() -> Settings {
    Settings { timeout: Duration::from_millis(300).into(), ..settings() }
}

#[test]
fn a_trap_names_the_function() {
    let failure = fault(&fixture("trap"), settings());
    check(&failure, Kind::Trap, "wasm trap: unreachable executed in `give_up`");
    assert!(failure.backtrace.contains("give_up"), "{}", failure.backtrace);
}

/// A plugin that logs lines with these levels and then traps.
fn last_words(lines: &[(u8, &str)]) -> Failure {
    let (mut data, mut calls, mut at) = (String::new(), String::new(), 64);
    for (level, line) in lines {
        let text = line.replace('\n', "\\0a");
        data.push_str(&format!("(data (i32.const {at}) \"{text}\")"));
        calls.push_str(&format!("(call $write (i32.const {level}) (i32.const {at}) (i32.const {}))", line.len()));
        at += line.len();
    }
    let import = "(import \"wasmill:plugin/log@1.0.0\" \"write\" (func $write (param i32 i32 i32)))";
    let text = format!("{import} {data} (func $process (type $process) {calls} unreachable)");
    fault(&batch(&text), settings())
}

#[test]
fn a_panic_is_in_the_reason_once_with_its_file_and_line() {
    let panic = "panicked at src/lib.rs:78:22:\ntold to trap";
    let failure = last_words(&[(4, "something else"), (4, panic)]);
    let reason = "panicked at src/lib.rs:78:22: told to trap; wasm trap: unreachable executed in `process`";
    assert_eq!((failure.kind, &*failure.reason), (Kind::Trap, reason));
    assert_eq!(failure.to_string(), format!("step `mask`: trap: {reason}"));
    // Only the last line before a trap counts, and only if it is an error.
    for lines in [&[][..], &[(4, panic), (2, "going on")]] {
        assert_eq!(last_words(lines).reason, "wasm trap: unreachable executed in `process`");
    }
    let long = last_words(&[(4, &"e".repeat(5000))]).reason;
    assert!(long.len() < 1200 && long.contains("...; wasm trap: "), "{long}");
    let clock = last_words(&[(4, "panicked at std/time.rs:1:1:\ntime not implemented on this platform")]).reason;
    assert!(clock.contains("platform (a plugin gets the time from"), "{clock}");
}

#[test]
fn a_loop_anywhere_ends_at_the_deadline() {
    for (name, reason) in [
        ("loop", "ran longer than its timeout of 300ms in `process`"),
        ("init_loop", "init: ran longer than its `init_timeout` of 300ms"),
        ("start_loop", "instantiate: ran longer than its `init_timeout` of 300ms"),
        ("grow_spin", "ran longer than its timeout"),
    ] {
        check(&fault(&fixture(name), hasty()), Kind::Timeout, reason);
    }
}

#[test]
fn init_has_a_timeout_of_its_own() {
    let limited = |call, init| {
        let [call, init] = [call, init].map(Duration::from_millis);
        Settings { timeout: CallTimeouts { call, init }, ..settings() }
    };
    let minute = 60_000;
    check(&fault(&fixture("init_loop"), limited(minute, 300)), Kind::Timeout, "init: ran longer");
    check(&fault(&fixture("loop"), limited(300, minute)), Kind::Timeout, "ran longer than its timeout of 300ms");
}

/// Plugins with `code` in the allocator, and in the function that the host calls after it has read a result.
fn around_the_call(imports: &str, code: &str) -> [Vec<u8>; 2] {
    let process =
        "(func $process (type $process) (call $outcome (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0)))";
    let text = with_prelude(&format!("{imports} {process}"));
    let allocator =
        text.replace("  (local.get $at))\n(func $array", &format!("  {code} (local.get $at))\n(func $array"));
    let after = text.replace("(param i32)\n  (global.set $next", &format!("(param i32)\n  {code} (global.set $next"));
    [allocator, after].map(|changed| {
        assert_ne!(changed, text);
        described(&changed, "batch")
    })
}

#[test]
fn a_loop_in_the_allocator_or_after_the_return_ends_at_the_deadline() {
    for looping in around_the_call("", "(loop $spin (br $spin))") {
        check(&fault(&looping, hasty()), Kind::Timeout, "ran longer");
    }
}

#[test]
fn a_plugin_may_not_call_the_host_while_it_allocates_or_frees_for_it() {
    let imports = r#"(import "wasmill:plugin/metrics@1.0.0" "count" (func $count (param i32 i32 i64)))"#;
    for calling in around_the_call(imports, "(call $count (i32.const 0) (i32.const 0) (i64.const 1))") {
        check(&fault(&calling, settings()), Kind::Trap, "cannot leave");
    }
}

/// A start function runs before a component's imports are available; functions that are called later can use them.
#[test]
fn during_instantiation_a_plugin_may_call_the_same_functions_in_both_forms() {
    let import = r#"(import "wasmill:plugin/log@1.0.0" "write" (func $write (param i32 i32 i32)))"#;
    let process =
        "(func $process (type $process) (call $outcome (call $array (local.get 4) (i32.const 0)) (local.get 4)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))";
    for (begin, expected) in [("(start $begin)", Err(Kind::Trap)), (r#"(export "_initialize" (func $begin))"#, Ok(()))]
    {
        let text = format!(
            "{import} (func $begin (call $write (i32.const 2) (i32.const 64) (i32.const 4))) {process} {begin}"
        );
        for bytes in forms(&batch(&text)) {
            let made = load(&bytes, settings()).unwrap().instantiate();
            assert_eq!(made.map(drop).map_err(|failure| failure.kind), expected, "{begin}");
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test is a shell of its own")]
fn the_deadline_applies_to_each_call_separately() {
    let step = load(&fixture("identity"), Settings { timeout: Duration::from_secs(1).into(), ..settings() }).unwrap();
    let mut instance = step.instantiate().unwrap();
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        instance.process(&records(0).view()).unwrap();
    }
}

#[test]
fn refused_memory_is_told_apart_from_other_traps() {
    let failure = fault(&fixture("grow"), settings());
    check(&failure, Kind::Memory, "needs more than its limit of 16777216 bytes of memory in `process`");
}

/// Takes memory until it is refused, and then does `then`.
fn full(then: &str) -> Vec<u8> {
    batch(&format!(
        "(data (i32.const 64) \"full\")
         (func $process (type $process)
           (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
           {then})"
    ))
}

/// What an interpreter makes of refused memory: an exception, which comes back as an error of the call, or as rejects.
#[test]
fn an_error_or_a_reject_of_a_call_that_was_refused_memory_is_a_fault_of_the_call() {
    let error = "(i32.store8 (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 64))
        (i32.store (i32.const 8) (i32.const 4)) (i32.const 0)";
    let dropped = "(drop (call $outcome (call $array (local.get 4) (i32.const 0)) (local.get 4)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))";
    let reject = format!(
        "{dropped}
         (i32.store (i32.const 52) (i32.const 128)) (i32.store (i32.const 56) (i32.const 1))
         (i32.store8 (i32.const 132) (i32.const 1)) (i32.store (i32.const 136) (i32.const 64))
         (i32.store (i32.const 140) (i32.const 4)) (i32.store (i32.const 144) (i32.const 64))
         (i32.store (i32.const 148) (i32.const 4)) (i32.const 0)"
    );
    for then in [error, &reject] {
        let failure = fault(&full(then), settings());
        check(&failure, Kind::Memory, "needs more than its limit of 16777216 bytes of memory; it returned: full");
        assert!(failure.kind.spoils_instance());
    }
    // Who does without the memory is left alone.
    let well = format!("{dropped} (i32.const 0)");
    for bytes in forms(&full(&well)) {
        let mut instance = load(&bytes, settings()).unwrap().instantiate().unwrap();
        for _ in 0..2 {
            assert!(instance.process(&records(0).view()).unwrap().failed.is_empty());
        }
    }
}

#[test]
fn an_impossible_growth_does_not_hide_a_real_one() {
    let cheat = batch(
        "(func $process (type $process) (local $left i32)
           (local.set $left (i32.const 1000))
           (loop $again
             (drop (memory.grow (i32.const 1)))
             (drop (memory.grow (i32.const 65536)))
             (local.set $left (i32.sub (local.get $left) (i32.const 1)))
             (br_if $again (local.get $left)))
           (if (i32.gt_u (memory.size) (i32.const 256)) (then unreachable))
           (call $outcome (call $array (local.get 4) (i32.const 0)) (local.get 4)
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))",
    );
    let step = load(&cheat, settings()).unwrap();
    let mut instance = step.instantiate().unwrap();
    instance.process(&records(0).view()).unwrap();
    assert_eq!(instance.memory_bytes(), 16 << 20);
}

#[test]
fn memories_and_tables_are_summed() {
    let process = "(func $process (type $process) (i32.const 0))";
    let limit = |memory_bytes| Settings { memory_bytes, ..settings() };
    let memories = |count, pages| batch(&format!("{} {process}", format!("(memory {pages})").repeat(count)));
    check(&fault(&memories(3, 100), limit(16 << 20)), Kind::Memory, "instantiate: ");
    check(&fault(&memories(40, 1), limit(1 << 30)), Kind::Memory, "memory count too high");
    check(&fault(&fixture("tables"), limit(16 << 20)), Kind::Memory, "instantiate: ");
    let step = load(&fixture("identity"), settings()).unwrap();
    assert_eq!(step.instantiate().unwrap().memory_bytes(), 2 << 16);
}

#[test]
fn recursion_is_a_trap_and_not_the_end_of_the_process() {
    check(&fault(&fixture("recurse"), settings()), Kind::Trap, "wasm trap: stack overflow in `deeper`");
}

#[test]
fn results_that_alias_each_other_stop_at_the_hosts_own_bound() {
    check(&fault(&fixture("bomb"), settings()), Kind::BadOutput, "more data than one call may return");
}

#[test]
fn results_that_cannot_be_lifted_are_bad_output() {
    check(&fault(&fixture("bad_pointer"), settings()), Kind::BadOutput, "out of bounds");
    check(&fault(&fixture("bad_utf8"), settings()), Kind::BadOutput, "utf-8");
    check(&fault(&fixture("bad_tag"), settings()), Kind::BadOutput, "discriminant");
}

#[test]
fn an_error_from_init_is_the_plugins_own_text() {
    let failure = fault(&fixture("init_error"), settings());
    assert_eq!((failure.kind, &*failure.reason), (Kind::Error, "{\"fields\":[]}"));
}

#[test]
fn a_fresh_instance_works_after_a_fault() {
    let step = load(&fixture("talk"), settings()).unwrap();
    let mut spoiled = step.instantiate().unwrap();
    let failure = spoiled.process(&records(1).view()).unwrap_err();
    assert!(failure.kind.spoils_instance());
    drop(spoiled);
    step.instantiate().unwrap().process(&records(0).view()).unwrap();
}
