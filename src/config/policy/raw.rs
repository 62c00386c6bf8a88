//! A policy file as it is written. Like `config/raw.rs`: the doc comments are shown to users.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use crate::config::raw::Number;
use crate::config::raw::Size;
use crate::config::raw::Text;
use crate::config::schema;

/// A list of globs, as a text for each.
pub(in crate::config) type Texts = Spanned<Vec<Text>>;

/// A policy: what the pipelines of each team may use.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(in crate::config) struct Written {
    /// Who may sign plugins, by names for `signed_by`: a public key of minisign, as its file or as the line itself.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>", extend("examples" = [{"team-a": "keys/team-a.pub"}]))]
    pub(in crate::config) signers: BTreeMap<Spanned<String>, Text>,
    /// The rules. The first one that names a pipeline holds for it; a pipeline that none names is refused.
    #[serde(default)]
    #[schemars(with = "Vec<WrittenRule>", extend("minItems" = 1))]
    pub(in crate::config) rule: Vec<Spanned<WrittenRule>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(in crate::config) struct WrittenRule {
    /// The names of the pipelines that the rule is for.
    #[schemars(with = "Vec<String>", extend("minItems" = 1, "examples" = [["orders-*"]]))]
    pub(in crate::config) pipelines: Option<Texts>,
    /// The paths of their files, without links. A relative one begins at the policy file's folder.
    #[schemars(
        with = "Option<Vec<String>>",
        extend("minItems" = 1, "x-default" = "a file anywhere", "examples" = [["/etc/wasmill/orders/*"]])
    )]
    pub(in crate::config) files: Option<Texts>,
    /// The brokers that they may name, as `host:port`.
    #[schemars(with = "Vec<String>", extend("examples" = [["kafka.internal:9092"]]))]
    pub(in crate::config) brokers: Option<Texts>,
    /// The topics.
    #[serde(default)]
    pub(in crate::config) topics: WrittenTopics,
    /// The consumer groups. Transactional ids can't be set: they begin with `wasmill-` and the group.
    #[schemars(with = "Vec<String>", extend("examples" = [["orders-*"]]))]
    pub(in crate::config) groups: Option<Texts>,
    /// What values may be taken from.
    #[serde(default)]
    pub(in crate::config) references: WrittenReferences,
    /// What steps may grant to their plugins.
    #[serde(default)]
    pub(in crate::config) allow: WrittenAllow,
    /// The keys of librdkafka that may be set, in `[kafka]`, `[input]` and outputs.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["client.rack"]]))]
    pub(in crate::config) librdkafka: Option<Texts>,
    /// Whether a pipeline may send a password in clear, or not verify the brokers' certificates.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(in crate::config) insecure: Option<Spanned<bool>>,
    /// The largest values. One that is left out isn't bounded. Defaults count, too.
    #[serde(default)]
    pub(in crate::config) limits: WrittenLimits,
    /// Which plugins steps may run.
    #[schemars(with = "Option<WrittenPlugins>", extend("x-default" = "any plugin"))]
    pub(in crate::config) plugins: Option<Spanned<WrittenPlugins>>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(in crate::config) struct WrittenTopics {
    /// The topics that they may read. A pattern of topics, `^..`, is permitted only by exactly its text, or by `*`.
    #[schemars(with = "Vec<String>", extend("examples" = [["orders.*", "^returns\\..*"]]))]
    pub(in crate::config) read: Option<Texts>,
    /// The topics that they may write: outputs, dead letters and changelogs. A glob of `topics_allowed` has to be within these.
    #[schemars(with = "Vec<String>", extend("examples" = [["orders.*", "shared.events"]]))]
    pub(in crate::config) write: Option<Texts>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(in crate::config) struct WrittenReferences {
    /// The variables of the environment that `${..}` may name.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["ORDERS_*"]]))]
    pub(in crate::config) env: Option<Texts>,
    /// The files that `${file:..}` may name, and certificates and keys of the connection, by their paths without links. A relative path
    /// begins at the policy file's folder.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["/run/secrets/orders/*"]]))]
    pub(in crate::config) files: Option<Texts>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(in crate::config) struct WrittenAllow {
    /// The time.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(in crate::config) clock: Option<Spanned<bool>>,
    /// Random numbers.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(in crate::config) random: Option<Spanned<bool>>,
    /// The environment variables that plugins may see.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["ORDERS_*"]]))]
    pub(in crate::config) env: Option<Texts>,
    /// The servers that plugins may send HTTP requests to, with scheme and port as pipelines write them. An address that a glob matches is permitted,
    /// too, also one of this machine.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["https://*.orders.internal"]]))]
    pub(in crate::config) http: Option<Texts>,
    /// What `http_networks` may list, by exactly this text, or `*`.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["10.1.0.0/16"]]))]
    pub(in crate::config) http_networks: Option<Texts>,
    /// The methods that `http_methods` may list. GET and HEAD are those of a pipeline that lists none.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "`GET` and `HEAD`", "examples" = [["GET", "POST"]]))]
    pub(in crate::config) http_methods: Option<Texts>,
    /// The folders whose files plugins may read, by their paths without links.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["/etc/orders/*"]]))]
    pub(in crate::config) files: Option<Texts>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(in crate::config) struct WrittenLimits {
    /// The most steps.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "examples" = [5]))]
    pub(in crate::config) steps: Option<Number>,
    /// The largest `limits.parallelism`.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "examples" = [4]))]
    pub(in crate::config) parallelism: Option<Number>,
    /// The largest `limits.weight`.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "maximum" = 100, "examples" = [10]))]
    pub(in crate::config) weight: Option<Number>,
    /// The largest `limits.max_in_flight`.
    #[serde(default)]
    pub(in crate::config) max_in_flight: WrittenInFlight,
    /// The largest `memory` of a step.
    #[schemars(with = "Option<Size>", extend("examples" = ["128 MiB"]))]
    pub(in crate::config) memory: Option<Spanned<Size>>,
    /// The longest `timeout` of a step.
    #[schemars(with = "Option<schema::Time>", extend("examples" = ["1s"]))]
    pub(in crate::config) timeout: Option<Text>,
    /// The longest `init_timeout` of a step.
    #[schemars(with = "Option<schema::Time>", extend("examples" = ["10s"]))]
    pub(in crate::config) init_timeout: Option<Text>,
    /// The largest `batch` of a step.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "examples" = [512]))]
    pub(in crate::config) batch: Option<Number>,
    /// The largest `limits.outputs_per_record`.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "examples" = [100]))]
    pub(in crate::config) outputs_per_record: Option<Number>,
    /// The largest `limits.output_bytes_per_record`.
    #[schemars(with = "Option<Size>", extend("examples" = ["1 MiB"]))]
    pub(in crate::config) output_bytes_per_record: Option<Spanned<Size>>,
    /// The largest `limits.records_per_second`, which a pipeline then has to set.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "examples" = [1_000]))]
    pub(in crate::config) records_per_second: Option<Number>,
    /// The largest `state.memory`, for a pipeline with windows.
    #[schemars(with = "Option<Size>", extend("examples" = ["1 GiB"]))]
    pub(in crate::config) state_memory: Option<Spanned<Size>>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(in crate::config) struct WrittenInFlight {
    /// The largest `limits.max_in_flight.records`.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "examples" = [10_000]))]
    pub(in crate::config) records: Option<Number>,
    /// The largest `limits.max_in_flight.bytes`.
    #[schemars(with = "Option<Size>", extend("examples" = ["64 MiB"]))]
    pub(in crate::config) bytes: Option<Spanned<Size>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(in crate::config) struct WrittenPlugins {
    /// Whether steps may run the plugins that come with wasmill.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub(in crate::config) bundled: Option<Spanned<bool>>,
    /// The SHA-256 of components that steps may run, in hexadecimal.
    #[schemars(
        with = "Option<Vec<String>>",
        extend("x-default" = "none", "examples" = [["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]])
    )]
    pub(in crate::config) sha256: Option<Texts>,
    /// The names of signers. Steps may run the components that one of them has signed: `mask.wasm.minisig` beside `mask.wasm`.
    #[schemars(with = "Option<Vec<String>>", extend("x-default" = "none", "examples" = [["team-a"]]))]
    pub(in crate::config) signed_by: Option<Texts>,
}
