//! Reads a pipeline's file into checked values. The only module that knows TOML.
//!
//! [`load`] reads the file, merges the command line's overrides into it, fills in `${...}`, reads the keys and checks
//! what they mean. [`examine`] does the same, and also returns what is usable of a file with mistakes. All mistakes are
//! reported in one run. Only files are opened here: other modules ask brokers and inspect components, and add their
//! findings to a [`Report`] at the spans that [`Pipeline`] keeps. Invariant: a `Pipeline` holds no option that means
//! "default", and no secret is ever shown.

mod cases;
mod check;
mod document;
mod fields;
mod interpolate;
mod near;
mod policy;
mod process;
mod setting_spans;
mod raw;
mod referenced;
mod report;
mod reserved;
mod schema;
mod show;
mod usable;
mod source;
mod step;
mod topic_sets;
mod typed;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::aggregate::Functions;
use crate::aggregate::KeySelector;
use crate::aggregate::TimeSelector;
use crate::partition::Order;
use crate::partition::Policy;
use crate::sink::Dialect;
use crate::sink::Routes;
use crate::state::Window;

pub use cases::Case;
pub use cases::CaseRecords;
pub use cases::Expect;
pub use cases::Written;
pub use cases::cases;
pub use cases::cases_path;
pub use check::http::LISTEN as HTTP_LISTEN;
pub use check::limits::WEIGHT_DEFAULT;
pub use check::limits::parallelism_default;
pub use check::topics::reads;
pub use near::near;
pub use policy::PolicyFile;
pub use policy::policy;
pub use policy::policy_schema;
pub use process::PROCESS_FILE;
pub use process::Process;
pub use process::Restart;
pub use process::process;
pub use process::process_schema;
pub use referenced::Held;
pub use referenced::Referenced;
pub use referenced::digest;
pub use report::Finding;
pub use report::Level;
pub use report::Report;
pub use schema::schema;
pub use setting_spans::SettingSpans;
pub use show::show;
pub use show::show_read;
use source::Layer;
pub use source::Source;
pub use source::Span;
pub use usable::Usable;
pub use usable::UsableStep;

/// The largest pipeline file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A checked pipeline.
#[derive(Clone)]
pub struct Pipeline {
    /// Its name. By default the file's name without `.toml`.
    pub name: String,
    /// The file it came from.
    pub file: PathBuf,
    /// The connection, the input and the outputs.
    pub kafka: crate::kafka::Settings,
    /// The steps that run plugins, in order. There is at least one, or a step with windows that runs none.
    pub steps: Vec<crate::plugin::Settings>,
    /// The last step, if it has windows.
    pub windowed: Option<Windowed>,
    /// What to do with failed records.
    pub policy: Policy,
    /// Which order is kept.
    pub order: Order,
    /// The naming scheme of dead-letter headers.
    pub dialect: Dialect,
    /// The outputs to which the steps' ports lead.
    pub routes: Routes,
    /// The limits.
    pub limits: Limits,
    /// The address of metrics and probes.
    pub http: SocketAddr,
    /// Whether committed values of a step with windows are served there.
    pub serves_state: bool,
    /// Whether users who may give orders may watch its records as they pass; `None` if the file doesn't say.
    pub serves_tap: Option<bool>,
    /// How changes are applied.
    pub reload: Reload,
    /// The longest time for a shutdown.
    pub shutdown_timeout: Duration,
    /// The certificates and keys of the connection, with their digests when the file was read.
    pub connection: Vec<Referenced>,
    /// The files of the keys in `[plugins]`, with their digests when the file was read.
    pub signers: Vec<Referenced>,
    /// The texts that it was read from.
    pub source: Arc<Source>,
    /// The spans of the values that can only be checked later.
    pub spans: Spans,
    secrets: Arc<interpolate::Secrets>,
}

impl Pipeline {
    /// An empty report, for findings about this pipeline.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::new(Arc::clone(&self.source))
    }

    /// The step with windows, if it runs no plugin: it comes after [`Pipeline::steps`].
    #[must_use]
    pub fn native(&self) -> Option<&Windowed> {
        self.windowed.as_ref().filter(|windowed| windowed.is_native())
    }

    /// The topics that `topics_allowed` of outputs names without a wildcard.
    pub fn topics_by_name(&self) -> impl Iterator<Item = &str> {
        let globs = (0..self.kafka.outputs.len()).flat_map(|output| self.routes.allowed(output));
        globs.map(glob::Pattern::as_str).filter(|glob| !glob.contains(['*', '?', '[']))
    }

    /// Whether a value may be shown: not if it is a secret, or holds one.
    #[must_use]
    pub fn is_shown(&self, span: Span) -> bool {
        !self.secrets.touch(&(span.start..span.end))
    }

    /// Where a value is, as `FILE:LINE`, or only the file.
    #[must_use]
    pub fn place(&self, span: Option<Span>) -> String {
        let line = span.and_then(|span| self.source.line(span));
        line.map_or_else(|| self.file.display().to_string(), |line| format!("{}:{}", line.origin, line.number))
    }

    /// Hides secrets in a text that may repeat the pipeline's values, such as an error message of librdkafka.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.kafka.hidden.hide(text)
    }
}

