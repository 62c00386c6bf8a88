//! The code that `export_reduce!` generates: the exported functions of plugins with keyed state.

use crate::Instance;
use crate::KeyBy;
use crate::Reduce;
use crate::bindings::keyer::exports::wasmill::plugin::keyer::Extracted;
use crate::bindings::reducer::exports::wasmill::plugin::reducer::Folded;
use crate::bindings::reducer::exports::wasmill::plugin::reducer::Windows;
use crate::bindings::reducer::wasmill::plugin::cells::Cells;
use crate::bindings::reducer::wasmill::plugin::cells::Changes;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::bindings::wasmill::plugin::columns::Outcome;
use crate::bindings::wasmill::plugin::types::Source;
use crate::reduce::fold;
use crate::reduce::keys;

/// Makes a [`Reduce`] the plugin of this crate, and writes its manifest.
///
/// `ports`, `codes` and `settings` are as in [`export!`](crate::export). `reads` are the versions of the state that the plugin can read,
/// [`STATE_VERSION`](Reduce::STATE_VERSION) among them: those that [`upgrade`](Reduce::upgrade) takes. Without it that is only its own. The
/// manifest says so, and the host reads it before it hands over the state of another version.
///
/// ```
/// # use wasmill_sdk::{Emitter, Record, Reduce, Verdict, Window};
/// # struct Top;
/// # impl Reduce for Top {
/// #     type Acc = u64;
/// #     const STATE_VERSION: u8 = 2;
/// #     fn init(_: &str, _: &[String]) -> Result<Self, String> { Ok(Top) }
/// #     fn add(&mut self, acc: &mut u64, _: Record<'_>) -> Verdict { *acc += 1; Ok(()) }
/// #     fn merge(&mut self, acc: &mut u64, later: u64) { *acc += later; }
/// #     fn emit(&mut self, _: Window<'_>, _: &u64, _: &mut Emitter<'_>) -> Verdict { Ok(()) }
/// # }
/// wasmill_sdk::export_reduce!(Top, ports = ["rare"], codes = ["bad-json"], reads = [1, 2]);
/// ```
///
/// For a [`KeyBy`] the word `keys` follows the type: `export_reduce!(Top, keys, codes = ["bad-json"])`.
#[macro_export]
macro_rules! export_reduce {
    ($reducer:ty, keys $(, $option:ident = $of:tt)* $(,)?) => {
        const _: () = {
            $crate::__reducer!($reducer $(, $option = $of)*);

            impl $crate::bindings::keyer::exports::wasmill::plugin::keyer::Guest for Component {
                fn keys(
                    batch: $crate::bindings::wasmill::plugin::columns::Batch,
                ) -> ::std::result::Result<
                    $crate::bindings::keyer::exports::wasmill::plugin::keyer::Extracted,
                    ::std::string::String,
                > {
                    PLUGIN.with(|plugin| plugin.keys(&batch))
                }
            }

            $crate::bindings::keyer::export!(Component with_types_in $crate::bindings::keyer);
        };
    };
    ($reducer:ty $(, $option:ident = $of:tt)* $(,)?) => {
        const _: () = {
            $crate::__reducer!($reducer $(, $option = $of)*);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __reducer {
    (
        $reducer:ty
        $(, ports = [$($port:literal),* $(,)?])?
        $(, codes = [$($code:literal),+ $(,)?])?
        $(, settings = $schema:literal)?
        $(, reads = [$($read:literal),+ $(,)?])?
    ) => {
        $crate::__plugin! {
            $(ports = [$($port),*],)?
            $(codes = [$($code),+],)?
            $(settings = $schema,)?
            state = (<$reducer as $crate::Reduce>::STATE_VERSION, &[$($($read),+)?]),
        }

        ::std::thread_local! {
            static PLUGIN: $crate::Instance<$reducer> = const { $crate::Instance::new() };
        }

        struct Component;

        impl $crate::bindings::reducer::exports::wasmill::plugin::reducer::Guest for Component {
            fn init(
                settings: ::std::string::String,
                ports: ::std::vec::Vec<::std::string::String>,
            ) -> ::std::result::Result<(), ::std::string::String> {
                PLUGIN.with(|plugin| plugin.init(|| <$reducer as $crate::Reduce>::init(&settings, &ports)))
            }

            fn add(
                source: $crate::bindings::wasmill::plugin::types::Source,
                batch: $crate::bindings::wasmill::plugin::columns::Batch,
                cells: $crate::bindings::reducer::wasmill::plugin::cells::Cells,
            ) -> ::std::result::Result<
                $crate::bindings::reducer::exports::wasmill::plugin::reducer::Folded,
                ::std::string::String,
            > {
                PLUGIN.with(|plugin| plugin.add(&source, &batch, &cells))
            }

            fn merge(
                pairs: $crate::bindings::reducer::wasmill::plugin::cells::Cells,
            ) -> ::std::result::Result<
                $crate::bindings::reducer::wasmill::plugin::cells::Changes,
                ::std::string::String,
            > {
                PLUGIN.with(|plugin| plugin.merge(&pairs))
            }

            fn emit(
                windows: $crate::bindings::reducer::exports::wasmill::plugin::reducer::Windows,
            ) -> ::std::result::Result<
                $crate::bindings::wasmill::plugin::columns::Outcome,
                ::std::string::String,
            > {
                PLUGIN.with(|plugin| plugin.emit(&windows))
            }
        }

        $crate::bindings::reducer::export!(Component with_types_in $crate::bindings::reducer);
    };
}

impl<R: Reduce> Instance<R> {
    /// Folds each record into its cell.
    ///
    /// # Errors
    /// The error that the plugin returns for the whole call, that an accumulator can't be read or written, or that `init` was not called
    /// yet.
    pub fn add(&self, source: &Source, batch: &Batch, cells: &Cells) -> Result<Folded, String> {
        self.call(|plugin| fold::add(plugin, source, batch, cells))
    }

    /// Merges pairs of cells.
    ///
    /// # Errors
    /// As [`add`](Instance::add).
    pub fn merge(&self, pairs: &Cells) -> Result<Changes, String> {
        self.call(|plugin| fold::merge(plugin, pairs))
    }

    /// Emits what is known of windows.
    ///
    /// # Errors
    /// As [`add`](Instance::add).
    pub fn emit(&self, windows: &Windows) -> Result<Outcome, String> {
        self.call(|plugin| fold::emit(plugin, windows))
    }
}

impl<R: KeyBy> Instance<R> {
    /// Finds the keys and times of records.
    ///
    /// # Errors
    /// As [`add`](Instance::add).
    pub fn keys(&self, batch: &Batch) -> Result<Extracted, String> {
        self.call(|plugin| keys::keys(plugin, batch))
    }
}
