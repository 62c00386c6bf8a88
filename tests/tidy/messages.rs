//! Every log message, and every message at the end of a pipeline, is in the table of docs/operations.md, and the table contains no
//! others.
//!
//! The sources are read as text: a message is the first text of a `tracing::info!`, `warn!` or `error!`, of an `End`, and each longer
//! text in `end.rs`. Arguments are replaced by `..`, here and in the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::File;
use super::rust_files;

/// Log lines about several partitions, which have no fields for them, with their files.
const ABOUT_SEVERAL: &[(&str, &str)] = &[
    ("src/worker/group.rs", "assigned .."),
    ("src/worker/group.rs", "revoked ..; finishing what is in flight"),
    (
        "src/worker/group.rs",
        "lost ..: the group received nothing from this member for .. (input.session_timeout), brokers may be unavailable; other members may have the partitions, and repeat what was not committed",
    ),
    ("src/worker/group.rs", "failed to release partitions ..: .."),
    ("src/kafka/changelog.rs", "created the changelog topic `..` with .. partitions"),
];

/// What calls of `tracing` begin with.
const LOG_CALLS: [&str; 5] =
    ["tracing::trace!(", "tracing::debug!(", "tracing::info!(", "tracing::warn!(", "tracing::error!("];

const DOCUMENT: &str = "docs/operations.md";
const HEADING: &str = "## Every line of the log";

/// Messages that consist only of other texts, with their files. Those texts are in the table, or come from another program.
const PASSED_ON: &[(&str, &str)] = &[
    // The risks of `[kafka]`: see the row of `INSECURE`.
    ("src/pipeline/mod.rs", ".."),
    // How the pipeline ended: see the ends.
    ("src/cli/exit_code.rs", "...."),
    ("src/worker/reconfigure.rs", ".."),
    // A plugin's own lines.
    ("src/plugin/host/log.rs", ".."),
    // librdkafka's own lines.
    ("src/kafka/consumer.rs", ".."),
    // Which partitions are held back: see the row of `is held back`.
    ("src/worker/positions.rs", ".."),
    // Missing topics with the commands that create them, one per line.
    ("src/worker/group.rs", "\n"),
    // A log line about a failed record: its callers provide the text.
    ("src/worker/monitor.rs", "..: .."),
    // The record that holds the pipeline: see the row of `held: ..`.
    (
        "src/worker/end.rs",
        "topic .., partition .., offset ....\nway out: fix the plugin, the file or what the record needs, and reload with `kill -HUP`: it goes on with this record; or leave it out: ..",
    ),
    // The summary of the pipeline: see the row of `starts pipeline`.
    ("src/cli/service.rs", ".."),
];

/// A message in a source file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    file: String,
    line: usize,
    text: String,
}

/// The code before a log message or an end's message.
const STARTS: [&str; 10] = [
    "tracing::info!(",
    "tracing::warn!(",
    "tracing::error!(",
    "log_failure(",
    "End::Stopped(",
    "End::StoppedAt(",
    "close_at(",
    "End::DeadlinePassed(",
    "End::Invalid(",
    "End::Bug(",
];

