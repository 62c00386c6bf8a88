//! What a component must export, and what it may import.
//!
//! Pure, over names. A component that exports something of ours that this version doesn't know is refused: to skip it
//! silently would lose what it is for. Every import that isn't granted is named, with what it could touch.

use std::fmt;

const BATCH_HANDLER: &str = "wasmill:plugin/batch-handler";
const HANDLER: &str = "wasmill:plugin/handler";
/// The track of the contract: any patch version of it fits.
const TRACK: &str = "0.1";
/// Granted to every plugin, as nothing flows back through them.
const ALWAYS_GRANTED: [&str; 2] = ["wasmill:plugin/log", "wasmill:plugin/metrics"];

/// What an import of each prefix could touch. The first that fits counts.
const TOUCHES: [(&str, &str); 21] = [
    ("wasmill:plugin/log", "lines in the log"),
    ("wasmill:plugin/metrics", "counters and histograms of its own"),
    ("wasi:filesystem/", "files"),
    ("wasi:sockets/", "the network"),
    ("wasi:http/", "HTTP to any server"),
    ("wasi:tls/", "the network"),
    ("wasi:cli/environment", "environment variables and arguments"),
    ("wasi:cli/exit", "the end of the process"),
    ("wasi:cli/std", "standard input and output"),
    ("wasi:cli/terminal", "the terminal"),
    ("wasi:cli/run", "its being a command"),
    ("wasi:clocks/", "the time"),
    ("wasi:random/", "random numbers"),
    ("wasi:io/", "streams and waiting"),
    ("wasi:config/", "the host's configuration"),
    ("wasi:keyvalue/", "a key-value store"),
    ("wasi:blobstore/", "a blob store"),
    ("wasi:messaging/", "a message broker"),
    ("wasi:logging/", "a log of the host's"),
    ("wasi:nn/", "machine learning models"),
    ("wasi", "files, environment, clocks, random numbers"),
];

/// The world that a component implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// `transform-batch`: records in columns. The one that steps run.
    TransformBatch,
    /// `transform`: typed records.
    Transform,
    /// Both at once, which is ambiguous.
    Both,
    /// Neither.
    Other,
}

impl World {
    /// The world of a component with these exports, and the version of the contract that it names.
    pub(super) fn of(exports: &[String]) -> (World, Option<String>) {
        let batch = exports.iter().find(|name| interface(name) == BATCH_HANDLER);
        let typed = exports.iter().find(|name| interface(name) == HANDLER);
        let contract = batch.or(typed).and_then(|name| version(name)).map(str::to_owned);
        let world = match (batch, typed) {
            (Some(_), Some(_)) => World::Both,
            (Some(_), None) => World::TransformBatch,
            (None, Some(_)) => World::Transform,
            (None, None) => World::Other,
        };
        (world, contract)
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            World::TransformBatch => "transform-batch",
            World::Transform => "transform",
            World::Both => "transform and transform-batch",
            World::Other => "other",
        })
    }
}

/// Something that a component wants from its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Its name, as in `wasi:filesystem/types@0.2.6`.
    pub name: String,
    /// What a plugin could touch with it, in words.
    pub touches: &'static str,
    /// Whether every plugin gets it.
    pub granted: bool,
}

impl Import {
    pub(super) fn new(name: &str, types_only: bool) -> Import {
        let named = interface(name);
        if types_only {
            return Import { name: name.to_owned(), touches: "nothing: types only", granted: true };
        }
        let touches = TOUCHES.iter().find(|(prefix, _)| named.starts_with(prefix)).map(|&(_, touches)| touches);
        Import {
            name: name.to_owned(),
            touches: touches.unwrap_or("something that this host doesn't know"),
            granted: ALWAYS_GRANTED.contains(&named) && version(name).is_some_and(is_on_track),
        }
    }

    /// A function that a core module imports without an interface of the component model.
    pub(super) fn of_function(module: &str, name: &str) -> Import {
        Import { name: format!("{module}.{name}"), ..Import::new(module, false) }
    }
}

/// Why a step can't run a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It exports the wrong things.
    #[error("its exports don't fit: found {found}, expected {expected}; {advice}")]
    World {
        /// What it exports.
        found: String,
        /// What a step runs.
        expected: String,
        /// What to do.
        advice: &'static str,
    },
    /// It imports what it wasn't granted.
    #[error(
        "it imports what it wasn't granted: {}; plugins get `wasmill:plugin/log@0.1` and `wasmill:plugin/metrics@0.1` \
         alone, so build it without WASI (Rust: target wasm32-unknown-unknown; JavaScript and Python: `--stub-wasi`)",
        .0.join(", ")
    )]
    Imports(Vec<String>),
}

impl Misfit {
    pub(super) fn refusing(imports: &[Import]) -> Misfit {
        Misfit::Imports(imports.iter().map(|import| format!("{} ({})", import.name, import.touches)).collect())
    }
}

