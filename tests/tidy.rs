//! Rules for the source tree that the compiler doesn't enforce: which module imports which, where unsafe code may be,
//! how files begin.
//!
//! The table is the architecture. A module may import the modules listed in its row, and only modules of rows above it,
//! so there are no cycles.

#[path = "tidy/messages.rs"]
mod messages;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// A module and what it may import, as prefixes of a path after `crate::`.
const LAYERS: &[(&str, &[&str])] = &[
    ("failpoint", &[]),
    ("record", &[]),
    ("secret", &[]),
    ("failure", &[]),
    ("tap", &["record", "failure"]),
    ("journal", &["record", "failure"]),
    ("batch", &["record", "failure"]),
    ("outcome", &["record", "failure", "batch"]),
    ("telemetry", &[]),
    ("trace", &["record", "failure", "telemetry"]),
    ("budget", &[]),
    ("metrics", &["record", "failure", "tap", "journal", "telemetry", "budget", "trace::span_counts"]),
    ("partition", &["record", "failure"]),
    ("state", &[]),
    ("aggregate", &["record"]),
    ("sink", &["record", "failure", "outcome", "batch"]),
    ("kafka", &["failpoint", "record", "secret", "failure", "batch", "metrics", "telemetry"]),
    ("plugin", &["record", "secret", "failure", "outcome", "batch", "budget", "metrics", "telemetry"]),
    (
        "worker",
        &[
            "failpoint",
            "record",
            "failure",
            "tap",
            "journal",
            "batch",
            "outcome",
            "trace",
            "budget",
            "metrics",
            "telemetry",
            "partition",
            "state",
            "aggregate",
            "sink",
            "kafka",
            "plugin",
        ],
    ),
    // Of the modules that act, `config` may only use the types that it fills in.
    (
        "config",
        &[
            "record",
            "secret",
            "failure",
            // The modules' names, to write `kafka::Settings`.
            "partition;",
            "sink;",
            "kafka;",
            "plugin;",
            "state::OVERLAP_MAX",
            "state::SPAN_MAX",
            "state::Window",
            "aggregate::Functions",
            "aggregate::KeySelector",
            "aggregate::TimeSelector",
            "trace::is_endpoint",
            "plugin::bundled",
            "partition::Order",
            "partition::Policy",
            "partition::Retries",
            "partition::Rule",
            "partition::OnFailure",
            "partition::BreakerTripped",
            "sink::AllowedTopics",
            "sink::Dialect",
            "sink::Routes",
            "sink::TopicChoice",
            "kafka::settings",
            "kafka::Settings",
            "plugin::CallTimeouts",
            "plugin::Demand",
            "plugin::Grants",
            "plugin::HttpGrant",
            "plugin::Network",
            "plugin::Origin",
            "plugin::Signer",
            "plugin::signature_of",
            "plugin::Settings",
        ],
    ),
    (
        "pipeline",
        &[
            "record",
            "batch",
            "failure",
            "worker",
            "config",
            "plugin",
            "metrics",
            "state",
            "aggregate",
            "sink::DeadLetters",
            "sink::Routes",
            "kafka::settings::Guarantee",
        ],
    ),
    (
        "admin",
        &["record", "secret", "failure", "tap", "journal", "telemetry", "budget", "config", "pipeline", "metrics"],
    ),
    (
        "dry_run",
        &[
            "record",
            "secret",
            "failure",
            "outcome",
            "batch",
            "metrics",
            "sink",
            "plugin",
            "worker",
            "config",
            "pipeline::windowed",
        ],
    ),
    ("dlq", &["record", "failure", "batch", "partition", "sink", "kafka", "config", "dry_run", "worker::clock"]),
    ("author", &[]),
    ("reload", &["failpoint", "journal", "dry_run", "metrics", "telemetry", "plugin", "config", "pipeline"]),
    (
        "cli",
        &[
            "record",
            "failure",
            "trace",
            "budget",
            "metrics",
            "telemetry",
            "sink::FailureHeaders",
            "kafka",
            "plugin",
            "config",
            "pipeline",
            "admin",
            "dlq",
            "dry_run",
            "reload",
            "author",
        ],
    ),
];

