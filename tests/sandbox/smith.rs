//! Random modules, as wasm-smith makes them.
//!
//! A module without the exports of the contract is refused before it is compiled, so most of them get these exports, with random code behind
//! them, and may import what a plugin may.

use arbitrary::Unstructured;
use wasm_encoder::RawSection;
use wasm_smith::Config;
use wasm_smith::Module;
use wasmparser::ExternalKind;
use wasmparser::Parser;
use wasmparser::Payload;

use crate::component;
use crate::support::random::Random;

/// What a module is like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Anything that is valid, with any feature.
    Any,
    /// It has the exports of a plugin, and random code behind all of them.
    Exports,
    /// The same with an allocator that works, so that the other functions get to run.
    Allocator,
}

impl Shape {
    /// Most modules have an allocator: they run.
    pub(crate) const ALL: [Shape; 4] = [Shape::Any, Shape::Exports, Shape::Allocator, Shape::Allocator];
}

/// Random bytes that a module is made of.
const BYTES: u64 = 6000;
const EXPORTS: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "wasmill:plugin/batch-handler@1.0.0#init") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "wasmill:plugin/batch-handler@1.0.0#process")
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
    (func (export "cabi_post_wasmill:plugin/batch-handler@1.0.0#process") (param i32)))"#;
const IMPORTS: &str = r#"(module
    (import "wasmill:plugin/log@1.0.0" "write" (func (param i32 i32 i32)))
    (import "wasmill:plugin/metrics@1.0.0" "count" (func (param i32 i32 i64)))
    (import "wasmill:plugin/metrics@1.0.0" "observe" (func (param i32 i32 f64)))
    (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func (param i32 i32 i32 i32) (result i32))))"#;

/// A random module with the metadata of a plugin.
pub(crate) fn module(shape: Shape, random: &mut Random) -> Vec<u8> {
    loop {
        let seed: Vec<u8> = (0..BYTES).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        // Some random bytes make no module: the next ones do.
        let Ok(module) = Module::new(config(shape), &mut Unstructured::new(&seed)) else { continue };
        let bytes = module.to_bytes();
        return match shape {
            Shape::Any => bytes,
            Shape::Exports => component::of_bytes(bytes, "batch", "1.0.0"),
            Shape::Allocator => component::of_bytes(with_allocator(&bytes), "batch", "1.0.0"),
        };
    }
}

fn config(shape: Shape) -> Config {
    let any = Config { max_memories: 3, max_tables: 3, generate_custom_sections: true, ..Config::default() };
    match shape {
        Shape::Any => any,
        Shape::Exports | Shape::Allocator => Config {
            exports: Some(wat::parse_str(EXPORTS).unwrap()),
            available_imports: Some(wat::parse_str(IMPORTS).unwrap()),
            max_memory32_bytes: 32 << 20,
            max_table_elements: 100_000,
            // With these, most modules would have a reference to a value of the host, which is refused.
            reference_types_enabled: false,
            max_tables: 1,
            custom_page_sizes_enabled: false,
            exceptions_enabled: false,
            gc_enabled: false,
            memory64_enabled: false,
            relaxed_simd_enabled: false,
            shared_everything_threads_enabled: false,
            threads_enabled: false,
            wide_arithmetic_enabled: false,
            allow_start_export: true,
            generate_custom_sections: false,
            ..any
        },
    }
}

/// The module with an allocator that always returns the same place, where there is room for what the host writes.
#[expect(clippy::wildcard_enum_match_arm, reason = "sections of the binary format, of which few matter")]
fn with_allocator(module: &[u8]) -> Vec<u8> {
    /// No locals; `i32.const 1024`, `end`.
    const BODY: [u8; 5] = [0, 0x41, 0x80, 0x08, 0x0b];
    let (mut imported, mut allocator, mut body) = (0, None, 0);
    let mut made = wasm_encoder::Module::new();
    let mut code = wasm_encoder::CodeSection::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.unwrap();
        match &payload {
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    imported += u32::from(matches!(import.unwrap().ty, wasmparser::TypeRef::Func(_)));
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports.clone() {
                    let export = export.unwrap();
                    if (export.name, export.kind) == ("cabi_realloc", ExternalKind::Func) {
                        allocator = Some(export.index);
                    }
                }
            }
            Payload::CodeSectionEntry(function) => {
                let own = allocator == Some(imported + body);
                code.raw(if own { &BODY[..] } else { &module[function.range()] });
                body += 1;
                if body == bodies(module) {
                    made.section(&code);
                }
                continue;
            }
            Payload::CodeSectionStart { .. } => continue,
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            made.section(&RawSection { id, data: &module[range] });
        }
    }
    made.finish()
}

/// The number of functions that a module defines.
#[expect(clippy::wildcard_enum_match_arm, reason = "sections of the binary format, of which one matters")]
fn bodies(module: &[u8]) -> u32 {
    let mut payloads = Parser::new(0).parse_all(module);
    let count = payloads.find_map(|payload| match payload.unwrap() {
        Payload::CodeSectionStart { count, .. } => Some(count),
        _ => None,
    });
    count.unwrap_or_default()
}
