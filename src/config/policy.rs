//! A policy file: what the pipelines of teams may use, for a platform that runs files which it didn't write.
//!
//! [`policy`] reads the file, and [`PolicyFile::judge`] compares a pipeline's effective values with the rule for it: after
//! interpolation, with the overrides of the command line, and with defaults. Invariant: what a rule doesn't permit is a finding, and a
//! pipeline with a finding neither starts nor takes effect at a reload.

pub(super) mod globs;
mod judge;
pub(super) mod raw;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value as Json;

use super::Examined;
use super::Held;
use super::Overrides;
use super::Referenced;
use super::check;
use super::document;
use super::fields;
use super::fields::Read;
use super::report::Report;
use super::schema;
use super::source;
use super::source::Source;
use super::source::Span;
use crate::plugin::Demand;
use globs::Globs;

/// A checked policy file.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    source: Arc<Source>,
    /// The files that it was read from.
    referenced: Vec<Referenced>,
    rules: Vec<PolicyRule>,
}

/// What some pipelines may use.
#[derive(Clone, Debug)]
pub(super) struct PolicyRule {
    pub(super) at: Span,
    pub(super) pipelines: Globs,
    /// `None`: a file anywhere.
    pub(super) files: Option<Globs>,
    pub(super) lists: Lists,
    pub(super) clock: bool,
    pub(super) random: bool,
    pub(super) insecure: bool,
    pub(super) bounds: Vec<Bound>,
    /// `None`: any plugin.
    pub(super) plugins: Option<PluginRule>,
}

/// The lists of a rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    pub(super) brokers: Globs,
    pub(super) read: Globs,
    pub(super) write: Globs,
    pub(super) groups: Globs,
    pub(super) env_references: Globs,
    pub(super) file_references: Globs,
    pub(super) env: Globs,
    pub(super) http: Globs,
    pub(super) http_networks: Globs,
    /// `None`: those of a pipeline that lists none.
    pub(super) http_methods: Option<Globs>,
    pub(super) files: Globs,
    pub(super) librdkafka: Globs,
}

/// The largest value of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) key: Bounded,
    pub(super) most: u64,
    pub(super) at: Span,
}

/// A key that a rule can bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounded {
    Steps,
    Parallelism,
    Weight,
    Records,
    Bytes,
    Memory,
    /// In milliseconds.
    Timeout,
    InitTimeout,
    Batch,
    StateMemory,
    Outputs,
    OutputBytes,
    Rate,
}

/// Which plugins a rule permits.
#[derive(Clone, Debug)]
pub(super) struct PluginRule {
    pub(super) at: Span,
    pub(super) demand: Demand,
}

/// Reads and checks a policy file.
///
/// # Errors
/// All findings about it.
pub fn policy(path: &Path) -> Result<PolicyFile, Report> {
    let source = Arc::new(source(path, &Overrides::default())?);
    let mut report = Report::new(Arc::clone(&source));
    let held = source.texts().first().map_or(Held::Unread, |file| Held::of(file.text.as_bytes()));
    let mut referenced = vec![Referenced { path: path.to_owned(), held }];
    let read = document::parse(&source, &mut report).and_then(|document| fields::read(document, &mut report));
    let rules = read.map(|read: Read<raw::Written>| check::policy::rules(read, &mut referenced, &mut report));
    match rules.filter(|_| report.is_empty()) {
        Some(rules) => Ok(PolicyFile { path: path.to_owned(), source, referenced, rules }),
        None => Err(report),
    }
}

/// The JSON Schema of policy files.
#[must_use]
pub fn policy_schema() -> Json {
    schema::of::<raw::Written>("A policy of wasmill", &["rule"])
}

impl PolicyFile {
    /// Adds everything that the policy doesn't permit to the findings about a pipeline. What isn't permitted isn't usable either: no
    /// broker is asked and no plugin started that the rule doesn't name.
    pub fn judge(&self, examined: &mut Examined) {
        examined.referenced.extend(self.referenced.iter().cloned());
        judge::judge(self, examined);
    }

    /// Where something in the policy is written, as `FILE:LINE`.
    fn place(&self, at: Span) -> String {
        let line = self.source.line(at);
        line.map_or_else(|| self.path.display().to_string(), |line| format!("{}:{}", line.origin, line.number))
    }
}
