//! What a component must export, and what it may import.
//!
//! Pure, over names. A component that exports an unknown interface of wasmill is rejected: ignoring the export silently
//! would lose its function. Every import that isn't granted is named, with what it gives access to.

use std::collections::BTreeSet;
use std::fmt;

use crate::plugin::grants::Grant;
use crate::plugin::grants::Grants;
use crate::plugin::grants::is_final;
use crate::plugin::preview1;
use crate::plugin::toolchain;
use crate::plugin::toolchain::Toolchain;

/// The columnar world's export, without its version.
pub(super) const BATCH_HANDLER: &str = "wasmill:plugin/batch-handler";
const HANDLER: &str = "wasmill:plugin/handler";
const REDUCER: &str = "wasmill:plugin/reducer";
const KEYER: &str = "wasmill:plugin/keyer";
/// Granted to every plugin, because these interfaces tell nothing; each in this track and later ones.
const ALWAYS_GRANTED: [(&str, Track); 3] =
    [("wasmill:plugin/log", Track::V0), ("wasmill:plugin/metrics", Track::V0), ("wasmill:plugin/topics", Track::V1)];

/// What an import with each prefix gives access to. The first match counts.
const TOUCHES: [(&str, &str); 22] = [
    ("wasmill:plugin/log", "lines in the log"),
    ("wasmill:plugin/metrics", "counters and histograms of its own"),
    ("wasmill:plugin/topics", "the topics that `topics_allowed` of outputs has"),
    ("wasi:filesystem/", "the folders that its step lists, to read"),
    ("wasi:sockets/", "the network"),
    ("wasi:http/", "HTTP requests to the servers that its step lists"),
    ("wasi:tls/", "the network"),
    ("wasi:cli/environment", "environment variables and arguments"),
    ("wasi:cli/exit", "the end of the process"),
    ("wasi:cli/std", "standard input and output"),
    ("wasi:cli/terminal", "the terminal"),
    ("wasi:cli/run", "the entry point of a command"),
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

/// The interfaces of WASI 0.2 that every plugin may import since there is nothing behind them, and what they come to.
const INERT: [(&str, &str); 19] = [
    ("wasi:cli/stdout", "lines in the log"),
    ("wasi:cli/stderr", "lines in the log"),
    ("wasi:cli/stdin", NO_INPUT),
    ("wasi:cli/terminal-input", NO_INPUT),
    ("wasi:cli/terminal-output", NO_INPUT),
    ("wasi:cli/terminal-stdin", NO_INPUT),
    ("wasi:cli/terminal-stdout", NO_INPUT),
    ("wasi:cli/terminal-stderr", NO_INPUT),
    ("wasi:cli/exit", "nothing: it ends the call, as a trap does"),
    ("wasi:io/error", NO_WAIT),
    ("wasi:io/poll", NO_WAIT),
    ("wasi:io/streams", NO_WAIT),
    ("wasi:sockets/network", NO_NETWORK),
    ("wasi:sockets/instance-network", NO_NETWORK),
    ("wasi:sockets/ip-name-lookup", NO_NETWORK),
    ("wasi:sockets/tcp", NO_NETWORK),
    ("wasi:sockets/tcp-create-socket", NO_NETWORK),
    ("wasi:sockets/udp", NO_NETWORK),
    ("wasi:sockets/udp-create-socket", NO_NETWORK),
];
const NO_NETWORK: &str = "nothing: there are no sockets";
const NO_INPUT: &str = "nothing: there is no input and no terminal";
const NO_WAIT: &str = "nothing: streams are empty, and nothing waits";

/// A compatible line of versions of the contract: a component needs its track, not an exact version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Track {
    /// `0.1`, from before the first release.
    V0,
    /// `1`, the current one. `reducer` and `keyer` are in it since 1.1, `topics` since 1.2.
    V1,
}

impl Track {
    /// All tracks that this host runs.
    pub(super) const ALL: [Track; 2] = [Track::V0, Track::V1];

    /// The first version, whose interfaces all later ones have, too.
    pub(super) fn version(self) -> &'static str {
        match self {
            Track::V0 => "0.1.0",
            Track::V1 => "1.0.0",
        }
    }

    /// The full name of an interface of wasmill.
    pub(super) fn interface(self, name: &str) -> String {
        format!("wasmill:plugin/{name}@{}", self.version())
    }

    /// The track of a version by semantic versioning: before 1.0 each minor version is a track, from 1.0 each major
    /// version.
    fn of(version: &str) -> Option<Track> {
        let numbers: Vec<u64> = version.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        match numbers[..] {
            [0, 1, _] => Some(Track::V0),
            [1, _, _] => Some(Track::V1),
            _ => None,
        }
    }
}

