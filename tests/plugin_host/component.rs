//! Plugins built from text: WAT and the project's own WIT become a core module with component metadata.
//!
//! No toolchain is needed, and fixtures follow every change of the contract except for its memory layout.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wasmill::plugin::Compiler;
use wasmill::plugin::Engine;
use wasmill::plugin::Grants;
use wasmill::plugin::LoadError;
use wasmill::plugin::Settings;
use wasmill::plugin::Step;
use wit_component::ComponentEncoder;
use wit_component::StringEncoding;
use wit_component::embed_component_metadata;
use wit_parser::Resolve;

/// The worlds that fixtures are built for.
const WIT: &str = "
    package test:fixture;
    world batch {
        import wasmill:plugin/log@1.0.0;
        import wasmill:plugin/metrics@1.0.0;
        export wasmill:plugin/batch-handler@1.0.0;
    }
    world typed { export wasmill:plugin/handler@1.0.0; }
    world both {
        export wasmill:plugin/handler@1.0.0;
        export wasmill:plugin/batch-handler@1.0.0;
    }
    world granted {
        import wasi:clocks/wall-clock@0.2.6;
        import wasi:random/random@0.2.6;
        import wasi:cli/environment@0.2.6;
        export wasmill:plugin/batch-handler@1.0.0;
    }
    world greedy {
        import wasi:filesystem/types@0.2.6;
        import wasi:sockets/tcp@0.2.6;
        export wasmill:plugin/batch-handler@1.0.0;
    }
";
/// The world of plugins that name topics, which are there since 1.2.
const NAMING: &str = "
    world naming {
        import wasmill:plugin/topics@1.0.0;
        export wasmill:plugin/batch-handler@1.0.0;
    }
";
const WASI: [(&str, &str); 2] = [
    ("filesystem.wit", "package wasi:filesystem@0.2.6; interface types { touch: func(); }"),
    ("sockets.wit", "package wasi:sockets@0.2.6; interface tcp { touch: func(); }"),
];
/// What runtimes import of WASI 0.2, as far as tests call it, and their world.
const RUNTIME_WASI: [&str; 4] = [
    "package wasi:io@0.2.6;
     interface error { resource error; }
     interface poll { resource pollable; poll: func(in: list<borrow<pollable>>) -> list<u32>; }
     interface streams {
       use error.{error};
       variant stream-error { last-operation-failed(error), closed }
       resource input-stream { blocking-read: func(len: u64) -> result<list<u8>, stream-error>; }
       resource output-stream { blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>; }
     }",
    "package wasi:clocks@0.2.6;
     interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; }
     interface monotonic-clock {
       use wasi:io/poll@0.2.6.{pollable};
       now: func() -> u64;
       subscribe-duration: func(when: u64) -> pollable;
     }",
    "package wasi:filesystem@0.2.6;
     interface types {
       use wasi:io/streams@0.2.6.{input-stream};
       enum error-code {
         access, would-block, already, bad-descriptor, busy, deadlock, quota, exist, file-too-large,
         illegal-byte-sequence, in-progress, interrupted, invalid, io, is-directory, loop, too-many-links,
         message-size, name-too-long, no-device, no-entry, no-lock, insufficient-memory, insufficient-space,
         not-directory, not-empty, not-recoverable, unsupported, no-tty, no-such-device, overflow, not-permitted,
         pipe, read-only, invalid-seek, text-file-busy, cross-device
       }
       resource descriptor { read-via-stream: func(offset: u64) -> result<input-stream, error-code>; }
     }
     interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }",
    "package wasi:cli@0.2.6;
     interface stdin { use wasi:io/streams@0.2.6.{input-stream}; get-stdin: func() -> input-stream; }
     interface stdout { use wasi:io/streams@0.2.6.{output-stream}; get-stdout: func() -> output-stream; }
     interface stderr { use wasi:io/streams@0.2.6.{output-stream}; get-stderr: func() -> output-stream; }
     interface exit { exit: func(status: result); }",
];
const RUNTIME: &str = "
    package test:runtime;
    world runtime {
      import wasi:io/poll@0.2.6;
      import wasi:io/streams@0.2.6;
      import wasi:clocks/wall-clock@0.2.6;
      import wasi:clocks/monotonic-clock@0.2.6;
      import wasi:filesystem/types@0.2.6;
      import wasi:filesystem/preopens@0.2.6;
      import wasi:cli/stdin@0.2.6;
      import wasi:cli/stdout@0.2.6;
      import wasi:cli/stderr@0.2.6;
      import wasi:cli/exit@0.2.6;
      export wasmill:plugin/batch-handler@1.0.0;
    }";
const INIT: &str =
    "(func $init (param i32 i32 i32 i32) (result i32) (i32.store8 (i32.const 0) (i32.const 0)) (i32.const 0))";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A fixture of `tests/plugins/`, for the world `batch`.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    batch(&text(name))
}

/// The text of a fixture, without the prelude.
pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(root().join("tests/plugins").join(name).with_extension("wat")).unwrap()
}

