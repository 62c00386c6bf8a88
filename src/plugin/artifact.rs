//! The bytes of a plugin's file: what kind of file it is, and the program to compile.
//!
//! Nothing is compiled or run here. A core module is made into a component, and the component is checked. Precompiled
//! code is rejected unread, since native code can't be checked. Invariant: a program that this file returns is valid
//! WebAssembly and fits a step.

use std::borrow::Cow;
use std::fmt;

use sha2::Digest;
use sha2::Sha256;
use wasmparser::BinaryReaderError;
use wasmparser::KnownCustom;
use wasmparser::Parser;
use wasmparser::Payload;
use wasmparser::component_types::ComponentAnyTypeId;
use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::TypesRef;

use crate::plugin::componentize;
use crate::plugin::contract;
use crate::plugin::features;
use crate::plugin::features::Unfit;
use crate::plugin::grants::Grants;
use crate::plugin::manifest::Manifest;
use crate::plugin::manifest::Unread;
use crate::plugin::manifest::shown;
use crate::plugin::preview1;
use crate::plugin::program::Program;
use crate::plugin::signature::Signatures;
use crate::plugin::toolchain;
use crate::plugin::toolchain::Toolchain;
use crate::plugin::world;
use crate::plugin::world::Export;
use crate::plugin::world::Import;
use crate::plugin::world::Misfit;
use crate::plugin::world::Needs;
use crate::plugin::world::Track;
use crate::plugin::world::World;

/// The contents of a plugin's file.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Whether it is a component or a core module.
    pub form: Form,
    /// The SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The size of the file.
    pub bytes: u64,
    /// The world that it implements.
    pub world: World,
    /// The version of the contract that it was built against, as in `0.1.0`.
    pub contract: Option<String>,
    /// All of its exports.
    pub exports: Vec<Export>,
    /// All of its imports.
    pub imports: Vec<Import>,
    /// The tools that produced it, as the file names them: name and version.
    pub producers: Vec<(String, String)>,
    /// Its manifest, if it has one.
    pub manifest: Option<Manifest>,
    /// Why no step can run it, whatever it grants.
    pub refusal: Option<String>,
    /// The version of the plugin: from its manifest, or from the custom section `version`. Empty if neither has one.
    pub version: String,
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A component.
    Component,
    /// A core module with the component model's names.
    CoreModule,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Component => "component",
            Form::CoreModule => "core module with the component model's names",
        })
    }
}

/// Why a file isn't a plugin.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Native code.
    #[error(
        "it is compiled for one kind of machine already (`.cwasm`), which is never loaded as it can't be checked; \
         name the `.wasm` that it was made from"
    )]
    Precompiled,
    /// Neither a component nor a core module.
    #[error("it is neither a WebAssembly component nor a core module, as it begins with {0}; name a `.wasm` file")]
    NotWasm(String),
    /// A core module without an exported interface of the component model.
    #[error("it is a core module that exports no interface; build it with an SDK, or make a component of it")]
    NoInterface,
    /// Invalid WebAssembly.
    #[error("it is not valid WebAssembly: {0}; build it again")]
    Malformed(String),
    /// Valid WebAssembly with features that plugins may not use: which ones, and how to build without them.
    #[error("it uses {0}, which wasmill doesn't run; {1}")]
    Features(String, String),
    /// A core module whose functions don't have the types that their names require.
    #[error("it can't be made into a component: {0}; build it again")]
    Componentize(String),
    /// A manifest that can't be read.
    #[error("its manifest, the section `wasmill:manifest`, is not valid: {0}; build it again")]
    Manifest(String),
    /// A component that a step can't run.
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

/// A file that holds valid WebAssembly.
#[derive(Debug)]
pub(super) struct Artifact<'a> {
    bytes: &'a [u8],
    pub(super) inspection: Inspection,
}

