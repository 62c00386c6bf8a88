//! Core modules: the interfaces that their names export and import, and the component made from a module.
//!
//! A module's own component metadata is not read. It repeats what the names of its imports and exports say, and its
//! parsers were written for tools that trust their input: damaged metadata can overflow the stack, which ends the
//! process. The component is made for the host's own contract instead, and a function that doesn't fit it is rejected.
//! Strings are UTF-8.

use wasmparser::BinaryReaderError;
use wasmparser::Parser;
use wasmparser::Payload;
use wit_component::ComponentEncoder;
use wit_component::StringEncoding;
use wit_component::embed_component_metadata;
use wit_parser::Resolve;

use crate::plugin::preview1;
use crate::plugin::world::Import;
use crate::plugin::world::Needs;
use crate::plugin::world::Track;
use crate::plugin::world::World;

/// The WIT text of the contract, and the version in it. The latest text of a track has all interfaces of the earlier ones.
fn contract(track: Track) -> (&'static str, &'static str) {
    match track {
        Track::V0 => (include_str!("../../wit/v0/plugin.wit"), "@0.1.0"),
        Track::V1 => (include_str!("../../wit/v1.2/plugin.wit"), "@1.2.0"),
    }
}

/// The WASI packages that can be granted. Their version `0.2.0` is replaced by the one that the module imports.
const GRANTED: [(&str, &str); 6] = [
    ("wasi:io", include_str!("../../wit/wasi/io.wit")),
    ("wasi:clocks", include_str!("../../wit/wasi/clocks.wit")),
    ("wasi:random", include_str!("../../wit/wasi/random.wit")),
    ("wasi:cli", include_str!("../../wit/wasi/cli.wit")),
    ("wasi:filesystem", include_str!("../../wit/wasi/filesystem.wit")),
    ("wasi:http", include_str!("../../wit/wasi/http.wit")),
];
/// The world of a module, which may import everything that is always granted. `VERSION` is filled in, `EXPORTS` is
/// replaced by the exports of its world, and `GRANTED` by its other imports.
const WORLD: &str = "
    package wasmill:host;
    world module {
        import wasmill:plugin/log@VERSION;
        import wasmill:plugin/metrics@VERSION;
        GRANTED
        EXPORTS
    }
";
/// What a module may import besides since track 1. The encoder drops what the module doesn't import.
const TOPICS: &str = "import wasmill:plugin/topics@VERSION;\n";
/// Component metadata is in custom sections with this prefix.
const METADATA: &str = "component-type";

/// The interfaces in the names of a valid module.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Interfaces of exported functions.
    pub(super) exports: Vec<String>,
    /// Interfaces of imported functions, and functions without an interface.
    pub(super) imports: Vec<Import>,
}