/// A core module for the world `batch` from a fixture's text.
pub(crate) fn batch(text: &str) -> Vec<u8> {
    described(&with_prelude(text), "batch")
}

/// The text of a module with the prelude, and with an `init` that succeeds if it has none.
pub(crate) fn with_prelude(text: &str) -> String {
    let prelude = std::fs::read_to_string(root().join("tests/plugins/prelude.wat")).unwrap();
    let init = if text.contains("$init") { "" } else { INIT };
    format!("(module {text}\n{init}\n{prelude})")
}

/// A core module with the metadata of a world.
pub(crate) fn described(module: &str, world: &str) -> Vec<u8> {
    of_version(module, world, "1.0.0")
}

/// Like [`described`], for another version of the contract.
pub(crate) fn of_version(module: &str, world: &str, version: &str) -> Vec<u8> {
    let core = wat::parse_str(module.replace("@1.0.0", &format!("@{version}"))).unwrap();
    of_bytes(core, world, version)
}

/// A core module with the metadata of a world of a version of the contract.
pub(crate) fn of_bytes(mut core: Vec<u8>, world: &str, version: &str) -> Vec<u8> {
    let versioned = |text: &str| text.replace("@1.0.0", &format!("@{version}"));
    let mut resolve = Resolve::default();
    let (track, written) = if version.starts_with("0.") { ("v0", "@0.1.0") } else { ("v1.2", "@1.2.0") };
    let contract = std::fs::read_to_string(root().join("wit").join(track).join("plugin.wit")).unwrap();
    resolve.push_str("plugin.wit", &contract.replace(written, &format!("@{version}"))).unwrap();
    for (path, text) in WASI {
        resolve.push_str(path, text).unwrap();
    }
    for name in ["clocks", "random", "cli"] {
        let text = std::fs::read_to_string(root().join("wit/wasi").join(name).with_extension("wit")).unwrap();
        resolve.push_str(name, &text.replace("0.2.0", "0.2.6")).unwrap();
    }
    let naming = if track == "v0" { "" } else { NAMING };
    let package = resolve.push_str("fixture.wit", &versioned(&format!("{WIT}{naming}"))).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    core
}

/// A core module with the metadata of a plugin that has the runtime of a language.
pub(crate) fn of_runtime(module: &str) -> Vec<u8> {
    let mut core = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    for text in RUNTIME_WASI {
        resolve.push_str("wasi.wit", text).unwrap();
    }
    resolve.push_str("plugin.wit", include_str!("../../wit/v1/plugin.wit")).unwrap();
    let package = resolve.push_str("world.wit", RUNTIME).unwrap();
    let world = resolve.select_world(&[package], Some("runtime")).unwrap();
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    core
}

/// `tests/plugins/odd_reducer.wat`, with these comments replaced, for the world `reduce` or `reduce-by`. It has component metadata.
pub(crate) fn reducer(world: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    let mut text = text("odd_reducer");
    if world == "reduce-by" {
        text = replaced(&text, "KEYER", KEYER);
    }
    for (place, code) in changes {
        text = replaced(&text, place, code);
    }
    let mut core = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("wit/v1.1")).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    core
}

fn replaced(text: &str, place: &str, code: &str) -> String {
    let place = format!("(;{place};)");
    assert!(text.contains(&place), "{place}");
    text.replace(&place, code)
}

const KEYER: &str = r#"(export "wasmill:plugin/keyer@1.1.0#keys" (func $keys))
    (export "cabi_post_wasmill:plugin/keyer@1.1.0#keys" (func $free))"#;

/// The component of a core module, as `wasm-tools component new` makes it.
pub(crate) fn component(core: &[u8]) -> Vec<u8> {
    ComponentEncoder::default().validate(true).module(core).unwrap().encode().unwrap()
}

/// A core module and its component, because the host runs them in different ways.
pub(crate) fn forms(core: &[u8]) -> [Vec<u8>; 2] {
    [core.to_vec(), component(core)]
}

/// Settings with limits that no well-behaved fixture reaches.
pub(crate) fn settings() -> Settings {
    Settings {
        name: "mask".into(),
        wasm: "unset".into(),
        settings: wasmill::secret::Secret("{\"fields\":[]}".into()),
        allow: Grants::default(),
        ports: vec!["main".into(), "audit".into()],
        timeout: Duration::from_secs(60).into(),
        memory_bytes: 16 << 20,
        batch_records: 128,
        outputs_per_record: 1_000_000,
        output_bytes_per_record: 64 << 20,
        demands: Vec::new(),
        hidden: wasmill::secret::Hidden::default(),
    }
}

/// Loads a file with these bytes.
pub(crate) fn load(bytes: &[u8], settings: Settings) -> Result<Step, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("plugin.wasm");
    std::fs::write(&wasm, bytes).unwrap();
    Step::load(&engine(), Settings { wasm, ..settings })
}

/// The engine of this process.
pub(crate) fn engine() -> Engine {
    static ENGINE: std::sync::LazyLock<Arc<Engine>> =
        std::sync::LazyLock::new(|| Arc::new(Engine::new(Compiler::Here).unwrap()));
    (**ENGINE).clone()
}
