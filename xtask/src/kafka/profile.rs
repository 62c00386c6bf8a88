//! A node's `server.properties` for each profile: the kinds of clusters that wasmill is tested with.
//!
//! Settings that are not listed have Kafka's defaults. The settings that all profiles share make tests faster, and change nothing that
//! clients rely on.

use std::path::Path;

use super::secured::Secured;

/// A cluster that tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Profile {
    /// Kafka's defaults: topics are created when a client asks for them, timestamps may be an hour ahead, and a batch may have 1 MiB. There
    /// is an authorizer, and everything is allowed for resources without an ACL.
    Shipped,
    /// Nothing is allowed without an ACL, topics are not created automatically, and limits are small. On the plain port, which the test's
    /// own clients use, everything is allowed.
    Strict,
    /// Two brokers, with a replica of each topic on both. The first is also the controller, so a test may stop the second one.
    Pair,
}

/// The maximum size of a batch in a strict cluster.
const STRICT_BATCH: u32 = 100_000;
/// The maximum session timeout in a strict cluster.
const STRICT_SESSION_MS: u32 = 60_000;

/// The settings that differ between nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    pub(crate) profile: Profile,
    pub(crate) id: u32,
    pub(crate) port: u16,
    /// The port of the controller, which is node 1.
    pub(crate) controller: u16,
    /// The actual port of a second listener, and the port that it advertises.
    pub(crate) second: Option<(u16, u16)>,
    pub(crate) secured: Option<&'a Secured>,
}

impl Own<'_> {
    /// The text of the file. The node keeps its data under `data`.
    ///
    /// The files of a deleted topic are removed almost at once. By default a broker keeps them for a minute, and the kernel writes them to
    /// disk meanwhile, in bursts that disturb benchmarks.
    pub(crate) fn text(&self, data: &Path) -> String {
        let Own { profile, id, port, controller, second, secured } = *self;
        let (listener, advertised, protocol) = match second {
            Some((hidden, advertised)) => (
                format!(",BEHIND://127.0.0.1:{hidden}"),
                format!(",BEHIND://127.0.0.1:{advertised}"),
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,BEHIND:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
                 inter.broker.listener.name=PLAINTEXT\n",
            ),
            None => (String::new(), String::new(), ""),
        };
        let (roles, control) = if id == 1 {
            ("broker,controller", format!(",CONTROLLER://127.0.0.1:{controller}"))
        } else {
            ("broker", String::new())
        };
        let replicas = if profile == Profile::Pair { 2 } else { 1 };
        let text = format!(
            "process.roles={roles}\n\
             node.id={id}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port}{control}{listener}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
             {protocol}\
             log.dirs={}\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             offsets.topic.replication.factor={replicas}\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=4\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n\
             share.coordinator.state.topic.replication.factor={replicas}\n\
             share.coordinator.state.topic.min.isr=1\n\
             log.segment.delete.delay.ms=100\n\
             log.cleaner.backoff.ms=500\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n\
             {}",
            data.join("logs").display(),
            profile.text()
        );
        match secured {
            Some(secured) => secured.add_to(&text),
            None => text,
        }
    }
}

impl Profile {
    fn text(self) -> String {
        match self {
            Profile::Shipped => "allow.everyone.if.no.acl.found=true\n".to_owned(),
            Profile::Strict => format!(
                "super.users=User:ANONYMOUS\n\
                 auto.create.topics.enable=false\n\
                 message.max.bytes={STRICT_BATCH}\n\
                 group.max.session.timeout.ms={STRICT_SESSION_MS}\n"
            ),
            // A dead broker is detected after three seconds instead of nine.
            Profile::Pair => "allow.everyone.if.no.acl.found=true\n\
                 default.replication.factor=2\n\
                 broker.session.timeout.ms=3000\n\
                 broker.heartbeat.interval.ms=500\n"
                .to_owned(),
        }
    }
}
