//! The bindings of the contract: the columnar world with its two optional imports, the worlds with keyed state, topics by record, and the
//! interfaces that a step's `allow` grants.
//!
//! Only `columns`, `reduce`, `log`, `metrics`, `topics`, `grants`, `files`, `http`, `testing` and the macros use them. All but `runtime` are generated and committed,
//! so that a plugin doesn't compile the generator's crates; `runtime` holds the functions that they call.

#[cfg(all(feature = "grants", target_arch = "wasm32"))]
#[rustfmt::skip]
pub(crate) mod grants;
#[cfg(all(feature = "files", target_arch = "wasm32"))]
#[rustfmt::skip]
pub(crate) mod files;
#[cfg(all(feature = "http", target_arch = "wasm32"))]
#[rustfmt::skip]
pub(crate) mod http;
#[cfg(feature = "state")]
#[rustfmt::skip]
pub mod keyer;
#[rustfmt::skip]
mod plugin;
#[cfg(feature = "state")]
#[rustfmt::skip]
pub mod reducer;
pub mod runtime;
#[cfg(target_arch = "wasm32")]
#[rustfmt::skip]
pub(crate) mod topics;

pub use plugin::export;
pub use plugin::exports;
pub use plugin::wasmill;
