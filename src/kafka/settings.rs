//! What the Kafka room needs to know, and how it becomes librdkafka's configuration.
//!
//! The types are filled by `config`; defaults that are wasmill's own decisions stand here with their reasons. Keys that
//! would break a promise are refused by [`refused`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::limits::Batching;
use super::limits::TopicLimits;
use crate::secret::Hidden;
use crate::secret::Secret;

/// Everything about the connection, the input and the outputs of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// `client.id` without the worker's number.
    pub client_id: String,
    /// TLS, or `None` for a plain connection.
    pub tls: Option<Tls>,
    /// SASL, if any.
    pub sasl: Option<Sasl>,
    /// Keys for both clients, passed on as they are.
    pub librdkafka: BTreeMap<String, Secret>,
    /// What is read.
    pub input: Input,
    /// What is written, in file order.
    pub outputs: Vec<Output>,
    /// Where records go that are given up, if they go anywhere.
    pub dead_letter: Option<Output>,
    /// How often offsets are committed.
    pub commit_every: Duration,
    /// Whether the cluster tells what its topics take: the embedded broker doesn't know the question, and never answers it.
    pub reports_topic_limits: bool,
    /// What librdkafka is told, and must not be repeated after it.
    pub hidden: Hidden,
}

impl Settings {
    /// Every topic that is written: the outputs', and behind them the dead letters'.
    pub fn written(&self) -> impl Iterator<Item = &Output> {
        self.outputs.iter().chain(&self.dead_letter)
    }
}

/// TLS of the connection. Paths are as in the file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificate authority's PEM; `None` is the system's.
    pub ca: Option<String>,
    /// The client's certificate.
    pub cert: Option<String>,
    /// The client's key.
    pub key: Option<String>,
}

/// SASL of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// What is read.
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
    /// What happens when the committed offset is gone.
    pub on_gap: OnGap,
    /// What happens when a topic was deleted and created again.
    pub on_recreate: OnRecreate,
    /// Whether records of open or aborted transactions are read.
    pub isolation: Isolation,
    /// The group throws a silent member out after this.
    pub session_timeout: Duration,
    /// The longest time between two polls.
    pub max_poll_interval: Duration,
    /// Keys for the consumer, passed on as they are.
    pub librdkafka: BTreeMap<String, Secret>,
}

/// Where a partition without a committed offset starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    Earliest,
    /// At the records that come after now.
    Latest,
    /// At the first record of this time, milliseconds since 1970-01-01 UTC.
    Timestamp(i64),
}

/// What happens when retention has passed the committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// The pipeline stops and names both offsets.
    Stop,
    /// It goes on at the oldest record and counts what it missed.
    Continue,
}

/// What happens when a topic has another id than the one that the committed offset belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRecreate {
    /// The pipeline stops and names both ids.
    Stop,
    /// It reads the new topic from its beginning, and counts it.
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

/// A topic that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name in the file: `[output.NAME]`.
    pub name: Arc<str>,
    /// The topic.
    pub topic: String,
    /// Who chooses the partition.
    pub partition: Partition,
    /// Kafka's name of the codec, `none` without.
    pub compression: String,
    /// Keys for this topic, passed on as they are.
    pub librdkafka: BTreeMap<String, Secret>,
}

/// There are no more outputs than these: a message carries the number of its output.
pub const OUTPUTS_MAX: usize = 1000;

/// Who chooses the partition of an output for which the plugin named none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// murmur2 of the key, as Kafka's own client; a null key goes anywhere.
    ByKey,
    /// The number of the input's partition.
    SameAsInput,
}

/// The key that lets anyone on the network be the broker.
pub const VERIFICATION: &str = "enable.ssl.certificate.verification";

impl Settings {
    /// What the file permits and a person should be reminded of at every start.
    #[must_use]
    pub fn risks(&self) -> Vec<&'static str> {
        let mut risks = Vec::new();
        if self.tls.is_some() && self.librdkafka.get(VERIFICATION).is_some_and(|value| value.0 != "true") {
            risks.push("INSECURE: brokers' certificates are not verified, so anyone on the network can read and change the records");
        }
        if self.tls.is_none() && self.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == "PLAIN") {
            risks.push("INSECURE: PLAIN without TLS sends the password in clear: set `kafka.tls`");
        } else if self.tls.is_none() && self.sasl.is_some() {
            risks.push("`kafka.sasl` without `kafka.tls`: the password is not sent, but anyone on the network can read the records");
        }
        risks
    }
}