/// The world that a component implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// `transform-batch`: records in columns.
    TransformBatch,
    /// `transform`: typed records.
    Transform,
    /// `reduce`: records folded into cells by key and window.
    Reduce,
    /// `reduce-by`: the same, and the plugin finds keys and times.
    ReduceBy,
    /// More than one, which is ambiguous.
    Several,
    /// None of them.
    Other,
}

impl World {
    /// The world of a component with these exports, and the version of the contract that it names.
    pub(super) fn of(exports: &[Export]) -> (World, Option<String>) {
        let find = |name: &str| exports.iter().find(|export| interface(&export.name) == name);
        let (batch, typed, reducer) = (find(BATCH_HANDLER), find(HANDLER), find(REDUCER));
        let contract = batch.or(typed).or(reducer).and_then(|export| version(&export.name)).map(str::to_owned);
        let world = match (batch, typed, reducer) {
            (Some(_), None, None) => World::TransformBatch,
            (None, Some(_), None) => World::Transform,
            (None, None, Some(_)) if find(KEYER).is_some() => World::ReduceBy,
            (None, None, Some(_)) => World::Reduce,
            (None, None, None) => World::Other,
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => World::Several,
        };
        (world, contract)
    }

    /// Whether its plugins keep state by key and window.
    #[must_use]
    pub fn has_state(self) -> bool {
        match self {
            World::Reduce | World::ReduceBy => true,
            World::TransformBatch | World::Transform | World::Several | World::Other => false,
        }
    }

    /// The interfaces that its plugins export, without their version.
    pub(super) fn interfaces(self) -> &'static [&'static str] {
        match self {
            World::TransformBatch => &[BATCH_HANDLER],
            World::Transform => &[HANDLER],
            World::Reduce => &[REDUCER],
            World::ReduceBy => &[REDUCER, KEYER],
            World::Several | World::Other => &[],
        }
    }
}

/// Why a plugin of this world can't run in a step that has a `window`, or has none. The text says what to do after `; `.
#[must_use]
pub fn misplaced(world: World, has_window: bool) -> Option<String> {
    match (world.has_state(), has_window) {
        (true, true) | (false, false) => None,
        (true, false) => Some(format!(
            "its plugin keeps state by key and window (world `{world}`), but the step has no `window`; \
             add `window = {{ size = \"1m\" }}`, or use a plugin without state"
        )),
        (false, true) => Some(format!(
            "the step has a `window`, but its plugin keeps no state (world `{world}`); \
             remove `window`, or use a plugin that exports `reducer`"
        )),
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            World::TransformBatch => "transform-batch",
            World::Transform => "transform",
            World::Reduce => "reduce",
            World::ReduceBy => "reduce-by",
            World::Several => "several",
            World::Other => "other",
        })
    }
}

/// An import of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Its name, as in `wasi:filesystem/types@0.2.6`.
    pub name: String,
    /// What a plugin could access with it, in words.
    pub touches: &'static str,
    /// What a plugin needs to use it.
    pub needs: Needs,
}

/// What a plugin needs to use an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: every plugin gets it.
    Nothing,
    /// A grant in the step's `allow`.
    Allow(Grant),
    /// Nothing, but it only works with this grant: the time stands still without it, the random numbers are always the same, and
    /// the environment is empty. The runtimes of some languages import it whether or not the plugin asks.
    Optional(Grant),
    /// Nothing: every plugin may import it, and it does nothing, or writes to the log.
    Inert,
    /// No plugin gets it.
    Unavailable,
}

impl Needs {
    /// The grant that it works with, if any.
    #[must_use]
    pub fn grant(self) -> Option<Grant> {
        match self {
            Needs::Allow(grant) | Needs::Optional(grant) => Some(grant),
            Needs::Nothing | Needs::Inert | Needs::Unavailable => None,
        }
    }
}

