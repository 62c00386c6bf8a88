//! Apache Kafka for the tests: its jars by Maven, and one KRaft node on free loopback ports.
//!
//! The integration tests include this file as a module, so a node is started in one way only. Nothing here is optional: a
//! part that can be neither found nor installed is an error that names the command. Invariant: a node never outlives the
//! process that started it, however that ends.

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

/// The version in `tests/kafka/pom.xml`, which names the folder under `target/`.
const VERSION: &str = "4.3.1";
const COPY_DEPENDENCIES: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
const JAVA_PACKAGES: [&str; 2] = ["default-jdk-headless", "maven"];
/// A node's folder is this and the id of the process that started it.
const NODE: &str = "node-";
/// In its folder.
const SETTINGS: &str = "server.properties";
/// How often a starting node is asked, and for how long.
const STEP: Duration = Duration::from_millis(50);
const START: Duration = Duration::from_secs(60);

/// The folder with Kafka's jars, fetched if they aren't there. Java is there too when this returns.
///
/// # Errors
/// What is missing and the command that brings it.
pub(crate) fn prepare() -> Result<PathBuf, String> {
    let home = home();
    let jars = home.join("jars");
    let pom = root().join("tests/kafka/pom.xml");
    let wanted = fs::read(&pom).map_err(|e| format!("reading {}: {e}", pom.display()))?;
    let stamp = home.join("pom.xml");
    if fs::read(&stamp).is_ok_and(|had| had == wanted) {
        install(&["java", "javac"])?;
        return Ok(jars);
    }
    install(&["java", "javac", "mvn"])?;
    say(&format!("fetching Apache Kafka {VERSION} by Maven into {}", jars.display()));
    let maven = Command::new("mvn")
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(&pom)
        .arg(COPY_DEPENDENCIES)
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", jars.display()))
        // What Maven says would otherwise be taken for the caller's own output.
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

/// Starts a node for a person and stays until it is interrupted or the node ends.
///
/// # Errors
/// Why there is no node.
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

/// A running broker and controller in one process.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    port: u16,
    /// Where a second listener listens, which tells clients that it is elsewhere.
    hidden: Option<u16>,
    jars: PathBuf,
    folder: PathBuf,
    log: PathBuf,
}

impl Node {
    /// Starts a node with nothing in it.
    ///
    /// # Errors
    /// Why it doesn't run, with the end of its log.
    pub(crate) fn start(jars: &Path) -> Result<Node, String> {
        Node::start_behind(jars, None)
    }

    /// As [`Node::start`], with a second listener whose clients are told to come to the port `advertised`: a proxy's.
    ///
    /// # Errors
    /// Why it doesn't run, with the end of its log.
    pub(crate) fn start_behind(jars: &Path, advertised: Option<u16>) -> Result<Node, String> {
        Node::retry(|folder| Node::try_start(jars, folder, advertised, None))
    }

