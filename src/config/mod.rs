//! From a pipeline's file to checked values: the only room that knows TOML.
//!
//! [`load`] reads the file, lays the command line's overrides over it, fills in `${...}`, reads the keys and checks what
//! they mean; [`examine`] does the same and gives what can be looked into further although something is wrong. It finds everything that is wrong in one go and opens nothing but files: brokers are asked and components
//! are looked into elsewhere, which add their findings to a [`Report`] at the places that [`Pipeline`] keeps. Invariant:
//! a `Pipeline` holds no option that means "default", and no value that came from `${...}` is ever shown.

mod cases;
mod check;
mod document;
mod fields;
mod interpolate;
mod near;
mod place;
mod raw;
mod referenced;
mod report;
mod reserved;
mod schema;
mod show;
mod sound;
mod source;
mod step;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::partition::Policy;
use crate::sink::Dialect;
use crate::sink::Routes;

pub use cases::Case;
pub use cases::CaseRecords;
pub use cases::Expect;
pub use cases::Written;
pub use cases::cases;
pub use cases::cases_path;
pub use check::topics::reads;
pub use near::near;
pub use place::Place;
pub use referenced::Held;
pub use referenced::Referenced;
pub use referenced::digest;
pub use report::Finding;
pub use report::Level;
pub use report::Report;
pub use schema::schema;
pub use show::show;
pub use sound::Sound;
pub use sound::StepSound;
pub use source::Source;
pub use source::Span;

/// A pipeline's file is not larger than this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A pipeline that may run, as far as its file says.
#[derive(Clone)]
pub struct Pipeline {
    /// Its name: the file's, without `.toml`, unless it says another.
    pub name: String,
    /// The file it came from.
    pub file: PathBuf,
    /// The connection, the input and the outputs.
    pub kafka: crate::kafka::Settings,
    /// The steps in order, at least one.
    pub steps: Vec<crate::plugin::Settings>,
    /// What is done about records that fail.
    pub policy: Policy,
    /// Whose header names dead letters have first.
    pub dialect: Dialect,
    /// Where the steps' ports lead.
    pub routes: Routes,
    /// The bounds.
    pub limits: Limits,
    /// Where metrics and probes are served.
    pub http: SocketAddr,
    /// How a change is taken over.
    pub reload: Reload,
    /// The longest time that a shutdown may take.
    pub shutdown_timeout: Duration,
    /// The certificates and keys of the connection, with what they held when the file was read.
    pub connection: Vec<Referenced>,
    /// The texts it came from.
    pub source: Arc<Source>,
    /// Where the values stand that can only be checked later.
    pub spans: Spans,
    secrets: Arc<interpolate::Secrets>,
}

impl Pipeline {
    /// An empty report, for findings about this pipeline.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::new(Arc::clone(&self.source))
    }

    /// Whether a value may be shown; one that came from `${...}` may not.
    #[must_use]
    pub fn is_shown(&self, span: Span) -> bool {
        !self.secrets.touch(&(span.start..span.end))
    }

    /// A text of somebody else's that was told the pipeline's values, without those that came from `${...}`.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.kafka.hidden.hide(text)
    }
}

/// Settings and passwords stay out of it.
impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("name", &self.name).field("file", &self.file).finish_non_exhaustive()
    }
}

/// How a running pipeline takes over what has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Whether it looks for changes by itself.
    pub watch: bool,
    /// Whether the test cases have to pass first.
    pub test: bool,
}

/// How much a pipeline does at once, and how long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Executors.
    pub parallelism: usize,
    /// CaseRecords that were read and aren't done.
    pub max_in_flight_records: usize,
    /// Bytes of these records and of their outputs.
    pub max_in_flight_bytes: usize,
    /// The longest time that a revoke waits for records in flight.
    pub drain_timeout: Duration,
}

/// Where the values stand that can only be checked with a broker or a component at hand.
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
    /// `input.topics`, one by one.
    pub topics: Vec<Span>,
    /// The steps, in order.
    pub steps: Vec<StepSpans>,
    /// The outputs, in the order of the settings' outputs.
    pub outputs: Vec<OutputSpans>,
    /// `on_error.dead_letter`.
    pub dead_letter: Option<Span>,
    /// `http.listen`, unless it is the default.
    pub http: Option<Span>,
}

/// Where a step's values stand.
#[derive(Clone, Copy, Debug)]
pub struct StepSpans {
    /// Its component.
    pub wasm: Span,
    /// Its settings, or its component when it has none.
    pub settings: Span,
    /// What it allows, if it does.
    pub allow: Option<Span>,
}

