//! What a node's `server.properties` say, for each profile: the clusters that wasmill has to do with.
//!
//! What isn't named here is as Kafka ships it. What every profile changes keeps tests short, and changes nothing that a client may rely on.

use std::path::Path;

use super::secured::Secured;

/// A cluster that tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Profile {
    /// As Kafka ships: a topic is created when a client asks for it, a timestamp may be an hour ahead, a batch takes a MiB. There is an
    /// authorizer, and everybody may do everything that no ACL speaks of.
    Shipped,
    /// Nobody may do what no ACL allows, nothing is created by itself, limits are small. The plain port is the judge's, who may do everything.
    Strict,
    /// Two brokers, and topics with a replica on each. The first is the controller, so the second is the one that may be stopped.
    Pair,
}

/// The limit of a strict cluster for a batch.
const STRICT_BATCH: u32 = 100_000;
/// The longest session that it grants.
const STRICT_SESSION_MS: u32 = 60_000;

/// What is a node's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    pub(crate) profile: Profile,
    pub(crate) id: u32,
    pub(crate) port: u16,
    /// The controller's port, which is node 1.
    pub(crate) controller: u16,
    /// Where a second listener listens, and where it says that it does.
    pub(crate) second: Option<(u16, u16)>,
    pub(crate) secured: Option<&'a Secured>,
}

impl Own<'_> {
    /// The text of the file; the node keeps its records under `data`.
    ///
    /// What a deleted topic held is thrown away at once. A broker keeps it for a minute by default, and meanwhile the kernel writes it to
    /// the disk, in bursts that slowed single drains of the benchmark by a third.
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
            // A broker that died is missed after three seconds instead of nine.
            Profile::Pair => "allow.everyone.if.no.acl.found=true\n\
                 default.replication.factor=2\n\
                 broker.session.timeout.ms=3000\n\
                 broker.heartbeat.interval.ms=500\n"
                .to_owned(),
        }
    }
}
