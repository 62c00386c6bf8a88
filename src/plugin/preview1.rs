//! WASI preview 1, which core modules of some languages import: its functions, and an adapter to a component.
//!
//! No plugin has files, arguments, input or sockets, so most functions only return an error number. `host/preview1.rs`
//! has the functions for a module that runs as it is. A module that becomes a component gets the adapter made here:
//! in a component a function of the host traps while the guest allocates for the host, which is when some garbage
//! collectors read the clock, so the adapter asks the host for output and the end only. Its clock and its random numbers
//! are fixed. Pure.

use wasm_encoder::BlockType;
use wasm_encoder::CodeSection;
use wasm_encoder::ConstExpr;
use wasm_encoder::EntityType;
use wasm_encoder::ExportKind;
use wasm_encoder::ExportSection;
use wasm_encoder::Function;
use wasm_encoder::FunctionSection;
use wasm_encoder::GlobalSection;
use wasm_encoder::GlobalType;
use wasm_encoder::ImportSection;
use wasm_encoder::InstructionSink;
use wasm_encoder::MemArg;
use wasm_encoder::MemoryType;
use wasm_encoder::Module;
use wasm_encoder::TypeSection;
use wasm_encoder::ValType;

/// The name with which modules import it.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";
/// What the adapter imports: the interface that the host defines for it alone.
pub(super) const HOST: &str = "wasmill:preview1/host";
/// [`HOST`] as WIT, and the adapter's world.
pub(super) const WIT: &str = "
    package wasmill:preview1;
    interface host {
        write: func(descriptor: u32, bytes: list<u8>);
        exit: func(code: u32);
    }
    world adapter { import host; }
";

/// The error number of a file descriptor that isn't there.
pub(super) const BADF: i32 = 8;
/// The number of the clock that tells the time since 1970; the others are monotonic.
pub(super) const REALTIME: u32 = 0;
/// By how much the fixed monotonic clock advances with each reading, so that code that waits for time to pass ends.
const READING_NS: i64 = 1000;

/// The functions, and their parameters: `i` for 32 bits, `l` for 64. All but those in [`WITHOUT_RESULT`] return an error
/// number.
pub(super) const FUNCTIONS: [(&str, &str); 47] = [
    ("adapter_monotonic_clock_set_paused", "i"),
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "ili"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiili"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_seek", "ilii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_exit", "i"),
    ("proc_raise", "i"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];
/// The functions without a result.
pub(super) const WITHOUT_RESULT: [&str; 2] = ["adapter_monotonic_clock_set_paused", "proc_exit"];

/// Whether preview 1 has this function.
pub(super) fn is_known(function: &str) -> bool {
    FUNCTIONS.iter().any(|(known, _)| *known == function)
}

/// Whether an import, as `world::Import` names it, is one of preview 1.
pub(super) fn is_import(name: &str) -> bool {
    name.split('.').next() == Some(MODULE)
}

const POINTER: MemArg = MemArg { offset: 0, align: 0, memory_index: 0 };
const SECOND: MemArg = MemArg { offset: 4, align: 0, memory_index: 0 };
/// The functions and globals of the adapter, by index.
const WRITE: u32 = 0;
const EXIT: u32 = 1;
const CLOCK: u32 = 0;
const RANDOM: u32 = 1;
/// The first state of the random numbers.
const SEED: i64 = 0x1e37_79b9_7f4a_7c15;

/// The adapter: a core module that exports all functions, works on its user's memory and imports [`HOST`].
pub(super) fn adapter() -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 3], []);
    types.ty().function([ValType::I32], []);
    let mut imports = ImportSection::new();
    imports.import(HOST, "write", EntityType::Function(WRITE));
    imports.import(HOST, "exit", EntityType::Function(EXIT));
    let memory = MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
    imports.import("env", "memory", EntityType::Memory(memory));
    let mut globals = GlobalSection::new();
    for first in [0, SEED] {
        let global = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
        globals.global(global, &ConstExpr::i64_const(first));
    }
    let (mut functions, mut exports, mut code) = (FunctionSection::new(), ExportSection::new(), CodeSection::new());
    for (index, (name, params)) in (2..).zip(FUNCTIONS) {
        let results = if WITHOUT_RESULT.contains(&name) { None } else { Some(ValType::I32) };
        types.ty().function(params.bytes().map(of_letter), results);
        functions.function(index);
        exports.export(name, ExportKind::Func, index);
        let mut function = Function::new([(1, ValType::I32)]);
        let local = u32::try_from(params.len()).unwrap_or_default();
        body(name, local, &mut function.instructions());
        function.instructions().end();
        code.function(&function);
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&globals).section(&exports).section(&code);
    module.finish()
}

