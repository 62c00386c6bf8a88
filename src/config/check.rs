//! The meaning of the keys: turns the raw file into a pipeline, and reports every mistake at its place.
//!
//! It opens nothing: of the files that the pipeline names it only checks that they exist. Each part of the file has its
//! own module here; [`Check`] is what they share.

mod connection;
mod dead_letter;
mod grants;
pub(super) mod http;
pub(super) mod limits;
mod outputs;
mod plugins;
pub(super) mod policy;
pub(super) mod process;
mod sasl;
mod step;
pub(super) mod topics;
mod value;
mod windows;

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::Pipeline;
use super::Reload;
use super::Spans;
use super::fields::Read;
use super::interpolate::Secrets;
use super::near::near;
use super::raw;
use super::raw::Text;
use super::report::Report;
use super::source::Source;
use super::source::Span;
use crate::kafka::settings::Guarantee;
use crate::kafka::settings::Isolation;
use crate::kafka::settings::Settings;
use crate::kafka::settings::transactional_ids;
use crate::partition::Order;
use crate::sink::Routes;

/// Below the 30 s that Kubernetes grants by default.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// The context of all checks.
struct Check<'a> {
    report: &'a mut Report,
    secrets: &'a Secrets,
    /// Whether every key of the file was read. If not, missing keys are not reported.
    whole: bool,
}

