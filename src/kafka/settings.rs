//! The settings of `kafka`, and how they become librdkafka's configuration.
//!
//! `config` fills the types. Defaults that wasmill chooses itself are here with their reasons. [`refused`] rejects keys
//! that would break a guarantee.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::limits::Batching;
use super::limits::TopicLimits;
use super::members;
pub use super::members::is_address;
use super::sys::OnTokenNeeded;
pub use super::token::OidcClient;
pub use super::token::TokenCommand;
pub use super::token::TokenOrigin;
pub use super::token::TokenSource;
pub use super::token_keeper::Tokens;
pub use crate::record::is_reserved_topic as is_reserved;
use crate::secret::Hidden;
use crate::secret::Secret;

/// Everything about the connection, the input and the outputs of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// `client.id` without the worker's number.
    pub client_id: String,
    /// `host:port` at which this process answers questions about its state; other members find it in the consumer's `client.id`.
    pub advertise: Option<String>,
    /// TLS, or `None` for a plain connection.
    pub tls: Option<Tls>,
    /// SASL, if any.
    pub sasl: Option<Sasl>,
    /// Keys for both clients, passed on unchanged.
    pub librdkafka: BTreeMap<String, Secret>,
    /// The input.
    pub input: Input,
    /// The outputs, in file order.
    pub outputs: Vec<Output>,
    /// The dead-letter output, if any.
    pub dead_letter: Option<Output>,
    /// The changelog of the step with windows, if there is one.
    pub changelog: Option<Output>,
    /// Whether a missing changelog topic is created at the start.
    pub creates_changelog: bool,
    /// How often offsets are committed, with exactly-once delivery by a transaction.
    pub commit_every: Duration,
    /// What is promised about outputs.
    pub delivery: Guarantee,
    /// Whether the cluster reports the limits of its topics. The embedded broker never answers such a request.
    pub reports_topic_limits: bool,
    /// Values passed to librdkafka that must not appear in its messages.
    pub hidden: Hidden,
    /// The name by which the process takes orders for the pipeline after it has stopped; `None` if the process ends then. No file says so.
    pub takes_orders_as: Option<String>,
}

impl Settings {
    /// All outputs: those of the file, then the dead-letter output, then the changelog.
    pub fn written(&self) -> impl Iterator<Item = &Output> {
        self.outputs.iter().chain(&self.dead_letter).chain(&self.changelog)
    }

    /// The topics of all outputs that have one, each with the output's index in [`Settings::written`].
    pub fn topics_written(&self) -> impl Iterator<Item = (usize, &str)> {
        self.written().enumerate().filter_map(|(place, output)| Some((place, output.topic.as_deref()?)))
    }

    /// The topic of an output, by its index in [`Settings::written`]; empty if it has none.
    #[must_use]
    pub fn topic_of(&self, place: usize) -> &str {
        self.written().nth(place).and_then(|output| output.topic.as_deref()).unwrap_or_default()
    }

    /// How many topics records may name: those and the outputs have their numbers in common.
    #[must_use]
    pub fn named_topics_max(&self) -> usize {
        OUTPUTS_MAX.saturating_sub(self.written().count())
    }

    /// The index of the changelog among them.
    #[must_use]
    pub fn changelog_index(&self) -> Option<usize> {
        self.changelog.as_ref().map(|_| self.outputs.len() + usize::from(self.dead_letter.is_some()))
    }

    /// The user for messages, unless it is a secret.
    #[must_use]
    pub fn shown_user(&self) -> Option<String> {
        let Some(Sasl::Password { username, .. }) = &self.sasl else { return None };
        Some(username).filter(|user| !self.hidden.holds(user)).cloned()
    }

    /// What keeps the token, if clients log in with one.
    #[must_use]
    pub fn tokens(&self) -> Option<&Tokens> {
        match &self.sasl {
            Some(Sasl::Token(tokens)) => Some(tokens),
            Some(Sasl::Password { .. }) | None => None,
        }
    }

    /// What a client calls for its tokens, if it logs in with one. The error says why it can't be made.
    pub(super) fn token_hook(&self) -> Result<Option<OnTokenNeeded>, String> {
        self.tokens().map(Tokens::hook).transpose()
    }
}

