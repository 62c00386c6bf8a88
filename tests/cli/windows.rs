//! Steps with windows without a broker: `try` and `test` compute what `run` computes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

/// A pipeline in a folder of its own.
struct Pipe {
    folder: TempDir,
    file: PathBuf,
}

impl Pipe {
    /// A pipeline that counts by the field `k`, with these windows.
    fn new(window: &str) -> Pipe {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipe.toml");
        let text = format!(
            "[kafka]\nbrokers = [\"127.0.0.1:1\"]\n[input]\ntopics = [\"orders\"]\ngroup = \"g\"\n\
             [[step]]\nname = \"per-minute\"\nuse = \"std:aggregate\"\nkey = \"json:/k\"\nsame_partition = true\ntime = \"json:/at\"\n\
             window = {{ {window} }}\nsettings = {{ records = \"count\" }}\n\
             [output.main]\ntopic = \"counts\"\n[output.late]\ntopic = \"late\"\n[on_error]\ndead_letter = \"dead\"\n"
        );
        fs::write(&file, text).unwrap();
        Pipe { folder, file }
    }

    fn wasmill(&self, verb: &[&str], more: &[&str], input: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
        command.args(verb).arg(&self.file).args(more).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        let input = input.to_owned();
        let feeder = std::thread::spawn(move || {
            // A command that refuses its arguments doesn't read.
            let _ = stdin.write_all(input.as_bytes());
        });
        let output = process.wait_with_output().unwrap();
        feeder.join().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), said: text(output.stderr) }
    }
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    said: String,
}

impl Ran {
    /// What came out, in order: for a result its key, the start of its window and its count; else the output's name.
    fn results(&self) -> Vec<String> {
        let result = |line: &str| {
            let record: Value = serde_json::from_str(line).unwrap();
            if record["output"] != "main" {
                return record["output"].as_str().unwrap().to_owned();
            }
            let result: Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
            assert_eq!(record["key"], result["key"]);
            let from = result["from"].as_str().unwrap();
            format!("{} {} {}", result["key"].as_str().unwrap(), &from[11..19], result["records"])
        };
        self.out.lines().map(result).collect()
    }
}

const MINUTES: &str = "size = \"1m\", lateness = \"10s\"";
const RECORDS: &str = r#"{"k":"a","at":"2025-01-31T10:00:00Z"}
{"k":"a","at":"2025-01-31T10:00:30Z"}
{"k":"b","at":"2025-01-31T10:01:10Z"}
{"k":"a","at":"2025-01-31T10:00:59Z"}
{"at":"2025-01-31T10:01:30Z"}
{"k":"b","at":"2025-01-31T10:01:20Z"}
"#;

