//! The contestants, and how they are started.

use std::fs;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::Field;
use crate::discard;
use crate::kafka;
use crate::process::EndsBy;
use crate::process::Process;
use crate::streams::Emit;
use crate::streams::Twin;

/// A contestant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Contestant {
    /// wasmill with windows.
    Wasmill(Form),
    /// wasmill with a plugin that drops every record.
    Stateless,
    /// Kafka Streams.
    Streams(Twin),
}

/// A form of wasmill's pipeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Its name in the report.
    pub(crate) name: &'static str,
    /// What is computed for each key and minute.
    pub(crate) fields: &'static str,
    /// How often a transaction is committed.
    pub(crate) every: &'static str,
}

/// The number of records.
pub(crate) const COUNT: Form = Form { name: "wasmill", fields: "orders = \"count\"", every: "100ms" };

/// The name of the step with windows.
pub(crate) const STEP: &str = "per-minute";

impl Contestant {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Contestant::Wasmill(form) => form.name,
            Contestant::Stateless => "wasmill without state",
            Contestant::Streams(twin) => twin.name,
        }
    }

    /// The name in a form that a topic may have.
    pub(crate) fn slug(&self) -> String {
        self.name().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    }

    /// Which results are to be expected: `None` for none.
    pub(crate) fn emits(&self) -> Option<Emit> {
        match self {
            Contestant::Wasmill(_) => Some(Emit::OnClose),
            Contestant::Stateless => None,
            Contestant::Streams(twin) => Some(twin.emit),
        }
    }

    /// Starts it with an empty folder.
    pub(crate) fn start(&self, field: &Field, group: &str, topics: [&str; 2]) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let brokers = field.cluster.brokers();
        let step = match self {
            Contestant::Streams(twin) => {
                let command = field.streams.command(twin, brokers, group, topics, folder.path());
                return Process::start(command, folder, EndsBy::Stdin);
            }
            Contestant::Wasmill(Form { fields, .. }) => format!(
                "name = \"{STEP}\"\nuse = \"std:aggregate\"\nwindow = {{ size = \"1m\", lateness = \"10s\", idle = \"never\" }}\n\
                 settings = {{ {fields} }}\n[state]\ncreate = true\n"
            ),
            Contestant::Stateless => {
                let wasm = folder.path().join("drop.wasm");
                fs::write(&wasm, discard::module()).unwrap();
                format!("wasm = \"{}\"\n", wasm.display())
            }
        };
        let every = if let Contestant::Wasmill(form) = self { form.every } else { COUNT.every };
        let command = wasmill(brokers, group, topics, every, &step, folder.path());
        Process::start(command, folder, EndsBy::Signal)
    }
}

fn wasmill(brokers: &str, group: &str, [input, output]: [&str; 2], every: &str, step: &str, folder: &Path) -> Command {
    // The port is probably still free when wasmill starts.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let file = folder.join("bench.toml");
    let text = format!(
        "delivery = \"exactly_once\"\n[kafka]\nbrokers = [\"{brokers}\"]\n[input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n\
         [limits]\ntransaction_every = \"{every}\"\n[output.main]\ntopic = \"{output}\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n\
         [[step]]\n{step}"
    );
    fs::write(&file, text).unwrap();
    let mut command = kafka::bound(Path::new(env!("CARGO_BIN_EXE_wasmill")));
    command.arg("run").arg(file).env("WASMILL_STATE", folder);
    command
}
