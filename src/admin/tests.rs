//! The server as a probe sees it: raw bytes over a socket.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use super::Server;
use crate::metrics::Metrics;
use crate::pipeline::Check;
use crate::pipeline::Health;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn ask(server: &Server, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn server(health: &Arc<Mutex<Health>>) -> Server {
    let health = Arc::clone(health);
    let metrics = Metrics::new("orders", &["mask"], &["main"]);
    Server::start(ANY, metrics, Arc::new(move || health.lock().unwrap().clone())).unwrap()
}

#[test]
fn probes_tell_what_the_pipeline_says_now() {
    let health = Arc::new(Mutex::new(Health {
        live: true,
        ready: false,
        checks: vec![
            Check { ok: true, name: "config".into(), detail: "ok".into() },
            Check { ok: false, name: "broker".into(), detail: "none of 2 answers".into() },
        ],
    }));
    let server = server(&health);
    assert_eq!(ask(&server, "/livez"), (200, "ok\n".into()));
    assert_eq!(ask(&server, "/readyz").0, 503);
    assert_eq!(ask(&server, "/readyz?verbose"), (503, "[+]config ok\n[-]broker: none of 2 answers\n".into()));
    {
        let mut health = health.lock().unwrap();
        health.ready = true;
        health.checks[1].ok = true;
    }
    assert_eq!(ask(&server, "/readyz"), (200, "ok\n".into()));
    assert_eq!(ask(&server, "/readyz?verbose=1"), (200, "[+]config ok\n[+]broker ok\n".into()));
    health.lock().unwrap().live = false;
    assert_eq!(ask(&server, "/livez").0, 503);
}

#[test]
fn metrics_and_version_are_there_and_other_paths_are_answered_with_these() {
    let server = server(&Arc::default());
    let (status, text) = ask(&server, "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE wasmill_records_processed_total counter"), "{text}");
    assert_eq!(ask(&server, "/version"), (200, format!("wasmill {}\n", env!("CARGO_PKG_VERSION"))));
    let (status, text) = ask(&server, "/metricz");
    assert_eq!(status, 404);
    assert!(text.contains("/metrics") && text.contains("/readyz"), "{text}");
}

#[test]
fn a_taken_address_is_an_error_and_a_dropped_server_frees_it() {
    let first = server(&Arc::default());
    let addr = first.local_addr();
    let again = || Server::start(addr, Metrics::new("orders", &[], &[]), Arc::new(Health::default));
    assert_eq!(again().unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    // An open connection doesn't keep it.
    let _open = TcpStream::connect(addr).unwrap();
    drop(first);
    again().unwrap();
}