impl Import {
    pub(super) fn new(name: &str, types_only: bool) -> Import {
        let named = interface(name);
        if types_only {
            return Import { name: name.to_owned(), touches: "nothing: types only", needs: Needs::Nothing };
        }
        let touches = TOUCHES.iter().find(|(prefix, _)| named.starts_with(prefix)).map(|&(_, touches)| touches);
        let version = version(name).unwrap_or_default();
        let inert = INERT.iter().find(|(known, _)| *known == named && is_final(version));
        if let Some(&(_, touches)) = inert {
            return Import { name: name.to_owned(), touches, needs: Needs::Inert };
        }
        let needs = match Grant::of(named, version) {
            _ if is_always_granted(named, version) => Needs::Nothing,
            Some(grant) => Needs::Allow(grant),
            None => Needs::Unavailable,
        };
        Import { name: name.to_owned(), touches: touches.unwrap_or("something that this host doesn't know"), needs }
    }

    /// A function that a core module imports without an interface of the component model. Those of WASI preview 1 with nothing
    /// behind them are one import.
    pub(super) fn of_function(module: &str, name: &str) -> Import {
        if module == preview1::MODULE && preview1::is_known(name) {
            let granted = |function: &str, touches, grant| Import {
                name: format!("{module}.{function}"),
                touches,
                needs: Needs::Optional(grant),
            };
            return match name {
                "clock_res_get" | "clock_time_get" => granted("clock_time_get", "the time", Grant::Clock),
                "random_get" => granted("random_get", "random numbers", Grant::Random),
                "environ_get" | "environ_sizes_get" => granted("environ_get", "environment variables", Grant::Env),
                _ => Import { name: module.to_owned(), touches: "lines in the log", needs: Needs::Inert },
            };
        }
        Import { name: format!("{module}.{name}"), ..Import::new(module, false) }
    }
}

/// Tells the imports of a language's runtime, which takes all of WASI, from those of a plugin that asks for the time on
/// purpose: beside streams, grants are optional.
pub(super) fn with_runtime(imports: &mut [Import]) {
    if !imports.iter().any(|import| import.needs == Needs::Inert && !preview1::is_import(&import.name)) {
        return;
    }
    for import in imports {
        if let Needs::Allow(grant) = import.needs {
            import.needs = Needs::Optional(grant);
        }
    }
}

/// The imports of a core module that becomes a component: through the adapter of preview 1 grants don't reach it.
pub(super) fn with_adapter(imports: &mut [Import]) {
    for import in imports.iter_mut().filter(|import| preview1::is_import(&import.name)) {
        if let Needs::Optional(grant) = import.needs {
            let touches = match grant {
                Grant::Clock => "nothing: its time stands still",
                Grant::Random => "nothing: its random numbers are always the same",
                Grant::Env => "nothing: its environment is empty",
                Grant::Http | Grant::Files => "nothing",
            };
            (import.needs, import.touches) = (Needs::Inert, touches);
        }
    }
}

/// A function or another item that a component exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name, as in `wasmill:plugin/batch-handler@1.0.0`.
    pub name: String,
    /// Its functions in WIT syntax, if known: `init: func(settings: string, ...) -> ...`.
    pub functions: Vec<String>,
}

/// Why a step can't run a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It has the wrong exports.
    #[error("its exports don't fit: {advice}\n{}", side_by_side(found))]
    World {
        /// Its exports.
        found: Vec<Export>,
        /// What to do.
        advice: &'static str,
    },
    /// It has imports that aren't granted.
    #[error("it imports interfaces that it wasn't granted: {}; {}", named(refused), way_out(refused, *made_by))]
    Imports {
        /// These imports.
        refused: Vec<Import>,
        /// The tool that made it.
        made_by: Option<Toolchain>,
    },
}

fn named(imports: &[Import]) -> String {
    let named: Vec<String> = imports.iter().map(|import| format!("{} ({})", import.name, import.touches)).collect();
    named.join(", ")
}

/// What to do about rejected imports.
fn way_out(imports: &[Import], made_by: Option<Toolchain>) -> String {
    if imports.iter().any(|import| import.needs == Needs::Unavailable) {
        return format!("no plugin gets all of these, so {}", toolchain::advice(made_by));
    }
    let lines: BTreeSet<&str> = imports.iter().filter_map(|import| import.needs.grant()).map(Grant::line).collect();
    let lines: Vec<&str> = lines.into_iter().collect();
    format!("if it should have them, add to its step's `allow`: {}", lines.join(", "))
}

