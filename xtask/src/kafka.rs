//! Apache Kafka for the tests: downloads its jars with Maven, and starts KRaft nodes on free loopback ports.
//!
//! The integration tests include this file as a module, so there is only one way to start a node. Nothing is optional: a missing
//! part that can't be installed is an error that names the command. Invariant: a node never outlives the process that started it,
//! however that process ends.

#[path = "kafka/profile.rs"]
pub(crate) mod profile;
#[path = "kafka/secured.rs"]
pub(crate) mod secured;

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use profile::Own;
use profile::Profile;
use secured::PASSWORD;
use secured::Secured;
use secured::USER;

/// The version in `tests/kafka/pom.xml`, and a part of the folder's name under `target/`.
const VERSION: &str = "4.3.1";
const COPY_DEPENDENCIES: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
const JAVA_PACKAGES: [&str; 2] = ["default-jdk-headless", "maven"];
/// Limits a JVM to its first compiler: a short-lived process doesn't earn back the time that optimizing compilation takes.
pub(crate) const BRIEF: &str = "-XX:TieredStopAtLevel=1";
/// The prefix of a node's folder, followed by the id of the process that started it.
const NODE: &str = "node-";
/// The settings file in that folder.
const SETTINGS: &str = "server.properties";
/// How often to check whether a starting node listens, and the time limit.
const STEP: Duration = Duration::from_millis(50);
const START: Duration = Duration::from_secs(60);

/// Returns the folder with Kafka's jars, which are downloaded if they are missing. Also installs Java.
///
/// # Errors
/// What is missing, and the command that installs it.
pub(crate) fn prepare() -> Result<PathBuf, String> {
    fetch("tests/kafka/pom.xml", "jars", "pom.xml")
}

/// Returns the folder `jars` with what the file `pom` names, which is downloaded unless `stamp` is a copy of that file. Also installs Java.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn fetch(pom: &str, jars: &str, stamp: &str) -> Result<PathBuf, String> {
    let pom = root().join(pom);
    let (jars, stamp) = (home().join(jars), home().join(stamp));
    let wanted = fs::read(&pom).map_err(|e| format!("reading {}: {e}", pom.display()))?;
    if fs::read(&stamp).is_ok_and(|had| had == wanted) {
        install(&["java", "javac"])?;
        return Ok(jars);
    }
    install(&["java", "javac", "mvn"])?;
    say(&format!("fetching what {} names by Maven into {}", pom.display(), jars.display()));
    let maven = Command::new("mvn")
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(&pom)
        .arg(COPY_DEPENDENCIES)
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", jars.display()))
        // Otherwise Maven's output would be taken for that of the caller.
        .stdout(io::stderr())
        .status();
    match maven {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("mvn {COPY_DEPENDENCIES} of {}: {status}", pom.display())),
        Err(e) => return Err(format!("running mvn: {e}")),
    }
    fs::write(&stamp, wanted).map_err(|e| format!("writing {}: {e}", stamp.display()))?;
    Ok(jars)
}

/// Starts a node for interactive use, and waits until it is interrupted or the node ends.
///
/// # Errors
/// Why the node can't be started.
pub(crate) fn start() -> Result<(), String> {
    let jars = prepare()?;
    let mut node = Node::start(&jars)?;
    say(&format!(
        "Apache Kafka {VERSION} listens at {}, ctrl-c ends it; its log: {}",
        node.brokers(),
        node.log.display()
    ));
    node.wait()
}

/// A running node, which is broker and controller in one process.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    port: u16,
    /// The controller's port.
    controller: u16,
    /// The actual port of a second listener, which advertises another port to clients.
    hidden: Option<u16>,
    is_brief: bool,
    jars: PathBuf,
    folder: PathBuf,
    log: PathBuf,
}

/// Options of a node.
struct Wanted<'a> {
    profile: Profile,
    /// The port of the controller, for a second node that joins the first.
    controller: Option<u16>,
    /// The port that the second listener advertises.
    advertised: Option<u16>,
    secured: Option<&'a Secured>,
    /// Whether the node is only needed for one test.
    is_brief: bool,
}

impl Wanted<'_> {
    fn of(profile: Profile) -> Self {
        Wanted { profile, controller: None, advertised: None, secured: None, is_brief: true }
    }
}

impl Node {
    /// Starts an empty node with Kafka's default settings, for interactive use and for benchmarks.
    ///
    /// # Errors
    /// Why it doesn't start, with the end of its log.
    pub(crate) fn start(jars: &Path) -> Result<Node, String> {
        let wanted = Wanted { is_brief: false, ..Wanted::of(Profile::Shipped) };
        Node::retry(|folder| Node::try_start(jars, folder, &wanted))
    }