/// Where an output's values stand.
#[derive(Clone, Copy, Debug)]
pub struct OutputSpans {
    /// Its name in `[output.NAME]`.
    pub name: Span,
    /// Its topic.
    pub topic: Span,
}

/// What the command line says over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `key.of.the.file=value`, the value in TOML; what isn't TOML is a string.
    pub set: Vec<String>,
    /// `http.listen`.
    pub http: Option<String>,
}

/// What there is to say about a pipeline's file, and what is left of it.
pub struct Examined {
    /// Everything that is wrong with it.
    pub report: Report,
    /// What was read, and which parts of it mean what they say; `None` if it can't be read at all.
    pub pipeline: Option<(Pipeline, Sound)>,
    /// The file and all that it refers to, as far as it could be read. Whatever changes in one of them may change the rest.
    pub referenced: Vec<Referenced>,
}

/// Reads and checks a pipeline's file; `env` looks up an environment variable.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, overrides: &Overrides, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Pipeline, Report> {
    examine(path, overrides, env).sound()
}

impl Examined {
    /// The pipeline, if nothing is wrong.
    ///
    /// # Errors
    /// Everything that is.
    pub fn sound(self) -> Result<Pipeline, Report> {
        match self.pipeline {
            Some((pipeline, _)) if self.report.is_empty() => Ok(pipeline),
            Some(_) | None => Err(self.report),
        }
    }
}

/// As [`load`], for somebody who looks further although something is wrong.
#[must_use]
pub fn examine(path: &Path, overrides: &Overrides, env: &dyn Fn(&str) -> Option<OsString>) -> Examined {
    let source = match source(path, overrides) {
        Ok(source) => Arc::new(source),
        Err(report) => {
            let own = Referenced { path: path.to_owned(), held: Held::Unread };
            return Examined { report, pipeline: None, referenced: vec![own] };
        }
    };
    let mut report = Report::new(Arc::clone(&source));
    let held = source.texts().first().map_or(Held::Unread, |file| Held::of(file.text.as_bytes()));
    let mut referenced = vec![Referenced { path: path.to_owned(), held }];
    let pipeline = check_source(path, &source, env, &mut report, &mut referenced);
    if let Some((pipeline, _)) = &pipeline {
        referenced.extend(referenced::of_pipeline(pipeline));
    }
    Examined { report, pipeline, referenced }
}

/// The file's text and those of the command line.
fn source(path: &Path, overrides: &Overrides) -> Result<Source, Report> {
    let mut source = Source::new(path.display().to_string(), read(path)?);
    for argument in &overrides.set {
        let text = document::set(argument).map_err(|why| {
            let option = PathBuf::from(format!("--set {}", argument.split('=').next().unwrap_or_default()));
            Report::unreadable(&option, format!("cannot use this `--set`: {why}"), "write `--set input.group=orders`")
        })?;
        source.push("--set".into(), text);
    }
    if let Some(address) = &overrides.http {
        source.push("--http".into(), format!("http.listen = {}", toml::Value::String(address.clone())));
    }
    Ok(source)
}

fn check_source(
    path: &Path,
    source: &Arc<Source>,
    env: &dyn Fn(&str) -> Option<OsString>,
    report: &mut Report,
    referenced: &mut Vec<Referenced>,
) -> Option<(Pipeline, Sound)> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut document = document::parse(source, report)?;
    let is_merged = report.is_empty();
    let places = sound::Places::of(document.get_ref());
    let mut secrets = interpolate::Secrets::default();
    let values = interpolate::Values::new(env, folder);
    values.fill(document.get_mut(), &mut secrets, report);
    referenced.extend(values.files.into_inner());
    let is_filled = report.is_empty();
    let mut read = fields::read(document, report)?;
    // What couldn't be filled in was taken out, and isn't missing.
    read.whole &= is_filled;
    let secrets = Arc::new(secrets);
    let pipeline = check::pipeline(read, path, source, &secrets, report);
    let sound = places.sound(&pipeline, report, is_merged);
    Some((pipeline, sound))
}

fn read(path: &Path) -> Result<String, Report> {
    let shown = path.display();
    let fail = |why: String, help: &str| Report::unreadable(path, format!("cannot read `{shown}`: {why}"), help);
    let metadata = std::fs::metadata(path).map_err(|error| fail(error.to_string(), "name a pipeline's file"))?;
    if !metadata.is_file() {
        return Err(fail("it is not a file".into(), "name a pipeline's file"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(fail("it is larger than 1 MiB".into(), "name a pipeline's file"));
    }
    let bytes = std::fs::read(path).map_err(|error| fail(error.to_string(), "name a pipeline's file"))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        fail(format!("line {line} is not UTF-8"), "save the file as UTF-8")
    })
}
