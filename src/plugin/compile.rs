//! Compiles plugins: in a child process that can be stopped, or in this process.
//!
//! Compiling an untrusted plugin may take any time and memory; a small file can take very much of both. So a service
//! compiles in a child process of its own program, which limits its own memory, gets no environment variables and is
//! killed at its deadline. The resulting code is kept in [`Cache`], if there is one. This file doesn't load native
//! code: `precompiled.rs` does.

use std::io;
use std::io::Read;
use std::io::Write;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use rustix::process::getrlimit;
use rustix::process::set_parent_process_death_signal;
use rustix::process::setrlimit;

use crate::plugin::forbidden;
use crate::plugin::precompiled;
use crate::plugin::precompiled::Cache;
use crate::plugin::precompiled::Code;
use crate::plugin::program::Compiled;
use crate::plugin::program::Engines;
use crate::plugin::program::Program;

/// The limits for compiling one plugin.
#[derive(Clone, Copy, Debug)]
pub struct CompileLimits {
    /// Bytes of address space of the child, its own program included.
    pub memory_bytes: u64,
    /// The longest time.
    pub time: Duration,
}

impl Default for CompileLimits {
    /// Enough for the largest known components, which contain interpreters of some tens of megabytes.
    fn default() -> CompileLimits {
        CompileLimits { memory_bytes: 2 << 30, time: Duration::from_secs(120) }
    }
}

/// Where plugins are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// This process, without limits.
    Here,
    /// A child process for each plugin that is not in the cache.
    Child {
        /// A program that implements `compile-component` with [`compile_from`]: this one.
        program: PathBuf,
        /// The limits of a child.
        limits: CompileLimits,
        /// The code compiled before.
        cache: Option<Cache>,
    },
}

impl Compiler {
    /// Child processes of this program, even if its file is replaced while it runs.
    #[must_use]
    pub fn of_this_program(cache: Option<Cache>) -> Compiler {
        Compiler::Child { program: "/proc/self/exe".into(), limits: CompileLimits::default(), cache }
    }

    /// A plugin's native code, ready to be linked.
    ///
    /// # Errors
    /// Why the plugin can't be compiled, and what to do.
    pub(super) fn compile(&self, engines: &Engines, plugin: &Program<'_>) -> Result<Compiled, String> {
        let failed = |error: wasmtime::Error| {
            let error = format!("{error:#}");
            let way_out = forbidden::way_out(&error).unwrap_or("build it again with current tools");
            format!("{error}; {way_out}")
        };
        let Compiler::Child { program, limits, cache } = self else {
            return engines.compile(plugin).map_err(failed);
        };
        let kept = cache.as_ref().and_then(|cache| cache.load(engines, plugin));
        if let Some(compiled) = kept.and_then(|code| precompiled::deserialize(engines, plugin, &code).ok()) {
            return Ok(compiled);
        }
        let code = in_child(program, *limits, plugin.bytes())?;
        let compiled = precompiled::deserialize(engines, plugin, &code).map_err(failed)?;
        if let Some(cache) = cache {
            cache.store(engines, plugin, &code);
        }
        Ok(compiled)
    }
}

/// The subcommand that makes a program the child; implemented in `cli`.
const VERB: &str = "compile-component";

/// The child's work: limits itself to `memory_bytes` of address space, reads a component or a core module, and writes
/// its native code.
///
/// # Errors
/// Why the plugin can't be compiled. If it takes more memory, the process ends.
pub fn compile_from(mut input: impl Read, mut output: impl Write, memory_bytes: u64) -> Result<(), String> {
    let bound = || -> Result<(), rustix::io::Errno> {
        // The limit of this process may be lower already, and can't be raised.
        let memory_bytes = getrlimit(Resource::As).maximum.map_or(memory_bytes, |most| most.min(memory_bytes));
        let limit = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
        set_parent_process_death_signal(Some(Signal::KILL))?;
        setrlimit(Resource::As, limit(memory_bytes))?;
        setrlimit(Resource::Core, limit(0))
    };
    bound().map_err(|error| format!("bound the compiler's memory: {error}"))?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|error| format!("read the plugin: {error}"))?;
    let code = Engines::new().and_then(|engines| engines.precompile(&Program::of(&bytes)));
    let code = code.map_err(|error| format!("{error:#}"))?;
    output.write_all(&code).and_then(|()| output.flush()).map_err(|error| format!("write the code: {error}"))
}

/// The most that is read of a child's stderr.
const WORDS_MAX: u64 = 16 << 10;
/// The largest native code of any plugin; the rest of the process shares the memory.
const CODE_BYTES_MAX: u64 = 256 << 20;
/// The native code allowed per byte of the plugin, in addition to [`CODE_BYTES_FREE`]. Most plugins need two to five.
const CODE_BYTES_EACH: u64 = 24;
const CODE_BYTES_FREE: u64 = 4 << 20;