/// The files of the program, and the native contestant of the benchmark.
const UNSAFE_FILES: [&str; 18] = [
    "src/kafka/sys/admin.rs",
    "src/kafka/sys/assignment.rs",
    "src/kafka/sys/callbacks.rs",
    "src/kafka/sys/client.rs",
    "src/kafka/sys/codes.rs",
    "src/kafka/sys/errors.rs",
    "src/kafka/sys/events.rs",
    "src/kafka/sys/messages.rs",
    "src/kafka/sys/metadata.rs",
    "src/kafka/sys/partitions.rs",
    "src/kafka/sys/queue.rs",
    "src/kafka/sys/text.rs",
    "src/kafka/sys/tokens.rs",
    "src/kafka/sys/topics.rs",
    "src/kafka/sys/transaction.rs",
    "src/plugin/precompiled.rs",
    "benches/end_to_end/native_loop.rs",
    "tests/secrets/rust/src/lib.rs",
];
const LINES_MAX: usize = 800;
/// The limit for files of the worker, which is the most read module.
const WORKER_LINES_MAX: usize = 400;
/// The maximum number of fields of a type in the worker.
const WORKER_FIELDS_MAX: usize = 12;
/// What code of a file that begins with `PURE.` must not use; its tests may.
const IMPURE: [&str; 9] = [
    "clock::",
    "Instant::now",
    "SystemTime::now",
    "failpoint::",
    "std::thread",
    "mpsc::",
    "tracing::",
    "HashMap",
    "HashSet",
];