#[test]
fn a_result_has_its_fields_in_the_order_of_the_settings() {
    let pipe = Pipe::new(MINUTES);
    let text = fs::read_to_string(&pipe.file).unwrap();
    let settings = "settings = { z = \"count\", first = \"first:/k\", a = \"count\" }";
    fs::write(&pipe.file, text.replace("settings = { records = \"count\" }", settings)).unwrap();
    let ran = pipe.wasmill(&["try"], &[], RECORDS);
    assert!(ran.out.contains(r#"\"z\":2,\"first\":\"a\",\"a\":2}"#), "{}", ran.out);
}

#[test]
fn results_come_after_the_record_that_closes_their_window_and_the_others_at_the_end() {
    let ran = Pipe::new(MINUTES).wasmill(&["try"], &["--trace"], RECORDS);
    assert_eq!(ran.results(), ["a 10:00:00 2", "late", "b 10:01:00 2"], "{}", ran.said);
    assert_eq!(ran.code, Some(1), "a record without a key fails\n{}", ran.said);
    let said: Vec<&str> = ran.said.lines().collect();
    let at = |text: &str| {
        said.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text} is not in\n{}", ran.said))
    };
    let places =
        ["line 3:", "line 3 closes windows: 1 out", "line 4:", "`late`, no window: 1 late", "(no-key)"].map(at);
    assert!(places.is_sorted() && at("the end closes windows: 1 out") > places[4], "{}", ran.said);
    assert!(said[at("line 1:") + 1].ends_with("per-minute: 1 in -> its windows"), "{}", ran.said);
    let result: Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
    assert_eq!((&result["topic"], &result["timestamp"]), (&"counts".into(), &1_738_317_659_999_i64.into()));
}

#[test]
fn windows_that_never_close_by_the_clock_stay_open_at_the_end() {
    let ran = Pipe::new(MINUTES).wasmill(&["try"], &["--set", "step.0.window.idle=never"], RECORDS);
    assert_eq!(ran.results(), ["a 10:00:00 2", "late"]);
    assert!(ran.said.contains("1 window is still open"), "{}", ran.said);
}

#[test]
fn no_record_is_ahead_of_the_clock_unless_a_time_is_given() {
    let pipe = Pipe::new(MINUTES);
    let input = "{\"k\":\"a\",\"at\":\"2025-01-31T10:00:00Z\"}\n{\"k\":\"a\",\"at\":\"2038-01-31T10:00:00Z\"}\n{\"k\":\"a\",\"at\":\"2025-01-31T10:00:01Z\"}\n";
    assert_eq!(pipe.wasmill(&["try"], &[], input).results(), ["a 10:00:00 1", "late", "a 10:00:00 1"]);
    let ran = pipe.wasmill(&["try"], &["--now", "2025-01-31T10:00:00Z"], input);
    assert_eq!((ran.results(), ran.code), (vec!["a 10:00:00 2".to_owned()], Some(1)));
    assert!(ran.said.contains("line 2: step `per-minute`: reject (future-timestamp)"), "{}", ran.said);
}

#[test]
fn open_windows_are_never_shown_early_and_results_say_that_they_are_the_last() {
    let ran = Pipe::new(MINUTES).wasmill(&["try"], &["--set", "step.0.emit.early=100ms"], RECORDS);
    assert_eq!(ran.results(), ["a 10:00:00 2", "late", "b 10:01:00 2"]);
    assert_eq!(ran.out.matches("\\\"closed\\\":true").count(), 2, "{}", ran.out);
}

/// The rule of docs/windows.md, record by record: the results in the order of the windows' ends, and how many records are late.
fn reference(records: &[(i64, u64)], size: i64, every: i64, lateness: i64) -> (BTreeMap<(i64, String), u64>, usize) {
    let (mut results, mut late, mut greatest) = (BTreeMap::new(), 0, i64::MIN);
    for &(time, key) in records {
        let first = (time.div_euclid(every) + 1) * every;
        if first <= greatest.saturating_sub(lateness) {
            late += 1;
        } else {
            for end in (first..first + size).step_by(usize::try_from(every).unwrap()) {
                *results.entry((end, format!("k{key}"))).or_default() += 1;
            }
        }
        greatest = greatest.max(time);
    }
    (results, late)
}

#[test]
fn windows_that_overlap_equal_those_of_another_computation() {
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let start = 1_738_317_600_000_i64;
    let mut time = start;
    let records: Vec<(i64, u64)> = (0..3000)
        .map(|_| {
            time += i64::try_from(random(1000)).unwrap();
            let disorder = if random(10) == 0 { random(90_000) } else { random(4000) };
            (time - i64::try_from(disorder).unwrap(), random(20))
        })
        .collect();
    let lines: String = records.iter().map(|(at, key)| format!("{{\"k\":\"k{key}\",\"at\":{at}}}\n")).collect();
    let pipe = Pipe::new("size = \"3m\", every = \"1m\", lateness = \"5s\"");
    let ran = pipe.wasmill(&["try"], &[], &lines);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let (mut found, mut late, mut ends) = (BTreeMap::new(), 0, Vec::new());
    for line in ran.out.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        if record["output"] == "late" {
            late += 1;
            continue;
        }
        let end = record["timestamp"].as_i64().unwrap() + 1;
        let result: Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
        let window = (end, record["key"].as_str().unwrap().to_owned());
        assert_eq!(found.insert(window, result["records"].as_u64().unwrap()), None, "a result that is there twice");
        ends.push(end);
    }
    let (expected, expected_late) = reference(&records, 180_000, 60_000, 5000);
    assert!(expected_late > 50 && expected.len() > 200, "{expected_late} late, {} results", expected.len());
    assert_eq!((found, late), (expected, expected_late));
    assert!(ends.is_sorted(), "windows close in the order of their ends");
}

#[test]
fn test_cases_have_windows_and_a_clock() {
    let pipe = Pipe::new(MINUTES);
    let cases = |text: &str| fs::write(pipe.folder.path().join("pipe.test.toml"), text).unwrap();
    let input = "input = ['{\"k\":\"a\",\"at\":\"2025-01-31T10:00:00Z\"}']";
    cases(&format!(
        "[[case]]\nname = \"closes\"\n{input}\nexpect = [{{ key = \"a\", timestamp = 1738317659999 }}]\n\
         [[case]]\nname = \"stays open\"\nidle = false\n{input}\nexpect = []\n\
         [[case]]\nname = \"is ahead\"\nnow = \"2025-01-31T09:49:59Z\"\n{input}\nexpect_error = \"future-timestamp\"\n\
         [[case]]\nname = \"is not ahead\"\nnow = \"2025-01-31T09:50:00Z\"\nstep = \"per-minute\"\n{input}\nexpect = [{{ key = \"a\" }}]\n"
    ));
    let ran = pipe.wasmill(&["test"], &[], "");
    assert_eq!((ran.code, ran.out.matches("ok ").count()), (Some(0), 4), "{ran:?}");
    cases(&format!("[[case]]\nname = \"closes\"\n{input}\nexpect = []\n"));
    let ran = pipe.wasmill(&["test"], &[], "");
    assert!(ran.code == Some(1) && ran.out.contains("output 0 is unexpected"), "{ran:?}");
}

#[test]
fn dead_letters_are_replayed_to_the_input_of_a_pipeline_with_windows() {
    let pipe = Pipe::new(MINUTES);
    for more in [&[][..], &["--dry-run"]] {
        let ran = pipe.wasmill(&["dlq", "replay"], more, "");
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.said.contains("step `per-minute` has windows") && ran.said.contains("`--to-input`"), "{ran:?}");
    }
}