/// Omits settings and passwords.
impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("name", &self.name).field("file", &self.file).finish_non_exhaustive()
    }
}

/// A step with windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windowed {
    /// Its name.
    pub name: Arc<str>,
    /// Its number among all steps.
    pub number: usize,
    /// The windows.
    pub window: Window,
    /// What the key is taken from.
    pub key: KeySelector,
    /// What the event time is taken from.
    pub time: TimeSelector,
    /// Whether the file says that records with the same key are in the same partition.
    pub same_partition: bool,
    /// What is computed.
    pub computes: Computes,
    /// How often windows are shown before they close, if they are.
    pub early: Option<Duration>,
    /// The most memory of its tables.
    pub memory_bytes: u64,
    /// Whether a missing changelog topic is created at the start.
    pub create: bool,
    /// The step in the file.
    pub span: Span,
}

/// What a step with windows computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Computes {
    /// Functions of fields, without a plugin.
    Functions(Functions),
    /// What the plugin of the step does, the last of [`Pipeline::steps`].
    Plugin,
}

impl Windowed {
    /// Whether the file names the keys or the times of records.
    #[must_use]
    pub fn names_keys(&self) -> bool {
        self.key != KeySelector::default() || self.time != TimeSelector::default()
    }

    /// Whether it runs no plugin, so that it isn't one of [`Pipeline::steps`].
    #[must_use]
    pub fn is_native(&self) -> bool {
        matches!(self.computes, Computes::Functions(_))
    }

    /// The codes with which it rejects records.
    pub const CODES: [&str; 11] = [
        "bad-json",
        "no-key",
        "no-time",
        "not-a-number",
        "not-a-scalar",
        "number-out-of-range",
        "sum-out-of-range",
        "value-too-large",
        "cell-too-large",
        "future-timestamp",
        "no-window",
    ];
    /// The output for records that come too late for their windows.
    pub const LATE: &str = "late";
}

/// How a running pipeline applies changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Whether it watches its files for changes.
    pub watch: bool,
    /// Whether its test cases must pass first.
    pub test: bool,
}

/// How much a pipeline does at once, and how long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of executors.
    pub parallelism: usize,
    /// Records in flight: read but not settled.
    pub max_in_flight_records: usize,
    /// Bytes of these records and of their outputs.
    pub max_in_flight_bytes: usize,
    /// The most outputs that a step may make of one record.
    pub outputs_per_record: u64,
    /// The most bytes of these outputs.
    pub output_bytes_per_record: u64,
    /// The share of the CPU when other pipelines want it, too: from 1 to 100.
    pub weight: usize,
    /// How many records are read in a second, at most.
    pub records_per_second: Option<NonZeroU32>,
    /// The longest time that a revoke waits for records in flight.
    pub drain_timeout: Duration,
}

/// The spans of the values that can only be checked with a broker or a component.
#[derive(Clone, Debug)]
pub struct Spans {
    /// `name`, if it is set.
    pub name: Option<Span>,
    /// `kafka.brokers`.
    pub brokers: Span,
    /// `[input]`.
    pub input: Span,
    /// `input.group`, if it is set.
    pub group: Option<Span>,
    /// `input.instance_id`, if it is set.
    pub instance_id: Option<Span>,
    /// Each topic of `input.topics`.
    pub topics: Vec<Span>,
    /// The steps, in order.
    pub steps: Vec<StepSpans>,
    /// The outputs, in the order of `kafka.outputs`.
    pub outputs: Vec<OutputSpans>,
    /// `on_error.dead_letter`.
    pub dead_letter: Option<Span>,
    /// The codes that have rules in `[on_error.code]`.
    pub codes: Vec<(String, Span)>,
    /// The first key of `[http]`, if there is one.
    pub http: Option<Span>,
}

/// The spans of a step's values.
#[derive(Clone, Copy, Debug)]
pub struct StepSpans {
    /// Its component.
    pub wasm: Span,
    /// Its settings, or its component if it has none.
    pub settings: Span,
    /// Its `allow`, if it has one.
    pub allow: Option<Span>,
}

/// The spans of an output's values.
#[derive(Clone, Debug)]
pub struct OutputSpans {
    /// Its name in `[output.NAME]`.
    pub name: Span,
    /// Its topic, or its name if it has none.
    pub topic: Span,
    /// Each glob of `topics_allowed`.
    pub allowed: Vec<Span>,
}

/// What counts besides the pipeline's file: the overrides of the command line, and the file of the process.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `key.of.the.file=value`. A value that isn't TOML is a string.
    pub set: Vec<String>,
    /// `http.listen`.
    pub http: Option<String>,
    /// The file of the process: its `[kafka]` has the values that the pipeline's file leaves out.
    pub service: Option<PathBuf>,
}

