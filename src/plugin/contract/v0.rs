//! The contract `wasmill:plugin@0.1`, from before the first release. Its types are those of [`super::v1`].

/// Components that export `batch-handler`.
pub(super) mod columnar {
    wasmtime::component::bindgen!({
        path: "wit/v0",
        inline: "
            package wasmill:host;
            world columnar { export wasmill:plugin/batch-handler@0.1.0; }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "wasmill:plugin/types@0.1.0": crate::plugin::contract::v1::columnar::wasmill::plugin::types,
            "wasmill:plugin/columns@0.1.0": crate::plugin::contract::v1::columnar::wasmill::plugin::columns,
        },
    });
}

/// Components that export `handler`.
pub(super) mod typed {
    wasmtime::component::bindgen!({
        path: "wit/v0",
        inline: "
            package wasmill:host;
            world typed { export wasmill:plugin/handler@0.1.0; }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "wasmill:plugin/types@0.1.0": crate::plugin::contract::v1::columnar::wasmill::plugin::types,
            "wasmill:plugin/records@0.1.0": crate::plugin::contract::v1::typed::wasmill::plugin::records,
        },
    });
}
