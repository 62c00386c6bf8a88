//! What copies records from topic to topic, as a process that is measured from outside.

use std::fs;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::path::Path;

use crate::kafka;
use crate::native_loop::Task;
use crate::process::EndsBy;
use crate::process::Process;

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
        let command = match self {
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
        let ends_by = if matches!(self, Contestant::Native(_)) { EndsBy::Stdin } else { EndsBy::Signal };
        Process::start(command, folder, ends_by)
    }
}
