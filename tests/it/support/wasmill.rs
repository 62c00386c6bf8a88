//! The binary under test: a pipeline's folder, and processes that run it and are watched from outside.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::PipeReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use crate::kafka;
use crate::support::broker;
use crate::support::canary;
use crate::support::clock;
use crate::support::java;

/// How long a process may take from its start to ready.
const READY: Duration = Duration::from_secs(60);

/// A pipeline's folder: `plugin.wasm`, and a folder for each process with its file.
#[derive(Debug)]
pub(crate) struct Pipeline {
    folder: TempDir,
    body: String,
    /// Other brokers than those that all tests share.
    brokers: Option<String>,
    processes: AtomicU32,
    /// What stands under `[kafka]`, if not the shared cluster.
    kafka: Option<String>,
}

impl Pipeline {
    /// A pipeline from topic to topic under a group, through `plugin.wasm`; `more` is added to `[input]` and what follows it.
    pub(crate) fn new(input: &str, output: &str, group: &str, more: &str) -> Pipeline {
        Pipeline::with_step(input, output, group, more, "")
    }

    /// As [`Pipeline::new`], with more in the step.
    pub(crate) fn with_step(input: &str, output: &str, group: &str, more: &str, step: &str) -> Pipeline {
        let body = format!(
            "[[step]]\nname = \"step-one\"\nwasm = \"../plugin.wasm\"\n{step}\n\n[output.main]\ntopic = \"{output}\"\n\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n{more}\n"
        );
        java::permit(&[input], &[output], group);
        Pipeline::of(&body)
    }

    /// A pipeline whose file has this text behind its brokers and its address.
    pub(crate) fn of(body: &str) -> Pipeline {
        Pipeline {
            folder: tempfile::tempdir().unwrap(),
            body: body.to_owned(),
            brokers: None,
            processes: AtomicU32::new(0),
            kafka: None,
        }
    }

    /// The same against other brokers.
    pub(crate) fn at(self, brokers: String) -> Pipeline {
        Pipeline { brokers: Some(brokers), ..self }
    }

    /// The same pipeline with another `[kafka]`.
    pub(crate) fn with_kafka(mut self, kafka: String) -> Pipeline {
        self.kafka = Some(kafka);
        self
    }

    /// Puts a plugin in place, as one does it: beside, then renamed.
    pub(crate) fn install(&self, wasm: &[u8]) {
        self.install_as("plugin.wasm", wasm);
    }

    /// The same under another name.
    pub(crate) fn install_as(&self, name: &str, wasm: &[u8]) {
        let beside = self.folder.path().join("plugin.new");
        fs::write(&beside, wasm).unwrap();
        fs::rename(beside, self.folder.path().join(name)).unwrap();
    }

    /// Starts `wasmill run`.
    pub(crate) fn run(&self) -> Process {
        self.run_with(&[])
    }

    /// As [`Pipeline::run`], with more arguments.
    pub(crate) fn run_with(&self, more: &[&str]) -> Process {
        self.run_in(&[], more)
    }

    /// As [`Pipeline::run_with`], with variables of the environment.
    pub(crate) fn run_in(&self, variables: &[(&str, &str)], more: &[&str]) -> Process {
        self.run_under(&[], variables, more)
    }

    /// As [`Pipeline::run_in`], started by another program, whose arguments end where wasmill's command begins.
    pub(crate) fn run_under(&self, wrapper: &[&str], variables: &[(&str, &str)], more: &[&str]) -> Process {
        let port = free_port();
        let file = self.write(port);
        let arguments = [&["run", file.to_str().unwrap()], more].concat();
        Process::start_with(wrapper, &arguments, variables, port, Stdio::piped())
    }

    /// As [`Pipeline::run`], with a stderr that nobody reads, and which is full.
    pub(crate) fn run_unread(&self) -> Process {
        let port = free_port();
        let file = self.write(port);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let stderr = writer.try_clone().unwrap();
        // It ends when the other end is closed.
        thread::spawn(move || writer.write_all(&vec![b'\n'; 1 << 20]));
        let mut process = Process::start_with(&[], &["run", file.to_str().unwrap()], &[], port, Stdio::from(stderr));
        process.unread = Some(reader);
        process
    }

    /// A file of this pipeline that no process has.
    pub(crate) fn file(&self) -> PathBuf {
        self.write(free_port())
    }

    /// Where the plugin is, and everything else may be.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, port: u16) -> PathBuf {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.path().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        let file = folder.join("pipeline.toml");
        let kafka = match (&self.kafka, &self.brokers) {
            (Some(kafka), _) => kafka.clone(),
            (None, Some(brokers)) => format!("brokers = [\"{brokers}\"]"),
            (None, None) => broker::of_wasmill(),
        };
        let text = format!("[kafka]\n{kafka}\n\n[http]\nlisten = \"127.0.0.1:{port}\"\n\n{}", self.body);
        fs::write(&file, text).unwrap();
        file
    }
}

/// A running wasmill. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    port: u16,
    /// All it has written to stderr, and to stdout.
    log: Arc<Mutex<String>>,
    out: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    /// The other end of its stderr, if nobody reads it.
    unread: Option<PipeReader>,
}