/// The type of a parameter in [`FUNCTIONS`].
pub(super) fn of_letter<T: From<Width>>(letter: u8) -> T {
    if letter == b'l' { Width::Long.into() } else { Width::Int.into() }
}

/// The width of a parameter.
pub(super) enum Width {
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
}

impl From<Width> for ValType {
    fn from(width: Width) -> ValType {
        match width {
            Width::Int => ValType::I32,
            Width::Long => ValType::I64,
        }
    }
}

/// The instructions of a function. `local` is its only local variable.
fn body(name: &str, local: u32, code: &mut InstructionSink<'_>) {
    match name {
        "adapter_monotonic_clock_set_paused" => {}
        "args_get" | "environ_get" | "sched_yield" => {
            code.i32_const(0);
        }
        "args_sizes_get" | "environ_sizes_get" => {
            code.local_get(0).i32_const(0).i32_store(POINTER).local_get(1).i32_const(0).i32_store(POINTER).i32_const(0);
        }
        "clock_res_get" => {
            code.local_get(1).i64_const(READING_NS).i64_store(POINTER).i32_const(0);
        }
        "clock_time_get" => {
            code.local_get(2).i64_const(0).i64_store(POINTER);
            code.local_get(0).if_(BlockType::Empty);
            code.global_get(CLOCK).i64_const(READING_NS).i64_add().global_set(CLOCK);
            code.local_get(2).global_get(CLOCK).i64_store(POINTER).end().i32_const(0);
        }
        "random_get" => random(code),
        "fd_write" => write(local, code),
        // Nothing ever becomes ready, and no call waits.
        "poll_oneoff" => {
            code.local_get(3).i32_const(0).i32_store(POINTER).i32_const(0);
        }
        "proc_exit" => {
            code.local_get(0).call(EXIT).unreachable();
        }
        _ => {
            code.i32_const(BADF);
        }
    }
}

/// Fills memory by Marsaglia's xorshift.
fn random(code: &mut InstructionSink<'_>) {
    code.block(BlockType::Empty).loop_(BlockType::Empty).local_get(1).i32_eqz().br_if(1);
    code.global_get(RANDOM).global_get(RANDOM).i64_const(13).i64_shl().i64_xor().global_set(RANDOM);
    code.global_get(RANDOM).global_get(RANDOM).i64_const(7).i64_shr_u().i64_xor().global_set(RANDOM);
    code.global_get(RANDOM).global_get(RANDOM).i64_const(17).i64_shl().i64_xor().global_set(RANDOM);
    code.local_get(0).global_get(RANDOM).i64_store8(POINTER);
    code.local_get(0).i32_const(1).i32_add().local_set(0);
    code.local_get(1).i32_const(1).i32_sub().local_set(1);
    code.br(0).end().end().i32_const(0);
}

/// Gives each part of an output to the host. There are two descriptors: 1 and 2.
fn write(written: u32, code: &mut InstructionSink<'_>) {
    code.local_get(0).i32_const(1).i32_sub().i32_const(1).i32_gt_u();
    code.if_(BlockType::Empty).i32_const(BADF).return_().end();
    code.block(BlockType::Empty).loop_(BlockType::Empty).local_get(2).i32_eqz().br_if(1);
    code.local_get(0).local_get(1).i32_load(POINTER).local_get(1).i32_load(SECOND).call(WRITE);
    code.local_get(written).local_get(1).i32_load(SECOND).i32_add().local_set(written);
    code.local_get(1).i32_const(8).i32_add().local_set(1);
    code.local_get(2).i32_const(1).i32_sub().local_set(2);
    code.br(0).end().end();
    code.local_get(3).local_get(written).i32_store(POINTER).i32_const(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_adapter_is_valid_and_has_every_function() {
        let adapter = adapter();
        wasmparser::validate(&adapter).unwrap();
        assert!(is_known("fd_write") && is_known("sock_shutdown") && !is_known("fd_writes"));
        assert!(FUNCTIONS.is_sorted());
        assert!(WITHOUT_RESULT.iter().all(|name| is_known(name)));
    }
}
