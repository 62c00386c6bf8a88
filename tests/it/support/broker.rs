//! The clusters that tests share, one per profile. The first test that needs a cluster starts it.
//!
//! A test runs on the cluster with Kafka's default settings unless it chooses another one with [`on`]. Everything that its thread
//! requests uses that cluster: topics, records, processes. `WASMILL_TEST_BROKERS` replaces that default cluster with an existing one;
//! tests of other profiles then do nothing.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;

use crate::kafka;
use crate::kafka::profile::Profile;
use crate::kafka::secured::PASSWORD;
use crate::kafka::secured::Secured;
use crate::kafka::secured::USER;
use crate::support::java;
use crate::support::say;

thread_local! {
    static PROFILE: Cell<Profile> = const { Cell::new(Profile::Shipped) };
}

/// Read-locked by tests on the pair, write-locked by a test that stops a broker of it.
static PAIR: RwLock<()> = RwLock::new(());

/// Runs a test on the cluster of a profile.
pub(crate) fn on(profile: Profile, test: impl FnOnce()) {
    let _shared = (profile == Profile::Pair).then(|| PAIR.read().unwrap_or_else(PoisonError::into_inner));
    at(profile, test);
}

/// Runs a test that uses the pair exclusively, and may stop its second broker, which is restarted afterwards.
pub(crate) fn on_the_pair_alone(test: impl FnOnce(&mut kafka::Node)) {
    let _alone = PAIR.write().unwrap_or_else(PoisonError::into_inner);
    at(Profile::Pair, || {
        let mut second = Running(second());
        test(&mut second.0);
    });
}

fn at(profile: Profile, test: impl FnOnce()) {
    if profile != Profile::Shipped && env::var_os("WASMILL_TEST_BROKERS").is_some() {
        say(&format!("WASMILL_TEST_BROKERS names a cluster: what needs the profile {profile:?} does nothing"));
        return;
    }
    let _back = Back(PROFILE.replace(profile));
    test();
}

/// Restores the thread's profile, even after a panic.
struct Back(Profile);

impl Drop for Back {
    fn drop(&mut self) {
        PROFILE.set(self.0);
    }
}

/// The second broker, which is restarted if necessary when this is dropped.
struct Running(MutexGuard<'static, kafka::Node>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.has_ended() {
            let _ = self.0.start_again();
        }
    }
}

/// A running cluster. A static is never dropped: the kernel ends its nodes with this process.
struct Cluster {
    brokers: String,
    first: Option<(kafka::Node, Option<Secured>)>,
    second: Option<Mutex<kafka::Node>>,
}

fn cluster() -> &'static Cluster {
    static CLUSTERS: [OnceLock<Cluster>; 3] = [const { OnceLock::new() }; 3];
    let profile = PROFILE.get();
    let start = || {
        if let (Profile::Shipped, Ok(brokers)) = (profile, env::var("WASMILL_TEST_BROKERS")) {
            return Cluster { brokers, first: None, second: None };
        }
        if profile == Profile::Pair {
            let [first, second] = kafka::Node::start_pair(jars()).unwrap();
            let brokers = format!("{},{}", first.brokers(), second.brokers());
            java::wait_for_brokers(&brokers, 2);
            return Cluster { brokers, first: Some((first, None)), second: Some(Mutex::new(second)) };
        }
        let (node, secured) = kafka::Node::start_secured(jars(), profile).unwrap();
        Cluster { brokers: node.brokers(), first: Some((node, Some(secured))), second: None }
    };
    CLUSTERS[profile as usize].get_or_init(start)
}

/// The addresses of the brokers, as `host:port,host:port`, for the oracle, to which everything is allowed.
pub(crate) fn brokers() -> &'static str {
    &cluster().brokers
}

/// The lines for `[kafka]` in a pipeline's file.
pub(crate) fn of_wasmill() -> String {
    let list = |brokers: &str| {
        format!("brokers = [{}]", brokers.split(',').map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", "))
    };
    if PROFILE.get() != Profile::Strict {
        return list(brokers());
    }
    let ports = ports();
    format!(
        "{}\ntls = {{ ca = \"{}/ca.pem\" }}\n\
         sasl = {{ mechanism = \"SCRAM-SHA-512\", username = \"{USER}\", password = \"{PASSWORD}\" }}",
        list(&format!("127.0.0.1:{}", ports.sasl)),
        ports.folder.display()
    )
}

/// wasmill's user on this cluster, if the cluster allows nothing without an ACL.
pub(crate) fn user() -> Option<&'static str> {
    (PROFILE.get() == Profile::Strict).then_some(USER)
}

/// The ports for TLS and SASL of the cluster's first node.
pub(crate) fn ports() -> &'static Secured {
    let first = cluster().first.as_ref().expect("a node of our own");
    first.1.as_ref().expect("a node with such ports")
}

fn second() -> MutexGuard<'static, kafka::Node> {
    cluster().second.as_ref().expect("the pair").lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder with Kafka's jars.
pub(crate) fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| kafka::prepare().unwrap())
}

/// Creates topics of one partition on a node of a test's own.
pub(crate) fn create_at(node: &kafka::Node, topics: &[&str]) {
    for topic in topics {
        let made = Command::new("java")
            .arg("-cp")
            .arg(jars().join("*"))
            .args(["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &node.brokers()])
            .args(["--create", "--topic", topic, "--partitions", "1"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

/// Sends a signal to a node of a test's own.
pub(crate) fn signal(node: &kafka::Node, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &node.id().to_string()]).status().unwrap();
    assert!(sent.success());
}
