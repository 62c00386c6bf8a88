//! What a start that fails says, and what is said at an end: places in the file, what the machine lacks, the last line, and what was kept back.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use super::*;

/// All that a process said, and its code.
fn said(arguments: &[&str]) -> (Option<i32>, String) {
    let output = wasmill(arguments);
    (output.status.code(), text(&output))
}

#[test]
fn each_start_names_the_place_of_a_step_whose_component_cannot_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "[[case]]\nname = \"a\"\ninput = []\nexpect = []\n");
    let serve = ["--http", "127.0.0.1:0"];
    fs::write(folder.path().join("p.wasm"), "no component").unwrap();
    for arguments in [&["run", &file][..], &["dev", &file], &["try", &file], &["test", &file]] {
        let served = if matches!(arguments[0], "run" | "dev") { &serve[..] } else { &[] };
        let (code, said) = said(&[arguments, served].concat());
        assert_eq!(code, Some(78), "{arguments:?}: {said}");
        assert!(said.contains("pipe.toml:7:8") && said.contains("help: "), "{arguments:?}: {said}");
    }
    let (refuses, prelude) = (include_str!("../plugins/init_error.wat"), include_str!("../plugins/prelude.wat"));
    fs::write(folder.path().join("p.wasm"), wat::parse_str(format!("(module {refuses}\n{prelude})")).unwrap()).unwrap();
    for arguments in [&["run", &file][..], &["dev", &file], &["try", &file]] {
        let served = if arguments[0] == "try" { &[] } else { &serve[..] };
        let (code, said) = said(&[arguments, served].concat());
        let verb = arguments[0];
        assert_eq!(code, Some(78), "{verb}: {said}");
        assert!(said.contains("does not start") && said.contains("pipe.toml:7:8"), "{verb}: {said}");
    }
}

/// Whatever it is that can't start: what heeds signals, or what serves the probes. Another address would help neither.
#[test]
fn a_thread_that_cannot_start_is_what_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::File::create(folder.path().join("wasmill")).unwrap();
    // The limit is a user's, and root has none. A user of this test alone, who may not be able to reach where the program was built.
    let user = 100_000 + std::process::id() % 100_000;
    for threads in 1..=3 {
        let script = format!(
            "mount --bind \"$1\" wasmill && shift && exec setpriv --reuid {user} --regid {user} --clear-groups -- \
             prlimit --nproc={threads} -- ./wasmill \"$@\""
        );
        let mut command = Command::new("unshare");
        command.current_dir(&folder).args(["--mount", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_wasmill")]);
        let output = command.args(["run", &file, "--http", "127.0.0.1:0"]).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(78), "{threads}: {said}");
        assert!(said.contains("start the thread that ") && said.contains("`ulimit -u`"), "{threads}: {said}");
        assert!(!said.contains("another address"), "{threads}: {said}");
    }
}

/// Writes a thousand lines about each batch, and forwards it.
fn flooding() -> Vec<u8> {
    let flood = "(local $lengths i32) (local $n i32)
      (loop $again
        (call $write (i32.const 2) (i32.const 64) (i32.const 4))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 1000))))";
    let forward = include_str!("../plugins/forward.wat").replacen("(local $lengths i32)", flood, 1);
    let prelude = include_str!("../plugins/prelude.wat");
    wat::parse_str(format!(
        r#"(module
            (import "wasmill:plugin/log@1.0.0" "write" (func $write (param i32 i32 i32)))
            (data (i32.const 64) "line")
            {forward}
            (func $init (param i32 i32 i32 i32) (result i32) (i32.const 0))
            {prelude})"#
    ))
    .unwrap()
}

const SUPPRESSED: &str = "lines of this plugin's log were suppressed";

#[test]
fn try_counts_out_what_a_plugin_was_kept_from_saying_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "");
    fs::write(folder.path().join("p.wasm"), flooding()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    command.args(["try", &file]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output);
    assert!(output.status.success() && said.contains(SUPPRESSED), "{said}");
}
