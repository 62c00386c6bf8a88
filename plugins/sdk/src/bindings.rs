//! The bindings of the contract: the columnar world with its two optional imports, and the interfaces that a step's `allow` grants.
//!
//! Only `columns`, `log`, `metrics`, `grants` and the `export!` macro use them. `plugin` and `grants` are generated and committed, so
//! that a plugin doesn't compile the generator's crates; `runtime` holds the functions that they call.

#[cfg(all(feature = "grants", target_arch = "wasm32"))]
#[rustfmt::skip]
pub(crate) mod grants;
#[rustfmt::skip]
mod plugin;
pub mod runtime;

pub use plugin::export;
pub use plugin::exports;
pub use plugin::wasmill;