    /// Starts a node that also has the ports of [`Secured`], with certificates of its own and users of `StorageTool`'s.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub(crate) fn start_secured(jars: &Path) -> Result<(Node, Secured), String> {
        install(&["keytool", "openssl"])?;
        let mut secured = None;
        let node = Node::retry(|folder| {
            let made = Secured::make(&folder.join("tls"))?;
            let node = Node::try_start(jars, folder, None, Some(&made))?;
            secured = Some(made);
            Ok(node)
        })?;
        Ok((node, secured.ok_or("a node without its certificates")?))
    }

    fn retry(mut start: impl FnMut(&Path) -> Result<Node, String>) -> Result<Node, String> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        remove_stale();
        // Another process may take a free port before the node does: then it says so and ends, and other ports may do.
        let mut last = String::new();
        for _ in 0..3 {
            let attempt = STARTED.fetch_add(1, Ordering::Relaxed);
            let folder = home().join(format!("{NODE}{}", std::process::id())).join(attempt.to_string());
            match start(&folder) {
                Ok(node) => return Ok(node),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn try_start(jars: &Path, data: &Path, advertised: Option<u16>, secured: Option<&Secured>) -> Result<Node, String> {
        let [port, controller, hidden] = free_ports().map_err(|e| format!("looking for free ports: {e}"))?;
        fs::create_dir_all(data).map_err(|e| format!("creating {}: {e}", data.display()))?;
        let settings = data.join(SETTINGS);
        let second = advertised.map(|advertised| (hidden, advertised));
        let mut text = properties(data, port, controller, second);
        if let Some(secured) = secured {
            text = secured.add_to(&text);
        }
        fs::write(&settings, text).map_err(|e| format!("writing {}: {e}", settings.display()))?;
        let log = data.join("node.log");
        let file = File::create(&log).map_err(|e| format!("creating {}: {e}", log.display()))?;

        let mut format = java_command(jars, &file)?;
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
        let child = spawn_server(jars, data, &file)?;
        let hidden = advertised.map(|_| hidden);
        let mut node = Node { child, port, hidden, jars: jars.to_owned(), folder: data.to_owned(), log };
        node.listens()?;
        Ok(node)
    }

    /// Waits until it listens.
    fn listens(&mut self) -> Result<(), String> {
        let mut waited = Duration::ZERO;
        // A socket that answers is not yet a broker that does, but clients wait for the rest.
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

    /// kill -9.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(|_| ()).map_err(|e| format!("killing Kafka: {e}"))
    }

    /// Starts a node that was killed again, on its ports and with its data.
    ///
    /// # Errors
    /// Why it doesn't run, with the end of its log.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        let file = File::options().append(true).open(&self.log);
        let file = file.map_err(|e| format!("opening {}: {e}", self.log.display()))?;
        self.child = spawn_server(&self.jars, &self.folder, &file)?;
        self.listens()
    }

    /// Its process.
    #[must_use]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where the second listener really is.
    #[must_use]
    pub(crate) fn hidden(&self) -> Option<u16> {
        self.hidden
    }

    /// Its address, as clients want it.
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

/// The one user of a secured node, for each mechanism.
pub(crate) const USER: &str = "mill";
/// Its password.
pub(crate) const PASSWORD: &str = "canary-7Qz";

/// What a secured node has beside its plain port.
#[derive(Debug)]
pub(crate) struct Secured {
    /// `ca.pem`, `other-ca.pem`, `client.pem` and `client.key` for clients, and the stores for the node.
    pub(crate) folder: PathBuf,
    /// TLS, with a certificate wanted of the client.
    pub(crate) mutual: u16,
    /// TLS and SASL.
    pub(crate) sasl: u16,
    /// TLS, with a certificate that has expired.
    pub(crate) expired: u16,
    /// TLS, with a certificate of another host.
    pub(crate) elsewhere: u16,
    /// TLS alone.
    pub(crate) tls: u16,
}

impl Secured {
    fn make(folder: &Path) -> Result<Secured, String> {
        fs::create_dir_all(folder).map_err(|e| format!("creating {}: {e}", folder.display()))?;
        let here = "IP:127.0.0.1";
        let script = format!(
            "set -e\n\
             ca() {{ openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=$1 -keyout $1.key -out $1.pem; }}\n\
             ca ca; ca other-ca\n\
             printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\n\
             [p]\ncommonName=supplied\n' > ca.cnf; : > index; echo 1000 > serial\n\
             leaf() {{\n\
               openssl req -newkey rsa:2048 -nodes -subj /CN=$1 -keyout $1.key -out $1.csr\n\
               printf 'subjectAltName=%s\\n' $2 > $1.ext\n\
               openssl ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key -in $1.csr -extfile $1.ext $3 -out $1.pem\n\
               openssl pkcs12 -export -in $1.pem -inkey $1.key -name $1 -passout pass:{PASSWORD} -out $1.p12\n\
             }}\n\
             leaf broker {here} '-days 30'; leaf client {here} '-days 30'; leaf elsewhere DNS:elsewhere.example '-days 30'\n\
             leaf expired {here} '-startdate 20200101000000Z -enddate 20200201000000Z'\n\
             keytool -importcert -noprompt -alias ca -file ca.pem -storetype PKCS12 -storepass {PASSWORD} -keystore trust.p12\n"
        );
        let output = Command::new("sh").args(["-c", &script]).current_dir(folder).output();
        let output = output.map_err(|e| format!("making certificates: {e}"))?;
        if !output.status.success() {
            return Err(format!("making certificates: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let ports = || free_ports().map_err(|e| format!("looking for free ports: {e}"));
        let ([mutual, sasl, expired], [elsewhere, tls, _]) = (ports()?, ports()?);
        Ok(Secured { folder: folder.to_owned(), mutual, sasl, expired, elsewhere, tls })
    }

    /// The properties with the listeners; each port names itself to clients, so a connection stays on its port.
    fn add_to(&self, plain: &str) -> String {
        let listeners = [
            ("MUTUAL", self.mutual, "SSL", "broker"),
            ("LOGIN", self.sasl, "SASL_SSL", "broker"),
            ("EXPIRED", self.expired, "SSL", "expired"),
            ("ELSEWHERE", self.elsewhere, "SSL", "elsewhere"),
            ("ALONE", self.tls, "SSL", "broker"),
        ];
        let folder = self.folder.display();
        let mut addresses = String::new();
        let mut map = "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
        let mut more = String::new();
        for (name, port, protocol, store) in listeners {
            addresses.push_str(&format!(",{name}://127.0.0.1:{port}"));
            map.push_str(&format!(",{name}:{protocol}"));
            let prefix = format!("listener.name.{}", name.to_lowercase());
            let auth = if name == "MUTUAL" { "required" } else { "none" };
            more.push_str(&format!(
                "{prefix}.ssl.keystore.location={folder}/{store}.p12\n{prefix}.ssl.keystore.type=PKCS12\n\
                 {prefix}.ssl.keystore.password={PASSWORD}\n{prefix}.ssl.key.password={PASSWORD}\n\
                 {prefix}.ssl.truststore.location={folder}/trust.p12\n{prefix}.ssl.truststore.type=PKCS12\n\
                 {prefix}.ssl.truststore.password={PASSWORD}\n{prefix}.ssl.client.auth={auth}\n"
            ));
        }
        let module = "org.apache.kafka.common.security";
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            more.push_str(&format!(
                "listener.name.login.{mechanism}.sasl.jaas.config={module}.scram.ScramLoginModule required;\n"
            ));
        }
        more.push_str(&format!(
            "listener.name.login.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n"
        ));
        let with = |line: &str| match line.split_once('=') {
            Some(("listeners" | "advertised.listeners", _)) => format!("{line}{addresses}\n"),
            _ => format!("{line}\n"),
        };
        let lines: String = plain.lines().map(with).collect();
        format!("{lines}{map}\n{more}")
    }
}

/// A process that the kernel kills when this one ends, be it by kill -9.
///
/// # Errors
/// Why it can't be started.
pub(crate) fn spawn_bound(mut command: Command) -> io::Result<Child> {
    // The kernel's rule is about the thread that started the process, so that thread has to stay.
    let (send, receive) = mpsc::channel();
    thread::Builder::new().name("keeper".into()).spawn(move || {
        let _ = send.send(command.spawn());
        loop {
            thread::park();
        }
    })?;
    receive.recv().map_err(|_| io::Error::other("the thread that starts processes is gone"))?
}

/// A command that runs `program` so that [`spawn_bound`] can keep its promise.
#[must_use]
pub(crate) fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn java_command(jars: &Path, log: &File) -> Result<Command, String> {
    let clone = || log.try_clone().map_err(|e| format!("opening Kafka's log twice: {e}"));
    let mut command = bound(Path::new("java"));
    command
        .args(["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN", "-cp"])
        .arg(jars.join("*"))
        .stdin(Stdio::null())
        .stdout(clone()?)
        .stderr(clone()?);
    Ok(command)
}

fn spawn_server(jars: &Path, data: &Path, log: &File) -> Result<Child, String> {
    let mut server = java_command(jars, log)?;
    server.arg("kafka.Kafka").arg(data.join(SETTINGS));
    spawn_bound(server).map_err(|e| format!("starting Kafka: {e}"))
}

/// Everybody may do everything, but for resources with rules of their own. `second` is where a second listener listens, and where it
/// says that it does.
///
/// What a deleted topic held is thrown away at once. A broker keeps it for a minute by default, and meanwhile the kernel writes it to the
/// disk, in bursts that slowed single drains of the benchmark by a third.
fn properties(data: &Path, port: u16, controller: u16, second: Option<(u16, u16)>) -> String {
    let logs = data.join("logs");
    let (listener, advertised, protocol) = match second {
        Some((hidden, advertised)) => (
            format!(",BEHIND://127.0.0.1:{hidden}"),
            format!(",BEHIND://127.0.0.1:{advertised}"),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,BEHIND:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\n",
        ),
        None => (String::new(), String::new(), ""),
    };
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listener}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
         {protocol}\
         log.dirs={}\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         allow.everyone.if.no.acl.found=true\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         transaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         log.segment.delete.delay.ms=100\n\
         log.cleaner.backoff.ms=500\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n",
        logs.display()
    )
}

/// Removes the data of nodes whose starter is gone: a process that is killed can't do it itself.
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

/// Ports that nothing listens on now.
fn free_ports() -> io::Result<[u16; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (one, two, three) = (bind()?, bind()?, bind()?);
    Ok([one.local_addr()?.port(), two.local_addr()?.port(), three.local_addr()?.port()])
}

/// Sees to it that these programs are there.
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

/// The folder for all that is fetched or made here.
#[must_use]
pub(crate) fn home() -> PathBuf {
    root().join("target").join(format!("kafka-{VERSION}"))
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