    /// Like [`Node::start`], but for a test, with a second listener that advertises the port `advertised`: that of a proxy.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub(crate) fn start_behind(jars: &Path, advertised: u16) -> Result<Node, String> {
        let wanted = Wanted { advertised: Some(advertised), ..Wanted::of(Profile::Shipped) };
        Node::retry(|folder| Node::try_start(jars, folder, &wanted))
    }

    /// Starts a node of a profile that also has the ports of [`Secured`], with new certificates and with users created by
    /// `StorageTool`.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub(crate) fn start_secured(jars: &Path, profile: Profile) -> Result<(Node, Secured), String> {
        install(&["keytool", "openssl"])?;
        let mut secured = None;
        let node = Node::retry(|folder| {
            let made = Secured::make(&folder.join("tls"))?;
            let wanted = Wanted { secured: Some(&made), ..Wanted::of(profile) };
            let node = Node::try_start(jars, folder, &wanted)?;
            secured = Some(made);
            Ok(node)
        })?;
        Ok((node, secured.ok_or("a node without its certificates")?))
    }

    /// Starts the two nodes of [`Profile::Pair`].
    ///
    /// # Errors
    /// As [`Node::start`].
    pub(crate) fn start_pair(jars: &Path) -> Result<[Node; 2], String> {
        let first = Node::retry(|folder| Node::try_start(jars, folder, &Wanted::of(Profile::Pair)))?;
        let wanted = Wanted { controller: Some(first.controller), ..Wanted::of(Profile::Pair) };
        let second = Node::retry(|folder| Node::try_start(jars, folder, &wanted))?;
        Ok([first, second])
    }

    fn retry(mut start: impl FnMut(&Path) -> Result<Node, String>) -> Result<Node, String> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        remove_stale();
        // Another process may take a free port before the node does. The node then fails to start, and other ports may work.
        let mut last = String::new();
        for _ in 0..3 {
            let attempt = STARTED.fetch_add(1, Ordering::Relaxed);
            let folder = folder().join(attempt.to_string());
            match start(&folder) {
                Ok(node) => return Ok(node),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn try_start(jars: &Path, data: &Path, wanted: &Wanted<'_>) -> Result<Node, String> {
        let [port, free, hidden] = free_ports().map_err(|e| format!("looking for free ports: {e}"))?;
        fs::create_dir_all(data).map_err(|e| format!("creating {}: {e}", data.display()))?;
        let settings = data.join(SETTINGS);
        let Wanted { profile, controller, advertised, secured, is_brief } = *wanted;
        let (id, controller) = controller.map_or((1, free), |controller| (2, controller));
        let own = Own { profile, id, port, controller, second: advertised.map(|to| (hidden, to)), secured };
        fs::write(&settings, own.text(data)).map_err(|e| format!("writing {}: {e}", settings.display()))?;
        let log = data.join("node.log");
        let file = File::create(&log).map_err(|e| format!("creating {}: {e}", log.display()))?;

        let mut format = java_command(jars, &file, true)?;
        format.args(["kafka.tools.StorageTool", "format", "--cluster-id", "d2FzbWlsbC10ZXN0cy0wMQ", "--config"]);
        format.arg(&settings);
        if secured.is_some() {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                format.arg("--add-scram").arg(format!("{mechanism}=[name={USER},password={PASSWORD}]"));
            }
        }
        let formatted = format.status().map_err(|e| format!("running Kafka's StorageTool: {e}"))?;
        if !formatted.success() {
            return Err(format!("formatting {}: {formatted}\n{}", data.display(), tail(&log)));
        }
        let child = spawn_server(jars, data, &file, is_brief)?;
        let hidden = advertised.map(|_| hidden);
        let (jars, folder) = (jars.to_owned(), data.to_owned());
        let mut node = Node { child, port, controller, hidden, is_brief, jars, folder, log };
        node.listens()?;
        Ok(node)
    }

    /// Waits until the node listens.
    fn listens(&mut self) -> Result<(), String> {
        let mut waited = Duration::ZERO;
        // The broker may not be ready when its socket is, but clients wait for that.
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = self.child.try_wait().map_err(|e| format!("waiting for Kafka: {e}"))? {
                return Err(format!("Kafka ended while starting: {status}\n{}", tail(&self.log)));
            }
            if waited > START {
                return Err(format!("Kafka does not listen after {} s\n{}", START.as_secs(), tail(&self.log)));
            }
            thread::sleep(STEP);
            waited += STEP;
        }
        Ok(())
    }

    /// Kills the node, like kill -9.
    ///
    /// # Errors
    /// The error of the operating system.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(|_| ()).map_err(|e| format!("killing Kafka: {e}"))
    }

    /// Restarts a killed node with the same ports and data.
    ///
    /// # Errors
    /// Why it doesn't start, with the end of its log.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        let file = File::options().append(true).open(&self.log);
        let file = file.map_err(|e| format!("opening {}: {e}", self.log.display()))?;
        self.child = spawn_server(&self.jars, &self.folder, &file, self.is_brief)?;
        self.listens()
    }

    /// Whether the node has ended, or was killed.
    #[must_use]
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// The id of the node's process.
    #[must_use]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The actual port of the second listener.
    #[must_use]
    pub(crate) fn hidden(&self) -> Option<u16> {
        self.hidden
    }

    /// The node's address, in the form of `bootstrap.servers`.
    #[must_use]
    pub(crate) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn wait(&mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|e| format!("waiting for Kafka: {e}"))?;
        Err(format!("Kafka ended: {status}\n{}", tail(&self.log)))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a process that the kernel kills when this process ends, even by kill -9.
