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

/// The same components as [`columnar`], for plugins that may wait: their functions run on a stack of their own.
pub(super) mod waiting_columnar {
    wasmtime::component::bindgen!({
        path: "wit/v1",
        inline: "
            package wasmill:host;
            world columnar { export wasmill:plugin/batch-handler@1.0.0; }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
        with: {
            "wasmill:plugin/types@1.0.0": super::columnar::wasmill::plugin::types,
            "wasmill:plugin/columns@1.0.0": super::columnar::wasmill::plugin::columns,
        },
    });
}

/// The same components as [`typed`], for plugins that may wait.
pub(super) mod waiting_typed {
    wasmtime::component::bindgen!({
        path: "wit/v1",
        inline: "
            package wasmill:host;
            world typed { export wasmill:plugin/handler@1.0.0; }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
        with: {
            "wasmill:plugin/types@1.0.0": super::columnar::wasmill::plugin::types,
            "wasmill:plugin/records@1.0.0": super::typed::wasmill::plugin::records,
        },
    });
}