fn code_bytes_max(plugin: &[u8]) -> u64 {
    (plugin.len() as u64).saturating_mul(CODE_BYTES_EACH).saturating_add(CODE_BYTES_FREE).min(CODE_BYTES_MAX)
}

fn in_child(program: &PathBuf, limits: CompileLimits, plugin: &[u8]) -> Result<Code, String> {
    let mut command = Command::new(program);
    command
        .arg(VERB)
        .args(["--memory", &limits.memory_bytes.to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        let way_out =
            if error.kind() == io::ErrorKind::WouldBlock { format!("; {MORE_THREADS}") } else { String::new() };
        format!("start the compiler, {}: {error}{way_out}", program.display())
    })?;
    let talk = converse(&mut child, plugin, limits);
    let (code, words, in_time) = match talk {
        Ok(talk) => talk,
        Err(error) => {
            // The child is of no use any more. Errors of the kill don't matter.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("talk to the compiler: {error}"));
        }
    };
    let status = child.wait().map_err(|error| format!("wait for the compiler: {error}"))?;
    if !in_time {
        let time = limits.time;
        return Err(format!("it takes longer than {time:?}, so it was stopped; {SMALLER}"));
    }
    if code.len() as u64 > code_bytes_max(plugin) {
        return Err(format!(
            "its native code is larger than {} bytes, so it was stopped; {SMALLER}",
            code_bytes_max(plugin)
        ));
    }
    if status.success() { Ok(Code::of_child(code)) } else { Err(refusal(status, &words, limits)) }
}

/// The child's output, its stderr, and whether it finished in time. If not, it is killed.
fn converse(child: &mut Child, plugin: &[u8], limits: CompileLimits) -> io::Result<(Vec<u8>, String, bool)> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("it has no pipes"));
    };
    thread::scope(|scope| {
        let (done, ended) = mpsc::sync_channel(1);
        let start = || {
            // A child that ends early doesn't read the rest; its status gives the reason.
            thread::Builder::new().spawn_scoped(scope, move || drop(stdin.write_all(plugin)))?;
            let words = thread::Builder::new().spawn_scoped(scope, move || {
                let mut text = Vec::new();
                // Without stderr there is still the status.
                let _ = stderr.take(WORDS_MAX).read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })?;
            thread::Builder::new().spawn_scoped(scope, move || {
                let mut code = Vec::new();
                // One byte more shows that the code is too large. A child that keeps writing gets a closed pipe.
                let read = stdout.take(code_bytes_max(plugin) + 1).read_to_end(&mut code).map(|_| code);
                // After the deadline nothing receives this.
                let _ = done.send(read);
            })?;
            Ok(words)
        };
        let words = match start() {
            Ok(words) => words,
            Err(error) => {
                let error: io::Error = error;
                // The threads that did start end when the child ends.
                child.kill()?;
                return Err(io::Error::other(format!("start a thread: {error}; {MORE_THREADS}")));
            }
        };
        let (code, in_time) = match ended.recv_timeout(limits.time) {
            Ok(code) => {
                if code.as_ref().is_ok_and(|code| code.len() as u64 > code_bytes_max(plugin)) {
                    // The child may have more to write; don't wait for it.
                    child.kill()?;
                }
                (code, true)
            }
            Err(_) => {
                child.kill()?;
                (Ok(Vec::new()), false)
            }
        };
        let words = words.join().unwrap_or_default();
        Ok((code?, words, in_time))
    })
}

const SMALLER: &str = "make it smaller: build it for release, and leave out what it doesn't need";

/// What to do if the machine provides no thread.
pub const MORE_THREADS: &str = "raise the limit of threads: `ulimit -u`, a unit's `TasksMax`, a container's `pids`";

/// The message for a child that ended without a result.
fn refusal(status: ExitStatus, words: &str, limits: CompileLimits) -> String {
    let said = words.trim().trim_start_matches("error: ");
    let out_of_memory = said.contains("memory allocation of") || said.contains("Cannot allocate memory");
    if out_of_memory {
        let memory = bytesize::ByteSize(limits.memory_bytes);
        return format!("it takes more than {memory} of memory, so it was stopped; {SMALLER}");
    }
    if said.contains("Resource temporarily unavailable") {
        return format!("the compiler can't start a thread; {MORE_THREADS}");
    }
    if status.code().is_some() {
        return format!("{said}; build it again with current tools");
    }
    format!("the compiler ended with {status}: {said}; {SMALLER}")
}