/// What is promised about the outputs of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// They are delivered, and repeated after a crash.
    #[default]
    AtLeastOnce,
    /// They are delivered in one transaction with the record's offset: readers of committed records get them once.
    ExactlyOnce {
        /// `transactional.id` without the worker's number. No two processes may have the same one at a time. It begins as
        /// [`transactional_ids`] says.
        transactional_id: String,
    },
}

/// What the transactional ids of a group's members begin with.
#[must_use]
pub fn transactional_ids(group: &str) -> String {
    format!("wasmill-{group}-")
}

/// TLS of the connection. Paths are passed on unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificate authority's PEM; `None` means the system's.
    pub ca: Option<String>,
    /// The client's certificate.
    pub cert: Option<String>,
    /// The client's key.
    pub key: Option<String>,
}

/// SASL of the connection. Its `Debug` omits the user and the password.
#[derive(Clone, PartialEq, Eq)]
pub enum Sasl {
    /// With a password.
    Password {
        /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
        mechanism: String,
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// `OAUTHBEARER`: with a token, which expires.
    Token(Tokens),
}

impl Sasl {
    /// Kafka's name of the mechanism.
    #[must_use]
    pub fn mechanism(&self) -> &str {
        match self {
            Sasl::Password { mechanism, .. } => mechanism,
            Sasl::Token(_) => "OAUTHBEARER",
        }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl").field("mechanism", &self.mechanism()).finish_non_exhaustive()
    }
}

/// The input of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Topics, or patterns that begin with `^`.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// Static membership, if any.
    pub instance_id: Option<String>,
    /// Where a partition without a committed offset starts.
    pub start: Start,
    /// What to do when the committed offset no longer exists.
    pub on_gap: OnGap,
    /// What to do when a topic was deleted and created again.
    pub on_recreate: OnRecreate,
    /// Whether records of open or aborted transactions are read.
    pub isolation: Isolation,
    /// The group removes a member that is silent for this long.
    pub session_timeout: Duration,
    /// The longest time between two polls.
    pub max_poll_interval: Duration,
    /// Keys for the consumer, passed on unchanged.
    pub librdkafka: BTreeMap<String, Secret>,
}

/// Where a partition without a committed offset starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    Earliest,
    /// At the end: only new records are read.
    Latest,
    /// At the first record that is not older than this time, in milliseconds since 1970-01-01 UTC.
    Timestamp(i64),
}

/// What to do when retention has deleted the record at the committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// Stop the pipeline with a message that names both offsets.
    Stop,
    /// Continue at the oldest record and count the missed records.
    Continue,
}

/// What to do when a topic has another id than the one of the committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRecreate {
    /// Stop the pipeline with a message that names both ids.
    Stop,
    /// Read the new topic from its beginning and count the event.
    Beginning,
}

/// Kafka's isolation level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Committed records only.
    ReadCommitted,
    /// All records.
    ReadUncommitted,
}

/// An output of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name in the file: `[output.NAME]`.
    pub name: Arc<str>,
    /// The topic of records that name none; `None` if all have to.
    pub topic: Option<String>,
    /// How the partition is chosen.
    pub partition: Partition,
    /// Kafka's name of the codec; `none` for no compression.
    pub compression: String,
    /// Keys for this topic, passed on unchanged.
    pub librdkafka: BTreeMap<String, Secret>,
}

impl Output {
    /// The topic; empty if all records have to name one.
    #[must_use]
    pub fn topic_name(&self) -> &str {
        self.topic.as_deref().unwrap_or_default()
    }
}

/// The most outputs a pipeline may have, with the topics that records name. Each message carries the index of its output, which has few
/// bits.
pub const OUTPUTS_MAX: usize = 1000;

/// How the partition of an output is chosen if the plugin names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// By the murmur2 hash of the key, like Kafka's own client. For a null key, any partition.
    ByKey,
    /// The number of the input partition.
    SameAsInput,
}

/// The key that disables the verification of the brokers' certificates.
pub const VERIFICATION: &str = "enable.ssl.certificate.verification";

