//! Core modules of the columnar contract, called without the component model around them.
//!
//! For each call wasmtime's component layer runs some hundred small functions, a large part of the time of a cheap
//! plugin. Only one function of the contract matters for speed, so its canonical ABI is written out here: columns are
//! copied into lists that the guest allocates, one copy each, and lists are copied out of its result. Every pointer of
//! the guest is checked against its memory, and the bytes copied out in one call are bounded, because lists may
//! overlap.
//!
//! `componentize` makes a component of every core module, which checks its names and types. Invariant: a plugin's calls
//! give and take the same data whether it runs as a module or as a component.

use std::sync::Arc;

use wasmparser::BinaryReaderError;
use wasmparser::ExternalKind;
use wasmparser::Parser;
use wasmparser::Payload;
use wasmtime::Caller;
use wasmtime::Error;
use wasmtime::Extern;
use wasmtime::Func;
use wasmtime::Instance;
use wasmtime::Memory;
use wasmtime::Module;
use wasmtime::Result;
use wasmtime::Store;
use wasmtime::Trap;
use wasmtime::TypedFunc;
use wasmtime::WasmParams;

use crate::batch::OutputColumns;
use crate::batch::View;
use crate::failure::Failure;
use crate::outcome::Columns;
use crate::plugin::contract::LIFTED_BYTES_MAX;
use crate::plugin::contract::Level;
use crate::plugin::contract::RawOutcome;
use crate::plugin::contract::TOO_MUCH;
use crate::plugin::contract::failure;
use crate::plugin::contract::types;
use crate::plugin::deadline::Flag;
use crate::plugin::deadline_instrumentation;
use crate::plugin::host::Host;
use crate::plugin::host::TOO_MANY;
use crate::plugin::host::preview1_function;
use crate::plugin::inline_memcpy;
use crate::plugin::preview1;
use crate::plugin::world::BATCH_HANDLER;

const MEMORY: &str = "memory";
const REALLOC: &str = "cabi_realloc";
const INITIALIZE: &str = "_initialize";
/// The canonical ABI's prefix of the function that frees another function's result.
const POST: &str = "cabi_post_";

/// A compiled core module.
pub(in crate::plugin) struct Linked {
    module: Module,
    /// The exported interface, with its version.
    handler: String,
}

/// An instance of a core module.
pub(in crate::plugin) struct Plugin {
    memory: Memory,
    realloc: TypedFunc<(u32, u32, u32, u32), u32>,
    init: Exported<(u32, u32, u32, u32)>,
    process: Exported<Process>,
}

/// The topic, the partition, and a batch's five lists. A list, like a string, is a pointer and a length.
type Process = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

/// A function that returns a pointer to its result.
struct Exported<Params> {
    function: TypedFunc<Params, u32>,
    /// Called with that pointer after the result was read.
    post: Option<TypedFunc<u32, ()>>,
}

/// Whether a valid core module of the columnar contract, without grants, has the exports that are needed here.
/// Otherwise it becomes a component.
///
/// # Errors
/// If it can't be read.
#[expect(clippy::wildcard_enum_match_arm, reason = "sections of the binary format, most of which don't matter")]
pub(in crate::plugin) fn fits(module: &[u8]) -> std::result::Result<bool, BinaryReaderError> {
    let (mut has_memory, mut has_realloc) = (false, false);
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            // Rewriting moves code, which invalidates debug information.
            Payload::CustomSection(section) if inline_memcpy::refers_to_offsets(section.name()) => return Ok(false),
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    has_memory |= (export.name, export.kind) == (MEMORY, ExternalKind::Memory);
                    has_realloc |= (export.name, export.kind) == (REALLOC, ExternalKind::Func);
                }
            }
            _ => {}
        }
    }
    Ok(has_memory && has_realloc)
}

impl Linked {
    /// Takes a module that `componentize` has accepted.
    ///
    /// # Errors
    /// If it exports no `process`.
    pub(super) fn new(module: Module) -> Result<Linked> {
        let handler = module.exports().find_map(|export| {
            let interface = export.name().strip_suffix("#process")?;
            interface.starts_with(BATCH_HANDLER).then(|| interface.to_owned())
        });
        match handler {
            Some(handler) => Ok(Linked { module, handler }),
            None => Err(Error::msg("it exports no function `process`")),
        }
    }

