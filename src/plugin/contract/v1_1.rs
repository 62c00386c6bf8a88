//! What the contract `wasmill:plugin@1.1` adds to 1.0: the bindings of `reducer` and `keyer`, generated from `wit/v1.1`.
//!
//! All other interfaces of 1.1 are those of 1.0, so [`super::v1`] serves plugins of both, and the types are shared.

/// Components that export `reducer`.
pub(super) mod reducer {
    wasmtime::component::bindgen!({
        path: "wit/v1.1",
        inline: "
            package wasmill:host;
            world reducing { export wasmill:plugin/reducer@1.1.0; }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "wasmill:plugin/types@1.1.0": crate::plugin::contract::v1::columnar::wasmill::plugin::types,
            "wasmill:plugin/columns@1.1.0": crate::plugin::contract::v1::columnar::wasmill::plugin::columns,
        },
    });
}

/// Components that export `keyer`, too.
pub(super) mod keyer {
    wasmtime::component::bindgen!({
        path: "wit/v1.1",
        inline: "
            package wasmill:host;
            world keying { export wasmill:plugin/keyer@1.1.0; }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "wasmill:plugin/types@1.1.0": crate::plugin::contract::v1::columnar::wasmill::plugin::types,
            "wasmill:plugin/columns@1.1.0": crate::plugin::contract::v1::columnar::wasmill::plugin::columns,
        },
    });
}