impl Settings {
    /// What the file permits, but the log should warn about at every start.
    #[must_use]
    pub fn risks(&self) -> Vec<&'static str> {
        let mut risks = Vec::new();
        if self.tls.is_some() && self.librdkafka.get(VERIFICATION).is_some_and(|value| value.0 != "true") {
            risks.push("INSECURE: brokers' certificates are not verified, so anyone on the network can read and change the records");
        }
        match self.sasl.as_ref().filter(|_| self.tls.is_none()).map(Sasl::mechanism) {
            None => {}
            Some("PLAIN") => risks.push("INSECURE: PLAIN without TLS sends the password in clear: set `kafka.tls`"),
            Some("OAUTHBEARER") => {
                risks.push("INSECURE: OAUTHBEARER without TLS sends the token in clear: set `kafka.tls`");
            }
            Some(_) => risks.push(
                "`kafka.sasl` without `kafka.tls`: the password is not sent, but anyone on the network can read the records",
            ),
        }
        if self.tokens().is_some_and(|tokens| tokens.source().origin.sends_secret_in_clear()) {
            risks.push("INSECURE: `kafka.sasl.oidc.url` without TLS sends the client's secret in clear");
        }
        risks
    }
}

/// Why a librdkafka key can't be set in a file; `None` if it can. `insecure` says that the file explicitly permits
/// unverified certificates.
#[must_use]
pub fn refused(key: &str, value: &str, insecure: bool) -> Option<&'static str> {
    let reason = match key {
        "enable.auto.commit" | "enable.auto.offset.store" | "auto.commit.interval.ms" => {
            "offsets are committed only for delivered records; `limits.commit_every` says how often"
        }
        "enable.partition.eof" => "wasmill doesn't use end-of-partition events",
        "group.id" => "set `input.group`",
        "group.instance.id" => "set `input.instance_id`",
        "group.protocol" | "partition.assignment.strategy" => "revokes are drained for the cooperative protocol only",
        "isolation.level" => "set `input.isolation`",
        "auto.offset.reset" => "set `input.start` and `input.on_gap`, which lose no records silently",
        "session.timeout.ms" => "set `input.session_timeout`",
        "max.poll.interval.ms" => "set `input.max_poll_interval`",
        "transactional.id" => "it belongs to `delivery = \"exactly_once\"`",
        "acks" | "request.required.acks" => "an output counts only when every in-sync replica has it",
        "enable.idempotence" | "enable.gapless.guarantee" => "without it, retries reorder and repeat outputs",
        "message.timeout.ms" | "delivery.timeout.ms" | "message.send.max.retries" | "retries" => {
            "deliveries never time out: an unavailable broker causes back-pressure and loses nothing"
        }
        "statistics.interval.ms" => "the lag metrics depend on it",
        "allow.auto.create.topics" => "a misspelt or deleted topic would be created without a message",
        "delivery.report.only.error" => "wasmill sets it, and counts what is delivered by itself",
        "plugin.library.paths" | "ssl.engine.location" | "ssl.providers" => "it would load code into this process",
        "bootstrap.servers" | "metadata.broker.list" => "set `kafka.brokers`",
        "client.id" => "set `kafka.client_id`",
        "compression.codec" | "compression.type" => "set `compression` of the output",
        "partitioner" => "set `partition` of the output",
        "sasl.username" | "sasl.password" | "sasl.mechanism" | "sasl.mechanisms" => "set `kafka.sasl`",
        "enable.sasl.oauthbearer.unsecure.jwt" => "set `kafka.sasl`",
        _ if key.starts_with("sasl.oauthbearer.") => "set `kafka.sasl`",
        "security.protocol" => "set `kafka.tls` and `kafka.sasl`",
        "enable.ssl.certificate.verification" if value != "true" && !insecure => {
            "anyone on the network could read and change the records"
        }
        _ if key.starts_with("max.in.flight") => "it is part of the order guarantee",
        _ if key.ends_with("_cb") || key == "opaque" || key == "log.queue" => "it is not a setting but a hook",
        _ => return None,
    };
    Some(reason)
}

/// The configuration of a client that only sends requests.
pub(crate) fn asker(settings: &Settings) -> BTreeMap<String, String> {
    let mut config = client(settings, 0);
    config.insert("client.id".into(), format!("{}-check", settings.client_id));
    config.insert("statistics.interval.ms".into(), "0".into());
    config
}

