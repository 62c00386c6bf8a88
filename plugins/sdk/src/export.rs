//! What `export!` writes into a plugin: the exported functions and the one instance behind them.

use std::cell::RefCell;

use crate::Transform;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::bindings::wasmill::plugin::columns::Outcome;
use crate::bindings::wasmill::plugin::types::Source;
use crate::columns;

/// Makes a [`Transform`] the plugin of this library, and writes its manifest.
///
/// The manifest is a section of the component that is read without running anything: name, version and description from the
/// package, the ports that the plugin knows besides `main` (without `ports`: any), and a JSON Schema of its settings from a file
/// beside `Cargo.toml`.
///
/// ```
/// # struct Drop;
/// # impl wasmill_sdk::Transform for Drop {
/// #     fn init(_: &str, _: &[String]) -> Result<Self, String> { Ok(Drop) }
/// #     fn process(&mut self, _: wasmill_sdk::Record<'_>, _: &mut wasmill_sdk::Emitter<'_>) -> wasmill_sdk::Verdict { Ok(()) }
/// # }
/// wasmill_sdk::export!(Drop, ports = ["audit"]);
/// ```
///
/// With a schema, `wasmill check` finds a wrong setting at its place in the pipeline's file:
/// `export!(Drop, ports = ["audit"], settings = "settings.schema.json")`.
#[macro_export]
macro_rules! export {
    ($transform:ty $(, ports = [$($port:literal),* $(,)?])? $(, settings = $schema:literal)? $(,)?) => {
        const _: () = {
            const MANIFEST: &[$crate::manifest::Part<'static>] = &[
                $crate::manifest::Part::Json("{\"name\":"),
                $crate::manifest::Part::Text(::std::env!("CARGO_PKG_NAME")),
                $crate::manifest::Part::Json(",\"version\":"),
                $crate::manifest::Part::Text(::std::env!("CARGO_PKG_VERSION")),
                $crate::manifest::Part::Json(",\"description\":"),
                $crate::manifest::Part::Text(::std::env!("CARGO_PKG_DESCRIPTION")),
                $(
                    $crate::manifest::Part::Json(",\"ports\":[\"main\""),
                    $($crate::manifest::Part::Json(","), $crate::manifest::Part::Text($port),)*
                    $crate::manifest::Part::Json("]"),
                )?
                $(
                    $crate::manifest::Part::Json(",\"settings\":"),
                    $crate::manifest::Part::Json(::std::include_str!(::std::concat!(
                        ::std::env!("CARGO_MANIFEST_DIR"),
                        "/",
                        $schema
                    ))),
                )?
                $crate::manifest::Part::Json("}"),
            ];
            #[used]
            #[cfg_attr(target_arch = "wasm32", unsafe(link_section = "wasmill:manifest"))]
            static SECTION: [u8; $crate::manifest::length(MANIFEST)] = $crate::manifest::written(MANIFEST);

            ::std::thread_local! {
                static PLUGIN: $crate::Instance<$transform> = const { $crate::Instance::new() };
            }

            struct Component;

            impl $crate::bindings::exports::wasmill::plugin::batch_handler::Guest for Component {
                fn init(
                    settings: ::std::string::String,
                    ports: ::std::vec::Vec<::std::string::String>,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    PLUGIN.with(|plugin| plugin.init(&settings, &ports))
                }

                fn process(
                    source: $crate::bindings::wasmill::plugin::types::Source,
                    batch: $crate::bindings::wasmill::plugin::columns::Batch,
                ) -> ::std::result::Result<$crate::bindings::wasmill::plugin::columns::Outcome, ::std::string::String>
                {
                    PLUGIN.with(|plugin| plugin.process(&source, &batch))
                }
            }

            $crate::bindings::export!(Component with_types_in $crate::bindings);

            /// With it the host makes room for what it hands over.
            #[cfg(target_arch = "wasm32")]
            #[unsafe(export_name = "cabi_realloc")]
            unsafe extern "C" fn realloc(block: *mut u8, old: usize, align: usize, size: usize) -> *mut u8 {
                // SAFETY: the component model asks of a caller what the function asks.
                unsafe { $crate::bindings::runtime::cabi_realloc(block, old, align, size) }
            }
        };
    };
}

/// The plugin of an instance, made by `init`.
#[derive(Debug)]
pub struct Instance<T>(RefCell<Option<T>>);

impl<T: Transform> Instance<T> {
    /// An instance before `init`.
    #[must_use]
    pub const fn new() -> Instance<T> {
        Instance(RefCell::new(None))
    }

    /// Makes the plugin. From here on a panic is logged before it traps.
    ///
    /// # Errors
    /// The plugin's own.
    pub fn init(&self, settings: &str, ports: &[String]) -> Result<(), String> {
        #[cfg(target_arch = "wasm32")]
        std::panic::set_hook(Box::new(|panic| crate::log::error(panic)));
        let plugin = T::init(settings, ports)?;
        self.0.replace(Some(plugin));
        Ok(())
    }

    /// Runs a batch.
    ///
    /// # Errors
    /// What the plugin says of the whole call, or that it was not made yet.
    pub fn process(&self, source: &Source, batch: &Batch) -> Result<Outcome, String> {
        match &mut *self.0.borrow_mut() {
            Some(plugin) => columns::run(plugin, source, batch),
            None => Err("`process` was called before `init`".to_owned()),
        }
    }
}

impl<T: Transform> Default for Instance<T> {
    fn default() -> Instance<T> {
        Instance::new()
    }
}