/// Why a key of librdkafka's can't be set in a file, or `None` if it can. `insecure` is the file's own word that an
/// unverified certificate is meant.
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

/// The configuration of a client that only asks.
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
    let defaults = [
        // Fetch: the prefetch is bounded; a full queue is looked at again after 5 ms, as the default of 1 s halves a drain.
        ("queued.max.messages.kbytes", "16384"),
        // Messages of the prefetch cost librdkafka some hundred bytes each besides their own: with 100,000 of them, a drain of small
        // records takes 60 MiB more and no less time.
        ("queued.min.messages", "20000"),
        ("fetch.queue.backoff.ms", "5"),
        ("fetch.message.max.bytes", "1048576"),
        ("fetch.max.bytes", "16777216"),
        // A fetch returns as soon as there is a record.
        ("fetch.wait.max.ms", "100"),
        ("check.crcs", "true"),
    ];
    set(&mut config, &defaults);
    config.extend(plain(&input.librdkafka));
    let fixed = [
        ("group.id", input.group.clone()),
        ("session.timeout.ms", millis(input.session_timeout)),
        ("max.poll.interval.ms", millis(input.max_poll_interval)),
        ("isolation.level", input.isolation.as_kafka().to_owned()),
        // Stored only when every output is acknowledged; committed by the worker from there, one commit after the other.
        ("enable.auto.offset.store", "false".to_owned()),
        ("enable.auto.commit", "false".to_owned()),
        // Any other value also applies when retention has passed the committed offset, and loses records silently.
        ("auto.offset.reset", "error".to_owned()),
        ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
        ("allow.auto.create.topics", "false".to_owned()),
        // The ends of partitions, and when brokers last answered.
        ("statistics.interval.ms", "5000".to_owned()),
    ];
    config.extend(fixed.map(|(key, value)| (key.to_owned(), value)));
    if let Some(id) = &input.instance_id {
        config.insert("group.instance.id".into(), id.clone());
    }
    if let Some(ignored) = ignored(settings, config.get(IGNORED)) {
        config.insert(IGNORED.into(), ignored);
    }
    // A heartbeat must fit into the session several times.
    let heartbeat = (input.session_timeout / 3).min(Duration::from_secs(3));
    config.entry("heartbeat.interval.ms".into()).or_insert_with(|| millis(heartbeat));
    config
}

/// The largest message that librdkafka can be told to take.
pub(super) const MESSAGE_BYTES_MAX: usize = 1_000_000_000;

/// The key for topics that a client takes for topics that aren't there: patterns, with commas between them.
const IGNORED: &str = "topic.blacklist";

/// Whether a topic is Kafka's own, or one that wasmill keeps for itself: no pattern reads it, and no pipeline writes it.
#[must_use]
pub fn is_reserved(topic: &str) -> bool {
    topic.starts_with("__") || topic.ends_with(".changelog") || topic.ends_with(".repartition")
}

/// What a consumer that reads a pattern ignores besides what the file has it ignore: what is reserved, and what the pipeline itself
/// writes, whose records would come round for ever. `None` without a pattern, as a topic's own name is meant.
fn ignored(settings: &Settings, own: Option<&String>) -> Option<String> {
    if !settings.input.topics.iter().any(|topic| topic.starts_with('^')) {
        return None;
    }
    let reserved = ["^__", "\\.changelog$", "\\.repartition$"].map(str::to_owned);
    // A topic's name has no other character that means something in a pattern.
    let written = settings.written().map(|output| format!("^{}$", output.topic.replace('.', "\\.")));
    let all: Vec<String> = own.cloned().into_iter().chain(reserved).chain(written).collect();
    Some(all.join(","))
}