/// The consumer's configuration for the worker of this number.
pub(crate) fn consumer(settings: &Settings, worker: usize) -> BTreeMap<String, String> {
    let input = &settings.input;
    let mut config = client(settings, worker);
    // A pattern asks for all topics of the cluster each time.
    let has_no_pattern = !input.topics.iter().any(|topic| topic.starts_with('^'));
    if has_no_pattern && !settings.librdkafka.contains_key(REFRESH) {
        config.insert(REFRESH.into(), "15000".into());
    }
    let defaults = [
        // The prefetch is bounded. After it was full, fetching resumes within 5 ms: librdkafka's default of 1 s slows a
        // drain down.
        ("queued.max.messages.kbytes", "16384"),
        // librdkafka keeps a few hundred bytes per prefetched message besides the record. With small records, more of
        // them take memory and gain no speed.
        ("queued.min.messages", "20000"),
        ("fetch.queue.backoff.ms", "5"),
        ("fetch.message.max.bytes", "1048576"),
        ("fetch.max.bytes", "16777216"),
        // A fetch returns as soon as there is a record, or after this time. A broker answers the requests of a connection one after
        // the other, so questions to it wait for the fetch as well.
        ("fetch.wait.max.ms", "100"),
        ("check.crcs", "true"),
    ];
    set(&mut config, &defaults);
    config.extend(plain(&input.librdkafka));
    if let Some(address) = &settings.advertise {
        let id = format!("{}-{worker}", settings.client_id);
        config.insert("client.id".into(), members::client_id(&id, address));
    }
    let fixed = [
        ("group.id", input.group.clone()),
        ("session.timeout.ms", millis(input.session_timeout)),
        ("max.poll.interval.ms", millis(input.max_poll_interval)),
        ("isolation.level", input.isolation.as_kafka().to_owned()),
        // The worker stores an offset once all outputs of the records below it are acknowledged, and commits it, one
        // commit at a time.
        ("enable.auto.offset.store", "false".to_owned()),
        ("enable.auto.commit", "false".to_owned()),
        // Any other value would also apply when retention has deleted the record at the committed offset, and silently
        // skip records.
        ("auto.offset.reset", "error".to_owned()),
        ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
        ("allow.auto.create.topics", "false".to_owned()),
        // For the end offsets of partitions, and the time of the brokers' last answer.
        ("statistics.interval.ms", "5000".to_owned()),
    ];
    config.extend(fixed.map(|(key, value)| (key.to_owned(), value)));
    if let Some(id) = &input.instance_id {
        config.insert("group.instance.id".into(), id.clone());
    }
    if let Some(ignored) = ignored(settings, config.get(IGNORED)) {
        config.insert(IGNORED.into(), ignored);
    }
    // Several heartbeats must fit into the session timeout. A member learns of a rebalance with its next heartbeat, and meanwhile the
    // partitions of one that left have no owner. A cooperative rebalance has two such waits.
    let heartbeat = (input.session_timeout / 3).min(Duration::from_millis(500));
    config.entry("heartbeat.interval.ms".into()).or_insert_with(|| millis(heartbeat));
    config
}

/// The largest value that librdkafka accepts for `message.max.bytes`.
pub(super) const MESSAGE_BYTES_MAX: usize = 1_000_000_000;

/// The key that says how often a client asks for the partitions of its topics.
const REFRESH: &str = "topic.metadata.refresh.interval.ms";

/// The key that hides topics from a client: patterns, separated by commas.
const IGNORED: &str = "topic.blacklist";

/// The topics that a consumer with a pattern ignores: those that the file excludes, reserved ones, and the pipeline's
/// own outputs, whose records would be processed again and again. `None` without a pattern, since a topic given by name
/// is always read.
fn ignored(settings: &Settings, own: Option<&String>) -> Option<String> {
    if !settings.input.topics.iter().any(|topic| topic.starts_with('^')) {
        return None;
    }
    let reserved = ["^__", "\\.changelog$", "\\.repartition$"].map(str::to_owned);
    // The dot is the only character of a topic's name with a meaning in a pattern.
    let written = settings.topics_written().map(|(_, topic)| format!("^{}$", topic.replace('.', "\\.")));
    let all: Vec<String> = own.cloned().into_iter().chain(reserved).chain(written).collect();
    Some(all.join(","))
}

