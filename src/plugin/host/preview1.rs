//! The functions of WASI preview 1 for core modules that run as they are.
//!
//! Output goes to the log, the clock, random numbers and the environment are those of the step's grants, and everything else
//! says that the file isn't there. Invariant: no call waits, and each is bounded.

use std::time::Duration;

use wasmtime::Caller;
use wasmtime::Extern;
use wasmtime::Func;
use wasmtime::FuncType;
use wasmtime::Result;
use wasmtime::Store;
use wasmtime::Trap;
use wasmtime::Val;
use wasmtime::ValType;

use crate::plugin::host::Host;
use crate::plugin::host::printed::PRINTED_BYTES_MAX;
use crate::plugin::host::printed::Stream;
use crate::plugin::host::wasi::RANDOM_BYTES_MAX;
use crate::plugin::host::wasi::RESOLUTION;
use crate::plugin::host::wasi::Refused;
use crate::plugin::host::wasi::nanoseconds;
use crate::plugin::preview1;
use crate::plugin::preview1::BADF;
use crate::plugin::preview1::Width;

const MEMORY: &str = "memory";
/// The error numbers of success, and of too long a list.
const SUCCESS: u32 = 0;
const INVALID: u32 = 28;
/// The most parts that one write has.
const PARTS_MAX: u32 = 1024;
const WORD_BYTES: u32 = 4;

type Guest<'a> = Caller<'a, Host>;

/// The function of this name.
///
/// # Errors
/// If there is none.
pub(in crate::plugin) fn function(store: &mut Store<Host>, name: &str) -> Result<Func> {
    Ok(match name {
        "args_get" => Func::wrap(store, |_: Guest<'_>, _: u32, _: u32| SUCCESS),
        "args_sizes_get" => Func::wrap(store, |mut guest: Guest<'_>, count: u32, bytes: u32| {
            put_word(&mut guest, count, 0)?;
            put_word(&mut guest, bytes, 0)
        }),
        "environ_get" => Func::wrap(store, environment),
        "environ_sizes_get" => Func::wrap(store, |mut guest: Guest<'_>, count: u32, bytes: u32| {
            let lines = lines(&guest);
            let length: usize = lines.iter().map(Vec::len).sum();
            put_word(&mut guest, count, lines.len())?;
            put_word(&mut guest, bytes, length)
        }),
        "clock_res_get" => Func::wrap(store, |mut guest: Guest<'_>, _: u32, at: u32| {
            put(&mut guest, at, &nanoseconds(RESOLUTION).to_le_bytes())
        }),
        "clock_time_get" => Func::wrap(store, |mut guest: Guest<'_>, clock: u32, _: u64, at: u32| {
            let given = &mut guest.data_mut().given;
            let time = match clock {
                preview1::REALTIME => given.now(),
                // Go takes a zero for a broken clock.
                _ => given.elapsed().max(Duration::from_nanos(1)),
            };
            put(&mut guest, at, &nanoseconds(time).to_le_bytes())
        }),
        "random_get" => Func::wrap(store, |mut guest: Guest<'_>, at: u32, length: u32| {
            let bytes = guest.data_mut().given.random_bytes(length.into())?;
            put(&mut guest, at, &bytes)
        }),
        "fd_write" => Func::wrap(store, write),
        "poll_oneoff" => {
            Func::wrap(store, |mut guest: Guest<'_>, _: u32, _: u32, _: u32, ready: u32| put_word(&mut guest, ready, 0))
        }
        "sched_yield" => Func::wrap(store, |_: Guest<'_>| SUCCESS),
        "proc_exit" => Func::wrap(store, |_: Guest<'_>, code: u32| -> Result<()> { Err(Refused::exited(code)) }),
        _ => absent(store, name)?,
    })
}

