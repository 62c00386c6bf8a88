//! Plugins with the runtime of a language, which imports WASI: it is there, with nothing behind it but the log and what is granted.

use wasmill::failure::Failure;
use wasmill::failure::Kind;
use wasmill::plugin::Grant;
use wasmill::plugin::Grants;
use wasmill::plugin::Needs;
use wasmill::plugin::Settings;
use wasmill::plugin::inspect;

use crate::component::component;
use crate::component::described;
use crate::component::load;
use crate::component::of_runtime;
use crate::component::settings;
use crate::component::with_prelude;
use crate::records;

/// Prints, waits for a day, reads, looks for files and asks for the time; in partition 1 it traps after it has printed, and in partition 2 it
/// exits.
const RUNTIME: &str = r#"
    (import "wasi:cli/stdin@0.2.6" "get-stdin" (func $stdin (result i32)))
    (import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))
    (import "wasi:cli/stderr@0.2.6" "get-stderr" (func $stderr (result i32)))
    (import "wasi:cli/exit@0.2.6" "exit" (func $exit (param i32)))
    (import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))
    (import "wasi:io/streams@0.2.6" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
    (import "wasi:io/streams@0.2.6" "[resource-drop]output-stream" (func $drop_output (param i32)))
    (import "wasi:io/streams@0.2.6" "[resource-drop]input-stream" (func $drop_input (param i32)))
    (import "wasi:io/poll@0.2.6" "poll" (func $poll (param i32 i32 i32)))
    (import "wasi:io/poll@0.2.6" "[resource-drop]pollable" (func $drop_pollable (param i32)))
    (import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $sleep (param i64) (result i32)))
    (import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $elapsed (result i64)))
    (import "wasi:clocks/wall-clock@0.2.6" "now" (func $now (param i32)))
    (import "wasi:filesystem/preopens@0.2.6" "get-directories" (func $directories (param i32)))
    (import "wasi:filesystem/types@0.2.6" "[method]descriptor.read-via-stream" (func $open (param i32 i64 i32)))
    (data (i32.const 64) "hello\nTraceback\nValueError: bad")
    (func $sure (param i32) (if (i32.eqz (local.get 0)) (then unreachable)))
    (func $print (param $to i32) (param $at i32) (param $bytes i32)
      (call $write (local.get $to) (local.get $at) (local.get $bytes) (i32.const 1024))
      (call $sure (i32.eqz (i32.load8_u (i32.const 1024))))
      (call $drop_output (local.get $to)))
    (func $process (type $process) (local $handle i32)
      (call $print (call $stdout) (i32.const 64) (i32.const 6))
      (call $print (call $stderr) (i32.const 70) (i32.const 25))
      (if (i32.eq (local.get 2) (i32.const 1)) (then unreachable))
      (if (i32.eq (local.get 2) (i32.const 2)) (then (call $exit (i32.const 1))))
      (if (i32.eq (local.get 2) (i32.const 3)) (then (call $open (i32.const 7) (i64.const 0) (i32.const 1024))))
      (local.set $handle (call $sleep (i64.const 86400000000000)))
      (i32.store (i32.const 1024) (local.get $handle))
      (call $poll (i32.const 1024) (i32.const 1) (i32.const 1032))
      (call $sure (i32.eq (i32.load (i32.const 1036)) (i32.const 1)))
      (call $drop_pollable (local.get $handle))
      (local.set $handle (call $stdin))
      (call $read (local.get $handle) (i64.const 10) (i32.const 1024))
      (call $sure (i32.load8_u (i32.const 1024)))
      (call $sure (i32.load8_u (i32.const 1028)))
      (call $drop_input (local.get $handle))
      (call $directories (i32.const 1024))
      (call $sure (i32.eqz (i32.load (i32.const 1028))))
      (call $sure (i64.lt_u (call $elapsed) (call $elapsed)))
      (call $now (i32.const 1024))
      (call $sure (i32.eq (i64.eqz (i64.load (i32.const 1024))) (i32.const UNSET)))
      (call $outcome (call $array (local.get 4) (i32.const 0)) (local.get 4)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))"#;

/// [`RUNTIME`] as a component. `is_unset` says whether it expects the time of 1970.
pub(crate) fn runtime(is_unset: bool) -> Vec<u8> {
    let unset = if is_unset { "1" } else { "0" };
    component(&of_runtime(&with_prelude(&RUNTIME.replace("UNSET", unset))))
}

/// The failure of a call in this partition.
fn failure(bytes: &[u8], partition: i32) -> Failure {
    let mut instance = load(bytes, settings()).unwrap().instantiate().unwrap();
    instance.process(&records(partition).view()).unwrap_err()
}

fn trap(bytes: &[u8], partition: i32) -> String {
    let failure = failure(bytes, partition);
    assert_eq!(failure.kind, Kind::Trap, "{failure}");
    failure.reason
}

/// How many lines of each level the plugin logged in some calls that succeed.
fn logged(bytes: &[u8], allow: Grants) -> [u64; 5] {
    let step = load(bytes, Settings { allow, ..settings() }).unwrap();
    let mut instance = step.instantiate().unwrap();
    for _ in 0..3 {
        assert!(instance.process(&records(0).view()).unwrap().failed.is_empty());
    }
    step.take_logged()
}

