//! `[output.NAME]`: names, topics, and how records are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use glob::Pattern;
use toml::Spanned;

use super::Check;
use super::connection;
use super::topics;
use super::value;
use crate::config::OutputSpans;
use crate::config::Windowed;
use crate::config::policy::globs;
use crate::config::raw;
use crate::config::raw::Text;
use crate::config::source::Span;
use crate::kafka::settings;
use crate::kafka::settings::Partition;
use crate::sink::AllowedTopics;
use crate::sink::TopicChoice;

/// An output, with the spans for messages about it.
pub(super) struct Output {
    pub(super) settings: settings::Output,
    pub(super) spans: OutputSpans,
    /// The topic as written in the file; `None` if it is missing.
    pub(super) topic: Option<Text>,
    /// The globs of the topics that its records may name.
    pub(super) allowed: Vec<(Text, Pattern)>,
    /// Whether its records may name topics, even if no glob is valid.
    has_list: bool,
}

const COMPRESSIONS: [(&str, &str); 5] =
    [("none", "none"), ("gzip", "gzip"), ("snappy", "snappy"), ("lz4", "lz4"), ("zstd", "zstd")];

/// The outputs in the order of the file.
pub(super) fn outputs(check: &mut Check<'_>, raw: BTreeMap<Spanned<String>, Spanned<raw::Output>>) -> Vec<Output> {
    let mut raw: Vec<_> = raw.into_iter().collect();
    raw.sort_by_key(|(name, _)| name.span().start);
    let mut outputs: Vec<Output> = Vec::new();
    for (name, output) in raw {
        let output = self::output(check, name, output.into_inner());
        same_topic(check, &outputs, &output);
        outputs.push(output);
    }
    if let Some(output) = outputs.get(settings::OUTPUTS_MAX) {
        let message = format!("there are more than {} outputs", settings::OUTPUTS_MAX);
        check.report.add(output.spans.name, message, "spread them over several pipelines, each with its own group");
    }
    outputs
}

fn output(check: &mut Check<'_>, name: Spanned<String>, output: raw::Output) -> Output {
    let name_span: Span = name.span().into();
    let is_name = (1..=64).contains(&name.get_ref().len())
        && name.get_ref().bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if !is_name {
        check.report.add(
            name_span,
            format!("`{}` can't be an output's name", name.get_ref()),
            "use 1 to 64 of the characters a-z, 0-9, `_` and `-`: they are also the names of plugins' ports",
        );
    }
    let has_list = output.topics_allowed.is_some();
    match &output.topic {
        Some(topic) => topics::writable(check, topic),
        None if has_list => {}
        None => check.missing(
            name_span,
            &format!("output.{}.topic", name.get_ref()),
            "write the topic that it goes to: `topic = \"orders.clean\"`; or what its plugin may name: `topics_allowed = [\"orders.*\"]`",
        ),
    }
    let allowed = allowed(check, output.topics_allowed);
    let partitions = [("by_key", Partition::ByKey), ("same_as_input", Partition::SameAsInput)];
    let partition = value::one_of(check, output.partition.as_ref(), "partition", &partitions, &[]);
    let compression = value::one_of(check, output.compression.as_ref(), "compression", &COMPRESSIONS, &[]);
    Output {
        settings: settings::Output {
            name: Arc::from(name.into_inner()),
            topic: output.topic.as_ref().map(|topic| topic.get_ref().clone()),
            partition: partition.unwrap_or(Partition::ByKey),
            compression: compression.unwrap_or("none").to_owned(),
            librdkafka: connection::passed(check, output.librdkafka, false),
        },
        spans: OutputSpans {
            name: name_span,
            topic: output.topic.as_ref().map_or(name_span, |topic| topic.span().into()),
            allowed: allowed.iter().map(|(text, _)| text.span().into()).collect(),
        },
        topic: output.topic,
        allowed,
        has_list,
    }
}

/// The globs of the topics that records may name. One that is wrong is reported and left out.
fn allowed(check: &mut Check<'_>, list: Option<Spanned<Vec<Text>>>) -> Vec<(Text, Pattern)> {
    let Some(list) = list else { return Vec::new() };
    if list.get_ref().is_empty() {
        let help = "write globs, as in `[\"orders.*\"]`, or remove it";
        check.report.add(list.span().into(), "`topics_allowed` is empty, so no topic may be named", help);
    }
    let mut allowed = Vec::new();
    for text in list.into_inner() {
        match globs::parse(text.get_ref()) {
            Ok(pattern) => allowed.push((text, pattern)),
            Err((message, help)) => {
                let is_shown = !check.secrets.touch(&text.span());
                let message = if is_shown { message } else { "`***` is not a glob".to_owned() };
                check.report.add(text.span().into(), message, if is_shown { help } else { String::new() });
            }
        }
    }
    allowed
}

/// Reports an output without a topic that windows write by themselves: late records, and results if no plugin makes them.
pub(super) fn of_windows(check: &mut Check<'_>, outputs: &[Output], is_native: bool) {
    for output in outputs.iter().filter(|output| output.topic.is_none() && output.has_list) {
        let name = &*output.settings.name;
        let what = match name {
            Windowed::LATE => "records that are late for their windows",
            "main" if is_native => "the results of windows",
            _ => continue,
        };
        let message = format!("output `{name}` has no `topic`, and {what} go there, which name none");
        check.report.add(output.spans.name, message, "write the topic that they go to: `topic = \"orders.late\"`");
    }
}

impl Output {
    /// Which topics its records may go to. `own` are the pipeline's topics that no record may name.
    pub(super) fn choice(&self, own: &[String]) -> TopicChoice {
        let globs = self.allowed.iter().map(|(_, glob)| glob.clone()).collect();
        TopicChoice {
            output: self.settings.name.to_string(),
            has_default: self.topic.is_some(),
            allowed: self.has_list.then(|| AllowedTopics { globs, own: own.to_vec() }),
        }
    }
}

/// librdkafka has one configuration per topic name, so two outputs with the same topic must agree.
fn same_topic(check: &mut Check<'_>, before: &[Output], output: &Output) {
    let Some(topic) = &output.topic else { return };
    let other = before.iter().find(|other| other.topic.as_ref() == Some(topic));
    let Some(other) = other else { return };
    let (a, b) = (&output.settings, &other.settings);
    if (a.partition, &a.compression, &a.librdkafka) != (b.partition, &b.compression, &b.librdkafka) {
        let shown = check.shown(topic);
        check.report.add(
            topic.span().into(),
            format!("outputs `{}` and `{}` write {shown} with different settings", b.name, a.name),
            "give both the same `partition`, `compression` and `librdkafka`",
        );
    }
}
