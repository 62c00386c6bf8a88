//! The plugin guide and the tutorials, executed as written: every command in order, in an empty folder.
//!
//! A block `sh` is run, a block whose first line names a file is written to that file, and each line of a block `output` must appear
//! in the output of the last commands. `localhost:9092` and the metrics port are replaced by those of the test.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::kafka::BRIEF;
use crate::support::broker;
use crate::support::clock;
use crate::support::say;
use crate::support::wasmill::free_port;

/// The time limit of a block: the longest one builds a plugin and its dependencies.
const LIMIT: Duration = Duration::from_secs(600);
/// The time limit from a change of a plugin's source until it takes effect.
const REBUILT: Duration = Duration::from_secs(120);

/// Kafka's command-line tools, started as their scripts do.
const TOOLS: [(&str, &str); 4] = [
    ("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-console-producer.sh", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-console-consumer.sh", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-consumer-groups.sh", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
];

/// The folder for a page and the current folder of its commands.
struct Page {
    folder: TempDir,
    tools: TempDir,
    at: PathBuf,
    port: u16,
}

impl Page {
    fn new() -> Page {
        let folder = tempfile::tempdir().unwrap();
        let tools = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wasmill"), tools.path().join("wasmill")).unwrap();
        for (name, class) in TOOLS {
            let (jars, brokers) = (broker::jars().display(), broker::brokers());
            let script = format!(
                "#!/bin/bash\nexec java -Xmx128m -XX:+UseSerialGC {BRIEF} -cp '{jars}/*' {class} \"${{@//localhost:9092/{brokers}}}\"\n"
            );
            let path = tools.path().join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let at = folder.path().to_path_buf();
        Page { folder, tools, at, port: free_port() }
    }

    /// A command in the environment of a user who followed the page.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:{}", self.tools.path().display(), std::env::var("PATH").unwrap());
        command.current_dir(&self.at).env("PATH", path).stdin(Stdio::null());
        // The settings of this test build must not affect the plugin; compiled dependencies can be reused.
        command.env_remove("RUSTC_WORKSPACE_WRAPPER").env_remove("CLIPPY_ARGS");
        command.env("CARGO_TARGET_DIR", root().join("plugins/target"));
        command.env("WASMILL_SET", format!("kafka.brokers=[{:?}]", broker::brokers()));
        command.env("WASMILL_HTTP", format!("127.0.0.1:{}", self.port));
        command.env("WASMILL_LOG_FORMAT", "human");
        command
    }

    /// Executes a page. Returns the number of its command blocks.
    fn follow(&mut self, page: &str) -> usize {
        let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
        let mut printed = String::new();
        let mut count = 0;
        for Block { line, language, file, body } in blocks(&text) {
            match (language.as_str(), file) {
                ("sh", _) => {
                    printed = self.run(&body, &format!("{page}:{line}"));
                    count += 1;
                }
                ("output", _) => {
                    for expected in body.lines() {
                        assert!(printed.contains(expected), "{page}:{line}: `{expected}` is not in\n{printed}");
                    }
                }
                (_, Some(file)) => fs::write(self.at.join(file), body).unwrap(),
                (_, None) => {}
            }
        }
        count
    }

    /// Runs a block of commands to its end. Returns the output.
    fn run(&mut self, body: &str, place: &str) -> String {
        let (out, end) = (self.folder.path().join(".printed"), self.folder.path().join(".at"));
        let file = File::create(&out).unwrap();
        let body = body.replace("9108", &self.port.to_string());
        let script = format!("set -euo pipefail\n{body}\npwd > {}\n", end.display());
        let mut command = self.command("bash");
        command.arg("-c").arg(script).stdout(file.try_clone().unwrap()).stderr(file);
        let mut child = command.spawn().unwrap();
        let mut status = None;
        let printed = || fs::read_to_string(&out).unwrap();
        clock::wait_until(&format!("{place} to end"), LIMIT, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{place}: {}\n{}", status.unwrap(), printed());
        self.at = fs::read_to_string(end).unwrap().trim().into();
        // The same versions as the plugins here, so that nothing must be downloaded or compiled again.
        if self.at.join("Cargo.toml").exists() && !self.at.join("Cargo.lock").exists() {
            fs::copy(root().join("plugins/Cargo.lock"), self.at.join("Cargo.lock")).unwrap();
        }
        printed()
    }
}

/// Ends what a page left running.
impl Drop for Page {
    fn drop(&mut self) {
        if let Ok(id) = fs::read_to_string(self.at.join("run.pid")) {
            // If everything went well, it has ended already.
            let _ = Command::new("kill").arg("-9").arg(id.trim()).stderr(Stdio::null()).status();
        }
    }
}

struct Block {
    line: usize,
    language: String,
    file: Option<String>,
    body: String,
}

/// The fenced blocks of a page that are not indented.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(head), None) => {
                let mut words = head.split_whitespace().map(str::to_owned);
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
    assert!(open.is_none(), "a block has no end");
    blocks
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_plugin_guide_and_the_tutorial_work_as_written() {
    let mut guide = Page::new();
    let commands = guide.follow("plugins.md");
    say(&format!("plugin guide: {commands} blocks of commands"));
    a_change_of_the_source_is_seen_while_it_runs(&guide);
    let commands = Page::new().follow("tutorial.md");
    say(&format!("tutorial: {commands} blocks of commands"));
}

#[test]
fn the_tutorial_of_windows_works_as_written() {
    let commands = Page::new().follow("windows-tutorial.md");
    say(&format!("tutorial of windows: {commands} blocks of commands"));
}

/// As the guide says about `dev`: the plugin is rebuilt and reloaded, and no record is lost.
fn a_change_of_the_source_is_seen_while_it_runs(page: &Page) {
    let records: String = (0..100_000).map(|number| format!("record {number}\n")).collect();
    fs::write(page.at.join("many.ndjson"), records).unwrap();
    let out = page.at.join("dev.out");
    let log = page.at.join("dev.log");
    let mut command = page.command("wasmill");
    command.args(["dev", "pipeline.toml", "--feed", "many.ndjson", "--rate", "100/s"]);
    let child = command.stdout(File::create(&out).unwrap()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let mut dev = Killed(child);
    let printed = || fs::read_to_string(&out).unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    clock::wait_until("the first records", LIMIT, || printed().contains("RECORD 9!"));
    let source = page.at.join("src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();

    fs::write(&source, text.replace("to_uppercase()", "to_upper()")).unwrap();
    clock::wait_until("the compiler's refusal", REBUILT, || said().contains("the previous build keeps running"));
    let before = printed().lines().count();
    clock::wait_until("records to go on", LIMIT, || printed().lines().count() > before + 10);

    let watch = clock::Watch::start();
    fs::write(&source, text.replace("to_uppercase()", "replace(\"record\", \"changed\")")).unwrap();
    clock::wait_until("the change in the output", REBUILT, || printed().contains("changed "));
    let took = watch.elapsed();
    assert!(dev.0.try_wait().unwrap().is_none(), "it runs on\n{}", said());
    drop(dev);
    let numbers: Vec<u64> = (printed().lines())
        .filter_map(|line| line.split("\"value\":\"").nth(1)?.split(['!', '"']).next()?.split(' ').nth(1)?.parse().ok())
        .collect();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "no record is lost, repeated or out of order");
    say(&format!("dev: a change of the source was in the output after {took:.1?}, {} records", numbers.len()));
}

/// A process that doesn't outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