impl<'a> Artifact<'a> {
    /// The program to compile and its contract, if a step may run it: it has a world of wasmill and imports only what
    /// is granted.
    pub(super) fn program(&self, allow: &Grants) -> Result<(Program<'a>, Track, World), ArtifactError> {
        let Inspection { exports, imports, contract, .. } = &self.inspection;
        let is_refused = || imports.iter().any(|import| import.needs == Needs::Unavailable);
        let made_by = if is_refused() { Toolchain::of(self.bytes, &self.inspection.producers) } else { None };
        let (track, world) = world::admit(exports, imports, allow, made_by)?;
        if self.inspection.form == Form::Component {
            return Ok((Program::Component(Cow::Borrowed(self.bytes)), track, world));
        }
        let version = contract.as_deref().unwrap_or_default();
        // This also checks that all functions have the types that their names require.
        let component = componentize::componentize(self.bytes, track, world, version, imports)
            .map_err(ArtifactError::Componentize)?;
        let program = match is_direct(self.bytes, world, imports).map_err(malformed)? {
            true => Program::Module(self.bytes),
            false => Program::Component(Cow::Owned(component)),
        };
        Ok((program, track, world))
    }
}

/// Whether a core module runs as it is, without a component around it.
fn is_direct(module: &[u8], world: World, imports: &[Import]) -> Result<bool, BinaryReaderError> {
    let is_plain = |import: &Import| import.needs == Needs::Nothing || preview1::is_import(&import.name);
    Ok(world == World::TransformBatch && imports.iter().all(is_plain) && contract::fits(module)?)
}

/// Describes the contents of a file, whether or not a step could run it.
///
/// # Errors
/// If the file is not a component or core module that can be described.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, ArtifactError> {
    let artifact = open(bytes)?;
    let refusal = artifact.program(&Grants::all()).err().map(|error| error.to_string());
    Ok(Inspection { refusal, ..artifact.inspection })
}

/// Like [`inspect`], but the file must be a plugin that a step can run, with all grants.
///
/// # Errors
/// If it is not a plugin, has other exports, or has imports that no plugin gets.
pub fn admit(bytes: &[u8]) -> Result<Inspection, ArtifactError> {
    let artifact = open(bytes)?;
    artifact.program(&Grants::all())?;
    Ok(artifact.inspection)
}

/// The SHA-256 of a file's bytes in hexadecimal, which identifies a version of a plugin.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

pub(super) fn open(bytes: &[u8]) -> Result<Artifact<'_>, ArtifactError> {
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err(ArtifactError::Precompiled);
    }
    let form = if Parser::is_component(bytes) {
        Form::Component
    } else if Parser::is_core_wasm(bytes) {
        Form::CoreModule
    } else {
        return Err(ArtifactError::NotWasm(beginning(bytes)));
    };
    let types = features::validate(bytes).map_err(|unfit| match unfit {
        Unfit::Invalid(error) => malformed(error),
        Unfit::Uses(names, without) => {
            let producers = producers(bytes).unwrap_or_default();
            let advice = match Toolchain::of(bytes, &producers) {
                None => format!("build it without: {without}"),
                toolchain => toolchain::advice(toolchain),
            };
            ArtifactError::Features(names, advice)
        }
    })?;
    let (exports, mut imports) = match form {
        Form::Component => names(bytes, types.as_ref()).map_err(malformed)?,
        Form::CoreModule => {
            let names = componentize::Names::read(bytes).map_err(malformed)?;
            if names.exports.is_empty() {
                return Err(ArtifactError::NoInterface);
            }
            let exports = names.exports.into_iter().map(|name| Export { name, functions: Vec::new() }).collect();
            (exports, names.imports)
        }
    };
    let (world, contract) = World::of(&exports);
    match form {
        Form::Component => world::with_runtime(&mut imports),
        Form::CoreModule if is_direct(bytes, world, &imports).map_err(malformed)? => {}
        Form::CoreModule => world::with_adapter(&mut imports),
    }
    let manifest = Manifest::read(bytes).map_err(|unread| match unread {
        Unread::File(error) => malformed(error),
        Unread::Manifest(problem) => ArtifactError::Manifest(problem),
    })?;
    let version = match &manifest {
        Some(manifest) if !manifest.version.is_empty() => manifest.version.clone(),
        Some(_) | None => version(bytes).map_err(malformed)?,
    };
    let inspection = Inspection {
        form,
        digest: digest(bytes),
        bytes: bytes.len() as u64,
        world,
        contract,
        exports,
        imports,
        producers: producers(bytes).map_err(malformed)?,
        manifest,
        refusal: None,
        version,
    };
    Ok(Artifact { bytes, inspection })
}