    pub(super) fn instantiate(&self, store: &mut Store<Host>, flag: &Flag) -> Result<Plugin> {
        let mut imports = Vec::new();
        for import in self.module.imports() {
            imports.push(match (import.module(), import.name()) {
                deadline_instrumentation::FLAG => Extern::SharedMemory(flag.memory()),
                (interface, name) => host_function(store, interface, name)?.into(),
            });
        }
        let instance = Instance::new(&mut *store, &self.module, &imports)?;
        if instance.get_func(&mut *store, INITIALIZE).is_some() {
            let initialize = instance.get_typed_func::<(), ()>(&mut *store, INITIALIZE)?;
            calling(store, |store| initialize.call(store, ()))?;
        }
        let Some(memory) = instance.get_memory(&mut *store, MEMORY) else {
            return Err(Error::msg("it exports no memory"));
        };
        Ok(Plugin {
            memory,
            realloc: instance.get_typed_func(&mut *store, REALLOC)?,
            init: Exported::new(store, &instance, &self.handler, "init")?,
            process: Exported::new(store, &instance, &self.handler, "process")?,
        })
    }
}

/// A function of an interface that is always granted, or of WASI preview 1.
fn host_function(store: &mut Store<Host>, interface: &str, name: &str) -> Result<Func> {
    let interface = interface.split_once('@').map_or(interface, |(interface, _)| interface);
    if interface == preview1::MODULE {
        return preview1_function(store, name);
    }
    Ok(match (interface, name) {
        ("wasmill:plugin/log", "write") => {
            Func::wrap(store, |mut caller: Caller<'_, Host>, level: u32, at: u32, length: u32| {
                let level = match level {
                    0 => Level::Trace,
                    1 => Level::Debug,
                    2 => Level::Info,
                    3 => Level::Warn,
                    4 => Level::Error,
                    _ => return Err(Error::msg(VARIANT)),
                };
                with_text(&mut caller, at, length, |host, message| host.write_log(level, message))
            })
        }
        ("wasmill:plugin/metrics", "count") => {
            Func::wrap(store, |mut caller: Caller<'_, Host>, at: u32, length: u32, by: u64| {
                with_text(&mut caller, at, length, |host, name| host.metrics.count(name, by))
            })
        }
        ("wasmill:plugin/metrics", "observe") => {
            Func::wrap(store, |mut caller: Caller<'_, Host>, at: u32, length: u32, value: f64| {
                with_text(&mut caller, at, length, |host, name| host.metrics.observe(name, value))
            })
        }
        ("wasmill:plugin/topics", "number") => {
            Func::wrap(store, |mut caller: Caller<'_, Host>, port: u32, at: u32, length: u32| {
                let number = with_text(&mut caller, at, length, |host, name| host.topics.number(port, name))?;
                number.ok_or_else(|| Error::msg(TOO_MANY))
            })
        }
        _ => return Err(Error::msg(format!("it imports `{interface}.{name}`, which does not exist"))),
    })
}

/// Runs guest code that may call the host.
fn calling<T>(store: &mut Store<Host>, run: impl FnOnce(&mut Store<Host>) -> Result<T>) -> Result<T> {
    store.data_mut().may_call = true;
    let result = run(store);
    store.data_mut().may_call = false;
    result
}

/// Reads a string of the calling guest.
fn with_text<T>(
    caller: &mut Caller<'_, Host>,
    at: u32,
    length: u32,
    then: impl FnOnce(&mut Host, &str) -> T,
) -> Result<T> {
    let Some(Extern::Memory(memory)) = caller.get_export(MEMORY) else {
        return Err(Error::msg(TEXT_BOUNDS));
    };
    let (memory, host) = memory.data_and_store_mut(caller);
    if !host.may_call {
        return Err(Trap::CannotLeaveComponent.into());
    }
    Ok(then(host, text(memory, at, length)?))
}

impl<Params: WasmParams> Exported<Params> {
    fn new(store: &mut Store<Host>, instance: &Instance, handler: &str, name: &str) -> Result<Exported<Params>> {
        let name = format!("{handler}#{name}");
        let function = instance.get_typed_func(&mut *store, &name)?;
        let post = format!("{POST}{name}");
        let post = match instance.get_func(&mut *store, &post) {
            Some(_) => Some(instance.get_typed_func(&mut *store, &post)?),
            None => None,
        };
        Ok(Exported { function, post })
    }

