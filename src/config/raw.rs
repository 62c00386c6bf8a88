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
use serde::de::Unexpected;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;
use toml::Spanned;

use super::schema;

pub(super) type Text = Spanned<String>;
pub(super) type Number = Spanned<i64>;
pub(super) type Passed = BTreeMap<Spanned<String>, Scalar>;

/// A pipeline: the topics it reads, the steps it runs, and the topics it writes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Pipeline {
    /// The pipeline's name, in metrics and logs: 1 to 100 of `a-z A-Z 0-9 . _ -`.
    #[schemars(
        with = "Option<String>",
        extend("x-default" = "the file's name without `.toml`", "examples" = ["orders"])
    )]
    pub(super) name: Option<Text>,
    /// The delivery guarantee: `"at_least_once"` may repeat outputs after a crash, and loses none. `"exactly_once"` writes outputs and
    /// offsets in transactions: readers of committed records get each output once.
    #[schemars(
        with = "Option<String>",
        extend(
            "enum" = ["at_least_once", "exactly_once"],
            "x-default" = "`\"at_least_once\"`, and with windows `\"exactly_once\"`"
        )
    )]
    pub(super) delivery: Option<Text>,
    /// Which order is kept: `"partition"` keeps that of every input partition. `"key"` keeps that of the records of a key, and `"none"`
    /// keeps none: then a partition's records run on all executors at once, and one that is retried holds back few others.
    #[schemars(with = "Option<String>", extend("enum" = ["partition", "key", "none"], "default" = "partition"))]
    pub(super) order: Option<Text>,
    /// The longest time that a shutdown may take; after it the process exits with code 75.
    #[schemars(with = "Option<schema::Time>", extend("default" = "25s", "examples" = ["50s"]))]
    pub(super) shutdown_timeout: Option<Text>,
    /// The connection to Kafka.
    #[schemars(with = "Kafka")]
    pub(super) kafka: Option<Spanned<Kafka>>,
    /// The input topics and the consumer group.
    #[schemars(with = "Input")]
    pub(super) input: Option<Spanned<Input>>,
    /// The steps, which run in the order of the file; there is at least one.
    #[serde(default)]
    #[schemars(with = "Vec<Step>", extend("minItems" = 1))]
    pub(super) step: Vec<Spanned<Step>>,
    /// What components have to be.
    #[serde(default)]
    pub(super) plugins: Plugins,
    /// The outputs by the names of the plugins' ports: 1 to 64 of `a-z 0-9 _ -`. The last step's port `main` leads to `[output.main]`,
    /// which is required.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Output>", extend("required" = ["main"]))]
    pub(super) output: BTreeMap<Spanned<String>, Spanned<Output>>,
    /// Limits on parallelism, records in flight, and time.
    #[serde(default)]
    pub(super) limits: Limits,
    /// The tables of steps with windows.
    #[serde(default)]
    pub(super) state: State,
    /// What happens to a record that fails.
    #[serde(default)]
    pub(super) on_error: OnError,
    /// Metrics and probes.
    #[serde(default)]
    pub(super) http: Http,
    /// How a running pipeline reloads changes.
    #[serde(default)]
    pub(super) reload: Reload,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Kafka {
    /// `host:port` of one or more brokers; the client finds the others through them.
    #[schemars(
        with = "Option<Vec<String>>",
        extend("minItems" = 1, "x-default" = "needed, unless `wasmill.toml` has it", "examples" = [["localhost:9092"]])
    )]
    pub(super) brokers: Option<Spanned<Vec<Text>>>,
    /// `client.id` of the connections; wasmill appends the worker's number.
    #[schemars(
        with = "Option<String>",
        extend("x-default" = "`wasmill-` and the pipeline's name", "examples" = ["orders"])
    )]
    pub(super) client_id: Option<Text>,
    /// `true` for TLS with the system's certificate authorities, or a table.
    #[schemars(with = "Option<Tls>", extend("default" = false, "examples" = [true]))]
    pub(super) tls: Option<Tls>,
    /// How wasmill authenticates; works with and without TLS. `false`: it doesn't, whatever `wasmill.toml` says.
    #[schemars(with = "Option<Login>", extend("default" = false))]
    pub(super) sasl: Option<Spanned<Login>>,
    /// Allows `librdkafka = { "enable.ssl.certificate.verification" = false }`, `PLAIN` and `OAUTHBEARER` without `tls`, and an
    /// `http://` address in `sasl.oidc.url`; nothing else.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) insecure: Option<Spanned<bool>>,
    /// Settings of librdkafka for all connections.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>", extend("examples" = [{"client.rack": "eu-1a"}]))]
    pub(super) librdkafka: Passed,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct TlsFiles {
    /// The certificate of the authority (CA), PEM.
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
        extend("enum" = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"], "examples" = ["SCRAM-SHA-512"])
    )]
    pub(super) mechanism: Option<Text>,
    /// The user. All mechanisms but `OAUTHBEARER` need it.
    #[schemars(with = "Option<String>", extend("examples" = ["${KAFKA_USER}"]))]
    pub(super) username: Option<Text>,
    /// The user's password. Use a reference instead of the text itself.
    #[schemars(with = "Option<String>", extend("examples" = ["${file:/run/secrets/kafka}"]))]
    pub(super) password: Option<Text>,
    /// For `OAUTHBEARER`: the server that gives tokens to a client with a secret. `OAUTHBEARER` needs this or `token_command`.
    #[schemars(with = "Option<Oidc>")]
    pub(super) oidc: Option<Spanned<Oidc>>,
    /// For `OAUTHBEARER`: a command and its arguments, run without a shell. It prints `{"token": "..", "expires_at": ..}`.
    #[schemars(with = "Option<Vec<String>>", extend("minItems" = 1, "examples" = [["./token.sh", "eu-1"]]))]
    pub(super) token_command: Option<Spanned<Vec<Text>>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Oidc {
    /// The server's token endpoint.
    #[schemars(with = "String", extend("examples" = ["https://id.example.com/oauth2/token"]))]
    pub(super) url: Option<Text>,
    /// The client's id.
    #[schemars(with = "String", extend("examples" = ["wasmill"]))]
    pub(super) client_id: Option<Text>,
    /// The client's secret. Use a reference instead of the text itself.
    #[schemars(with = "String", extend("examples" = ["${file:/run/secrets/oidc}"]))]
    pub(super) client_secret: Option<Text>,
    /// The scope to ask for.
    #[schemars(with = "Option<String>", extend("examples" = ["kafka"]))]
    pub(super) scope: Option<Text>,
    /// The certificate of the authority (CA) of the server's certificate, PEM.
    #[schemars(with = "Option<schema::Path>", extend("x-default" = "the system's", "examples" = ["/etc/pki/ca.pem"]))]
    pub(super) ca: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Input {
    /// The topics to read; a name that begins with `^` is a pattern.
    #[schemars(with = "Vec<String>", extend("minItems" = 1, "examples" = [["orders", "^returns\\..*"]]))]
    pub(super) topics: Option<Spanned<Vec<Text>>>,
    /// The consumer group. A new group has no committed offsets, so set this key before you rename the file.
    #[schemars(with = "Option<String>", extend("x-default" = "the pipeline's name", "examples" = ["orders"]))]
    pub(super) group: Option<Text>,
    /// Static membership: a process that returns with the same id within `session_timeout` gets its partitions back; until then no
    /// other member gets them. Use only ids that are the same after a restart, such as the names of a StatefulSet's pods. A
    /// Deployment's pods get new names, and the partitions of one that was killed would wait for `session_timeout`. An empty value means
    /// none.
    #[schemars(with = "Option<String>", extend("examples" = ["orders-0"]))]
    pub(super) instance_id: Option<Text>,
    /// Where a partition without a committed offset starts: `"earliest"`, `"latest"`, or a time with a time zone.
    #[schemars(with = "Option<String>", extend("default" = "earliest", "examples" = ["2026-01-31T00:00:00Z"]))]
    pub(super) start: Option<Spanned<toml::Value>>,
    /// What happens when retention has removed the record at the committed offset: `"stop"`, or `"continue"` at the oldest record.
    #[schemars(with = "Option<String>", extend("enum" = ["stop", "continue"], "default" = "stop"))]
    pub(super) on_gap: Option<Text>,
    /// What happens when a topic was deleted and created again: `"stop"`, or `"beginning"` reads the new one from its beginning.
    #[schemars(with = "Option<String>", extend("enum" = ["stop", "beginning"], "default" = "stop"))]
    pub(super) on_recreate: Option<Text>,
    /// `"read_uncommitted"` also reads records of open and aborted transactions.
    #[schemars(
        with = "Option<String>",
        extend("enum" = ["read_committed", "read_uncommitted"], "default" = "read_committed")
    )]
    pub(super) isolation: Option<Text>,
    /// The group removes a member that sends no heartbeat for this long; at most `max_poll_interval`.
    #[schemars(with = "Option<schema::Time>", extend("default" = "45s", "examples" = ["10s"]))]
    pub(super) session_timeout: Option<Text>,
    /// The longest time between two polls before the group removes the member.
    #[schemars(with = "Option<schema::Time>", extend("default" = "5m", "examples" = ["10m"]))]
    pub(super) max_poll_interval: Option<Text>,
    /// Settings of librdkafka for the consumer.
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
    /// The plugin's file, unless `use` names a plugin that comes with wasmill.
    #[schemars(with = "Option<schema::Path>", extend("examples" = ["plugins/mask.wasm"]))]
    pub(super) wasm: Option<Text>,
    /// The SHA-256 of the component, in hexadecimal: another component is refused before it is compiled. `wasmill inspect` prints it.
    #[schemars(
        with = "Option<String>",
        extend("examples" = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    )]
    pub(super) sha256: Option<Text>,
    /// A plugin that comes with wasmill, instead of `wasm`; `wasmill inspect std:` lists them.
    #[schemars(with = "Option<String>", extend("examples" = ["std:jq"]))]
    pub(super) r#use: Option<Text>,
    /// The plugin's settings, passed to it as a JSON object; dates and times become strings.
    #[schemars(
        with = "Option<BTreeMap<String, serde_json::Value>>",
        extend("examples" = [{"fields": ["email", "phone"]}])
    )]
    pub(super) settings: Option<Spanned<toml::Table>>,
    /// What the plugin may use besides the log and metrics.
    #[schemars(with = "Option<Allow>")]
    pub(super) allow: Option<Spanned<Allow>>,
    /// The longest time that one call may take; below `limits.drain_timeout`.
    #[schemars(with = "Option<schema::Time>", extend("default" = "1s", "examples" = ["50ms"]))]
    pub(super) timeout: Option<Text>,
    /// The longest time that making an instance may take, and its `init`: at the start, for an executor's first records, at a reload, and after a fault.
    #[schemars(with = "Option<schema::Time>", extend("default" = "10s", "examples" = ["30s"]))]
    pub(super) init_timeout: Option<Text>,
    /// The most memory that one instance may use, from 1 MiB to 4 GiB.
    #[schemars(with = "Option<Size>", extend("default" = "64 MiB", "examples" = ["32 MiB"]))]
    pub(super) memory: Option<Spanned<Size>>,
    /// The windows of `use = "std:aggregate"`, or of a plugin that keeps state.
    #[schemars(with = "Option<Window>")]
    pub(super) window: Option<Spanned<Window>>,
    /// Results besides those of closed windows.
    #[schemars(with = "Option<Emit>")]
    pub(super) emit: Option<Spanned<Emit>>,
    /// What windows are kept by: `"json:/customer"` (a field of the value), `"header:id"` or `"const:all"`; by default the record's key.
    #[schemars(with = "Option<String>", extend("x-default" = "the record's key", "examples" = ["json:/customer"]))]
    pub(super) key: Option<Text>,
    /// The event time: `"json:/ts"` or `"header:ts"`, in milliseconds, with `seconds:` before it in seconds, or as text such as
    /// `2026-01-31T00:00:00Z`.
    #[schemars(with = "Option<String>", extend("x-default" = "the record's timestamp", "examples" = ["json:/ts"]))]
    pub(super) time: Option<Text>,
    /// Promises that all records with the same `key` are in one partition of the input.
    #[schemars(with = "Option<bool>", extend("x-default" = "`false`"))]
    pub(super) same_partition: Option<Spanned<bool>>,
    /// The most records in one call; wasmill doesn't wait for a batch to fill.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "maximum" = 4096, "default" = 128, "examples" = [1]))]
    pub(super) batch: Option<Number>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Plugins {
    /// The public keys of minisign, as their files or as the lines themselves. Every component that doesn't come with wasmill needs a
    /// signature by one of them beside it: `mask.wasm.minisig` for `mask.wasm`.
    #[schemars(with = "Option<Vec<String>>", extend("minItems" = 1, "examples" = [["keys/team-a.pub"]]))]
    pub(super) keys: Option<Spanned<Vec<Text>>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Window {
    /// How long a window is.
    #[schemars(with = "schema::Time", extend("examples" = ["1m"]))]
    pub(super) size: Option<Text>,
    /// How often a window ends; it divides `size`. A record is then in several windows.
    #[schemars(with = "Option<schema::Time>", extend("x-default" = "`size`: windows don't overlap", "examples" = ["10s"]))]
    pub(super) every: Option<Text>,
    /// How far records may be out of order: a window closes when a record has come whose time is this much after the window's end.
    #[schemars(with = "Option<schema::Time>", extend("x-default" = "`\"10s\"`", "examples" = ["30s"]))]
    pub(super) lateness: Option<Text>,
    /// When a partition has brought no record for this long, and is read to its end, the clock closes its windows; `"never"` turns that
    /// off.
    #[schemars(with = "Option<String>", extend("x-default" = "`\"10s\"`", "examples" = ["1m"]))]
    pub(super) idle: Option<Text>,
    /// How far ahead of the clock the time of a record may be. Other records are rejected with the code `future-timestamp`.
    #[schemars(with = "Option<schema::Time>", extend("x-default" = "`\"10m\"`", "examples" = ["1m"]))]
    pub(super) max_ahead: Option<Text>,
    #[schemars(skip)]
    pub(super) gap: Option<Text>,
    #[schemars(skip)]
    pub(super) max: Option<Text>,
}

/// What a step with windows shows besides the results of closed windows.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Emit {
    /// Shows the keys of open windows whose results have changed, this often. Their last results come when the windows close.
    #[schemars(with = "Option<schema::Time>", extend("x-default" = "a result only when a window closes", "examples" = ["10s"]))]
    pub(super) early: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct State {
    /// The most memory that the tables of all windows may have, from 1 MiB. A pipeline that outgrows it stops.
    #[schemars(with = "Option<Size>", extend("default" = "512 MiB", "examples" = ["2 GiB"]))]
    pub(super) memory: Option<Spanned<Size>>,
    /// Creates the changelog topic at the start if it doesn't exist.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) create: Option<Spanned<bool>>,
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
    /// The environment variables that the plugin sees; it sees none of the process's own.
    #[schemars(
        with = "Option<BTreeMap<String, Scalar>>",
        extend("examples" = [{"REGION": "eu-1", "TIERS_KEY": "${file:/run/secrets/tiers}"}])
    )]
    pub(super) env: Option<Passed>,
    /// The servers that the plugin may send HTTP requests to, as scheme, host and, if need be, port. `https://*.internal` is all hosts below
    /// `internal`. Addresses that aren't public have to be in `http_networks`, too, except those that are written here.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["https://tiers.internal"]]))]
    pub(super) http: Option<Spanned<Vec<Text>>>,
    /// The methods of its requests.
    #[schemars(
        with = "Option<Vec<String>>",
        extend("default" = ["GET", "HEAD"], "minItems" = 1, "examples" = [["GET", "POST"]])
    )]
    pub(super) http_methods: Option<Spanned<Vec<Text>>>,
    /// The networks, or addresses, where its requests may go though they aren't public: of this machine, private, or link-local.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["10.0.0.0/8"]]))]
    pub(super) http_networks: Option<Spanned<Vec<Text>>>,
    /// The most bytes of the body of a request, and of that of a response.
    #[schemars(with = "Option<Size>", extend("default" = "1 MiB", "examples" = ["64 KiB"]))]
    pub(super) http_body: Option<Spanned<Size>>,
    /// The folders whose files the plugin may read, by their absolute paths, which are those that the plugin sees.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["/etc/tiers:ro"]]))]
    pub(super) files: Option<Spanned<Vec<Text>>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Output {
    /// The topic to write. With `topics_allowed` it may be left out: then each record has to name one.
    #[schemars(with = "Option<String>", extend("x-default" = "none, and `topics_allowed` is needed", "examples" = ["orders.clean"]))]
    pub(super) topic: Option<Text>,
    /// The topics that the plugin may name, record by record, as globs: `*` stands for any characters, `?` for one, `[ab]` for one of these. A
    /// record that names another topic fails, as `bad-output`. wasmill creates no topics. Of distinct topics there may be 1,000 with the outputs
    /// and the dead-letter topic; a record beyond that fails, as `too-many-topics`.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "minItems" = 1, "examples" = [["rows.*"]]))]
    pub(super) topics_allowed: Option<Spanned<Vec<Text>>>,
    /// How the partition is chosen when the plugin doesn't choose one: `"by_key"` hashes the key as Kafka's Java client does.
    #[schemars(with = "Option<String>", extend("enum" = ["by_key", "same_as_input"], "default" = "by_key"))]
    pub(super) partition: Option<Text>,
    /// The compression codec.
    #[schemars(
        with = "Option<String>",
        extend("enum" = ["none", "gzip", "snappy", "lz4", "zstd"], "default" = "none", "examples" = ["zstd"])
    )]
    pub(super) compression: Option<Text>,
    /// Settings of librdkafka for the topic.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>", extend("examples" = [{"compression.level": 3}]))]
    pub(super) librdkafka: Passed,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Limits {
    /// The number of threads that run plugins.
    #[schemars(
        with = "Option<i64>",
        extend("minimum" = 1, "maximum" = 1024, "x-default" = "the number of cores, 4 at least", "examples" = [8])
    )]
    pub(super) parallelism: Option<Number>,
    /// The share of the CPU that the plugins get when those of other pipelines in the process want it, too: with `weight = 20` twice that
    /// of a pipeline with 10. Weights above 30 give no more than 30.
    #[schemars(
        with = "Option<i64>",
        extend("minimum" = 1, "maximum" = 100, "default" = 10, "examples" = [30])
    )]
    pub(super) weight: Option<Number>,
    /// How much may be in flight.
    #[serde(default)]
    pub(super) max_in_flight: MaxInFlight,
    /// The most outputs that a step may make of one record. A record with more fails, as `bad-output`.
    #[schemars(
        with = "Option<i64>",
        extend("minimum" = 1, "maximum" = 1_000_000, "default" = 10_000, "examples" = [100])
    )]
    pub(super) outputs_per_record: Option<Number>,
    /// The most bytes that these outputs may have, with what they take from the record: 64 MiB at most.
    #[schemars(with = "Option<Size>", extend("default" = "16 MiB", "examples" = ["1 MiB"]))]
    pub(super) output_bytes_per_record: Option<Spanned<Size>>,
    /// How many records a process reads in a second, at most. Each process of a group reads at this rate.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "maximum" = 10_000_000, "examples" = [1_000]))]
    pub(super) records_per_second: Option<Number>,
    /// How often offsets are committed. Records that were settled after the last commit are repeated after a crash.
    #[schemars(with = "Option<schema::Time>", extend("default" = "1s", "examples" = ["500ms"]))]
    pub(super) commit_every: Option<Text>,
    /// With `delivery = "exactly_once"`, how often a transaction is committed, at least: readers of committed records see an output after
    /// this time, which is 10 s at most. A worker that keeps up with its input commits after a fifth of it, or after twice the time that the
    /// last commit took, if that is longer. A transaction of 200,000 messages or 256 MiB is committed at once.
    #[schemars(with = "Option<schema::Time>", extend("default" = "100ms", "examples" = ["1s"]))]
    pub(super) transaction_every: Option<Text>,
    /// When the group revokes a partition, the longest time to finish its records in flight; below a third of `input.max_poll_interval`.
    #[schemars(with = "Option<schema::Time>", extend("default" = "5s", "examples" = ["10s"]))]
    pub(super) drain_timeout: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct MaxInFlight {
    /// The most records that may be in flight: read and not yet settled.
    #[schemars(
        with = "Option<i64>",
        extend("minimum" = 1, "maximum" = 10_000_000, "default" = 25_000, "examples" = [5_000])
    )]
    pub(super) records: Option<Number>,
    /// The most bytes that these records and their outputs may have.
    #[schemars(with = "Option<Size>", extend("default" = "64 MiB", "examples" = ["32 MiB"]))]
    pub(super) bytes: Option<Spanned<Size>>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct OnError {
    /// How often a record is retried when the plugin asks for it: a number, or `"forever"`.
    #[schemars(with = "Option<Retries>", extend("default" = 3, "examples" = ["forever"]))]
    pub(super) retries: Option<Spanned<Retries>>,
    /// How long to wait before a retry.
    #[serde(default)]
    pub(super) backoff: Backoff,
    /// What happens to a record that fails permanently.
    #[schemars(
        with = "Option<String>",
        extend(
            "enum" = ["stop", "hold", "dead_letter", "skip"],
            "x-default" = "`\"dead_letter\"` when there is a topic for it, else `\"stop\"`"
        )
    )]
    pub(super) then: Option<Text>,
    /// The pipeline stops when the plugin rejects more than this share of the last 200 records of a partition.
    #[schemars(with = "Option<f64>", extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1, "examples" = [0.5]))]
    pub(super) max_reject_share: Option<Spanned<f64>>,
    /// The dead-letter topic. The input must not read it, and no output may write it.
    #[schemars(with = "Option<String>", extend("examples" = ["orders.dead"]))]
    pub(super) dead_letter: Option<Text>,
    /// The names of a dead letter's headers: those of Kafka Streams or of Kafka Connect.
    #[schemars(with = "Option<String>", extend("enum" = ["streams", "connect"], "x-default" = "`\"streams\"`"))]
    pub(super) dialect: Option<Text>,
    /// What happens to a record that the plugin rejects with this code, in place of the above.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Reason>")]
    pub(super) code: BTreeMap<Text, Reason>,
    /// What happens to a record that fails in this way, in place of the above: `reject`, `retry`, `error`, `trap`, `timeout`, `memory`,
    /// `bad-output`, `too-many-topics`, `too-large` or `refused`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Reason>")]
    pub(super) kind: BTreeMap<Text, Reason>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Reason {
    /// How often such a record is retried: a number, or `"forever"`.
    #[schemars(with = "Option<Retries>", extend("x-default" = "0, and for `retry` that of `[on_error]`", "examples" = [5]))]
    pub(super) retries: Option<Spanned<Retries>>,
    /// How long to wait before a retry; by default as in `[on_error]`.
    #[serde(default)]
    pub(super) backoff: Backoff,
    /// What happens to it then; by default as in `[on_error]`.
    #[schemars(with = "Option<String>", extend("enum" = ["stop", "hold", "dead_letter", "skip"]))]
    pub(super) then: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Backoff {
    /// The wait before the first retry; it doubles with each retry.
    #[schemars(with = "Option<schema::Time>", extend("default" = "100ms", "examples" = ["200ms"]))]
    pub(super) from: Option<Text>,
    /// The longest wait.
    #[schemars(with = "Option<schema::Time>", extend("default" = "10s", "examples" = ["1m"]))]
    pub(super) to: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Http {
    /// The address and port of `/metrics`, `/livez` and `/readyz`; port 0 chooses a free port.
    #[schemars(with = "Option<String>", extend("default" = "127.0.0.1:9108", "examples" = ["0.0.0.0:9108"]))]
    pub(super) listen: Option<Text>,
    /// Serves the committed values of a step with windows at `/state/`, to everybody who reaches the address: there is no login.
    #[schemars(
        with = "Option<bool>",
        extend("x-default" = "`true` if `listen` is a loopback address, else `false`", "examples" = [true])
    )]
    pub(super) state: Option<Spanned<bool>>,
    /// Lets users who may give orders watch records as they pass through the steps, with `wasmill tap` or on the page.
    #[schemars(
        with = "Option<bool>",
        extend("x-default" = "`http.tap` in `wasmill.toml`, else `false`", "examples" = [true])
    )]
    pub(super) tap: Option<Spanned<bool>>,
    /// `host:port` at which other machines reach this process. Members of the group tell it to each other in the `client.id`, and send who
    /// asks for a key's state to the member that has it.
    #[schemars(with = "Option<String>", extend("examples" = ["wasmill-0.wasmill:9108"]))]
    pub(super) advertise: Option<Text>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Reload {
    /// Reload automatically when the file, or any file that it refers to, changes, as `run --watch` does.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) watch: Option<Spanned<bool>>,
    /// Reload only if the test cases beside the file pass with the change.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(super) test: Option<Spanned<bool>>,
}

/// `sasl = false`, or how to log in.
pub(super) enum Login {
    None,
    Sasl(Box<Sasl>),
}

impl<'de> Deserialize<'de> for Login {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Login, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Login;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Login, E> {
                if value { Err(E::invalid_value(Unexpected::Bool(value), &self)) } else { Ok(Login::None) }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Login, A::Error> {
                Sasl::deserialize(MapAccessDeserializer::new(map)).map(|sasl| Login::Sasl(Box::new(sasl)))
            }
        }
        deserializer.deserialize_any(Either)
    }
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
