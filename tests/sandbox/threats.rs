//! Single threats of the table in `docs/security.md` that no other test has: waiting, what is left in memory, floods of the log, results of
//! random bytes, and files that change while they are loaded.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use wasmill::batch::Batch;
use wasmill::failure::Failure;
use wasmill::plugin::Demand;
use wasmill::plugin::Instance;
use wasmill::plugin::Settings;
use wasmill::plugin::Step;
use wasmill::plugin::digest;
use wasmill::record::TopicPartition;

use crate::component;
use crate::corpus;
use crate::support;
use crate::support::clock::Watch;
use crate::support::random::Random;
use crate::support::say;
use crate::trial;
use crate::trial::Bounds;

const BOUNDS: Bounds = Bounds { call: Duration::from_secs(30), compile: Duration::from_secs(60) };

/// S2: nothing that a plugin calls waits, and no thread is left behind by one that tries to.
#[test]
fn plugins_that_wait_take_no_threads_and_no_longer_than_their_timeout() {
    let _alone = support::alone();
    let bounds = Bounds { call: Duration::from_millis(100), ..BOUNDS };
    let waiting = ["preview1_waits", "wasi_poll_flood"].map(corpus::named);
    let steps: Vec<Step> =
        waiting.iter().flat_map(|case| &case.forms).map(|(_, bytes)| trial::load(bytes, bounds).unwrap()).collect();
    let before = support::threads();
    for _ in 0..20 {
        for step in &steps {
            let watch = Watch::start();
            // Whether it is stopped or returns is the corpus' business.
            let ended = step.instantiate().unwrap().process(&trial::records().view());
            drop(ended);
            assert!(watch.elapsed() < Duration::from_secs(3), "{:?}", watch.elapsed());
        }
    }
    // The threads of other tests begin and end.
    assert!(support::threads() < before + 5, "{} threads, and {before} before", support::threads());
}

/// The number that one plugin writes and another one looks for. It is computed, so that it is in nobody's code or data.
const CANARY: &str = "(i64.xor (i64.const 0x5a17ab1e0ddba115) (i64.const 0x0123456789abcdef))";

/// S12: the memory of an instance is never the memory of a later one, whatever became of the first: it returned, trapped or was stopped.
#[test]
fn no_instance_finds_what_another_one_left_in_memory() {
    let _alone = support::alone();
    let all = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))";
    let walk = |each: &str| {
        format!(
            "(local $at i32)
             (loop $next {each}
               (local.set $at (i32.add (local.get $at) (i32.const 8)))
               (br_if $next (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))"
        )
    };
    let nothing = "(call $outcome (call $array (i32.const 3) (i32.const 0)) (i32.const 3)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
    let first = "(func $process (type $process)";
    let fill = walk(&format!("(i64.store (local.get $at) {CANARY})"));
    let (locals, fill) = fill.split_once('\n').unwrap();
    let write = |then: &str| component::batch(&format!("{first} {locals} {all} {fill} {then})"));
    let seek = walk(&format!("(if (i64.eq (i64.load (local.get $at)) {CANARY}) (then unreachable))"));
    let (locals, seek) = seek.split_once('\n').unwrap();
    let read = component::batch(&format!("{first} {locals} {all} {seek} {nothing})"));
    let endings = [
        // Its whole memory is the canary, so it returns what is beyond the end.
        "(i32.const -4)",
        "unreachable",
        "(loop (br 0)) unreachable",
    ];
    let writers: Vec<Step> = endings
        .iter()
        .flat_map(|then| component::forms(&write(then)))
        .map(|bytes| trial::load(&bytes, Bounds { call: Duration::from_millis(300), ..BOUNDS }).unwrap())
        .collect();
    let readers = component::forms(&read).map(|bytes| trial::load(&bytes, BOUNDS).unwrap());
    let batch = trial::records();
    for round in 0..support::count("WASMILL_CANARIES", 3, 20) {
        for writer in &writers {
            writer.instantiate().unwrap().process(&batch.view()).unwrap_err();
            for reader in &readers {
                let mut instance = reader.instantiate().unwrap();
                instance.process(&batch.view()).unwrap_or_else(|failure| panic!("round {round}: {failure}"));
                assert_eq!(instance.memory_bytes(), trial::MEMORY, "it looked at all that it may have");
            }
        }
    }
    // The search finds it where it is: in its own memory.
    let own = component::batch(&format!("{first} {locals} {fill} (local.set $at (i32.const 0)) {seek} {nothing})"));
    let failure = trial::load(&own, BOUNDS).unwrap().instantiate().unwrap().process(&batch.view()).unwrap_err();
    assert!(failure.reason.contains("unreachable"), "{failure}");
}

