//! `wasmill.toml`: what belongs to a process with several pipelines, and to none of them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::Overrides;
use super::check;
use super::document;
use super::fields;
use super::fields::Read;
use super::interpolate::Secrets;
use super::interpolate::Values;
use super::raw::Text;
use super::report::Report;
use super::source;
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Raw {
    #[serde(default)]
    pub(super) http: Http,
    #[serde(default)]
    pub(super) service: Service,
    #[serde(default)]
    pub(super) trace: RawTrace,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Http {
    pub(super) listen: Option<Text>,
    pub(super) token: Option<Text>,
    pub(super) tap: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct Service {
    pub(super) restart: Option<Spanned<Waits>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawTrace {
    pub(super) endpoint: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { from = \"10s\", to = \"5m\" }")]
pub(super) struct Waits {
    pub(super) from: Option<Text>,
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
    let read = document::parse(&source, &mut report).and_then(|mut document| {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Values::new(env, folder).fill(document.get_mut(), &mut secrets, &mut report);
        fields::read(document, &mut report)
    });
    let process = read.map(|Read { raw, .. }| check::process::process(raw, &secrets, &mut report));
    process.filter(|_| report.is_empty()).ok_or(report)
}