    /// Calls the function and reads its result with `read`.
    fn call<T>(
        &self,
        store: &mut Store<Host>,
        memory: Memory,
        params: Params,
        read: impl FnOnce(&mut Reader<'_>, u32) -> Result<T>,
    ) -> Result<T> {
        let at = calling(store, |store| self.function.call(store, params))?;
        let mut reader = Reader { memory: memory.data(&*store), left: LIFTED_BYTES_MAX };
        let result = read(&mut reader, at)?;
        if let Some(post) = &self.post {
            post.call(&mut *store, at)?;
        }
        Ok(result)
    }
}

impl Plugin {
    /// Calls `init`. The inner error is the plugin's.
    pub(super) fn init(
        &self,
        store: &mut Store<Host>,
        settings: &str,
        ports: &[&str],
    ) -> Result<std::result::Result<(), String>> {
        let (settings, settings_length) = self.write(store, settings.as_bytes(), |byte| [byte])?;
        let places = self.allocate(store, ports.len(), PLACE_BYTES, WORD_BYTES)?;
        let (mut place, length) = places;
        for port in ports {
            let (at, length) = self.write(store, port.as_bytes(), |byte| [byte])?;
            for word in [at, length] {
                self.memory.write(&mut *store, usize::try_from(place)?, &word.to_le_bytes())?;
                place += u32::try_from(WORD_BYTES)?;
            }
        }
        let params = (settings, settings_length, places.0, length);
        self.init.call(store, self.memory, params, |reader, at| {
            let area = reader.area(at, WORD_BYTES + PLACE_BYTES, WORD_BYTES)?;
            Ok(if is_error(area)? { Err(reader.text(place_at(area, WORD_BYTES))?) } else { Ok(()) })
        })
    }

    /// Calls `process`.
    pub(super) fn process(&self, store: &mut Store<Host>, step: &Arc<str>, input: &View<'_>) -> Result<RawOutcome> {
        let source = input.source();
        let topic = self.write(store, source.topic.as_bytes(), |byte| [byte])?;
        let offsets = self.write(store, input.offsets, i64::to_le_bytes)?;
        let timestamps = self.write(store, input.timestamps, i64::to_le_bytes)?;
        let attempts = self.write(store, input.attempts, u32::to_le_bytes)?;
        let layout = self.write(store, input.layout, i32::to_le_bytes)?;
        let data = self.write(store, input.data, |byte| [byte])?;
        let params = (
            topic.0,
            topic.1,
            // Kafka numbers partitions from 0.
            source.partition.unsigned_abs(),
            offsets.0,
            offsets.1,
            timestamps.0,
            timestamps.1,
            attempts.0,
            attempts.1,
            layout.0,
            layout.1,
            data.0,
            data.1,
        );
        self.process.call(store, self.memory, params, |reader, at| returned(reader, at, step))
    }

    /// Lets the guest allocate a list. Returns its pointer and length.
    fn allocate(&self, store: &mut Store<Host>, length: usize, size: usize, align: usize) -> Result<(u32, u32)> {
        let bytes = u32::try_from(length.saturating_mul(size)).map_err(|_| Error::msg(LIST_BOUNDS))?;
        let align = u32::try_from(align)?;
        let at = self.realloc.call(&mut *store, (0, 0, align, bytes))?;
        if !at.is_multiple_of(align) {
            return Err(Error::msg(UNALIGNED));
        }
        part(self.memory.data(&*store), at, usize::try_from(bytes)?).ok_or_else(|| Error::msg(LIST_BOUNDS))?;
        Ok((at, u32::try_from(length)?))
    }

