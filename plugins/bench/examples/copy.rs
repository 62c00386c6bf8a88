//! Identity that copies all bytes.

// A linker for this machine does not take the names.
#[cfg(target_arch = "wasm32")]
wasmill_sdk::export!(bench::Copy);
