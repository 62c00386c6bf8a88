//! Clients of the server that mean no good: the data path and its connections to Kafka don't notice them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Resource;
use rustix::process::Rlimit;

use crate::support;
use crate::support::component;
use crate::support::delay;
use crate::support::java;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);
const IDLE: usize = 2_000;
/// Those of each other kind, at the same time.
const AT_ONCE: usize = 8;

/// Clients of one kind, each on a thread of its own until they are told to end.
struct Clients {
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// How often one of them was through.
    times: Arc<AtomicUsize>,
}

impl Clients {
    /// `once` is done again and again, on a new connection each time.
    fn start(address: &str, once: fn(TcpStream, &AtomicBool) -> std::io::Result<()>) -> Clients {
        let (end, times) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..AT_ONCE).map(|_| {
            let (end, times, address) = (Arc::clone(&end), Arc::clone(&times), address.to_owned());
            thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    let stream = TcpStream::connect(&address).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
                    // The server may close the connection at any time.
                    let _ = once(stream, &end);
                    times.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Clients { end, threads, times }
    }

    fn end(self) -> usize {
        self.end.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.times.load(Ordering::Relaxed)
    }
}

/// Sends a header byte by byte.
fn slowly(mut stream: TcpStream, end: &AtomicBool) -> std::io::Result<()> {
    for byte in "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".bytes().chain(std::iter::repeat(b'x')) {
        if end.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(&[byte])?;
        thread::park_timeout(Duration::from_millis(50));
    }
    Ok(())
}

/// Sends a body of a gigabyte, as far as it is taken.
fn much(mut stream: TcpStream, end: &AtomicBool) -> std::io::Result<()> {
    stream.write_all(
        b"POST /api/v1/pipelines/quiet/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
    )?;
    let piece = vec![b'x'; 1 << 20];
    while !end.load(Ordering::Relaxed) {
        stream.write_all(&piece)?;
    }
    Ok(())
}

/// Tries a token.
fn guess(mut stream: TcpStream, _: &AtomicBool) -> std::io::Result<()> {
    stream.write_all(
        b"POST /api/v1/pipelines/quiet/stop HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer guess\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 401"), "{answer}");
    Ok(())
}

#[test]
fn hostile_clients_change_neither_delays_nor_connections_to_kafka() {
    let _alone = support::load();
    let limits = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }).unwrap();
    let seconds = if support::full() { 30 } else { 8 };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pipelines")).unwrap();
    fs::write(folder.path().join("plugin.wasm"), component::forward()).unwrap();
    let topics = delay::topics("hostile-clients");
    let [input, output] = &topics;
    let group = unique("hostile-clients");
    let pipeline = Pipeline::new(input, output, &group, "");
    let pipelines = folder.path().join("pipelines");
    fs::write(pipelines.join("quiet.toml"), fs::read_to_string(pipeline.file()).unwrap()).unwrap();
    fs::write(pipelines.join("wasmill.toml"), "[http]\ntoken = \"0123456789abcdef\"\n").unwrap();
    let mut process = Process::fleet(&pipelines);
    process.ready();
    let before = delay::measure(&mut process, &topics, seconds);
    let open = process.descriptors();

    let address = process.address();
    let idle: Vec<TcpStream> = (0..IDLE).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    let clients = [slowly, much, guess].map(|once| Clients::start(&address, once));
    let beside = delay::measure(&mut process, &topics, seconds);
    let most = process.descriptors();
    let is_closed = |file: &&PathBuf| file.to_string_lossy().starts_with("socket:") && !most.contains(file);
    let closed: Vec<&PathBuf> = open.iter().filter(is_closed).collect();
    process.wait("a probe to be answered", LIMIT, |process| {
        process.get("/readyz").is_some_and(|(status, _)| status == 200)
    });
    let times = clients.map(Clients::end);
    say(&format!(
        "hostile clients: p50 and p99 {before:?} ms, and {beside:?} ms beside {} idle connections and {times:?} slow headers, large bodies \
         and wrong tokens; {} and {} open files",
        idle.len(),
        open.len(),
        most.len()
    ));
    assert!(idle.len() == IDLE && times.iter().all(|&times| times >= AT_ONCE), "{times:?}");
    assert!(most.len() < open.len() + 300, "{} files were open, and then {}", open.len(), most.len());
    assert!(closed.is_empty(), "connections to Kafka were closed: {closed:?}");
    assert_eq!(java::records(input), java::records(output));
    drop(idle);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}
