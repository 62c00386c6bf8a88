//! The tools neither change data that passes through them nor confuse values that differ.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Stdio;

use super::*;

/// Runs the cases of a file. Returns the exit code and the output.
fn test(cases: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), cases);
    let output = wasmill(&["test", &file]);
    (output.status.code(), text(&output))
}

fn case(input: &str, expect: &str) -> String {
    format!("[[case]]\nname = \"a case\"\ninput = [{input}]\nexpect = [{expect}]\n")
}

#[test]
fn a_case_detects_differences_in_the_last_digit_in_duplicate_names_and_in_null() {
    let long = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    let other = format!("{}6", &long[..long.len() - 1]);
    let number = |digits: &str| format!("'{{\"n\":{digits}}}'");
    let (code, said) = test(&case(&number(long), &number(long)));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("1 passed\n"), "{said}");
    for (input, expect) in [
        (number(long), number(&other)),
        (number("0.100000000000000000000000000001"), number("0.1")),
        ("'{\"a\":1,\"a\":2}'".into(), "'{\"a\":2}'".into()),
        ("{ key = \"k\" }".into(), "{ value = \"null\" }".into()),
        ("\"null\"".into(), "{ value = { null = true } }".into()),
    ] {
        let (code, said) = test(&case(&input, &expect));
        assert_eq!(code, Some(1), "{input} {expect}: {said}");
        assert!(said.contains("FAILED") && said.contains("1 of 1 cases failed"), "{said}");
    }
    let (_, said) = test(&case("'{\"a\":1,\"a\":2}'", "'{\"a\":2}'"));
    assert!(said.contains("`a` occurs twice in the value that was found"), "{said}");
    let (code, said) = test(&case("{ key = \"k\" }", "{ key = \"k\", value = { null = true } }"));
    assert_eq!(code, Some(0), "{said}");
}

fn try_(arguments: &[&str], stdin: &[u8]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    command.arg("try").arg(file).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The values of the output records.
fn values(out: &str) -> Vec<String> {
    let value =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["value"].as_str().unwrap().to_owned();
    out.lines().map(value).collect()
}

#[test]
fn try_reads_lines_as_any_system_writes_them() {
    let records = b"\xef\xbb\xbf{\"value\":\"a\"}\r\n\n \r\n{\"value\":\"b\"}";
    let (code, out, said) = try_(&["--format", "record"], records);
    assert_eq!((code, values(&out)), (Some(0), vec!["a".into(), "b".into()]), "{said}");
    let (code, out, said) = try_(&[], b"\xef\xbb\xbfa\r\n\r\nb\n");
    assert_eq!((code, values(&out)), (Some(0), vec!["a".into(), "b".into()]), "{said}");
    let (code, _, said) = try_(&["--format", "record"], b"{\"value\":\"a\"}\n\nno record\n");
    assert_eq!(code, Some(78));
    assert!(said.contains("line 3: not a JSON object"), "{said}");
}

#[test]
fn a_record_with_more_output_than_its_bound_fails_and_its_neighbours_pass() {
    let bound = ["--set", "limits.output_bytes_per_record=4"];
    let (code, out, said) = try_(&bound, b"abcd\nabcde\nx\n");
    assert_eq!((code, values(&out)), (Some(1), vec!["abcd".into(), "x".into()]), "{said}");
    assert!(said.contains("line 2: step `p`: bad_output: the outputs of record 0 have more than 4 bytes"), "{said}");
}

#[test]
fn try_keeps_the_json_of_a_record_byte_for_byte() {
    let json = "{ \"n\" : 115792089237316195423570985008687907853269984665640564039457584007913129639935, \"n\":0.10 }";
    let (code, out, said) = try_(&["--format", "record"], format!("{{\"value\":{json}}}\n").as_bytes());
    assert_eq!((code, values(&out)), (Some(0), vec![json.to_owned()]), "{said}");
}

/// Files as editors on other systems save them.
#[test]
fn files_may_begin_with_a_byte_order_mark_and_end_lines_as_any_system_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "");
    let saved = |text: String| "\u{feff}".to_owned() + &text.replace('\n', "\r\n");
    fs::write(&file, saved(fs::read_to_string(&file).unwrap().replace("\"g\"", "\"${file:group}\""))).unwrap();
    fs::write(folder.path().join("group"), saved("g\n".into())).unwrap();
    let cases = "[[case]]\nname = \"a\"\ninput_file = \"in\"\nexpect_file = \"out\"\n";
    fs::write(folder.path().join("pipe.test.toml"), saved(cases.into())).unwrap();
    fs::write(folder.path().join("in"), saved("a\n\nb\n".into())).unwrap();
    fs::write(folder.path().join("out"), saved("{\"value\":\"a\"}\n\n\"b\"\n".into())).unwrap();
    let output = wasmill(&["test", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_not() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), &case("\"a\"", "\"a\""));
    let lines = folder.path().join("lines");
    fs::write(&lines, "a\nb\n").unwrap();
    for arguments in
        [&["schema"][..], &["config", "show", &file], &["test", &file], &["try", &file], &["check", "--offline", &file]]
    {
        let run = |stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
            command.args(arguments).stdin(File::open(&lines).unwrap()).stdout(stdout).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let output = run(full().into()).wait_with_output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
        assert!(said.contains("write to stdout: No space left on device"), "{arguments:?}: {said}");
        let mut child = run(Stdio::piped());
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output));
    }
}

/// Half a folder would block the next try. A file system of a few pages serves as the full disk.
#[test]
fn a_new_plugin_on_a_full_disk_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=32k none \"$1\" && cd \"$1\" || exit 99\n\"$2\" new plugin mine; code=$?; ls; exit $code";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    let output = command.arg(folder.path()).arg(env!("CARGO_BIN_EXE_wasmill")).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("No space left on device"), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing is left");
}
