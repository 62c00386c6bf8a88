//! The file as it is written: all keys of this version, not interpreted yet.
//!
//! Plain structs that deny unknown fields, because any other serde shape loses the span of a mistake. Numbers with a
//! unit stay text here; `check` parses them. Never use `flatten` (it accepts misspelt keys), `untagged` or `tag`.
//!
//! The doc comments of keys are shown to users: `schema.rs` generates the schema from them, the tables of the
//! documentation, and the defaults that `config show` prints. `default` is a value in the form in which it may be
//! written; `x-default` describes a default that isn't the same everywhere.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;
use toml::Spanned;

use super::schema;

pub(super) type Text = Spanned<String>;
pub(super) type Number = Spanned<i64>;
pub(super) type Passed = BTreeMap<Spanned<String>, Scalar>;

/// A pipeline: what is read, what is done to it, and where it goes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Pipeline {
    /// The pipeline's name, in metrics and logs: 1 to 100 of `a-z A-Z 0-9 . _ -`.
    #[schemars(
        with = "Option<String>",
        extend("x-default" = "the file's name without `.toml`", "examples" = ["orders"])
    )]
    pub(super) name: Option<Text>,
    /// What a crash may do to outputs: `"at_least_once"` repeats some and loses none.
    #[schemars(with = "Option<String>", extend("enum" = ["at_least_once"], "default" = "at_least_once"))]
    pub(super) delivery: Option<Text>,
    /// Which records keep their order: `"partition"` keeps that of every input partition.
    #[schemars(with = "Option<String>", extend("enum" = ["partition"], "default" = "partition"))]
    pub(super) order: Option<Text>,
    /// The longest time from a stop signal to the end; after it the process ends with code 75.
    #[schemars(with = "Option<schema::Time>", extend("default" = "25s", "examples" = ["50s"]))]
    pub(super) shutdown_timeout: Option<Text>,
    /// The connection.
    #[schemars(with = "Kafka")]
    pub(super) kafka: Option<Spanned<Kafka>>,
    /// What is read.
    #[schemars(with = "Input")]
    pub(super) input: Option<Spanned<Input>>,
    /// The steps, which run in the order of the file; there is at least one.
    #[serde(default)]
    #[schemars(with = "Vec<Step>", extend("minItems" = 1))]
    pub(super) step: Vec<Spanned<Step>>,
    /// The outputs by the names of the plugins' ports: 1 to 64 of `a-z 0-9 _ -`. The last step's port `main` leads to
    /// `[output.main]`, which is needed.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Output>", extend("required" = ["main"]))]
    pub(super) output: BTreeMap<Spanned<String>, Spanned<Output>>,
    /// How much is done at once, and how long things may take.
    #[serde(default)]
    pub(super) limits: Limits,
    /// What is done about a record that fails.
    #[serde(default)]
    pub(super) on_error: OnError,
    /// Metrics and probes.
    #[serde(default)]
    pub(super) http: Http,
    /// How a running pipeline takes over what has changed.
    #[serde(default)]
    pub(super) reload: Reload,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Kafka {
    /// `host:port` of some brokers; the others are found through them.
    #[schemars(with = "Vec<String>", extend("minItems" = 1, "examples" = [["localhost:9092"]]))]
    pub(super) brokers: Option<Spanned<Vec<Text>>>,
    /// `client.id` of the connections; the worker's number is appended.
    #[schemars(
        with = "Option<String>",
        extend("x-default" = "`wasmill-` and the pipeline's name", "examples" = ["orders"])
    )]
    pub(super) client_id: Option<Text>,
    /// `true` for TLS with the system's authorities, or a table.
    #[schemars(with = "Option<Tls>", extend("default" = false, "examples" = [true]))]
    pub(super) tls: Option<Tls>,
    /// How wasmill says who it is; works with and without TLS.
    #[schemars(with = "Option<Sasl>")]
    pub(super) sasl: Option<Spanned<Sasl>>,
    /// Permits `librdkafka = { "enable.ssl.certificate.verification" = false }` and `PLAIN` without `tls`, and does nothing else.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) insecure: Option<Spanned<bool>>,
    /// librdkafka's own keys for all connections.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>", extend("examples" = [{"client.rack": "eu-1a"}]))]
    pub(super) librdkafka: Passed,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct TlsFiles {
    /// The authority's certificate, PEM.
    #[schemars(with = "Option<schema::Path>", extend("x-default" = "the system's", "examples" = ["/etc/pki/ca.pem"]))]
    pub(super) ca: Option<Text>,
    /// The client's certificate, PEM; needs `key`.
    #[schemars(with = "Option<schema::Path>", extend("examples" = ["/etc/pki/me.pem"]))]
    pub(super) cert: Option<Text>,
    /// The client's private key, PEM; needs `cert`.
    #[schemars(with = "Option<schema::Path>", extend("examples" = ["/run/secrets/me.key"]))]
    pub(super) key: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Sasl {
    /// The mechanism.
    #[schemars(
        with = "String",
        extend("enum" = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], "examples" = ["SCRAM-SHA-512"])
    )]
    pub(super) mechanism: Option<Text>,
    /// The user.
    #[schemars(with = "String", extend("examples" = ["${KAFKA_USER}"]))]
    pub(super) username: Option<Text>,
    /// The password; better a reference than the text itself.
    #[schemars(with = "String", extend("examples" = ["${file:/run/secrets/kafka}"]))]
    pub(super) password: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Input {
    /// Topics; one that begins with `^` is a pattern.
    #[schemars(with = "Vec<String>", extend("minItems" = 1, "examples" = [["orders", "^returns\\..*"]]))]
    pub(super) topics: Option<Spanned<Vec<Text>>>,
    /// The consumer group. Another group starts afresh, so write it down before you rename the file.
    #[schemars(with = "Option<String>", extend("x-default" = "the pipeline's name", "examples" = ["orders"]))]
    pub(super) group: Option<Text>,
    /// Static membership: a process that comes back under the same id within `session_timeout` gets its partitions back, and nobody else
    /// before. Only for ids that come back, as the names of a StatefulSet's pods do; a Deployment's don't, and its partitions would wait
    /// for `session_timeout` after each stop. Empty is none.
    #[schemars(with = "Option<String>", extend("examples" = ["orders-0"]))]
    pub(super) instance_id: Option<Text>,
    /// Where a partition without a committed offset starts: `"earliest"`, `"latest"`, or a time with its zone.
    #[schemars(with = "Option<String>", extend("default" = "earliest", "examples" = ["2026-01-31T00:00:00Z"]))]
    pub(super) start: Option<Spanned<toml::Value>>,
    /// What happens when retention has passed the committed offset: `"stop"`, or `"continue"` at the oldest record.
    #[schemars(with = "Option<String>", extend("enum" = ["stop", "continue"], "default" = "stop"))]
    pub(super) on_gap: Option<Text>,
    /// What happens when a topic was deleted and created again: `"stop"`, or `"beginning"` reads the new one from its beginning.
    #[schemars(with = "Option<String>", extend("enum" = ["stop", "beginning"], "default" = "stop"))]
    pub(super) on_recreate: Option<Text>,
    /// `"read_uncommitted"` reads records of open and aborted transactions too.
    #[schemars(
        with = "Option<String>",
        extend("enum" = ["read_committed", "read_uncommitted"], "default" = "read_committed")
    )]
    pub(super) isolation: Option<Text>,
    /// The group throws a silent member out after this; at most `max_poll_interval`.
    #[schemars(with = "Option<schema::Time>", extend("default" = "45s", "examples" = ["10s"]))]
    pub(super) session_timeout: Option<Text>,
    /// The longest time that a member may be busy without asking for records.
    #[schemars(with = "Option<schema::Time>", extend("default" = "5m", "examples" = ["10m"]))]
    pub(super) max_poll_interval: Option<Text>,
    /// librdkafka's own keys for the consumer.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>", extend("examples" = [{"fetch.min.bytes": 1}]))]
    pub(super) librdkafka: Passed,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(extend("anyOf" = [{"required": ["wasm"]}, {"required": ["use"]}]))]