#[test]
fn a_runtimes_wasi_prints_to_the_log_waits_for_nothing_and_has_the_time_where_it_is_granted() {
    let clock = Grants { clock: true, ..Grants::default() };
    assert_eq!(logged(&runtime(true), Grants::default()), [0, 0, 3, 0, 6]);
    assert_eq!(logged(&runtime(false), clock), [0, 0, 3, 0, 6]);
    let inspection = inspect(&runtime(true)).unwrap();
    assert_eq!(inspection.refusal, None);
    let needs = |name: &str| inspection.imports.iter().find(|import| import.name == name).unwrap().needs;
    assert_eq!(needs("wasi:clocks/wall-clock@0.2.6"), Needs::Optional(Grant::Clock));
    assert_eq!(needs("wasi:filesystem/preopens@0.2.6"), Needs::Optional(Grant::Files));
    assert_eq!(needs("wasi:io/poll@0.2.6"), Needs::Inert);
}

#[test]
fn a_trap_and_an_exit_begin_with_what_was_printed_to_stderr() {
    let words = "Traceback; ValueError: bad; ";
    assert_eq!(trap(&runtime(true), 1), format!("{words}wasm trap: unreachable executed in `process`"));
    assert!(trap(&runtime(true), 2).starts_with(&format!("{words}ended itself with the exit code 1")));
    // There is no handle of a file, so a call with one never reaches the host.
    let forged = failure(&runtime(true), 3);
    assert!(forged.kind == Kind::BadOutput && forged.reason.contains("unknown handle"), "{forged}");
}

/// Prints a part of a line and a line, and asks for the time, random numbers and files; in partition 1 it traps, and in partition 2 it exits.
const PREVIEW_1: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (data (i32.const 64) "Traceback\nValueError: bad")
    (data (i32.const 256) "\40\00\00\00\0a\00\00\00\4a\00\00\00\0f\00\00\00")
    (func $sure (param i32) (if (i32.eqz (local.get 0)) (then unreachable)))
    (func $process (type $process)
      (call $sure (i32.eqz (call $write (i32.const 2) (i32.const 256) (i32.const 2) (i32.const 1024))))
      (call $sure (i32.eq (i32.load (i32.const 1024)) (i32.const 25)))
      (call $sure (i32.eq (call $write (i32.const 3) (i32.const 256) (i32.const 2) (i32.const 1024)) (i32.const 8)))
      (if (i32.eq (local.get 2) (i32.const 1)) (then unreachable))
      (if (i32.eq (local.get 2) (i32.const 2)) (then (call $exit (i32.const 3))))
      (call $sure (i32.eqz (call $time (i32.const 0) (i64.const 0) (i32.const 1024))))
      (call $sure (i32.eq (i64.eqz (i64.load (i32.const 1024))) (i32.const UNSET)))
      (call $sure (i32.eqz (call $time (i32.const 1) (i64.const 0) (i32.const 1024))))
      (call $sure (i32.eqz (i64.eqz (i64.load (i32.const 1024)))))
      (call $sure (i32.eqz (call $random (i32.const 1024) (i32.const 8))))
      (call $sure (i32.eqz (i64.eqz (i64.load (i32.const 1024)))))
      (call $sure (i32.eqz (call $environ (i32.const 1024) (i32.const 1028))))
      (call $sure (i32.eq (call $prestat (i32.const 3) (i32.const 1024)) (i32.const 8)))
      (call $outcome (call $array (local.get 4) (i32.const 0)) (local.get 4)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))"#;

/// [`PREVIEW_1`] as it runs directly, and with debug information, which makes a component of it.
pub(crate) fn preview_1(is_unset: bool) -> [Vec<u8>; 2] {
    let unset = if is_unset { "1" } else { "0" };
    ["", r#"(@custom ".debug_info" "")"#]
        .map(|more| described(&with_prelude(&format!("{}{more}", PREVIEW_1.replace("UNSET", unset))), "batch"))
}

#[test]
fn a_core_module_with_preview_1_runs_directly_and_by_way_of_the_adapter() {
    for bytes in preview_1(true) {
        assert_eq!(logged(&bytes, Grants::default()), [0, 0, 0, 0, 6]);
        assert_eq!(trap(&bytes, 1), "Traceback; ValueError: bad; wasm trap: unreachable executed in `process`");
        assert!(trap(&bytes, 2).contains("ValueError: bad; ended itself with the exit code 3"), "{}", trap(&bytes, 2));
    }
    let [direct, adapted] = preview_1(false);
    let allow = Grants { clock: true, ..Grants::default() };
    assert_eq!(logged(&direct, allow.clone())[4], 6);
    // Grants don't reach it through the adapter, and `check` says that it doesn't use them.
    let step = load(&adapted, Settings { allow: allow.clone(), ..settings() }).unwrap();
    assert!(!step.uses(Grant::Clock));
    assert!(load(&direct, Settings { allow, ..settings() }).unwrap().uses(Grant::Clock));
}

#[test]
fn a_stub_of_wasi_in_a_trap_is_explained() {
    let text = "(func $filesystem_preopens_get_directories unreachable)
        (func $process (type $process) (call $filesystem_preopens_get_directories) (i32.const 0))";
    let reason = trap(&described(&with_prelude(text), "batch"), 0);
    assert!(reason.contains("in `filesystem_preopens_get_directories`: it was built without WASI, so"), "{reason}");
}
