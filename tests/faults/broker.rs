//! The node of a row, with a proxy before its second listener: the judge goes straight to the node, wasmill by either way.
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

/// Starts the node, or both, with the first call.
fn both() -> &'static Both {
    static BOTH: OnceLock<Both> = OnceLock::new();
    BOTH.get_or_init(|| {
        let proxy = Proxy::bind();
        let proxied = format!("127.0.0.1:{}", proxy.port());
        // Nobody drops a static: the kernel ends the nodes with this process.
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

/// Where the node listens, for the judge.
pub(crate) fn brokers() -> &'static str {
    &both().brokers
}

/// What stands under `[kafka]` in a pipeline's file.
pub(crate) fn of_wasmill() -> String {
    let both = both();
    let brokers = if BEHIND.load(Ordering::Relaxed) { &both.proxied } else { &both.brokers };
    format!("brokers = [\"{}\"]", brokers.replace(',', "\", \""))
}

/// Nobody needs a permission here.
pub(crate) fn user() -> Option<&'static str> {
    None
}

/// From here on wasmill goes through this.
pub(crate) fn proxy() -> &'static Proxy {
    BEHIND.store(true, Ordering::Relaxed);
    &both().proxy
}

/// The row runs on two brokers, if nothing was started yet. The second of them may be hurt.
pub(crate) fn pair() {
    PAIR.store(true, Ordering::Relaxed);
}

/// The last node, to be hurt.
pub(crate) fn node() -> MutexGuard<'static, kafka::Node> {
    both().nodes.last().expect("there is one").lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder with Kafka's jars.
pub(crate) fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| kafka::prepare().unwrap())
}

/// Sends a signal by its name, which std can't.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &process.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {process}");
}
