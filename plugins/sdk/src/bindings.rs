//! The generated bindings of the contract in `wit/v1/plugin.wit`, to which this folder's `wit` leads: the columnar world with its two optional imports.
//!
//! Only `columns`, `log`, `metrics` and the `export!` macro know them.

wit_bindgen::generate!({
    path: "wit",
    inline: "
        package wasmill:sdk;
        world plugin {
            include wasmill:plugin/transform-batch@1.0.0;
            import wasmill:plugin/log@1.0.0;
            import wasmill:plugin/metrics@1.0.0;
        }
    ",
    world: "wasmill:sdk/plugin",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "wasmill_sdk::bindings",
});
