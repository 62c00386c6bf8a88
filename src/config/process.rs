//! `wasmill.toml`: what belongs to a process with several pipelines: its own settings, and the connection of those pipelines that name none.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use toml::Spanned;

use super::Overrides;
use super::check;
use super::document;
use super::fields;
use super::fields::Read;
use super::interpolate::Secrets;
use super::interpolate::Values;
use super::raw::Kafka;
use super::raw::Size;
use super::raw::Text;
use super::report::Report;
use super::schema;
use super::source;
use super::typed;
use crate::secret::Secret;

/// The settings of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The address of metrics and probes.
    pub http: Option<SocketAddr>,
    /// Users who have it may change something. `None`: users of this machine.
    pub token: Option<Secret>,
    /// Whether these users may watch records of pipelines whose files don't say.
    pub serves_tap: bool,
    /// How a failed pipeline is started again. `None`: it stays failed.
    pub restart: Option<Restart>,
    /// The most memory of all pipelines together, in bytes. `None`: each has only its own limits.
    pub memory: Option<u64>,
    /// The URL of a collector that takes traces. `None`: that of the environment, if there is one.
    pub trace_endpoint: Option<String>,
}

/// How long to wait before a failed pipeline is started again: `from` at first, twice as long each time, and `to` at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The first wait.
    pub from: Duration,
    /// The longest wait, not below `from`.
    pub to: Duration,
}

/// The name of the process's file in a folder of pipelines.
pub const PROCESS_FILE: &str = "wasmill.toml";

/// The settings of a process with several pipelines.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Raw {
    /// Metrics, probes and the API.
    #[serde(default)]
    pub(super) http: Http,
    /// The connection to Kafka, where a pipeline's file leaves it out.
    #[schemars(with = "Kafka")]
    pub(super) kafka: Option<Spanned<Kafka>>,
    /// What all pipelines may have together.
    #[serde(default)]
    pub(super) limits: TogetherLimits,
    /// How the process runs its pipelines.
    #[serde(default)]
    pub(super) service: Service,
    /// Traces of records.
    #[serde(default)]
    pub(super) trace: RawTrace,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct TogetherLimits {
    /// The most memory of all pipelines together, from 16 MiB: records in flight and their outputs, plugins' instances, and the tables of
    /// windows. It doesn't count the clients' queues and the code of plugins.
    #[schemars(with = "Option<Size>", extend("x-default" = "each pipeline has only its own limits", "examples" = ["2 GiB"]))]
    pub(super) memory: Option<Spanned<Size>>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Http {
    /// The address and port of metrics, probes and the API, instead of what the files say. `--http` is stronger.
    #[schemars(
        with = "Option<String>",
        extend("x-default" = "that of the files, or `127.0.0.1:9108`", "examples" = ["0.0.0.0:9108"])
    )]
    pub(super) listen: Option<Text>,
    /// Users who have it may stop and start pipelines: 16 characters or more.
    #[schemars(
        with = "Option<String>",
        extend("x-default" = "users of this machine may", "examples" = ["${file:/run/secrets/wasmill}"])
    )]
    pub(super) token: Option<Text>,
    /// Whether users who may give orders may watch records of pipelines whose files don't say.
    #[schemars(extend("x-default" = "`false`"))]
    pub(super) tap: Option<bool>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Service {
    /// Starts a failed pipeline again.
    #[schemars(with = "Option<Waits>", extend("x-default" = "it stays failed"))]
    pub(super) restart: Option<Spanned<Waits>>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawTrace {
    /// The URL of a collector that takes traces by OTLP over HTTP.
    #[schemars(
        with = "Option<String>",
        extend("x-default" = "that of `OTEL_EXPORTER_OTLP_ENDPOINT`, if it is set", "examples" = ["http://localhost:4318"])
    )]
    pub(super) endpoint: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table such as { from = \"10s\", to = \"5m\" }")]
pub(super) struct Waits {
    /// The wait before the first start. Each further one is twice as long.
    #[schemars(with = "Option<schema::Time>", extend("x-default" = "`\"10s\"`", "examples" = ["1s"]))]
    pub(super) from: Option<Text>,
    /// The longest wait. After a pipeline has run for longer, the next wait is `from` again.
    #[schemars(with = "Option<schema::Time>", extend("x-default" = "`\"5m\"`", "examples" = ["1m"]))]
    pub(super) to: Option<Text>,
}

/// Reads and checks the file of a process; `env` looks up an environment variable.
///
/// # Errors
/// All findings.
pub fn process(path: &Path, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Process, Report> {
    let source = Arc::new(source(path, &Overrides::default())?);
    let mut report = Report::new(Arc::clone(&source));
    let mut secrets = Secrets::default();
    let Some(mut document) = document::parse(&source, &mut report) else { return Err(report) };
    Values::new(env, &source).fill(document.get_mut(), &mut secrets, &mut report);
    let typed = typed::read(document.get_ref(), &process_schema(), &mut secrets, &mut report);
    let is_filled = report.is_empty();
    let read = fields::read(typed.put(document), &mut report);
    let process = read.map(|Read { raw, whole }| {
        // Values that couldn't be filled in were removed, but they aren't missing.
        check::process::process(raw, whole && is_filled, &secrets, &mut report)
    });
    process.filter(|_| report.is_empty()).ok_or(report)
}

/// The JSON Schema of the file of a process.
#[must_use]
pub fn process_schema() -> Json {
    let mut schema = schema::of::<Raw>("The process of wasmill", &[]);
    schema::permit_references(&mut schema);
    schema
}