/// The contract of a component with these exports and imports, if a step may run it.
pub(super) fn admit(
    exports: &[Export],
    imports: &[Import],
    allow: &Grants,
    made_by: Option<Toolchain>,
) -> Result<(Track, World), Misfit> {
    let (world, contract) = World::of(exports);
    let track = contract.as_deref().and_then(Track::of);
    let advice = match (world, track) {
        (World::Several, _) => {
            "export one of `handler`, `batch-handler` and `reducer`: it is not clear which one should get the records"
        }
        (World::Other, _) => "build it with an SDK, or against `wit/v1.2/plugin.wit`",
        (_, None) | (World::Reduce | World::ReduceBy, Some(Track::V0)) => {
            "it was built against a version of the contract that this wasmill doesn't run: build it against \
             `wit/v1.2/plugin.wit`"
        }
        (_, Some(_)) if exports.iter().any(|export| is_unknown(&export.name)) => {
            "it has abilities that this version doesn't know: use a newer wasmill, or build it against this version's \
             `wit/v1.2/plugin.wit`"
        }
        (World::TransformBatch | World::Transform, Some(_)) if exports.iter().any(is_keyer) => {
            "it exports `keyer` without `reducer`, and only a plugin with `reducer` is asked for keys: leave `keyer` out"
        }
        (_, Some(track)) => {
            let is_refused = |import: &&Import| match import.needs {
                Needs::Nothing | Needs::Optional(_) | Needs::Inert => false,
                Needs::Allow(grant) => !allow.has(grant),
                Needs::Unavailable => true,
            };
            let refused: Vec<Import> = imports.iter().filter(is_refused).cloned().collect();
            return if refused.is_empty() { Ok((track, world)) } else { Err(Misfit::Imports { refused, made_by }) };
        }
    };
    Err(Misfit::World { found: exports.to_vec(), advice })
}

/// Other packages' exports are ignored: some languages add their own.
fn is_unknown(export: &str) -> bool {
    export.starts_with("wasmill:") && ![BATCH_HANDLER, HANDLER, REDUCER, KEYER].contains(&interface(export))
}

fn is_always_granted(named: &str, version: &str) -> bool {
    let track = Track::of(version);
    ALWAYS_GRANTED.iter().any(|&(name, since)| name == named && track.is_some_and(|track| track >= since))
}

fn is_keyer(export: &Export) -> bool {
    interface(&export.name) == KEYER
}

/// The exports that a step can run, line by line.
const EXPECTED: [&str; 14] = [
    "wasmill:plugin/batch-handler@1",
    "  init: func(settings: string, ports: list<string>) -> result<_, string>",
    "  process: func(source: source, batch: batch) -> result<outcome, string>",
    "or wasmill:plugin/handler@1",
    "  init: func(settings: string, ports: list<string>) -> result<_, string>",
    "  process: func(source: source, batch: list<message>) -> result<list<verdict>, string>",
    "(or either of `@0.1`)",
    "or wasmill:plugin/reducer@1",
    "  init: func(settings: string, ports: list<string>) -> result<_, string>",
    "  add: func(source: source, batch: batch, cells: cells) -> result<folded, string>",
    "  merge: func(pairs: cells) -> result<changes, string>",
    "  emit: func(windows: windows) -> result<outcome, string>",
    "and, optional beside it, wasmill:plugin/keyer@1",
    "  keys: func(batch: batch) -> result<extracted, string>",
];

/// Two columns: the expected and the found exports.
pub(super) fn side_by_side(found: &[Export]) -> String {
    let mut right = Vec::new();
    for export in found {
        right.push(export.name.clone());
        right.extend(export.functions.iter().map(|function| format!("  {function}")));
    }
    if right.is_empty() {
        right.push("nothing".to_owned());
    }
    if right.len() > FOUND_LINES_MAX {
        let left_out = right.len() - FOUND_LINES_MAX;
        right.truncate(FOUND_LINES_MAX);
        right.push(format!("and {left_out} more lines"));
    }
    let width = EXPECTED.iter().map(|line| line.len()).max().unwrap_or(0);
    let mut text = format!("  {:width$}   found", "expected");
    for line in 0..EXPECTED.len().max(right.len()) {
        let left = EXPECTED.get(line).copied().unwrap_or_default();
        let right = right.get(line).map(String::as_str).unwrap_or_default();
        text.push('\n');
        text.push_str(format!("  {left:width$}   {right}").trim_end());
    }
    text
}

