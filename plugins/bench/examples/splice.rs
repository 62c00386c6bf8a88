//! Replaces two fields of a JSON document, without a tree.

// A linker for this machine does not take the names.
#[cfg(target_arch = "wasm32")]
wasmill_sdk::export!(bench::Splice);