/// The findings about a pipeline's file, and its usable parts.
pub struct Examined {
    /// All findings.
    pub report: Report,
    /// The pipeline, with the parts that are usable; `None` if the file can't be read at all.
    pub pipeline: Option<(Pipeline, Usable)>,
    /// The file and all files that it refers to, as far as they could be read. A change of any of them may change the
    /// result.
    pub referenced: Vec<Referenced>,
}

/// Reads and checks a pipeline's file; `env` looks up an environment variable.
///
/// # Errors
/// All findings.
pub fn load(path: &Path, overrides: &Overrides, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Pipeline, Report> {
    examine(path, overrides, env).valid()
}

impl Examined {
    /// The pipeline, if there are no findings.
    ///
    /// # Errors
    /// All findings.
    pub fn valid(self) -> Result<Pipeline, Report> {
        match self.pipeline {
            Some((pipeline, _)) if self.report.is_empty() => Ok(pipeline),
            Some(_) | None => Err(self.report),
        }
    }
}

/// Like [`load`], for callers that continue with the usable parts of a file with mistakes.
#[must_use]
pub fn examine(path: &Path, overrides: &Overrides, env: &dyn Fn(&str) -> Option<OsString>) -> Examined {
    let source = match source(path, overrides) {
        Ok(source) => Arc::new(source),
        Err(report) => {
            let named = [path].into_iter().chain(overrides.service.as_deref());
            let referenced = named.map(|path| Referenced::unread(path.to_owned())).collect();
            return Examined { report, pipeline: None, referenced };
        }
    };
    let mut report = Report::new(Arc::clone(&source));
    let read = source.texts().iter().filter(|text| text.layer != Layer::Override);
    let paths = [path].into_iter().chain(overrides.service.as_deref());
    let mut referenced: Vec<Referenced> = paths
        .zip(read)
        .map(|(path, text)| Referenced { path: path.to_owned(), held: Held::of(text.text.as_bytes()) })
        .collect();
    let pipeline = check_source(path, &source, env, &mut report, &mut referenced);
    if let Some((pipeline, _)) = &pipeline {
        referenced.extend(referenced::of_pipeline(pipeline));
    }
    Examined { report, pipeline, referenced }
}

/// The text of the file, that of the process's file, and those of the command line.
fn source(path: &Path, overrides: &Overrides) -> Result<Source, Report> {
    let mut source = Source::new(path, read(path, "name a pipeline's file")?);
    if let Some(service) = &overrides.service {
        source.push_process(service, read(service, "name the file with the settings of the process: `wasmill.toml`")?);
    }
    for argument in &overrides.set {
        let text = document::set(argument).map_err(|why| {
            let option = PathBuf::from(format!("--set {}", argument.split('=').next().unwrap_or_default()));
            Report::unreadable(&option, format!("cannot use this `--set`: {why}"), "write `--set input.group=orders`")
        })?;
        source.push_override("--set", text);
    }
    if let Some(address) = &overrides.http {
        source.push_override("--http", format!("http.listen = {}", toml::Value::String(address.clone())));
    }
    Ok(source)
}

fn check_source(
    path: &Path,
    source: &Arc<Source>,
    env: &dyn Fn(&str) -> Option<OsString>,
    report: &mut Report,
    referenced: &mut Vec<Referenced>,
) -> Option<(Pipeline, Usable)> {
    let mut document = document::parse(source, report)?;
    let is_merged = report.is_empty();
    let parts = usable::PartSpans::of(document.get_ref());
    let mut secrets = interpolate::Secrets::default();
    let values = interpolate::Values::new(env, source);
    values.fill(document.get_mut(), &mut secrets, report);
    referenced.extend(values.files.into_inner());
    let typed = typed::read(document.get_ref(), &schema(), &mut secrets, report);
    let document = typed.put(document);
    let is_filled = report.is_empty();
    let mut read = fields::read(document, report)?;
    // Values that couldn't be filled in were removed, but they aren't missing.
    read.whole &= is_filled;
    let secrets = Arc::new(secrets);
    let pipeline = check::pipeline(read, path, source, &secrets, report);
    let usable = parts.usable(&pipeline, report, is_merged);
    Some((pipeline, usable))
}

fn read(path: &Path, help: &str) -> Result<String, Report> {
    let shown = path.display();
    let fail = |why: String, help: &str| Report::unreadable(path, format!("cannot read `{shown}`: {why}"), help);
    let metadata = std::fs::metadata(path).map_err(|error| fail(error.to_string(), help))?;
    if !metadata.is_file() {
        return Err(fail("it is not a file".into(), help));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(fail("it is larger than 1 MiB".into(), help));
    }
    let bytes = std::fs::read(path).map_err(|error| fail(error.to_string(), help))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        fail(format!("line {line} is not UTF-8"), "save the file as UTF-8")
    })
}
