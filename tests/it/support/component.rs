//! Plugins built from text: `tests/plugins/odd_record.wat` as a component, with a given behaviour for one record.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use wit_component::ComponentEncoder;
use wit_component::StringEncoding;

const ODD_RECORD: &str = include_str!("../../plugins/odd_record.wat");
const ODD_TYPED: &str = include_str!("../../plugins/odd_typed.wat");
const FAN: &str = include_str!("../../plugins/fan.wat");
const PRELUDE: &str = include_str!("../../plugins/prelude.wat");

/// The plugin's behaviour at its record, as WebAssembly text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behaviour {
    /// Code that runs before the outcome is built.
    pub(crate) before: &'static str,
    /// Code that changes the outcome.
    pub(crate) after: &'static str,
}

/// A component that forwards every record unchanged.
pub(crate) fn forward() -> Vec<u8> {
    forward_with("")
}

/// Like [`forward`], with additional functions as WebAssembly text, which are never called.
pub(crate) fn forward_with(functions: &str) -> Vec<u8> {
    let text = text(0, -1, Behaviour::default());
    let inside = text.trim_end().strip_suffix(')').unwrap();
    component(&format!("{inside}{functions})"))
}

/// A component that forwards every record but one.
pub(crate) fn with(partition: usize, offset: i64, behaviour: Behaviour) -> Vec<u8> {
    component(&text(partition, offset, behaviour))
}

/// Like [`with`], with a memory of this many pages from the start.
pub(crate) fn with_pages(pages: u32, partition: usize, offset: i64, behaviour: Behaviour) -> Vec<u8> {
    let text = text(partition, offset, behaviour);
    let small = "(memory (export \"memory\") 1)";
    assert!(text.contains(small));
    component(&text.replace(small, &format!("(memory (export \"memory\") {pages})")))
}

/// A component that rejects every record, in a step with `batch = 1`.
pub(crate) fn rejecting() -> Vec<u8> {
    let reject = "(call $drop_output (local.get $counts) (local.get $bad)) (call $reject (local.get $bad))";
    let text = text(0, 0, Behaviour { before: "", after: reject });
    let any = |text: String, what: &str, least: &str| {
        assert!(text.contains(what));
        text.replace(what, least)
    };
    let text = any(text, "i32.eq (local.get $partition)", "i32.ge_s (local.get $partition)");
    component(&any(text, "i64.eq (i64.load", "i64.ge_s (i64.load"))
}

/// A typed component that forwards every record except that at this offset of any partition, for which it runs `after`, WebAssembly
/// text, on the answer.
pub(crate) fn typed(offset: i64, after: &str) -> Vec<u8> {
    let text =
        ODD_TYPED.replace("AFTER))", &format!("{after}))")).replace("const OFFSET)", &format!("const {offset})"));
    of_world(&text, "transform")
}

/// A component that forwards every record with this timestamp, which identifies its version.
pub(crate) fn stamped(version: u32) -> Vec<u8> {
    component(&stamping(0, -1, Behaviour::default(), version))
}

/// A component that forwards each record, and sends a copy to its second port.
pub(crate) fn tee() -> Vec<u8> {
    fan("2", "(local.get $copy)")
}

/// A component that sends each record to the first port or to this one, depending on its key.
pub(crate) fn split(other: u32) -> Vec<u8> {
    fan("1", &format!("(i32.mul (i32.and (local.get $byte) (i32.const 1)) (i32.const {other}))"))
}

fn fan(copies: &str, port: &str) -> Vec<u8> {
    let text = FAN.replace("COPIES", copies).replace(" PORT)", &format!(" {port})"));
    component(&format!("(module {text}\n{PRELUDE})"))
}

fn text(partition: usize, offset: i64, behaviour: Behaviour) -> String {
    stamping(partition, offset, behaviour, 0)
}

fn stamping(partition: usize, offset: i64, behaviour: Behaviour, stamp: u32) -> String {
    ODD_RECORD
        .replace("BEFORE))", &format!("{}))", behaviour.before))
        .replace("AFTER))", &format!("{}))", behaviour.after))
        .replace("const PARTITION)", &format!("const {partition})"))
        .replace("const STAMP)", &format!("const {stamp})"))
        .replace("const OFFSET)", &format!("const {offset})"))
}

/// `plugins/faulty`, which fails as the value of a record says.
pub(crate) fn faulty() -> Vec<u8> {
    plugin("faulty")
}

/// A plugin of this folder in `plugins/`.
pub(crate) fn plugin(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("plugins/target/wasm/{name}.wasm"));
    assert!(path.exists(), "{} is missing: cargo xtask plugins builds it", path.display());
    std::fs::read(path).unwrap()
}

fn component(core: &str) -> Vec<u8> {
    of_world(core, "transform-batch")
}

fn of_world(core: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(core).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("wit/v1")).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}