impl Names {
    #[expect(clippy::wildcard_enum_match_arm, reason = "sections of the binary format, most of which have no names")]
    pub(super) fn read(module: &[u8]) -> Result<Names, BinaryReaderError> {
        let mut names = Names::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        // An interface has a namespace; `env`, `$root` and WASI preview 1 have none.
                        let import = match import.module.contains(':') {
                            true => of_interface(import.module),
                            false => Import::of_function(import.module, import.name),
                        };
                        if !names.imports.contains(&import) {
                            names.imports.push(import);
                        }
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let Some((interface, _)) = export?.name.split_once('#') else { continue };
                        let interface = interface.strip_prefix("cabi_post_").unwrap_or(interface);
                        if !names.exports.iter().any(|known| known == interface) {
                            names.exports.push(interface.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

/// An interface that a core module imports by its name. WASI's output is there for components only.
fn of_interface(name: &str) -> Import {
    let import = Import::new(name, false);
    match import.needs {
        Needs::Inert if is_io(name) => import,
        Needs::Inert => Import { touches: "WASI 0.2, which only components get", needs: Needs::Unavailable, ..import },
        Needs::Nothing | Needs::Allow(_) | Needs::Optional(_) | Needs::Unavailable => import,
    }
}

/// The text with this version of a package, wherever it names it.
fn versioned(text: &str, package: &str, version: &str) -> String {
    let is_named = |line: &str| ["@", "/"].iter().any(|after| line.contains(&format!("{package}{after}")));
    let line =
        |line: &str| if is_named(line) { line.replace("@0.2.0", &format!("@{version}")) } else { line.to_owned() };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// What the interfaces of requests and files are made of.
fn is_io(name: &str) -> bool {
    name.starts_with("wasi:io/")
}

/// Makes the component of a valid module that implements a world of this version of the contract and imports only what
/// is granted.
///
/// # Errors
/// The encoder's error message.
pub(super) fn componentize(
    module: &[u8],
    track: Track,
    world: World,
    version: &str,
    imports: &[Import],
) -> Result<Vec<u8>, String> {
    let (contract, written) = contract(track);
    let contract = contract.replace(written, &format!("@{version}"));
    let exports: String = world.interfaces().iter().map(|name| format!("export {name}@VERSION;\n")).collect();
    let is_granted = |import: &&Import| matches!(import.needs, Needs::Allow(_)) || is_io(&import.name);
    let granted = || imports.iter().filter(is_granted).map(|import| import.name.as_str());
    let topics = (track >= Track::V1).then_some(TOPICS).into_iter().map(str::to_owned);
    let lines: String = topics.chain(granted().map(|name| format!("import {name};\n"))).collect();
    let module_world = WORLD.replace("EXPORTS", &exports).replace("GRANTED", &lines).replace("VERSION", version);
    let mut bare = without_metadata(module).map_err(|error| error.to_string())?;
    let mut resolve = Resolve::default();
    // If a module imports two versions of one package, the encoder rejects the second.
    let wanted = |package: &str| {
        let found = granted().find_map(|name| name.strip_prefix(package)?.strip_prefix('/')?.split_once('@'));
        found.map(|(_, version)| version)
    };
    for (_, mut text) in GRANTED.map(|(package, text)| (package, text.to_owned())) {
        for (package, _) in GRANTED {
            // What it takes from a package that isn't imported has its own version.
            let version = wanted(package).or_else(|| wanted("wasi:http")).unwrap_or("0.2.0");
            text = versioned(&text, package, version);
        }
        resolve.push_str("granted.wit", &text).map_err(|error| format!("{error:#}"))?;
    }
    let has_preview1 = imports.iter().any(|import| preview1::is_import(&import.name));
    let adapter = if has_preview1 { Some(adapter()?) } else { None };
    let encoded = resolve
        .push_str("plugin.wit", &contract)
        .and_then(|_| resolve.push_str("module.wit", &module_world))
        .and_then(|package| resolve.select_world(&[package], Some("module")))
        .and_then(|world| embed_component_metadata(&mut bare, &resolve, world, StringEncoding::UTF8))
        .and_then(|()| {
            let mut encoder = ComponentEncoder::default().validate(true).module(&bare)?;
            if let Some(adapter) = &adapter {
                encoder = encoder.adapter(preview1::MODULE, adapter)?;
            }
            encoder.encode()
        });
    encoded.map_err(|error| format!("{error:#}"))
}

/// The adapter of WASI preview 1, with the description of its imports that the encoder wants.
fn adapter() -> Result<Vec<u8>, String> {
    let mut adapter = preview1::adapter();
    let mut resolve = Resolve::default();
    let embedded = resolve
        .push_str("preview1.wit", preview1::WIT)
        .and_then(|package| resolve.select_world(&[package], Some("adapter")))
        .and_then(|world| embed_component_metadata(&mut adapter, &resolve, world, StringEncoding::UTF8));
    embedded.map_err(|error| format!("{error:#}"))?;
    Ok(adapter)
}

/// The module without its own metadata.
fn without_metadata(module: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut bare = Vec::with_capacity(module.len());
    let mut end = 0;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let Payload::Version { range, .. } = &payload {
            bare.extend_from_slice(&module[..range.end]);
            end = range.end;
        }
        let Some((_, range)) = payload.as_section() else { continue };
        let is_metadata = matches!(&payload, Payload::CustomSection(section) if section.name().starts_with(METADATA));
        if !is_metadata {
            // A section's range excludes its header, which starts at the end of the previous section.
            bare.extend_from_slice(&module[end..range.end]);
        }
        end = range.end;
    }
    Ok(bare)
}