impl Process {
    /// Starts `wasmill dev` on a file with a feed.
    pub(crate) fn dev(file: &Path, feed: &Path) -> Process {
        let port = free_port();
        let http = format!("127.0.0.1:{port}");
        let arguments = ["dev", file.to_str().unwrap(), "--feed", feed.to_str().unwrap(), "--http", &http];
        Process::start(&arguments, &[], port)
    }

    /// Starts wasmill with these arguments; its metrics are at `port`.
    fn start(arguments: &[&str], variables: &[(&str, &str)], port: u16) -> Process {
        Process::start_with(&[], arguments, variables, port, Stdio::piped())
    }

    /// The same by way of another program, with this stderr.
    fn start_with(
        wrapper: &[&str],
        arguments: &[&str],
        variables: &[(&str, &str)],
        port: u16,
        stderr: Stdio,
    ) -> Process {
        let program = [wrapper, &[env!("CARGO_BIN_EXE_wasmill")], arguments].concat();
        let mut command = kafka::bound(Path::new(program[0]));
        command
            .args(&program[1..])
            .env("WASMILL_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut child = command.spawn().unwrap();
        let log = Arc::default();
        let out = Arc::default();
        let mut readers = vec![collect(child.stdout.take().unwrap(), Arc::clone(&out))];
        readers.extend(child.stderr.take().map(|stderr| collect(stderr, Arc::clone(&log))));
        Process { child, port, log, out, readers, unread: None }
    }

    /// What it wrote to stderr.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What it wrote to stdout.
    pub(crate) fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// Waits until `/readyz` says so.
    pub(crate) fn ready(&mut self) {
        self.wait("wasmill to be ready", READY, |process| {
            process.get("/readyz").is_some_and(|(status, _)| status == 200)
        });
    }

    /// Waits for something while it runs.
    ///
    /// # Panics
    /// If that takes too long or the process ends; its log is printed as for every failed test.
    pub(crate) fn wait(&mut self, what: &str, limit: Duration, mut holds: impl FnMut(&Process) -> bool) {
        let watch = clock::Watch::start();
        clock::wait_until(what, limit + Duration::from_secs(1), || {
            if let Some(status) = self.ended() {
                panic!("wasmill ended with {status} while waiting for {what}");
            }
            assert!(watch.elapsed() < limit, "waited {limit:?} in vain for {what}");
            holds(self)
        });
    }

    /// The sum of a metric over its series, if it can be had.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let (_, body) = self.get("/metrics")?;
        let of = |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
        let values: Vec<f64> = body.lines().filter(of).filter_map(|l| l.rsplit(' ').next()?.parse().ok()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// A line of its memory in the kernel's words, such as `VmRSS` (what it has) or `VmHWM` (the most it had), in bytes.
    ///
    /// # Panics
    /// If it has ended.
    pub(crate) fn memory(&self, what: &str) -> u64 {
        self.memory_if_any(what).expect("a process that runs has memory")
    }

    /// As [`Process::memory`]; none of a process that has ended and wasn't waited for.
    pub(crate) fn memory_if_any(&self, what: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// How nice its threads are, by their names.
    ///
    /// # Panics
    /// If it has ended.
    pub(crate) fn niceness(&self) -> Vec<(String, i32)> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("a process that runs has threads");
        let of = |thread: fs::DirEntry| {
            let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
            let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
            // The first of them is the third of all, and the nineteenth is what is asked for.
            Some((name.to_owned(), fields.split(' ').nth(19 - 3)?.parse().ok()?))
        };
        threads.flatten().filter_map(of).collect()
    }

    /// Status and body of a page, if the process answers.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n")?.1.to_owned();
        canary::absent(path, &body);
        Some((status, body))
    }

    /// The system's number of it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Closes the reading end of its stderr, which nobody reads.
    pub(crate) fn close_log(&mut self) {
        drop(self.unread.take());
    }

    /// kill -9; the time when it was done.
    pub(crate) fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        clock::unix_ms()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        // std has no other signal than KILL.
        let arguments = ["-c", "kill -\"$0\" \"$1\"", name, &self.id().to_string()];
        assert!(Command::new("sh").args(arguments).status().unwrap().success());
    }

    /// Waits for its end and its last words: the exit code, none after a signal.
    pub(crate) fn exit(&mut self, limit: Duration) -> Option<i32> {
        let watch = clock::Watch::start();
        let status = clock::wait_for("wasmill to end", limit + Duration::from_secs(1), || {
            assert!(watch.elapsed() < limit, "wasmill did not end within {limit:?}");
            self.ended()
        });
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            crate::support::say(&format!("the log of a wasmill in a failed test:\n{}", self.log()));
        } else {
            canary::absent("the log", &self.log());
            canary::absent("stdout", &self.out());
        }
    }
}

/// A port that nothing listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Keeps what a process writes, line by line, until it closes its end.
fn collect(from: impl std::io::Read + Send + 'static, to: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut to = to.lock().unwrap();
            to.push_str(&line);
            to.push('\n');
        }
    })
}