    /// Copies a list into the guest.
    fn write<T: Copy, const N: usize>(
        &self,
        store: &mut Store<Host>,
        items: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) -> Result<(u32, u32)> {
        let (at, length) = self.allocate(store, items.len(), N, N)?;
        let start = usize::try_from(at)?;
        let room = self.memory.data_mut(&mut *store).get_mut(start..start + items.len() * N);
        let (slots, _) = room.ok_or_else(|| Error::msg(LIST_BOUNDS))?.as_chunks_mut::<N>();
        for (slot, &item) in slots.iter_mut().zip(items) {
            *slot = bytes(item);
        }
        Ok((at, length))
    }
}

/// What is wrong with a value, with the same text as wasmtime's.
const RESULT: &str = "invalid expected discriminant";
const OPTION: &str = "invalid option discriminant";
const VARIANT: &str = "unexpected discriminant";
const TEXT_BOUNDS: &str = "string pointer/length out of bounds of memory";
const LIST_BOUNDS: &str = "list pointer/length out of bounds of memory";
const AREA_BOUNDS: &str = "pointer out of bounds of memory";
const UNALIGNED: &str = "pointer not aligned";
const AREA_UNALIGNED: &str = "return pointer not aligned";
const LIST_UNALIGNED: &str = "list pointer is not aligned";

const WORD_BYTES: usize = 4;
/// A pointer and a length.
const PLACE_BYTES: usize = 2 * WORD_BYTES;
/// The number of lists in an outcome.
const LISTS: usize = 7;
/// An index and a failure: its kind, a string or an optional number, and another string.
const FAILED_BYTES: usize = 2 * WORD_BYTES + 2 * PLACE_BYTES;

fn returned(reader: &mut Reader<'_>, at: u32, step: &Arc<str>) -> Result<RawOutcome> {
    let area = reader.area(at, WORD_BYTES + LISTS * PLACE_BYTES, WORD_BYTES)?;
    if is_error(area)? {
        return Ok(RawOutcome::Error(reader.text(place_at(area, WORD_BYTES))?));
    }
    let [counts, ports, partitions, timestamps, layout, data, failures]: [_; LISTS] =
        std::array::from_fn(|list| place_at(area, WORD_BYTES + list * PLACE_BYTES));
    Ok(RawOutcome::Outcome(Columns {
        counts: reader.list(counts, u32::from_le_bytes)?,
        outputs: OutputColumns {
            ports: reader.list(ports, u32::from_le_bytes)?,
            partitions: reader.list(partitions, i32::from_le_bytes)?,
            timestamps: reader.list(timestamps, i64::from_le_bytes)?,
            layout: reader.list(layout, i32::from_le_bytes)?,
            data: reader.list(data, |[byte]| byte)?,
            topics: Vec::new(),
        },
        failed: failed(reader, failures, step)?,
    }))
}

fn failed(reader: &mut Reader<'_>, (at, length): (u32, u32), step: &Arc<str>) -> Result<Vec<(u32, Failure)>> {
    let list = reader.part(at, length, FAILED_BYTES, WORD_BYTES, size_of::<(u32, Failure)>())?;
    let mut failed = Vec::with_capacity(list.len() / FAILED_BYTES);
    for entry in list.as_chunks::<FAILED_BYTES>().0 {
        let index = word_at(entry, 0);
        let (first, second) = (2 * WORD_BYTES, 2 * WORD_BYTES + PLACE_BYTES);
        let why = match entry[WORD_BYTES] {
            0 => types::Failure::Retry(types::Retry {
                delay_ms: match entry[first] {
                    0 => None,
                    1 => Some(word_at(entry, first + WORD_BYTES)),
                    _ => return Err(Error::msg(OPTION)),
                },
                reason: reader.text(place_at(entry, second))?,
            }),
            1 => types::Failure::Reject(types::Reject {
                code: reader.text(place_at(entry, first))?,
                reason: reader.text(place_at(entry, second))?,
            }),
            _ => return Err(Error::msg(VARIANT)),
        };
        failed.push((index, failure(why, step)));
    }
    Ok(failed)
}

/// Whether a `result` is an error.
fn is_error(area: &[u8]) -> Result<bool> {
    match area.first() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) | None => Err(Error::msg(RESULT)),
    }
}

fn word_at(area: &[u8], offset: usize) -> u32 {
    // The areas are long enough for these lookups.
    area.get(offset..).and_then(<[u8]>::first_chunk).copied().map_or(0, u32::from_le_bytes)
}

fn place_at(area: &[u8], offset: usize) -> (u32, u32) {
    (word_at(area, offset), word_at(area, offset + WORD_BYTES))
}

fn part(memory: &[u8], at: u32, bytes: usize) -> Option<&[u8]> {
    memory.get(usize::try_from(at).ok()?..)?.get(..bytes)
}

fn text(memory: &[u8], at: u32, length: u32) -> Result<&str> {
    let bytes = part(memory, at, usize::try_from(length)?).ok_or_else(|| Error::msg(TEXT_BOUNDS))?;
    Ok(std::str::from_utf8(bytes)?)
}

/// Reads a guest's result.
struct Reader<'a> {
    memory: &'a [u8],
    /// Bytes that may still be copied out.
    left: usize,
}

impl<'a> Reader<'a> {
    /// The memory of a result.
    fn area(&self, at: u32, bytes: usize, align: usize) -> Result<&'a [u8]> {
        if !usize::try_from(at)?.is_multiple_of(align) {
            return Err(Error::msg(AREA_UNALIGNED));
        }
        part(self.memory, at, bytes).ok_or_else(|| Error::msg(AREA_BOUNDS))
    }

    /// A list with entries of `size` bytes, each of which takes `host` bytes of the host's memory.
    fn part(&mut self, at: u32, length: u32, size: usize, align: usize, host: usize) -> Result<&'a [u8]> {
        let length = usize::try_from(length)?;
        let part = part(self.memory, at, length.saturating_mul(size)).ok_or_else(|| Error::msg(LIST_BOUNDS))?;
        if !usize::try_from(at)?.is_multiple_of(align) {
            return Err(Error::msg(LIST_UNALIGNED));
        }
        self.take(length.saturating_mul(host))?;
        Ok(part)
    }

    fn list<T, const N: usize>(&mut self, (at, length): (u32, u32), of: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let part = self.part(at, length, N, N, N)?;
        Ok(part.as_chunks::<N>().0.iter().map(|bytes| of(*bytes)).collect())
    }

    fn text(&mut self, (at, length): (u32, u32)) -> Result<String> {
        let text = text(self.memory, at, length)?;
        self.take(text.len())?;
        Ok(text.to_owned())
    }

    fn take(&mut self, bytes: usize) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| Error::msg(TOO_MUCH))?;
        Ok(())
    }
}
