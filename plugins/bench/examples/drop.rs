//! Drops every record.

// Only for WebAssembly: a native linker rejects the names of the exports.
#[cfg(target_arch = "wasm32")]
wasmill_sdk::export!(bench::Discard);