#[test]
fn the_operators_table_contains_every_message_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join(DOCUMENT)).expect("the document is there");
    let rows = rows(&document);
    assert!(rows.len() > 20, "{DOCUMENT} has no table under `{HEADING}`");
    let sources: Vec<String> = rust_files(&["src"]).iter().map(|file| joined(&file.text)).collect();
    let messages: Vec<Message> = rust_files(&["src"]).iter().flat_map(messages).collect();
    let mut wrong = Vec::new();
    for Message { file, line, text } in &messages {
        let passed_on = PASSED_ON.iter().any(|(of, only)| file == of && text == only);
        if !passed_on && !rows.iter().any(|row| text.contains(row.as_str())) {
            wrong.push(format!(
                "{file}:{line}: `{text}` stands in no row of {DOCUMENT}, `{HEADING}`: add `| LEVEL | `{}` | what it means, and what to do |` there",
                text.lines().next().unwrap_or_default()
            ));
        }
    }
    for row in &rows {
        let said = messages.iter().any(|message| message.text.contains(row.as_str()));
        if !said && !sources.iter().any(|source| holds(source, row)) {
            wrong.push(format!("{DOCUMENT}: nothing in src says `{row}` any more: change the row, or take it out"));
        }
        if letters(row) < 4 {
            wrong.push(format!("{DOCUMENT}: `{row}` has too few words of its own to be found"));
        }
    }
    for start in STARTS {
        if !rust_files(&["src"]).iter().any(|file| file.text.contains(start)) {
            wrong.push(format!("STARTS: `{start}` stands nowhere: what it began is not looked at any more"));
        }
    }
    for (file, text) in PASSED_ON {
        if !messages.iter().any(|message| message.file == *file && message.text == *text) {
            wrong.push(format!("PASSED_ON: nothing in {file} says `{text}`: take it out"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// A line about a partition can be found by its fields, whatever its text is. What the calls are given as a whole text is checked when the
/// integration tests run, in every line that they see.
#[test]
fn a_log_line_about_a_partition_has_it_as_fields() {
    let mut wrong = Vec::new();
    let mut exempt = BTreeSet::new();
    for file in rust_files(&["src"]) {
        for (line, text, lacking) in without_fields(&file) {
            if let Some(one) = ABOUT_SEVERAL.iter().find(|(of, only)| file.name == *of && text == *only) {
                exempt.insert(*one);
            } else {
                wrong.push(format!("{}:{line}: `{text}` has no field {}", file.name, lacking.join(", ")));
            }
        }
    }
    for one in ABOUT_SEVERAL.iter().filter(|one| !exempt.contains(*one)) {
        wrong.push(format!("ABOUT_SEVERAL: nothing in {} says `{}`: take it out", one.0, one.1));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The log calls of a file that are about a partition or an offset and lack fields: their lines, texts, and the missing fields.
fn without_fields(file: &File) -> Vec<(usize, String, Vec<&'static str>)> {
    let source = file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = Vec::new();
    for (at, start) in LOG_CALLS.iter().flat_map(|start| source.match_indices(start)) {
        let call = balanced(&source[at + start.len()..]);
        let Some((open, text)) = texts(call).into_iter().next() else { continue };
        let (fields, said) = call.split_at(open);
        let has =
            |field: &str| fields.split(',').any(|part| part.split('=').next().unwrap_or_default().trim() == field);
        let needs = [
            ("topic", said.contains("partition")),
            ("partition", said.contains("partition")),
            ("offset", ["offset {", "{offset", "below {low", "from {low"].iter().any(|part| said.contains(part))),
        ];
        let lacking: Vec<_> = needs.into_iter().filter(|(field, is_about)| *is_about && !has(field)).collect();
        if !lacking.is_empty() {
            let line = source[..at].matches('\n').count() + 1;
            found.push((line, text, lacking.into_iter().map(|(field, _)| field).collect()));
        }
    }
    found
}

#[test]
fn a_log_line_without_its_fields_is_found() {
    let text = "fn f() { tracing::warn!(\"{partition} is held\");\n tracing::info!(topic = &*a.topic, partition, \"{} offset {low}\", a.partition); \
                tracing::error!(step, topic, partition = 1, offset, \"{partition} offset {offset}\"); tracing::debug!(\"nothing\"); }";
    let found = without_fields(&File { name: "src/a.rs".into(), text: text.into() });
    let lacking: Vec<_> = found.iter().map(|(line, _, lacking)| (*line, &**lacking)).collect();
    assert_eq!(lacking, [(2, &["offset"][..]), (1, &["topic", "partition"][..])]);
}

/// A source file with each text joined into one line.
fn joined(source: &str) -> String {
    let mut parts = source.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |joined, part| joined + part.trim_start())
}

/// Whether a source contains a row's text, for texts that are a part of a longer message.
fn holds(source: &str, row: &str) -> bool {
    row.split("..").all(|part| source.contains(part))
}

fn letters(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphabetic()).count()
}

/// The second column of the table, in backticks.
fn rows(document: &str) -> BTreeSet<String> {
    let (_, table) = document.split_once(HEADING).unwrap_or_default();
    let table = table.split("\n## ").next().unwrap_or_default();
    let cell = |line: &str| {
        let (_, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
        Some(rest.split_once("` |")?.0.to_owned())
    };
    table.lines().filter_map(cell).collect()
}

/// The messages of a file.
fn messages(file: &File) -> Vec<Message> {
    let is_test = file.name.ends_with("tests.rs") || file.name.contains("/tests/") || file.name.contains("/golden");
    let source = file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    if is_test {
        return Vec::new();
    }
    for start in STARTS {
        for (at, _) in source.match_indices(start) {
            let comment = source[..at].rsplit('\n').next().unwrap_or_default().trim_start().starts_with("//");
            let call = balanced(&source[at + start.len()..]);
            if let Some((_, text)) = texts(call).first().filter(|_| !comment) {
                found.insert(message(file, source, at, text));
            }
        }
    }
    if file.name.ends_with("worker/end.rs") {
        for (at, text) in texts(source).iter().filter(|(_, text)| letters(text) >= 40) {
            found.insert(message(file, source, *at, text));
        }
    }
    found.into_iter().collect()
}

fn message(file: &File, source: &str, at: usize, text: &str) -> Message {
    Message { file: file.name.clone(), line: source[..at].matches('\n').count() + 1, text: text.to_owned() }
}

/// The text up to the parenthesis that closes the one before it.
fn balanced(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => return &text[..at],
            ')' if !quoted => depth -= 1,
            _ => {}
        }
    }
    text
}

/// The texts in some code that are not values of a field, with their positions; arguments are replaced by `..`.
fn texts(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = 0;
    while let Some(open) = code[rest..].find('"').map(|at| at + rest) {
        let mut text = String::new();
        let mut characters = code[open + 1..].char_indices().peekable();
        let mut close = code.len();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    close = open + 1 + at;
                    break;
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, '\n')) => while characters.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                    Some((_, other)) => text.push(other),
                    None => {}
                },
                c => text.push(c),
            }
        }
        let before = code[..open].trim_end();
        let comment = code[..open].rsplit('\n').next().unwrap_or_default().contains("//");
        if !comment && !before.ends_with([':', '=']) {
            found.push((open, filled(&text)));
        }
        rest = (close + 1).min(code.len());
    }
    found
}

/// The text with its arguments replaced by `..`.
fn filled(text: &str) -> String {
    let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut filled = String::new();
    let mut rest = text.as_str();
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        filled.push_str("..");
        rest = behind.split_once('}').map_or("", |(_, behind)| behind);
    }
    filled.push_str(rest);
    filled.replace('\u{1}', "{").replace('\u{2}', "}")
}

#[test]
fn a_message_is_found_complete_and_without_its_arguments() {
    let text = "fn f() { tracing::warn!(target: \"x\", topic = \"t\", \"lost {}: the \\\n   {what:?} (\\\"a\\\") {{b}}\", f(1)); }";
    let file = File { name: "src/a.rs".into(), text: text.into() };
    let found = messages(&file);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].text, "lost ..: the .. (\"a\") {b}");
    let rows = rows(
        "a\n## Every line of the log\n\n| a | b | c |\n|---|---|---|\n| warn | `lost ..: the` | x |\n\n## B\n| warn | `no` | x |\n",
    );
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), ["lost ..: the"]);
}