/// S13: of a million lines the log gets a few hundred, and none of them begins a line of its own, or reaches the terminal as a command.
#[test]
fn a_flood_of_hostile_lines_leaves_a_log_that_can_be_read() {
    let _alone = support::alone();
    let line = "\\1b]0;owned\\07\\1b[2J\\0d\\0a2026-01-01T00:00:00Z ERROR forged\\0a{\\22level\\22:\\22ERROR\\22}\\e2\\80\\ae\\00";
    let flood = format!(
        "(import \"wasmill:plugin/log@1.0.0\" \"write\" (func $write (param i32 i32 i32)))
         (data (i32.const 64) \"{line}\")
         (func $process (type $process) (local $left i32)
           (local.set $left (i32.const 1000000))
           (loop $again
             (call $write (i32.const 4) (i32.const 64) (i32.const 71))
             (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
           (call $outcome (call $array (local.get 4) (i32.const 0)) (local.get 4)
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))"
    );
    let folder = tempfile::tempdir().unwrap();
    for (form, bytes) in ["module", "component"].iter().zip(component::forms(&component::batch(&flood))) {
        fs::write(folder.path().join("flood.wasm"), bytes).unwrap();
        let pipeline = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\n[input]\ntopics = [\"in\"]\n[[step]]\nwasm = \"flood.wasm\"\ntimeout = \"60s\"\n\
                        [output.main]\ntopic = \"out\"\n[limits]\ndrain_timeout = \"90s\"\n";
        fs::write(folder.path().join("pipe.toml"), pipeline).unwrap();
        for format in [&[][..], &["--log-format", "json"]] {
            let watch = Watch::start();
            let (out, errors) = tried(&folder.path().join("pipe.toml").display().to_string(), format);
            let seconds = usize::try_from(watch.elapsed().as_secs()).unwrap() + 2;
            let lines = errors.lines().count();
            say(&format!("{form}: of a million lines {lines} are in the log, after {:?}", watch.elapsed()));
            assert!(
                lines > 50 && lines < 150 * seconds,
                "{lines} lines in {seconds} s: {}",
                &errors[..errors.len().min(2000)]
            );
            assert!(errors.contains("suppressed"), "nothing tells of the lines that are missing");
            let control = |c: char| c.is_control() && c != '\n';
            assert!(!errors.contains(control) && !out.contains(control), "{form}: a control character");
            assert!(!errors.contains('\u{202e}'), "text that runs from right to left");
            let is_forged =
                |line: &&str| line.starts_with("2026-01-01T00:00:00Z") || line.starts_with("{\"level\":\"ERROR\"}");
            assert_eq!(errors.lines().find(is_forged), None, "{form}: a line of the plugin's own");
        }
    }
}

/// What `wasmill try` prints for a record.
fn tried(file: &str, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    command.args(["try", file]).args(arguments).env("NO_COLOR", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// Copies the record's value, which is all of the batch's data, over the memory from address 0, and returns what is there as its result.
const ECHO: &str = "(func $process (type $process)
    (memory.copy (i32.const 0) (local.get 11) (local.get 12))
    (i32.const 0))";

/// S14: whatever bytes a plugin leaves in its memory as its result, the host says what is wrong with them, and the same in both forms.
#[test]
fn results_of_random_bytes_are_refused_with_a_reason_and_never_panic() {
    let _alone = support::alone();
    let mut random = Random::seeded("results of random bytes");
    let [mut module, mut component] = component::forms(&component::batch(ECHO)).map(|bytes| {
        let step = trial::load(&bytes, BOUNDS).unwrap();
        let fresh = move || step.instantiate().unwrap();
        (fresh(), fresh)
    });
    let rounds = support::count("WASMILL_RESULTS", 5_000, 200_000);
    let mut valid = 0_usize;
    for round in 0..rounds {
        let bytes = result(&mut random);
        let mut batch = Batch::new(TopicPartition { topic: "t".into(), partition: 0 });
        batch.push(0, -1, 0, None, Some(&bytes), std::iter::empty());
        let mut ended = Vec::new();
        for (instance, fresh) in [(&mut module.0, &module.1 as &dyn Fn() -> Instance), (&mut component.0, &component.1)]
        {
            let outcome = instance.process(&batch.view());
            if outcome.as_ref().is_err_and(|failure: &Failure| failure.kind.spoils_instance()) {
                *instance = fresh();
            }
            // All of the outputs can be read.
            ended.push(outcome.map(|outcome| {
                let read = |index| {
                    let output = outcome.outputs.resolve(index, &batch, 0);
                    output.headers.iter().map(|header| header.name.len()).sum::<usize>()
                        + output.key.map_or(0, <[u8]>::len)
                        + output.value.map_or(0, <[u8]>::len)
                };
                (outcome.outputs.len(), (0..outcome.outputs.len()).map(read).sum::<usize>(), outcome.failed)
            }));
        }
        valid += usize::from(ended[0].is_ok());
        let plain = |ended: &Result<_, Failure>| {
            ended.as_ref().map_err(|failure| (failure.kind, without_number(&failure.reason))).cloned()
        };
        let [first, second] = [plain(&ended[0]), plain(&ended[1])];
        assert_eq!(first, second, "round {round}: {bytes:?}");
    }
    say(&format!("results of random bytes: {rounds}, {valid} of them valid"));
    assert!(valid > rounds / 100, "{valid} of {rounds} are valid: the others never get far");
}

/// The reason without the number at its end: wasmtime tells which discriminant it found, and the host's own reader doesn't.
fn without_number(reason: &str) -> String {
    reason.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(": ").to_owned()
}

/// Bytes that look like a result: mostly small numbers at the places where numbers are.
fn result(random: &mut Random) -> Vec<u8> {
    const WORDS: usize = 48;
    let mut words = [0_u32; WORDS];
    // One record: a count, and lists behind the result.
    words[1..3].copy_from_slice(&[64, 1]);
    (words[9], words[11]) = (80, 104);
    let outputs = usize::try_from(random.below(3)).unwrap();
    words[16] = u32::try_from(outputs).unwrap();
    words[10] = 3 * words[16];
    let mut data = 0;
    for output in words[20..].chunks_mut(3).take(outputs) {
        // A key and a value, which may be null or the record's own, and no headers or the record's own.
        for length in &mut output[..2] {
            *length = u32::try_from(random.below(5)).unwrap().wrapping_sub(2);
            data += length.cast_signed().max(0).unsigned_abs();
        }
        output[2] = if random.below(2) == 0 { 0 } else { 2_u32.wrapping_neg() };
    }
    words[12] = data;
    for _ in 0..random.below(4) {
        let at = usize::try_from(random.below(WORDS as u64)).unwrap();
        words[at] = match random.below(6) {
            0 => u32::MAX - u32::try_from(random.below(16)).unwrap(),
            1 => 1 << random.below(32),
            2 => u32::try_from(random.below(1 << 32)).unwrap(),
            _ => u32::try_from(random.below(200)).unwrap(),
        };
    }
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(usize::try_from(random.below(8)).unwrap() * 8 + 140);
    bytes
}

/// S15: a file that changes while it is loaded is refused, or is the one that the digest names, in all that runs.
#[test]
fn a_file_that_changes_while_it_is_loaded_never_runs_under_the_digest_of_another() {
    let _alone = support::alone();
    let [honest, other] = ["identity", "drop"].map(component::fixture);
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("plugin.wasm");
    fs::write(&wasm, &honest).unwrap();
    let pinned = Settings {
        wasm: wasm.clone(),
        demands: vec![Demand {
            place: "pipe.toml:1: `sha256`".into(),
            digests: vec![digest(&honest)],
            ..Demand::default()
        }],
        ..trial::settings(BOUNDS.call)
    };
    let (is_over, mut ran, mut refused) = (AtomicBool::new(false), 0_usize, 0_usize);
    let swap = || {
        for turn in 0_usize.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let bytes = if turn.is_multiple_of(2) { &other } else { &honest };
            if turn % 4 < 2 {
                // Another file under the same name.
                let part = folder.path().join("part");
                fs::write(&part, bytes).unwrap();
                fs::rename(&part, &wasm).unwrap();
            } else {
                // The same file, which is empty for a moment.
                fs::write(&wasm, bytes).unwrap();
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(swap);
        let watch = Watch::start();
        while watch.elapsed() < Duration::from_secs(20) && (ran < 20 || refused < 20) {
            match Step::load(&component::engine(), pinned.clone()) {
                Ok(step) => {
                    ran += 1;
                    assert_eq!(**step.digest(), digest(&honest));
                    let outcome = step.instantiate().unwrap().process(&trial::records().view()).unwrap();
                    assert_eq!(outcome.outputs.len(), 3, "the other plugin ran under this one's digest");
                }
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains("sha256") || error.to_string().contains("read "), "{error}");
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    say(&format!("a file that changes: loaded {ran} times, refused {refused} times"));
    assert!(ran > 0 && refused > 0, "{ran} {refused}");
}
