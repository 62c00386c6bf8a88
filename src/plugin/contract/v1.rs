//! The contract `wasmill:plugin@1`: the bindings generated from `wit/v1`, for both of its worlds.
//!
//! The rest of `plugin` uses these types; older tracks are mapped to them in files of their own.

/// Components that export `batch-handler`, and the types of all interfaces except `records`.
pub(super) mod columnar {
    wasmtime::component::bindgen!({
        path: "wit/v1",
        inline: "
            package wasmill:host;
            world columnar {
                import wasmill:plugin/log@1.0.0;
                import wasmill:plugin/metrics@1.0.0;
                export wasmill:plugin/batch-handler@1.0.0;
            }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// Components that export `handler`.
pub(super) mod typed {
    wasmtime::component::bindgen!({
        path: "wit/v1",
        inline: "
            package wasmill:host;
            world typed { export wasmill:plugin/handler@1.0.0; }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: { "wasmill:plugin/types@1.0.0": super::columnar::wasmill::plugin::types },
    });
}
