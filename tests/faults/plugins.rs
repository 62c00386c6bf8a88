//! Files that are not components, or that take too much to compile (F25).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use crate::load::seconds;
use crate::rows::Case;
use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::random::Random;
use crate::support::unique;
use crate::support::wasmill::Pipeline;

/// The number of functions of the huge component. Compiling it stays below the limits.
const FUNCTIONS: usize = 60_000;
/// The only function of the compilation bomb. Each loop may change any local, so compiling it needs memory for
/// the product of both numbers.
const LOOPS: usize = 30_000;
const LOCALS: usize = 3000;
/// A compiler is stopped after two minutes.
const LIMIT: Duration = Duration::from_secs(150);
/// How much a process may grow while another process compiles for it: twice the size of the file, and some margin.
const GROWTH: u64 = 64 << 20;

pub(crate) fn bombs(case: &Case) {
    case.inject("random", "200 MB of random bytes as the component", || {
        let mut random = Random::seeded("bytes");
        let mut bytes = Vec::with_capacity(200_000_000);
        while bytes.len() < 200_000_000 {
            bytes.write_all(&random.below(u64::MAX).to_le_bytes()).unwrap();
        }
        starts_with(&bytes, Some(78))
    });
    case.inject("header", "200 MB of random bytes behind the first 8 of a component", || {
        let mut random = Random::seeded("bytes");
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        while bytes.len() < 200_000_000 {
            bytes.write_all(&random.below(u64::MAX).to_le_bytes()).unwrap();
        }
        starts_with(&bytes, Some(78))
    });
    case.inject("huge", &format!("a valid component with {FUNCTIONS} more functions"), || {
        let mut functions = String::new();
        for number in 0..FUNCTIONS {
            write!(
                functions,
                "(func (param i32) (result i32) local.get 0 i32.const {number} i32.add i32.const {} i32.mul)",
                number + 1
            )
            .unwrap();
        }
        starts_with(&component::forward_with(&functions), None)
    });
    case.inject("bomb", &format!("a valid component with one function of {LOOPS} loops over {LOCALS} locals"), || {
        let mut function = format!("(func (param i32) (local {})", "i32 ".repeat(LOCALS));
        for number in 0..LOOPS {
            let of = |factor: usize| 1 + number * factor % LOCALS;
            write!(
                function,
                "(loop local.get {} local.get 0 i32.add local.set {} local.get {} br_if 0)",
                of(1),
                of(7),
                of(3)
            )
            .unwrap();
        }
        function.push(')');
        starts_with(&component::forward_with(&function), Some(78))
    });
}

/// Starts a pipeline with these bytes. With a `code` it must end with it; without one it must become ready.
fn starts_with(bytes: &[u8], code: Option<i32>) -> String {
    let input = java::create("bomb-in", 1, &[]);
    let output = java::create("bomb-out", 1, &[]);
    let pipeline = Pipeline::new(&input, &output, &unique("bomb"), "");
    pipeline.install(bytes);
    let watch = clock::Watch::start();
    let mut process = pipeline.run();
    let mut peak = 0;
    let mut livez = 0;
    let outcome = clock::wait_for("it to end or to be ready", LIMIT, || {
        if let Some(status) = process.ended() {
            return Some(Some(status.code()));
        }
        // The process may have ended meanwhile.
        peak = peak.max(process.memory_if_any("VmHWM").unwrap_or(0));
        livez += u32::from(process.get("/livez").is_some_and(|(status, _)| status == 200));
        process.get("/readyz").is_some_and(|(status, _)| status == 200).then_some(None)
    });
    let took = seconds(watch.elapsed());
    let size = bytes.len() / 1000;
    let log = process.log();
    let said = log.lines().last().unwrap_or_default().chars().take(300).collect::<String>();
    assert_eq!(outcome, code.map(Some), "how it ended; its last words: {said}");
    let allowed = 2 * u64::try_from(bytes.len()).unwrap() + GROWTH;
    assert!(peak < allowed, "the process had {peak} bytes, {allowed} are allowed");
    let how = if code.is_some() { format!("exit 78 after {took}: {said}") } else { format!("ready after {took}") };
    format!("{size} kB: {how}; peak RSS of the process itself {} MiB, livez 200 meanwhile ({livez} times)", peak >> 20)
}
