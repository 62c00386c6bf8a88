//! TERM and INT in every phase of every command, sent to the first process of a container: without a handler the kernel ignores them
//! there.

use std::io::BufRead as _;
use std::io::BufReader;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::*;

/// Enough for a loaded machine; an idle one needs a fraction of a second.
const ENDS: Duration = Duration::from_secs(20);
const STARTS: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "the clock of a test")]
fn now() -> Instant {
    Instant::now()
}

/// Polls until there is a result.
pub(crate) fn wait<T>(what: &str, longest: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let until = now() + longest;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() < until, "waited {longest:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().filter_map(Result::ok);
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Whether a process has a handler for TERM: the 15th bit of the mask of caught signals.
fn heeds_term(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & (1 << 14) != 0)
}

/// A command as the first process of a PID namespace, which is killed with the test.
pub(crate) struct First {
    outer: Child,
    inner: u32,
}

impl First {
    pub(crate) fn start(arguments: &[&str]) -> First {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_wasmill")]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let outer = command.spawn().unwrap();
        let is_it = |id: &u32| {
            let program = fs::read_link(format!("/proc/{id}/exe")).ok();
            program.is_some_and(|program| program == *env!("CARGO_BIN_EXE_wasmill"))
        };
        let inner = wait("the process", STARTS, || children(outer.id()).into_iter().find(is_it));
        // A signal before this moment can't be handled by any program.
        wait("its handler", STARTS, || heeds_term(inner).then_some(()));
        First { outer, inner }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.inner.to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn ended(&mut self) -> Option<i32> {
        let outer = &mut self.outer;
        let status = wait("the end", ENDS, || outer.try_wait().unwrap());
        status.code().or_else(|| status.signal().map(|signal| 128 + signal))
    }
}

/// The lines that it writes to stderr from now on.
pub(crate) fn lines_of(first: &mut First) -> impl Iterator<Item = String> + use<> {
    BufReader::new(first.outer.stderr.take().unwrap()).lines().map_while(Result::ok)
}

impl Drop for First {
    fn drop(&mut self) {
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

/// A plugin that takes long to compile: more than a thousand functions of hundreds of multiplications, which are never called.
pub(crate) fn large() -> Vec<u8> {
    let mut functions = String::new();
    for number in 0..1_500 {
        functions.push_str("(func (param i32) (result i32) local.get 0");
        for step in 0..300 {
            functions.push_str(&format!(" local.get 0 i32.const {} i32.mul i32.add", number * 7 + step));
        }
        functions.push_str(")\n");
    }
    plugin(&functions)
}

#[test]
fn every_command_ends_in_every_phase_as_the_first_process_of_a_container() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "[[case]]\nname = \"a\"\ninput = []\nexpect = []\n");
    let sound = folder.path().join("sound.toml");
    let ready = fs::read_to_string(&file).unwrap();
    fs::write(&sound, &ready).unwrap();
    fs::write(folder.path().join("large.wasm"), large()).unwrap();
    fs::write(&file, ready.replace("p.wasm", "large.wasm") + "[http]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let plugin = folder.path().join("plugin");
    fs::create_dir(&plugin).unwrap();
    fs::write(plugin.join("plugin.toml"), "[build]\ncommand = [\"sleep\", \"600\"]\noutput = \"p.wasm\"\n").unwrap();
    let plugin = plugin.to_str().unwrap();
    // A child process shows that the command is busy.
    for (arguments, signal, code) in [
        (&["run", &file][..], "TERM", 0),
        (&["dev", &file], "INT", 0),
        (&["try", &file], "TERM", 143),
        (&["test", &file], "INT", 130),
        (&["check", "--offline", &file], "TERM", 143),
        (&["build", plugin], "TERM", 143),
    ] {
        let cache = folder.path().join("cache");
        let cache = cache.to_str().unwrap();
        let arguments = match arguments[0] {
            "build" => arguments.to_vec(),
            _ => [arguments, &["--cache", cache]].concat(),
        };
        let mut first = First::start(&arguments);
        let inner = first.inner;
        wait(&format!("a child of {arguments:?}"), STARTS, || children(inner).pop());
        first.signal(signal);
        assert_eq!(first.ended(), Some(code), "{arguments:?}");
    }
    // `try` is waiting for a line.
    let mut first = First::start(&["try", sound.to_str().unwrap()]);
    first.signal("TERM");
    assert_eq!(first.ended(), Some(143));
}

#[test]
fn dev_ends_while_its_feed_is_a_pipe_without_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "");
    let pipe = pipe(&folder.path().join("pipe"));
    let pipe = pipe.to_str().unwrap();
    for writes in [false, true] {
        let mut first = First::start(&["dev", &file, "--feed", pipe, "--http", "127.0.0.1:0", "--log-format", "human"]);
        // Also opened for reading, so that opening doesn't wait for the other end.
        let writer = writes.then(|| fs::OpenOptions::new().read(true).write(true).open(pipe).unwrap());
        let mut lines = BufReader::new(first.outer.stderr.take().unwrap()).lines();
        let said = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("ctrl-c ends")));
        assert!(said.is_some());
        first.signal("TERM");
        assert_eq!(first.ended(), Some(0));
        drop(writer);
    }
}

/// A build takes minutes.
#[test]
fn dev_ends_while_it_builds_a_plugin_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = forwarding(folder.path(), "");
    let build = "[build]\ncommand = [\"sleep\", \"600\"]\noutput = \"p.wasm\"\nwatch = [\"source\"]\n";
    fs::write(folder.path().join("plugin.toml"), build).unwrap();
    fs::write(folder.path().join("source"), "one").unwrap();
    let mut first = First::start(&["dev", &file, "--http", "127.0.0.1:0", "--log-format", "human"]);
    let mut lines = BufReader::new(first.outer.stderr.take().unwrap()).lines();
    let mut said = |part: &str| lines.any(|line| line.is_ok_and(|line| line.contains(part)));
    assert!(said("ctrl-c ends"));
    fs::write(folder.path().join("source"), "another").unwrap();
    assert!(said("changed: building it"));
    first.signal("TERM");
    assert_eq!(first.ended(), Some(0));
}

pub(crate) fn pipe(path: &Path) -> PathBuf {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    path.to_owned()
}
