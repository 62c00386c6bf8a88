//! Prints the result of `check`: for people findings go to stderr, for programs everything goes to stdout.

use std::io;
use std::io::Write as _;

use clap::ValueEnum;
use serde_json::Value as Json;
use serde_json::json;

use super::Checked;
use crate::cli::exit_code::Exit;
use crate::cli::print;
use crate::config::Finding;
use crate::config::Level;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Text with the lines in question
    Human,
    /// One JSON object: `ok`, `files`, `findings`, `notes`
    Json,
    /// `::error file=..::`, which GitHub shows at that line
    Github,
}

/// Prints all results. If the reader has closed the pipe, the exit code still reports the result.
pub(super) fn print(files: &[Checked], format: Format) -> Result<(), Exit> {
    match format {
        Format::Human => human(files),
        Format::Json => print::data(&format!("{:#}\n", json(files))).map(drop),
        Format::Github => print::data(&github(files)).map(drop),
    }
}

fn human(files: &[Checked]) -> Result<(), Exit> {
    let mut err = io::stderr();
    for file in files {
        if !file.report.is_empty() {
            let _ = writeln!(err, "{}", file.report);
        }
        for note in &file.notes {
            let _ = writeln!(err, "note: {}: {note}", file.file);
        }
        let errors = count(file, Level::Error) + count(file, Level::Unreachable);
        let warnings = count(file, Level::Warning);
        let verdict = match (errors, warnings, &file.pipeline) {
            (0, 0, Some((pipeline, _))) => format!(
                "{}: ok ({}, {})",
                file.file,
                plural(pipeline.steps.len() + usize::from(pipeline.native().is_some()), "step"),
                plural(pipeline.kafka.outputs.len(), "output")
            ),
            (0, _, _) => format!("{}: ok, with {}", file.file, plural(warnings, "warning")),
            (_, 0, _) => format!("{}: {}", file.file, plural(errors, "error")),
            (_, _, _) => format!("{}: {}, {}", file.file, plural(errors, "error"), plural(warnings, "warning")),
        };
        print::data(&format!("{verdict}\n"))?;
    }
    Ok(())
}

fn count(file: &Checked, level: Level) -> usize {
    file.report.findings().iter().filter(|finding| finding.level == level).count()
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn json(files: &[Checked]) -> Json {
    let findings: Vec<Json> = files.iter().flat_map(|file| file.report.findings()).map(finding).collect();
    let is_fine = |finding: &&Finding| finding.level != Level::Warning;
    let ok = !files.iter().flat_map(|file| file.report.findings()).any(|finding| is_fine(&finding));
    let note = |file: &Checked, note: &String| json!({"file": file.file, "text": note});
    let notes: Vec<Json> =
        files.iter().flat_map(|file| file.notes.iter().map(|text| note(file, text)).collect::<Vec<_>>()).collect();
    let files: Vec<&str> = files.iter().map(|file| file.file.as_str()).collect();
    json!({"ok": ok, "files": files, "findings": findings, "notes": notes})
}

fn finding(finding: &Finding) -> Json {
    json!({
        "level": match finding.level {
            Level::Error => "error",
            Level::Unreachable => "unreachable",
            Level::Warning => "warning",
        },
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "message": finding.message,
        "help": finding.help,
    })
}

fn github(files: &[Checked]) -> String {
    let mut text = String::new();
    for finding in files.iter().flat_map(|file| file.report.findings()) {
        let command = if finding.level == Level::Warning { "warning" } else { "error" };
        text.push_str(&format!("::{command} file={}", property(&finding.file)));
        for (name, number) in [("line", finding.line), ("col", finding.column)] {
            if let Some(number) = number {
                text.push_str(&format!(",{name}={number}"));
            }
        }
        let help = finding.help.as_ref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
        text.push_str(&format!("::{}\n", data(&format!("{}{help}", finding.message))));
    }
    for file in files {
        for note in &file.notes {
            text.push_str(&format!("::notice file={}::{}\n", property(&file.file), data(note)));
        }
    }
    text
}

/// Escapes text for a GitHub workflow command, so that it can't end the command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Report;

    #[test]
    fn nothing_in_a_message_can_end_a_workflow_command() {
        let report = Report::unreadable(std::path::Path::new("a,b:c.toml"), "50% of\r\nit", "x\n::error::y");
        let file = Checked { file: "a,b:c.toml".into(), report, pipeline: None, notes: vec!["n\n1".into()] };
        let expected = "::error file=a%2Cb%3Ac.toml::50%25 of%0D%0Ait%0Ahelp: x%0A::error::y\n\
                        ::notice file=a%2Cb%3Ac.toml::n%0A1\n";
        assert_eq!(github(&[file]), expected);
    }
}