/// The producer's configuration for the worker of this number. `queue_bytes` bounds its unacknowledged bytes.
pub(crate) fn producer(
    settings: &Settings,
    worker: usize,
    queue_bytes: usize,
    limits: &TopicLimits,
    batching: Batching,
) -> BTreeMap<String, String> {
    let mut config = client(settings, worker);
    let defaults = [
        // A longer linger saves no CPU time, here or in the broker, and a shorter one costs more.
        ("linger.ms", "2"),
        ("batch.num.messages", "10000"),
        ("queue.buffering.max.messages", "1000000"),
    ];
    set(&mut config, &defaults);
    // An empty queue always has room for the largest record that a topic is known to accept.
    let known = limits.bytes.iter().copied().flatten().filter(|&bytes| bytes <= MESSAGE_BYTES_MAX).max().unwrap_or(0);
    let kbytes = queue_bytes.max(known).max(limits.largest).div_ceil(1024).clamp(16 * 1024, 2 * 1024 * 1024);
    config.insert("queue.buffering.max.kbytes".into(), kbytes.to_string());
    config.insert("message.max.bytes".into(), limits.message_bytes().to_string());
    let most = limits.batch_bytes();
    let own: usize = config.get("batch.size").and_then(|own| own.parse().ok()).unwrap_or(most);
    config.insert("batch.size".into(), own.min(most).to_string());
    match batching {
        // Otherwise the messages behind a refused batch would be written before it.
        Batching::Full => config.insert("enable.gapless.guarantee".into(), "true".into()),
        Batching::Single => config.insert("batch.num.messages".into(), "1".into()),
    };
    let fixed = [
        // Without it, retries reorder and duplicate outputs.
        ("enable.idempotence", "true"),
        ("acks", "all"),
        // An outage only causes back-pressure: no output times out, so none is missing before an acknowledged one.
        ("message.timeout.ms", "0"),
        // As Kafka's own client chooses. librdkafka's default would break co-partitioning with it.
        ("partitioner", "murmur2_random"),
    ];
    set(&mut config, &fixed);
    if let Guarantee::ExactlyOnce { transactional_id } = &settings.delivery {
        config.insert("transactional.id".into(), format!("{transactional_id}-{worker}"));
        // Readers of committed records wait this long for the outputs behind those of a process that died.
        config.insert("transaction.timeout.ms".into(), "15000".into());
    }
    config
        .insert("max.in.flight.requests.per.connection".into(), requests_in_flight(limits.partitions_led).to_string());
    config
}

/// How many requests may be in flight to a broker that leads this many partitions of outputs.
///
/// Each partition has one request in flight at a time. While all partitions have one, librdkafka's thread spins to see
/// whether it may send more (2.12.1: `rd_kafka_toppar_producer_serve` wakes up for records that waited longer than
/// `linger.ms`). With one request fewer, the last partition's request waits for an answer and the thread sleeps. With
/// one or two partitions that would cost half of the throughput, so those keep the maximum.
fn requests_in_flight(partitions_led: usize) -> usize {
    // More would break the order: a broker remembers the last five batches of a producer.
    const MAX: usize = 5;
    if partitions_led < 3 { MAX } else { (partitions_led - 1).min(MAX) }
}

/// An output topic's own configuration.
pub(crate) fn topic(output: &Output) -> BTreeMap<String, String> {
    let mut config = plain(&output.librdkafka);
    config.insert("compression.codec".into(), output.compression.clone());
    config
}

