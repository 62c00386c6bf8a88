//! A process that copies records from topic to topic, measured from outside.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use crate::kafka;
use crate::native_loop::Task;

/// A contestant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Contestant {
    /// The native loop.
    Native(Task),
    /// wasmill with this benchmark plugin.
    Wasmill(&'static str),
    /// Another wasmill binary, with this plugin.
    Other { plugin: &'static str, binary: &'static str },
    /// wasmill with this plugin and one setting that differs from its default.
    Tuned { plugin: &'static str, key: Key },
}

/// A line below `[[step]]`, `[limits]` or `[kafka.librdkafka]`, or lines above all sections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    Top(&'static str),
    Step(&'static str),
    Limits(&'static str),
    Librdkafka(&'static str),
}

/// How long a process may take to end.
const END: Duration = Duration::from_secs(30);

impl Contestant {
    pub(crate) fn name(self) -> String {
        match self {
            Contestant::Native(_) => "native".into(),
            Contestant::Wasmill(plugin) => format!("wasmill-{plugin}"),
            Contestant::Other { plugin, .. } => format!("other-{plugin}"),
            Contestant::Tuned {
                key: Key::Top(line) | Key::Step(line) | Key::Limits(line) | Key::Librdkafka(line),
                ..
            } => line.replace('\n', ", "),
        }
    }

    /// The name in a form that a topic may have.
    pub(crate) fn slug(self) -> String {
        self.name().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    }

    pub(crate) fn start(self, brokers: &str, group: &str, input: &str, output: &str, plugins: &str) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let mut command = match self {
            Contestant::Native(task) => {
                let task = if matches!(task, Task::Json) { "json" } else { "identity" };
                let mut command = kafka::bound(&std::env::current_exe().unwrap());
                command.args(["native", brokers, group, input, output, task]);
                command
            }
            Contestant::Wasmill(plugin) | Contestant::Other { plugin, .. } | Contestant::Tuned { plugin, .. } => {
                let (top, step, limits, librdkafka) = match self {
                    Contestant::Tuned { key: Key::Top(line), .. } => (line, "", "", ""),
                    Contestant::Tuned { key: Key::Step(line), .. } => ("", line, "", ""),
                    Contestant::Tuned { key: Key::Limits(line), .. } => ("", "", line, ""),
                    Contestant::Tuned { key: Key::Librdkafka(line), .. } => ("", "", "", line),
                    Contestant::Native(_) | Contestant::Wasmill(_) | Contestant::Other { .. } => ("", "", "", ""),
                };
                // The port is probably still free when wasmill starts.
                let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
                let wasm = Path::new(plugins).join(plugin).with_extension("wasm").canonicalize().unwrap();
                let file = folder.path().join("bench.toml");
                let text = format!(
                    "{top}\n[kafka]\nbrokers = [\"{brokers}\"]\n[input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n\
                     [[step]]\nwasm = \"{}\"\n{step}\n\
                     [limits]\n{limits}\n[kafka.librdkafka]\n{librdkafka}\n[output.main]\ntopic = \"{output}\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n",
                    wasm.display()
                );
                fs::write(&file, text).unwrap();
                let binary = match self {
                    Contestant::Other { binary, .. } => binary,
                    Contestant::Native(_) | Contestant::Wasmill(_) | Contestant::Tuned { .. } => {
                        env!("CARGO_BIN_EXE_wasmill")
                    }
                };
                let mut command = kafka::bound(Path::new(binary));
                command.arg("run").arg(file).env("WASMILL_STATE", folder.path());
                command
            }
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap());
        Process { child: command.spawn().unwrap(), terminate: !matches!(self, Contestant::Native(_)), folder }
    }
}

/// A running process. It is killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Whether SIGTERM ends it; otherwise closing its stdin does.
    terminate: bool,
    folder: TempDir,
}

impl Process {
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// User and system time of all threads so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Field 3 is the first one after the name, which may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks = |field: usize| fields[field - 3].parse::<f64>().unwrap();
        // 100 ticks a second: USER_HZ of Linux on x86_64 and aarch64.
        (ticks(14) + ticks(15)) / 100.0
    }

    pub(crate) fn peak_rss_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Its output on stderr.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Lets the process finish, and waits for its end.
    pub(crate) fn stop(mut self) {
        if self.terminate {
            let pid = self.child.id().to_string();
            // std can only send SIGKILL.
            assert!(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().unwrap().success());
        } else {
            self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        }
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < END, "a contestant does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "a contestant ended with {status}:\n{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