///
/// # Errors
/// Why it can't be started.
pub(crate) fn spawn_bound(mut command: Command) -> io::Result<Child> {
    // The kernel kills the child when the thread that started it ends, so that thread must stay.
    let (send, receive) = mpsc::channel();
    thread::Builder::new().name("keeper".into()).spawn(move || {
        let _ = send.send(command.spawn());
        loop {
            thread::park();
        }
    })?;
    receive.recv().map_err(|_| io::Error::other("the thread that starts processes is gone"))?
}

/// A command that runs `program` in such a way that [`spawn_bound`] works.
#[must_use]
pub(crate) fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn java_command(jars: &Path, log: &File, is_brief: bool) -> Result<Command, String> {
    let clone = || log.try_clone().map_err(|e| format!("opening Kafka's log twice: {e}"));
    let mut command = bound(Path::new("java"));
    command
        .args(["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN"])
        .args(is_brief.then_some(BRIEF))
        .arg("-cp")
        .arg(jars.join("*"))
        .stdin(Stdio::null())
        .stdout(clone()?)
        .stderr(clone()?);
    Ok(command)
}

fn spawn_server(jars: &Path, data: &Path, log: &File, is_brief: bool) -> Result<Child, String> {
    let mut server = java_command(jars, log, is_brief)?;
    server.arg("kafka.Kafka").arg(data.join(SETTINGS));
    spawn_bound(server).map_err(|e| format!("starting Kafka: {e}"))
}

/// Removes the data of nodes whose parent process is gone: a killed process can't do that itself.
fn remove_stale() {
    let Ok(entries) = fs::read_dir(home()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(NODE));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Ports on which nothing listens now.
fn free_ports() -> io::Result<[u16; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (one, two, three) = (bind()?, bind()?, bind()?);
    Ok([one.local_addr()?.port(), two.local_addr()?.port(), three.local_addr()?.port()])
}

/// Checks that these programs exist, and installs missing ones.
fn install(programs: &[&str]) -> Result<(), String> {
    let missing = || programs.iter().find(|program| !runs(program));
    let Some(program) = missing() else { return Ok(()) };
    let command = format!("apt-get install -y {}", JAVA_PACKAGES.join(" "));
    if !(is_root() && runs("apt-get")) {
        return Err(format!(
            "{program} is missing, needed for Apache Kafka: install a JDK and Maven, on Debian by {command}"
        ));
    }
    say(&format!("{program} is missing, installing it by {command}"));
    apt(&["update"])?;
    apt(&["install", "-y", JAVA_PACKAGES[0], JAVA_PACKAGES[1]])?;
    match missing() {
        None => Ok(()),
        Some(program) => Err(format!("{program} is still missing after {command}")),
    }
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(io::stderr())
        .status()
        .map_err(|e| format!("running apt-get: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("apt-get {}: {status}", arguments.join(" "))) }
}

fn runs(program: &str) -> bool {
    let version = match program {
        "openssl" => "version",
        "keytool" => "-help",
        _ => "--version",
    };
    let status = Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

/// The repository's root.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let above = here.parent().filter(|_| here.ends_with("xtask"));
    above.unwrap_or(here).to_owned()
}

/// The folder for everything that is downloaded or created here.
#[must_use]
pub(crate) fn home() -> PathBuf {
    root().join("target").join(format!("kafka-{VERSION}"))
}

/// The folder for the data of the nodes that this process starts.
#[must_use]
pub(crate) fn folder() -> PathBuf {
    home().join(format!("{NODE}{}", std::process::id()))
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
