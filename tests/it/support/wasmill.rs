//! The binary under test: a pipeline's folder, and processes that run it and are observed from outside.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::env;
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
use crate::support::place;

/// How long a process may take to become ready.
const READY: Duration = Duration::from_secs(60);

/// A pipeline's folder: contains `plugin.wasm`, and for each process a folder with its file.
#[derive(Debug)]
pub(crate) struct Pipeline {
    folder: TempDir,
    body: String,
    /// Other brokers than the shared cluster.
    brokers: Option<String>,
    processes: AtomicU32,
    /// The lines of `[kafka]`, if not those of the shared cluster.
    kafka: Option<String>,
}

/// Whether pipelines deliver exactly once in this process.
pub(crate) fn is_exactly_once() -> bool {
    env::var("WASMILL_TEST_DELIVERY").is_ok_and(|delivery| delivery == "exactly_once")
}

impl Pipeline {
    /// A pipeline from topic to topic with a group, through `plugin.wasm`. `more` is appended to the keys of `[input]`.
    pub(crate) fn new(input: &str, output: &str, group: &str, more: &str) -> Pipeline {
        Pipeline::with_step(input, output, group, more, "")
    }

    /// Like [`Pipeline::new`], with more keys in the step.
    pub(crate) fn with_step(input: &str, output: &str, group: &str, more: &str, step: &str) -> Pipeline {
        let body = format!(
            "[[step]]\nname = \"step-one\"\nwasm = \"../plugin.wasm\"\n{step}\n\n[output.main]\ntopic = \"{output}\"\n\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n{more}\n"
        );
        java::permit(&[input], &[output], group);
        Pipeline::of(&body)
    }

    /// A pipeline whose file has this text after its brokers and its address.
    pub(crate) fn of(body: &str) -> Pipeline {
        Pipeline {
            folder: tempfile::tempdir().unwrap(),
            body: body.to_owned(),
            brokers: None,
            processes: AtomicU32::new(0),
            kafka: None,
        }
    }

    /// The same pipeline with other brokers.
    pub(crate) fn at(self, brokers: String) -> Pipeline {
        Pipeline { brokers: Some(brokers), ..self }
    }

    /// The same pipeline with another `[kafka]`.
    pub(crate) fn with_kafka(mut self, kafka: String) -> Pipeline {
        self.kafka = Some(kafka);
        self
    }

    /// Replaces the plugin atomically, as a deployment does: writes a new file and renames it.
    pub(crate) fn install(&self, wasm: &[u8]) {
        self.install_as("plugin.wasm", wasm);
    }

    /// Like [`Pipeline::install`], with another file name.
    pub(crate) fn install_as(&self, name: &str, wasm: &[u8]) {
        let beside = self.folder.path().join("plugin.new");
        fs::write(&beside, wasm).unwrap();
        fs::rename(beside, self.folder.path().join(name)).unwrap();
    }

    /// Starts `wasmill run`.
    pub(crate) fn run(&self) -> Process {
        self.run_with(&[])
    }

    /// Like [`Pipeline::run`], with more arguments.
    pub(crate) fn run_with(&self, more: &[&str]) -> Process {
        self.run_in(&[], more)
    }

    /// Like [`Pipeline::run_with`], with environment variables.
    pub(crate) fn run_in(&self, variables: &[(&str, &str)], more: &[&str]) -> Process {
        self.run_under(&[], variables, more)
    }

    /// Like [`Pipeline::run_with`], and tells the other members of the group its address.
    pub(crate) fn run_advertised(&self, more: &[&str]) -> Process {
        let address = format!("127.0.0.1:{}", free_port());
        let advertise = format!("http.advertise=\"{address}\"");
        let mut process = self.run_with(&[&["--http", &address, "--set", &advertise], more].concat());
        process.port = address.rsplit(':').next().unwrap().parse().unwrap();
        process
    }

    /// Like [`Pipeline::run_in`], but started through another program, to whose arguments wasmill's command line is appended.
    pub(crate) fn run_under(&self, wrapper: &[&str], variables: &[(&str, &str)], more: &[&str]) -> Process {
        let port = free_port();
        let file = self.write(port);
        let once: &[&str] = if is_exactly_once() { &["--set", "delivery=\"exactly_once\""] } else { &[] };
        let arguments = [&["run", file.to_str().unwrap()], once, more].concat();
        // Where processes of this pipeline take their numbers.
        let state = self.folder.path().join("state");
        let variables = [&[("WASMILL_STATE", state.to_str().unwrap())], variables].concat();
        Process::start_with(wrapper, &arguments, &variables, port, Stdio::piped())
    }

