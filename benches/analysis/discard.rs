//! A plugin that drops every record: the pipeline without state.

use std::path::Path;

use wit_component::StringEncoding;

const PLUGIN: &str = include_str!("../../tests/plugins/drop.wat");
const INIT: &str =
    "(func $init (param i32 i32 i32 i32) (result i32) (i32.store8 (i32.const 0) (i32.const 0)) (i32.const 0))";
const PRELUDE: &str = include_str!("../../tests/plugins/prelude.wat");

/// A core module with the world's type inside, as compilers make them.
pub(crate) fn module() -> Vec<u8> {
    let mut module = wat::parse_str(format!("(module {PLUGIN}\n{INIT}\n{PRELUDE})")).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("wit/v1")).unwrap();
    let world = resolve.select_world(&[package], Some("transform-batch")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}
