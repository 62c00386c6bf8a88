//! The bindings of the contract: the columnar world with its two optional imports, and what a step's `allow` gives.
//!
//! Only `columns`, `log`, `metrics`, `grants` and the `export!` macro know them. `plugin` and `grants` are generated and committed, so
//! that a plugin compiles none of the generator's crates; `runtime` is what they call.

#[cfg(all(feature = "grants", target_arch = "wasm32"))]
#[rustfmt::skip]
pub(crate) mod grants;
#[rustfmt::skip]
mod plugin;
pub mod runtime;

pub use plugin::export;
pub use plugin::exports;
pub use plugin::wasmill;