/// Checks the raw file. Where the report has a finding, the pipeline holds a default or the wrong value.
pub(super) fn pipeline(
    read: Read<raw::Pipeline>,
    path: &Path,
    source: &Arc<Source>,
    secrets: &Arc<Secrets>,
    report: &mut Report,
) -> Pipeline {
    let raw = read.raw;
    let check = &mut Check { report, secrets, whole: read.whole };

    let name = check.name(raw.name.as_ref(), path);
    let deliveries = [("at_least_once", false), ("exactly_once", true)];
    let has_windows = raw.step.iter().any(|step| windows::is_windowed(step.get_ref()));
    let is_exactly_once =
        value::one_of(check, raw.delivery.as_ref(), "delivery", &deliveries, &[]).unwrap_or(has_windows);
    let orders = [("partition", Order::Partition), ("key", Order::Key), ("none", Order::None)];
    let order = value::one_of(check, raw.order.as_ref(), "order", &orders, &[]).unwrap_or_default();
    let shutdown_timeout =
        value::duration(check, raw.shutdown_timeout.as_ref(), "shutdown_timeout").unwrap_or(SHUTDOWN_TIMEOUT);
    let http = http::http(check, &raw.http, has_windows);
    let reload = check.reload(&raw.reload, path);

    let kafka_at = raw.kafka.as_ref().map_or(Span::START, |kafka| kafka.span().into());
    let kafka = raw.kafka.map(Spanned::into_inner).unwrap_or_default();
    let input_at = raw.input.as_ref().map_or(Span::START, |input| input.span().into());
    let input = raw.input.map(Spanned::into_inner).unwrap_or_default();

    let brokers_span = kafka.brokers.as_ref().map_or(kafka_at, |brokers| brokers.span().into());
    let connection = connection::connection(check, kafka, kafka_at);
    let outputs = outputs::outputs(check, raw.output);
    let (topics, topic_spans) = topics::inputs(check, input.topics.as_ref(), input_at);
    topics::overlap(check, input.topics.as_ref(), &outputs);
    let dead_letter = dead_letter::topic(check, &raw.on_error, input.topics.as_ref(), &outputs);
    let own = topics.iter().cloned().chain(dead_letter.as_ref().and_then(|output| output.topic.clone()));
    let own: Vec<String> = own.collect();
    let routes = Routes::new(outputs.iter().map(|output| output.choice(&own)).collect(), raw.step.len());
    if routes.is_none() && check.whole {
        check.report.add(
            Span::START,
            "there is no `[output.main]`",
            "add `[output.main]` with the `topic` that the last step writes to",
        );
    }
    let routes = routes.unwrap_or_else(|| Routes::only_main(raw.step.len()));
    let ports = routes.ports();
    let (mut steps, step_spans, windowed) = step::steps(check, &raw.step, &ports, &raw.state);
    if let Some(windowed) = &windowed {
        outputs::of_windows(check, &outputs, windowed.is_native());
    }
    let (signed, signers) = plugins::plugins(check, &raw.plugins);
    steps.iter_mut().for_each(|step| step.demands.extend(signed.clone()));
    let commit_every = if is_exactly_once {
        limits::transaction_every(check, &raw.limits)
    } else {
        limits::commit_every(check, &raw.limits)
    };
    let (limits, policy) = limits::limits(check, &raw.limits, &raw.on_error);
    for step in &mut steps {
        step.outputs_per_record = limits.outputs_per_record;
        step.output_bytes_per_record = limits.output_bytes_per_record;
    }
    let (policy, dialect) = dead_letter::policy(check, &raw.on_error, policy);
    limits::times(check, &raw.limits, &limits, &raw.step, &steps, &input);

    let group_span = input.group.as_ref().map(|group| group.span().into());
    let isolation_span = input.isolation.as_ref().map(|isolation| isolation.span().into());
    let instance_id_span = input.instance_id.as_ref().map(|id| id.span().into());
    if has_windows {
        windows::agree(check, &raw.order, order, input.topics.as_ref());
    }
    let input = topics::input(check, input, topics, &name);
    let (outputs, output_spans) = outputs.into_iter().map(|output| (output.settings, output.spans)).unzip();
    if is_exactly_once && input.isolation == Isolation::ReadUncommitted {
        check.report.add(
            isolation_span.unwrap_or(Span::START),
            "`delivery = \"exactly_once\"` with `isolation = \"read_uncommitted\"`: records of aborted transactions would be processed",
            "remove `isolation`, or write \"read_committed\"",
        );
    }
    let delivery = if is_exactly_once {
        let instance = input.instance_id.as_deref().unwrap_or("0");
        Guarantee::ExactlyOnce { transactional_id: format!("{}{instance}", transactional_ids(&input.group)) }
    } else {
        Guarantee::AtLeastOnce
    };
    let changelog = windowed.as_ref().map(|windowed| windows::changelog(&input.group, windowed));
    let kafka = Settings {
        brokers: connection.brokers,
        client_id: connection.client_id.unwrap_or_else(|| format!("wasmill-{name}")),
        advertise: http.advertise,
        tls: connection.tls,
        sasl: connection.sasl,
        librdkafka: connection.librdkafka,
        input,
        outputs,
        dead_letter,
        changelog,
        creates_changelog: windowed.as_ref().is_some_and(|windowed| windowed.create),
        commit_every,
        delivery,
        reports_topic_limits: true,
        hidden: secrets.hidden(),
        takes_orders_as: None,
    };
    let connection = super::referenced::of_connection(&kafka);
    Pipeline {
        kafka,
        name,
        file: path.to_owned(),
        steps,
        windowed,
        policy,
        order,
        routes,
        dialect,
        limits,
        http: http.listen,
        serves_state: http.serves_state,
        serves_tap: http.serves_tap,
        reload,
        shutdown_timeout,
        connection,
        signers,
        source: Arc::clone(source),
        secrets: Arc::clone(secrets),
        spans: Spans {
            name: raw.name.as_ref().map(|name| name.span().into()),
            brokers: brokers_span,
            input: input_at,
            group: group_span,
            instance_id: instance_id_span,
            topics: topic_spans,
            steps: step_spans,
            outputs: output_spans,
            dead_letter: raw.on_error.dead_letter.as_ref().map(|topic| topic.span().into()),
            codes: (raw.on_error.code.keys()).map(|code| (code.get_ref().clone(), code.span().into())).collect(),
            http: http.span,
        },
    }
}

