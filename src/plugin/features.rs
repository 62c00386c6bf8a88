//! The WebAssembly features that a plugin may use. All commands validate a file against this one table before anything
//! is compiled.
//!
//! Features that no supported guest language needs are off, to keep the attack surface small. Invariant: wasmtime runs
//! whatever passes here. The message for a file that doesn't pass names the feature, and how common tools build without
//! it.

use wasmparser::BinaryReaderError;
use wasmparser::Validator;
use wasmparser::WasmFeatures;
use wasmparser::types::Types;

/// WebAssembly 2.0 without references to host values, plus newer features that are in use.
const AVAILABLE: WasmFeatures = WasmFeatures::WASM2
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::COMPONENT_MODEL);

/// A feature that isn't available.
struct Feature {
    name: &'static str,
    flag: WasmFeatures,
    /// How to build without it.
    without: &'static str,
}

const UNAVAILABLE: [Feature; 11] = [
    Feature {
        name: "exceptions",
        flag: WasmFeatures::EXCEPTIONS,
        without: "Rust `panic = \"abort\"`, C++ `-fno-exceptions`, AssemblyScript and Go have none",
    },
    Feature {
        name: "exceptions (of the older kind)",
        flag: WasmFeatures::LEGACY_EXCEPTIONS,
        without: "Rust `panic = \"abort\"`, C++ `-fno-exceptions`, Emscripten without `-fwasm-exceptions`",
    },
    Feature {
        name: "garbage collection",
        flag: WasmFeatures::GC,
        without: "Kotlin, Dart, Java and OCaml need it, so use another language or a compiler with its own collector",
    },
    Feature {
        name: "typed function references",
        flag: WasmFeatures::FUNCTION_REFERENCES,
        without: "Binaryen `--disable-gc`, and compilers of C, Rust, Go and AssemblyScript make none",
    },
    Feature {
        name: "references to values of the host",
        flag: WasmFeatures::GC_TYPES,
        without: "Rust without wasm-bindgen, Emscripten without `-sREFERENCE_TYPES`",
    },
    Feature {
        name: "memory64",
        flag: WasmFeatures::MEMORY64,
        without: "a `wasm32` target, Emscripten without `-sMEMORY64`",
    },
    Feature {
        name: "threads",
        flag: WasmFeatures::THREADS,
        without: "Rust `-C target-feature=-atomics`, C and C++ without `-pthread` and `-matomics`",
    },
    Feature {
        name: "relaxed SIMD",
        flag: WasmFeatures::RELAXED_SIMD,
        without: "Rust `-C target-feature=-relaxed-simd`, C and C++ without `-mrelaxed-simd`",
    },
    Feature {
        name: "wide arithmetic",
        flag: WasmFeatures::WIDE_ARITHMETIC,
        without: "Rust `-C target-feature=-wide-arithmetic`, C and C++ without `-mwide-arithmetic`",
    },
    Feature {
        name: "pages of another size",
        flag: WasmFeatures::CUSTOM_PAGE_SIZES,
        without: "the linker without `--page-size`",
    },
    Feature {
        name: "asynchronous functions of components",
        flag: WasmFeatures::CM_ASYNC,
        without: "functions without `async`, as the contract has them",
    },
];

/// Why a file can't run.
pub(super) enum Unfit {
    /// It is not valid WebAssembly.
    Invalid(BinaryReaderError),
    /// It is valid, but uses features that aren't available: their names, and how to build without them.
    Uses(String, String),
}

/// Validates a component or a core module.
pub(super) fn validate(binary: &[u8]) -> Result<Types, Unfit> {
    let valid = |features| Validator::new_with_features(features).validate_all(binary);
    let refused = match valid(AVAILABLE) {
        Ok(types) => return Ok(types),
        Err(refused) => refused,
    };
    // The first error may name another feature than the file uses. A file uses a feature if it is invalid without it.
    if let Err(invalid) = valid(WasmFeatures::all()) {
        return Err(Unfit::Invalid(invalid));
    }
    let used: Vec<&Feature> =
        UNAVAILABLE.iter().filter(|feature| valid(WasmFeatures::all().difference(feature.flag)).is_err()).collect();
    if used.is_empty() {
        return Err(Unfit::Invalid(refused));
    }
    let names: Vec<&str> = used.iter().map(|feature| feature.name).collect();
    let ways: Vec<&str> = used.iter().map(|feature| feature.without).collect();
    Err(Unfit::Uses(names.join(", "), ways.join(", ")))
}

#[cfg(test)]
mod tests {
    use wasmtime::Module;

    use super::*;
    use crate::plugin::program::Engines;

    fn module(inside: &str) -> Vec<u8> {
        wat::parse_str(format!("(module {inside})")).unwrap()
    }

    #[test]
    fn each_feature_that_is_not_available_is_named() {
        for (name, inside) in [
            ("exceptions", "(tag)"),
            ("exceptions", "(tag $t) (func (throw $t))"),
            ("garbage collection", "(type (struct))"),
            ("typed function references", "(type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0)))"),
            ("references to values of the host", "(func (param externref))"),
            ("memory64", "(memory i64 1)"),
            ("threads", "(memory 1 1 shared)"),
            ("threads", "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))"),
            ("relaxed SIMD", "(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))"),
            ("wide arithmetic", "(func (param i64) (i64.mul_wide_u (local.get 0) (local.get 0)) drop drop)"),
            ("pages of another size", "(memory 1 (pagesize 1))"),
        ] {
            let Err(Unfit::Uses(names, without)) = validate(&module(inside)) else { panic!("{inside} passes") };
            assert!(names.split(", ").any(|found| found == name), "{inside}: {names}");
            assert!(!without.is_empty());
        }
    }

    #[test]
    fn wasmtime_runs_what_passes() {
        let engines = Engines::new().unwrap();
        for inside in [
            "(func (param i64) (result i32) (i32.extend8_s (i32.trunc_sat_f64_u (f64.const 1))))",
            "(func (result i32 i64) (i32.const 1) (i64.const 2))",
            "(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9)))",
            "(table 1 funcref) (func $f) (elem declare func $f) (func (table.set (i32.const 0) (ref.func $f)))",
            "(func (param v128) (result v128) (i8x16.add (local.get 0) (local.get 0)))",
            "(func $f (return_call $f))",
            "(memory 1) (memory 1) (func (memory.copy 0 1 (i32.const 0) (i32.const 0) (i32.const 9)))",
            "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        ] {
            let bytes = module(inside);
            assert!(validate(&bytes).is_ok(), "{inside}");
            Module::validate(&engines.components, &bytes).unwrap();
        }
    }

    #[test]
    fn invalid_webassembly_is_distinguished_from_unavailable_features() {
        assert!(matches!(validate(b"\0asm\x01\0\0\0\x0b"), Err(Unfit::Invalid(_))));
    }

    #[test]
    fn the_contract_page_lists_every_unavailable_feature() {
        let page = include_str!("../../docs/plugin-contract.md");
        for Feature { name, .. } in UNAVAILABLE {
            assert!(page.contains(&format!("| {name} |")), "{name}");
        }
    }
}