#[test]
fn rooms_import_only_what_their_row_names() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]) {
        let room = room_of(&file.name);
        if room == "lib" || room == "main" {
            continue;
        }
        let Some(&(_, allowed)) = LAYERS.iter().find(|&&(name, _)| name == room) else {
            wrong.push(format!("{}: the room `{room}` has no row in LAYERS", file.name));
            continue;
        };
        for (number, code) in file.code() {
            for path in code.split("crate::").skip(1) {
                let inside =
                    path == room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with([':', ';', ' ', ')']));
                let named = |prefix: &&str| {
                    path.strip_prefix(*prefix)
                        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
                };
                if !inside && !allowed.iter().any(named) {
                    let path =
                        path.split(|c: char| !c.is_alphanumeric() && c != ':' && c != '_').next().unwrap_or(path);
                    wrong.push(format!("{}:{number}: `{room}` may not import crate::{path}", file.name));
                }
            }
            if code.contains("use crate::") && code.contains('{') {
                wrong.push(format!("{}:{number}: one path for each use of crate::", file.name));
            }
            if code.contains("super::super") || (file.is_top_level() && code.starts_with("use super::")) {
                wrong.push(format!("{}:{number}: write crate::, not super::, to leave a room", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn rows_import_only_rows_above_them() {
    for (index, (room, allowed)) in LAYERS.iter().enumerate() {
        for path in *allowed {
            let target = path.split(&[':', ';']).next().unwrap_or(path);
            let above = LAYERS[..index].iter().any(|&(name, _)| name == target);
            assert!(above, "`{room}` names `{target}`, which isn't above it");
        }
    }
}

#[test]
fn files_begin_with_a_comment_and_stay_small() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src", "benches", "tests", "xtask"]) {
        if !file.text.starts_with("//! ") {
            wrong.push(format!("{}: the first line is no `//!` comment", file.name));
        }
        if file.text.lines().count() > LINES_MAX && !file.text.contains("//! Long because ") {
            wrong.push(format!("{}: over {LINES_MAX} lines without `//! Long because ...` in its head", file.name));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_worker_has_small_files_and_types_and_pure_files_are_pure() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]) {
        if file.text.starts_with("//! PURE.") {
            let end = file.text.find("#[cfg(test)]\nmod tests {").unwrap_or(file.text.len());
            let lines = file.text[..end].lines().count();
            for (number, line) in file.code().take_while(|(number, _)| *number <= lines) {
                wrong.extend(
                    IMPURE
                        .iter()
                        .filter(|word| line.contains(*word))
                        .map(|word| format!("{}:{number}: `{word}` in a file that is PURE", file.name)),
                );
            }
        }
        if !file.name.starts_with("src/worker/") {
            continue;
        }
        if file.text.lines().count() > WORKER_LINES_MAX {
            wrong.push(format!("{}: over {WORKER_LINES_MAX} lines", file.name));
        }
        let mut fields = None;
        for (number, line) in file.code() {
            if line.contains("struct ") && line.ends_with('{') {
                fields = Some(0);
            } else if line.trim() == "}" {
                fields = None;
            } else if let Some(fields) = &mut fields {
                *fields += usize::from(line.trim_end().ends_with(','));
                if *fields == WORKER_FIELDS_MAX + 1 {
                    wrong.push(format!("{}:{number}: a type with more than {WORKER_FIELDS_MAX} fields", file.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Public types that share a name, and why each use is unambiguous.
const HOMONYMS: [(&str, &str); 1] = [("Settings", "each room's own, written with its room: `kafka::Settings`")];

#[test]
fn a_public_types_name_has_one_meaning() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in rust_files(&["src"]) {
        for (_, line) in file.code() {
            let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
            let Some(rest) = kinds.iter().find_map(|kind| line.trim_start().strip_prefix(kind)) else { continue };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            homes.entry(name).or_default().push(file.name.clone());
        }
    }
    let mut wrong = Vec::new();
    for (name, files) in &homes {
        let is_allowed = HOMONYMS.iter().any(|(allowed, _)| allowed == name);
        if files.len() > 1 && !is_allowed {
            wrong.push(format!("`{name}` is a type in {}: give each its own name", files.join(", ")));
        }
    }
    for (name, _) in HOMONYMS {
        if homes.get(name).is_none_or(|files| files.len() < 2) {
            wrong.push(format!("HOMONYMS: `{name}` has one meaning: take it out"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn named_files_and_no_others_hold_unsafe_code() {
    let word = concat!("un", "safe");
    let mut wrong = Vec::new();
    let mut unseen = Vec::from(UNSAFE_FILES);
    for file in rust_files(&["src", "benches", "tests", "xtask"]) {
        let holds = |code: &str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word);
        let mut found = file.code().filter(|(_, code)| holds(code)).map(|(number, _)| number);
        let Some(index) = unseen.iter().position(|&name| name == file.name) else {
            wrong.extend(found.map(|number| format!("{}:{number}: {word} code", file.name)));
            continue;
        };
        unseen.swap_remove(index);
        if found.next().is_none() {
            wrong.push(format!("{}: no {word} code: take it off UNSAFE_FILES", file.name));
        }
        if !file.text.contains("JUSTIFICATION:") {
            wrong.push(format!("{}: no JUSTIFICATION: in its head", file.name));
        }
    }
    wrong.extend(unseen.iter().map(|name| format!("{name}: named in UNSAFE_FILES, and there is no such file")));
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn sources_are_ascii() {
    let mut wrong = Vec::new();
    for extension in ["rs", "toml", "wit", "wat", "md"] {
        for file in files(&[""], extension) {
            let lines = file.text.lines().enumerate().filter(|(_, line)| !line.is_ascii());
            wrong.extend(lines.map(|(index, _)| format!("{}:{}", file.name, index + 1)));
        }
    }
    assert!(wrong.is_empty(), "not ASCII: {wrong:?}");
}

struct File {
    /// Relative to the root.
    name: String,
    text: String,
}

impl File {
    /// The lines that aren't comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn is_top_level(&self) -> bool {
        Path::new(&self.name).components().count() == 2
    }
}

/// `src/kafka/consumer.rs` and `src/kafka.rs` belong to the module `kafka`.
fn room_of(name: &str) -> &str {
    name.trim_start_matches("src/").split(['/', '.']).next().unwrap_or(name)
}

fn rust_files(folders: &[&str]) -> Vec<File> {
    files(folders, "rs")
}

fn files(folders: &[&str], extension: &str) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut left: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).filter(|path| path.exists()).collect();
    let mut found = Vec::new();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be listed") {
            let path = entry.expect("the folder can be listed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                if name != "target" && !name.starts_with('.') {
                    left.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path).expect("the file is text");
                let name = path.strip_prefix(root).expect("it lies below the root").display().to_string();
                found.push(File { name, text });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}