impl Check<'_> {
    fn name(&mut self, name: Option<&Text>, path: &Path) -> String {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        match name {
            Some(name) if value::is_name(name.get_ref()) => name.get_ref().clone(),
            Some(name) => {
                let shown = self.shown(name);
                self.report.add(name.span().into(), format!("{shown} can't be a pipeline's name"), value::NAME_RULE);
                stem
            }
            None => {
                if !value::is_name(&stem) {
                    let message = format!("the file's name, `{stem}`, can't be the pipeline's");
                    self.report.add(Span::START, message, format!("set `name`: {}", value::NAME_RULE));
                }
                stem
            }
        }
    }

    fn reload(&mut self, raw: &raw::Reload, path: &Path) -> Reload {
        let is = |switch: &Option<Spanned<bool>>| switch.as_ref().is_some_and(|switch| *switch.get_ref());
        let cases = super::cases_path(path);
        if let Some(test) = raw.test.as_ref().filter(|test| *test.get_ref() && !cases.is_file()) {
            let (title, help) = (
                format!("there are no test cases in `{}`", cases.display()),
                "write a `[[case]]` there, see `wasmill test --help`, or leave `test` out",
            );
            self.report.add(test.span().into(), title, help);
        }
        Reload { watch: is(&raw.watch), test: is(&raw.test) }
    }

    /// A value for a message, with the references that it came from. A secret is not shown.
    fn shown(&self, text: &Text) -> String {
        self.shown_at(text.get_ref(), &text.span())
    }

    fn shown_at(&self, text: &str, span: &Range<usize>) -> String {
        if self.secrets.touch(span) {
            return format!("`***`{}", self.origin(span));
        }
        in_backticks(text) + &self.origin(span)
    }

    /// Like [`Check::shown`], for a number.
    fn shown_number(&self, number: impl Display, span: &Range<usize>) -> String {
        match self.secrets.touch(span) {
            true => format!("`***`{}", self.origin(span)),
            false => format!("{number}{}", self.origin(span)),
        }
    }

    /// The references that a value came from, if it did: " from `${VAR}`".
    fn origin(&self, span: &Range<usize>) -> String {
        let references = self.secrets.references(span);
        if references.is_empty() { String::new() } else { format!(" from `{}`", references.join("` and `")) }
    }

    /// Reports a missing key, unless the key may only be misspelt.
    fn missing(&mut self, at: Span, key: &str, help: &str) {
        if self.whole {
            self.report.add(at, format!("`{key}` is missing"), help);
        }
    }

    /// What a relative path at this place begins at.
    fn folder(&self, at: &Range<usize>) -> &Path {
        self.report.folder(at.clone().into())
    }

    /// Returns the path of a file that the pipeline names, and reports it if the file doesn't exist.
    fn file(&mut self, named: &Text, what: &str) -> std::path::PathBuf {
        let path = self.folder(&named.span()).join(named.get_ref());
        if !path.is_file() {
            let shown = self.shown(named);
            let message = match path.exists() {
                true => format!("{what} {shown} is not a file"),
                false => format!("{what} {shown} doesn't exist"),
            };
            let source = path.parent().filter(|folder| folder.join("plugin.toml").is_file());
            let is_of_process = self.report.is_of_process(named.span().into());
            let of = if is_of_process { "the file of the process" } else { "the pipeline's file" };
            let help = match (self.secrets.touch(&named.span()), neighbour(&path, named.get_ref())) {
                (false, _) if source.is_some() => match source.filter(|folder| !folder.as_os_str().is_empty()) {
                    Some(folder) => format!("build it: `wasmill build {}`", folder.display()),
                    None => "build it: `wasmill build`".to_owned(),
                },
                (false, Some(near)) => format!("did you mean `{near}`?"),
                (false, None) => format!("paths are relative to {of}: there is no `{}`", path.display()),
                (true, _) => format!("paths are relative to {of}"),
            };
            self.report.add_labelled(named.span().into(), message, "no such file", help);
        }
        path
    }
}

/// A text in backticks, on one line.
pub(super) fn in_backticks(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
    format!("`{}`", shown.collect::<String>())
}

/// The name of a file next to a missing one that was probably meant, with the same directory as written.
fn neighbour(path: &Path, named: &str) -> Option<String> {
    const ENTRIES_MAX: usize = 1000;
    let wanted = path.file_name()?.to_str()?;
    let folder = match path.parent()? {
        folder if folder.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    let names = std::fs::read_dir(folder)
        .ok()?
        .take(ENTRIES_MAX)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.collect();
    let name = near(wanted, names.iter().map(String::as_str))?;
    Some(format!("{}{name}", named.strip_suffix(wanted).unwrap_or_default()))
}
