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

struct Both {
    brokers: String,
    proxied: String,
    proxy: Proxy,
    node: Mutex<kafka::Node>,
}

static BEHIND: AtomicBool = AtomicBool::new(false);

/// Starts the node with the first call.
fn both() -> &'static Both {
    static BOTH: OnceLock<Both> = OnceLock::new();
    BOTH.get_or_init(|| {
        let proxy = Proxy::bind();
        let node = kafka::Node::start_behind(jars(), Some(proxy.port())).unwrap();
        proxy.serve(node.hidden().unwrap());
        let proxied = format!("127.0.0.1:{}", proxy.port());
        // Nobody drops a static: the kernel ends the node with this process.
        Both { brokers: node.brokers(), proxied, proxy, node: Mutex::new(node) }
    })
}

/// Where the node listens, for the judge.
pub(crate) fn brokers() -> &'static str {
    &both().brokers
}

/// Where wasmill goes to.
pub(crate) fn of_wasmill() -> &'static str {
    let both = both();
    if BEHIND.load(Ordering::Relaxed) { &both.proxied } else { &both.brokers }
}

/// From here on wasmill goes through this.
pub(crate) fn proxy() -> &'static Proxy {
    BEHIND.store(true, Ordering::Relaxed);
    &both().proxy
}

/// The node itself, to be hurt.
pub(crate) fn node() -> MutexGuard<'static, kafka::Node> {
    both().node.lock().unwrap_or_else(PoisonError::into_inner)
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