/// The producer's configuration for the worker of this number. `queue_bytes` bounds what it holds unacknowledged.
pub(crate) fn producer(
    settings: &Settings,
    worker: usize,
    queue_bytes: usize,
    limits: &TopicLimits,
    batching: Batching,
) -> BTreeMap<String, String> {
    let mut config = client(settings, worker);
    let defaults = [
        // At 10,000 records a second 2 ms cost no more CPU time than librdkafka's own 5, neither here nor in the broker; 1 ms costs a
        // tenth to a fifth more.
        ("linger.ms", "2"),
        ("batch.num.messages", "10000"),
        ("queue.buffering.max.messages", "1000000"),
    ];
    set(&mut config, &defaults);
    // Whatever a topic is known to take has room when nothing else is there.
    let known = limits.bytes.iter().copied().flatten().filter(|&bytes| bytes <= MESSAGE_BYTES_MAX).max().unwrap_or(0);
    let kbytes = queue_bytes.max(known).max(limits.largest).div_ceil(1024).clamp(16 * 1024, 2 * 1024 * 1024);
    config.insert("queue.buffering.max.kbytes".into(), kbytes.to_string());
    config.insert("message.max.bytes".into(), limits.message_bytes().to_string());
    let most = limits.batch_bytes();
    let own: usize = config.get("batch.size").and_then(|own| own.parse().ok()).unwrap_or(most);
    config.insert("batch.size".into(), own.min(most).to_string());
    match batching {
        // Otherwise what follows a refused batch would be there before it.
        Batching::Full => config.insert("enable.gapless.guarantee".into(), "true".into()),
        Batching::Single => config.insert("batch.num.messages".into(), "1".into()),
    };
    let fixed = [
        // Without it, retries reorder and repeat.
        ("enable.idempotence", "true"),
        ("acks", "all"),
        // An outage is back-pressure and nothing else: no output times out, so none is missing below an acknowledged one.
        ("message.timeout.ms", "0"),
        // As Kafka's own client chooses; the library's default breaks co-partitioning with it.
        ("partitioner", "murmur2_random"),
    ];
    set(&mut config, &fixed);
    config
        .insert("max.in.flight.requests.per.connection".into(), requests_in_flight(limits.partitions_led).to_string());
    config
}

/// How many requests may be on their way to a broker that leads so many partitions.
///
/// A partition has one at a time. As long as all of them are on their way, librdkafka's thread asks without a pause whether it may
/// send more (2.12.1: `rd_kafka_toppar_producer_serve` wakes up for records that waited longer than `linger.ms`), which took 7 % of
/// all CPU time of a drain into four partitions. It sleeps as long as a request of the last partition waits for another to come
/// back. With one or two partitions that would be a half of what the connection carries, and is left.
fn requests_in_flight(led: usize) -> usize {
    // More would break the order: Kafka's broker remembers the last five batches.
    const MAX: usize = 5;
    if led < 3 { MAX } else { (led - 1).min(MAX) }
}

/// An output topic's own configuration.
pub(crate) fn topic(output: &Output) -> BTreeMap<String, String> {
    let mut config = plain(&output.librdkafka);
    config.insert("compression.codec".into(), output.compression.clone());
    config
}

/// What both clients have in common.
fn client(settings: &Settings, worker: usize) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    config.extend(plain(&settings.librdkafka));
    config.insert("bootstrap.servers".into(), settings.brokers.join(","));
    config.insert("client.id".into(), format!("{}-{worker}", settings.client_id));
    // Producers create topics by default, by asking about them, and Kafka's own default lets them.
    config.insert("allow.auto.create.topics".into(), "false".into());
    // New topics and partitions are seen within a minute; librdkafka's own are five.
    config.entry("topic.metadata.refresh.interval.ms".into()).or_insert_with(|| "60000".into());
    config.entry("reconnect.backoff.max.ms".into()).or_insert_with(|| "2000".into());
    // Telemetry that brokers may ask clients for: it costs a lock and a histogram at every poll of a record.
    config.entry("enable.metrics.push".into()).or_insert_with(|| "false".into());
    let protocol = match (&settings.tls, &settings.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.insert("security.protocol".into(), protocol.into());
    if let Some(tls) = &settings.tls {
        // The vendored OpenSSL looks for the system's authorities in a folder that doesn't exist.
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
        config.insert("sasl.mechanisms".into(), sasl.mechanism.clone());
        config.insert("sasl.username".into(), sasl.username.clone());
        config.insert("sasl.password".into(), sasl.password.0.clone());
    }
    config
}

/// A pass-through table as librdkafka gets it.
fn plain(table: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    table.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Sets what isn't set yet.
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
        /// Of a pipeline from `in` to `out`, for tests of this room.
        pub(crate) fn example() -> Settings {
            Settings {
                brokers: vec!["localhost:9092".into()],
                client_id: "test".into(),
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
                commit_every: Duration::from_secs(1),
                reports_topic_limits: false,
                hidden: Hidden::default(),
            }
        }
    }

    impl Output {
        /// To a topic, with nothing set.
        pub(crate) fn example(topic: &str) -> Output {
            Output {
                name: topic.into(),
                topic: topic.into(),
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
    fn a_pattern_never_reads_what_is_reserved_or_written_and_a_name_means_itself() {
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
