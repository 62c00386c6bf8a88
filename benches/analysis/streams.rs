//! Kafka Streams: gets its jars, compiles `benches/kafka-streams/CountPerMinute.java`, and makes its command.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::kafka;

const SOURCE: &str = "benches/kafka-streams/CountPerMinute.java";
const POM: &str = "benches/kafka-streams/pom.xml";
const CLASS: &str = "CountPerMinute";

/// What is needed to start it.
pub(crate) struct Streams {
    /// The class path.
    path: String,
}

/// A form of the Kafka Streams program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Twin {
    /// Its name in the report.
    pub(crate) name: &'static str,
    pub(crate) emit: Emit,
    pub(crate) store: Store,
    /// Settings of Kafka Streams, as NAME=VALUE.
    pub(crate) settings: &'static [&'static str],
    /// Options of the JVM.
    pub(crate) jvm: &'static [&'static str],
}

/// Which results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emit {
    /// One for each key and window, by `suppress(untilWindowCloses(unbounded()))`.
    Suppress,
    /// One for each key and window, by `emitStrategy(onWindowClose())`.
    OnClose,
    /// Each change that leaves the cache.
    Updates,
}

/// Where the counts are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Store {
    RocksDb,
    Memory,
}

impl Streams {
    /// Compiles the program if that was not done yet.
    pub(crate) fn prepare() -> Streams {
        let jars = kafka::fetch(POM, "streams", "streams.xml").unwrap().join("*");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE);
        let classes = kafka::home().join("streams-classes");
        let stamp = classes.join("source.java");
        let wanted = fs::read(&source).unwrap();
        if !fs::read(&stamp).is_ok_and(|had| had == wanted) {
            fs::create_dir_all(&classes).unwrap();
            let status =
                Command::new("javac").arg("-cp").arg(&jars).arg("-d").arg(&classes).arg(&source).status().unwrap();
            assert!(status.success(), "javac {}: {status}", source.display());
            fs::write(stamp, wanted).unwrap();
        }
        Streams { path: format!("{}:{}", classes.display(), jars.display()) }
    }

    /// A command that runs this form until a line comes on stdin. `folder` is empty: the state is restored from the changelog.
    pub(crate) fn command(
        &self,
        twin: &Twin,
        brokers: &str,
        group: &str,
        [input, output]: [&str; 2],
        folder: &Path,
    ) -> Command {
        let mut command = kafka::bound(&PathBuf::from("java"));
        command.args(twin.jvm).args(["-Dlog4j2.level=WARN", "-cp", &self.path, CLASS, brokers, group, input, output]);
        command.arg(folder.join("state"));
        command.arg(match twin.emit {
            Emit::Suppress => "suppress",
            Emit::OnClose => "on-close",
            Emit::Updates => "updates",
        });
        command.arg(match twin.store {
            Store::RocksDb => "rocksdb",
            Store::Memory => "memory",
        });
        command.args(twin.settings);
        command
    }
}
