//! Write plugins for wasmill in Rust.
//!
//! A plugin implements [`Transform`] and calls [`export!`]:
//!
//! ```
//! use wasmill_sdk::Emitter;
//! use wasmill_sdk::Record;
//! use wasmill_sdk::Transform;
//! use wasmill_sdk::Verdict;
//! use wasmill_sdk::reject;
//! use wasmill_sdk::testing::Harness;
//! use wasmill_sdk::testing::Input;
//!
//! /// Converts values to upper case, and rejects values that are not text.
//! struct Shout;
//!
//! impl Transform for Shout {
//!     fn init(_settings: &str, _ports: &[String]) -> Result<Self, String> {
//!         Ok(Shout)
//!     }
//!
//!     fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
//!         let Some(value) = record.value else {
//!             out.forward(0);
//!             return Ok(());
//!         };
//!         let text = std::str::from_utf8(value).map_err(|e| reject("bad-text", e))?;
//!         out.output(0).value(Some(text.to_uppercase().as_bytes()));
//!         Ok(())
//!     }
//! }
//!
//! wasmill_sdk::export!(Shout);
//!
//! // `cargo test` runs a plugin natively:
//! let mut shout = Harness::<Shout>::new("{}", &["main"]).unwrap();
//! let outputs = shout.run_one(Input::value("hello").key("k")).unwrap();
//! assert_eq!(outputs[0].value.as_deref(), Some(&b"HELLO"[..]));
//! assert_eq!(outputs[0].key.as_deref(), Some(&b"k"[..]));
//! ```
//!
//! `wasmill new plugin NAME` creates a folder with everything that a plugin needs, and `wasmill build` builds it: `cargo build
//! --release --target wasm32-unknown-unknown`, with cargo settings that make plugins fast. The resulting module can be used in a
//! pipeline directly.
//!
//! A plugin with an accumulator for each key and window implements `Reduce` instead; this needs the feature `state`.
//!
//! The files in the order of the data flow: `columns` turns the host's columns into [`Record`]s, the plugin writes to an
//! [`Emitter`], and returns a [`Verdict`] for each record.

#![warn(missing_docs)]

mod again;
#[doc(hidden)]
pub mod bindings;
mod columns;
mod emitter;
mod export;
#[cfg(feature = "state")]
mod export_reduce;
mod failure;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "grants")]
pub mod grants;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "json")]
pub mod json;
pub mod log;
#[doc(hidden)]
pub mod manifest;
pub mod metrics;
#[cfg(any(test, target_arch = "wasm32"))]
mod pool;
mod record;
#[cfg(feature = "state")]
mod reduce;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod topics;

pub use emitter::Emitter;
pub use emitter::Output;
pub use emitter::OutputHeaders;
pub use emitter::Unchanged;
pub use emitter::Written;
#[doc(hidden)]
pub use export::Instance;
pub use failure::Failure;
pub use failure::Verdict;
pub use failure::error;
pub use failure::reject;
pub use failure::retry;
pub use failure::retry_after;
pub use record::Header;
pub use record::Headers;
pub use record::Record;
#[cfg(feature = "state")]
pub use reduce::KeyBuffer;
#[cfg(feature = "state")]
pub use reduce::KeyBy;
#[cfg(feature = "state")]
pub use reduce::Keyed;
#[cfg(feature = "state")]
pub use reduce::Reduce;
#[cfg(feature = "state")]
pub use reduce::Window;
#[cfg(feature = "state")]
pub use reduce::decode;

/// A plugin.
///
/// Its memory may only be used as a cache, not for state: the host may replace an instance between any two calls.
pub trait Transform: Sized {
    /// Creates the plugin, once per instance. `settings` is the step's settings as a JSON object; `ports` are the names of the
    /// ports in the pipeline, the default port first.
    ///
    /// # Errors
    /// A message for the pipeline's author. The pipeline then doesn't start.
    fn init(settings: &str, ports: &[String]) -> Result<Self, String>;

    /// Processes one record. A record for which nothing is emitted is filtered out.
    ///
    /// # Errors
    /// If the record failed, see [`reject`], [`retry`] and [`error`]. Its outputs are discarded.
    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict;
}