pub(super) struct Step {
    /// The step's name, in metrics and messages: unique, 1 to 100 of `a-z A-Z 0-9 . _ -`.
    #[schemars(
        with = "Option<String>",
        extend("x-default" = "the component's file name without `.wasm`, or what follows `std:`", "examples" = ["mask"])
    )]
    pub(super) name: Option<Text>,
    /// The component, unless `use` names a plugin that comes with wasmill.
    #[schemars(with = "Option<schema::Path>", extend("examples" = ["plugins/mask.wasm"]))]
    pub(super) wasm: Option<Text>,
    /// A plugin that comes with wasmill, in place of `wasm`; `wasmill inspect std:` lists them.
    #[schemars(with = "Option<String>", extend("examples" = ["std:jq"]))]
    pub(super) r#use: Option<Text>,
    /// What the plugin gets as a JSON object; dates and times become strings.
    #[schemars(
        with = "Option<BTreeMap<String, serde_json::Value>>",
        extend("examples" = [{"fields": ["email", "phone"]}])
    )]
    pub(super) settings: Option<Spanned<toml::Table>>,
    /// What the plugin may use besides its log and counters.
    #[schemars(with = "Option<Allow>")]
    pub(super) allow: Option<Spanned<Allow>>,
    /// The longest time of one call; below `limits.drain_timeout`.
    #[schemars(with = "Option<schema::Time>", extend("default" = "1s", "examples" = ["50ms"]))]
    pub(super) timeout: Option<Text>,
    /// Memory of one instance, from 1 MiB to 4 GiB.
    #[schemars(with = "Option<Size>", extend("default" = "64 MiB", "examples" = ["32 MiB"]))]
    pub(super) memory: Option<Spanned<Size>>,
    /// Records that one call gets at most; nothing waits for a batch to fill.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "maximum" = 4096, "default" = 128, "examples" = [1]))]
    pub(super) batch: Option<Number>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Allow {
    /// The time.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) clock: Option<Spanned<bool>>,
    /// Random numbers.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) random: Option<Spanned<bool>>,
    /// The environment that the plugin sees: names and values, and nothing of the process's own.
    #[schemars(
        with = "Option<BTreeMap<String, Scalar>>",
        extend("examples" = [{"REGION": "eu-1", "TIERS_KEY": "${file:/run/secrets/tiers}"}])
    )]
    pub(super) env: Option<Passed>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Output {
    /// The topic that is written.
    #[schemars(with = "String", extend("examples" = ["orders.clean"]))]
    pub(super) topic: Option<Text>,
    /// Who chooses the partition when the plugin doesn't: `"by_key"` does as Kafka's own client.
    #[schemars(with = "Option<String>", extend("enum" = ["by_key", "same_as_input"], "default" = "by_key"))]
    pub(super) partition: Option<Text>,
    /// The codec of what is written.
    #[schemars(
        with = "Option<String>",
        extend("enum" = ["none", "gzip", "snappy", "lz4", "zstd"], "default" = "none", "examples" = ["zstd"])
    )]
    pub(super) compression: Option<Text>,
    /// librdkafka's own keys for the topic.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>", extend("examples" = [{"compression.level": 3}]))]
    pub(super) librdkafka: Passed,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Limits {
    /// Threads that run plugins.
    #[schemars(
        with = "Option<i64>",
        extend("minimum" = 1, "maximum" = 1024, "x-default" = "the number of cores, 4 at least", "examples" = [8])
    )]
    pub(super) parallelism: Option<Number>,
    /// What may be in flight.
    #[serde(default)]
    pub(super) max_in_flight: MaxInFlight,
    /// How often offsets are committed. What was done since the last commit is repeated after a crash.
    #[schemars(with = "Option<schema::Time>", extend("default" = "1s", "examples" = ["500ms"]))]
    pub(super) commit_every: Option<Text>,
    /// The longest time that a partition in flight is waited for when the group takes it away; below a third of
    /// `input.max_poll_interval`.
    #[schemars(with = "Option<schema::Time>", extend("default" = "5s", "examples" = ["10s"]))]
    pub(super) drain_timeout: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct MaxInFlight {
    /// Records that were read and aren't done.
    #[schemars(
        with = "Option<i64>",
        extend("minimum" = 1, "maximum" = 10_000_000, "default" = 25_000, "examples" = [5_000])
    )]
    pub(super) records: Option<Number>,
    /// Bytes of these records and of their outputs.
    #[schemars(with = "Option<Size>", extend("default" = "64 MiB", "examples" = ["32 MiB"]))]
    pub(super) bytes: Option<Spanned<Size>>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct OnError {
    /// How often a record whose plugin says "retry" is tried again: a number, or `"forever"`.
    #[schemars(with = "Option<Retries>", extend("default" = 3, "examples" = ["forever"]))]
    pub(super) retries: Option<Spanned<Retries>>,
    /// How long to wait before a retry.
    #[serde(default)]
    pub(super) backoff: Backoff,
    /// What becomes of a record that can't be helped.
    #[schemars(
        with = "Option<String>",
        extend(
            "enum" = ["stop", "dead_letter", "skip"],
            "x-default" = "`\"dead_letter\"` when there is a topic for it, else `\"stop\"`"
        )
    )]
    pub(super) then: Option<Text>,
    /// A plugin that rejects more than this share of the last 200 records of a partition stops the pipeline, where `then` would give up all
    /// of them.
    #[schemars(with = "Option<f64>", extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1, "examples" = [0.5]))]
    pub(super) max_reject_share: Option<Spanned<f64>>,
    /// The topic of dead letters; one that neither the input reads nor an output writes.
    #[schemars(with = "Option<String>", extend("examples" = ["orders.dead"]))]
    pub(super) dead_letter: Option<Text>,
    /// Whose names the headers of a dead letter have: Kafka Streams' or Kafka Connect's.
    #[schemars(with = "Option<String>", extend("enum" = ["streams", "connect"], "x-default" = "`\"streams\"`"))]
    pub(super) dialect: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Backoff {
    /// The wait before the first retry; it doubles with each.
    #[schemars(with = "Option<schema::Time>", extend("default" = "100ms", "examples" = ["200ms"]))]
    pub(super) from: Option<Text>,
    /// The longest wait.
    #[schemars(with = "Option<schema::Time>", extend("default" = "10s", "examples" = ["1m"]))]
    pub(super) to: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Http {
    /// Address and port of `/metrics`, `/livez` and `/readyz`; port 0 takes a free one.
    #[schemars(with = "Option<String>", extend("default" = "127.0.0.1:9108", "examples" = ["0.0.0.0:9108"]))]
    pub(super) listen: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Reload {
    /// Take over by itself what changes in the file and in all files that it refers to, as `run --watch` does.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) watch: Option<Spanned<bool>>,
    /// Take a change over only when the test cases beside the file pass with it.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) test: Option<Spanned<bool>>,
}

/// `tls = true`, or the files.
pub(super) enum Tls {
    Switch(bool),
    Files(TlsFiles),
}

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tls, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Tls;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true` or a table with `ca`, `cert` and `key`")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Tls, E> {
                Ok(Tls::Switch(value))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Tls, A::Error> {
                TlsFiles::deserialize(MapAccessDeserializer::new(map)).map(Tls::Files)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A number, or a word.
pub(super) enum Retries {
    Times(i64),
    Word(String),
}

impl<'de> Deserialize<'de> for Retries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Retries, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Retries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or \"forever\"")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Retries, E> {
                Ok(Retries::Times(value))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Retries, E> {
                Ok(Retries::Word(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A number of bytes, or text such as "64 MiB".
pub(super) enum Size {
    Bytes(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64 MiB\"")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Size, E> {
                Ok(Size::Bytes(value))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Size, E> {
                Ok(Size::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A value for librdkafka, which takes all of them as text.
pub(super) struct Scalar(pub(super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, `true` or `false`")
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