/// The configuration that both clients share.
fn client(settings: &Settings, worker: usize) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    config.extend(plain(&settings.librdkafka));
    config.insert("bootstrap.servers".into(), settings.brokers.join(","));
    config.insert("client.id".into(), format!("{}-{worker}", settings.client_id));
    // Producers create topics when they request their metadata, and Kafka permits it by default.
    config.insert("allow.auto.create.topics".into(), "false".into());
    // New topics and partitions are noticed within a minute; librdkafka's default is five minutes.
    config.entry(REFRESH.into()).or_insert_with(|| "60000".into());
    config.entry("reconnect.backoff.max.ms".into()).or_insert_with(|| "2000".into());
    // Brokers may request telemetry from clients. It costs a lock and a histogram at every poll of a record.
    config.entry("enable.metrics.push".into()).or_insert_with(|| "false".into());
    let protocol = match (&settings.tls, &settings.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.insert("security.protocol".into(), protocol.into());
    if let Some(tls) = &settings.tls {
        // The vendored OpenSSL looks for the system's authorities in a directory that doesn't exist.
        let ca = tls.ca.clone().unwrap_or_else(|| "probe".into());
        config.insert("ssl.ca.location".into(), ca);
        let pair = [("ssl.certificate.location", &tls.cert), ("ssl.key.location", &tls.key)];
        for (key, path) in pair {
            if let Some(path) = path {
                config.insert(key.into(), path.clone());
            }
        }
    }
    if let Some(sasl) = &settings.sasl {
        config.insert("sasl.mechanisms".into(), sasl.mechanism().into());
    }
    if let Some(Sasl::Password { username, password, .. }) = &settings.sasl {
        config.insert("sasl.username".into(), username.clone());
        config.insert("sasl.password".into(), password.0.clone());
    }
    config
}

/// A pass-through table in the form that librdkafka takes.
fn plain(table: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    table.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Sets the keys that aren't set yet.
fn set(config: &mut BTreeMap<String, String>, values: &[(&str, &str)]) {
    for &(key, value) in values {
        config.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl Isolation {
    fn as_kafka(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Settings {
        /// Settings of a pipeline from `in` to `out`, for tests of `kafka`.
        pub(crate) fn example() -> Settings {
            Settings {
                brokers: vec!["localhost:9092".into()],
                client_id: "test".into(),
                advertise: None,
                tls: None,
                sasl: None,
                librdkafka: BTreeMap::new(),
                input: Input {
                    topics: vec!["in".into()],
                    group: "test".into(),
                    instance_id: None,
                    start: Start::Earliest,
                    on_gap: OnGap::Stop,
                    on_recreate: OnRecreate::Stop,
                    isolation: Isolation::ReadCommitted,
                    session_timeout: Duration::from_secs(45),
                    max_poll_interval: Duration::from_secs(300),
                    librdkafka: BTreeMap::new(),
                },
                outputs: vec![Output::example("out")],
                dead_letter: None,
                changelog: None,
                creates_changelog: false,
                commit_every: Duration::from_secs(1),
                delivery: Guarantee::AtLeastOnce,
                reports_topic_limits: false,
                hidden: Hidden::default(),
                takes_orders_as: None,
            }
        }
    }

    impl Output {
        /// An output to a topic, with defaults.
        pub(crate) fn example(topic: &str) -> Output {
            Output {
                name: topic.into(),
                topic: Some(topic.into()),
                partition: Partition::ByKey,
                compression: "none".into(),
                librdkafka: BTreeMap::new(),
            }
        }
    }

    #[test]
    fn no_client_creates_a_topic_whatever_the_file_says() {
        let key = "allow.auto.create.topics";
        assert!(refused(key, "true", true).is_some());
        let mut settings = Settings::example();
        for table in [&mut settings.librdkafka, &mut settings.input.librdkafka] {
            table.insert(key.into(), Secret("true".into()));
        }
        let clients = [
            asker(&settings),
            consumer(&settings, 0),
            producer(&settings, 0, 1 << 20, &TopicLimits::default(), Batching::Full),
        ];
        assert_eq!(clients.map(|config| config[key].clone()), ["false", "false", "false"]);
    }

    #[test]
    fn a_pattern_excludes_reserved_and_written_topics_and_a_name_excludes_nothing() {
        let mut settings = Settings::example();
        settings.dead_letter = Some(Output::example("out.dead"));
        assert_eq!(consumer(&settings, 0).get(IGNORED), None);
        settings.input.topics.push("^.*$".into());
        settings.input.librdkafka.insert(IGNORED.into(), Secret("^x".into()));
        let expected = r"^x,^__,\.changelog$,\.repartition$,^out$,^out\.dead$";
        assert_eq!(consumer(&settings, 0).get(IGNORED).map(String::as_str), Some(expected));
        for topic in ["__consumer_offsets", "x.changelog", "x.repartition"] {
            assert!(is_reserved(topic), "{topic}");
        }
        for topic in ["_x", "x.changelog.y", "changelog", "x-repartition"] {
            assert!(!is_reserved(topic), "{topic}");
        }
    }
}