/// Whether a step may run a component with these exports and imports.
pub(super) fn admit(exports: &[String], imports: &[Import]) -> Result<(), Misfit> {
    let (world, contract) = World::of(exports);
    let advice = match world {
        World::Transform => "the typed world isn't run yet: implement `batch-handler`, as every SDK does",
        World::Both => "export one of them: it is not clear which one should get the records",
        World::Other => "build it against `wit/plugin.wit`",
        World::TransformBatch if !contract.as_deref().is_some_and(is_on_track) => {
            "it was built against another version of the contract: build it against this version's `wit/plugin.wit`"
        }
        World::TransformBatch if exports.iter().any(|name| is_unknown(name)) => {
            "it has abilities that this version doesn't know: use a newer wasmill, or build it against this version's \
             `wit/plugin.wit`"
        }
        World::TransformBatch => {
            let refused: Vec<Import> = imports.iter().filter(|import| !import.granted).cloned().collect();
            return if refused.is_empty() { Ok(()) } else { Err(Misfit::refusing(&refused)) };
        }
    };
    Err(Misfit::World { found: listed(exports), expected: format!("`{BATCH_HANDLER}@{TRACK}`"), advice })
}

/// Exports of others are ignored: some languages add their own.
fn is_unknown(export: &str) -> bool {
    export.starts_with("wasmill:") && interface(export) != BATCH_HANDLER
}

fn listed(exports: &[String]) -> String {
    if exports.is_empty() {
        return "none".to_owned();
    }
    exports.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A name without its version.
fn interface(name: &str) -> &str {
    name.split_once('@').map_or(name, |(interface, _)| interface)
}

fn version(name: &str) -> Option<&str> {
    name.split_once('@').map(|(_, version)| version)
}

fn is_on_track(version: &str) -> bool {
    version
        .strip_prefix(TRACK)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(exports: &[&str], imports: &[&str]) -> String {
        let exports: Vec<String> = exports.iter().map(|&name| name.to_owned()).collect();
        let imports: Vec<Import> = imports.iter().map(|name| Import::new(name, false)).collect();
        admit(&exports, &imports).err().map(|misfit| misfit.to_string()).unwrap_or_default()
    }

    #[test]
    fn any_patch_of_the_track_and_exports_of_others_fit() {
        let imports = ["wasmill:plugin/log@0.1.7", "wasmill:plugin/metrics@0.1.0"];
        assert_eq!(refusal(&["wasmill:plugin/batch-handler@0.1.9", "exports", "init"], &imports), "");
    }

    #[test]
    fn another_world_is_refused_with_both_side_by_side() {
        for (exports, found, advice) in [
            (&["wasmill:plugin/handler@0.1.0"][..], "found `wasmill:plugin/handler@0.1.0`,", "typed world"),
            (
                &["wasmill:plugin/handler@0.1.0", "wasmill:plugin/batch-handler@0.1.0"],
                "found `wasmill:plugin/handler@0.1.0`, `wasmill:plugin/batch-handler@0.1.0`,",
                "one of them",
            ),
            (&["wasi:cli/run@0.2.6"], "found `wasi:cli/run@0.2.6`,", "build it against"),
            (&[], "found none,", "build it against"),
            (&["wasmill:plugin/batch-handler@0.2.0"], "found `wasmill:plugin/batch-handler@0.2.0`,", "another version"),
            (&["wasmill:plugin/batch-handler"], "found `wasmill:plugin/batch-handler`,", "another version"),
            (
                &["wasmill:plugin/batch-handler@0.1.0", "wasmill:plugin/timers@0.1.0"],
                "`wasmill:plugin/timers@0.1.0`",
                "newer wasmill",
            ),
        ] {
            let refusal = refusal(exports, &[]);
            for part in [found, "expected `wasmill:plugin/batch-handler@0.1`", advice] {
                assert!(refusal.contains(part), "{refusal} lacks {part}");
            }
        }
    }

    #[test]
    fn every_refused_import_is_named_with_what_it_touches() {
        let imports = [
            "wasi:filesystem/types@0.2.6",
            "wasmill:plugin/log@0.1.0",
            "wasi:sockets/tcp@0.2.6",
            "acme:db/sql",
            "wasmill:plugin/log@0.2.0",
        ];
        let refusal = refusal(&["wasmill:plugin/batch-handler@0.1.0"], &imports);
        for part in [
            "wasi:filesystem/types@0.2.6 (files)",
            "wasi:sockets/tcp@0.2.6 (the network)",
            "acme:db/sql (something that this host doesn't know)",
            "wasmill:plugin/log@0.2.0 (",
        ] {
            assert!(refusal.contains(part), "{refusal} lacks {part}");
        }
        assert!(!refusal.contains("wasmill:plugin/log@0.1.0"), "{refusal}");
    }
}
