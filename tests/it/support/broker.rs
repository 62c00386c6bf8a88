//! The clusters that tests share, one for each profile: each is started by the first test that wants it.
//!
//! A test runs on the cluster as Kafka ships it unless it says otherwise by [`on`]. What it asks for from its thread goes there: topics,
//! records, processes. `WASMILL_TEST_BROKERS` names an existing cluster in place of that one; then tests of other profiles do nothing.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::env;
use std::path::Path;
use std::path::PathBuf;
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

/// Held by tests on the pair, for writing by one that stops a broker of it.
static PAIR: RwLock<()> = RwLock::new(());

/// Runs a test on the cluster of a profile.
pub(crate) fn on(profile: Profile, test: impl FnOnce()) {
    let _shared = (profile == Profile::Pair).then(|| PAIR.read().unwrap_or_else(PoisonError::into_inner));
    at(profile, test);
}

/// Runs a test that has the pair for itself, and may stop its second broker. That runs again afterwards.
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

/// Restores the thread's profile, also after a panic.
struct Back(Profile);

impl Drop for Back {
    fn drop(&mut self) {
        PROFILE.set(self.0);
    }
}

/// The second broker, which runs when this is dropped.
struct Running(MutexGuard<'static, kafka::Node>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.has_ended() {
            let _ = self.0.start_again();
        }
    }
}

/// A cluster that runs. Nobody drops a static: the kernel ends its nodes with this process.
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

/// Where the brokers listen, as `host:port,host:port`: the judge's way, who may do everything.
pub(crate) fn brokers() -> &'static str {
    &cluster().brokers
}

/// What stands under `[kafka]` in a pipeline's file.
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

/// The user that wasmill is on this cluster, where nobody may do what no ACL allows.
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
