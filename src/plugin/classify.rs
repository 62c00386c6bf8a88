//! What wasmtime's errors mean: a deadline, refused memory, a trap, or a result that can't be read.
//!
//! All of them spoil the instance. The reason is one short fragment for people; the guest's frames go to the backtrace.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::FrameInfo;
use wasmtime::FrameSymbol;
use wasmtime::Trap;
use wasmtime::WasmBacktrace;

use crate::failure::Failure;
use crate::failure::Kind;
use crate::plugin::contract::TOO_MUCH;
use crate::plugin::forbidden;
use crate::plugin::host::Host;
use crate::plugin::host::Refused;
use crate::plugin::limiter::INSTANCES_MAX;
use crate::plugin::limiter::MEMORIES_MAX;
use crate::plugin::limiter::TABLES_MAX;

/// A backtrace is cut to this many bytes: names in it are the guest's.
const BACKTRACE_BYTES_MAX: usize = 8 << 10;
/// A function's name in a reason is cut to this many characters.
const NAME_CHARS_MAX: usize = 120;

/// What the host was doing with the guest, for the reason.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Instantiate,
    Init,
    Process,
}

/// The failure that an error of wasmtime's is. `timeout` is what the entry was given, and `is_late` whether it took it all.
pub(super) fn classify(
    error: &wasmtime::Error,
    entry: Entry,
    is_late: bool,
    host: &Host,
    timeout: Duration,
    step: &Arc<str>,
) -> Failure {
    let limiter = &host.limiter;
    let frames = error.downcast_ref::<WasmBacktrace>();
    let place = frames.and_then(place).map(|name| format!(" in `{name}`")).unwrap_or_default();
    let before = match entry {
        Entry::Instantiate => "instantiate: ",
        Entry::Init => "init: ",
        Entry::Process => "",
    };
    let trap = error.downcast_ref::<Trap>();
    let (kind, reason) = match trap {
        _ if is_late || trap == Some(&Trap::Interrupt) => {
            (Kind::Timeout, format!("ran longer than its timeout of {timeout:?}{place}"))
        }
        // Allocators answer a refusal in many ways (`unreachable`, an access beyond the end), so any trap after one is its.
        _ if limiter.refused() => {
            (Kind::Memory, format!("needs more than its limit of {} bytes of memory{place}", limiter.bytes_max()))
        }
        Some(trap) if is_bad_output(*trap) => (Kind::BadOutput, format!("returned what can't be read: {trap}{place}")),
        Some(Trap::UnreachableCodeReached) => {
            (Kind::Trap, format!("{}wasm trap: unreachable executed{place}", last_words(host.last_error())))
        }
        Some(Trap::StackOverflow) => (Kind::Trap, format!("wasm trap: stack overflow{place}")),
        Some(trap) => (Kind::Trap, format!("{trap}{place}")),
        None if let Some(refused) = error.downcast_ref::<Refused>() => (Kind::Trap, format!("{refused}{place}")),
        // Without a trap it is wasmtime that refused: while instantiating, a limit; else, to lift a result or an argument.
        None => {
            let cause = error.root_cause().to_string();
            match entry {
                Entry::Instantiate => (Kind::Memory, explained(&cause)),
                Entry::Init | Entry::Process => {
                    (Kind::BadOutput, format!("returned what can't be read: {}", plain(&cause)))
                }
            }
        }
    };
    Failure {
        backtrace: frames.map(text).unwrap_or_default(),
        ..Failure::new(kind, Some(Arc::clone(step)), format!("{before}{reason}"))
    }
}

/// What a guest said before it gave up, which is all that says why: a panic of an SDK writes its text, file and line.
fn last_words(line: Option<&str>) -> String {
    let Some(line) = line else { return String::new() };
    let hint = if line.contains(NO_CLOCK) { CLOCK } else { "" };
    format!("{line}{hint}; ")
}

/// How Rust's standard library panics where there is no clock.
const NO_CLOCK: &str = "time not implemented on this platform";
const CLOCK: &str = " (a plugin gets the time from `grants::now` of the SDK, where its step has `allow.clock = true`)";

/// Traps that mean a value broke the canonical ABI.
fn is_bad_output(trap: Trap) -> bool {
    matches!(
        trap,
        Trap::InvalidChar
            | Trap::StringOutOfBounds
            | Trap::ListOutOfBounds
            | Trap::InvalidDiscriminant
            | Trap::UnalignedPointer
    )
}

/// wasmtime's words for what it refused, and what to do.
pub(super) fn explained(cause: &str) -> String {
    if let Some(way_out) = forbidden::way_out(cause) {
        return format!("{cause}: {way_out}");
    }
    if cause.contains("count too high") {
        return format!(
            "{cause}: a plugin may have {MEMORIES_MAX} memories, {TABLES_MAX} tables and {INSTANCES_MAX} core instances"
        );
    }
    cause.to_owned()
}

/// wasmtime's words where they would mislead a plugin's author.
fn plain(cause: &str) -> &str {
    if cause.contains("fuel allocated for hostcalls") { TOO_MUCH } else { cause }
}

/// The innermost function that says something: a panic is raised far below the code that caused it.
fn place(frames: &WasmBacktrace) -> Option<String> {
    let names = || frames.frames().iter().filter_map(name);
    let name = names().find(|name| !is_machinery(name)).or_else(|| names().next())?;
    Some(name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect())
}

fn name(frame: &FrameInfo) -> Option<String> {
    let name = frame.symbols().first().and_then(FrameSymbol::name).or_else(|| frame.func_name())?;
    // `{:#}` leaves the hash out.
    let name = format!("{:#}", rustc_demangle::demangle(name));
    (!name.is_empty()).then_some(name)
}

fn is_machinery(name: &str) -> bool {
    const PREFIXES: [&str; 12] = [
        "std::", "core::", "alloc::", "<std::", "<core::", "<alloc::", "__rust", "rust_", "__rg_", "abort", "dlmalloc",
        "cabi_",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The frames as wasmtime writes them.
fn text(frames: &WasmBacktrace) -> String {
    let mut text = frames.to_string();
    if text.len() > BACKTRACE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(BACKTRACE_BYTES_MAX));
    }
    text
}