    /// Starts `wasmill dlq VERB`.
    pub(crate) fn dlq(&self, verb: &str, more: &[&str]) -> Process {
        let port = free_port();
        let file = self.write(port);
        let arguments = [&["dlq", verb, file.to_str().unwrap()], more].concat();
        let state = self.folder.path().join("state");
        Process::start_with(&[], &arguments, &[("WASMILL_STATE", state.to_str().unwrap())], port, Stdio::piped())
    }

    /// Like [`Pipeline::run`], with a stderr that is full and never read.
    pub(crate) fn run_unread(&self) -> Process {
        let port = free_port();
        let file = self.write(port);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let stderr = writer.try_clone().unwrap();
        // Ends when the reading end is closed.
        thread::spawn(move || writer.write_all(&vec![b'\n'; 1 << 20]));
        let mut process = Process::start_with(&[], &["run", file.to_str().unwrap()], &[], port, Stdio::from(stderr));
        process.unread = Some(reader);
        process
    }

    /// A file of this pipeline that no process uses.
    pub(crate) fn file(&self) -> PathBuf {
        self.write(free_port())
    }

    /// The folder of the plugin, which may also contain other files.
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

/// The sum of a metric over its series, if the metrics have one.
fn sum(metrics: &str, name: &str) -> Option<f64> {
    let of = |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
    let values: Vec<f64> = metrics.lines().filter(of).filter_map(|l| l.rsplit(' ').next()?.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// A running wasmill. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    port: u16,
    /// Everything that it has written to stderr and to stdout so far.
    log: Arc<Mutex<String>>,
    out: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    /// The reading end of its stderr, if that isn't read.
    unread: Option<PipeReader>,
}

impl Process {
    /// Starts `wasmill dev` on a file with a feed.
    pub(crate) fn dev(file: &Path, feed: &Path) -> Process {
        Process::dev_with(file, feed, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn dev_with(file: &Path, feed: &Path, more: &[&str]) -> Process {
        let port = free_port();
        let http = format!("127.0.0.1:{port}");
        let arguments = ["dev", file.to_str().unwrap(), "--feed", feed.to_str().unwrap(), "--http", &http];
        Process::start(&[&arguments[..], more].concat(), &[], port)
    }

    /// Starts `wasmill run` on a folder of pipeline files.
    pub(crate) fn fleet(folder: &Path) -> Process {
        Process::fleet_with(folder, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn fleet_with(folder: &Path, more: &[&str]) -> Process {
        Process::fleet_in(folder, &[], more)
    }

    /// The same, with environment variables.
    pub(crate) fn fleet_in(folder: &Path, variables: &[(&str, &str)], more: &[&str]) -> Process {
        let port = free_port();
        let http = format!("127.0.0.1:{port}");
        let once: &[&str] = if is_exactly_once() { &["--set", "delivery=\"exactly_once\""] } else { &[] };
        let arguments = [&["run", folder.to_str().unwrap(), "--http", &http], once, more].concat();
        let state = folder.join("../state");
        let variables = [&[("WASMILL_STATE", state.to_str().unwrap())], variables].concat();
        Process::start(&arguments, &variables, port)
    }

    /// Starts wasmill with these arguments; it serves metrics on `port`.
    fn start(arguments: &[&str], variables: &[(&str, &str)], port: u16) -> Process {
        Process::start_with(&[], arguments, variables, port, Stdio::piped())
    }

    /// The same, through another program and with this stderr.
    fn start_with(
        wrapper: &[&str],
        arguments: &[&str],
        variables: &[(&str, &str)],
        port: u16,
        stderr: Stdio,
    ) -> Process {
        // Another build of the program, for figures.
        let other = env::var("WASMILL_TEST_PROGRAM");
        let own = other.as_deref().unwrap_or(env!("CARGO_BIN_EXE_wasmill"));
        let program = [wrapper, &[own], arguments].concat();
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

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What it has written to stdout so far.
    pub(crate) fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// Waits until `/readyz` returns 200.
    pub(crate) fn ready(&mut self) {
        self.wait("wasmill to be ready", READY, |process| {
            process.get("/readyz").is_some_and(|(status, _)| status == 200)
        });
    }

    /// Waits for a condition while the process runs.
    ///
    /// # Panics
    /// If the wait takes too long or the process ends; its log is printed as for every failed test.
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

    /// Waits until more is committed in every partition.
    ///
    /// # Panics
    /// As [`Process::wait`].
    pub(crate) fn wait_for_commits(&mut self, group: &str, topic: &str, limit: Duration) {
        let before = java::committed(group, topic);
        self.wait("new commits", limit, |_| {
            java::committed(group, topic).iter().zip(&before).all(|(now, before)| now > before)
        });
    }

    /// How many transactions it has aborted, if that is available.
    pub(crate) fn aborted(&self) -> Option<f64> {
        let (_, body) = self.get("/metrics")?;
        let is_it = |line: &&str| line.starts_with("wasmill_transactions_total{") && line.contains("\"aborted\"");
        body.lines().find(is_it)?.rsplit(' ').next()?.parse().ok()
    }

    /// The sum of a metric over its series, if it is available.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        sum(&self.get("/metrics")?.1, name)
    }

    /// The sums of several metrics over their series, from one answer, so that they belong to one moment; 0 without a series. `None` if there
    /// is no answer.
    pub(crate) fn metrics<const N: usize>(&self, names: [&str; N]) -> Option<[f64; N]> {
        let (_, body) = self.get("/metrics")?;
        Some(names.map(|name| sum(&body, name).unwrap_or_default()))
    }

    /// A memory value from the process's status file, such as `VmRSS` (current) or `VmHWM` (peak), in bytes.
    ///
    /// # Panics
    /// If it has ended.
    pub(crate) fn memory(&self, what: &str) -> u64 {
        self.memory_if_any(what).expect("a process that runs has memory")
    }

    /// Like [`Process::memory`]; `None` for a process that has ended.
    pub(crate) fn memory_if_any(&self, what: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// The files and sockets that it has open, by names that no two have at the same time.
    ///
    /// # Panics
    /// If it has ended.
    pub(crate) fn descriptors(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("a process that runs has them");
        // One may be closed meanwhile.
        all.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
    }

    /// The CPU time that it has used, in steps of 10 ms.
    ///
    /// # Panics
    /// If it has ended.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process that runs has it");
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        // Times in user and in kernel mode are the fourteenth and fifteenth of the line, and this is from the third on.
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The niceness of its threads, by their names.
    ///
    /// # Panics
    /// If it has ended.
    pub(crate) fn niceness(&self) -> Vec<(String, i32)> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("a process that runs has threads");
        let of = |thread: fs::DirEntry| {
            let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
            let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
            // The first of these fields is the third of the line, and niceness is the nineteenth.
            Some((name.to_owned(), fields.split(' ').nth(19 - 3)?.parse().ok()?))
        };
        threads.flatten().filter_map(of).collect()
    }

    /// The address of its pages.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The status and body of a page, if the process answers.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let (status, body) = self.get_records(path)?;
        canary::absent(path, &body);
        Some((status, body))
    }

    /// Like [`Process::get`], for a page that shows what records have.
    pub(crate) fn get_records(&self, path: &str) -> Option<(u16, String)> {
        let (head, body) = self.response(path)?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body))
    }

    /// Where a page sends the reader, if it does.
    pub(crate) fn location(&self, path: &str) -> Option<String> {
        let (head, _) = self.response(path)?;
        let of = |line: &str| line.to_lowercase().starts_with("location: ").then(|| line[10..].to_owned());
        head.lines().find_map(of)
    }

    /// A page as a browser gets it.
    pub(crate) fn page(&self, path: &str) -> Option<String> {
        let (_, body) = self.response_to(path, "Accept: text/html\r\n")?;
        canary::absent(path, &body);
        Some(body)
    }

    fn response(&self, path: &str) -> Option<(String, String)> {
        self.response_to(path, "")
    }

    fn response_to(&self, path: &str, headers: &str) -> Option<(String, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.to_owned(), body.to_owned()))
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if the process has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Closes the reading end of its stderr, which isn't read.
    pub(crate) fn close_log(&mut self) {
        drop(self.unread.take());
    }

    /// Kills the process with kill -9. Returns the time of the kill.
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

    /// Stops the process, as a machine without CPU time would.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        // std can only send SIGKILL.
        let arguments = ["-c", "kill -\"$0\" \"$1\"", name, &self.id().to_string()];
        assert!(Command::new("sh").args(arguments).status().unwrap().success());
    }

    /// Waits for the end of the process and of its output. Returns the exit code, none if a signal ended it.
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
            place::is_in_fields(&self.log());
            canary::absent("the log", &self.log());
            canary::absent("stdout", &self.out());
        }
    }
}

/// A port on which nothing listens now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Collects what a process writes, line by line, until it closes its end.
fn collect(from: impl std::io::Read + Send + 'static, to: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut to = to.lock().unwrap();
            to.push_str(&line);
            to.push('\n');
        }
    })
}
