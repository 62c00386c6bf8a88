//! What a start that fails says, and what is said at an end: places in the file, what the machine lacks, the last line, and what was kept back.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use super::signals::First;
use super::signals::lines_of;
use super::signals::pipe;
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

/// Whatever it is that can't start: what handles signals, or what serves the probes. Another address would help neither.
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

/// Nobody asks the plugin for anything more.
#[test]
fn dev_counts_out_what_a_silent_plugin_was_kept_from_saying_and_says_last_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "");
    fs::write(folder.path().join("p.wasm"), flooding()).unwrap();
    let pipe = pipe(&folder.path().join("pipe"));
    // Opened for reading too, so that it doesn't wait for the other end.
    let mut feed = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    feed.write_all(b"a\n").unwrap();
    let serve = ["--http", "127.0.0.1:0", "--log-format", "human"];
    let mut first = First::start(&[&["dev", &file, "--feed", pipe.to_str().unwrap()][..], &serve].concat());
    let mut lines = lines_of(&mut first);
    assert!(lines.any(|line| line.contains(SUPPRESSED)), "while the pipeline runs on");
    first.signal("TERM");
    let rest: Vec<String> = lines.collect();
    assert_eq!(first.ended(), Some(0), "{rest:?}");
    assert!(rest.last().is_some_and(|last| last.contains("ended: shut down")), "{rest:?}");
}

#[test]
fn dev_that_cannot_go_on_with_its_feed_says_so_last() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "");
    let feed = folder.path().join("feed");
    fs::write(&feed, "no record\n").unwrap();
    let feed = feed.to_str().unwrap();
    let (code, said) = said(&["dev", &file, "--feed", feed, "--format", "record", "--http", "127.0.0.1:0"]);
    assert_eq!(code, Some(78), "{said}");
    let (ended, why) = said.split_once("not a JSON object").unwrap_or_default();
    let last = ended.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    assert!(last.contains("ended: ") && last.contains("\"exit_code\":78"), "{said}");
    assert!(!why.contains("\"message\""), "{said}");
}

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
