//! Classifies wasmtime's errors: a deadline, refused memory, a trap, or a result that can't be read.
//!
//! After any of them the instance is discarded. The reason is one short fragment for people; the guest's frames go into
//! the backtrace.

use std::sync::Arc;

use wasmtime::FrameInfo;
use wasmtime::FrameSymbol;
use wasmtime::Trap;
use wasmtime::WasmBacktrace;

use crate::budget::Mib;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::plugin::CallTimeouts;
use crate::plugin::contract::TOO_MUCH;
use crate::plugin::forbidden;
use crate::plugin::host::Host;
use crate::plugin::host::Refused;
use crate::plugin::limiter::INSTANCES_MAX;
use crate::plugin::limiter::Limiter;
use crate::plugin::limiter::MEMORIES_MAX;
use crate::plugin::limiter::Refusal;
use crate::plugin::limiter::TABLES_MAX;

/// A longer backtrace is truncated: the names in it come from the guest.
const BACKTRACE_BYTES_MAX: usize = 8 << 10;
/// A longer function name in a reason is truncated.
const NAME_CHARS_MAX: usize = 120;

/// The call during which an error occurred, for the reason.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Instantiate,
    Init,
    Process,
    Add,
    Merge,
    Emit,
    Keys,
}

impl Entry {
    /// What a reason begins with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Entry::Instantiate => "instantiate: ",
            Entry::Init => "init: ",
            // The only function of a plugin without state.
            Entry::Process => "",
            Entry::Add => "add: ",
            Entry::Merge => "merge: ",
            Entry::Emit => "emit: ",
            Entry::Keys => "keys: ",
        }
    }

    /// Its timeout, for a reason.
    fn timeout(self, timeout: CallTimeouts) -> String {
        match self {
            Entry::Instantiate | Entry::Init => format!("`init_timeout` of {:?}", timeout.init),
            Entry::Process | Entry::Add | Entry::Merge | Entry::Emit | Entry::Keys => {
                format!("timeout of {:?}", timeout.call)
            }
        }
    }

    /// The plugins that have this function.
    pub(super) fn worlds(self) -> &'static str {
        match self {
            Entry::Instantiate | Entry::Init => "any plugin",
            Entry::Process => "a plugin of the world `transform-batch` or `transform`",
            Entry::Add | Entry::Merge | Entry::Emit => "a plugin of the world `reduce` or `reduce-by`",
            Entry::Keys => "a plugin of the world `reduce-by`",
        }
    }
}

/// The failure for an error of wasmtime. `is_late` says whether the call's timeout was used up.
pub(super) fn classify(
    error: &wasmtime::Error,
    entry: Entry,
    is_late: bool,
    host: &Host,
    timeout: CallTimeouts,
    step: &Arc<str>,
) -> Failure {
    let limiter = &host.limiter;
    let frames = error.downcast_ref::<WasmBacktrace>();
    let place = frames.and_then(place).map(|name| format!(" in `{name}`")).unwrap_or_default();
    let trap = error.downcast_ref::<Trap>();
    let (kind, reason) = match trap {
        _ if is_late || trap == Some(&Trap::Interrupt) => {
            (Kind::Timeout, format!("ran longer than its {}{place}", entry.timeout(timeout)))
        }
        // Allocators react to a refusal in many ways (`unreachable`, an access out of bounds), so any trap after one is
        // attributed to it.
        _ if let Some(refusal) = limiter.refused() => (Kind::Memory, format!("{}{place}", refused(refusal, limiter))),
        Some(trap) if is_bad_output(*trap) => (Kind::BadOutput, format!("returned what can't be read: {trap}{place}")),
        Some(Trap::UnreachableCodeReached) => {
            let hint = if frames.is_some_and(is_stub) { STUB } else { "" };
            (Kind::Trap, format!("{}wasm trap: unreachable executed{place}{hint}", last_words(host)))
        }
        Some(Trap::StackOverflow) => (Kind::Trap, format!("{}wasm trap: stack overflow{place}", last_words(host))),
        Some(trap) => (Kind::Trap, format!("{}{trap}{place}", last_words(host))),
        None if let Some(refused) = error.downcast_ref::<Refused>() => {
            (Kind::Trap, format!("{}{refused}{place}", last_words(host)))
        }
        // Without a trap, wasmtime itself failed: when instantiating, because of a limit; otherwise, to lift a result
        // or an argument.
        None => {
            let cause = error.root_cause().to_string();
            match entry {
                Entry::Instantiate => (Kind::Memory, explained(&cause)),
                Entry::Init | Entry::Process | Entry::Add | Entry::Merge | Entry::Emit | Entry::Keys => {
                    (Kind::BadOutput, format!("returned what can't be read: {}", plain(&cause)))
                }
            }
        }
    };
    Failure {
        backtrace: frames.map(text).unwrap_or_default(),
        ..Failure::new(kind, Some(Arc::clone(step)), format!("{}{reason}", entry.prefix()))
    }
}

/// Why memory was refused.
pub(super) fn refused(refusal: Refusal, limiter: &Limiter) -> String {
    match refusal {
        Refusal::Own => format!("needs more than its limit of {} bytes of memory", limiter.bytes_max()),
        Refusal::Process { total, limit } => format!(
            "needs more memory than the pipelines of this process may have together: they have {} of {}, which is `[limits] memory` in \
             wasmill.toml, and this instance has {}",
            Mib(total),
            Mib(limit),
            Mib(limiter.bytes())
        ),
    }
}

/// The guest's last error line, or what it printed to stderr, which is often the only explanation: an SDK's panic handler
/// writes message, file and line, and a language's runtime its exception.
fn last_words(host: &Host) -> String {
    let Some(line) = host.last_error() else { return String::new() };
    let hint = if line.contains(NO_CLOCK) { CLOCK } else { "" };
    format!("{line}{hint}; ")
}

/// The panic message of Rust's standard library on a platform without a clock.
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

/// wasmtime's error message, with what to do about it.
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

/// wasmtime's error message, replaced where it would mislead the author of a plugin.
fn plain(cause: &str) -> &str {
    if cause.contains("fuel allocated for hostcalls") { TOO_MUCH } else { cause }
}

/// The innermost function that helps: a panic is raised far below the code that caused it.
fn place(frames: &WasmBacktrace) -> Option<String> {
    let names = || frames.frames().iter().filter_map(name);
    let name = names().find(|name| !is_machinery(name)).or_else(|| names().next())?;
    Some(name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect())
}

/// Functions that tools put in place of WASI, where they build without it. Python's runtime calls the first three for an
/// exception that nothing catches.
const STUBS: [&str; 8] = [
    "filesystem_preopens_get_directories",
    "stdout_get_stdout",
    "stderr_get_stderr",
    "stdin_get_stdin",
    "wall_clock_now",
    "monotonic_clock_now",
    "environment_get_environment",
    "random_get_random_bytes",
];
const STUB: &str = ": it was built without WASI, so this is an exception that nothing caught, or files, output or the clock were asked for";

fn is_stub(frames: &WasmBacktrace) -> bool {
    frames.frames().iter().filter_map(name).any(|name| STUBS.contains(&&*name))
}

fn name(frame: &FrameInfo) -> Option<String> {
    let name = frame.symbols().first().and_then(FrameSymbol::name).or_else(|| frame.func_name())?;
    // `{:#}` omits the hash.
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

/// The frames as wasmtime formats them.
fn text(frames: &WasmBacktrace) -> String {
    let mut text = frames.to_string();
    if text.len() > BACKTRACE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(BACKTRACE_BYTES_MAX));
    }
    text
}
