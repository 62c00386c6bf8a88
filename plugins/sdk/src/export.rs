//! The code that `export!` generates: the exported functions and the instance behind them. `export_reduce` uses it, too.

use std::cell::RefCell;

use crate::Transform;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::bindings::wasmill::plugin::columns::Outcome;
use crate::bindings::wasmill::plugin::types::Source;
use crate::columns;

/// Makes a [`Transform`] the plugin of this crate, and writes its manifest.
///
/// The manifest is a section of the component that can be read without running it. It holds the name, version and description of
/// the package, the ports that the plugin uses besides `main` (without `ports`: any), and a JSON Schema of the settings, from a
/// file next to `Cargo.toml`.
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
/// With a schema, `wasmill check` reports an invalid setting with its position in the pipeline's file:
/// `export!(Drop, ports = ["audit"], settings = "settings.schema.json")`. With the codes of its rejects, as in
/// `export!(Drop, codes = ["bad-json"])`, it reports rules in `[on_error.code]` for codes that the plugin doesn't have.
#[macro_export]
macro_rules! export {
    (
        $transform:ty
        $(, ports = [$($port:literal),* $(,)?])?
        $(, codes = [$code:literal $(, $more:literal)* $(,)?])?
        $(, settings = $schema:literal)? $(,)?
    ) => {
        const _: () = {
            $crate::__plugin! {
                $(ports = [$($port),*],)?
                $(codes = [$code $(, $more)*],)?
                $(settings = $schema,)?
            }

            ::std::thread_local! {
                static PLUGIN: $crate::Instance<$transform> = const { $crate::Instance::new() };
            }

            struct Component;

            impl $crate::bindings::exports::wasmill::plugin::batch_handler::Guest for Component {
                fn init(
                    settings: ::std::string::String,
                    ports: ::std::vec::Vec<::std::string::String>,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    PLUGIN.with(|plugin| {
                        plugin.init(|| <$transform as $crate::Transform>::init(&settings, &ports))
                    })
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
        };
    };
}

/// What every plugin has: its manifest, and the function that allocates memory for data from the host. `state` is for plugins with
/// keyed state: the version of it, and the versions that they read.
#[doc(hidden)]
#[macro_export]
macro_rules! __plugin {
    (
        $(ports = [$($port:literal),* $(,)?],)?
        $(codes = [$code:literal $(, $more:literal)* $(,)?],)?
        $(settings = $schema:literal,)?
        $(state = ($version:expr, $reads:expr),)?
    ) => {
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
                $crate::manifest::Part::Json(",\"codes\":["),
                $crate::manifest::Part::Text($code),
                $($crate::manifest::Part::Json(","), $crate::manifest::Part::Text($more),)*
                $crate::manifest::Part::Json("]"),
            )?
            $(
                $crate::manifest::Part::Json(",\"state\":{\"version\":"),
                $crate::manifest::Part::Numbers(&[$version]),
                $crate::manifest::Part::Json(",\"reads\":["),
                $crate::manifest::Part::Numbers($crate::manifest::reads(&[$version], $reads)),
                $crate::manifest::Part::Json("]}"),
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

        /// The host calls it to allocate memory for the data that it passes.
        #[cfg(target_arch = "wasm32")]
        #[unsafe(export_name = "cabi_realloc")]
        unsafe extern "C" fn realloc(block: *mut u8, old: usize, align: usize, size: usize) -> *mut u8 {
            // SAFETY: the component model asks of a caller what the function asks.
            unsafe { $crate::bindings::runtime::cabi_realloc(block, old, align, size) }
        }
    };
}

/// The plugin of an instance, created by `init`.
#[derive(Debug)]
pub struct Instance<T>(RefCell<Option<T>>);

impl<T> Instance<T> {
    /// An instance before `init`.
    #[must_use]
    pub const fn new() -> Instance<T> {
        Instance(RefCell::new(None))
    }

    /// Creates the plugin. From now on a panic is logged before it traps.
    ///
    /// # Errors
    /// The error of `create`.
    pub fn init(&self, create: impl FnOnce() -> Result<T, String>) -> Result<(), String> {
        #[cfg(target_arch = "wasm32")]
        std::panic::set_hook(Box::new(|panic| crate::log::error(panic)));
        let plugin = create()?;
        self.0.replace(Some(plugin));
        Ok(())
    }

    /// Calls the plugin.
    ///
    /// # Errors
    /// The error that the plugin returns for the whole call, or that `init` was not called yet.
    pub(crate) fn call<O>(&self, run: impl FnOnce(&mut T) -> Result<O, String>) -> Result<O, String> {
        match &mut *self.0.borrow_mut() {
            Some(plugin) => run(plugin),
            None => Err("the plugin was called before `init`".to_owned()),
        }
    }
}

impl<T: Transform> Instance<T> {
    /// Runs a batch.
    ///
    /// # Errors
    /// The error that the plugin returns for the whole call, or that `init` was not called yet.
    pub fn process(&self, source: &Source, batch: &Batch) -> Result<Outcome, String> {
        self.call(|plugin| columns::run(plugin, source, batch))
    }
}

impl<T> Default for Instance<T> {
    fn default() -> Instance<T> {
        Instance::new()
    }
}
