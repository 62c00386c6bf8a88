//! The Kafka node of a row, with a proxy in front of its second listener. The oracle connects directly to the node,
//! wasmill directly or through the proxy.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::kafka;
use crate::proxy::Proxy;
use crate::support::java;

struct Both {
    brokers: String,
    proxied: String,
    proxy: Proxy,
    nodes: Vec<Mutex<kafka::Node>>,
}

static BEHIND: AtomicBool = AtomicBool::new(false);
static PAIR: AtomicBool = AtomicBool::new(false);

/// The nodes, started by the first call.
fn both() -> &'static Both {
    static BOTH: OnceLock<Both> = OnceLock::new();
    BOTH.get_or_init(|| {
        let proxy = Proxy::bind();
        let proxied = format!("127.0.0.1:{}", proxy.port());
        // A static is never dropped: the kernel ends the nodes with this process.
        if PAIR.load(Ordering::Relaxed) {
            let nodes = kafka::Node::start_pair(jars()).unwrap();
            let brokers = nodes.each_ref().map(kafka::Node::brokers).join(",");
            java::wait_for_brokers(&brokers, nodes.len());
            return Both { brokers, proxied, proxy, nodes: nodes.map(Mutex::new).into() };
        }
        let node = kafka::Node::start_behind(jars(), proxy.port()).unwrap();
        proxy.serve(node.hidden().unwrap());
        Both { brokers: node.brokers(), proxied, proxy, nodes: vec![Mutex::new(node)] }
    })
}

/// The node's address for the oracle.
pub(crate) fn brokers() -> &'static str {
    &both().brokers
}

/// The lines for `[kafka]` in a pipeline's file.
pub(crate) fn of_wasmill() -> String {
    let both = both();
    let brokers = if BEHIND.load(Ordering::Relaxed) { &both.proxied } else { &both.brokers };
    format!("brokers = [\"{}\"]", brokers.replace(',', "\", \""))
}

/// On this cluster everything is allowed without a permission.
pub(crate) fn user() -> Option<&'static str> {
    None
}

/// The proxy, which wasmill uses from now on.
pub(crate) fn proxy() -> &'static Proxy {
    BEHIND.store(true, Ordering::Relaxed);
    &both().proxy
}

/// Starts two brokers for this row, if nothing was started yet. Faults may be injected into the second one.
pub(crate) fn pair() {
    PAIR.store(true, Ordering::Relaxed);
}

/// The last node, for injecting faults.
pub(crate) fn node() -> MutexGuard<'static, kafka::Node> {
    both().nodes.last().expect("there is one").lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder with Kafka's jars.
pub(crate) fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| kafka::prepare().unwrap())
}

/// Sends a signal, which std can't.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &process.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {process}");
}
