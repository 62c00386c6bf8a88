//! The languages' pages, typed as they are written: every command in order, in an empty folder.
//!
//! The blocks are those of `tests/it/docs.rs`: a block `sh` is run, a block whose first line names a file is written to that file, and each
//! line of a block `output` must appear in the output of the last commands. A block `sh skipped` is not run: it installs the language's
//! tools, which are there already, in the versions of the committed lock files.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use super::Wasmill;
use super::cache;
use super::create;
use super::folder;
use super::with_path;
use crate::stage;
use crate::toolchain;

/// The time limit of a block.
const LIMIT: &str = "600s";
const SKIPPED: &str = "skipped";

/// Types the commands of a page, with the tools of `paths`.
///
/// # Errors
/// The line of the block that failed, and what its commands printed.
pub(super) fn follow(wasmill: &Wasmill, page: &str, paths: &[PathBuf]) -> Result<(), String> {
    let text = super::read(&format!("docs/{page}"))?;
    let at = folder().join("pages").join(page);
    if at.exists() {
        fs::remove_dir_all(&at).map_err(|error| format!("{}: {error}", at.display()))?;
    }
    let tools = at.join(".tools");
    create(&tools)?;
    std::os::unix::fs::symlink(&wasmill.program, tools.join("wasmill"))
        .map_err(|error| format!("{}: {error}", tools.display()))?;
    let paths: Vec<PathBuf> = [tools].iter().chain(paths).cloned().collect();
    let mut typed = Typed { now: at.clone(), printed: at.join(".printed"), end: at.join(".at"), paths, count: 0 };
    let mut printed = String::new();
    for block in blocks(&text) {
        let place = format!("docs/{page}:{}", block.line);
        match (block.language, block.file) {
            ("sh", Some(SKIPPED)) => {
                stage::say(&format!("{place}: not run, as the tools are there: {}", block.body.trim()))
            }
            ("sh", _) => printed = typed.run(&block.body).map_err(|error| format!("{place}: {error}"))?,
            ("output", _) => {
                let missing = block.body.lines().find(|line| !printed.contains(line));
                missing.map_or(Ok(()), |line| Err(format!("{place}: `{line}` is not in\n{printed}")))?;
            }
            (_, Some(file)) => {
                let to = typed.now.join(file);
                fs::write(&to, &block.body).map_err(|error| format!("{}: {error}", to.display()))?;
            }
            (_, None) => {}
        }
    }
    stage::say(&format!("docs/{page}: {} blocks of commands", typed.count));
    // A page that is written in other blocks shows nothing.
    if typed.count < BLOCKS_LEAST { Err(format!("docs/{page} has too few blocks of commands")) } else { Ok(()) }
}

/// A page makes, tests and runs a plugin.
const BLOCKS_LEAST: usize = 3;

/// The state between two blocks.
struct Typed {
    /// The current folder.
    now: PathBuf,
    /// The files with the output and the folder after it.
    printed: PathBuf,
    end: PathBuf,
    paths: Vec<PathBuf>,
    count: usize,
}

impl Typed {
    fn run(&mut self, body: &str) -> Result<String, String> {
        self.count += 1;
        let out = File::create(&self.printed).map_err(|error| format!("{}: {error}", self.printed.display()))?;
        let error = out.try_clone().map_err(|error| format!("{}: {error}", self.printed.display()))?;
        let mut bash = toolchain::program("timeout", &self.now);
        bash.args([LIMIT, "bash", "-c"]).arg(format!("set -euo pipefail\n{body}\npwd > '{}'\n", self.end.display()));
        bash.env("PATH", with_path(&self.paths)?).env("WASMILL_SOURCE", stage::root()).env("WASMILL_CACHE", cache()?);
        bash.env("WASMILL_LOG_FORMAT", "human").stdin(std::process::Stdio::null()).stdout(out).stderr(error);
        let result = stage::succeed(&mut bash);
        let printed = fs::read_to_string(&self.printed).unwrap_or_default();
        result.map_err(|_| format!("the commands failed:\n{printed}"))?;
        let now = fs::read_to_string(&self.end).map_err(|error| format!("{}: {error}", self.end.display()))?;
        self.now = Path::new(now.trim_end()).into();
        Ok(printed)
    }
}

/// A fenced block that is not indented.
struct Block<'a> {
    line: usize,
    language: &'a str,
    file: Option<&'a str>,
    body: String,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(head), None) => {
                let mut words = head.split_whitespace();
                let (language, file) = (words.next().unwrap_or_default(), words.next());
                open = Some(Block { line: number + 1, language, file, body: String::new() });
            }
            (None, Some(block)) => {
                block.body.push_str(line);
                block.body.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_a_language_and_perhaps_a_file() {
        let text = "text\n```sh skipped\napt\n```\n```toml a.toml\nx = 1\n\n```\n```sh\nls\n```\n";
        let found: Vec<_> = blocks(text).into_iter().map(|b| (b.line, b.language, b.file, b.body)).collect();
        assert_eq!(
            found,
            [
                (2, "sh", Some(SKIPPED), "apt\n".to_owned()),
                (5, "toml", Some("a.toml"), "x = 1\n\n".to_owned()),
                (9, "sh", None, "ls\n".to_owned())
            ]
        );
    }
}