/// A component may have very many exports.
const FOUND_LINES_MAX: usize = 20;

/// A name without its version.
pub(super) fn interface(name: &str) -> &str {
    name.split_once('@').map_or(name, |(interface, _)| interface)
}

fn version(name: &str) -> Option<&str> {
    name.split_once('@').map(|(_, version)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(exports: &[&str], imports: &[&str]) -> String {
        let exports: Vec<Export> =
            exports.iter().map(|&name| Export { name: name.to_owned(), functions: Vec::new() }).collect();
        let mut imports: Vec<Import> = imports.iter().map(|name| Import::new(name, false)).collect();
        with_runtime(&mut imports);
        admit(&exports, &imports, &Grants { clock: true, ..Grants::default() }, None)
            .err()
            .map(|misfit| misfit.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn any_version_of_a_track_fits_and_other_exports_are_ignored() {
        let imports = ["wasmill:plugin/log@0.1.7", "wasmill:plugin/metrics@1.2.0", "wasmill:plugin/topics@1.2.0"];
        for handler in ["batch-handler@0.1.9", "handler@0.1.0", "batch-handler@1.0.0", "handler@1.3.2"] {
            assert_eq!(refusal(&[&format!("wasmill:plugin/{handler}"), "exports", "init"], &imports), "");
        }
    }

    #[test]
    fn a_reducer_is_told_apart_by_its_keyer_and_belongs_in_a_step_with_a_window() {
        let world = |exports: &[&str]| {
            let export = |name: &&str| Export { name: (*name).to_owned(), functions: Vec::new() };
            World::of(&exports.iter().map(export).collect::<Vec<_>>())
        };
        let both = ["wasmill:plugin/keyer@1.1.0", "wasmill:plugin/reducer@1.2.0"];
        assert_eq!(world(&both[1..]), (World::Reduce, Some("1.2.0".into())));
        assert_eq!(world(&both), (World::ReduceBy, Some("1.2.0".into())));
        assert_eq!(refusal(&both, &["wasmill:plugin/log@1.1.0"]), "");
        for (world, has_window, part) in [
            (World::Reduce, false, "(world `reduce`), but the step has no `window`; add "),
            (World::ReduceBy, false, "(world `reduce-by`), but the step has no `window`; add "),
            (World::Transform, true, "has a `window`, but its plugin keeps no state (world `transform`); remove "),
            (World::TransformBatch, true, "keeps no state (world `transform-batch`); remove "),
        ] {
            assert!(misplaced(world, has_window).unwrap().contains(part));
            assert_eq!(misplaced(world, !has_window), None);
        }
    }

    #[test]
    fn another_world_is_refused_with_expected_and_found_side_by_side() {
        for (exports, found, advice) in [
            (
                &["wasmill:plugin/handler@0.1.0", "wasmill:plugin/batch-handler@0.1.0"][..],
                "   wasmill:plugin/batch-handler@0.1.0",
                "export one of",
            ),
            (&["wasi:cli/run@0.2.6"], "   wasi:cli/run@0.2.6", "build it with"),
            (&[], "   nothing", "build it with"),
            (&["wasmill:plugin/batch-handler@0.2.0"], "   wasmill:plugin/batch-handler@0.2.0", "doesn't run"),
            (&["wasmill:plugin/batch-handler@2.0.0"], "   wasmill:plugin/batch-handler@2.0.0", "doesn't run"),
            (&["wasmill:plugin/batch-handler@1.0.0-rc.1"], "batch-handler@1.0.0-rc.1", "doesn't run"),
            (&["wasmill:plugin/batch-handler"], "   wasmill:plugin/batch-handler", "doesn't run"),
            (
                &["wasmill:plugin/batch-handler@0.1.0", "wasmill:plugin/timers@0.1.0"],
                "   wasmill:plugin/timers@0.1.0",
                "newer wasmill",
            ),
            (
                &["wasmill:plugin/reducer@1.1.0", "wasmill:plugin/batch-handler@1.0.0"],
                "   wasmill:plugin/reducer@1.1.0",
                "export one of",
            ),
            (&["wasmill:plugin/reducer@0.1.0"], "   wasmill:plugin/reducer@0.1.0", "doesn't run"),
            (&["wasmill:plugin/reducer@2.0.0", "wasmill:plugin/keyer@2.0.0"], "reducer@2.0.0", "doesn't run"),
            (&["wasmill:plugin/reducer@1.1.0", "wasmill:plugin/timers@1.1.0"], "timers@1.1.0", "newer wasmill"),
            (&["wasmill:plugin/keyer@1.1.0"], "   wasmill:plugin/keyer@1.1.0", "build it with"),
            (
                &["wasmill:plugin/handler@1.1.0", "wasmill:plugin/keyer@1.1.0"],
                "   wasmill:plugin/keyer@1.1.0",
                "`keyer` without `reducer`",
            ),
        ] {
            let refusal = refusal(exports, &[]);
            for part in [found, "expected ", "\n  wasmill:plugin/batch-handler@1 ", advice] {
                assert!(refusal.contains(part), "{refusal} lacks {part}");
            }
        }
    }

    #[test]
    fn granted_imports_are_allowed_and_a_refusal_names_the_missing_grants() {
        let handler = ["wasmill:plugin/batch-handler@1.0.0"];
        assert_eq!(refusal(&handler, &["wasi:clocks/wall-clock@0.2.0", "wasi:clocks/monotonic-clock@0.2.11"]), "");
        let refused = refusal(
            &handler,
            &["wasi:clocks/wall-clock@0.2.6", "wasi:random/random@0.2.6", "wasi:cli/environment@0.2.0"],
        );
        assert!(!refused.contains("wall-clock"), "{refused}");
        assert!(refused.ends_with("add to its step's `allow`: env = { NAME = \"value\" }, random = true"), "{refused}");
        for other in
            ["wasi:clocks/wall-clock@0.3.0", "wasi:clocks/wall-clock@0.2.0-rc-2023-11-10", "wasi:clocks/timezone@0.2.0"]
        {
            assert!(refusal(&handler, &[other]).contains("so build it without (Rust"), "{other}");
        }
    }

    #[test]
    fn what_the_runtime_of_a_language_imports_is_admitted_without_grants() {
        let handler = ["wasmill:plugin/batch-handler@1.0.0"];
        let runtime = [
            "wasi:io/poll@0.2.9",
            "wasi:io/streams@0.2.9",
            "wasi:cli/stderr@0.2.9",
            "wasi:cli/terminal-stdout@0.2.0",
            "wasi:filesystem/preopens@0.2.12",
            "wasi:cli/environment@0.2.9",
            "wasi:random/insecure-seed@0.2.9",
        ];
        assert_eq!(refusal(&handler, &runtime), "");
        // What asks for them alone asks on purpose.
        assert!(refusal(&handler, &runtime[5..]).contains("random = true"));
        for other in ["wasi:io/streams@0.3.0", "wasi:io/streams@0.2.0-rc-2023-11-10", "wasi:cli/run@0.2.0"] {
            assert!(refusal(&handler, &[other]).contains(other), "{other}");
        }
        assert_eq!(
            refusal(&handler, &["wasi:io/streams@0.2.9", "wasi:sockets/tcp@0.2.9", "wasi:http/types@0.2.9"]),
            ""
        );
        let refused = refusal(&handler, &["wasi:io/streams@0.2.9", "wasi:keyvalue/store@0.2.9"]);
        assert!(refused.contains("keyvalue") && !refused.contains("streams"), "{refused}");
    }

    #[test]
    fn every_refused_import_is_named_with_what_it_touches() {
        let imports = [
            "wasi:http/outgoing-handler@0.2.6",
            "wasmill:plugin/log@0.1.0",
            "wasi:tls/client@0.2.6",
            "acme:db/sql",
            "wasmill:plugin/log@0.2.0",
            "wasmill:plugin/topics@0.1.0",
        ];
        let refusal = refusal(&["wasmill:plugin/batch-handler@0.1.0"], &imports);
        for part in [
            "wasi:http/outgoing-handler@0.2.6 (HTTP requests to the servers that its step lists)",
            "wasi:tls/client@0.2.6 (the network)",
            "acme:db/sql (something that this host doesn't know)",
            "wasmill:plugin/log@0.2.0 (",
            "wasmill:plugin/topics@0.1.0 (",
        ] {
            assert!(refusal.contains(part), "{refusal} lacks {part}");
        }
        assert!(!refusal.contains("wasmill:plugin/log@0.1.0"), "{refusal}");
    }
}