fn malformed(error: BinaryReaderError) -> ArtifactError {
    ArtifactError::Malformed(error.to_string())
}

/// The exports and imports of a valid component.
#[expect(clippy::wildcard_enum_match_arm, reason = "sections of the binary format, most of which are inside")]
fn names(component: &[u8], types: TypesRef<'_>) -> Result<(Vec<Export>, Vec<Import>), BinaryReaderError> {
    let (mut outer_exports, mut outer_imports) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    outer_imports.push(import?.name.name);
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    outer_exports.push(export?.name.name);
                }
            }
            _ => {}
        }
    }
    let imported = outer_imports.iter().filter_map(|name| types.component_item_for_import(name));
    let exported = outer_exports.iter().filter_map(|name| types.component_item_for_export(name));
    let signatures = Signatures::new(&types, imported.chain(exported));
    let export = |name: &&str| signatures.export(name, types.component_item_for_export(name));
    let import = |name: &&str| Import::new(name, is_types_only(name, types));
    Ok((outer_exports.iter().map(export).collect(), outer_imports.iter().map(import).collect()))
}

/// The tools that produced a file and its parts, in the order in which the file names them.
fn producers(bytes: &[u8]) -> Result<Vec<(String, String)>, BinaryReaderError> {
    let mut producers = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let Payload::CustomSection(section) = payload? else { continue };
        let KnownCustom::Producers(fields) = section.as_known() else { continue };
        for field in fields {
            for value in field?.values {
                let value = value?;
                let producer = (value.name.to_owned(), value.version.to_owned());
                if !producers.contains(&producer) {
                    producers.push(producer);
                }
            }
        }
    }
    Ok(producers)
}

/// The text of the outermost custom section `version`, truncated. Metadata tools write this section.
fn version(bytes: &[u8]) -> Result<String, BinaryReaderError> {
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let Payload::CustomSection(section) = &payload
            && section.name() == "version"
        {
            return Ok(shown(&String::from_utf8_lossy(section.data()), VERSION_CHARS_MAX));
        }
    }
    Ok(String::new())
}

/// The limit is for metrics, where a version is a label.
const VERSION_CHARS_MAX: usize = 64;

/// Whether an import is an interface with types only, which needs nothing from the host and can access nothing.
fn is_types_only(name: &str, types: TypesRef<'_>) -> bool {
    let Some(item) = types.component_item_for_import(name) else { return false };
    match item.ty {
        ComponentEntityType::Instance(id) => types[id].exports.values().all(|export| match export.ty {
            ComponentEntityType::Type { referenced, .. } => !matches!(referenced, ComponentAnyTypeId::Resource(_)),
            ComponentEntityType::Module(_)
            | ComponentEntityType::Func(_)
            | ComponentEntityType::Value(_)
            | ComponentEntityType::Instance(_)
            | ComponentEntityType::Component(_) => false,
        }),
        ComponentEntityType::Module(_)
        | ComponentEntityType::Func(_)
        | ComponentEntityType::Value(_)
        | ComponentEntityType::Type { .. }
        | ComponentEntityType::Component(_) => false,
    }
}

/// The first bytes of a file, for a message.
fn beginning(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing: it is empty".to_owned();
    }
    format!("`{}`", bytes[..bytes.len().min(12)].escape_ascii())
}