/// A function about a file that isn't there.
fn absent(store: &mut Store<Host>, name: &str) -> Result<Func> {
    let known = preview1::FUNCTIONS.iter().find(|(known, _)| *known == name);
    let Some((_, params)) = known else {
        return Err(wasmtime::Error::msg(format!("it imports `{}.{name}`, which does not exist", preview1::MODULE)));
    };
    let results = if preview1::WITHOUT_RESULT.contains(&name) { None } else { Some(ValType::I32) };
    let ty = FuncType::new(store.engine(), params.bytes().map(preview1::of_letter), results);
    Ok(Func::new(store, ty, |_, _, results| {
        results.iter_mut().for_each(|result| *result = Val::I32(BADF));
        Ok(())
    }))
}

impl From<Width> for ValType {
    fn from(width: Width) -> ValType {
        match width {
            Width::Int => ValType::I32,
            Width::Long => ValType::I64,
        }
    }
}

/// The environment as a C program has it: `NAME=value`, each with a zero byte.
fn lines(guest: &Guest<'_>) -> Vec<Vec<u8>> {
    let env = guest.data().given.env();
    env.map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

fn environment(mut guest: Guest<'_>, mut pointers: u32, mut at: u32) -> Result<u32> {
    for line in lines(&guest) {
        put_word(&mut guest, pointers, usize::try_from(at)?)?;
        put(&mut guest, at, &line)?;
        pointers = pointers.wrapping_add(WORD_BYTES);
        at = at.wrapping_add(u32::try_from(line.len())?);
    }
    Ok(SUCCESS)
}

/// Takes as much of the parts as one call may print; the guest writes the rest with another call.
fn write(mut guest: Guest<'_>, descriptor: u32, mut parts: u32, count: u32, written: u32) -> Result<u32> {
    let Some(stream) = Stream::of(descriptor) else { return Ok(BADF.unsigned_abs()) };
    if count > PARTS_MAX {
        return Ok(INVALID);
    }
    let mut printed = Vec::new();
    for _ in 0..count {
        let (memory, _) = memory(&mut guest)?;
        let (at, length) = (word(memory, parts)?, word(memory, parts.wrapping_add(WORD_BYTES))?);
        let room = PRINTED_BYTES_MAX - printed.len();
        let part = slice(memory, at, usize::try_from(length)?)?;
        printed.extend_from_slice(&part[..part.len().min(room)]);
        parts = parts.wrapping_add(2 * WORD_BYTES);
    }
    guest.data_mut().print(stream, &printed);
    put_word(&mut guest, written, printed.len())
}

fn memory<'a>(guest: &'a mut Guest<'_>) -> Result<(&'a mut [u8], &'a mut Host)> {
    match guest.get_export(MEMORY) {
        Some(Extern::Memory(memory)) => Ok(memory.data_and_store_mut(guest)),
        _ => Err(Trap::MemoryOutOfBounds.into()),
    }
}

fn slice(memory: &[u8], at: u32, bytes: usize) -> Result<&[u8]> {
    let rest = memory.get(usize::try_from(at)?..).and_then(|rest| rest.get(..bytes));
    rest.ok_or_else(|| Trap::MemoryOutOfBounds.into())
}

fn word(memory: &[u8], at: u32) -> Result<u32> {
    let bytes = slice(memory, at, size_of::<u32>())?;
    Ok(bytes.first_chunk().copied().map_or(0, u32::from_le_bytes))
}

/// Writes to the guest's memory.
fn put(guest: &mut Guest<'_>, at: u32, bytes: &[u8]) -> Result<u32> {
    let (memory, _) = memory(guest)?;
    let place = memory.get_mut(usize::try_from(at)?..).and_then(|rest| rest.get_mut(..bytes.len()));
    place.ok_or(Trap::MemoryOutOfBounds)?.copy_from_slice(bytes);
    Ok(SUCCESS)
}

fn put_word(guest: &mut Guest<'_>, at: u32, word: usize) -> Result<u32> {
    put(guest, at, &u32::try_from(word)?.to_le_bytes())
}

// A guest asks for a few dozen random bytes at once.
const _: () = assert!(RANDOM_BYTES_MAX <= u32::MAX as u64);
